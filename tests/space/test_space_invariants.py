"""What holds for every space: found by hypothesis over nested, conditional spaces."""

from __future__ import annotations

import json
import random

from hypothesis import example, given
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.space import Space, config_from_description
from tunesmith.space.encode import Encoder

SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["a", "b", ""]), st.sampled_from([0.5, -1.5]))
KEYS = st.sampled_from(["a", "b", "lr", "x1", "Z"])
LEAF = st.one_of(
    st.just(tune.uniform(-1, 1)),
    st.just(tune.loguniform(1e-3, 1)),
    st.just(tune.quniform(0, 1, 0.25)),
    st.just(tune.randint(0, 3)),
    st.just(tune.qrandint(2, 6, 2)),
    st.just(tune.randn()),
    st.lists(SCALAR, min_size=1, max_size=4).map(tune.choice),
    st.lists(SCALAR, min_size=1, max_size=3).map(tune.grid_search),
)


def containers(inner):
    return st.one_of(
        st.dictionaries(KEYS, inner, max_size=3),
        st.lists(inner, max_size=3),
        st.lists(inner, min_size=1, max_size=3).map(tune.choice),
        st.lists(inner, min_size=1, max_size=2).map(tune.grid_search),
    )


CONFIGS = st.dictionaries(KEYS, st.recursive(st.one_of(SCALAR, LEAF), containers, max_leaves=8), max_size=4)


@given(CONFIGS, st.integers(0, 2**32))
@example({"a": tune.choice([[tune.choice([None])], {"a": tune.uniform(-1, 1)}])}, 0)
@example({"a": tune.choice([[tune.uniform(0, 1)], {"0": tune.uniform(0, 1)}])}, 0)
@example({"a": tune.choice([{"0": tune.uniform(0, 1)}, [tune.uniform(0, 1)]])}, 0)
def test_values_and_configs_are_two_forms_of_the_same(config, seed) -> None:
    space = Space.parse(config)
    values = space.draw(random.Random(seed))
    made = space.resolve(values)
    # options that look alike cannot be told apart in a config, but what comes back makes the same config
    again = space.values_from(made)
    assert space.resolve(space.complete(again, random.Random(0))) == made


@given(CONFIGS, st.integers(0, 2**32))
def test_readers_see_the_same_config(config, seed) -> None:
    space = Space.parse(config)
    values = space.draw(random.Random(seed))
    description = json.loads(json.dumps(space.describe()))
    assert config_from_description(description, json.loads(json.dumps(values))) == space.resolve(values)


@given(CONFIGS, st.integers(0, 2**32))
def test_equal_streams_give_equal_values_whatever_the_order_of_entries(config, seed) -> None:
    space, turned = Space.parse(config), Space.parse(dict(reversed(config.items())))
    assert space.draw(random.Random(seed)) == turned.draw(random.Random(seed))
    assert space.grid_size == turned.grid_size


@given(CONFIGS)
def test_a_pass_over_the_grid_meets_each_point_once(config) -> None:
    space = Space.parse(config)
    points = space.grid_size
    if points > 60:
        return
    seen = set()
    for index in range(points):
        values = space.draw(random.Random(0), index)
        grids = [name for name in values if name in {grid.name for grid in walked(space.group, values)}]
        seen.add(json.dumps([[name, position(space.nodes[name], values[name])] for name in sorted(grids)]))
    distinct_options = all(
        len({json.dumps(code) for code in getattr(node, "codes", None) or node.domain.categories}) == len(node.domain.categories)
        for node in space.nodes.values()
        if hasattr(node.domain, "categories")
    )
    assert len(seen) == points or not distinct_options


def walked(group, values):
    """Grids that are walked through: not those below a random choice."""
    for grid in group.grids:
        yield grid
        for option in group.below.get(grid.name, ()):
            yield from walked(option, values)


def position(node, code):
    return code if not isinstance(code, float) else repr(code)


@given(CONFIGS, st.integers(0, 2**32))
def test_the_unit_cube_keeps_every_value(config, seed) -> None:
    space = Space.parse(config)
    encoder = Encoder(space)
    values = space.draw(random.Random(seed))
    again = space.complete(encoder.decode(encoder.encode(values)), random.Random(0))
    assert again.keys() == values.keys()
    for name, value in values.items():
        if isinstance(value, float):
            assert abs(again[name] - value) <= 1e-9 * max(1.0, abs(value))
        else:
            assert again[name] == value


@given(CONFIGS, st.integers(0, 2**32))
def test_labels_are_scalars(config, seed) -> None:
    space = Space.parse(config)
    for label in space.labels(space.draw(random.Random(seed))).values():
        assert label is None or isinstance(label, (str, int, float, bool))

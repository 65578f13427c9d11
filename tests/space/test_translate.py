"""Values on their way from one version of a space to another."""

from __future__ import annotations

import json
import random
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.errors import SpaceError
from tunesmith.space import Space
from tunesmith.space.rebuild import lost_in, space_from_description
from tunesmith.space.translate import Translator, translate


def moved(old: dict[Any, Any], new: dict[Any, Any], values: dict[str, Any]) -> dict[str, Any] | None:
    return translate(Space.parse(old), Space.parse(new), values)


class Opaque:
    """Equal to itself only, as most objects are."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Opaque({self.name!r})"


# ---- one parameter

RANGES = [
    (tune.uniform(0, 1), tune.uniform(0, 2), 0.5, 0.5),
    (tune.uniform(0, 1), tune.uniform(0, 0.4), 0.5, None),
    (tune.uniform(0, 1), tune.loguniform(1e-3, 1), 0.5, 0.5),
    (tune.uniform(0, 1), tune.quniform(0, 1, 0.25), 0.5, 0.5),
    (tune.uniform(0, 1), tune.quniform(0, 1, 0.25), 0.51, None),
    (tune.randint(0, 3), tune.randint(0, 9), 2, 2),
    (tune.randint(0, 9), tune.randint(0, 3), 3, None),
    (tune.randint(0, 3), tune.uniform(0, 3), 2, 2.0),
    (tune.uniform(0, 3), tune.randint(0, 3), 2.0, 2),
    (tune.uniform(0, 3), tune.randint(0, 3), 1.5, None),
    (tune.randn(), tune.uniform(-1, 1), 0.5, 0.5),
    (tune.choice(["a", "b"]), tune.choice(["c", "b", "a"]), "a", "a"),
    (tune.choice(["a", "b"]), tune.choice(["b"]), "a", None),
    (tune.choice([True, 2]), tune.choice([1, 2]), True, None),
    (tune.choice([1, 2]), tune.choice([2.0, 1.0]), 1, 1.0),
    (tune.choice([1, 2]), tune.uniform(0, 4), 1, 1.0),
    (tune.choice(["a"]), tune.uniform(0, 4), "a", None),
    (tune.grid_search([1, 2]), tune.grid_search([0, 1, 2]), 2, 2),
    (tune.grid_search([1, 2]), tune.choice([0, 1]), 2, None),
    (tune.choice(["a", "b"]), tune.choice(["b", "a", [1]]), "a", "a"),
    (tune.choice(["a", 1, [1]]), tune.choice([1, "a"]), 1, 1),
    (tune.choice(["a", 1, [1]]), tune.choice([1, "a"]), 2, None),
    (tune.choice([[8], [16]]), tune.choice([[32], [16], [8]]), 0, 2),
    (tune.choice([[8], [16]]), tune.choice([[32], [16]]), 0, None),
    (tune.choice([1, [1]]), tune.choice([[1], True, 1]), 0, 2),
]


@pytest.mark.parametrize(("before", "after", "value", "expected"), RANGES)
def test_a_value_stays_if_the_new_domain_has_it(before: Any, after: Any, value: Any, expected: Any) -> None:
    found = moved({"x": before, "n": 1}, {"x": after, "n": 1}, {"x": value})
    assert found == (None if expected is None else {"x": expected})
    assert found is None or type(found["x"]) is type(expected)


def test_constants_of_both_spaces_do_not_matter() -> None:
    old, new = {"x": tune.uniform(0, 1), "n": 2, "gone": {"a": 1}}, {"x": tune.uniform(0, 1), "n": 3, "other": [1]}
    assert moved(old, new, {"x": 0.5}) == {"x": 0.5}


@pytest.mark.parametrize(("value", "inside"), [(0.5, True), (0.6, False)])
def test_a_parameter_that_became_a_constant_must_have_had_that_value(value: float, inside: bool) -> None:
    old = {"opt": {"lr": tune.uniform(0, 1), "n": 3}, "x": tune.uniform(0, 1)}
    assert moved(old, {"opt": {"lr": 0.5, "n": 4}, "x": tune.uniform(0, 1)}, {"opt/lr": value, "x": 0.1}) == (
        {"x": 0.1} if inside else None
    )


def test_a_constant_that_became_a_parameter_has_its_value() -> None:
    assert moved({"n": 3, "x": tune.randint(0, 2)}, {"n": tune.randint(0, 9), "x": tune.randint(0, 2)}, {"x": 1}) == {"n": 3, "x": 1}
    assert moved({"n": 3}, {"n": tune.choice([4, 5])}, {}) is None
    assert moved({"net": {"n": 3, "m": [1, 2]}}, {"net": {"n": tune.randint(0, 9), "m": [tune.randint(0, 9), 2]}}, {}) == {
        "net/n": 3,
        "net/m/0": 1,
    }


def test_entries_that_only_one_space_has() -> None:
    x = tune.uniform(0, 1)
    assert moved({"x": x}, {"x": x, "y": x}, {"x": 0.5}) is None
    assert moved({"x": x, "y": x}, {"x": x}, {"x": 0.5, "y": 0.5}) is None
    assert moved({"x": x}, {"x": x, "deep": {"y": x}}, {"x": 0.5}) is None
    assert moved({"x": x, "deep": {"y": x}}, {"x": x, "deep": 3}, {"x": 0.5, "deep/y": 0.1}) is None
    assert moved({"x": [x]}, {"x": [x, x]}, {"x/0": 0.5}) is None
    assert moved({"x": [x, x]}, {"x": [x]}, {"x/0": 0.5, "x/1": 0.5}) is None
    assert moved({"x": [x, 3]}, {"x": [x]}, {"x/0": 0.5}) == {"x/0": 0.5}


# ---- options

PLANS = [
    {"name": "sgd", "lr": tune.uniform(0, 1)},
    {"name": "adam", "lr": tune.uniform(0, 1), "betas": (0.9, 0.99)},
    None,
]


def test_an_option_with_parameters_is_found_by_what_it_is() -> None:
    old = {"opt": tune.choice(PLANS)}
    assert moved(old, {"opt": tune.choice(PLANS[::-1])}, {"opt": 1, "opt/1/lr": 0.5}) == {"opt": 1, "opt/1/lr": 0.5}
    assert moved(old, {"opt": tune.choice(PLANS[::-1])}, {"opt": 0, "opt/0/lr": 0.5}) == {"opt": 2, "opt/2/lr": 0.5}
    assert moved(old, {"opt": tune.choice(PLANS[:1])}, {"opt": 1, "opt/1/lr": 0.5}) is None
    assert moved(old, {"opt": tune.choice([None, "off"])}, {"opt": None}) == {"opt": None}


def test_the_range_of_an_option_changes() -> None:
    def opt(high: float) -> Any:
        return tune.choice([{"name": "sgd", "lr": tune.uniform(0, high)}, {"name": "adam", "lr": tune.uniform(0, 1)}])

    assert moved({"opt": opt(1)}, {"opt": opt(2)}, {"opt": 0, "opt/0/lr": 0.5}) == {"opt": 0, "opt/0/lr": 0.5}
    assert moved({"opt": opt(2)}, {"opt": opt(1)}, {"opt": 0, "opt/0/lr": 1.5}) is None, "adam is no sgd"
    assert moved({"opt": opt(2)}, {"opt": opt(1)}, {"opt": 1, "opt/1/lr": 0.5}) == {"opt": 1, "opt/1/lr": 0.5}


def test_a_choice_comes_and_goes() -> None:
    plain, chosen = {"opt": PLANS[0]}, {"opt": tune.choice(PLANS)}
    assert moved(plain, chosen, {"opt/lr": 0.5}) == {"opt": 0, "opt/0/lr": 0.5}
    assert moved(chosen, plain, {"opt": 0, "opt/0/lr": 0.5}) == {"opt/lr": 0.5}
    assert moved(chosen, plain, {"opt": 1, "opt/1/lr": 0.5}) is None, "its constants were drawn, and are others"
    assert moved(chosen, {"opt": {"name": "sgd", "lr": 0.5}}, {"opt": 0, "opt/0/lr": 0.5}) == {}
    assert moved(chosen, {"opt": {"name": "sgd", "lr": 0.1}}, {"opt": 0, "opt/0/lr": 0.5}) is None


def test_copies_of_objects_are_known_by_unique_labels() -> None:
    a, b, c = (Opaque(name) for name in "abc")
    here = {"act": tune.choice([a, b]), "x": tune.uniform(0, 1)}
    stored = cloudpickle.loads(cloudpickle.dumps(here))
    assert moved(stored, {**here, "act": tune.choice([b, c, a])}, {"act": 0, "x": 0.5}) == {"act": 2, "x": 0.5}
    assert moved(stored, {**here, "act": tune.choice([b, c])}, {"act": 0, "x": 0.5}) is None
    twins = {"act": tune.choice([Opaque("a"), Opaque("a"), b])}
    again = cloudpickle.loads(cloudpickle.dumps(twins))
    assert moved(again, twins, {"act": 1}) == {"act": 1}, "nothing has changed in that choice"
    assert moved(again, {"act": tune.choice([twins["act"].categories[1], b])}, {"act": 1}) is None, "it may be the other one"
    assert moved(again, {"act": tune.choice([b, *twins["act"].categories[:2]])}, {"act": 2}) == {"act": 0}


def test_labels_tell_options_with_parameters_apart() -> None:
    def space(high: float, *names: str) -> dict[str, Any]:
        return {"opt": tune.choice([{"act": Opaque(name), "lr": tune.uniform(0, high)} for name in names])}

    assert moved(space(1, "a", "b"), space(2, "b", "a"), {"opt": 0, "opt/0/lr": 0.5}) == {"opt": 1, "opt/1/lr": 0.5}
    assert moved(space(1, "a", "a"), space(2, "a", "a"), {"opt": 0, "opt/0/lr": 0.5}) is None
    assert moved(space(1, "a", "a"), space(2, "a", "b"), {"opt": 0, "opt/0/lr": 0.5}) is None


def test_secrets_that_a_stored_space_lacks_do_no_harm() -> None:
    here = {"hub": tune.choice([{"name": "x", "password": "hush", "n": tune.randint(0, 3)}, None])}
    stored = {"hub": tune.choice([{"name": "x", "n": tune.randint(0, 3)}, None])}
    assert moved(stored, here, {"hub": 0, "hub/0/n": 1}) == {"hub": 0, "hub/0/n": 1}
    wider = {"hub": tune.choice([{"name": "x", "password": "hush", "n": tune.randint(0, 9)}, None])}
    assert moved(stored, wider, {"hub": 0, "hub/0/n": 1}) == {"hub": 0, "hub/0/n": 1}


# ---- computed and added entries, constraints


def test_computed_values_are_taken_over_as_they_were() -> None:
    old = {"x": tune.uniform(0, 1), "y": tune.sample_from(lambda c: c["x"] * 2), "o": tune.sample_from(lambda: Opaque("a"))}
    new = {**old, "x": tune.uniform(0, 2)}
    values = Space.parse(old).draw(random.Random(1))
    assert moved(old, new, values) == values
    assert moved(old, {**new, "y": tune.uniform(0, 2)}, values) == values
    assert moved(old, {**new, "o": tune.choice([1])}, values) is None
    assert moved(old, {**new, "o": Opaque("a")}, values) == {name: values[name] for name in ("x", "y")}
    assert moved(old, {"x": new["x"]}, values) is None


def test_entries_that_a_scheduler_added_stay() -> None:
    old = {"x": tune.uniform(0, 1), "n": 3}
    assert moved(old, old, {"x": 0.5, "n": 7, "more/deep": 1}) == {"x": 0.5, "n": 7, "more/deep": 1}
    assert moved(old, {**old, "n": tune.randint(0, 9)}, {"x": 0.5, "n": 7}) == {"x": 0.5, "n": 7}
    assert moved(old, {**old, "n": tune.randint(0, 5)}, {"x": 0.5, "n": 7}) is None


def test_constraints_of_the_new_space_hold() -> None:
    old = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}
    new = {**old, "order": tune.require(lambda c: c["x"] < c["y"])}
    assert moved(old, new, {"x": 0.1, "y": 0.5}) == {"x": 0.1, "y": 0.5}
    assert moved(old, new, {"x": 0.6, "y": 0.5}) is None
    assert moved(old, {**old, "bad": tune.require(lambda c: 1 / 0)}, {"x": 0.1, "y": 0.5}) is None


# ---- whatever the space

SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["a", "b", ""]), st.sampled_from([0.5, -1.5]))
KEYS = st.sampled_from(["a", "b", "lr", "x1", "Z"])
LEAF = st.one_of(
    st.just(tune.uniform(-1, 1)),
    st.just(tune.loguniform(1e-3, 1)),
    st.just(tune.quniform(0, 1, 0.25)),
    st.just(tune.randint(0, 3)),
    st.just(tune.qlograndint(2, 6, 2)),
    st.just(tune.randn()),
    st.just(tune.sample_from(lambda: [1, "a"])),
    st.lists(SCALAR, min_size=1, max_size=4).map(tune.choice),
    st.lists(SCALAR, min_size=1, max_size=3).map(tune.grid_search),
)


def containers(inner: Any) -> Any:
    return st.one_of(
        st.dictionaries(KEYS, inner, max_size=3),
        st.lists(inner, max_size=3),
        st.lists(inner, min_size=1, max_size=3).map(tune.choice),
        st.lists(inner, min_size=1, max_size=2).map(tune.grid_search),
    )


CONFIGS = st.dictionaries(KEYS, st.recursive(st.one_of(SCALAR, LEAF), containers, max_leaves=8), max_size=4)


def turned(value: Any) -> Any:
    """The same space with the options of all choices the other way round."""
    if isinstance(value, dict):
        return {key: turned(entry) for key, entry in reversed(value.items())}
    if isinstance(value, list):
        return [turned(entry) for entry in value]
    if hasattr(value, "categories"):
        return type(value)(tuple(turned(option) for option in reversed(value.categories)))
    return value


@given(CONFIGS, st.integers(0, 2**32))
def test_nothing_happens_between_equal_spaces(config: dict[str, Any], seed: int) -> None:
    space = Space.parse(config)
    values = space.draw(random.Random(seed))
    assert repr(sorted((translate(space, space, values) or {}).items())) == repr(sorted(values.items()))
    copied = cloudpickle.loads(cloudpickle.dumps(config))
    assert translate(Space.parse(copied), space, values) == values


@given(CONFIGS, st.integers(0, 2**32))
def test_permuted_options_keep_the_config(config: dict[str, Any], seed: int) -> None:
    old, new = Space.parse(config), Space.parse(turned(config))
    values = old.draw(random.Random(seed))
    found = translate(old, new, values)
    assert found is not None
    assert repr(sorted(flat(new.resolve(found)))) == repr(sorted(flat(old.resolve(values))))


def flat(config: Any, path: str = "") -> Any:
    """Paths and values; empty containers too."""
    if isinstance(config, dict) and config:
        return [pair for key, entry in config.items() for pair in flat(entry, f"{path}/{key}")]
    if isinstance(config, list) and config:
        return [pair for at, entry in enumerate(config) for pair in flat(entry, f"{path}/{at}")]
    # of an option with floats and one with integers, 1 may be either's
    return [(path, repr(float(config) if isinstance(config, int) and not isinstance(config, bool) else config))]


@given(CONFIGS, CONFIGS, st.integers(0, 2**32))
def test_what_is_inside_is_a_configuration_of_the_new_space(one: dict[str, Any], other: dict[str, Any], seed: int) -> None:
    old, new = Space.parse(one), Space.parse({**one, **other})
    values = old.draw(random.Random(seed))
    found = Translator(old, new)(values)
    if found is not None:
        again = new.complete(found, random.Random(0))
        assert again == found, "nothing is missing, and nothing is too much"
        new.values_from(new.resolve(found))


# ---- spaces that were lost


@given(CONFIGS, st.integers(0, 2**32))
def test_a_description_gives_the_space_again(config: dict[str, Any], seed: int) -> None:
    space = Space.parse(config)
    description = json.loads(json.dumps(space.describe()))
    again = space_from_description(description)
    assert json.loads(json.dumps(again.describe())) == description
    values = space.draw(random.Random(seed))
    assert again.resolve(values) == space.resolve(values)
    assert translate(again, space, values) == values


def test_objects_of_a_lost_space_are_labels() -> None:
    here = {"act": tune.choice([Opaque("a"), Opaque("b")]), "deep": [{"f": len}], "y": tune.sample_from(lambda: Opaque("c"))}
    space = Space.parse(here)
    lost = space_from_description(space.describe())
    assert lost.describe() == space.describe()
    assert lost_in(lost.resolve({"act": 1, "y": 3})) == "Opaque('b')"
    assert lost_in({"deep": [{"f": 1}]}) is None
    values = space.draw(random.Random(0))
    with pytest.raises(SpaceError, match=r"the function '<lambda>' of a sample_from is not at hand"):
        lost.resolve(values)
    assert translate(lost, space, values) == values

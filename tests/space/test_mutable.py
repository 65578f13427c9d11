"""Configurations that somebody has changed, recorded as values of their space; and constants that may change."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tunesmith.core.codec import dumps, loads
from tunesmith.errors import SpaceError
from tunesmith.space import Space, choice, config_from_description, grid_search, sample_from, uniform
from tunesmith.space.domains import Mutable
from tunesmith.space.mutable import ABSENT, at_path, copied, current, differences, place, recorded, unchanged
from tunesmith.space.rebuild import space_from_description
from tunesmith.space.translate import translate


class Net:
    pass


class Tree:
    pass


CONFIG: dict[str, Any] = {
    "lr": uniform(0, 1),
    "model": choice([Net, Tree, "none"]),
    "opt": choice([{"name": "sgd", "m": uniform(0, 1), "clip": [1, 2]}, {"name": "adam", "eps": Mutable(1e-8)}, None]),
    "layers": [choice([8, 16]), 32],
    "kind": Mutable(Net, (Net, Tree)),
    "n": sample_from(lambda config: config.layers[0] * 2),
    "data": {"path": "/x", "sizes": {"a": 1, "b": 2}, "loader": Net()},
    "epochs": 3,
    4: {5: "six"},
}

ENTRIES: dict[str, list[Any]] = {
    "lr": [0.5, 2.5, 1, None, "high"],
    "model": [Net, Tree, "none"],
    "opt": [{"name": "sgd", "m": 0.25, "clip": [1, 2]}, {"name": "adam", "eps": 1e-8}, {"name": "adam", "eps": 0.5}, None],
    "opt/m": [0.75, 1.5, "all"],
    "opt/clip": [[3], [1, 2, 3], 4],
    "opt/name": ["sgdw"],
    "opt/eps": [0.25, None],
    "opt/new": [1, {"deep": [1, 2]}],
    "layers/0": [8, 64],
    "kind": [Net, Tree, "other", 3],
    "n": [1, [1, 2]],
    "data/path": ["/y"],
    "data/sizes/a": [2, 1.0, {"x": 1}],
    "data/sizes": [{"a": 1, "b": 3}, {"a": 1, "b": 2, "c": 3}],
    "epochs": [4, 3.0, True, {"a": 1}],
    "4/5": ["seven"],
    "new": [None, 1, {"a": {"b": 2}}, (1, 2)],
}


def changed(config: Any, entries: list[tuple[str, Any]]) -> Any:
    """The config with these entries, as far as there is a place for them."""
    after = copied(config)
    for path, value in entries:
        above = path.rpartition("/")[0]
        if not above or isinstance(at_path(after, above), dict | list):
            place(after, path, copy.deepcopy(value))
    return after


SPACE = Space.parse(CONFIG)


@given(st.lists(st.sampled_from([(path, value) for path, values in ENTRIES.items() for value in values]), max_size=4), st.integers(0, 999))
def test_what_is_recorded_resolves_to_what_was_made(entries: list[tuple[str, Any]], seed: int) -> None:
    values = SPACE.draw(random.Random(seed))
    given = copy.deepcopy(values)
    for _ in range(2):  # and from there on again
        before = SPACE.resolve(values)
        after = changed(before, entries)
        try:
            found = recorded(SPACE, values, before, after)
        except SpaceError as error:  # an option that became none, or lost an entry
            assume("config['opt']" not in str(error) and "config['data']" not in str(error))
            raise
        resolved = SPACE.resolve(loads(dumps(found)))
        assert unchanged({**resolved, "data": {**resolved["data"], "loader": 0}}, {**after, "data": {**after["data"], "loader": 0}})
        assert values == given, "the values were changed"
        values = given = found


@given(st.integers(0, 999))
def test_without_a_change_the_values_stay(seed: int) -> None:
    values = SPACE.draw(random.Random(seed))
    before = SPACE.resolve(values)
    assert recorded(SPACE, values, before, before) == values
    assert recorded(SPACE, values, before, copied(before)) == values


def test_constants_that_go_back_leave_no_trace() -> None:
    space = Space.parse({"a": Mutable(1), "b": 2})
    values = recorded(space, {}, {"a": 1, "b": 2}, {"a": 5, "b": 2})
    assert values == {"a": 5}
    assert recorded(space, values, {"a": 5, "b": 2}, {"a": 1, "b": 2}) == {}


def test_what_was_in_the_option_that_is_left_goes() -> None:
    values = {**SPACE.draw(random.Random(1)), "opt": 0, "opt/0/m": 0.5}
    before = SPACE.resolve(values)
    more = recorded(SPACE, values, before, changed(before, [("opt/new", 1)]))
    assert more["opt/new"] == 1
    before = SPACE.resolve(more)
    found = recorded(SPACE, more, before, {**before, "opt": {"name": "adam", "eps": 1e-8}})
    assert {name for name in found if name.startswith("opt")} == {"opt"}
    assert SPACE.resolve(found)["opt"] == {"name": "adam", "eps": 1e-8}


def test_what_was_in_an_option_within_the_option_goes_too() -> None:
    inner = choice([{"a": uniform(0, 1)}, {"b": uniform(0, 1)}])
    space = Space.parse({"out": choice([{"in": inner, "c": 1}, {"d": 2}])})
    values = {"out": 0, "out/0/in": 0, "out/0/in/0/a": 0.5}
    before = space.resolve(values)
    assert recorded(space, values, before, {"out": {"in": {"b": 0.25}, "c": 1}}) == {"out": 0, "out/0/in": 1, "out/0/in/1/b": 0.25}
    assert recorded(space, values, before, {"out": {"d": 2}}) == {"out": 1}


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"lr": object()}, r"config\['lr'\]: expected a number"),
        ({"model": 3}, r"config\['model'\]: 3 fits none of its 3 options"),
        ({"kind": object()}, r"config\['kind'\]: expected a number"),
        ({"layers": [8]}, r"config\['layers'\]: expected a list of 2 again"),
        ({"data": {"path": "/x"}}, r"config\['data'\]\['sizes'\]: was taken away"),
        ({"new": Net()}, r"config\['new'\]: expected a number"),
        ({4: {}}, r"config\[4\]\[5\]: was taken away"),
    ],
)
def test_what_cannot_be_recorded_is_refused(entries: dict[Any, Any], text: str) -> None:
    values = SPACE.draw(random.Random(1))
    before = SPACE.resolve(values)
    with pytest.raises(SpaceError, match=text):
        recorded(SPACE, values, before, {**before, **entries})


def test_objects_that_are_copies_are_known_by_their_labels() -> None:
    """Those of a version of the space that was stored."""
    ours, theirs = type("Model", (), {}), type("Model", (), {})
    space = Space.parse({"kind": Mutable(ours, (ours,)), "model": choice([ours, Tree])})
    before = space.resolve({"model": 1})
    found = recorded(space, {"model": 1}, before, {"kind": theirs, "model": theirs})
    assert found == {"model": 0, "kind": {"$option": 0}}
    assert space.resolve(found) == {"kind": ours, "model": ours}


# -- paths -------------------------------------------------------------------------------------------------------------------


def test_paths() -> None:
    config = {"a": {"b": [1, {"c": 2}]}, 3: {"x": 4}, "p/q": 5}
    assert [at_path(config, path) for path in ("a/b/1/c", "3/x", "p/q")] == [2, 4, 5]
    assert [at_path(config, path) for path in ("a/x", "a/b/7", "a/b/1/c/d", "")] == [ABSENT] * 4
    place(config, "3/x", 6)
    place(config, "a/new", 7)
    place(config, "p/q", 8)
    assert config == {"a": {"b": [1, {"c": 2}], "new": 7}, 3: {"x": 6}, "p/q": 8}
    assert current(Space.parse({"a": {"b": uniform(0, 1), "c": 3}}), {"a/b": 0.5}, ["a/b", "a/c", "d"]) == {"a/b": 0.5, "a/c": 3}


def test_differences() -> None:
    nan = float("nan")
    assert differences({"a": 1, "n": nan, "l": [1]}, {"a": 1.0, "n": float("nan"), "l": [1], "b": {"c": 2}}) == {
        "a": (1, 1.0), "b": (ABSENT, {"c": 2}),
    }  # fmt: skip
    assert not unchanged(1, True)
    assert not unchanged([1], (1,))


# -- constants that may change -------------------------------------------------------------------------------------------------


def test_they_are_constants_until_they_have_a_value() -> None:
    space = Space.parse({"kind": Mutable(Net, (Net, Tree)), "lr": Mutable(0.1), "x": uniform(0, 1)})
    assert set(space.parameters) == {"x"}
    assert not space.has_grid
    assert space.resolve({"x": 0.5}) == {"kind": Net, "lr": 0.1, "x": 0.5}
    assert space.resolve({"x": 0.5, "kind": {"$option": 1}, "lr": 0.2}) == {"kind": Tree, "lr": 0.2, "x": 0.5}
    assert space.labels({"x": 0.5, "lr": 0.2}) == {"kind": "Net", "lr": 0.2, "x": 0.5}


def test_readers_know_them_by_the_description_alone() -> None:
    space = Space.parse({"kind": Mutable(Net, (Net, Tree)), "lr": Mutable(0.1), "sizes": Mutable({"a": [1]}), "x": uniform(0, 1)})
    about = json.loads(json.dumps(space.describe()))
    for values in ({"x": 0.5}, {"x": 0.5, "kind": {"$option": 1}, "lr": 3, "sizes": {"a": [2]}, "new": 1}):
        shown = config_from_description(about, values)
        config = space.resolve(values)
        assert shown == {**config, "kind": config["kind"].__name__}
        again = space_from_description(about)
        assert again.describe() == space.describe()
        assert {**again.resolve(values), "kind": 0} == {**config, "kind": 0}
        assert str(again.resolve(values)["kind"]) == shown["kind"]


def test_points_may_set_them() -> None:
    space = Space.parse({"lr": Mutable(0.1), "kind": Mutable(Net, (Tree,)), "x": uniform(0, 1)})
    values = space.values_from({"lr": 0.2, "kind": Tree, "x": 0.5})
    assert values == {"lr": 0.2, "kind": {"$option": 0}, "x": 0.5}
    assert space.values_from({"lr": 0.1, "kind": Net}) == {}
    assert space.complete(values, random.Random(1)) == values


def test_in_options_and_lists() -> None:
    space = Space.parse({"opt": grid_search([{"lr": Mutable(0.1)}, {"lr": Mutable(0.2)}]), "l": [Mutable(1), 2]})
    assert set(space.variables) == {"opt/0/lr", "opt/1/lr", "l/0"}
    assert space.resolve({"opt": 1, "opt/1/lr": 0.5, "l/0": 3}) == {"opt": {"lr": 0.5}, "l": [3, 2]}
    assert space.grid_count() == 2


def test_another_version_of_the_space_knows_them_as_constants() -> None:
    old, new = Space.parse({"lr": Mutable(0.1), "x": uniform(0, 1)}), Space.parse({"lr": 0.3, "x": uniform(0, 2)})
    assert translate(old, new, {"x": 0.5}) == translate(new, old, {"x": 0.5}) == {"x": 0.5}
    assert translate(old, Space.parse({"lr": uniform(0, 1), "x": uniform(0, 1)}), {"x": 0.5, "lr": 0.2}) == {"lr": 0.2, "x": 0.5}


def test_functions_of_the_config_see_what_they_begin_with() -> None:
    space = Space.parse({"lr": Mutable(0.1), "wd": sample_from(lambda config: config["lr"] / 10)})
    assert space.draw(random.Random(1)) == {"wd": 0.01}


def test_each_config_has_its_own_copy() -> None:
    space = Space.parse({"sizes": Mutable([1])})
    space.resolve({})["sizes"].append(2)
    values = {"sizes": [3]}
    space.resolve(values)["sizes"].append(4)
    assert (space.resolve({}), values) == ({"sizes": [1]}, {"sizes": [3]})

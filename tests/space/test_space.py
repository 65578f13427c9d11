"""Spaces as users write them: nesting, constants, computed entries, conditions, constraints, errors."""

from __future__ import annotations

import pickle
import random
import threading
from collections import OrderedDict
from typing import NamedTuple

import cloudpickle
import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import SpaceError, UserCodeError
from tunesmith.space import Space


class Pair(NamedTuple):
    left: object
    right: object


def config_of(config, seed: int = 0, **more):
    space = Space.parse(config)
    return space.resolve(space.draw(random.Random(seed), **more))


# ---- structure and constants


def test_domains_are_found_in_dicts_lists_and_tuples() -> None:
    one = tune.choice([1])
    config = {"a": {"b": [one, 2, {"c": one}]}, "t": (one, "x"), "p": Pair(one, 3), 5: one, "o": OrderedDict(z=one, y=2)}
    space = Space.parse(config)
    assert sorted(space.parameters) == ["5", "a/b/0", "a/b/2/c", "o/z", "p/0", "t/0"]
    made = space.resolve(space.draw(random.Random(0)))
    assert made == {"a": {"b": [1, 2, {"c": 1}]}, "t": (1, "x"), "p": Pair(1, 3), 5: 1, "o": OrderedDict(z=1, y=2)}
    assert type(made["p"]) is Pair
    assert type(made["o"]) is OrderedDict
    assert list(made) == list(config)


def test_constants_of_any_type_pass_through_unchanged() -> None:
    class Thing:
        pass

    lock, array, thing = threading.Lock(), np.arange(4), Thing()
    config = {"f": len, "g": lambda x: x + 1, "cls": Thing, "lock": lock, "array": array, "thing": thing, "n": None, "s": {1, 2}}
    config |= {"eval": {"eval": "1 + 1"}, "metric": ["logloss", "error"], "module": np, "grid": {"grid_search": [1], "other": 2}}
    made = config_of(config)
    assert made["f"] is len
    assert made["g"] is config["g"]
    assert made["cls"] is Thing
    assert made["lock"] is lock  # it cannot be copied
    assert made["module"] is np
    assert type(made["thing"]) is Thing
    assert (made["array"] == array).all()
    assert made["eval"] == {"eval": "1 + 1"}
    assert made["grid"] == {"grid_search": [1], "other": 2}
    assert Space.parse(config).is_empty


def test_each_trial_has_a_copy_of_its_own() -> None:
    config = {"array": np.zeros(2), "list": [1, [2]], "x": tune.uniform(0, 1), "opt": tune.choice([{"k": [1]}])}
    space = Space.parse(config)
    values = space.draw(random.Random(0))
    first, second = space.resolve(values), space.resolve(values)
    first["array"][0] = 7
    first["list"][1].append(3)
    first["opt"]["k"].append(2)
    first["new"] = 1
    assert second["array"][0] == 0
    assert second["list"] == [1, [2]]
    assert second["opt"] == {"k": [1]}
    assert config["array"][0] == 0
    assert space.resolve(values)["list"] == [1, [2]]
    assert "new" not in space.resolve(values)


def test_options_keep_their_type() -> None:
    config = {"c": tune.choice([1, 1.0, True, "1"])}
    space = Space.parse(config)
    drawn = {type(space.draw(random.Random(n))["c"]) for n in range(60)}
    assert drawn == {int, float, bool, str}
    assert space.values_from({"c": True})["c"] is True
    assert type(space.values_from({"c": 1.0})["c"]) is float


def test_numpy_options_become_python_scalars() -> None:
    space = Space.parse({"c": tune.choice(np.logspace(-2, 0, 3)), "g": tune.grid_search(list(np.arange(2)))})
    values = space.draw(random.Random(0), 0)
    assert type(values["c"]) is float
    assert type(values["g"]) is int
    assert space.values_from({"c": np.float64(1.0)}) == {"c": 1.0}


def test_options_that_are_no_scalars_are_recorded_by_number() -> None:
    options = ["adam", None, len, [1, 2], {"k": 1}]
    space = Space.parse({"c": tune.choice(options)})
    seen = {space.draw(random.Random(n))["c"] for n in range(100)}
    assert seen == {"adam", None, 2, 3, 4}
    assert [space.resolve({"c": code})["c"] for code in ("adam", None, 2, 3, 4)] == options
    mixed = Space.parse({"c": tune.choice([3, [1], "a"])})  # a 3 could be taken for a number of an option
    assert [mixed.resolve({"c": code})["c"] for code in (0, 1, 2)] == [3, [1], "a"]
    with pytest.raises(SpaceError, match=r"config\['c'\]: 9 stands for none of its 3 options"):
        mixed.resolve({"c": 9})


# ---- computed entries


def test_computed_entries_see_what_they_depend_on_whatever_the_order() -> None:
    config = {
        "a": tune.sample_from(lambda spec: spec.config.b + 1),
        "b": tune.sample_from(lambda config: config["c"] * 10),
        "c": tune.choice([4]),
        "d": tune.sample_from(lambda spec: spec["config"]["net"]["width"] + spec.net.width),
        "net": {"width": tune.choice([8]), "depth": tune.sample_from(lambda config: config.net.width // 2)},
        "e": tune.sample_from(lambda: 5),
        "f": tune.sample_from(lambda config: config["layers"][1] + config.get("absent", 1)),
        "layers": [tune.sample_from(lambda config: config["layers"][1] + 1), tune.sample_from(lambda config: config["c"])],
        "h": tune.sample_from(lambda config: sum(v for v in config["net"].values())),
    }
    assert config_of(config) == {
        "a": 41, "b": 40, "c": 4, "d": 16, "net": {"width": 8, "depth": 4}, "e": 5, "f": 5, "layers": [5, 4], "h": 12,
    }  # fmt: skip


def test_an_entry_may_be_called_config() -> None:
    config = {"config": {"x": tune.choice([3])}, "y": tune.sample_from(lambda c: c["config"]["x"] + c.config.config.x)}
    assert config_of(config)["y"] == 6


def test_each_function_is_called_once_per_trial() -> None:
    calls = []

    def shared(config):
        calls.append(1)
        return 1

    config_of({"a": tune.sample_from(lambda c: c["z"] + c["b"]), "b": tune.sample_from(lambda c: c["z"]), "z": tune.sample_from(shared)})
    assert len(calls) == 1


def test_functions_that_need_each_other_are_named() -> None:
    space = Space.parse({"a": tune.sample_from(lambda c: c["b"]), "b": tune.sample_from(lambda c: c["a"])})
    with pytest.raises(SpaceError, match=r"config\['a'\]: needs its own value: config\['a'\] -> config\['b'\] -> config\['a'\]"):
        space.draw(random.Random(0))


def test_a_function_that_raises_is_named() -> None:
    space = Space.parse({"net": {"w": tune.sample_from(lambda c: c["absent"])}})
    with pytest.raises(UserCodeError, match=r"config\['net'\]\['w'\]: its sample_from function raised KeyError: 'absent'"):
        space.draw(random.Random(0))
    with pytest.raises(UserCodeError, match="has no entry 'absent'; it has net"):
        Space.parse({"net": tune.sample_from(lambda spec: spec.config.absent)}).draw(random.Random(0))


def test_functions_may_return_domains_grids_and_numpy() -> None:
    config = {
        "x": tune.sample_from(lambda: tune.uniform(5, 6)),
        "n": tune.sample_from(lambda: np.int64(3)),
        "l": tune.sample_from(lambda: [np.float64(1), {"k": tune.choice([2])}]),
        "t": tune.sample_from(lambda: (1, 2)),
    }
    made = config_of(config)
    assert 5 <= made["x"] <= 6
    assert type(made["n"]) is int
    assert made["l"] == [1.0, {"k": 2}]
    assert made["t"] == (1, 2)


def test_a_grid_from_a_function_multiplies_the_grid() -> None:
    space = Space.parse({"g": tune.grid_search([1, 2]), "x": tune.sample_from(lambda c: tune.grid_search([c["g"], c["g"] * 10, 7]))})
    space.draw(random.Random(0), 0)
    assert space.grid_size == 6
    points = [space.resolve(space.draw(random.Random(n), n)) for n in range(6)]
    assert [(p["g"], p["x"]) for p in points] == [(1, 1), (2, 2), (1, 10), (2, 20), (1, 7), (2, 7)]


def test_a_grid_from_a_function_must_not_change_its_length() -> None:
    space = Space.parse({"n": tune.grid_search([1, 2]), "x": tune.sample_from(lambda c: tune.grid_search(list(range(c["n"]))))})
    space.draw(random.Random(0), 0)
    with pytest.raises(SpaceError, match=r"config\['x'\]: .*grid_search of 2 values, and of 1 before"):
        space.draw(random.Random(0), 1)


def test_functions_draw_from_the_trials_own_stream() -> None:
    config = {"a": tune.sample_from(lambda: 1 + np.random.uniform()), "b": tune.sample_from(lambda: 1 + random.random())}  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = config_of(config, 5)
    after = np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert (before[0] == after[0]).all()
    assert before[1] == after[1]
    np.random.uniform()  # noqa: NPY002
    assert config_of(config, 5) == first
    assert config_of(config, 6) != first


def test_results_that_are_no_json_can_be_had_again_elsewhere() -> None:
    class Schedule:
        def __init__(self, rate: float) -> None:
            self.rate = rate

    config = {"x": tune.uniform(0, 1), "s": tune.sample_from(lambda c: Schedule(c["x"] + random.random()))}
    here, elsewhere = Space.parse(config), Space.parse(config)
    values = here.draw(random.Random(0))
    assert values["s"]["$opaque"].endswith("Schedule object>")
    first, second = here.resolve(values)["s"], here.resolve(values)["s"]
    assert first is not second
    assert elsewhere.resolve(values)["s"].rate == first.rate == second.rate
    picked = Space.parse({"g": tune.sample_from(lambda: tune.grid_search([Schedule(1), Schedule(2)]))})
    values = picked.draw(random.Random(0), 1)
    assert Space.parse(picked.config).resolve(values)["g"].rate == 2


def test_given_values_of_computed_entries_are_not_computed() -> None:
    space = Space.parse({"x": tune.sample_from(lambda: 1 / 0), "y": tune.choice([2])})
    assert space.resolve(space.draw(random.Random(0), fixed={"x": 3})) == {"x": 3, "y": 2}


# ---- conditional spaces

OPTIMIZERS = {
    "opt": tune.choice(
        [{"name": "sgd", "lr": tune.uniform(0, 1)}, {"name": "adam", "lr": tune.loguniform(1e-6, 1e-3), "b": tune.randint(0, 3)}]
    ),
    "depth": tune.choice([1, 2]),
}  # fmt: skip


def test_parameters_of_options_that_were_not_taken_do_not_exist() -> None:
    space = Space.parse(OPTIMIZERS)
    assert sorted(space.parameters) == ["depth", "opt", "opt/0/lr", "opt/1/b", "opt/1/lr"]
    for seed in range(40):
        values = space.draw(random.Random(seed))
        made = space.resolve(values)["opt"]
        if values["opt"] == 0:
            assert set(values) == {"depth", "opt", "opt/0/lr"}
            assert set(made) == {"name", "lr"}
        else:
            assert set(values) == {"depth", "opt", "opt/1/b", "opt/1/lr"}
            assert made["lr"] <= 1e-3


def test_options_may_be_domains_and_lists_and_computed() -> None:
    config = {"x": tune.choice([tune.uniform(5, 6), [tune.randint(0, 2), "a"], tune.sample_from(lambda c: c["y"])]), "y": tune.choice([9])}
    made = [config_of(config, seed)["x"] for seed in range(40)]
    assert {type(value) for value in made} == {float, list, int}
    assert all(value == 9 for value in made if type(value) is int)


def test_a_computed_entry_reads_through_a_choice() -> None:
    config = OPTIMIZERS | {"warm": tune.sample_from(lambda spec: spec.config.opt.lr * 2)}
    made = config_of(config, 3)
    assert made["warm"] == made["opt"]["lr"] * 2


# ---- constraints


def test_constraints_hold_and_vanish_from_the_config() -> None:
    config = {"a": tune.uniform(0, 1), "b": tune.uniform(0, 1), "order": tune.require(lambda c: c["a"] < c["b"], "a below b")}
    space = Space.parse(config)
    for seed in range(50):
        made = space.resolve(space.draw(random.Random(seed)))
        assert made["a"] < made["b"]
        assert set(made) == {"a", "b"}
    assert space.describe()["constraints"] == ["a below b"]


def test_constraints_that_cannot_hold_end_with_their_text() -> None:
    space = Space.parse({"a": tune.uniform(0, 1), "no": tune.require(lambda c: c["a"] > 2, "a above two")})
    with pytest.raises(SpaceError, match=r"found in 1000 tries that satisfies the constraint \(a above two\)"):
        space.draw(random.Random(0))
    grid = Space.parse({"a": tune.grid_search([1, 2]), "no": tune.require(lambda c: c["a"] > 1)})
    with pytest.raises(SpaceError, match=r"found in 2 tries .*test_space\.py"):
        grid.draw(random.Random(0), 0)
    assert grid.draw(random.Random(0), 1) == {"a": 2}


def test_a_constraint_that_raises_is_named() -> None:
    space = Space.parse({"a": tune.uniform(0, 1), "no": tune.require(lambda c: c["b"], "b")})
    with pytest.raises(UserCodeError, match=r"the constraint \(b\) raised KeyError: 'b'"):
        space.draw(random.Random(0))


def test_constraints_below_the_top_level_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"config\['a'\]\['c'\]: a constraint .* stands at the top level"):
        Space.parse({"a": {"c": tune.require(lambda c: True)}})


# ---- grids


def test_the_alphabetically_first_path_varies_fastest() -> None:
    space = Space.parse({"b": tune.grid_search([1, 2]), "a": {"z": tune.grid_search(["x", "y", "z"])}})
    assert space.grid_size == 6
    points = [space.draw(random.Random(0), index) for index in range(6)]
    assert [(p["a/z"], p["b"]) for p in points] == [("x", 1), ("y", 1), ("z", 1), ("x", 2), ("y", 2), ("z", 2)]


def test_a_grid_in_an_option_of_a_grid_counts_for_that_option_only() -> None:
    space = Space.parse({"m": tune.grid_search([{"k": tune.grid_search([1, 2, 3])}, {"j": 0}, "none"]), "z": tune.grid_search([0, 1])})
    assert space.grid_size == 10
    points = [space.resolve(space.draw(random.Random(0), index)) for index in range(10)]
    assert [p["m"] for p in points[:5]] == [{"k": 1}, {"k": 2}, {"k": 3}, {"j": 0}, "none"]
    assert [p["z"] for p in points] == [0] * 5 + [1] * 5


def test_a_grid_in_an_option_of_a_choice_is_drawn() -> None:
    space = Space.parse({"m": tune.choice([{"k": tune.grid_search([1, 2])}, {"j": 0}])})
    assert space.grid_size == 1
    seen = {space.draw(random.Random(n), 0).get("m/0/k") for n in range(50)}
    assert seen == {1, 2, None}


def test_what_is_fixed_makes_the_grid_smaller() -> None:
    space = Space.parse({"a": tune.grid_search([1, 2, 3]), "b": tune.grid_search([1, 2]), "x": tune.uniform(0, 1)})
    assert space.grid_count({"a": 2}) == 2
    points = [space.draw(random.Random(0), index, {"a": 2, "x": 0.5}) for index in range(2)]
    assert points == [{"a": 2, "b": 1, "x": 0.5}, {"a": 2, "b": 2, "x": 0.5}]


# ---- from configs back to values


def test_values_from_whole_configs_parts_and_flat_keys() -> None:
    space = Space.parse(OPTIMIZERS | {"net": {"layers": [tune.uniform(0, 1), 3]}, "epochs": 5})
    whole = {"opt": {"name": "adam", "lr": 1e-4, "b": 2}, "depth": 2, "net": {"layers": [0.5, 3]}, "epochs": 5}
    values = {"opt": 1, "opt/1/lr": 1e-4, "opt/1/b": 2, "depth": 2, "net/layers/0": 0.5}
    assert space.values_from(whole) == values
    assert space.values_from({"net/layers/0": 0.5, "opt": {"name": "sgd"}}) == {"net/layers/0": 0.5, "opt": 0}
    assert space.values_from({"opt/name": "adam", "opt/lr": 1e-5}) == {"opt": 1, "opt/1/lr": 1e-5}
    assert space.resolve(values) == whole


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"depht": 1}, r"config\['depht'\]: the space has no such entry; did you mean \"depth\"\?"),
        ({"zzz": 1}, r"config\['zzz'\]: the space has no such entry; it has opt, depth"),
        ({"depth": 3}, r"config\['depth'\]: 3 is none of its options \[1, 2\]"),
        ({"opt": {"name": "sgd", "lr": 2}}, r"config\['opt'\]: .* fits none of its 2 options"),
        ({"n": 9}, r"config\['n'\]: 9 is not in randint\(0, 9\) \(its upper bound is exclusive\)"),
        ({"n": 1.5}, r"config\['n'\]: 1.5 is not in"),
        ({"n": "a"}, r"config\['n'\]: 'a' is not in"),
        ({"epochs": 6}, r"config\['epochs'\]: is the constant 5, but 6 was given"),
        ({"l": 3}, r"config\['l'\]: expected a list of 2"),
        ({"l": [1, 2, 3]}, r"config\['l'\]: has 2 elements"),
        ({"d": 3}, r"config\['d'\]: expected a dict"),
        ([1], r"config: expected a dict of parameters"),
    ],
)
def test_points_outside_of_the_space_are_refused(point, words: str) -> None:
    config = OPTIMIZERS | {"n": tune.randint(0, 9), "epochs": 5, "l": [tune.randint(0, 9), 2], "d": {"x": tune.uniform(0, 1)}}
    with pytest.raises(SpaceError, match=words):
        Space.parse(config).values_from(point)


def test_a_rounding_error_at_a_bound_is_mended() -> None:
    space = Space.parse({"x": tune.loguniform(1e-4, 0.1)})
    assert space.values_from({"x": 0.1 * (1 + 1e-15)}) == {"x": 0.1}


def test_suggestions_may_bring_entries_of_their_own() -> None:
    space = Space.parse({"x": tune.uniform(0, 1), "epochs": 5, "net": {"w": 3}})
    values = space.values_from({"x": 0.5, "epochs": 7, "new": {"a": 1}, "net/w": np.int64(4)}, strict=False)
    assert values == {"x": 0.5, "epochs": 7, "new/a": 1, "net/w": 4}
    assert space.resolve(values) == {"x": 0.5, "epochs": 7, "net": {"w": 4}, "new": {"a": 1}}
    with pytest.raises(SpaceError, match=r"config\['f'\]: expected a number"):
        space.values_from({"f": len}, strict=False)


def test_missing_values_are_named() -> None:
    with pytest.raises(SpaceError, match=r"config\['depth'\]: no value was given for it; there are values for: opt, opt/0/lr"):
        Space.parse(OPTIMIZERS).resolve({"opt": 0, "opt/0/lr": 0.1})


# ---- errors of structure


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"a": {"b": {"grid_search": 5}}}, r"config\['a'\]\['b'\]: grid_search takes a list of values, got int 5"),
        ({"a": {"grid_search": "xy"}}, r"config\['a'\]: grid_search takes a list"),
        ({"a": {"grid_search": None}}, r"config\['a'\]: grid_search takes a list"),
        ({"a": [1, {"grid_search": []}]}, r"config\['a'\]\[1\]: grid_search has no options"),
        ({"grid_search": [1, 2]}, "put it under a name"),
        ({"a/b": tune.uniform(0, 1), "a": {"b": tune.uniform(0, 1)}}, "has the same flat name, 'a/b'"),
        ({0: tune.uniform(0, 1), "0": tune.uniform(0, 1)}, "has the same flat name, '0'"),
        ([1, 2], "config: expected a dict of named entries, got list"),
    ],
)
def test_structural_problems_name_the_path(config, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        Space.parse(config)


def test_a_config_that_contains_itself_is_refused() -> None:
    config: dict = {"a": {}}
    config["a"]["again"] = config
    with pytest.raises(SpaceError, match="contains itself"):
        Space.parse(config)


def test_the_same_list_may_stand_in_two_places() -> None:
    layers = [tune.choice([1])]
    assert config_of({"a": layers, "b": layers}) == {"a": [1], "b": [1]}


def test_empty_spaces() -> None:
    space = Space.parse({})
    assert space.is_empty
    assert space.grid_size == 1
    assert space.resolve(space.draw(random.Random(0))) == {}
    assert not Space.parse({"x": tune.grid_search([1])}).is_empty


def test_spaces_survive_a_pickle_with_their_constraints() -> None:
    space = Space.parse({"x": tune.uniform(0, 1), "c": tune.require(lambda c: c["x"] > 0.5), "f": tune.sample_from(lambda c: c["x"])})
    again = pickle.loads(cloudpickle.dumps(space))
    assert len(again.constraints) == 1
    assert again.draw(random.Random(3)) == space.draw(random.Random(3))

"""Mutations: always inside of the domain, of the same type and step, the same for the same seed; and what they make of a search space."""

from __future__ import annotations

import copy
import random
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tunesmith.core.rng import stream
from tunesmith.errors import SpecError, UserCodeError
from tunesmith.schedulers.base import Exploration, Mutated
from tunesmith.schedulers.exploring import mutated
from tunesmith.schedulers.mutations import Mutations
from tunesmith.space import (
    Domain,
    Space,
    choice,
    grid_search,
    lograndint,
    loguniform,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    require,
    sample_from,
    uniform,
)
from tunesmith.space.domains import Mutable
from tunesmith.space.mutable import current

FACTORS = (1.2, 0.8)


def moved(spec: Any, now: Any, seed: int = 0, resample: float = 0.0, factors: tuple[float, ...] = FACTORS) -> tuple[Any, str]:
    return Mutations("Mine", {"a": spec}).propose({"a": now}, random.Random(seed), resample=resample, factors=factors)["a"]


class Net:
    pass


class Tree:
    pass


# -- numbers -------------------------------------------------------------------------------------------------------------

BOUNDED = st.sampled_from([
    uniform(0.1, 1.0), loguniform(1e-5, 1e-1), quniform(0.0, 1.0, 0.1), qloguniform(0.5, 4.0, 0.5), randint(1, 9), qrandint(8, 64, 8),
    lograndint(1, 1000), uniform(-2.0, -1.0), uniform(-1.0, 1.0), randint(-5, 5),
])  # fmt: skip


@given(BOUNDED, st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 1.0]), st.lists(st.floats(0.1, 4.0), min_size=1, max_size=3))
def test_values_stay_in_their_domain(domain: Domain, seed: int, resample: float, factors: list[float]) -> None:
    rng = random.Random(seed)
    value = domain.draw(rng)
    for _ in range(20):
        value, how = moved(domain, value, rng.getrandbits(32), resample, tuple(factors))
        assert domain.is_valid(value), f"{value!r} is not in {domain!r} ({how})"
        assert type(value) is type(domain.draw(rng))


@given(BOUNDED, st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6), st.integers(0, 2**32))
def test_whatever_a_value_was_before(domain: Any, value: Any, seed: int) -> None:
    """A constant of the config may lie anywhere."""
    new, _ = moved(domain, value, seed)
    assert domain.lower <= new <= getattr(domain, "last", domain.upper)
    whole = isinstance(value, int) and domain.q is None and int(domain.upper) > int(domain.lower) + 1
    assert domain.is_valid(new) or (whole and isinstance(new, int))


@pytest.mark.parametrize("spec", [randint(1, 100), lambda: random.randint(1, 100), uniform(1.0, 100.0)])
@given(value=st.integers(1, 99), seed=st.integers(0, 2**32), resample=st.sampled_from([0.0, 0.3, 1.0]))
def test_whole_numbers_stay_whole(spec: Any, value: int, seed: int, resample: float) -> None:
    new, how = moved(spec, value, seed, resample)
    assert type(new) is int
    assert how.startswith(("resample", "x1.2", "x0.8"))


@pytest.mark.parametrize(
    ("spec", "now", "expected"),
    [
        (uniform(0.0, 1.0), 0.5, {0.6, 0.4}),
        (uniform(0.0, 0.55), 0.5, {0.55, 0.4}),  # not beyond the bound
        (randint(1, 10), 2, {3, 1}),  # 2.4 and 1.6 are 2: it moves all the same
        (randint(1, 3), 2, {2, 1}),
        (qrandint(8, 64, 8), 16, {24, 8}),
        (quniform(0.0, 1.0, 0.1), 0.1, {0.2, 0.0}),
        (randn(0.0, 1.0), -2.0, {-2.4, -1.6}),
        (qrandn(0.0, 1.0, 0.5), 1.0, {1.5, 0.5}),
        (lambda: 1.0, 0.5, {0.6, 0.4}),
        (lambda: 1, 2, {3, 1}),
        (lambda: True, True, {True}),
        (uniform(0.0, 0.9), 0, {0.0}),  # there is no whole number but one in the domain
    ],
)
def test_what_factors_do(spec: Any, now: Any, expected: set[Any]) -> None:
    found = [moved(spec, now, seed)[0] for seed in range(40)]
    assert {round(value, 9) for value in found} == expected
    assert {type(value) for value in found} == {type(one) for one in expected}


def test_what_was_done_is_told() -> None:
    assert {moved(uniform(0.0, 1.0), 1.0, seed) for seed in range(20)} == {(1.0, "x1.2 (noop)"), (0.8, "x0.8")}
    assert {moved([1, 2], 1, seed) for seed in range(20)} == {(1, "shift left (noop)"), (2, "shift right")}
    assert moved(uniform(0.0, 1.0), 0.5, resample=1.0)[1] == "resample"


@pytest.mark.parametrize("now", [None, "text", float("nan"), float("inf"), [1], True])
def test_what_is_no_number_is_drawn_anew(now: Any) -> None:
    value, how = moved(uniform(0.25, 0.5), now)
    assert how == "resample"
    assert 0.25 <= value <= 0.5


# -- options -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [list, tuple, choice, grid_search])
def test_a_choice_moves_as_a_list_does(make: Any) -> None:
    spec = make(["relu", "tanh", "gelu"])
    assert {moved(spec, "tanh", seed) for seed in range(20)} == {("relu", "shift left"), ("gelu", "shift right")}
    assert {moved(spec, "relu", seed, resample=1.0)[0] for seed in range(40)} == {"relu", "tanh", "gelu"}


@given(st.lists(st.integers(-3, 3) | st.text(max_size=2) | st.none(), min_size=1, max_size=5), st.integers(0, 2**32), st.data())
def test_one_of_the_options_next_to_it(options: list[Any], seed: int, data: Any) -> None:
    at = data.draw(st.integers(0, len(options) - 1))
    value, how = moved(options, options[at], seed)
    first = next(i for i, option in enumerate(options) if type(option) is type(options[at]) and option == options[at])
    assert value in [options[i] for i in range(max(0, first - 1), min(len(options), first + 2))]
    assert how.startswith("shift")


@pytest.mark.parametrize("options", [[1, 2, 4], [True, False], ["a", None], [Net, Tree], [[8], [16]]])
def test_a_value_outside_of_the_list_is_drawn_anew(options: list[Any]) -> None:
    value, how = moved(options, "something else")
    assert how == "resample"
    assert value in options


def test_one_and_true_are_told_apart() -> None:
    assert {moved([True, 1, 0], 1, seed)[0] for seed in range(20)} == {True, 0}


def test_options_with_domains_in_them_are_drawn() -> None:
    spec = [{"name": "sgd", "momentum": uniform(0.5, 0.9)}, {"name": "adam"}]
    value, how = moved(spec, {"name": "adam"}, seed=1)
    assert (value["name"], how) == ("sgd", "shift left")
    assert 0.5 <= value["momentum"] <= 0.9
    assert moved(spec, {"name": "sgd", "momentum": 0.7}, seed=2)[0] in ({"name": "adam"}, {"name": "sgd", "momentum": 0.7})


# -- functions of the user's ---------------------------------------------------------------------------------------------


def states() -> Any:
    return random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


@given(st.integers(0, 2**32))
def test_functions_draw_the_same_for_the_same_seed(seed: int) -> None:
    def drawn() -> Any:
        return random.random() + np.random.uniform()  # noqa: NPY002 - what users write

    before = states()
    assert moved(drawn, 0.5, seed, 1.0) == moved(drawn, 0.5, seed, 1.0)
    assert moved(drawn, 0.5, seed, 1.0) != moved(drawn, 0.5, seed + 1, 1.0)
    assert states() == before, "the user's own streams were touched"


def test_numpys_numbers_become_pythons() -> None:
    value, _ = moved(lambda: np.float64(0.25), "text")
    assert type(value) is float


def broken() -> float:
    raise ZeroDivisionError("no luck")


def test_a_function_that_fails_is_named() -> None:
    text = r"hyperparam_mutations\['a'\] \(broken\) raised ZeroDivisionError: no luck at test_mutations.py"
    with pytest.raises(UserCodeError, match=text):
        moved(broken, 0.5, resample=1.0)


# -- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([1], "hyperparam_mutations must be a dict"),
        ({"a": []}, r"\['a'\] has no options"),
        ({"a": {}}, r"\['a'\] is an empty dict"),
        ({"a": 3}, r"\['a'\] must be a list of options, a domain"),
        ({"a": Net}, r"\['a'\] must be a list of options, a domain"),
        ({"a": {"b": sample_from(lambda: 1)}}, r"\['a/b'\] is a sample_from"),
        ({"a": {"b": [1]}, "a/b": [2]}, r"\['a/b'\] is there twice"),
    ],
)
def test_refused(given: Any, text: str) -> None:
    with pytest.raises(SpecError, match=f"^Mine: hyperparam_mutations.*{text}|^Mine: {text}"):
        Mutations("Mine", given)


# -- the space -----------------------------------------------------------------------------------------------------------


def prepared(config: dict[str, Any], **mutations: Any) -> dict[str, Any]:
    return Mutations("Mine", mutations).prepare(config)


def test_what_the_config_lacks_is_drawn() -> None:
    config = prepared({"epochs": 3}, lr=uniform(0, 1), act=["a", "b"], net={"width": lambda: 8, "model": [Net, Tree]})
    space = Space.parse(config)
    values = space.draw(random.Random(1))
    assert set(values) == {"lr", "act", "net/width", "net/model"}
    found = space.resolve(values)
    assert (found["epochs"], found["net"]["width"]) == (3, 8)
    assert values["net/model"] in (0, 1)
    assert found["net"]["model"] in (Net, Tree)


def test_constants_stay_constants_to_searchers_and_can_change() -> None:
    given = {"lr": 1e-3, "net": {"model": Net, "width": 8}, "seed": 1}
    space = Space.parse(prepared(given, lr=uniform(0, 1), net={"model": [Tree, Net]}))
    assert space.is_empty
    assert space.draw(random.Random(1)) == {}
    assert space.resolve({}) == given
    assert space.resolve({"lr": 0.5, "net/model": {"$option": 0}}) == {"lr": 0.5, "net": {"model": Tree, "width": 8}, "seed": 1}
    assert space.labels({"lr": 0.5}) == {"lr": 0.5, "net/model": "Net"}


def test_the_given_config_is_left_alone() -> None:
    given = {"net": {"lr": 0.1}, "opt": choice([{"m": 1}])}
    prepared(given, net={"lr": [1, 2], "wd": [3]}, opt={"m": [1, 2]})
    assert given["net"] == {"lr": 0.1}
    assert given["opt"].categories == ({"m": 1},)


def test_domains_and_grids_stay_as_they_are() -> None:
    given = {"lr": uniform(0, 1), "act": {"grid_search": ["a", "b"]}, "n": sample_from(lambda: 3)}
    assert prepared(given, lr=[0.1], act=["a", "c"], n=[1, 2]) == given


def test_through_the_options_of_a_choice() -> None:
    given = {"opt": choice([{"name": "sgd", "lr": 0.1, "m": 0.9}, {"name": "adam", "lr": uniform(0, 1)}, "none"])}
    space = Space.parse(prepared(given, opt={"lr": loguniform(1e-3, 1.0), "m": [0.8, 0.9]}))
    assert space.resolve({"opt": 0}) == {"opt": {"name": "sgd", "lr": 0.1, "m": 0.9}}
    assert space.resolve({"opt": 0, "opt/0/lr": 0.2})["opt"]["lr"] == 0.2
    assert set(space.variables) == {"opt/0/lr", "opt/0/m"}
    assert current(space, {"opt": "none"}, ["opt/lr"]) == {}


def test_through_lists_and_keys_that_are_no_strings() -> None:
    space = Space.parse(prepared({"layers": [{"w": 8}, {"w": 16}], 3: {"x": 1}}, layers={"1": {"w": [16, 32]}}, **{"3": {"x": [1, 2]}}))
    assert space.resolve({"layers/1/w": 32, "3/x": 2}) == {"layers": [{"w": 8}, {"w": 32}], 3: {"x": 2}}


def test_prepared_again_it_is_the_same() -> None:
    """A session that goes on with the stored space prepares what was prepared."""
    mutations = Mutations("Mine", {"lr": uniform(0, 1), "model": [Net, Tree], "new": [1, 2]})
    once = mutations.prepare({"lr": 0.1, "model": Net})
    twice = mutations.prepare(once)
    assert Space.parse(once).describe() == Space.parse(twice).describe()
    assert isinstance(twice["lr"], Mutable)
    assert twice["lr"].start == 0.1


@pytest.mark.parametrize(
    ("config", "mutations", "text"),
    [
        ({"a": 3}, {"a": {"b": [1]}}, r"\['a/b'\] leads to nothing: the config has 3"),
        ({"a": choice([{"c": 1}, 2])}, {"a": {"b": [1]}}, r"\['a/b'\]: none of the options"),
        ({"a": {"b": uniform(0, 1)}}, {"a": [{"b": 1}]}, r"\['a'\]: the config has domains within"),
        ({"a": choice([Net])}, {"a": [Net, Tree]}, r"\['a'\]: .*Tree.* is no option of the config's own"),
    ],
)
def test_spaces_that_cannot_change_so(config: dict[str, Any], mutations: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=f"Mine: hyperparam_mutations{text}"):
        Mutations("Mine", mutations).prepare(config)


def test_it_can_be_stored_and_copied() -> None:
    mutations = Mutations("Mine", {"model": [Net, Tree], "lr": uniform(0, 1), "opt": [{"m": uniform(0, 1)}, {"n": 1}]})
    for other in (copy.deepcopy(mutations), cloudpickle.loads(cloudpickle.dumps(mutations))):
        now = {"model": Net, "lr": 0.5, "opt": {"n": 1}}
        new = other.propose(now, random.Random(3), resample=0.5, factors=FACTORS)
        assert repr(new) == repr(mutations.propose(now, random.Random(3), resample=0.5, factors=FACTORS))


# -- the whole way: values, mutated, recorded, resolved ------------------------------------------------------------------

SPACE = {
    "lr": 1e-3,
    "momentum": uniform(0.0, 0.99),
    "model": choice([Net, Tree]),
    "opt": choice([{"name": "sgd", "nesterov": False, "clip": uniform(0.5, 2.0)}, {"name": "adam", "eps": 1e-8}]),
    "data": Net,
    "epochs": 3,
}
MUTATIONS = {
    "lr": loguniform(1e-5, 1e-1),
    "momentum": uniform(0.1, 0.9),
    "model": [Net, Tree],
    "opt": {"nesterov": [True, False], "clip": [0.5, 1.0, 2.0], "eps": loguniform(1e-9, 1e-6)},
    "batch": [16, 32, 64],
    "seed": lambda: random.randint(0, 9),
}


def explore(
    values: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    space: Space | None = None,
    custom: Any = None,
    given: Any = None,
    **options: Any,
) -> Mutated:
    mutations = Mutations("Mine", MUTATIONS if given is None else given)
    space = space or Space.parse(mutations.prepare(SPACE))
    rng = stream(seed, "explore 1", 0)
    values = space.draw(random.Random(seed)) if values is None else values
    how = {"resample": 0.25, "factors": FACTORS, **options}
    asked = Exploration(0, 1, 1, values, {}, space, seed)
    return mutated(asked, mutations, lambda now: mutations.propose(now, rng, **how), custom, rng)


@given(st.integers(0, 2**32))
def test_again_and_again(seed: int) -> None:
    """Explored from explored values: all that is recorded gives a config, and every entry is what it may be."""
    space = Space.parse(Mutations("Mine", MUTATIONS).prepare(SPACE))
    values = space.draw(random.Random(seed))
    for step in range(8):
        before = copy.deepcopy(values)
        found = explore(values, seed=seed + step, space=space)
        assert values == before, "the source's values were changed"
        assert repr(explore(values, seed=seed + step, space=space)) == repr(found)
        values = found.values
        config = space.resolve(values)
        assert 1e-5 <= config["lr"] <= 1e-1
        assert 0.0 <= config["momentum"] <= 0.99
        assert config["model"] in (Net, Tree)
        assert (config["data"], config["epochs"]) == (Net, 3)
        assert config["batch"] in (16, 32, 64)
        assert type(config["seed"]) is int
        if config["opt"]["name"] == "sgd":
            assert config["opt"]["clip"] in (0.5, 1.0, 2.0)
            assert set(found.changes) == {"lr", "momentum", "model", "opt/nesterov", "opt/clip", "batch", "seed"}
        else:
            assert 1e-9 <= config["opt"]["eps"] <= 1e-6
            assert set(found.changes) == {"lr", "momentum", "model", "opt/eps", "batch", "seed"}
        for path, (_, now, _) in found.changes.items():
            assert now == space.labels(values)[path]


def test_constraints_hold() -> None:
    given = {"a": uniform(0, 1), "b": uniform(0, 1), "c": require(lambda config: config["a"] < config["b"], "a is below b")}
    space = Space.parse(given)
    values = {"a": 0.45, "b": 0.5}
    for seed in range(30):
        found = explore(values, seed=seed, space=space, given={"a": uniform(0, 1), "b": uniform(0, 1)})
        assert found.values["a"] < found.values["b"]


def test_where_no_mutation_satisfies_the_constraints_all_stays() -> None:
    space = Space.parse({"a": choice([1, 2]), "c": require(lambda config: config["a"] == 1)})
    found = explore({"a": 1}, space=space, given={"a": [2, 2]}, resample=1.0)
    assert found == Mutated({"a": 1}, {"a": [1, 1, "kept, for the constraints"]})


# -- custom_explore_fn ---------------------------------------------------------------------------------------------------


def test_it_gets_and_returns_the_whole_config() -> None:
    seen: list[Any] = []

    def custom(config: dict[str, Any]) -> dict[str, Any]:
        seen.append(copy.deepcopy(config))
        config["epochs"] = 4  # a constant
        config["momentum"] = 5.0  # outside of its domain: it counts
        config["opt"]["warmup"] = 100  # new, nested
        config["model"] = Tree
        config["note"] = "by hand"
        return config

    space = Space.parse(Mutations("Mine", MUTATIONS).prepare(SPACE))
    values = space.draw(random.Random(2))
    found = explore(values, space=space, custom=custom)
    assert set(seen[0]) == {*SPACE, "batch", "seed"}
    config = space.resolve(found.values)
    assert (config["epochs"], config["momentum"], config["opt"]["warmup"]) == (4, 5.0, 100)
    assert (config["model"], config["note"]) == (Tree, "by hand")
    assert found.changes["epochs"] == [3, 4, "custom_explore_fn"]
    assert found.changes["momentum"][1:] == [5.0, f"{found.changes['momentum'][2].split(',')[0]}, custom_explore_fn"]
    again = explore(found.values, seed=1, space=space)
    assert space.resolve(again.values)["epochs"] == 4, "what was recorded stays with the next one that copies it"
    assert space.resolve(again.values)["note"] == "by hand"


def test_another_option_is_found_by_what_it_is() -> None:
    space = Space.parse(SPACE)
    sgd = {"momentum": 0.5, "model": 0, "opt": 0, "opt/0/clip": 1.0}

    def custom(config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "opt": {"name": "adam", "eps": 1e-8}}

    found = explore(sgd, space=space, custom=custom, given={})
    assert found.values == {"momentum": 0.5, "model": 0, "opt": 1}


@pytest.mark.parametrize(
    ("custom", "text"),
    [
        (lambda config: None, "custom_explore_fn returned None; it must return the config"),
        (lambda config: config["nothing"], "custom_explore_fn raised KeyError: 'nothing'"),
        (lambda config: {**config, "model": object()}, r"custom_explore_fn made a config that cannot be recorded: config\['model'\]"),
        (lambda config: {**config, "new": Net()}, r"custom_explore_fn made a config that cannot be recorded: config\['new'\]"),
        (lambda config: {key: config[key] for key in config if key != "epochs"}, r"config\['epochs'\]: was taken away"),
        (lambda config: {**config, "opt": 3}, r"config\['opt'\]: 3 fits none of its 2 options"),
    ],
)
def test_what_cannot_be_recorded_is_refused(custom: Any, text: str) -> None:
    with pytest.raises(UserCodeError, match=text):
        explore(custom=custom)


@given(st.integers(0, 2**32))
def test_a_function_that_changes_nothing_changes_nothing(seed: int) -> None:
    space = Space.parse(SPACE)
    values = space.draw(random.Random(seed))
    assert explore(values, space=space, custom=lambda config: config, given={}) == Mutated(values, {})
    assert explore(values, space=space, custom=copy.deepcopy, given={}).values == values


@given(st.integers(0, 2**32), st.sampled_from(["random", "numpy"]))
def test_its_randomness_is_the_exploits_own(seed: int, which: str) -> None:
    def custom(config: dict[str, Any]) -> dict[str, Any]:
        drawn = random.randrange(10**9) if which == "random" else int(np.random.randint(10**9))  # noqa: NPY002
        return {**config, "epochs": drawn}

    assume(explore(seed=seed, custom=custom) != explore(seed=seed + 1, custom=custom))
    assert explore(seed=seed, custom=custom) == explore(seed=seed, custom=custom)

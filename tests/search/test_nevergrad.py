"""Nevergrad as a searcher."""

from __future__ import annotations

import math
import pickle
import random
import sys
from collections.abc import Mapping
from typing import Any

import nevergrad as ng
import pytest

from tunesmith.errors import SpaceError, SpecError
from tunesmith.search.base import Proposal
from tunesmith.search.nevergrad import NevergradSearch
from tunesmith.space import Space, choice, lograndint, loguniform, qloguniform, qrandint, qrandn, quniform, randint, randn, uniform
from tunesmith.testing import SearcherKit


@pytest.mark.slow
class TestNevergrad(SearcherKit):
    def make(self) -> NevergradSearch:
        return NevergradSearch()


class TestOnePlusOne(SearcherKit):
    def make(self) -> NevergradSearch:
        return NevergradSearch("OnePlusOne")


def bound(searcher: NevergradSearch, config: Mapping[str, Any] | None = None, seed: int = 1, **task: Any) -> NevergradSearch:
    searcher.bind(Space.parse(dict(config or {})), "loss", "min", seed, **task)
    return searcher


def values_of(answer: object) -> dict[str, Any]:
    assert isinstance(answer, Proposal)
    return answer.values


def play(searcher: NevergradSearch, loss: Any, trials: range) -> list[dict[str, Any]]:
    """Values of these trials, one after the other."""
    found = []
    for number in trials:
        found.append(values_of(searcher.propose(number, str(number))))
        searcher.on_trial_complete(str(number), {"loss": loss(found[-1])})
    return found


def replayed(searcher: NevergradSearch, loss: Any, earlier: list[dict[str, Any]]) -> NevergradSearch:
    for number, values in enumerate(earlier):
        searcher.on_replayed(number, str(number), values)
        searcher.on_trial_complete(str(number), {"loss": loss(values)})
    return searcher


MIXED = {
    "x": uniform(-5, 5),
    "lr": loguniform(1e-5, 1),
    "n": randint(0, 10),
    "units": lograndint(1, 1000),
    "q": quniform(-0.5, 0.5, 0.1),
    "ql": qloguniform(0.01, 10, 0.01),
    "batch": qrandint(8, 64, 8),
    "z": randn(3, 2),
    "qz": qrandn(0, 5, 0.5),
    "ordered": choice([16, 32, 64]),
    "opt": choice([{"name": "sgd", "momentum": uniform(0, 1)}, {"name": "adam", "beta": choice(["a", "b"])}, None]),
}


def mixed_loss(values: Mapping[str, Any]) -> float:
    return values["x"] ** 2 + abs(math.log10(values["lr"]) + 2) + (0 if values["opt"] == 0 else 3)


@pytest.mark.parametrize("optimizer", ["NGOpt", "CMA", "PSO", "OnePlusOne"])
def test_after_a_resume_it_proposes_what_it_would_have_in_a_space_of_all_kinds(optimizer: str) -> None:
    whole = bound(NevergradSearch(optimizer), MIXED)
    first = play(whole, mixed_loss, range(8))
    again = replayed(bound(NevergradSearch(optimizer), MIXED), mixed_loss, first)
    assert play(again, mixed_loss, range(8, 12)) == play(whole, mixed_loss, range(8, 12))


def test_what_it_would_not_have_proposed_is_told_to_it_all_the_same() -> None:
    """As after a resume with more trials, for which NGOpt may take another optimizer."""
    first = play(bound(NevergradSearch("OnePlusOne"), {"x": uniform(0, 1)}), lambda values: values["x"], range(6))
    again = replayed(bound(NevergradSearch("OnePlusOne"), {"x": uniform(0, 1)}, seed=2), lambda values: values["x"], first)
    optimizer = again._optimizer
    assert optimizer.num_tell == 6
    assert optimizer.num_tell_not_asked >= 5, "the very first one is the middle of the space with any seed"
    assert optimizer.provide_recommendation().value["x"] == pytest.approx(min(values["x"] for values in first))


@pytest.mark.parametrize(
    ("optimizer", "space", "least"),
    [
        pytest.param(None, {"x": uniform(-5, 5), "lr": loguniform(1e-5, 1), "n": randint(0, 10)}, 4, marks=pytest.mark.slow),
        ("OnePlusOne", {"x": uniform(-5, 5), "lr": loguniform(1e-5, 1), "n": choice([1, 4, 7, 9])}, 3),
    ],
)
def test_it_finds_more_than_random_search(optimizer: Any, space: dict[str, Any], least: int) -> None:
    def loss(values: Mapping[str, Any]) -> float:
        return (values["x"] - 1) ** 2 + (math.log10(values["lr"]) + 2) ** 2 + (values["n"] - 7) ** 2 / 4  # type: ignore[no-any-return]

    wins = 0
    for seed in range(4):
        rng = random.Random(seed)
        found = play(bound(NevergradSearch(optimizer), space, seed, budget=60), loss, range(60))
        wins += min(map(loss, found)) < min(loss(Space.parse(space).draw(rng)) for _ in range(60))
    assert wins >= least


def test_failures_are_never_told_as_infinite() -> None:
    searcher = bound(NevergradSearch("OnePlusOne"), {"x": uniform(0, 1)})
    told: list[float] = []
    searcher._optimizer.register_callback("tell", lambda optimizer, candidate, loss: told.append(loss))
    ends: list[tuple[Any, str]] = [
        (None, "oom_gpu"), ({"loss": 1.0}, ""), ({"loss": 2.0}, ""), ({"loss": math.nan}, ""), (None, "user_error"), (None, "lost"),
        (None, ""),
    ]  # fmt: skip
    for number, (result, error) in enumerate(ends):
        searcher.propose(number, str(number))
        if error:
            searcher.on_trial_failed(str(number), error)
        searcher.on_trial_complete(str(number), result, bool(error))
    assert told == [1.0, 2.0, 2.0, 2.0], "the worst so far stands for what may be the configuration's own fault"


# ---- optimizers


@pytest.mark.parametrize(
    "optimizer",
    [
        ng.optimizers.CMA,
        ng.optimizers.ParametrizedOnePlusOne(noise_handling="optimistic"),
        "PSO",
        "ScrHammersleySearch",
        "Powell",
        "RandomSearch",
    ],
)
def test_classes_families_and_names(optimizer: Any) -> None:
    searcher = bound(NevergradSearch(optimizer), {"x": uniform(0, 1), "y": uniform(0, 1)}, budget=10)
    points = play(searcher, lambda values: values["x"], range(10))
    assert len({values["x"] for values in points}) > 4


def test_budget_and_workers_are_the_experiments() -> None:
    given = bound(NevergradSearch("CMA"), {"x": uniform(0, 1)}, budget=33, concurrency=5)._optimizer
    assert (given.budget, given.num_workers) == (33, 5)
    own = bound(NevergradSearch("CMA", {"budget": 7, "num_workers": 3}), {"x": uniform(0, 1)}, budget=33, concurrency=5)._optimizer
    assert (own.budget, own.num_workers) == (7, 3)
    unknown = bound(NevergradSearch("CMA"), {"x": uniform(0, 1)})._optimizer
    assert (unknown.budget, unknown.num_workers) == (100, 2)


def test_one_optimizer_object_serves_several_experiments_and_stays_as_it_was() -> None:
    optimizer = ng.optimizers.OnePlusOne(ng.p.Dict(lr=ng.p.Log(lower=1e-4, upper=1), act=ng.p.Choice(["relu", "tanh"])), budget=20)
    first = play(bound(NevergradSearch(optimizer), {"epochs": 3}), lambda values: values["lr"], range(5))
    second = play(bound(NevergradSearch(optimizer), {"epochs": 3}), lambda values: values["lr"], range(5))
    assert first == second
    assert optimizer.num_ask == 0
    assert all(1e-4 <= values["lr"] <= 1 and values["act"] in ("relu", "tanh") for values in first)


def test_names_for_an_array_and_for_positional_arguments() -> None:
    array = ng.optimizers.OnePlusOne(ng.p.Array(shape=(2,), lower=0, upper=1), budget=20)
    arguments = ng.optimizers.OnePlusOne(ng.p.Instrumentation(ng.p.Scalar(lower=0, upper=1), b=ng.p.Choice([1, 2])), budget=20)
    number = ng.optimizers.OnePlusOne(ng.p.Scalar(lower=0, upper=1), budget=20)
    for optimizer, names, keys in ((array, ["a", "b"], {"a", "b"}), (arguments, ["a"], {"a", "b"}), (number, ["a"], {"a"})):
        whole = bound(NevergradSearch(optimizer, None, names))
        first = play(whole, lambda values: values["a"], range(6))
        assert all(values.keys() == keys and 0 <= values["a"] <= 1 for values in first)
        again = replayed(bound(NevergradSearch(optimizer, None, names)), lambda values: values["a"], first)
        assert play(again, lambda values: values["a"], range(6, 9)) == play(whole, lambda values: values["a"], range(6, 9))
    with pytest.raises(SpaceError, match=r"has 2 values without names, and space=\[...\] names 1: a"):
        bound(NevergradSearch(array, space=["a"]))


# ---- spaces of Nevergrad's own


def test_a_parametrization_is_laid_over_the_config() -> None:
    space = ng.p.Dict(
        lr=ng.p.Log(lower=1e-4, upper=1),
        net=ng.p.Dict(layers=ng.p.Scalar(lower=1, upper=5).set_integer_casting(), kernel=ng.p.Tuple(ng.p.Choice([1, 3]), 2)),
        opt=ng.p.Choice([ng.p.Dict(name="sgd", m=ng.p.Scalar(lower=0, upper=1)), ng.p.Dict(name="adam")]),
    )
    config = {"epochs": 3, "net": {"depth": 4}}
    whole = bound(NevergradSearch("OnePlusOne", space=space, points_to_evaluate=[{"lr": 0.5, "opt": {"name": "adam"}}]), config)
    first = play(whole, lambda values: values["lr"], range(8))
    resolved = [Space.parse(config).resolve(values) for values in first]
    assert (resolved[0]["lr"], resolved[0]["opt"]) == (pytest.approx(0.5), {"name": "adam"})
    for each in resolved:
        assert (each["epochs"], each["net"]["depth"]) == (3, 4)
        assert each["net"]["layers"] in range(1, 6)
        assert each["net"]["kernel"] in ([1, 2], [3, 2])
    assert space.generation == 0
    again = bound(NevergradSearch("OnePlusOne", space=space, points_to_evaluate=[{"lr": 0.5, "opt": {"name": "adam"}}]), config)
    replayed(again, lambda values: values["lr"], first)
    assert play(again, lambda values: values["lr"], range(8, 12)) == play(whole, lambda values: values["lr"], range(8, 12))
    assert again._optimizer.num_tell == 12


def test_a_dict_of_parameters_and_points_that_are_told() -> None:
    space = {"a": ng.p.Scalar(lower=0, upper=1), "b": ng.p.Choice([1, 2])}
    searcher = NevergradSearch("OnePlusOne", space=space, points_to_evaluate=[{"a": 0.125, "b": 1}], evaluated_rewards=[-9.0])
    bound(searcher)
    assert searcher._optimizer.num_tell_not_asked == 1
    assert searcher._optimizer.provide_recommendation().value == {"a": pytest.approx(0.125), "b": 1}


def test_a_point_that_is_not_in_the_parametrization_is_refused() -> None:
    space = ng.p.Dict(a=ng.p.Scalar(lower=0, upper=1), b=ng.p.Choice([1, 2]))
    searcher = bound(NevergradSearch("OnePlusOne", space=space, points_to_evaluate=[{"b": 3}]))
    with pytest.raises(SpaceError, match="is not in the parametrization"):
        searcher.propose(0, "0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("NoSuch",), "nevergrad has no optimizer 'NoSuch'"),
        ((3,), "optimizer must be a class, a name or an optimizer of nevergrad's, got 3"),
        (("CMA", None, ["a", "b"]), "a list of names only beside an optimizer object"),
        ((ng.optimizers.CMA(2, budget=5), {"budget": 7}), "optimizer_kwargs are for making an optimizer"),
        ((ng.optimizers.CMA(2, budget=5), None, {"x": uniform(0, 1)}), "an optimizer object has its own space"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        NevergradSearch(*arguments)


def test_an_optimizer_that_cannot_be_made_says_why() -> None:
    with pytest.raises(SpecError, match=r"OnePlusOne cannot be made for this space with .*'workers': 3"):
        bound(NevergradSearch("OnePlusOne", {"workers": 3}), {"x": uniform(0, 1)})


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nevergrad", None)
    with pytest.raises(SpecError, match=r'pip install "tunesmith\[nevergrad\]"'):
        NevergradSearch()


def test_its_state_can_be_pickled() -> None:
    searcher = bound(NevergradSearch("CMA"), MIXED)
    play(searcher, mixed_loss, range(6))
    again = bound(NevergradSearch("CMA"), MIXED)
    again.set_state(pickle.loads(pickle.dumps(searcher.get_state())))
    assert again.propose(6, "6") == searcher.propose(6, "6")

"""Optuna as a searcher."""

from __future__ import annotations

import logging
import math
import pickle
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from tunesmith.errors import SpecError
from tunesmith.search.base import Exhausted, Proposal
from tunesmith.search.optuna import OptunaSearch
from tunesmith.space import (
    Space,
    choice,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    uniform,
)
from tunesmith.testing import SearcherKit


class TestOptuna(SearcherKit):
    def make(self) -> OptunaSearch:
        return OptunaSearch()


class TestNSGAII(SearcherKit):
    def make(self) -> OptunaSearch:
        return OptunaSearch(sampler=optuna.samplers.NSGAIISampler(population_size=2))


def bound(searcher: OptunaSearch, config: Mapping[str, Any] | None = None, seed: int = 1, **task: Any) -> OptunaSearch:
    searcher.bind(Space.parse(dict(config or {})), "loss", "min", seed, **task)
    return searcher


def values_of(answer: object) -> dict[str, Any]:
    assert isinstance(answer, Proposal), answer
    return answer.values


def play(searcher: OptunaSearch, loss: Any, trials: range) -> list[dict[str, Any]]:
    """Values of these trials, one after the other."""
    found = []
    for number in trials:
        found.append(values_of(searcher.propose(number, str(number))))
        searcher.on_trial_complete(str(number), {"loss": loss(found[-1])})
    return found


def replayed(searcher: OptunaSearch, loss: Any, earlier: list[dict[str, Any]]) -> OptunaSearch:
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
    "wide": qlograndint(8, 512, 8),
    "z": randn(3, 2),
    "alike": choice([1, 1.0, True, "x"]),
    "opt": choice([{"name": "sgd", "momentum": uniform(0, 1)}, {"name": "adam", "beta": choice([0.9, 0.99])}, None]),
}


def mixed_loss(values: Mapping[str, Any]) -> float:
    return values["x"] ** 2 + abs(math.log10(values["lr"]) + 2) + (0 if values["opt"] == 0 else 3)


@pytest.mark.parametrize(
    "sampler",
    [
        None,
        optuna.samplers.TPESampler(n_startup_trials=3, multivariate=False),
        optuna.samplers.CmaEsSampler(n_startup_trials=2, warn_independent_sampling=False),
        optuna.samplers.NSGAIISampler(population_size=3),
        optuna.samplers.RandomSampler(seed=1),
    ],
)
def test_after_a_resume_it_proposes_what_it_would_have_in_a_space_of_all_kinds(sampler: Any) -> None:
    whole = bound(OptunaSearch(sampler=sampler), MIXED)
    first = play(whole, mixed_loss, range(13))
    again = replayed(bound(OptunaSearch(sampler=sampler), MIXED), mixed_loss, first)
    assert [trial.params for trial in again.study.trials] == [trial.params for trial in whole.study.trials], "to the last bit"
    assert play(again, mixed_loss, range(13, 17)) == play(whole, mixed_loss, range(13, 17))


def test_normal_distributions_with_steps_are_drawn_as_such() -> None:
    found = [values["z"] for values in play(bound(OptunaSearch(), {"z": qrandn(10, 2, 0.5)}), lambda _: 0.0, range(60))]
    assert all(value * 2 == int(value * 2) for value in found)
    assert 9 < sum(found) / len(found) < 11
    assert 2 < max(found) - min(found) < 16


def test_it_finds_more_than_random_search() -> None:
    space = {"x": uniform(-5, 5), "lr": loguniform(1e-5, 1), "opt": choice([{"m": uniform(0, 1)}, {"b": uniform(0, 1)}, None])}

    def loss(values: Mapping[str, Any]) -> float:
        inner = (values["opt/0/m"] - 0.5) ** 2 if values["opt"] == 0 else 3.0
        return values["x"] ** 2 + (math.log10(values["lr"]) + 2) ** 2 + inner  # type: ignore[no-any-return]

    wins = 0
    for seed in range(4):
        found = play(bound(OptunaSearch(), space, seed), loss, range(40))
        rng = random.Random(seed)
        wins += min(map(loss, found)) < min(loss(Space.parse(space).draw(rng)) for _ in range(40))
    assert wins >= 3


def test_final_states_and_intermediate_values() -> None:
    searcher = bound(OptunaSearch(outcome_constraints=["size <= 2"]), {"x": uniform(0, 1)})
    for number in range(5):
        searcher.propose(number, str(number))
    for step, loss in ((1, 0.5), (2, math.nan), (3, 0.25), (3, 0.125)):
        searcher.on_trial_result("0", {"loss": loss, "training_iteration": step})
    searcher.on_trial_complete("0", {"loss": 0.25, "size": 5, "training_iteration": 3})
    searcher.on_trial_complete("1", {"loss": math.inf})
    searcher.on_trial_complete("2")
    searcher.on_trial_failed("3", "oom_gpu")
    searcher.on_trial_complete("3", None, error=True)
    trials = searcher.study.trials
    states = [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    assert [trial.state for trial in trials] == states
    assert trials[0].value == 0.25
    assert trials[0].intermediate_values == {1: 0.5, 3: 0.25}
    assert trials[0].constraints == {"size <= 2.0": 3.0}
    assert isinstance(searcher.study.pruner, optuna.pruners.NopPruner)


def test_values_are_the_users_own_whatever_the_mode() -> None:
    searcher = OptunaSearch(metric=["acc", "size"], mode=["max", "min"], outcome_constraints=["size <= 7"])
    searcher.bind(Space.parse({"x": uniform(0, 1)}))
    for number in range(3):
        searcher.propose(number, str(number))
        searcher.on_trial_result(str(number), {"acc": 0.1, "size": 3, "training_iteration": 1})
    searcher.on_trial_complete("0", {"acc": 0.75, "size": 3, "training_iteration": 1})
    searcher.on_trial_complete("1", {"acc": 0.5, "size": 2, "training_iteration": 1})
    searcher.on_trial_complete("2")
    study = searcher.study
    assert [trial.values for trial in study.trials] == [[0.75, 3.0], [0.5, 2.0], None]
    assert study.trials[2].state is TrialState.FAIL
    assert len(study.best_trials) == 2


def test_what_users_know_is_told() -> None:
    searcher = OptunaSearch(points_to_evaluate=[{"x": 0.25}, {"x": 0.75}], evaluated_rewards=[4.0])
    searcher.add_evaluated_point({"x": 0.5}, 2.0, pruned=True, intermediate_values=[3.0, 2.0])
    bound(searcher, {"x": uniform(0, 1)})
    assert [(trial.params["x"], trial.value, trial.state.name) for trial in searcher.study.trials] == [
        (0.25, 4.0, "COMPLETE"), (0.5, 2.0, "PRUNED"),
    ]  # fmt: skip
    assert searcher.study.trials[1].intermediate_values == {1: 3.0, 2: 2.0}
    assert values_of(searcher.propose(0, "0"))["x"] == 0.75


# ---- spaces of Optuna's own


def define(trial: Any) -> dict[str, Any]:
    if trial.suggest_categorical("model", ["net", "tree"]) == "net":
        trial.suggest_float("net/lr", 1e-4, 1, log=True)
        trial.suggest_int("net/layers", 1, 4)
    else:
        trial.suggest_int("tree/depth", 2, 10)
    return {"epochs": 10, "net": {"width": 8}} if trial.params["model"] == "net" else {"epochs": 20}


def own_loss(values: Mapping[str, Any]) -> float:
    return float(values.get("net/lr", 2.0))


@pytest.mark.parametrize("sampler", [None, optuna.samplers.NSGAIISampler(population_size=4)])
def test_a_function_defines_the_space_by_running(sampler: Any) -> None:
    config = {"seed": 3}
    points = [{"model": "net", "net": {"lr": 0.5}}]
    whole = bound(OptunaSearch(define, sampler=sampler, points_to_evaluate=points), config)
    first = play(whole, own_loss, range(14))
    assert (first[0]["model"], first[0]["net/lr"]) == ("net", 0.5)
    for values in first:
        resolved = Space.parse(config).resolve(values)
        assert resolved["seed"] == 3
        if resolved["model"] == "net":
            assert (resolved["epochs"], resolved["net"]["width"], resolved["net"]["layers"] in range(1, 5)) == (10, 8, True)
        else:
            assert (resolved["epochs"], resolved["tree"]["depth"] in range(2, 11)) == (20, True)
    assert {values["model"] for values in first} == {"net", "tree"}
    again = replayed(bound(OptunaSearch(define, sampler=sampler, points_to_evaluate=points), config), own_loss, first)
    assert [trial.params for trial in again.study.trials] == [trial.params for trial in whole.study.trials]
    assert play(again, own_loss, range(14, 18)) == play(whole, own_loss, range(14, 18))


def test_a_dict_of_distributions() -> None:
    space = {
        "lr": FloatDistribution(1e-4, 1, log=True),
        "net/layers": IntDistribution(1, 9, step=2),
        "units": IntDistribution(1, 100, log=True),
        "half": FloatDistribution(0, 2, step=0.5),
        "act": CategoricalDistribution(["relu", "tanh"]),
    }
    searcher = bound(OptunaSearch(space), {"net": {"width": 4}})
    for values in play(searcher, lambda values: values["lr"], range(12)):
        assert values.keys() == space.keys()
        assert values["net/layers"] in (1, 3, 5, 7, 9)
        assert values["half"] in (0, 0.5, 1, 1.5, 2)
    assert searcher.study.trials[0].distributions.keys() == space.keys()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ([], "space must be a dict of optuna.distributions, a function"),
        ({}, "space must be a dict of optuna.distributions, a function"),
        ({"a": 3}, r"space\['a'\] must be a FloatDistribution, IntDistribution or CategoricalDistribution, got int 3"),
    ],
)
def test_spaces_that_make_no_sense_are_refused(space: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        OptunaSearch(space)


def test_a_function_that_returns_no_constants_is_refused() -> None:
    with pytest.raises(SpecError, match="must return a dict of constants or None, got 3"):
        bound(OptunaSearch(lambda trial: 3)).propose(0, "0")  # type: ignore[arg-type]


# ---- samplers, studies


def test_a_sampler_that_has_tried_everything_ends_the_search() -> None:
    sampler = optuna.samplers.GridSampler({"n": [0, 1, 2]})
    searcher = bound(OptunaSearch(sampler=sampler), {"n": randint(0, 3)})
    assert sorted(values["n"] for values in play(searcher, lambda _: 0.0, range(3))) == [0, 1, 2]
    answer = searcher.propose(3, "3")
    assert isinstance(answer, Exhausted)
    assert "GridSampler has nothing more to propose" in answer.reason
    assert [trial.state.name for trial in searcher.study.trials] == ["COMPLETE"] * 3


def test_a_sampler_object_serves_several_experiments_and_stays_as_it_was() -> None:
    sampler = optuna.samplers.TPESampler(n_startup_trials=2)
    first = play(bound(OptunaSearch(sampler=sampler), {"x": uniform(0, 1)}), lambda values: values["x"], range(6))
    second = play(bound(OptunaSearch(sampler=sampler), {"x": uniform(0, 1)}), lambda values: values["x"], range(6))
    assert first == second


def test_a_stored_study_has_each_trial_once_whatever_happens_to_the_driver(tmp_path: Path) -> None:
    def storage() -> Any:
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log")))

    def make() -> OptunaSearch:
        return bound(OptunaSearch(storage=storage(), study_name="s", seed=7), {"x": uniform(0, 1)})

    whole = make()
    first = play(whole, lambda values: values["x"], range(3))
    running = values_of(whole.propose(3, "3"))
    whole.on_trial_result("3", {"loss": 0.5, "training_iteration": 1})
    whole.propose(4, "4")  # lost: the driver dies before it is on record
    again = replayed(make(), lambda values: values["x"], first)
    again.on_replayed(3, "3", running)
    for step in (1, 2):
        again.on_trial_result("3", {"loss": 0.5, "training_iteration": step})
    again.propose(4, "4")
    again.on_trial_complete("3", {"loss": 0.25, "training_iteration": 2})
    trials = again.study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4 + ["FAIL", "RUNNING"]
    assert [trial.params["x"] for trial in trials[:4]] == [values["x"] for values in [*first, running]]
    assert trials[3].intermediate_values == {1: 0.5, 2: 0.5}
    with pytest.raises(SpecError, match=r"the study 's' has the directions \['MINIMIZE'\]"):
        OptunaSearch(storage=storage(), study_name="s").bind(Space.parse({"x": uniform(0, 1)}), "acc", "max")


def test_optunas_own_lines_are_kept_to_itself_and_its_settings_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.enable_propagation()
    try:
        with caplog.at_level(logging.DEBUG, "optuna"):
            play(bound(OptunaSearch(), {"x": uniform(0, 1)}), lambda values: values["x"], range(3))
            assert caplog.records == []
            optuna.create_study()
            assert "A new study created in memory" in caplog.text
    finally:
        optuna.logging.disable_propagation()
    assert optuna.logging.get_verbosity() == before
    assert not logging.getLogger("optuna.storages._in_memory").filters


def test_a_sampler_that_is_none_is_refused() -> None:
    with pytest.raises(SpecError, match=r"sampler must be an object of optuna.samplers, got str 'tpe'"):
        OptunaSearch(sampler="tpe")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SpecError, match=r'pip install "tunesmith\[optuna\]"'):
        OptunaSearch()


def test_its_state_can_be_pickled_with_reports_in_it() -> None:
    searcher = bound(OptunaSearch(), MIXED)
    play(searcher, mixed_loss, range(4))
    searcher.propose(4, "4")
    searcher.on_trial_result("4", {"loss": 1.0, "training_iteration": 1})
    again = bound(OptunaSearch(), MIXED)
    again.set_state(pickle.loads(pickle.dumps(searcher.get_state())))
    assert again.study.trials[4].intermediate_values == {1: 1.0}
    assert again.propose(5, "5") == searcher.propose(5, "5")

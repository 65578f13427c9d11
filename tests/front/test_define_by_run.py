"""Objectives that ask for their parameters: what they are given, what the search learns of the space, resumes, schedulers, processes."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.core.rng import stream
from tunesmith.defining import DefinedTrial, define_by_run
from tunesmith.defining.distributions import Distribution, dumped, loaded
from tunesmith.defining.searcher import DefiningSearcher
from tunesmith.errors import SpecError
from tunesmith.search import BasicVariantGenerator, Proposal, Searcher
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.sampler import Asked, Sampler
from tunesmith.space import Space


class NearBest(Sampler):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)

    def propose(self, asked: Asked) -> Proposal | None:
        known = [each for each in self.seen if each.losses]
        if not known or "x" not in self.problem.space.nodes:
            return None
        best = min(known, key=lambda each: each.loss).values
        step = float(asked.rng.normal(0, 0.1)) + len(asked.pending) / 1e6 + len(self.seen) / 1e6
        return Proposal({**best, "x": min(1.0, max(-1.0, best["x"] + step))}, "near the best")


class Near(NativeSearcher):
    """Depends on all that it was told, and in which order."""

    def make_sampler(self, problem: Problem) -> Sampler:
        return NearBest(problem)


def run(objective: Any, path: Path, search_alg: Any = None, **arguments: Any) -> tune.ExperimentAnalysis:
    fixed = {"storage_path": path, "name": "x", "verbose": 0, "executor": "inline", "loggers": (), "seed": 1}
    return tune.run(define_by_run(objective, search_alg or Near()), **{**fixed, "metric": "loss", "mode": "min", **arguments})


def params(analysis: tune.ExperimentAnalysis) -> list[dict[str, Any]]:
    return [dict(trial.last_result["params"]) for trial in analysis]


def conditional(trial: DefinedTrial) -> float:
    x = trial.suggest_float("x", -1, 1)
    if trial.suggest_categorical("kind", ["square", "abs"]) == "square":
        return x * x
    return abs(x) + trial.suggest_int("penalty", 1, 5)


# ---- distributions

NUMBERS = st.tuples(st.sampled_from(["float", "int"]), st.integers(-50, 50), st.integers(0, 60), st.integers(1, 9), st.booleans())


@given(NUMBERS, st.randoms(use_true_random=False))
def test_what_is_drawn_is_contained_and_comes_back(numbers: Any, rng: random.Random) -> None:
    kind, low, width, step, stepped = numbers
    one = Distribution.number("n", kind, low, low + width, step if stepped else None, False)
    for _ in range(5):
        value = one.draw(rng)
        assert one.contains(value)
        assert low <= value <= low + width
        assert one.value(one.code(value)) == pytest.approx(value)
        assert not stepped or (value - low) / step == pytest.approx(round((value - low) / step))
    assert loaded(dumped({"n": one})) == {"n": one}


@given(NUMBERS, st.integers(-5, 5), st.integers(0, 60), st.randoms(use_true_random=False))
def test_what_is_joined_has_both(numbers: Any, shift: int, width: int, rng: random.Random) -> None:
    kind, low, first, step, stepped = numbers
    by = step if stepped else None
    one = Distribution.number("n", kind, low, low + first, by, False)
    other = Distribution.number("n", kind, low + shift * step, low + shift * step + width, by, False)
    both = one.joined(other)
    assert both is not None
    assert all(both.contains(each.draw(rng)) for each in (one, other) for _ in range(5))
    assert both.joined(one) == both == both.joined(other)


def test_what_cannot_be_joined() -> None:
    one = Distribution.number("n", "float", 0, 1, 0.25, False)
    assert one.joined(Distribution.number("n", "float", 0.1, 1, 0.25, False)) is None
    assert one.joined(Distribution.number("n", "float", 0, 1, None, False)) is None
    assert one.joined(Distribution.one_of("n", [0.25])) is None
    both = Distribution.one_of("n", [1, True, "a"]).joined(Distribution.one_of("n", ["a", 1.0]))
    assert both == Distribution.one_of("n", [1, True, "a", 1.0])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda t: t.suggest_float("x", 1, 0), "low must not be above high, got 1 and 0"),
        (lambda t: t.suggest_float("x", 0, math.inf), "high must be a finite number"),
        (lambda t: t.suggest_int("x", 0, 1.5), "high must be a whole number, got 1.5"),
        (lambda t: t.suggest_float("x", 0, 1, log=True), "with log=True low must be > 0"),
        (lambda t: t.suggest_float("x", 1, 2, log=True, step=1), "a step cannot be had together with log=True"),
        (lambda t: t.suggest_int("x", 0, 9, step=0), "step must be > 0"),
        (lambda t: t.suggest_categorical("x", []), "expected a list of choices"),
        (lambda t: t.suggest_categorical("x", [len]), "choices are None, booleans, numbers and texts"),
        (lambda t: t.suggest_int("", 0, 9), "a parameter needs a name"),
        (lambda t: (t.suggest_int("x", 0, 9), t.suggest_int("x", 0, 8)), "'x' is asked for twice in one trial"),
    ],
)
def test_questions_that_make_no_sense_are_refused(ask: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ask(DefinedTrial({}, 1))


# ---- one trial


def test_values_are_of_their_kind_and_within_their_bounds() -> None:
    for seed in range(30):
        trial = DefinedTrial({}, seed)
        assert 1e-3 <= trial.suggest_float("a", 1e-3, 1.0, log=True) <= 1.0
        assert trial.suggest_float("b", 0.1, 0.75, step=0.2) in [pytest.approx(value) for value in (0.1, 0.3, 0.5, 0.7)]
        assert trial.suggest_int("c", -3, 9, step=4) in (-3, 1, 5, 9)
        assert type(trial.suggest_int("d", 1, 100, log=True)) is int
        assert trial.suggest_categorical("e", (None, True, "x")) in (None, True, "x")
        assert trial.suggest_float("f", 2, 2) == 2.0
        assert trial.suggest_float("a", 1e-3, 1.0, log=True) == trial.params["a"]


def test_what_is_drawn_depends_on_seed_and_name_only() -> None:
    one, other = DefinedTrial({}, 5), DefinedTrial({}, 5)
    values = {name: one.suggest_float(name, 0, 1) for name in "abc"}
    assert {name: other.suggest_float(name, 0, 1) for name in "cba"} == values
    assert DefinedTrial({}, 6).suggest_float("a", 0, 1) != values["a"]


def test_what_is_proposed_is_taken_where_it_fits() -> None:
    config = {"x": 0.5, "n": 2.5, "net": {"width": 8}, "a/b": True}
    trial = DefinedTrial(config, 1)
    assert (trial.suggest_float("x", 0, 1), trial.suggest_int("net/width", 4, 8, step=2)) == (0.5, 8)
    assert trial.suggest_categorical("a/b", [True, False]) is True
    assert trial.suggest_int("n", 1, 3) in (1, 2, 3)
    assert 0.75 <= DefinedTrial(config, 1).suggest_float("x", 0.75, 1) <= 1
    assert DefinedTrial({"c": 1}, 1).suggest_categorical("c", [True, "a"]) in (True, "a")


def test_what_is_left_to_report_at_the_end() -> None:
    trial = DefinedTrial({}, 1, ["loss", "acc"])
    trial.suggest_int("n", 3, 3)
    found = trial.last((1.0, 0.5))
    assert found is not None
    assert (found["loss"], found["acc"], found["params"], set(loaded(found["define_by_run"]))) == (1.0, 0.5, {"n": 3}, {"n"})
    assert trial.last([1.0, 0.5]) is None, "it is reported"
    assert trial.last({"loss": 2.0}) == {"loss": 2.0, "params": {"n": 3}}
    assert trial.last(None) is None
    with pytest.raises(SpecError, match="expected a number for each of loss, acc"):
        trial.last(1.0)
    assert not trial.should_prune()


# ---- runs


def test_the_search_learns_the_space_and_what_is_good_in_it(tmp_path: Path) -> None:
    analysis = run(conditional, tmp_path, num_samples=30)
    assert [trial.source for trial in analysis][:1] == ["drawn by the trial"]
    assert {trial.source for trial in analysis.trials[5:]} == {"near the best"}
    for trial in analysis:
        found = trial.last_result["params"]
        assert ("penalty" in found) == (found["kind"] == "abs")
        value = found["x"] ** 2 if found["kind"] == "square" else abs(found["x"]) + found["penalty"]
        assert trial.last_result["loss"] == value
        assert all(found[name] == value for name, value in trial.config.items() if name in found)
    assert analysis.best_result["loss"] < 0.05
    assert analysis.trials[-1].config.keys() >= {"x", "kind"}


def test_equal_seeds_draw_alike(tmp_path: Path) -> None:
    first, second = (run(conditional, tmp_path, num_samples=6, name=name) for name in "ab")
    assert params(first) == params(second)
    assert params(first) != params(run(conditional, tmp_path, num_samples=6, name="c", seed=2))


@pytest.mark.parametrize("make", [Near, BasicVariantGenerator])
def test_a_resume_goes_on_exactly(make: Any, tmp_path: Path) -> None:
    whole = params(run(conditional, tmp_path, make(), num_samples=14, name="whole"))
    for total in (1, 2, 4, 9, 14):
        found = run(conditional, tmp_path, make(), num_samples=total, resume=total > 1)
    assert params(found) == whole


def test_the_same_experiment_can_be_run_twice(tmp_path: Path) -> None:
    experiment = define_by_run(conditional, Near())
    fixed = {"storage_path": tmp_path, "verbose": 0, "executor": "inline", "loggers": (), "seed": 1, "metric": "loss", "mode": "min"}
    first, second = (tune.run(experiment, num_samples=5, **fixed) for _ in range(2))
    assert params(first) == params(second)


def test_in_processes_of_their_own_several_at_once(tmp_path: Path) -> None:
    def objective(trial: DefinedTrial) -> float:
        width = trial.suggest_int("width", 8, 64, step=8)
        for step in range(3):
            trial.report(trial.suggest_float("x", -1, 1) ** 2 + 1 / (step + 1) + width / 1000, step)
        return trial.params["x"] ** 2

    analysis = run(objective, tmp_path, num_samples=8, executor="local", max_concurrent_trials=2)
    assert [trial.status for trial in analysis] == ["TERMINATED"] * 8
    assert all(trial.last_result["params"]["width"] % 8 == 0 for trial in analysis)
    assert analysis.trials[-1].config["width"] == analysis.trials[-1].last_result["params/width"]
    assert analysis.trials[0].iteration == 4


def test_schedulers_stop_trials_and_checkpoints_are_kept(tmp_path: Path) -> None:
    def objective(trial: DefinedTrial) -> float:
        saved = tune.get_checkpoint()
        first = saved.to_dict()["step"] + 1 if saved else 1
        for step in range(first, 10):
            trial.report(trial.suggest_float("x", 0, 1) + 1 / step, step, checkpoint={"step": step})
            assert not trial.should_prune()
        return trial.params["x"]

    scheduler = tune.ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3)
    analysis = run(objective, tmp_path, num_samples=12, scheduler=scheduler)
    lengths = [trial.iteration for trial in analysis]
    assert min(lengths) == 1
    assert max(lengths) == 9
    assert analysis.best_trial.checkpoint is not None
    held = run(objective, tmp_path, num_samples=9, name="held", scheduler=tune.HyperBandScheduler(max_t=9))
    assert {trial.status for trial in held} == {"TERMINATED"}
    assert all(trial.last_result["params"]["x"] + 1 / trial.iteration == trial.last_result["loss"] for trial in held)


def test_failures_and_infeasible_configurations(tmp_path: Path) -> None:
    def objective(trial: DefinedTrial) -> float:
        x = trial.suggest_float("x", -1, 1)
        if x < -0.5:
            raise tune.Infeasible("too low")
        if x > 0.9:
            raise ValueError("too high")
        return x * x

    analysis = run(objective, tmp_path, num_samples=20, raise_on_failed_trial=False)
    assert sum(trial.outcome != "infeasible" for trial in analysis) == 20
    assert analysis.best_result["loss"] < analysis.trials[0].last_result["loss"] / 2


def test_constants_decide_parameters_of_their_names(tmp_path: Path) -> None:
    analysis = run(conditional, tmp_path, num_samples=5, config={"kind": "abs", "epochs": 3})
    assert {found["kind"] for found in params(analysis)} == {"abs"}
    assert analysis.trials[-1].config["epochs"] == 3


def test_a_config_has_what_was_proposed_and_the_users_constants_only(tmp_path: Path) -> None:
    analysis = run(lambda trial: trial.suggest_float("x", -1, 1) ** 2, tmp_path, num_samples=6, config={"epochs": 3}, loggers=None)
    assert [set(trial.config) for trial in analysis] == [{"epochs"}, *[{"epochs", "x"}] * 5]
    assert analysis.best_config == {"x": analysis.best_result["params"]["x"], "epochs": 3}
    assert {name for name in analysis.dataframe() if name.startswith("config/")} == {"config/epochs", "config/x"}
    written = [json.loads(file.read_text()) for file in tmp_path.glob("x/*/params.json")]
    assert sorted(map(sorted, written)) == [["epochs"], *[["epochs", "x"]] * 5]


def test_bare_numbers_are_called_what_the_run_optimises_whoever_says_so(tmp_path: Path) -> None:
    usual: dict[str, Any] = {"storage_path": tmp_path, "verbose": 0, "executor": "inline", "loggers": (), "seed": 1}
    plain, own = define_by_run(conditional), define_by_run(conditional, Near("loss", "min"))
    given: list[tuple[tune.Experiment, dict[str, Any], str]] = [
        (plain, {"metric": "loss", "mode": "min"}, "loss"),
        (plain, {"scheduler": tune.ASHAScheduler(metric="loss", mode="min")}, "loss"),
        (plain, {"search_alg": Near("loss", "min")}, "loss"),
        (plain, {}, "_metric"),
        (own, {}, "loss"),
    ]
    for experiment, arguments, name in given:
        assert name in tune.run(experiment, **usual, **arguments)[0].last_result


def test_the_searcher_may_be_given_to_the_run(tmp_path: Path) -> None:
    fixed: dict[str, Any] = {
        "storage_path": tmp_path, "verbose": 0, "executor": "inline", "loggers": (), "seed": 1, "metric": "loss", "mode": "min",
        "num_samples": 6,
    }  # fmt: skip
    searcher = Near()
    there = tune.run(define_by_run(conditional, searcher), **fixed)
    here = tune.run(define_by_run(conditional), search_alg=searcher, **fixed)
    both = tune.run(define_by_run(conditional, searcher), search_alg=searcher, **fixed)
    assert params(here) == params(there) == params(both)
    assert here.trials[-1].source == "near the best"
    named = tune.run(define_by_run(conditional), search_alg="random", **fixed)
    assert params(named) == params(tune.run(define_by_run(conditional, "random"), **fixed)) != params(here)


def test_where_no_run_says_what_is_optimised_a_bare_number_is_refused_and_a_dict_is_not(tmp_path: Path) -> None:
    analysis = run(conditional, tmp_path, num_samples=1)
    restored = tune.Tuner.restore(analysis.experiment_path, define_by_run(conditional).run, num_samples=2).fit()
    assert "nothing says here what that is: return a dict, such as {'loss': " in str(restored[1].error)

    def named(trial: DefinedTrial) -> dict[str, float]:
        return {"loss": conditional(trial)}

    path = run(named, tmp_path, name="named", num_samples=1).experiment_path
    restored = tune.Tuner.restore(path, define_by_run(named).run, num_samples=2).fit()
    assert restored[1].metrics["loss"] >= 0


def test_several_metrics(tmp_path: Path) -> None:
    analysis = run(
        lambda trial: (trial.suggest_float("x", 0, 1), 1 - trial.params["x"]), tmp_path, BasicVariantGenerator(), num_samples=3,
        metric=["a", "b"], mode=["min", "min"],
    )  # fmt: skip
    assert all(trial.last_result["a"] + trial.last_result["b"] == 1 for trial in analysis)


def test_what_is_refused(tmp_path: Path) -> None:
    class Own(Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            return {}

    with pytest.raises(SpecError, match="the objective must be a function of a trial"):
        define_by_run(7)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="Own cannot be told what another searcher proposed"):
        define_by_run(conditional, Own())
    with pytest.raises(SpecError, match=r"the config has domains \(x\)"):
        run(conditional, tmp_path, config={"x": tune.uniform(0, 1)})
    with pytest.raises(SpecError, match=r"search_alg is given twice: 'random' to run\(\), and Near to define_by_run\(\)"):
        tune.run(define_by_run(conditional, Near()), search_alg="random", metric="loss", mode="min", storage_path=tmp_path)
    with pytest.raises(SpecError, match=r"search_alg: int 7 has no method suggest\(\)"):
        define_by_run(conditional, 7)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"search_alg='tpee' is not known\. Did you mean 'tpe'"):
        tune.run(define_by_run(conditional), search_alg="tpee", metric="loss", mode="min", storage_path=tmp_path)


# ---- the searcher by itself


class Play:
    """Trials as they happen; the objective draws what is not proposed."""

    def __init__(self, inner: Searcher) -> None:
        self.searcher = DefiningSearcher(inner)
        self.searcher.bind(Space.parse({}), "loss", "min", 1)
        self.calls: list[tuple[Any, ...]] = []
        self.trials: dict[int, DefinedTrial] = {}

    def start(self, number: int) -> DefinedTrial:
        answer = self.searcher.propose(number, str(number))
        assert isinstance(answer, Proposal)
        self.calls.append(("on_replayed", number, str(number), answer.values))
        self.trials[number] = DefinedTrial(answer.values, number)
        return self.trials[number]

    def report(self, number: int, loss: float) -> None:
        metrics = self.trials[number]._with_params({"loss": loss})
        flat = {**{f"params/{name}": value for name, value in metrics.pop("params").items()}, **metrics}
        self._do("on_trial_result", str(number), {**flat, "training_iteration": 1, "trial_id": str(number)})

    def end(self, number: int, loss: float | None) -> None:
        if loss is None:
            self._do("on_trial_failed", str(number), "user_error")
        self._do("on_trial_complete", str(number), None if loss is None else {"loss": loss, "training_iteration": 1}, loss is None)

    def _do(self, method: str, *arguments: Any) -> None:
        self.calls.append((method, *arguments))
        getattr(self.searcher, method)(*arguments)


def observed(searcher: DefiningSearcher) -> list[tuple[Any, ...]]:
    inner = searcher._present()
    assert inner is not None
    return [(one.trial, one.values, one.losses, one.outcome) for one in inner.sampler.seen]  # type: ignore[attr-defined]


def test_a_range_that_grows_takes_all_that_was_tried_along() -> None:
    play = Play(Near())
    for number, high in enumerate((1, 4, 2)):
        play.start(number).suggest_int("n", 0, high)
        play.report(number, 1.0)
        play.end(number, float(number))
    assert play.searcher._known == {"n": Distribution("int", 0, 4)}
    assert [(trial, values["n"], losses) for trial, values, losses, _ in observed(play.searcher)] == [
        (number, play.trials[number].params["n"], (float(number),)) for number in range(3)
    ]


def test_what_a_trial_did_not_ask_for_is_drawn_for_it_once_and_for_all() -> None:
    play = Play(Near())
    for number, high in enumerate((1.0, 1.0, 2.0, 3.0)):
        trial = play.start(number)
        trial.suggest_float("x", -1, 1)
        if number:
            trial.suggest_float("late", 0, 1)
            trial.suggest_float("grows", 0, high)
        play.report(number, 1.0)
        play.end(number, 1.0)
        if number == 1:
            first = observed(play.searcher)[0][1]["late"]
    assert observed(play.searcher)[0][1]["late"] == first


def test_another_kind_is_said_once_and_drawn(caplog: pytest.LogCaptureFixture) -> None:
    play = Play(Near())
    for number in range(4):
        trial = play.start(number)
        if number % 2:
            trial.suggest_float("n", 0, 1)
        else:
            trial.suggest_int("n", 2, 9)
        play.report(number, 1.0)
        play.end(number, 1.0)
    assert len(caplog.messages) == 1
    assert "the parameter 'n' is asked for as Distribution(kind='float'" in caplog.messages[0]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 3)), max_size=25))
def test_whatever_happens_a_replay_proposes_the_same(moves: list[tuple[int, int, int]]) -> None:
    """Ranges that grow, parameters that not all ask for, trials that overlap, fail, or never report."""
    play = Play(Near())
    begun = 0
    for which, move, kind in moves:
        live = [number for number in range(begun) if str(number) in play.searcher._trials]
        if move == 0 or not live:
            trial = play.start(begun)
            begun += 1
            if kind != 3:
                trial.suggest_float("x", -1, 1 if kind else 0.5)
            if kind >= 2:
                trial.suggest_categorical("c", ["a", "b"])
        elif move == 1:
            play.report(live[which % len(live)], float(which))
        else:
            play.end(live[which % len(live)], None if kind == 3 else float(which))
    again = DefiningSearcher(Near())
    again.bind(Space.parse({}), "loss", "min", 1)
    for method, *arguments in play.calls:
        getattr(again, method)(*arguments)
    for number in range(begun, begun + 3):
        assert again.propose(number, str(number)) == play.searcher.propose(number, str(number))


def test_the_seed_of_what_is_drawn_is_the_trials_own() -> None:
    assert DefinedTrial({}, 9).suggest_float("x", 0, 1) == Distribution("float", 0.0, 1.0).draw(stream(9, "define x"))

"""How a run that failures have ended reaches the caller: an error that names what happened, or a line that says how to go on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Record
from tunesmith.executors.inline import InlineExecutor
from tunesmith.failures import FailureLog

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]

SPACE = {"x": tune.uniform(0, 1)}
BREAKER = "first 5 trials all failed alike"


def diverges(config: Config) -> None:
    tune.report(loss=math.nan)


def raises(config: Config) -> None:
    raise ValueError(f"no {config['x']}")


class Remembers(InlineExecutor):
    """Knows by trial what was raised, as an executor is to do."""

    def __init__(self, known: dict[int, BaseException]) -> None:
        super().__init__()
        self.known = known
        self.asked: list[int] = []

    def error_of(self, trial: int) -> BaseException | None:
        self.asked.append(trial)
        return self.known.get(trial)


def fit(path: Path, trainable: Any, space: Any, samples: int = 1, verbose: int = 0, **failure: Any) -> tune.ResultGrid:
    return tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=samples),
        run_config=tune.RunConfig(
            storage_path=str(path), name="x", verbose=verbose, executor="inline", failure_config=tune.FailureConfig(**failure)
        ),
    ).fit()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "tunesmith" and record.levelno == logging.WARNING]


# -- the circuit breaker ---------------------------------------------------------------------------------------------------------


def test_nan_everywhere_raises_and_names_the_breaker(go: Go) -> None:
    with pytest.raises(tune.TrialsFailed, match=rf"5 of 5 trials failed: reported nan for 'loss'.* The {BREAKER}, so no more") as caught:
        go(diverges, config=SPACE, num_samples=20, metric="loss", mode="min")
    assert len(caught.value.trials) == 5


def test_nan_here_and_there_raises_nothing(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    def train(config: Config) -> None:
        tune.report(loss=math.nan if config["x"] else 1.0)

    analysis = go(train, config={"x": tune.grid_search([0, 1, 1, 1, 1, 1, 1])}, metric="loss", mode="min")
    assert (analysis.num_errors, analysis.num_terminated) == (6, 1)
    assert analysis.best_trial.number == 0
    assert warnings(caplog) == []


@pytest.mark.parametrize("verbose", [0, 1])
@pytest.mark.parametrize("train", [diverges, raises])
def test_a_tuner_says_that_the_breaker_ended_it_and_how_to_go_on(
    tmp_path: Path, train: Any, verbose: int, caplog: pytest.LogCaptureFixture
) -> None:
    results = fit(tmp_path, train, SPACE, 20, verbose)
    assert (len(results), results.num_errors) == (5, 5)
    (line,) = warnings(caplog)
    assert line.startswith(f"the {BREAKER}: ")
    assert line.endswith("No more trials were started; to go on: resume=True, name='x'.")


def test_so_does_a_run_that_is_not_to_raise(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    assert go(raises, config=SPACE, num_samples=20, raise_on_failed_trial=False).num_errors == 5
    (line,) = warnings(caplog)
    assert BREAKER in line


# -- fail_fast -------------------------------------------------------------------------------------------------------------------


def test_fail_fast_counts_nan(go: Go, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(tune.TrialsFailed, match=r"1 of 1 trials failed: reported nan .* With fail_fast the first failure ends the run"):
        go(diverges, config=SPACE, num_samples=3, metric="loss", mode="min", fail_fast=True)
    assert warnings(caplog) == []
    assert len(fit(tmp_path, diverges, SPACE, 3, fail_fast=True)) == 1
    (line,) = warnings(caplog)
    assert line.startswith("fail_fast: trial 0 failed with reported nan for 'loss'")


def test_raise_gives_the_exception_of_the_trial_that_ended_the_run(go: Go) -> None:
    error = ValueError("the trial's own")
    executor = Remembers({1: error, 2: KeyError("later")})
    with pytest.raises(ValueError, match="the trial's own") as caught:
        go(lambda config: 1 / config["x"], config={"x": tune.grid_search([1, 0, 0])}, fail_fast="raise", executor=executor)
    assert caught.value is error
    assert executor.asked == [1]


def test_raise_in_a_resumed_run_gives_the_failure_of_this_session(go: Go) -> None:
    space = {"x": tune.grid_search([0, 1, 0])}
    with pytest.raises(tune.TrialsFailed):
        go(lambda config: 1 / config["x"], config=space, name="a", fail_fast=True)
    executor = Remembers({0: KeyError("not raised in this session"), 2: ValueError("raised now")})
    with pytest.raises(ValueError, match="raised now"):
        go(lambda config: 1 / config["x"], config=space, name="a", resume=True, fail_fast="raise", executor=executor)


def test_raise_raises_also_where_the_trial_has_left_no_exception(go: Go, tmp_path: Path) -> None:
    with pytest.raises(tune.TrialsFailed, match="1 of 1 trials failed: reported nan"):
        go(diverges, config=SPACE, num_samples=3, metric="loss", mode="min", fail_fast="raise", executor=Remembers({}))
    with pytest.raises(tune.TrialsFailed, match="1 of 1 trials failed: reported nan"):
        fit(tmp_path, diverges, SPACE, 3, fail_fast="raise")


def test_raise_does_not_make_old_failures_raise(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    space = {"x": tune.grid_search([0, 1])}
    arguments = {"config": space, "name": "a", "raise_on_failed_trial": False}
    go(lambda config: 1 / config["x"], fail_fast=True, **arguments)
    caplog.clear()
    analysis = go(lambda config: 1 / config["x"], resume=True, fail_fast="raise", executor=Remembers({}), **arguments)
    assert [trial.status for trial in analysis.trials] == ["ERROR", "TERMINATED"]
    assert warnings(caplog) == []


# -- the log of failures ---------------------------------------------------------------------------------------------------------


def end(trial: int, where: str = "a.py:1", outcome: str = "user_error", *also: Decision) -> Record:
    error = None if outcome == "nan" else {"type": "ValueError", "message": "x", "where": where, "traceback": f"tb of {trial}"}
    ended = Decision("end", trial, f"ValueError: x at {where}", {"status": "ERROR", "outcome": outcome})
    return Record(ev.AttemptEnded(trial, 0, outcome, error), [ended, *also])


def seen(log: FailureLog) -> list[tuple[str, list[int], int]]:
    return [(group.text, group.trials, group.count) for group in log.groups]


def test_a_failure_that_is_taken_back() -> None:
    log = FailureLog()
    assert (log.first, log.groups, log.count()) == (None, [], 0)
    log.committed([end(7, "b.py:1"), *[end(number) for number in (5, 4, 3, 2, 1)]])
    assert seen(log) == [("ValueError: x at a.py:1", [1, 2, 3], 5), ("ValueError: x at b.py:1", [7], 1)]
    assert (log.first, log.groups[0].traceback) == (7, "tb of 5")
    log.forget(2)
    log.forget(7)
    log.forget(7)
    log.forget(99)
    assert seen(log) == [("ValueError: x at a.py:1", [1, 3, 4], 4)]
    assert (log.first, log.count()) == (5, 4)
    log.committed([end(7, "b.py:1")])
    assert (log.first, log.count()) == (5, 5)


def test_a_trial_that_fails_again_is_one_failed_trial() -> None:
    log = FailureLog()
    log.committed([end(0), end(1), end(0, "b.py:1")])
    assert (log.first, log.count(), len(log.groups)) == (1, 2, 2)


def test_a_trial_that_is_reopened_has_not_failed() -> None:
    log = FailureLog()
    log.committed([end(0), end(1), Record(ev.Reopened(0, 1, "errored", {}, None, 3, 1.0, {}, 3))])
    assert (log.first, log.count()) == (1, 1)


def test_nan_and_others() -> None:
    log = FailureLog()
    log.committed([end(0, outcome="nan"), end(1)])
    assert (log.count(), log.count(but=("nan",)), log.first) == (2, 1, 0)
    log.committed([Record(end(2).event, end(2).decisions, handled=False)])
    assert log.count() == 2


@pytest.mark.parametrize("kind", ["breaker", "fail_fast"])
def test_whose_failure_ended_the_session(kind: str) -> None:
    log = FailureLog()
    log.committed([end(3), end(0, "b.py:1", "user_error", Decision("halt", None, "", {"kind": kind})), end(1)])
    assert (log.culprit, log.first) == (0, 3)
    log.committed([Record(ev.ExperimentStarted({}, 1))])
    assert (log.culprit, log.first) == (None, 3)
    log.committed([end(4, "b.py:1", "user_error", Decision("halt", None, "", {"kind": "drain"}))])
    assert log.culprit is None


@given(st.lists(st.tuples(st.sampled_from(["end", "forget"]), st.integers(0, 8), st.sampled_from(["a", "b"])), max_size=60))
def test_the_log_is_that_of_the_failures_that_stand(story: list[tuple[str, int, str]]) -> None:
    log, standing = FailureLog(), dict[int, str]()
    for what, trial, where in story:
        standing.pop(trial, None)
        if what == "end":
            standing[trial] = where
            log.committed([end(trial, where)])
        else:
            log.forget(trial)
        members = {place: sorted(number for number, other in standing.items() if other == place) for place in "ab"}
        assert log.first == next(iter(standing), None)
        assert {group.text[-1]: (group.trials, group.count) for group in log.groups} == {
            place: (numbers[:3], len(numbers)) for place, numbers in members.items() if numbers
        }

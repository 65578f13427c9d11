"""PASHA: the ceiling rises while the rankings of the top two rungs differ by more than noise, and only then."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.commands import Decision
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.pasha import PASHAScheduler
from tunesmith.testing import SchedulerKit
from tunesmith.testing.scheduler_runs import METRIC, loss

# -- in whole experiments ------------------------------------------------------------------------------------------------


class TestPasha(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return PASHAScheduler(metric=metric, mode=mode, max_t=20, reduction_factor=2)

    def _watch(self, loop: Any, record: Any, commands: Any) -> None:
        super()._watch(loop, record, commands)
        for decision in record.decisions:
            assert loop.controller.state.only or "was left" not in decision.reason, decision


class TestPashaWithEpsilon(TestPasha):
    def make(self, metric: str, mode: str) -> Scheduler:
        return PASHAScheduler(metric=metric, mode=mode, max_t=20, reduction_factor=2, epsilon=0.1, stop_last_trials=False)


class TestPashaBySeveralMetrics(TestPasha):
    spec = {"metrics": [METRIC, "cost"]}  # noqa: RUF012 - as the kit declares it

    def make(self, metric: str, mode: str) -> Scheduler:
        return PASHAScheduler(max_t=20, reduction_factor=2)

    def loop(self, seed: int = 0, *, mode: str = "min", metrics: Any = loss, **options: Any) -> Any:
        def both(values: Any, iteration: int) -> dict[str, Any]:
            return {**metrics(values, iteration), "cost": round(values.get("x", 0.5) * 7.3 % 1, 1)}

        return super().loop(seed, mode=mode, metrics=both, **{"modes": [mode, "max"], **options})


# -- trial by trial ------------------------------------------------------------------------------------------------------


@dataclass
class View:
    number: int
    iteration: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass
class Wait:
    """What could be started, as ``choose`` sees it."""

    paused: tuple[int, ...]
    pending: tuple[View, ...] = ()

    def get(self, number: int) -> View | None:
        return View(number) if number in self.paused else None


@dataclass
class Run:
    """One slot, trials with given curves (the last value goes on for ever), larger is better."""

    pasha: Any
    curves: list[list[Any]]
    at: list[int] = field(default_factory=list)
    paused: dict[int, None] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    tops: list[int] = field(default_factory=list)

    def play(self) -> Run:
        self.pasha.start(Settings(metrics=("score",), modes=("max",)))
        while len(self.ended) < len(self.curves):
            view = self.pasha.choose(Wait(tuple(self.paused)))
            if view is None:
                view = View(len(self.at))
                self.at.append(0)
                self.pasha.on_trial_add(view)
                if len(self.at) == len(self.curves):
                    self.obey(self.pasha.on_search_end(), -1)
            number = view.trial if isinstance(view, Decision) else view.number
            assert number is not None
            self.paused.pop(number, None)
            while self.report(number):
                pass
        return self

    def report(self, number: int) -> bool:
        """Whether it goes on."""
        self.at[number] += 1
        curve, at = self.curves[number], self.at[number]
        result = {"training_iteration": at, "score": curve[min(at, len(curve)) - 1]}
        answer = self.pasha.on_result(View(number, at, result), result)
        self.tops.append(self.pasha._top)
        decisions = answer if isinstance(answer, list) else [] if isinstance(answer, str) else [answer]
        self.obey(decisions, number)
        return number not in self.paused and number not in self.ended

    def obey(self, decisions: Any, hand: int) -> None:
        for decision in decisions:
            number = hand if decision.trial is None else decision.trial
            if decision.do == "pause":
                self.paused[number] = None
            elif decision.do == "stop":
                self.paused.pop(number, None)
                self.ended[number] = decision.reason
                self.obey(self.pasha.on_trial_end(View(number), "stopped"), -1)


def steady(trials: int, seed: int = 0) -> list[list[float]]:
    """Curves that never cross."""
    rng = random.Random(seed)
    return [[rng.random()] for _ in range(trials)]


def test_while_rankings_agree_nobody_is_trained_beyond_the_second_rung() -> None:
    run = Run(PASHAScheduler(max_t=81), steady(30)).play()
    assert set(run.at) == {1, 3}
    assert set(run.tops) == {1}
    assert len(run.ended) == 30
    kept = [reason for number, reason in run.ended.items() if run.at[number] == 3]
    assert all("need not go on while the rankings here and at 1 agree" in reason for reason in kept)


OVERTAKING = [[1 - trial / 40 + trial * time / 60 for time in range(81)] for trial in range(40)]
"""Curves of which the last at first is the first at last."""


def crossing(gap: float) -> list[list[float]]:
    """Nine trials, of which the best at the first rung is overtaken at the second by one that was worse by ``gap`` at the first."""
    return [[0.5, 0.5, 0.5], [0.5 - gap, 0.9, 0.9], *([0.1 - number / 100] for number in range(7))]


def test_where_they_differ_the_ceiling_rises() -> None:
    run = Run(PASHAScheduler(max_t=81, reduction_factor=2, epsilon=0.0), crossing(0.2)).play()
    assert max(run.tops) > 1
    assert run.tops == sorted(run.tops), "it never falls"


@pytest.mark.parametrize(("epsilon", "rises"), [(0.0, True), (0.1999, True), (0.2001, False), (5, False)])
def test_epsilon_says_how_far_apart_trials_are_still_alike(epsilon: float, rises: bool) -> None:
    run = Run(PASHAScheduler(max_t=81, reduction_factor=2, epsilon=epsilon), crossing(0.2)).play()
    assert (max(run.tops) > 1) == rises


def test_it_rises_to_the_end_where_nothing_is_ever_stable() -> None:
    """The leader changes at every rung."""
    curves = [[trial * (-1) ** (time.bit_length()) / 30 for time in range(1, 17)] for trial in range(32)]
    run = Run(PASHAScheduler(max_t=16, reduction_factor=2, epsilon=0.0), curves).play()
    assert max(run.at) == 16
    assert max(run.tops) > 3


def agrees(top: list[float], below: list[float], epsilon: float) -> bool:
    """The paper's words: at each place of the top rung's ranking is one of those that are alike to who has that place below."""
    above, lower = (sorted(range(len(scores)), key=lambda trial: (-scores[trial], trial)) for scores in (top, below))
    alike = [{trial for trial in lower if abs(below[trial] - below[at]) <= epsilon} for at in lower]
    return all(trial in group for trial, group in zip(above, alike))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12), st.sampled_from([0, 1, 2.5]))
def test_rankings_agree_as_the_paper_says(scores: list[tuple[int, int]], epsilon: float) -> None:
    """One after the other comes to the top rung; the first time that they differ, the ceiling rises."""
    pasha = PASHAScheduler(max_t=8, reduction_factor=2, epsilon=epsilon)
    pasha.start(Settings(metrics=("score",), modes=("max",)))
    for trial in range(len(scores)):
        pasha.on_trial_add(View(trial))
        pasha.on_result(View(trial), {"training_iteration": 1, "score": scores[trial][0]})
    for count in range(1, len(scores) + 1):
        pasha.on_result(View(count - 1), {"training_iteration": 2, "score": scores[count - 1][1]})
        stable = agrees([top for _, top in scores[:count]], [below for below, _ in scores[:count]], epsilon)
        assert pasha._top == (1 if stable else 2)
        if not stable:
            break


@pytest.mark.parametrize("percentile", [90, 50])
def test_epsilon_is_the_percentile_of_what_is_noise(percentile: float) -> None:
    """How far apart pairs that have crossed twice are at last; pairs that have crossed once, or never, say nothing."""
    curves = [[0.1, 0.35, 0.1, 0.1], [0.2, 0.15, 0.3, 0.21], [0.3, 0.3, 0.2, 0.33], [0.4, 0.5, 0.4, 0.46], [0.5, 0.45, 0.48, 0.6]]
    curves += [[0.7, 0.9, 0.65, 0.65], [0.7, 0.8, 0.7, 0.7]]  # these cross once
    pasha = PASHAScheduler(max_t=64, reduction_factor=4, percentile=percentile)
    pasha.start(Settings(metrics=("loss",), modes=("min",)))
    for trial, curve in enumerate(curves):
        pasha.on_trial_add(View(trial))
        for time, score in enumerate(curve, 1):
            pasha.on_result(View(trial, time), {"training_iteration": time, "loss": score})
    gaps = []
    for one, other in itertools.combinations(curves, 2):
        signs = [a > b for a, b in zip(one, other) if a != b]
        if sum(a != b for a, b in itertools.pairwise(signs)) >= 2:
            gaps.append(abs(one[-1] - other[-1]))
    assert len(gaps) == 4
    assert pasha._limits == [pytest.approx(np.percentile(gaps, percentile))]


def test_noise_keeps_the_ceiling_down_and_trends_do_not() -> None:
    spent = {"estimated": 0, "strict": 0}
    for seed in range(6):
        rng = random.Random(seed)
        tops = [rng.random() for _ in range(60)]
        noisy = [[top * (1 - 0.5 / time) + rng.gauss(0, 0.02) for time in range(1, 82)] for top in tops]
        spent["estimated"] += sum(Run(PASHAScheduler(max_t=81, reduction_factor=2), noisy).play().at)
        spent["strict"] += sum(Run(PASHAScheduler(max_t=81, reduction_factor=2, epsilon=0.0), noisy).play().at)
    assert spent["estimated"] < 0.75 * spent["strict"]
    assert max(Run(PASHAScheduler(max_t=81), OVERTAKING).play().tops) > 1


def test_a_rung_that_reports_jump_over_cannot_hold_the_ceiling() -> None:
    curves = steady(8)
    pasha = PASHAScheduler(max_t=81)
    pasha.start(Settings(metrics=("score",), modes=("max",)))
    for trial, [score] in enumerate(curves):
        pasha.on_trial_add(View(trial))
        pasha.on_result(View(trial, 1), {"training_iteration": 10, "score": score})
    assert pasha._top == 3, "at rung 9 nobody can be compared with rung 3, so it is no ceiling"
    assert Run(PASHAScheduler(max_t=3), steady(9)).play().tops[-1] == 1


def test_trials_that_a_person_takes_beyond_the_ceiling_do_not_raise_it() -> None:
    """Though they are ranked otherwise there."""
    pasha = PASHAScheduler(max_t=81)
    pasha.start(Settings(metrics=("score",), modes=("max",)))
    for trial, scores in enumerate(((0.5, 0.5, 0.5), (0.4, 0.4, 0.9))):
        pasha.on_trial_add(View(trial))
        for time, score in zip((1, 3, 9), scores):
            [decision] = pasha.on_result(View(trial, time), {"training_iteration": time, "score": score})
            assert decision.do == "pause"
    assert pasha._top == 1


def test_nan_and_infinities_are_compared() -> None:
    curves = [[math.nan], [math.inf], [-math.inf], [0.5], [0.6], [math.nan], [math.inf], [0.1], [0.2]]
    run = Run(PASHAScheduler(max_t=81, reduction_factor=2), curves).play()
    assert len(run.ended) == 9
    assert set(run.tops) == {1}, "they never cross"


def test_curves_of_the_dead_are_let_go() -> None:
    pasha = PASHAScheduler(max_t=81)
    Run(pasha, steady(30)).play()
    assert set(pasha._curves) == {trial for trial in range(30) if pasha._at_top(trial)}
    rising = PASHAScheduler(max_t=81)
    rising.start(Settings(metrics=("score",), modes=("max",)))
    for trial, scores in enumerate(((0.5, 0.5), (0.4, 0.9))):
        rising.on_trial_add(View(trial))
        for time, score in zip((1, 3), scores):
            rising.on_result(View(trial, time), {"training_iteration": time, "score": score})
        if trial == 0:
            rising.on_trial_end(View(0), "finished")
            assert set(rising._curves) == {0}, "it is at the top"
    assert rising._top == 2
    assert set(rising._curves) == {1}
    unneeded = PASHAScheduler(max_t=81, epsilon=0.1)
    Run(unneeded, steady(30)).play()
    assert not unneeded._curves


def test_a_raised_max_t_leaves_the_ceiling() -> None:
    pasha = PASHAScheduler(max_t=9)
    run = Run(pasha, steady(9)).play()
    pasha.change({"max_t": 81})
    assert [stage.rung.milestone for stage in pasha._ladders[0].stages] == [1, 3, 9, 27, 81]
    assert pasha._top == run.tops[-1] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"epsilon": -0.1}, "epsilon must be a number at least 0, got -0.1"),
        ({"percentile": 101}, "percentile must be a number at least 0 and at most 100, got 101"),
        ({"reduction_factor": 1}, "PASHAScheduler: reduction_factor must be above 1, got 1"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        PASHAScheduler(**arguments)


def test_options() -> None:
    assert PASHAScheduler().options() == {
        "time_attr": "training_iteration", "max_t": 100, "grace_period": 1, "reduction_factor": 3, "stop_last_trials": True,
        "epsilon": None, "percentile": 90.0,
    }  # fmt: skip

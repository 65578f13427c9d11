"""ASHA in the form that stops: held against the rule written out, and in whole experiments."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers.asha import ASHAScheduler, AsyncHyperBandScheduler
from tunesmith.schedulers.base import Scheduler
from tunesmith.testing import SchedulerKit
from tunesmith.testing.scheduler_runs import METRIC, loss

# -- in whole experiments ------------------------------------------------------------------------------------------------


class TestStop(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return AsyncHyperBandScheduler(metric=metric, mode=mode, max_t=16, reduction_factor=2)


class TestStopWithBrackets(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return AsyncHyperBandScheduler(metric=metric, mode=mode, max_t=16, reduction_factor=2, brackets=3, seed=7)


class TestStopByTheClock(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return AsyncHyperBandScheduler("time_total_s", metric, mode, 12.5, grace_period=1.5, reduction_factor=3, stop_last_trials=False)


class TestStopBySeveralMetrics(SchedulerKit):
    spec = {"metrics": [METRIC, "cost"]}  # noqa: RUF012 - as the kit declares it

    def make(self, metric: str, mode: str) -> Scheduler:
        return AsyncHyperBandScheduler(max_t=16, reduction_factor=2)

    def loop(self, seed: int = 0, *, mode: str = "min", metrics: Any = loss, **options: Any) -> Any:
        def both(values: Any, iteration: int) -> dict[str, Any]:
            return {**metrics(values, iteration), "cost": round(values.get("x", 0.5) * 7.3 % 1, 1)}

        return super().loop(seed, mode=mode, metrics=both, **{"modes": [mode, "max"], **options})


# -- trial by trial ------------------------------------------------------------------------------------------------------


@dataclass
class View:
    number: int
    metrics: dict[str, Any] = field(default_factory=dict)
    iteration: int = 0


def begun(trials: int = 0, mode: str = "max", metrics: tuple[str, ...] = ("score",), **options: Any) -> Any:
    """A scheduler, and trials 0, 1, 2 ..."""
    asha = AsyncHyperBandScheduler(**options)
    asha.start(Settings(seed=5, metrics=metrics, modes=(mode,) * len(metrics)))
    for number in range(trials):
        asha.on_trial_add(View(number))
    return asha


def report(asha: Any, trial: int, time: float, score: Any, **more: Any) -> str | Decision:
    """Its answer; "STOP" for a decision to stop the trial."""
    result = {"training_iteration": time, "score": score, **more}
    answer: str | Decision = asha.on_result(View(trial, result), result)
    return answer


def stops(answer: Any) -> bool:
    return isinstance(answer, Decision) and answer.do == "stop"


@dataclass
class Rule:
    """The rule as Ray Tune has it, written out: O(n) per result, no shortcuts."""

    milestones: list[float]
    factor: float
    stop_last: bool
    recorded: dict[float, dict[int, float]] = field(default_factory=dict)
    doubtful: bool = False

    def last(self, trial: int, time: float, score: float) -> None:
        """At ``max_t`` a result is recorded where the trial has come to, and not judged."""
        self.recorded.setdefault(max(milestone for milestone in self.milestones if milestone <= time), {}).setdefault(trial, score)

    def stops(self, trial: int, time: float, score: float) -> bool:
        for milestone in sorted(self.milestones, reverse=True):
            rung = self.recorded.setdefault(milestone, {})
            if time < milestone:
                continue
            if trial in rung:
                if self.stop_last:
                    continue
                break
            before = list(rung.values())
            rung[trial] = score
            if not before:
                return False
            cut = np.percentile(before, 100 * (1 - 1 / self.factor))
            self.doubtful = self.doubtful or 0 < abs(score - cut) < 1e-9  # a rounding error decides
            return bool(score < cut)
        return False


@given(
    st.integers(0, 2**32),
    st.sampled_from([([1, 2, 4, 8], 2, 9), ([1, 4, 16], 4, 17), ([2, 6, 18], 3, 18), ([3, 7.5], 2.5, 18)]),
    st.sampled_from([1, 4, 9]),
    st.sampled_from([1, 2, 6]),
    st.booleans(),
    st.sampled_from(["min", "max"]),
)
def test_it_is_the_rule(seed: int, rungs: Any, jump: int, digits: int, stop_last: bool, mode: str) -> None:
    """Ties (one digit) and jumps over rungs included."""
    rng = random.Random(seed)
    milestones, factor, max_t = rungs
    rule = Rule(milestones, factor, stop_last)
    asha = begun(15, mode, max_t=max_t, grace_period=milestones[0], reduction_factor=factor, stop_last_trials=stop_last)
    times = dict.fromkeys(range(15), 0)
    while times:
        trial = rng.choice(list(times))
        times[trial] += rng.randint(1, jump)
        score = round(rng.random() + times[trial] / 30, digits)
        if over := stop_last and times[trial] >= max_t:
            rule.last(trial, times[trial], score)
        expected = over or rule.stops(trial, times[trial], score)
        assume(not rule.doubtful)
        assert stops(report(asha, trial, times[trial], score if mode == "max" else -score)) == expected
        if expected or times[trial] > max_t + 3:
            del times[trial]


def test_the_first_survives_equals_survive_and_reasons_say_why() -> None:
    asha = begun(5, max_t=100, reduction_factor=2)
    assert report(asha, 0, 1, 0.5) == "CONTINUE"
    assert report(asha, 1, 1, 0.5) == "CONTINUE"
    assert report(asha, 2, 1, 0.9) == "CONTINUE"
    assert report(asha, 3, 1, 0.5) == "CONTINUE"
    answer = report(asha, 4, 1, 0.4)
    assert stops(answer)
    assert answer.reason == "0.4 is below the cut of 0.5 at training_iteration 1 (5th of 5, bracket 0)"
    assert answer.data == {}


def test_reasons_speak_of_the_metric_as_it_is_reported() -> None:
    asha = begun(2, "min", max_t=100, reduction_factor=2, grace_period=3)
    report(asha, 0, 3, 0.5)
    assert report(asha, 1, 3, 0.75).reason == "0.75 is above the cut of 0.5 at training_iteration 3 (2nd of 2, bracket 0)"


@pytest.mark.parametrize(("max_t", "factor"), [(1000, 10), (243, 3), (125, 5)])
def test_the_top_rung_is_kept(max_t: int, factor: int) -> None:
    """It decides where trials may go beyond it."""
    asha = begun(2, max_t=max_t, reduction_factor=factor, stop_last_trials=False)
    assert report(asha, 0, max_t, 0.9) == "CONTINUE"
    answer = report(asha, 1, max_t, 0.8)
    assert stops(answer)
    assert f"at training_iteration {max_t} " in answer.reason


def test_max_t_is_the_end_and_no_loss() -> None:
    asha = begun(2, max_t=10)
    answer = report(asha, 0, 10, 0.1)
    assert answer.reason == "training_iteration 10 is max_t=10 or beyond (bracket 0)"
    assert answer.data == {"by": "bound", "bound": ["max_t", 10]}
    assert stops(report(asha, 1, 12, 0.9))
    forever = begun(1, max_t=10, stop_last_trials=False)
    assert report(forever, 0, 10, 0.1) == report(forever, 0, 1000, 0.1) == "CONTINUE"


def test_what_is_missing_or_no_number_is_passed_over() -> None:
    """And the next result that says all is judged."""
    asha = begun(2, max_t=100, reduction_factor=2)
    report(asha, 0, 1, 0.9)
    for time, score in ((1, None), (None, 0.1), ("one", 0.1), (1, "?"), (math.nan, 0.1)):
        result = {"training_iteration": time, "score": score}
        assert asha.on_result(View(1), {key: value for key, value in result.items() if value is not None}) == "CONTINUE"
    assert stops(report(asha, 1, 1.5, 0.8))


def test_nan_is_worst_and_only_the_first_to_come_survives_it() -> None:
    asha = begun(4, "min", max_t=100, reduction_factor=2)
    assert report(asha, 0, 1, math.nan) == "CONTINUE"
    assert report(asha, 1, 1, 0.4) == "CONTINUE"
    assert stops(report(asha, 2, 1, math.nan))
    assert report(asha, 3, 1, 0.3) == "CONTINUE"


def test_any_key_may_be_the_time() -> None:
    asha = begun(2, max_t=90.0, grace_period=1.5, reduction_factor=2, time_attr="seconds")
    assert asha.on_result(View(0), {"seconds": 1.6, "score": 1.0}) == "CONTINUE"
    assert asha.on_result(View(1), {"seconds": 1.4, "score": 0.1}) == "CONTINUE"
    answer = asha.on_result(View(1), {"seconds": 1.5, "score": 0.2})
    assert answer.reason == "0.2 is below the cut of 1 at seconds 1.5 (2nd of 2, bracket 0)"


# -- ends ----------------------------------------------------------------------------------------------------------------


def recorded(asha: Any, bracket: int = 0) -> list[list[int]]:
    """Who is on each rung, lowest rung first, best first."""
    return [stage.rung.ranking.best(99) for stage in asha._ladders[bracket].stages]


def test_a_last_result_counts_once() -> None:
    """It was shown and recorded; the rungs below, which it had jumped over, do not get it as well."""
    asha = begun(1, max_t=100, reduction_factor=2)
    report(asha, 0, 5, 0.5)
    asha.on_trial_end(View(0, {"training_iteration": 5, "score": 0.5}), "finished")
    assert recorded(asha) == [[], [], [0], [], [], [], []]


@pytest.mark.parametrize("outcome", ["finished", "stopped", "nan", "user_error", "worker_lost", "infeasible"])
def test_a_last_result_that_was_not_shown_counts_where_it_has_come_to(outcome: str) -> None:
    """A stop criterion ended the trial at that result, or the result said that it was done."""
    asha = begun(1, max_t=100, reduction_factor=2)
    report(asha, 0, 1, 0.5)
    asha.on_trial_end(View(0, {"training_iteration": 9, "score": 0.7}), outcome)
    assert recorded(asha)[:5] == [[0], [], [], [0] if outcome in ("finished", "stopped", "nan") else [], []]


def test_what_ended_trials_had_stays() -> None:
    asha = begun(2, max_t=100, reduction_factor=2)
    report(asha, 0, 1, 0.9)
    asha.on_trial_end(View(0, {"training_iteration": 1, "score": 0.9}), "user_error")
    assert stops(report(asha, 1, 1, 0.8))
    assert asha._live.keys() == {1}


# -- going on after the end ----------------------------------------------------------------------------------------------


def test_a_raised_max_t_adds_rungs_and_judges_those_that_had_reached_it() -> None:
    asha = begun(5, max_t=4, reduction_factor=2)
    for trial in range(4):
        for time in (1, 2, 4):
            assert stops(report(asha, trial, time, 0.5 + trial / 10)) == (time == 4)
        asha.on_trial_end(View(trial, {"training_iteration": 4, "score": 0.5 + trial / 10}), "stopped")
    asha.change({"max_t": 32})
    assert [stage.rung.milestone for stage in asha._ladders[0].stages] == [1, 2, 4, 8, 16, 32]
    for trial in range(4):
        asha.on_trial_reopen(View(trial))
    verdicts = [report(asha, trial, 5, 0.99) for trial in range(4)]
    assert [stops(one) for one in verdicts] == [True, True, False, False]
    assert verdicts[0].reason == "0.5 is below the cut of 0.7 at training_iteration 4 (4th of 4, bracket 0)"
    assert recorded(asha)[2:4] == [[3, 2, 1, 0], []]
    assert report(asha, 3, 8, 0.5) == "CONTINUE"
    assert stops(report(asha, 2, 8, 0.4))


def test_who_was_judged_before_a_failure_is_not_judged_there_again() -> None:
    asha = begun(2, max_t=100, reduction_factor=2)
    report(asha, 0, 2, 0.5)
    asha.on_trial_end(View(0), "user_error")
    assert report(asha, 1, 2, 0.9) == "CONTINUE"
    asha.on_trial_reopen(View(0))
    assert report(asha, 0, 3, 0.5) == "CONTINUE"
    assert recorded(asha)[:2] == [[0], [1, 0]]


def test_running_trials_notice_a_raised_max_t_and_a_lowered_one() -> None:
    asha = begun(2, max_t=4, reduction_factor=2)
    assert report(asha, 0, 1, 0.5) == report(asha, 0, 2, 0.5) == "CONTINUE"
    asha.change({"max_t": 8})
    assert report(asha, 0, 4, 0.5) == "CONTINUE"
    asha.change({"max_t": 4})
    assert stops(report(asha, 0, 5, 0.5))
    assert report(asha, 1, 1, 0.5) == "CONTINUE"


def test_a_resume_with_a_larger_max_t_takes_up_those_that_had_reached_it() -> None:
    kit = TestStop()
    loop = kit.loop(1, reports=(30, 30))
    loop.run()
    done = [number for number, trial in sorted(loop.ended.items()) if trial.by.get("by") == "bound"]
    assert done
    loop.world.crash()
    loop.resume(done, scheduler_options={"max_t": 64})
    loop.run()
    reached = [record.event.iteration for record in loop.records if isinstance(record.event, ev.Reported) and record.event.trial in done]
    assert max(reached) > 16


# -- brackets ------------------------------------------------------------------------------------------------------------


def brackets(asha: Any, trials: int) -> list[int]:
    for number in range(trials):
        asha.on_trial_add(View(number))
    return [asha._live[number].bracket for number in range(trials)]


def test_brackets_are_drawn_by_seed_and_number() -> None:
    """Whoever else was added, and whenever."""
    all_of_them = brackets(begun(brackets=3, seed=9), 200)
    backwards = begun(brackets=3, seed=9)
    for number in reversed(range(0, 200, 7)):
        backwards.on_trial_add(View(number))
        assert backwards._live[number].bracket == all_of_them[number]
    assert brackets(begun(brackets=3, seed=8), 200) != all_of_them
    assert brackets(begun(brackets=3), 200) == brackets(begun(brackets=3, seed=5), 200), "without a seed the run's counts"


def test_each_bracket_has_as_much_time_before_its_first_rung() -> None:
    """A trial of bracket s takes 5 ** s as long to its first rung."""
    counts = Counter(brackets(begun(brackets=3, reduction_factor=5), 6200))
    assert [round(counts[one] / 200) for one in range(3)] == [25, 5, 1]


def test_a_bracket_leaves_out_the_lowest_rungs_and_compares_its_own_trials() -> None:
    asha = begun(brackets=6, reduction_factor=2, max_t=8)
    drawn = brackets(asha, 400)
    assert [[stage.rung.milestone for stage in ladder.stages] for ladder in asha._ladders] == [[1, 2, 4, 8], [2, 4, 8], [4, 8], [8], [], []]
    first = {bracket: drawn.index(bracket) for bracket in range(6)}
    assert report(asha, first[0], 1, 0.9) == "CONTINUE"
    assert report(asha, first[1], 1, 0.1) == report(asha, first[1], 2, 0.1) == "CONTINUE", "it is the first of its bracket"
    answer = report(asha, drawn.index(1, first[1] + 1), 2, 0.05)
    assert answer.reason == "0.05 is below the cut of 0.1 at training_iteration 2 (2nd of 2, bracket 1)"
    assert report(asha, first[5], 7, -1.0) == "CONTINUE", "a bracket without rungs stops nobody early"
    assert stops(report(asha, first[5], 8, -1.0))


# -- several metrics -----------------------------------------------------------------------------------------------------


def test_of_several_metrics_the_front_survives_first() -> None:
    asha = begun(5, metrics=("score", "speed"), max_t=100, reduction_factor=2)
    assert report(asha, 0, 1, 0.9, speed=0.1) == "CONTINUE"
    assert stops(report(asha, 1, 1, 0.1, speed=0.9)), "on the front, but one of two: and the first metric counts first"
    answer = report(asha, 2, 1, 0.05, speed=0.05)
    where = "training_iteration 1 (in the 2nd front of 2, of 3, bracket 0)"
    assert answer.reason == f"(score 0.05, speed 0.05) is not among the best 1 at {where}"
    assert report(asha, 3, 1, 0.08, speed=0.95) == "CONTINUE", "on the front, and farthest from the first there"
    assert report(asha, 4, 1, 0.9, speed=0.1) == "CONTINUE", "equal to the first"


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.sampled_from([2, 3, 4, 2.5]))
def test_several_metrics_that_agree_decide_as_one_does(values: list[int], factor: float) -> None:
    """Where the percentile falls on a score; between two scores it is stricter, as there is nothing to interpolate."""
    one, two = begun(40, reduction_factor=factor), begun(40, metrics=("score", "double"), reduction_factor=factor)
    for trial, value in enumerate(values):
        alone, both = report(one, trial, 1, value), report(two, trial, 1, value, double=2 * value)
        on_a_score = (trial - 1) / factor == (trial - 1) // factor
        assert stops(alone) <= stops(both)
        assert stops(alone) == stops(both) or not on_a_score


# -- arguments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_t": 1, "grace_period": 2}, "max_t=1 is below grace_period=2"),
        ({"time_attr": ""}, "time_attr must be the name of what reports count their progress by, got ''"),
        ({"brackets": 0}, "brackets must be a whole number, at least 1, got 0"),
        ({"stop_last_trials": 1}, "stop_last_trials must be True or False, got 1"),
        ({"seed": 1.5}, "seed must be a whole number or None, got 1.5"),
        ({"form": "pause"}, "form must be 'stop' or 'promote', got 'pause'"),
        ({"mode": "up"}, "mode of AsyncHyperBandScheduler must be 'min' or 'max', got 'up'"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        AsyncHyperBandScheduler(**arguments)


def test_names_order_and_defaults_are_rays() -> None:
    assert ASHAScheduler is AsyncHyperBandScheduler
    positional = AsyncHyperBandScheduler("epoch", "loss", "min", 50, 2, 3, 4, False)
    assert positional.options() == {
        "time_attr": "epoch", "max_t": 50, "grace_period": 2, "reduction_factor": 3, "brackets": 4, "stop_last_trials": False, "seed": None,
        "form": "stop",
    }  # fmt: skip
    assert AsyncHyperBandScheduler().options() == {
        "time_attr": "training_iteration", "max_t": 100, "grace_period": 1, "reduction_factor": 4, "brackets": 1, "stop_last_trials": True,
        "seed": None, "form": "stop",
    }  # fmt: skip

"""The median stopping rule and its relatives: held against the rule written out, and in whole experiments."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.median import MedianStoppingRule, PercentileStoppingRule
from tunesmith.schedulers.timeline import Timeline, is_below, nth, quantile
from tunesmith.testing import SchedulerKit

# -- in whole experiments ------------------------------------------------------------------------------------------------


class TestMedian(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return MedianStoppingRule("training_iteration", metric, mode, grace_period=2, min_samples_required=2)


class TestMedianByTheClock(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return MedianStoppingRule(metric=metric, mode=mode, grace_period=1.5, min_samples_required=1, min_time_slice=2.0)


class TestMedianThatPauses(SchedulerKit):
    takes_pending = True

    def make(self, metric: str, mode: str) -> Scheduler:
        return MedianStoppingRule("training_iteration", metric, mode, grace_period=2, min_samples_required=2, hard_stop=False)


class TestMedianWithTrialsThatWait(SchedulerKit):
    """Each configuration says what it takes, so trials are drawn ahead: those that have too few to be compared with make room."""

    spec = {"config_resources": True, "pending_cap": 4}  # noqa: RUF012 - as the kit declares it

    def make(self, metric: str, mode: str) -> Scheduler:
        return MedianStoppingRule("training_iteration", metric, mode, grace_period=2, hard_stop=False)

    def test_they_do_make_room(self) -> None:
        loop = self.loop(2, cpus=2.0)
        loop.run()
        pauses = [decision.reason for record in loop.records for decision in record.decisions if decision.do == "pause"]
        assert any(reason.startswith("makes room for others: ") for reason in pauses)


class TestPercentile(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return PercentileStoppingRule(
            "training_iteration", metric, mode, grace_period=1, min_samples_required=1, percentile=25, compare="value"
        )


# -- the rule, trial by trial --------------------------------------------------------------------------------------------


@dataclass
class View:
    number: int
    status: str = "RUNNING"


@dataclass
class Wait:
    """What could be started, as ``choose`` sees it."""

    pending: list[View] = field(default_factory=list)
    paused: list[int] = field(default_factory=list)
    fits: bool = True

    def get(self, number: int) -> View | None:
        return View(number) if self.fits else None

    def first_paused(self) -> View | None:
        return View(self.paused[0]) if self.paused and self.fits else None


def begun(rule: Any, mode: str = "min", trials: int = 0) -> Any:
    rule.start(Settings(metrics=("loss",), modes=(mode,)))
    for number in range(trials):
        rule.on_trial_add(View(number))
        rule.choose(Wait([View(number)]))
    return rule


def tell(rule: Any, number: int, time: float, loss: float) -> Any:
    return rule.on_result(View(number), {"training_iteration": time, "loss": loss})


def simple(**options: Any) -> Any:
    return begun(MedianStoppingRule("training_iteration", **{"grace_period": 1, "min_samples_required": 3, **options}), trials=10)


def test_worse_than_the_median_of_running_means() -> None:
    rule = simple()
    for number, losses in enumerate([(0.2, 0.4), (0.6, 0.2), (0.5, 0.7)]):
        for time, loss in enumerate(losses, 1):
            assert tell(rule, number, time, loss) == "CONTINUE", "too few to compare with"
    assert tell(rule, 3, 1, 0.5) == "CONTINUE", "exactly the median of 0.2, 0.6, 0.5"
    assert tell(rule, 4, 1, 0.51) == rule.stop(
        "its best so far, 0.51, is worse than the median of running means of 0.5 at training_iteration 1 (4th of 5)"
    )
    assert tell(rule, 3, 2, 0.9) == rule.stop(
        "its best so far, 0.5, is worse than the median of running means of 0.4 at training_iteration 2 (3rd of 4)"
    )


def test_the_better_half_of_two_goes_on() -> None:
    """Between two neighbours the median is half way."""
    rule = simple(min_samples_required=2)
    tell(rule, 0, 1, 0.2)
    tell(rule, 1, 1, 0.4)
    assert tell(rule, 2, 1, math.nextafter((0.2 + 0.4) / 2, 1)).do == "stop"
    rule = simple(min_samples_required=2)
    tell(rule, 0, 1, 0.2)
    tell(rule, 1, 1, 0.4)
    assert tell(rule, 2, 1, (0.2 + 0.4) / 2) == "CONTINUE"


def test_larger_may_be_better() -> None:
    rule = begun(MedianStoppingRule("training_iteration", grace_period=1, min_samples_required=1), "max", 3)
    tell(rule, 0, 1, 0.8)
    assert tell(rule, 1, 1, 0.9) == "CONTINUE"
    assert "its best so far, 0.7, is worse than the median of running means of 0.85" in tell(rule, 2, 1, 0.7).reason


def test_results_before_the_grace_period_count_for_the_best_only() -> None:
    rule = simple(grace_period=3, min_samples_required=1)
    for time, loss in ((1, 9.0), (2, 9.0), (3, 0.5)):
        assert tell(rule, 0, time, loss) == "CONTINUE"
    assert tell(rule, 1, 2, 0.5) == "CONTINUE"
    assert tell(rule, 1, 3, 0.9) == "CONTINUE", "its best was before, and the other's mean is that of one result"
    assert "median of running means of 0.7" in tell(rule, 2, 3, 0.75).reason


def test_the_last_result_of_an_ended_trial_counts_once() -> None:
    """Ray Tune appends it again."""
    rule = simple(min_samples_required=1)
    tell(rule, 0, 1, 0.0)
    tell(rule, 0, 2, 1.0)
    rule.on_trial_end(View(0), "finished")
    assert tell(rule, 1, 2, 0.5) == "CONTINUE", "the mean of 0 and 1; twice 1 would make it 0.67, and 0.6 good enough"
    assert tell(rule, 2, 2, 0.6).do == "stop"


def test_who_has_not_come_as_far_does_not_count() -> None:
    rule = simple(min_samples_required=1)
    tell(rule, 0, 4, 0.1)
    assert tell(rule, 1, 5, 0.9) == "CONTINUE"
    tell(rule, 0, 8, 0.3)
    assert "0.1 at" in tell(rule, 2, 6, 0.9).reason, "its mean at 6 is that of what it had reported by then"
    tell(rule, 3, 8, 0.05)
    assert "0.125 at" in tell(rule, 4, 8, 0.9).reason, "0.2 and 0.05"


def test_infinities_and_nan() -> None:
    rule = simple(min_samples_required=1)
    tell(rule, 0, 1, math.inf)
    tell(rule, 0, 2, 0.1)
    tell(rule, 1, 2, math.nan)
    assert tell(rule, 2, 2, 0.5) == "CONTINUE", "neither has a mean"
    assert tell(rule, 3, 2, 0.5) == "CONTINUE"
    assert tell(rule, 4, 2, math.nan).do == "stop"
    assert tell(rule, 5, 2, -math.inf) == "CONTINUE"


def test_results_that_say_too_little_are_passed_over() -> None:
    rule = simple()
    silent: list[dict[str, Any]] = [{"loss": 1.0}, {"training_iteration": 3}, {"training_iteration": "3", "loss": 1.0}]
    for result in [*silent, {"training_iteration": 3, "loss": "x"}, {"training_iteration": math.nan, "loss": 1.0}]:
        assert rule.on_result(View(0), result) == "CONTINUE"
    assert not rule._curves


def test_equal_values_are_never_worse_than_their_own_mean() -> None:
    """Sums of floats are not: 0.1 ten times over makes less than 1."""
    rule = simple(min_samples_required=1)
    for time in range(1, 50):
        for number in range(4):
            assert tell(rule, number, time, 0.1) == "CONTINUE"


# -- making room, and going on later -------------------------------------------------------------------------------------


def test_a_trial_makes_room_while_others_wait_for_a_start() -> None:
    rule = simple(min_time_slice=2)
    rule.on_trial_add(View(10))
    assert tell(rule, 0, 3, 0.5) == rule.pause("makes room for others: 0 of 3 trials needed have come to training_iteration 3")
    assert rule.choose(Wait([View(10)], [0])).number == 10
    assert rule.choose(Wait([], [0])).number == 0
    assert tell(rule, 0, 4, 0.5) == "CONTINUE", "nobody waits any more"
    rule.on_trial_add(View(11))
    assert tell(rule, 0, 5, 0.5) == "CONTINUE", "not more than 2 since it last made room"
    assert tell(rule, 0, 5.5, 0.5).do == "pause"
    assert tell(rule, 1, 5.5, 0.5).do == "pause", "its own slice"
    rule.choose(Wait([View(11)]))
    assert tell(rule, 2, 5.5, 0.5).do == "pause", "those that have made room wait, too"


def test_a_trial_that_ended_waits_for_nothing() -> None:
    rule = simple()
    rule.on_trial_add(View(10))
    rule.on_trial_end(View(10), "stopped")
    assert tell(rule, 0, 3, 0.5) == "CONTINUE"


def test_losers_that_are_paused_go_on_last_and_for_good() -> None:
    rule = simple(min_samples_required=1, hard_stop=False)
    tell(rule, 0, 1, 0.1)
    assert tell(rule, 1, 1, 0.5).do == "pause"
    assert tell(rule, 2, 1, 0.6).do == "pause"
    assert tell(rule, 3, 5, 0.1) == "CONTINUE", "losers that wait are not made room for"
    assert rule.choose(Wait([], [1, 2])) is None, "rather a new one"
    assert rule.choose(Wait([View(4)], [1, 2])).number == 4
    rule.on_search_end()
    assert rule.choose(Wait([], [1, 2])).number == 1
    assert rule.choose(Wait([], [2], fits=False)) is None
    assert tell(rule, 1, 5, 9.0) == "CONTINUE", "it is not judged again"
    assert "(2nd of 2)" in tell(rule, 4, 5, 0.2).reason, "nor does it count beyond where it was paused"
    rule.on_trial_add(View(5))
    assert rule.choose(Wait([], [2])) is None, "more are drawn"


def test_who_was_paused_by_somebody_else_is_resumed() -> None:
    rule = simple(hard_stop=False)
    assert rule.choose(Wait([], [7])).number == 7


def test_a_trial_that_goes_on_after_its_end_is_what_it_was() -> None:
    rule = simple(min_samples_required=1)
    tell(rule, 0, 1, 0.0)
    rule.on_trial_end(View(0), "user_error")
    rule.on_trial_reopen(View(0))
    tell(rule, 0, 2, 1.0)
    assert "median of running means of 0.5" in tell(rule, 1, 2, 0.7).reason


def test_time_that_goes_back_stands_still() -> None:
    rule = simple(min_samples_required=1)
    tell(rule, 0, 8, 0.0)
    tell(rule, 0, 5, 1.0)
    assert "median of running means of 0.5" in tell(rule, 1, 8, 0.7).reason


# -- percentiles ---------------------------------------------------------------------------------------------------------


def test_a_percentile_of_values() -> None:
    rule = begun(PercentileStoppingRule("training_iteration", grace_period=1, percentile=25, compare="value"), trials=9)
    for number in range(5):
        for time in (1, 2):
            tell(rule, number, time, number / time)
    assert tell(rule, 5, 2, 0.5) == "CONTINUE", "0, 0.5, 1, 1.5, 2: the best quarter ends at 0.5"
    assert tell(rule, 6, 2, 0.6) == rule.stop(
        "its best so far, 0.6, is worse than the cut at the best 25 % of values of 0.5 at training_iteration 2 (4th of 7)"
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"time_attr": ""}, "PercentileStoppingRule: time_attr must be the name of"),
        ({"percentile": 0}, "percentile must be a number above 0 and at most 100, got 0"),
        ({"percentile": 100.5}, "percentile must be"),
        ({"compare": "last"}, "compare must be 'mean' or 'value', got 'last'"),
        ({"grace_period": -1}, "grace_period must be a number at least 0, got -1"),
        ({"grace_period": math.nan}, "grace_period must be"),
        ({"min_samples_required": 0}, "min_samples_required must be a whole number, at least 1, got 0"),
        ({"min_time_slice": True}, "min_time_slice must be"),
        ({"hard_stop": "no"}, "hard_stop must be True or False, got 'no'"),
        ({"mode": "best"}, "mode of PercentileStoppingRule must be"),
    ],
)
def test_bad_arguments(option: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        PercentileStoppingRule(**option)


# -- against the rule written out ----------------------------------------------------------------------------------------


class WrittenOut:
    """The rule as its description reads: every result of every trial looked at for each decision."""

    def __init__(self, grace: float, least: int, percentile: float, compare: str) -> None:
        self.grace, self.least, self.percentile, self.compare = grace, least, percentile, compare
        self.results: dict[int, list[tuple[float, float, float]]] = {}

    def __call__(self, number: int, time: float, loss: float) -> str:
        own = self.results.setdefault(number, [])
        at = max(time, own[-1][1] if own else -math.inf)
        own.append((time, at, loss))
        if time < self.grace:
            return "CONTINUE"
        values = [value for other in self.results if other != number and (value := self.value(other, at)) is not None]
        if len(values) < self.least:
            return "CONTINUE"
        best = min(loss for _, _, loss in own)
        return "stop" if best > self.cut(sorted(values)) else "CONTINUE"

    def value(self, other: int, at: float) -> float | None:
        results = self.results[other]
        scoped = [loss for time, when, loss in results if time >= self.grace and when <= at]
        if results[-1][1] < at or not scoped:
            return None
        value = scoped[-1]
        if self.compare == "mean":
            if not all(map(math.isfinite, scoped)):
                return None
            value = float(sum(map(Fraction, scoped)) / len(scoped))
        return value if math.isfinite(value) else None

    def cut(self, values: list[float]) -> float:
        if self.percentile == 50:
            return median(values)
        spot = self.percentile / 100 * (len(values) - 1)
        low = math.floor(spot)
        high = min(low + 1, len(values) - 1)
        return values[low] if values[low] == values[high] else values[low] * (1 - spot + low) + values[high] * (spot - low)


@pytest.mark.parametrize("clock", [False, True])
@given(st.integers(0, 10**9))
def test_decides_as_the_rule_reads(clock: bool, seed: int) -> None:
    pick = random.Random(seed)
    options = {"grace": pick.choice((0, 1, 3)), "least": pick.choice((1, 2, 3)), "percentile": pick.choice((50, 50, 25, 75))}
    compare = pick.choice(("mean", "value"))
    rule = begun(
        PercentileStoppingRule(
            "training_iteration", grace_period=options["grace"], min_samples_required=options["least"],
            percentile=options["percentile"], compare=compare,
        ),
        trials=6,
    )  # fmt: skip
    expected = WrittenOut(**options, compare=compare)
    times = dict.fromkeys(range(6), 0.0)
    going = set(times)
    for _ in range(60):
        if not going:
            break
        number = pick.choice(sorted(going))
        step = pick.random() * pick.choice((0.01, 1.0, 30.0)) if clock else float(pick.choice((1, 1, 1, 2, 5)))
        times[number] += step
        loss = math.inf if pick.random() < 0.02 else pick.choice((pick.random(), pick.randrange(8) / 8))
        decision = tell(rule, number, times[number], loss)
        assert getattr(decision, "do", decision) == expected(number, times[number], loss)
        if decision != "CONTINUE":
            going.remove(number)


TIMES = st.floats(-5, 3000) | st.integers(0, 2000) | st.sampled_from((0.0, 1e-9, 1.0, 1.001, 1023.9, 1024.5, 1e12, 1e14, math.inf))


# -- the timeline --------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(TIMES, min_size=1, max_size=12), min_size=1, max_size=6), TIMES)
def test_a_moment_has_the_values_of_those_that_have_come_as_far(trials: list[list[float]], moment: float) -> None:
    timeline = Timeline()
    expected = []
    for number, times in enumerate(trials):
        times.sort()
        for place, time in enumerate(times):
            timeline.arrive(time, 10.0 * number + place)
            if place + 1 < len(times):
                timeline.leave(time, times[place + 1], 10.0 * number + place)
        if times[0] <= moment <= times[-1]:
            expected.append(10.0 * number + sum(time <= moment for time in times) - 1)
    assert sorted(value for part in timeline.at(moment) for value in part) == sorted(expected)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 4), st.floats(0, 1), st.integers(-1, 10))
def test_several_arrays_are_as_one(values: list[int], parts: int, share: float, value: int) -> None:
    split = [sorted(map(float, values[part::parts])) for part in range(parts)]
    ranked = sorted(map(float, values))
    assert [nth(split, n) for n in range(len(ranked))] == ranked  # type: ignore[arg-type]
    assert is_below(value, split, share) == (value < quantile(split, share))  # type: ignore[arg-type]
    assert quantile(split, 0) == ranked[0]  # type: ignore[arg-type]
    assert quantile(split, 1) == ranked[-1]  # type: ignore[arg-type]


def test_a_timeline_of_successive_whole_numbers_takes_a_piece_a_report() -> None:
    timeline = Timeline()
    for trial in range(3):
        for time in range(1, 101):
            if time > 1:
                timeline.leave(time - 1, time, float(trial))
            timeline.arrive(time, float(trial))
    assert sum(len(values) for row in timeline._pieces.values() for values in row.values()) == 3 * 99
    assert list(timeline._newest) == [100]


def test_by_the_clock_a_stretch_takes_a_handful_of_pieces() -> None:
    """Of some 2,600 cells between the two times."""
    timeline = Timeline()
    timeline.arrive(100.3, 0.5)
    timeline.leave(100.3, 1000.9, 0.5)
    assert sum(len(row) for row in timeline._pieces.values()) == 13
    assert sum(len(ends) for ends in timeline._ends.values()) == 2

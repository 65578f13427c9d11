"""HyperBand, and whole experiments with the synchronous family: whoever dies, oversteps or never comes, all end and every cut is right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.core.invariants import check
from tunesmith.core.rng import stream
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.bohb import HyperBandForBOHB
from tunesmith.schedulers.brackets import Bracket, Cut
from tunesmith.schedulers.hyperband import BracketScheduler, HyperBandScheduler
from tunesmith.schedulers.successive_halving import SuccessiveHalvingScheduler
from tunesmith.testing.loop import Loop
from tunesmith.testing.scheduler_kit import SchedulerKit
from tunesmith.testing.world import Fates, World

SETTINGS: dict[str, Any] = {"metrics": ["loss"], "modes": ["min"]}
GIVEN_UP = "paused, and nothing was left that could resume it"


def assert_none_was_given_up(loop: Loop) -> None:
    """The core had to end no trial that its scheduler had forgotten. (It may where a session is about some trials only.)"""
    only: Any = None
    for record in loop.records:
        if isinstance(record.event, ev.ExperimentStarted):
            only = record.event.only
        assert only is not None or all(decision.reason != GIVEN_UP for decision in record.decisions), loop.story()


class Kit(SchedulerKit):
    def _ended(self, loop: Loop) -> None:
        super()._ended(loop)
        assert_none_was_given_up(loop)


class TestBands(Kit):
    """A whole band: 3 to 9, 5 to 3, 9 to 1."""

    num_samples = 17

    def make(self, metric: str, mode: str) -> Scheduler:
        return HyperBandScheduler(metric=metric, mode=mode, max_t=9)


class TestUnfilled(Kit):
    """The first bracket of the second band, and the last of the first, have too few."""

    num_samples = 14

    def make(self, metric: str, mode: str) -> Scheduler:
        return HyperBandScheduler(metric=metric, mode=mode, max_t=4, reduction_factor=1.5)


class TestWinnersGoOn(Kit):
    num_samples = 24

    def make(self, metric: str, mode: str) -> Scheduler:
        return HyperBandScheduler(metric=metric, mode=mode, max_t=8, reduction_factor=2, stop_last_trials=False)


# -- sessions ------------------------------------------------------------------------------------------------------------


def losses(values: Any, iteration: int) -> dict[str, Any]:
    x = values["x"]
    return {"loss": x + (1 - x) / iteration + 0.2 * stream(1, "noise", iteration + round(1e6 * x)).random()}


def test_a_later_end_is_one_more_round() -> None:
    """Three had run to 9; now the best of them goes on to 27."""
    loop = Loop(
        lambda: HyperBandScheduler(max_t=9),
        SETTINGS | {"num_samples": 3, "scheduler_options": {"max_t": 9}},
        World(3, Fates(reports=(99, 99), metrics=losses, checkpoint=1.0)),
    )
    loop.run()
    assert {number: trial.iteration for number, trial in loop.ended.items()} == {0: 9, 1: 9, 2: 9}
    at_ten = {number: losses(trial.values, 10)["loss"] for number, trial in loop.ended.items()}
    loop.crash([0, 1, 2], scheduler_options={"max_t": 27})
    loop.run()
    best = min(at_ten, key=at_ten.__getitem__)
    assert {number: trial.iteration for number, trial in loop.ended.items()} == {0: 10, 1: 10, 2: 10} | {best: 27}


def test_more_samples_fill_a_bracket_of_their_own() -> None:
    """One that is already cutting takes nobody in."""
    world = World(3, Fates(reports=(99, 99), metrics=losses))
    loop = Loop(lambda: SuccessiveHalvingScheduler(max_t=4, reduction_factor=2), SETTINGS | {"num_samples": 3}, world)
    loop.run()
    assert sorted(trial.iteration for trial in loop.ended.values()) == [1, 2, 4]
    loop.crash(num_samples=7)
    loop.run()
    assert sorted(loop.ended[number].iteration for number in range(3, 7)) == [1, 1, 2, 4]


# -- any experiment ------------------------------------------------------------------------------------------------------


class Watch:
    """Holds every round against the reports, and the scheduler's counters against its brackets."""

    def __init__(self) -> None:
        self.reports: dict[int, list[tuple[float, float]]] = {}
        self.stopped: set[int] = set()

    def __call__(self, loop: Loop, record: ev.Event | Any, commands: Any) -> None:
        check(loop.controller, shrunk=loop.world.shrunk)
        scheduler: Any = loop.controller.scheduler
        brackets = scheduler._brackets
        assert scheduler._resting == sum(bracket.resting for bracket in brackets)
        assert scheduler._queue == sorted((bracket.left, bracket.index) for bracket in brackets if bracket.promoted)
        event = record.event
        if isinstance(event, ev.Reported) and "loss" in event.metrics:
            loss = event.metrics["loss"]
            self.reports.setdefault(event.trial, []).append((event.metrics["t"], math.inf if math.isnan(loss) else loss))
        bad = [decision for decision in record.decisions if decision.do == "stop" and " is " in decision.reason and not decision.data]
        self.stopped |= {decision.trial for decision in bad if decision.trial is not None}

    def result(self, trial: int, milestone: float) -> float:
        """The first one at the milestone or beyond."""
        return next(loss for t, loss in self.reports[trial] if t >= milestone)


CUTS: list[tuple[int, int, int, Cut]] = []
"""(index, round, members on their way) and each cut, of the present controller."""


@pytest.fixture(autouse=True)
def cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Bracket.halve

    def halve(self: Bracket, reduction_factor: float) -> Cut:
        index, number, going = self.index, self.round, len(self.going)
        cut = plain(self, reduction_factor)
        CUTS.append((index, number, going, cut))
        return cut

    monkeypatch.setattr(Bracket, "halve", halve)


MAKERS: dict[str, Callable[..., BracketScheduler]] = {
    "hyperband": HyperBandScheduler,
    "bohb": HyperBandForBOHB,
    "halving": SuccessiveHalvingScheduler,
}


@example(kind="halving", max_t=9, eta=3, trials=4, cpus=1, length=12, step=1, deaths=0.0, hostile=0.0, crash=0, seed=0)
@example(kind="hyperband", max_t=9, eta=3, trials=34, cpus=50, length=12, step=1, deaths=0.1, hostile=0.0, crash=90, seed=1)
@example(  # two rounds are decided at once, the second one without the trial in hand
    kind="bohb", max_t=4, eta=1.5, trials=7, cpus=1, length=2, step=2, deaths=0.0, hostile=0.0, crash=0, seed=100
)  # fmt: skip
@given(
    kind=st.sampled_from(sorted(MAKERS)),
    max_t=st.sampled_from([1, 3, 4, 9, 16, 10]),
    eta=st.sampled_from([2, 3, 4, 1.5]),
    trials=st.integers(1, 34),
    cpus=st.sampled_from([1, 3, 50]),
    length=st.sampled_from([2, 20]),
    step=st.sampled_from([1, 1, 2, 7]),
    deaths=st.sampled_from([0.0, 0.1, 0.4]),
    hostile=st.sampled_from([0.0, 0.1]),
    crash=st.sampled_from([0, 0, 15, 60]),
    seed=st.integers(0, 10**6),
)
def test_any_experiment_ends_and_its_rounds_are_right(
    kind: str, max_t: int, eta: float, trials: int, cpus: int, length: int, step: int, deaths: float, hostile: float, crash: int, seed: int
) -> None:
    def metrics(values: Any, iteration: int) -> dict[str, Any]:
        draw = stream(seed, "loss", iteration + round(1e6 * values["x"]))
        if step == 2 and iteration % 3 == 0:
            return {"t": iteration}
        return {"loss": draw.choice((0.5, draw.random(), draw.random(), math.nan)), "t": iteration * (1 + int(step * values["x"]))}

    def make() -> BracketScheduler:
        CUTS.clear()
        return MAKERS[kind](time_attr="t", max_t=max_t, reduction_factor=eta)

    failures = {"user_error": deaths / 2, "infeasible": deaths / 4, "worker_lost": deaths / 4}
    fates = Fates(reports=(1, length), failures=failures, checkpoint=0.3, hostile=hostile, users=hostile, metrics=metrics)
    watch = Watch()
    spec = SETTINGS | {"num_samples": trials, "identical": None, "nan_policy": "continue", "warm_pause": True}
    loop = Loop(make, spec, World(seed, fates, totals={"cpu": float(cpus)}), watch=watch)
    loop.start()
    for _ in range(crash):
        if not loop.controller.state.finished:
            loop.step()
    if crash and not loop.controller.state.finished:
        loop.crash()
    loop.run()
    assert not loop.controller.state.trials
    assert_none_was_given_up(loop)
    _check_cuts(loop.controller.scheduler, watch, exact=not (crash or hostile))


def _check_cuts(scheduler: Any, watch: Watch, *, exact: bool) -> None:
    plans = scheduler.plans()
    places: dict[int, float] = {}
    lost = set()
    for index, number, going, cut in CUTS:
        plan = plans[index % len(plans)]
        assert cut.milestone == plan.milestones[number], "rounds come in order, each once"
        places[index] = math.ceil(places.get(index, plan.places) / scheduler.reduction_factor - 1e-9)
        assert cut.keep == min(places[index], len(cut.order))
        assert cut.keep == len(cut.order) or not going, "somebody is stopped while others are still on their way"
        results = [(watch.result(trial, cut.milestone), trial) for trial in cut.order]
        if exact:
            assert [-score for score in cut.scores] == [loss for loss, _ in results]
            assert results == sorted(results), "the best come first, of equals the one with the smaller number"
        assert not lost & set(cut.order), "one that was stopped takes part"
        lost |= set(cut.order[cut.keep :])
    assert watch.stopped <= lost, "one is stopped that no round has stopped"


# -- arguments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_t": 0}, "HyperBandScheduler: max_t must be a number above 0, got 0"),
        ({"max_t": -3}, "max_t"),
        ({"max_t": "81"}, "max_t"),
        ({"max_t": math.inf}, "max_t"),
        ({"reduction_factor": 1}, "reduction_factor must be above 1, got 1"),
        ({"reduction_factor": None}, "reduction_factor"),
        ({"time_attr": ""}, "time_attr must be the name"),
        ({"time_attr": 3}, "time_attr"),
        ({"stop_last_trials": 1}, "stop_last_trials must be True or False, got 1"),
        ({"mode": "up"}, "mode"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        HyperBandScheduler(**options)


def test_what_a_resume_compares() -> None:
    scheduler = HyperBandScheduler("epoch", max_t=27)
    assert scheduler.options() == {"time_attr": "epoch", "max_t": 27, "reduction_factor": 3, "stop_last_trials": True}
    assert scheduler.changeable == ("max_t",)

"""HyperBand for BOHB: the most aggressive bracket first, and budgets for a searcher."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.bohb import HyperBandForBOHB
from tunesmith.schedulers.hyperband import HyperBandScheduler
from tunesmith.testing.loop import Loop
from tunesmith.testing.scheduler_kit import SchedulerKit
from tunesmith.testing.world import Fates, World


class TestABand(SchedulerKit):
    num_samples = 17

    def make(self, metric: str, mode: str) -> Scheduler:
        return HyperBandForBOHB(metric=metric, mode=mode, max_t=9)


class TestUnfilled(SchedulerKit):
    """Twelve trials for the 81 places of the first bracket."""

    def make(self, metric: str, mode: str) -> Scheduler:
        return HyperBandForBOHB(metric=metric, mode=mode)


def test_the_same_brackets_as_hyperband_the_other_way_round() -> None:
    assert HyperBandForBOHB().plans() == HyperBandScheduler().plans()[::-1]
    assert HyperBandForBOHB().plans()[0].places == 81


def test_the_budgets_are_all_milestones() -> None:
    assert HyperBandForBOHB(max_t=100).budgets == (1, 3, 11, 33, 100)
    assert HyperBandForBOHB(max_t=1).budgets == (1,)


def test_arguments_are_those_of_hyperband() -> None:
    with pytest.raises(SpecError, match="HyperBandForBOHB: max_t"):
        HyperBandForBOHB(max_t=0)
    assert HyperBandForBOHB(max_t=9).options() == HyperBandScheduler(max_t=9).options()


@pytest.mark.parametrize("cpus", [1.0, 4.0, 100.0])
def test_a_band_by_the_reports_of_its_trials(cpus: float) -> None:
    """Nine to 1, three of them to 3, one to 9; five to 3, two to 9; three to 9: whatever the number of slots."""

    def loss(values: Any, iteration: int) -> dict[str, float]:
        return {"loss": values["x"]}

    loop = Loop(
        lambda: HyperBandForBOHB(max_t=9),
        {"num_samples": 17, "metrics": ["loss"], "modes": ["min"], "warm_pause": True},
        World(5, Fates(reports=(99, 99), metrics=loss), totals={"cpu": cpus}),
    )
    loop.run()
    drawn = {record.event.trial: record.event.values["x"] for record in loop.records if isinstance(record.event, ev.Suggested)}
    reached = {number: trial.iteration for number, trial in loop.ended.items()}
    for members, counts in ((range(9), [9, 3, 3] + 6 * [1]), (range(9, 14), [9, 9, 3, 3, 3]), (range(14, 17), [9, 9, 9])):
        assert [reached[number] for number in sorted(members, key=drawn.__getitem__)] == counts


def test_a_pause_waits_for_the_whole_bracket() -> None:
    """With one slot all nine are drawn and paused at 1 before anybody reports again."""
    loop = Loop(
        lambda: HyperBandForBOHB(max_t=9),
        {"num_samples": 20, "metrics": ["loss"], "modes": ["min"], "warm_pause": True},
        World(5, Fates(reports=(99, 99)), totals={"cpu": 1.0}),
    )
    loop.run()
    order = [(record.event.trial, record.event.iteration) for record in loop.records if isinstance(record.event, ev.Reported)]
    assert order[:9] == [(trial, 1) for trial in range(9)]
    assert {iteration for _, iteration in order[9:15]} == {2, 3}

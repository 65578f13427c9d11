"""Replays: a schedule, or a policy file of ours or Ray's, is what a trial then goes through."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.pbt_replay import PopulationBasedTrainingReplay
from tunesmith.space import Space, choice, uniform
from tunesmith.testing import SchedulerKit
from tunesmith.testing.loop import Loop
from tunesmith.testing.world import Fates, World

SCHEDULE = [(0, {"x": 0.5}), (3, {"x": 0.4}), (5, {"x": 0.6}), (6, {"x": 0.3})]


class Kit(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return PopulationBasedTrainingReplay(SCHEDULE)


class TestReplay(Kit):
    """Without checkpoints at the right iterations, too."""


class TestReplayOfManyChanges(Kit):
    spec: ClassVar[dict[str, Any]] = {"warm_pause": True}

    def make(self, metric: str, mode: str) -> Scheduler:
        return PopulationBasedTrainingReplay([(at, {"x": at / 20, "y": str(at)}) for at in range(20)])


# -- what a trial goes through -------------------------------------------------------------------------------------------


def played(schedule: Sequence[Any], *, can_save: bool = True, checkpoint: float = 0.0, reports: int = 12, **fates: Any) -> Loop:
    world = World(3, Fates(reports=(reports, reports), checkpoint=checkpoint, **fates), can_save=can_save)
    spec = {"num_samples": 1, "retries": {"worker_lost": -1}, "identical": None}
    return Loop(lambda: PopulationBasedTrainingReplay(schedule), spec, world)


def gone_through(loop: Loop) -> dict[int, Any]:
    """Iteration -> ``x`` that it was trained with, as it was the last time."""
    values: dict[str, Any] = {}
    found: dict[int, Any] = {}
    for record in loop.records:
        if isinstance(record.event, ev.Suggested):
            values = record.event.values
        if isinstance(record.event, ev.Reported):
            found[record.event.iteration] = values.get("x")
        for decision in record.decisions:
            if decision.do == "exploit":
                asked = decision.data["values"]
            elif decision.do == "exploited":
                values = asked
    return found


def expected(schedule: Sequence[Any], start: Any, reports: int = 12) -> dict[int, Any]:
    return {at: next((config["x"] for since, config in reversed(schedule) if since < at and since), start) for at in range(1, reports + 1)}


@pytest.mark.parametrize(("can_save", "checkpoint"), [(True, 0.0), (False, 1.0), (True, 0.5)])
def test_each_configuration_from_its_iteration_on(can_save: bool, checkpoint: float) -> None:
    loop = played(SCHEDULE, can_save=can_save, checkpoint=checkpoint)
    loop.run()
    found = gone_through(loop)
    assert found == expected(SCHEDULE, found[1])
    reasons = [d.reason for record in loop.records for d in record.decisions if d.do == "exploited"]
    assert reasons[0] == "goes on by the schedule from iteration 3: x 0.4"


steps = st.lists(st.integers(1, 11), unique=True, max_size=6).map(sorted)


@given(steps, st.integers(0, 2**20), st.booleans())
def test_whatever_happens_meanwhile(steps: list[int], seed: int, can_save: bool) -> None:
    """Workers are lost, the driver dies: what counts in the end was trained as the schedule says."""
    schedule = [(0, {"x": 0.5}), *((at, {"x": at / 100}) for at in steps)]
    loop = played(schedule, can_save=can_save, checkpoint=1.0, failures={"worker_lost": 0.1})
    loop.world.seed = seed
    loop.start()
    for _ in range(seed % 25):
        if not loop.controller.state.finished:
            loop.step()
    if not loop.controller.state.finished:
        loop.crash()
    loop.run()
    found = gone_through(loop)
    assert found == expected(schedule, found[1])


def test_a_change_waits_for_a_checkpoint() -> None:
    """A function that saves seldom; said once."""
    loop = played([(0, {"x": 0.5}), (2, {"x": 0.4})], can_save=False)
    loop.run()
    notices = [d.reason for record in loop.records for d in record.decisions if d.data.get("notice")]
    (text,) = notices
    assert "the schedule changes at iteration 2, and no checkpoint came with iteration 2" in text
    assert len(set(gone_through(loop).values())) == 1


def test_a_checkpoint_of_an_older_step_is_not_gone_back_to() -> None:
    replay = PopulationBasedTrainingReplay([(0, {"x": 0.5}), (2, {"x": 0.4})])
    replay.start(Settings.parse({}))

    class View:
        number, iteration, values, checkpoint = 0, 2, {"x": 0.5}, "0/a"

    replay.on_trial_add(View())
    assert replay.on_result(View(), {}).do == "exploit"
    View.iteration, View.checkpoint = 3, "0/b"  # the core has not done it: that checkpoint came after the report it is of
    assert replay.on_result(View(), {}).data == {"notice": True}


def test_every_trial_follows_it() -> None:
    world = World(3, Fates(reports=(8, 8)))
    loop = Loop(lambda: PopulationBasedTrainingReplay(SCHEDULE), {"num_samples": 3}, world)
    loop.run()
    done = [d.trial for record in loop.records for d in record.decisions if d.do == "exploited"]
    assert sorted(done) == sorted([0, 1, 2] * 3)


# -- the space -------------------------------------------------------------------------------------------------------------


class Net:
    pass


class Tree:
    pass


def spaced(schedule: Sequence[Any], config: dict[str, Any]) -> tuple[PopulationBasedTrainingReplay, Space]:
    replay = PopulationBasedTrainingReplay(schedule)
    return replay, Space.parse(replay.prepare_space(config))


def configs(replay: PopulationBasedTrainingReplay, space: Space) -> list[Any]:
    """The configuration of each stretch."""
    values: dict[str, Any] = {}
    found = [space.resolve(values)]
    for _, changes in replay._changes:
        values = {**values, **changes}
        found.append(space.resolve(values))
    return found


def test_the_schedule_lies_over_the_config() -> None:
    given = {"opt": choice([{"lr": uniform(0, 1)}, {"lr": 3}]), "token": "abc", "data": Net, "epochs": 5}
    schedule = [(0, {"opt": {"lr": 0.5}, "epochs": 5}), (4, {"opt": {"lr": 0.25, "wd": 1}, "epochs": 5})]
    replay, space = spaced(schedule, given)
    assert space.is_empty
    rest = {"token": "abc", "data": Net, "epochs": 5}
    assert configs(replay, space) == [{"opt": {"lr": 0.5}, **rest}, {"opt": {"lr": 0.25, "wd": 1}, **rest}]


@pytest.mark.parametrize("given", [choice([Net, Tree]), Net, {"grid_search": [Tree, Net]}])
def test_objects_are_found_by_their_labels(given: Any) -> None:
    replay, space = spaced([(0, {"model": "Net"}), (2, {"model": "Tree"}), (3, {"model": "Net"})], {"model": given})
    found = [config["model"] for config in configs(replay, space)]
    assert found == [Net, "Tree" if given is Net else Tree, Net]


def test_what_it_replaces_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tunesmith"):
        spaced([(0, {"a": 1, "b": 2, "c": 3})], {"a": 1, "b": 3, "c": uniform(0, 1)})
    assert caplog.messages == ["the schedule takes the place of config['b']."]


def test_prepared_again_it_is_the_same() -> None:
    replay = PopulationBasedTrainingReplay([(0, {"model": "Net", "lr": 1}), (2, {"model": "Tree", "lr": 2})])
    once = replay.prepare_space({"model": choice([Net, Tree])})
    before = configs(replay, Space.parse(once))
    again = replay.prepare_space(once)
    assert configs(replay, Space.parse(again)) == before == [{"model": Net, "lr": 1}, {"model": Tree, "lr": 2}]


# -- files -------------------------------------------------------------------------------------------------------------------

ROWS = [
    ["0_lr=1", "1_lr=2", 9, 7, {"lr": 9}, {"lr": 8}],  # of a trial that was overwritten
    ["2_lr=3", "3_lr=4", 5, 4, {"lr": 4}, {"lr": 5}],
    ["1_lr=2", "2_lr=3", 9, 8, {"lr": 5}, {"lr": 6}],
    ["4_lr=5", "1_lr=2", 3, 12, {"lr": 6}, {"lr": 7}],
]


def lines(rows: Sequence[Any]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.parametrize("rest", ["", "\n"])
def test_a_policy_file(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "pbt_policy_4.txt"
    path.write_text(lines(ROWS) + rest)
    assert PopulationBasedTrainingReplay(str(path)).schedule == [(0, {"lr": 4}), (4, {"lr": 5}), (8, {"lr": 6}), (12, {"lr": 7})]


def test_of_changes_at_one_iteration_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "pbt_policy_4.txt"
    path.write_text(lines([["1", "0", 3, 4, {"lr": 1}, {"lr": 2}], ["2", "1", 3, 4, {"lr": 2}, {"lr": 3}]]))
    assert PopulationBasedTrainingReplay(path).schedule == [(0, {"lr": 1}), (4, {"lr": 3})]


def test_a_schedule_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    path.write_text(json.dumps(SCHEDULE))
    assert PopulationBasedTrainingReplay(path).schedule == SCHEDULE


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("missing.txt", "missing.txt cannot be read: No such file"),
        ([], r"policy_file: expected a list of \(iteration, config\), got \[\]"),
        (3, "policy_file: expected a list"),
        ([(1, {"a": 1})], "it must say what to begin with, at iteration 0"),
        ([(0, {"a": 1}), (5, {}), (4, {})], r"from 0 and ascending, and a config; got \(4, \{\}\)"),
        ([(0, 3)], r"got \(0, 3\)"),
        ([(True, {})], r"got \(True, \{\}\)"),
    ],
)
def test_refused(given: Any, text: str) -> None:
    with pytest.raises(SpecError, match=f"PopulationBasedTrainingReplay: .*{text}"):
        PopulationBasedTrainingReplay(given)


@pytest.mark.parametrize("text", ["", "{}", "not json", "[1, 2]", '["a", "b", 1]\n', "[]"])
def test_files_without_a_schedule(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"is neither a schedule|expected a list"):
        PopulationBasedTrainingReplay(path)

"""What every executor must do, as tests. Subclass, give ``make``, and let pytest collect it::

    class TestMine(ExecutorKit):
        def make(self):
            return MyExecutor()

Executors that deliver reports through ``poll`` and those that deliver from within ``report`` are driven by the same small loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.core.events import AttemptStarted, CheckpointSaved, Event, Reported
from tunesmith.executors.base import CONTINUE, PAUSE, STOP, Executor
from tunesmith.testing.executor_rig import (
    Reusable,
    Rig,
    Stepper,
    checkpoints,
    counts,
    deaf,
    draws,
    ended_of,
    hoards,
    kinds,
    knows_itself,
    notes_of,
    odd_values,
    raises,
    returns,
    silent,
    speaks,
    stubborn,
    yields,
)

__all__ = ["ExecutorKit"]


class ExecutorKit:
    """See the module. Tests take pytest's ``tmp_path``."""

    def make(self) -> Executor:
        """A new executor, not started."""
        raise NotImplementedError

    @contextlib.contextmanager
    def rig(self, folder: Path, trainable: Any, **given: Any) -> Iterator[Rig]:
        """A started executor; closed afterwards."""
        executor = self.make()
        try:
            yield Rig(executor, trainable, folder, **given)
        finally:
            executor.close()
            executor.close()

    def test_start_gives_totals(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, silent) as rig:
            assert rig.totals["cpu"] > 0
            assert all(isinstance(amount, float) and amount >= 0 for amount in rig.totals.values())

    def test_reports_in_order(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, counts) as rig:
            events = rig.run(7, 2, {"value": 10})
            assert kinds(events) == ["AttemptStarted", "Reported", "Reported", "Reported", "AttemptEnded"]
            assert isinstance(events[0], AttemptStarted) and {"pid", "hostname", "node_ip"} <= set(events[0].info)
            assert [(e.iteration, e.metrics["training_iteration"], e.metrics["value"]) for e in rig.reports(7, 2)] == [
                (1, 1, 10), (2, 2, 11), (3, 3, 12),
            ]  # fmt: skip
            ended = ended_of(events)
            assert (ended.outcome, ended.error) == ("finished", None)
            assert notes_of(str(tmp_path / "trial_7")) == ["through", "finally"]

    def test_time_adds_up_and_goes_on_from_the_assignment(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, counts) as rig:
            rig.run(iteration=5, time_total=100.0)
            totals = [100.0]
            for event in rig.reports():
                totals.append(totals[-1] + event.metrics["time_this_iter_s"])
                assert event.metrics["time_this_iter_s"] >= 0
                assert abs(event.metrics["time_total_s"] - totals[-1]) < 1e-9
            assert [event.iteration for event in rig.reports()] == [6, 7, 8]

    def test_metrics_are_plain_and_flat(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, odd_values) as rig:
            (_, event, _) = rig.run()
            assert isinstance(event, Reported)
            assert {"nested/a": 1, "nested/b/c": None, "text": "x", "flag": True}.items() <= event.metrics.items()
            assert event.named == ("list",) and "list" not in event.metrics
            json.dumps(event.metrics)

    def test_never_reporting_is_fine(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, silent) as rig:
            assert kinds(rig.run()) == ["AttemptStarted", "AttemptEnded"]
            assert ended_of(rig.of(0)).outcome == "finished"

    def test_returned_values_are_reported(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, returns) as rig:
            for trial, result in enumerate(({"value": 3}, 0, None)):
                rig.run(trial, config={"result": result})
            assert [event.metrics["value"] for event in rig.reports(0)] == [3]
            assert [event.metrics["_metric"] for event in rig.reports(1)] == [0]
            assert rig.reports(2) == []
            error = ended_of(rig.run(3, config={"result": "text"})).error
            assert error is not None and "returned a str" in error["message"]

    def test_yielded_values_are_reported(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, yields) as rig:
            rig.run()
            assert [(e.metrics.get("value"), e.metrics.get("_metric")) for e in rig.reports()] == [(1, None), (None, 2)]
            rig.decide = lambda _: (STOP, "", False)
            assert ended_of(rig.run(1)).outcome == "stopped"
            assert len(rig.reports(1)) == 1 and notes_of(str(tmp_path / "trial_1")) == ["finally"]

    def test_a_stop_unwinds_at_the_report(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, counts, decide=lambda e: (STOP if e.iteration == 2 else CONTINUE, "", False)) as rig:
            events = rig.run()
            assert kinds(events) == ["AttemptStarted", "Reported", "Reported", "AttemptEnded"]
            assert ended_of(events).outcome == "stopped"
            assert notes_of(str(tmp_path / "trial_0")) == ["finally"]

    def test_a_stop_is_no_exception_and_comes_again(self, tmp_path: Path) -> None:
        for trainable, notes in ((stubborn, []), (deaf, ["through"])):
            folder = tmp_path / trainable.__name__
            with self.rig(folder, trainable, decide=lambda _: (STOP, "", False)) as rig:
                events = rig.run()
                assert kinds(events) == ["AttemptStarted", "Reported", "AttemptEnded"]
                assert ended_of(events).outcome == "stopped"
                assert notes_of(str(folder / "trial_0")) == notes

    def test_failures_are_told_apart(self, tmp_path: Path) -> None:
        expected = {"value": "user_error", "exit": "user_error", "memory": "oom_ram", "infeasible": "infeasible"}
        with self.rig(tmp_path, raises) as rig:
            for trial, (kind, outcome) in enumerate(expected.items()):
                assert ended_of(rig.run(trial, config={"kind": kind, "after": trial})).outcome == outcome
                assert len(rig.reports(trial)) == trial
            error = ended_of(rig.of(0)).error
            assert error is not None
            assert (error["type"], error["message"]) == ("ValueError", "so it goes")
            file, _, line = error["where"].rpartition(":")
            assert file == raises.__code__.co_filename
            assert line.isdecimal()
            assert "so it goes" in error["traceback"] and "attempt.py" not in error["traceback"]

    def test_an_exception_is_kept_if_asked_for(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, raises, keep_errors=True) as rig:
            executor = rig.executor
            for trial, kind in enumerate(("value", "memory", "nothing")):  # at once, where there is room
                rig.launch(trial, 0, {"kind": kind})
            rig.finish()
            rig.run(0, 1, {"kind": "nothing"})
            assert executor.error_of(2) is None
        error = executor.error_of(0)
        assert isinstance(error, ValueError), "what other attempts do, and the end of the executor, change nothing about it"
        assert str(error) == "so it goes"
        assert isinstance(executor.error_of(1), MemoryError)
        with self.rig(tmp_path / "more", raises) as rig:
            rig.run(0, 0, {"kind": "value"})
            assert rig.executor.error_of(0) is None, "an exception keeps alive all that was in use where it was raised"

    def test_who_holds_more_memory_than_it_may_ends(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, hoards, log_to_file=("out.log", "err.log")) as rig:
            if not rig.executor.capabilities.max_ram:
                return
            ended = ended_of(rig.run(0, 0, {"bytes": 300_000_000, "holds": True}, max_ram=250_000_000))
            assert ended.outcome == "oom_ram"
            assert ended.error is not None
            assert ended.error["type"] == "MemoryLimit"
            assert ended.error["message"].endswith(", more than max_ram=250 MB")
            assert ended.error["where"].startswith(hoards.__code__.co_filename)
            for limit in (100 << 30, None):
                assert ended_of(rig.run(1, 0, {"bytes": 300_000_000, "holds": False}, max_ram=limit)).outcome == "finished"
                rig.events.clear()

    def test_a_retry_is_a_new_attempt_and_goes_on_from_its_checkpoint(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, checkpoints) as rig:
            rig.run(0, 0, {"steps": 2})
            last = rig.reports()[-1]
            assert last.checkpoint is not None
            path = str(tmp_path / "trial_0" / last.checkpoint.rpartition("/")[2])
            rig.run(0, 1, {"steps": 3}, checkpoint=path, checkpoint_id=last.checkpoint, iteration=2, time_total=9.0)
            (event,) = rig.reports(0, 1)
            assert (event.iteration, event.metrics["step"]) == (3, 3) and event.metrics["time_total_s"] >= 9.0
            ids = [one.checkpoint for one in rig.reports() + rig.reports(0, 1)]
            assert ids == [f"0/checkpoint_{index:06d}" for index in range(3)]

    def test_a_checkpoint_is_there_when_its_report_is_seen(self, tmp_path: Path) -> None:
        found = []

        def look(event: Event) -> None:
            if isinstance(event, Reported) and event.checkpoint is not None:
                found.append((tmp_path / "trial_0" / event.checkpoint.rpartition("/")[2] / "step.txt").read_text())

        with self.rig(tmp_path, checkpoints) as rig:
            rig.seen = look
            rig.run(config={"steps": 3})
        assert found == ["1", "2", "3"]
        assert (tmp_path / "trial_0" / "scratch" / "step.txt").read_text() == "3"

    def test_two_trials(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, counts) as rig:
            rig.launch(0, config={"value": 0})
            rig.launch(1, config={"value": 100})
            rig.finish()
            for trial in (0, 1):
                assert [event.metrics["value"] for event in rig.reports(trial)] == [100 * trial + step for step in range(3)]
                assert ended_of(rig.of(trial)).outcome == "finished"

    def test_answers_to_unknown_and_older_attempts_are_ignored(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, counts) as rig:
            rig.run(0, 0)

            def decide(_event: Reported) -> tuple[str, str, bool]:
                rig.executor.answer(0, 0, STOP)
                rig.executor.answer(99, 0, STOP)
                rig.executor.save(0, 0)
                rig.executor.answer(0, 0, PAUSE, mode="rerun")
                return (CONTINUE, "", False)

            rig.decide = decide
            assert ended_of(rig.run(0, 1)).outcome == "finished"
            assert len(rig.reports(0, 1)) == 3

    def test_a_stop_may_come_before_anything_happened(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, counts, decide=lambda _: None) as rig:
            rig.launch()
            rig.executor.answer(0, 0, STOP)
            rig.finish()
            assert ended_of(rig.of(0)).outcome == "stopped"
            assert notes_of(str(tmp_path / "trial_0")) in ([], ["finally"])

    def test_a_pause_for_a_rerun_ends_the_attempt(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, counts, decide=lambda _: (PAUSE, "rerun", False)) as rig:
            assert kinds(rig.run()) == ["AttemptStarted", "Reported", "AttemptEnded"]
            assert ended_of(rig.of(0)).outcome == "stopped"
            rig.decide = lambda _: (CONTINUE, "", False)
            assert ended_of(rig.run(0, 1)).outcome == "finished"
            assert [event.iteration for event in rig.reports(0, 1)] == [1, 2, 3]

    def test_a_cold_pause_saves_first(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, Stepper, decide=lambda e: (PAUSE, "cold", False) if e.iteration == 2 else (CONTINUE, "", False)) as rig:
            events = rig.run()
            assert kinds(events) == ["AttemptStarted", "Reported", "Reported", "CheckpointSaved", "AttemptEnded"]
            saved = events[-2]
            assert isinstance(saved, CheckpointSaved) and saved.iteration == 2
            path = str(tmp_path / "trial_0" / saved.checkpoint.rpartition("/")[2])
            rig.run(0, 1, checkpoint=path, checkpoint_id=saved.checkpoint, iteration=2, time_total=0.0)
            (event,) = rig.reports(0, 1)
            assert (event.iteration, event.metrics["count"]) == (3, 3)

    def test_a_warm_pause_holds(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, counts, decide=lambda e: (PAUSE, "warm", False) if e.iteration == 1 else (CONTINUE, "", False)) as rig:
            if not rig.executor.capabilities.warm_pause:
                return
            rig.launch()
            rig.until(lambda: bool(rig.reports()))
            assert rig.executor.poll(0.0) == []
            rig.executor.answer(0, 0, CONTINUE)
            rig.finish()
            assert len(rig.reports()) == 3 and ended_of(rig.of(0)).outcome == "finished"

    def test_a_class_runs_until_it_is_done(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, Stepper) as rig:
            assert ended_of(rig.run()).outcome == "finished"
            assert [event.metrics["count"] for event in rig.reports()] == [1, 2, 3]
            assert notes_of(str(tmp_path / "trial_0")) == ["setup", "cleanup"]

    def test_a_class_saves_as_often_as_asked(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, Stepper, checkpoint_frequency=2, checkpoint_at_end=True) as rig:
            rig.run()
            assert [event.checkpoint for event in rig.reports()] == [None, "0/checkpoint_000000", "0/checkpoint_000001"]
            rig.decide = lambda _: (STOP, "", False)
            assert kinds(rig.run(1)) == ["AttemptStarted", "Reported", "CheckpointSaved", "AttemptEnded"]

    def test_a_save_on_request(self, tmp_path: Path) -> None:
        def decide(event: Reported) -> tuple[str, str, bool]:
            if event.iteration == 1:
                rig.executor.save(event.trial, event.attempt)
            return (STOP if event.iteration == 3 else CONTINUE, "", event.iteration == 3)

        with self.rig(tmp_path, Stepper) as rig:
            rig.decide = decide
            events = rig.run(config={"steps": 9})
            assert [e.iteration for e in events if isinstance(e, CheckpointSaved)] == [1, 3]

    def test_a_reusable_class_is_reset(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, Reusable, reuse=True) as rig:
            for trial in range(3):
                assert ended_of(rig.run(trial, config={"agree": trial < 2})).outcome == "finished"
                assert [event.metrics["count"] for event in rig.reports(trial)] == [1, 2, 3]
            assert notes_of(str(tmp_path / "trial_1")) == ["reset"]
            assert notes_of(str(tmp_path / "trial_2")) == ["reset", "cleanup", "setup"]

    def test_a_trial_knows_itself(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, knows_itself) as rig:
            rig.run(4, resources={"cpu": 2.0})
            metrics = rig.reports(4)[0].metrics
            assert (metrics["name"], metrics["id"], metrics["experiment"]) == ("kit_4", "abcde_00004", "kit")
            assert (metrics["dir"], metrics["cpu"], metrics["seed"]) == (str(tmp_path / "trial_4"), 2.0, 1004)
            assert metrics["cwd"] == os.getcwd()

    def test_chdir_if_asked(self, tmp_path: Path) -> None:
        before = os.getcwd()
        with self.rig(tmp_path, knows_itself, chdir=True) as rig:
            rig.seen = lambda _: _same_place(before)
            rig.run()
            assert os.path.realpath(rig.reports()[0].metrics["cwd"]) == os.path.realpath(tmp_path / "trial_0")
        _same_place(before)

    def test_randomness_belongs_to_the_trial(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, draws) as rig:
            random.seed(7)
            for trial, attempt in ((0, 0), (0, 1), (1, 0)):
                rig.run(trial, attempt)
            drawn = [rig.reports(*one)[0].metrics["draw"] for one in ((0, 0), (0, 1), (1, 0))]
            drivers = random.random()
            assert drawn[0] == drawn[1] != drawn[2]
            assert drivers not in drawn

    def test_output_goes_to_the_trials_files(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, speaks, log_to_file=("out.log", "err.log")) as rig:
            rig.run()
            assert (tmp_path / "trial_0" / "out.log").read_text() == "to out\n"
            assert (tmp_path / "trial_0" / "err.log").read_text() == "to err\n"
            rig.run(0, 1)
            assert (tmp_path / "trial_0" / "out.log").read_text() == "to out\nto out\n"

    def test_wake_ends_a_wait(self, tmp_path: Path) -> None:
        with self.rig(tmp_path, silent) as rig:
            rig.executor.poll(0.0)  # what it has to say of itself at first
            rig.executor.wake()
            assert rig.executor.poll(None) == []
            assert rig.executor.poll(0.0) == []


def _same_place(before: str) -> None:
    assert os.getcwd() == before

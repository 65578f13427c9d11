"""Whatever way a run is left, all is closed and given back, and a resume goes on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Self

import pytest

import tunesmith as tune
from tunesmith import interrupts
from tunesmith.build import build
from tunesmith.execute import execute
from tunesmith.journal import JOURNAL_FILE, SqliteJournal
from tunesmith.spec import ExperimentSpec

HOME = os.path.dirname(interrupts.__file__)
PARTS = ("drive", "execute", "interrupts", "core", "executors/inline", "journal/sqlite", "search")
SOURCES = tuple(os.path.join(HOME, name) for name in PARTS)
"""Not those that hold a file open for a moment: Python closes it when the interrupt has gone by, but warns."""

POINTS = 20


class Interrupt:
    """Raises KeyboardInterrupt in the middle of the run: before the line that is the ``at``-th to be executed between start and closing."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.lines = 0
        self.over = False

    def __enter__(self) -> Self:
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: Any, event: str, _: Any) -> Any:
        code = frame.f_code
        if code.co_filename == interrupts.__file__ and code.co_name == "closing":
            self.over = True
        return self._line if not self.over and code.co_filename.startswith(SOURCES) else None

    def _line(self, frame: Any, event: str, _: Any) -> Any:
        if event == "line" and not self.over:
            self.lines += 1
            if self.lines == self.at:
                self.over = True
                raise KeyboardInterrupt
        return self._line


def train(config: dict[str, Any]) -> None:
    for step in range(2):
        tune.report({"loss": config["x"] * step}, checkpoint={"step": step} if step else None)


def make(path: Path, trainable: Any = train, **more: Any) -> ExperimentSpec:
    given = {"num_samples": 2, "seed": 3, "verbose": 0, "loggers": (), "executor": "inline", **more}
    return build(trainable, config={"x": tune.uniform(0, 1)}, name="run", storage_path=str(path), **given)


def surroundings() -> tuple[Any, ...]:
    """What a run borrows from its process."""
    threads = {thread.name for thread in threading.enumerate() if thread.name.startswith("tunesmith")}
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), threads, interrupts._installed[:]


def test_an_interrupt_anywhere_leaves_nothing_open_and_a_resume_goes_on(tmp_path: Path) -> None:
    before = surroundings()
    with Interrupt(0) as whole:
        execute(make(tmp_path / "whole"))
    assert whole.lines > 1000
    cut = 0
    for at in range(1, whole.lines, whole.lines // POINTS):
        folder = tmp_path / str(at)
        spec = make(folder)
        try:
            with Interrupt(at):
                execute(spec)
        except KeyboardInterrupt:
            cut += 1
        assert surroundings() == before, f"at line {at}"
        if (folder / "run" / JOURNAL_FILE).exists():
            finished = execute(make(folder, resume=True))
            assert finished.counts["TERMINATED"] == 2, f"at line {at}"
    assert cut > POINTS / 2


def test_an_interrupt_that_a_trial_swallows_ends_the_run_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came in the middle of a turn: what was decided in it is not on record, so nothing that follows from it may be."""

    def deaf(config: dict[str, Any]) -> None:
        for step in range(4):
            try:
                tune.report(loss=config["x"] * step)
            except BaseException:
                swallowed.append(step)

    append, swallowed = SqliteJournal.append, []

    def interrupted(self: SqliteJournal, records: Any, **options: Any) -> int:
        if any(getattr(record.event, "iteration", 0) == 2 for record in records):
            raise KeyboardInterrupt
        return append(self, records, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteJournal, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            execute(make(tmp_path, deaf))
    assert swallowed == [1, 2, 3], "at the interrupt, and each time it was told to stop since"
    swallowed.clear()
    assert execute(make(tmp_path, deaf, resume=True)).counts["TERMINATED"] == 2
    assert swallowed == []


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_a_callback_raises_to_end_the_program_ends_it(tmp_path: Path, caplog: pytest.LogCaptureFixture, error: BaseException) -> None:
    class Leaves(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            raise error

    before = surroundings()
    with pytest.raises(type(error)) as caught:
        tune.run(train, config={"x": 1}, callbacks=[Leaves()], name="run", storage_path=tmp_path, verbose=0, loggers=(), executor="inline")
    assert caught.value is error
    assert surroundings() == before
    assert caplog.messages[-1].endswith("What was reported is kept; to go on: resume=True, name='run'.")
    analysis = tune.run(train, config={"x": 1}, name="run", storage_path=tmp_path, verbose=0, loggers=(), executor="inline", resume=True)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"]


def test_closing_is_not_cut_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One more Ctrl-C while the executor is closing: it is closed all the same, and so is what comes after it."""
    from tunesmith.executors.inline import InlineExecutor

    closed: list[str] = []

    def close(self: InlineExecutor) -> None:
        closed.append("begun")
        if len(closed) == 1:
            raise KeyboardInterrupt
        closed.append("done")

    monkeypatch.setattr(InlineExecutor, "close", close)
    before = surroundings()
    with pytest.raises(KeyboardInterrupt):
        execute(make(tmp_path))
    assert closed == ["begun", "begun", "done"]
    assert surroundings() == before
    SqliteJournal.open(tmp_path / "run" / JOURNAL_FILE).close()

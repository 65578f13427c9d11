"""The live display: a picture in place, lines above it, a summary at the end; and what happens when drawing fails."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header
from tunesmith.progress import PlainReporter
from tunesmith.progress.board import Board
from tunesmith.progress.live import LiveReporter
from tunesmith.progress.options import TableOptions
from tunesmith.progress.screen import TerminalScreen
from tunesmith.progress.table import Line


class Rig:
    """A live reporter on an emulated terminal, refreshed by hand."""

    def __init__(self, terminal: Any, header: Header, story: Any, verbose: int = 1, final: bool = False, **options: Any) -> None:
        self.now = 0.0
        self.terminal = terminal
        self.screen = TerminalScreen(terminal.out, [terminal.err])
        board = Board(header, lambda: self.now, TableOptions(**options))
        lines = PlainReporter(header, "/runs/digits", stream=terminal.out, verbose=verbose, clock=lambda: self.now, pictured=True)
        self.reporter = LiveReporter(board, lines, self.screen, final=final, ticking=False)
        self.tale = story(self.reporter)

    def lines(self) -> list[str]:
        self.reporter.refresh()
        lines: list[str] = self.terminal.lines()
        return lines


@pytest.fixture
def rig(terminal: Any, header: Header, story: Any) -> Rig:
    return Rig(terminal, header, story)


HEAD = ["digits begins: 4 trials, BasicVariant, FIFOScheduler, executor inline, seed 42", "files: /runs/digits"]


def test_a_run(rig: Rig) -> None:
    rig.tale.start(0, lr=0.1)
    rig.tale.report(0, 0.5)
    rig.tale.start(1, lr=0.2)
    rig.now = 61.0
    assert rig.lines() == [
        *HEAD,
        "digits  1:01  2 RUNNING  cpu 2/4",
        "────────────────────────────────────────  0/4  0 %",
        "best 3f2ab_00000  acc=0.5  at iteration 1  lr=0.1",
        "trial        status   acc  iter  time (s)   lr",
        "3f2ab_00000  RUNNING  0.5     1         1  0.1",
        "3f2ab_00001  RUNNING                       0.2",
    ]
    rig.tale.end(0)
    print("a callback's line", file=rig.terminal.out)
    rig.tale.end(1, "user_error", "KeyError: 'lr' at train.py:42")
    lines = rig.lines()
    assert lines[2:5] == ["a callback's line", "trial 3f2ab_00001 failed: KeyError: 'lr' at train.py:42", lines[4]]
    assert lines[4] == "digits  1:01  1 TERMINATED  1 ERROR  cpu 0/4"
    assert lines[-1] == "3f2ab_00001 failed: KeyError: 'lr' at train.py:42"
    rig.reporter.close()
    assert rig.terminal.lines()[4:] == [
        "digits: 2 trials in 0 s (1 TERMINATED, 1 ERROR)",
        "best trial 3f2ab_00000: acc=0.5 after 1 iteration",
        "best config: lr=0.1",
        "1 of 2 trials: KeyError: 'lr' at train.py:42",
        "run one of them again, here: python -m tunesmith rerun /runs/digits 3f2ab_00001",
        "files: /runs/digits",
    ]


def test_it_ticks_while_nothing_happens(rig: Rig) -> None:
    rig.tale.start(0)
    for rig.now, shown in ((5.0, "0:05"), (3605.0, "1:00:05")):
        assert rig.lines()[2].split()[1] == shown
    rig.tale.tell(ev.StopRequested("x", True), Decision("halt", None, "interrupted by Ctrl-C", {"kind": "drain", "until": 3630.0}))
    for rig.now, left in ((3605.0, 25), (3629.0, 1), (3640.0, 0)):
        lines = rig.lines()
        assert lines[2] == "digits is stopping: interrupted by Ctrl-C; trials that have not ended in 25 s ar"
        assert lines[4] == f"stopping: 1 running trial killed in {left} s  interrupted by Ctrl-C"


@pytest.mark.parametrize(("verbose", "said"), [(1, 0), (2, 3), (3, 5)])
def test_more_words_above_the_table(terminal: Any, header: Header, story: Any, verbose: int, said: int) -> None:
    rig = Rig(terminal, header, story, verbose)
    rig.tale.start(0)
    rig.tale.report(0, 0.5, 1, Decision("stop", 0, "good enough"))
    rig.tale.tell(ev.CheckpointSaved(0, 0, 1, "0/checkpoint_000000"))
    rig.tale.end(0, "stopped", "good enough")
    lines = rig.lines()
    above = lines[2 : next(number for number, line in enumerate(lines) if line.startswith("digits  0:00"))]
    assert above == [
        line
        for line, level in (
            ("trial 3f2ab_00000 started: lr=0", 2),
            ("trial 3f2ab_00000 iteration 1: acc=0.5", 2),
            ("trial 3f2ab_00000 stop: good enough", 3),
            ("trial 3f2ab_00000 saved checkpoint 0/checkpoint_000000", 3),
            ("trial 3f2ab_00000 stopped after 1 iteration: acc=0.5 (best so far); good enough", 2),
        )
        if verbose >= level
    ]
    assert len(above) == said
    assert lines[-1] == "0:00 3f2ab_00000 stopped: good enough"


def test_options_of_the_table(terminal: Any, header: Header, story: Any) -> None:
    options = {
        "metric_columns": {"loss": "LOSS"},
        "parameter_columns": {},
        "max_progress_rows": 1,
        "total_samples": 8,
        "sort_by_metric": True,
    }
    rig = Rig(terminal, header, story, final=True, **options)
    for number in range(3):
        rig.tale.start(number)
        rig.tale.report(number, 1 - number, loss=number)
        rig.tale.end(number)
    assert rig.lines()[3:] == [
        "███████████████─────────────────────────  3/8  38 %".replace("█", "━"),
        "best 3f2ab_00000  acc=1  at iteration 1  lr=0",
        "trial        status      LOSS",
        "3f2ab_00000  TERMINATED     0",
        "... and 2 TERMINATED",
    ]
    rig.reporter.close()
    assert rig.terminal.lines()[2:7] == [
        "digits  0:00  3 TERMINATED  3/8 ended",
        "best 3f2ab_00000  acc=1  at iteration 1  lr=0",
        "trial        status      LOSS",
        "3f2ab_00000  TERMINATED     0",
        "... and 2 TERMINATED",
    ]


def test_no_table_until_the_end(terminal: Any, header: Header, story: Any) -> None:
    rig = Rig(terminal, header, story, final=True, tables=False)
    rig.tale.trial(0, 0.5)
    assert not any(line.startswith("trial  ") for line in rig.lines())
    rig.reporter.close()
    assert any(line.startswith("trial  ") for line in rig.terminal.lines())


def test_drawing_that_fails_leaves_lines(rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(lines: Sequence[Line]) -> None:
        raise RuntimeError("no paint")

    rig.lines()
    monkeypatch.setattr(rig.screen, "draw", broken)
    with caplog.at_level(logging.WARNING, "tunesmith"):
        rig.reporter.refresh()
    (record,) = caplog.records
    assert "the progress table failed and is off for the rest of the run: RuntimeError: no paint" in record.getMessage()
    rig.tale.start(0)
    assert rig.terminal.lines() == [*HEAD, "trial 3f2ab_00000 started: lr=0"]
    rig.reporter.close()
    assert rig.terminal.lines()[-1] == "files: /runs/digits"


def test_a_terminal_that_goes_away_does_not_matter(rig: Rig) -> None:
    rig.tale.trial(0, 0.5)
    rig.reporter.refresh()
    rig.terminal.hang_up()
    for number in range(1, 4):
        rig.tale.trial(number, 0.5)
        rig.tale.start(10 + number)
        rig.tale.end(10 + number, "user_error", "no")
        rig.reporter.refresh()
    rig.reporter.close()


class Slate:
    """A screen of the imagination, which says when it was drawn on."""

    ascii_only = stays = False

    def __init__(self) -> None:
        self.open = False
        self.drawn = threading.Semaphore(0)
        self.pictures: list[list[Line]] = []

    def start(self) -> None:
        self.open = True

    def space(self) -> tuple[int, int]:
        return 80, 24

    def draw(self, lines: Sequence[Line]) -> None:
        self.pictures.append(list(lines))
        self.drawn.release()

    def resume(self) -> None: ...

    def close(self) -> None:
        self.open = False


def test_a_thread_of_its_own_draws(header: Header, story: Any) -> None:
    slate, board = Slate(), Board(header, lambda: 0.0)
    reporter = LiveReporter(board, PlainReporter(header, "/x", verbose=0), slate)
    reporter.close()  # of a run that never began
    reporter = LiveReporter(board, PlainReporter(header, "/x", verbose=0), slate)
    reporter._period = 0.001
    tale = story(reporter)
    for number in range(200):  # records arrive while it draws
        tale.trial(number, 0.5)
    assert all(slate.drawn.acquire(timeout=10) for _ in range(3))
    reporter.close()
    assert not any(thread.name == "tunesmith-progress" for thread in threading.enumerate())


def test_a_bug_in_the_folding_stops_the_drawing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.tale.start(0)
    rig.reporter.refresh()
    with pytest.raises(KeyError):
        rig.tale.tell(ev.AttemptEnded(0, 0, "finished"), Decision("end", 0, "no status"))
    assert "write" not in vars(rig.terminal.out)
    assert rig.terminal.lines() == HEAD


def test_no_more_pictures_than_were_asked_for(header: Header) -> None:
    for wanted, period in ((None, 0.25), (0.0, 0.25), (3.0, 3.0)):
        board = Board(header, lambda: 0.0, TableOptions(max_report_frequency=wanted))
        assert LiveReporter(board, PlainReporter(header, "/x"), Slate(), ticking=False)._period == period


# -- whole runs on a terminal ------------------------------------------------------------------------------------------------


def train(config: dict[str, Any]) -> None:
    print("a trial's own line", config["x"])
    tune.report(acc=config["x"])


class Talk(tune.Callback):
    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        print("over:", trial.number, file=sys.stderr)


def run(tmp_path: Path, terminal: Any = None, **options: Any) -> None:
    given = {"config": {"x": tune.grid_search([1, 2])}, "metric": "acc", "mode": "max", "executor": "inline", "seed": 1, **options}
    with pytest.MonkeyPatch.context() as patch:
        if terminal is not None:
            patch.setattr(sys, "stdout", terminal.out)
            patch.setattr(sys, "stderr", terminal.err)
        tune.run(train, "demo", storage_path=tmp_path, **given)


@pytest.fixture
def wide(open_terminal: Any) -> Any:
    return open_terminal(250, 30)


def test_a_whole_run(wide: Any, tmp_path: Path) -> None:
    run(tmp_path, wide, callbacks=[Talk()])
    lines = wide.lines()
    assert re.fullmatch(r"demo: 2 trials in .* s \(2 TERMINATED\)", lines.pop(6))
    assert re.fullmatch(r"best trial \w{5}_00001: acc=2 after 1 iteration", lines.pop(6))
    assert lines == [
        "demo begins: 2 trials, BasicVariantGenerator, FIFOScheduler, executor inline, seed 1",
        f"files: {tmp_path}/demo",
        "a trial's own line 1",
        "over: 0",
        "a trial's own line 2",
        "over: 1",
        "best config: x=2",
        f"files: {tmp_path}/demo",
    ]


def test_an_interrupted_run_leaves_the_terminal_clean(wide: Any, tmp_path: Path) -> None:
    class Broken(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, wide, callbacks=[Broken()])
    lines = wide.lines()
    assert any(line.startswith("demo: 1 trial in ") and line.endswith("(1 unfinished)") for line in lines)
    assert not vars(wide.out).get("write")
    assert wide.cursor()[1] == 0


def test_silent(wide: Any, tmp_path: Path) -> None:
    run(tmp_path, wide, verbose=0, progress_reporter=tune.CLIReporter())
    assert wide.lines() == ["a trial's own line 1", "a trial's own line 2"]


def test_a_run_within_a_run_prints_lines(wide: Any, tmp_path: Path) -> None:
    class Nested(tune.Callback):
        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            if trial.number == 0:
                run(tmp_path / "inner")

    run(tmp_path / "outer", wide, callbacks=[Nested()])
    starts = [line for line in wide.lines() if " started: x=" in line]
    assert len(starts) == 2, "the inner one's"


def test_lines_where_trials_share_the_terminal(wide: Any, tmp_path: Path) -> None:
    for folder, log_to_file, expected in (("a", False, 2), ("b", None, 0)):
        run(tmp_path / folder, wide, log_to_file=log_to_file, executor="local")
        assert len([line for line in wide.lines() if " started: x=" in line]) == expected + (2 if folder == "b" else 0)


@pytest.mark.parametrize("name", ["CI", "TERM"])
def test_lines_elsewhere(wide: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "dumb")
    run(tmp_path, wide)
    assert len([line for line in wide.lines() if " started: x=" in line]) == 2
    assert b"\x1b[" not in wide.raw

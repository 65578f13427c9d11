"""Plain console output: the lines of a run, how much of it, and the summary."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ends import onward
from tunesmith.core.ports import Header, Record
from tunesmith.progress import PlainReporter

HEADER = Header(uuid="3f2ab" + "0" * 27, name="digits", created=0.0)
SPEC = {
    "num_samples": 4, "metrics": ["acc"], "modes": ["max"], "searcher": "BasicVariant", "scheduler": "FIFOScheduler",
    "executor": "inline", "seed": 42,
}  # fmt: skip


class Console:
    def __init__(self, verbose: int = 1, spec: dict[str, Any] | None = None, **options: Any) -> None:
        self.stream = io.StringIO()
        self.now = 0.0
        self.reporter = PlainReporter(HEADER, "/runs/digits", stream=self.stream, verbose=verbose, clock=lambda: self.now, **options)
        self.tell(ev.ExperimentStarted(SPEC if spec is None else spec))

    def tell(self, event: Any, *decisions: Decision) -> None:
        self.reporter.committed([Record(event, list(decisions))])

    def trial(self, number: int, acc: float | None = None, iterations: int = 1, outcome: str = "finished", reason: str = "") -> None:
        self.tell(ev.Suggested(number, {"lr": 0.1 * number, "opt": 1}), Decision("launch", number))
        self.tell(ev.AttemptStarted(number, 0))
        for iteration in range(1, iterations + 1):
            metrics = {"acc": acc, "training_iteration": iteration} if acc is not None else {"training_iteration": iteration}
            self.tell(ev.Reported(number, 0, iteration, metrics, at=float(iteration)))
        status = {"status": "TERMINATED", "outcome": outcome}
        self.tell(ev.AttemptEnded(number, 0, outcome, at=62.0), Decision("end", number, reason, status))

    def failure(self, number: int, where: str = "train.py:42") -> None:
        self.tell(ev.Suggested(number, {"lr": 0.5}), Decision("launch", number))
        self.tell(ev.AttemptStarted(number, 0))
        error = {"type": "KeyError", "message": "'lr'", "where": where, "traceback": ""}
        status = {"status": "ERROR", "outcome": "user_error"}
        self.tell(ev.AttemptEnded(number, 0, "user_error", error), Decision("end", number, f"KeyError: 'lr' at {where}", status))

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def new(self) -> list[str]:
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text.splitlines()


def test_one_line_per_change() -> None:
    console = Console()
    console.trial(0, acc=0.5, iterations=3)
    console.trial(1, acc=0.97, outcome="stopped", reason="stop criterion acc >= 0.9 reached (0.97)")
    console.trial(2, acc=0.7)
    console.failure(3)
    assert console.lines() == [
        "digits begins: 4 trials, BasicVariant, FIFOScheduler, executor inline, seed 42",
        "files: /runs/digits",
        "trial 3f2ab_00000 started: lr=0 opt=1",
        "trial 3f2ab_00000 finished after 3 iterations: acc=0.5 (best so far)",
        "trial 3f2ab_00001 started: lr=0.1 opt=1",
        "trial 3f2ab_00001 stopped after 1 iteration: acc=0.97 (best so far); stop criterion acc >= 0.9 reached (0.97)",
        "trial 3f2ab_00002 started: lr=0.2 opt=1",
        "trial 3f2ab_00002 finished after 1 iteration: acc=0.7",
        "trial 3f2ab_00003 started: lr=0.5",
        "trial 3f2ab_00003 failed: KeyError: 'lr' at train.py:42",
    ]


def test_the_summary() -> None:
    console = Console()
    console.trial(0, acc=0.5)
    console.trial(1, acc=0.97, iterations=7)
    for number, where in ((2, "train.py:42"), (3, "data.py:7"), (4, "train.py:42")):
        console.failure(number, where)
    console.tell(ev.TimerFired("x", at=62.0), Decision("finish", None, "the grid is exhausted"))
    console.new()
    console.reporter.close()
    assert console.lines() == [
        "digits: 5 trials in 1 min 2 s (2 TERMINATED, 3 ERROR)",
        "ended because: the grid is exhausted",
        "best trial 3f2ab_00001: acc=0.97 after 7 iterations",
        "best config: lr=0.1 opt=1",
        "2 of 5 trials: KeyError: 'lr' at train.py:42",
        "1 of 5 trials: KeyError: 'lr' at data.py:7",
        "run one of them again, here: python -m tunesmith rerun /runs/digits 3f2ab_00002",
        "files: /runs/digits",
    ]


def test_an_ordinary_end_needs_no_reason() -> None:
    console = Console()
    for number in range(4):
        console.trial(number, acc=0.5)
    console.tell(ev.TimerFired("x"), Decision("finish", None, "all 4 trials have ended"))
    console.reporter.close()
    assert "ended because" not in console.stream.getvalue()


def test_silent() -> None:
    console = Console(verbose=0)
    console.trial(0, acc=0.5)
    console.failure(1)
    console.tell(ev.StopRequested("enough"), Decision("halt", None, "enough", {"kind": "stop"}))
    console.reporter.close()
    assert console.lines() == []


def test_more_words() -> None:
    for verbose, expected in ((2, 2), (3, 4)):
        console = Console(verbose=verbose)
        console.new()
        console.tell(ev.Suggested(0, {}), Decision("launch", 0))
        console.tell(ev.AttemptStarted(0, 0))
        metrics = {"acc": 0.5, "training_iteration": 1, "time_total_s": 1.0}
        console.tell(ev.Reported(0, 0, 1, metrics, "0/checkpoint_000000"), Decision("pause", 0, "rung 1", {"mode": "cold"}))
        console.tell(ev.CheckpointSaved(0, 0, 1, "0/checkpoint_000001"))
        lines = console.new()
        assert len(lines) == expected
        saved = " (checkpoint 0/checkpoint_000000)" if verbose == 3 else ""
        assert lines[1] == f"trial 3f2ab_00000 iteration 1: acc=0.5{saved}"
    assert lines[2:] == ["trial 3f2ab_00000 pause: rung 1", "trial 3f2ab_00000 saved checkpoint 0/checkpoint_000001"]


def test_retries_stops_and_restarts_are_told() -> None:
    console = Console()
    console.new()
    console.tell(ev.Suggested(0, {"lr": 1}), Decision("launch", 0))
    console.tell(ev.AttemptStarted(0, 0))
    console.tell(ev.AttemptEnded(0, 0, "user_error"), Decision("retry", 0, "KeyError: 'lr' at train.py:42 (failure 1)", {"charge": True}))
    console.tell(ev.AttemptStarted(0, 1))
    console.tell(ev.StopRequested("time is up"), Decision("halt", None, "time is up", {"kind": "stop"}))
    assert console.lines() == [
        "trial 3f2ab_00000 started: lr=1",
        "trial 3f2ab_00000 will be tried again: KeyError: 'lr' at train.py:42 (failure 1)",
        "trial 3f2ab_00000 started again (attempt 2): lr=1",
        "digits is stopping: time is up",
    ]
    console.reporter.close()
    assert "digits: 1 trial in 0 s (1 unfinished)" in console.lines()


def test_pauses_and_what_comes_after_them() -> None:
    console = Console(verbose=3)
    console.new()
    console.tell(ev.Suggested(0, {"lr": 1}), Decision("launch", 0))
    console.tell(ev.AttemptStarted(0, 0))
    console.tell(ev.Reported(0, 0, 1, {"acc": 0.5}), Decision("pause", 0, "waits", {"mode": "warm"}))
    console.tell(ev.TimerFired("x"), Decision("launch", 0, "2nd of 7 at the cut"))
    console.tell(ev.Reported(0, 0, 2, {"acc": 0.6}), Decision("pause", 0, "waits again", {"mode": "cold"}))
    console.tell(ev.AttemptEnded(0, 0, "stopped"), Decision("paused", 0, "waits again", {"outcome": "stopped"}))
    console.tell(ev.TimerFired("x"), Decision("launch", 0))
    console.tell(ev.AttemptStarted(0, 1))
    console.tell(ev.AttemptEnded(0, 1, "worker_lost"), Decision("retry", 0, "worker died", {"charge": True}), Decision("launch", 0))
    console.tell(ev.AttemptStarted(0, 2))
    assert [line.removeprefix("trial 3f2ab_00000 ") for line in console.lines()] == [
        "started: lr=1",
        "iteration 1: acc=0.5",
        "pause: waits",
        "goes on: 2nd of 7 at the cut",
        "iteration 2: acc=0.6",
        "pause: waits again",
        "paused: waits again",
        "goes on",
        "goes on after a pause (attempt 2): lr=1",
        "will be tried again: worker died",
        "started again (attempt 3): lr=1",
    ]


def test_too_many_lines_a_second_are_counted() -> None:
    console = Console(lines_per_s=4)
    console.new()
    for number in range(5):
        console.trial(number, acc=0.5)
    console.failure(5)
    assert len(console.new()) == 4
    console.now = 0.9
    console.trial(6, acc=0.5)
    assert console.new() == []
    console.now = 1.0
    console.trial(7, acc=0.5)
    lines = console.new()
    assert lines[0] == "... and 5 started, 4 ended, 1 failed"
    assert lines[1].startswith("trial 3f2ab_00007 started")
    for number in range(8, 11):
        console.trial(number, acc=0.5)
    console.new()
    console.reporter.close()
    assert console.lines()[0] == "... and 2 started, 2 ended"


@pytest.mark.parametrize(("mode", "best"), [("max", 2), ("min", 1)])
def test_the_best_is_the_last_value_and_the_first_of_equals(mode: str, best: int) -> None:
    console = Console(spec={**SPEC, "modes": [mode]})
    for number, value in enumerate([0.5, 0.1, 0.9, 0.9, float("nan"), float("inf"), 0.1]):
        console.trial(number, acc=value)
    console.trial(7)
    console.reporter.close()
    assert f"best trial 3f2ab_{best:05d}" in console.stream.getvalue()


def test_a_last_report_without_the_metric_leaves_it_as_it_was() -> None:
    console = Console()
    console.tell(ev.Suggested(0, {"lr": 1}), Decision("launch", 0))
    console.tell(ev.Reported(0, 0, 1, {"acc": 0.7, "train": 1}))
    console.tell(ev.Reported(0, 0, 2, {"train": 2}))
    console.tell(ev.AttemptEnded(0, 0, "finished"), Decision("end", 0, "", {"status": "TERMINATED", "outcome": "finished"}))
    console.reporter.close()
    assert "trial 3f2ab_00000 finished after 2 iterations: acc=0.7 (best so far)" in console.lines()
    assert "best trial 3f2ab_00000: acc=0.7 after 2 iterations" in console.lines()


def test_of_several_metrics_none_says_which_trial_is_the_best() -> None:
    console = Console(spec={**SPEC, "metrics": ["acc", "size"], "modes": ["max", "min"]})
    console.trial(0, acc=0.5)
    console.reporter.close()
    assert "trial 3f2ab_00000 finished after 1 iteration: acc=0.5" in console.lines()
    assert "best" not in console.stream.getvalue()


def test_without_a_metric_there_is_no_best_and_the_first_numbers_are_shown() -> None:
    console = Console(spec={"num_samples": None})
    console.new()
    console.trial(0, acc=0.5)
    console.reporter.close()
    assert "trial 3f2ab_00000 finished after 1 iteration: acc=0.5" in console.lines()
    assert "best" not in console.stream.getvalue()


def test_values_are_shown_as_people_know_them() -> None:
    console = Console(show=lambda values, _: {"lr": 0.1234567890, "optimiser": ["sgd", "adam"][values["opt"]], "text": "x" * 60})
    console.new()
    console.trial(0, acc=0.5)
    assert console.lines()[0] == f"trial 3f2ab_00000 started: lr=0.123457 optimiser=adam text={'x' * 37}..."


def test_after_an_exploit_the_new_values_are_shown() -> None:
    console = Console()
    console.tell(ev.Suggested(0, {"lr": 1}), Decision("launch", 0))
    console.tell(ev.AttemptStarted(0, 0))
    console.tell(ev.Reported(0, 0, 1, {"acc": 0.1}), Decision("exploit", 0, "", {"source": 1, "values": None}))
    console.tell(ev.Explored(0, {"lr": 2}))
    console.tell(ev.AttemptEnded(0, 0, "stopped"), Decision("exploited", 0, "", {"source": 1}))
    console.tell(ev.AttemptStarted(0, 1))
    assert console.lines()[-1] == "trial 3f2ab_00000 started again (attempt 2): lr=2"


def test_a_resumed_run_counts_what_was_before_without_telling_it() -> None:
    console = Console()
    console.new()
    status = {"status": "TERMINATED", "outcome": "finished"}
    past = [
        Record(ev.ExperimentStarted(SPEC)),
        Record(ev.Suggested(0, {"lr": 1})),
        Record(ev.Reported(0, 0, 1, {"acc": 0.9})),
        Record(ev.AttemptEnded(0, 0, "finished"), [Decision("end", 0, "", status)]),
    ]
    console.reporter.replay(past)
    assert console.lines() == []
    console.tell(ev.ExperimentStarted(SPEC, session=1))
    console.trial(1, acc=0.5)
    console.reporter.close()
    text = console.stream.getvalue()
    assert text.startswith("digits goes on: 4 trials")
    assert "best trial 3f2ab_00000" in text
    assert "2 TERMINATED" in text


def test_a_resumed_run_is_not_ending_as_the_one_before_it_did() -> None:
    console = Console()
    console.reporter.replay([
        Record(ev.Suggested(0, {}), [Decision("launch", 0)]),
        Record(ev.StopRequested("x", True), [Decision("halt", None, "interrupted by Ctrl-C", {"kind": "drain", "until": 40.0})]),
        Record(ev.AttemptEnded(0, 0, "interrupted"), [Decision("retry", 0, "interrupted; starts anew"), Decision("finish", None, "x")]),
    ])  # fmt: skip
    console.now = 10.0
    console.tell(ev.ExperimentStarted({**SPEC, "num_samples": 1}, session=1))
    console.new()
    console.tell(ev.AttemptStarted(0, 1), Decision("retry", 0, "worker died; starts anew", {"charge": True}))
    console.tell(ev.AttemptEnded(0, 1, "finished"), Decision("end", 0, "", {"status": "TERMINATED", "outcome": "finished"}))
    console.tell(ev.TimerFired("x"), Decision("finish", None, "all 1 trials have ended"))
    console.reporter.close()
    assert [line.removeprefix("trial 3f2ab_00000 ") for line in console.lines()] == [
        "started again (attempt 2)",
        "will be tried again: worker died; starts anew",
        "finished",
        "digits: 1 trial in 0 s (1 TERMINATED)",
        "files: /runs/digits",
    ]


def test_a_moved_run_goes_by_its_new_name() -> None:
    console = Console()
    console.reporter.replay([Record(ev.ExperimentStarted({**SPEC, "name": "digits"}))])
    console.new()
    console.reporter.committed([Record(ev.ExperimentStarted(SPEC, session=1)), Record(ev.SpecChanged({"name": "moved"}))])
    console.tell(ev.StopRequested("x"), Decision("halt", None, "enough", {"kind": "stop"}))
    console.reporter.close()
    assert [line.partition(" begins")[0].partition(" goes on")[0] for line in console.lines()] == [
        "moved", "changed since: name digits -> moved", "files: /runs/digits", "moved is stopping: enough", "moved: 0 trials in 0 s",
        "files: /runs/digits",
    ]  # fmt: skip


def test_a_console_that_knows_only_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    console = Console()
    console.reporter._stream = io.TextIOWrapper(raw, encoding="ascii")
    console.tell(ev.Suggested(0, {"größe": 1}), Decision("launch", 0))
    console.tell(ev.AttemptStarted(0, 0))
    assert raw.getvalue().decode() == "trial 3f2ab_00000 started: gr??e=1\n"


def test_memory_does_not_grow_with_ended_trials() -> None:
    console = Console()
    for number in range(50):
        console.trial(number, acc=0.5)
    assert console.reporter._live == {}


def test_a_drain_says_how_long_trials_still_have() -> None:
    console = Console()
    for number in range(3):
        console.tell(ev.Suggested(number, {}), Decision("launch", number))
    console.new()
    console.now = 10.0
    console.tell(ev.StopRequested("x", True), Decision("halt", None, "interrupted by Ctrl-C", {"kind": "drain", "until": 40.0}))
    assert console.new() == ["digits is stopping: interrupted by Ctrl-C; trials that have not ended in 30 s are killed"]
    for number, console.now, said in ((0, 12.0, []), (1, 21.4, ["19 s left until running trials are killed"]), (2, 30.0, [])):
        console.tell(ev.AttemptEnded(number, 0, "stopped"), Decision("end", number, "", {"status": "TERMINATED", "outcome": "stopped"}))
        assert console.new()[1:] == said


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("interrupted by SIGTERM", "interrupted by SIGTERM; trials that have not ended in 30 s are killed"),
        ("reported were: loss.", "reported were: loss. Trials that have not ended in 30 s are killed."),
        ("Did you mean 'loss'?", "Did you mean 'loss'? Trials that have not ended in 30 s are killed."),
    ],
)
def test_a_drain_is_told_in_sentences(reason: str, said: str) -> None:
    console = Console()
    console.tell(ev.Suggested(0, {}), Decision("launch", 0))
    console.new()
    console.tell(ev.TimerFired("x"), Decision("halt", None, reason, {"kind": "metric", "until": 30.0}))
    assert console.new() == [f"digits is stopping: {said}"]


def test_nothing_is_tried_again_while_the_run_ends() -> None:
    console = Console(lines_per_s=5)
    for number in range(3):
        console.tell(ev.Suggested(number, {}), Decision("launch", number))
    console.tell(ev.StopRequested("x", True), Decision("halt", None, "interrupted by Ctrl-C", {"kind": "drain"}))
    console.new()
    saved = SimpleNamespace(base=SimpleNamespace(iteration=7))
    failed = onward(SimpleNamespace(base=None), "KeyError: 'lr' at train.py:42 (failure 1)")  # type: ignore[arg-type]
    console.tell(ev.AttemptEnded(0, 0, "interrupted"), Decision("retry", 0, onward(saved, "interrupted")))  # type: ignore[arg-type]
    console.tell(ev.AttemptEnded(1, 0, "user_error"), Decision("retry", 1, failed, {"charge": True}))
    console.tell(ev.AttemptEnded(2, 0, "stopped"), Decision("retry", 2, "takes 2 CPUs", {"resources": {"cpu": 2.0}}))
    assert [line.removeprefix("trial 3f2ab_0000") for line in console.new()] == [
        "0 interrupted; a resume goes on from iteration 7",
        "1 failed: KeyError: 'lr' at train.py:42 (failure 1); a resume starts it anew",
        "2 interrupted; a resume goes on: takes 2 CPUs",
    ]
    for _ in range(4):
        console.tell(ev.AttemptEnded(0, 0, "interrupted"), Decision("retry", 0, "interrupted; starts anew"))
    console.reporter.close()
    assert "... and 2 left to a resume" in console.lines()


def test_nobody_counts_down_for_nobody() -> None:
    console = Console()
    console.new()
    console.tell(ev.StopRequested("x", True), Decision("halt", None, "SIGTERM", {"kind": "drain", "until": 40.0}))
    assert console.new() == ["digits is stopping: SIGTERM"]


def test_beside_a_picture_only_what_must_stay_is_told() -> None:
    for verbose, told in ((1, 1), (2, 6)):
        console = Console(verbose=verbose, pictured=True)
        assert len(console.new()) == 2
        console.trial(0, acc=0.5)
        console.failure(1)
        console.tell(ev.Suggested(2, {}), Decision("launch", 2), Decision("retry", 2, "lost", {"charge": True}))
        assert len(console.new()) == told
        console.reporter.alone()
        console.trial(3, acc=0.5)
        assert len(console.new()) == verbose + 1


class Broken(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.attempts = 0

    def write(self, text: str) -> int:
        self.attempts += 1
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "gone"), ValueError("I/O operation on closed file")])
def test_nobody_reads_any_more(error: Exception) -> None:
    console = Console()
    console.reporter._stream = stream = Broken(error)
    console.trial(0, acc=0.5)
    console.reporter.close()
    assert stream.attempts == 1


def test_no_console_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console()
    console.reporter._stream = None
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        console.trial(0, acc=0.5)
        console.reporter.close()


def test_values_cannot_command_the_terminal() -> None:
    console = Console(show=lambda values, _: {"text": "\x1b[2J\x07two\nlines"})
    console.new()
    console.trial(0, acc=0.5)
    assert console.lines()[0] == "trial 3f2ab_00000 started: text=?[2J?two lines"


def test_a_run_that_never_began_needs_no_summary() -> None:
    stream = io.StringIO()
    PlainReporter(HEADER, "/runs/digits", stream=stream).close()
    assert stream.getvalue() == ""

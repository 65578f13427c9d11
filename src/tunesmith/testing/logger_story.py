"""What the logger kit is made of: a journal in memory that tells a story, and hosts of loggers that follow it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import MemoryJournal
from tunesmith.journal.trials import TrialBook, TrialInfo
from tunesmith.logger import LoggerCallback, LoggerHost
from tunesmith.trainable.metrics import flatten_metrics

__all__ = ["METRICS", "Diary", "Player", "Story", "agrees", "check_rows", "open_below", "tell"]

INFO = {"pid": 7, "hostname": "box", "node_ip": "127.0.0.1"}
_PATIENCE = 120.0
"""Seconds after which a host that does not move is a failure: many, as one flush may write a hundred runs into a database."""


METRICS: dict[str, list[dict[str, Any]]] = {
    "nan and infinities": [{"loss": math.nan, "gain": math.inf, "dip": -math.inf}, {"loss": 1.0, "gain": 2.0, "dip": 3.0}],
    "none": [{"loss": None, "gain": 1.0}, {"loss": 1.0, "gain": None}],
    "booleans": [{"done_well": True, "again": False}],
    "numbers": [{"count": 2**70, "tiny": 5e-324, "exact": 0.1 + 0.2, "negative": -0.0}],
    "numpy": [{"loss": np.float32(0.5), "n": np.int64(3), "ok": np.bool_(True), "one": np.array([0.25]), "text": np.str_("relu")}],
    "strings": [{"note": 'a "quoted", text'}, {"note": "two\nlines\r\nand\ta tab"}, {"note": ""}, {"note": "grüße 🎈"}, {"note": "1e3"}],
    "nested": [{"val": {"acc": 0.5, "by": {"cat": 0.25, "dog": 1}}, "loss": 1.0}, {"val": {"acc": 0.6, "by": {"cat": 0.5, "dog": 2}}}],
    "a name above another": [{"a": 1, "a/b": 2}],
    "names": [{"a b": 1.0, "loss-1": 2.0, "x/y": 3.0, "per%": 4.0, "größe": 5.0, "a.b": 6.0, "loss@10": 7.0, "f(x)": 8.0}],
    "punctuation in names": [{'a"b': 1.0, "a,b": 2.0, "a;b": 3.0, "a:b": 4.0, "a\\b": 5.0}],
    "keys that come late": [{"loss": 1.0}, {"loss": 2.0, "late": 3.0}, {"later": "x"}, {"loss": 4.0}],
    "nothing": [{}, {}],
}
"""What trials may report: name of the oddity -> rows."""


class Story:
    """Commits records to a journal and tells them to the hosts that follow: an experiment without its loop.

    Args:
        directory: the experiment's.

    Attributes:
        resolve: drawn values -> config, as :meth:`Space.resolve`; None: the values themselves. Set it before :meth:`host`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     story, diary = Story(Path(folder)), Diary()
        ...     _ = story.host([diary])
        ...     story.start(lr=0.1)
        ...     story.report(1, loss=0.5)
        ...     story.end()
        ...     story.close()
        >>> diary.entries
        [('start', 0, 0), ('result', 0, 1), ('end', 0, False), ('over', 1)]
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.header = Header(uuid="3f2ab" + "0" * 27, name="demo", created=1_000_000_000.0)
        self.journal = MemoryJournal(self.header)
        self.hosts: list[LoggerHost] = []
        self.resolve: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.add(ev.ExperimentStarted({"trainable_name": "train", "metrics": ["loss"], "modes": ["min"]}))

    def add(self, event: Any, *decisions: Decision) -> Record:
        """Commit one record."""
        record = Record(event, list(decisions))
        self.journal.append([record])
        for host in self.hosts:
            host.committed([record])
        return record

    # -- those who follow --------------------------------------------------------------------------------------------------

    def host(self, loggers: Iterable[Any], *, note: bool = False, **options: Any) -> LoggerHost:
        """A host that follows from here on; ``note``: where it stands is noted on disk, as in a run that may be resumed."""
        resolve = self.resolve
        config = None if resolve is None else lambda values, _: resolve(values)
        book = TrialBook(self.header, str(self.directory), "train", config, keep_finished=False, reader=self.journal.read)
        directory = str(self.directory) if note else None
        host = LoggerHost(loggers, book, lambda: nullcontext(self.journal), directory, options.pop("linger_s", 0.0))
        self.hosts.append(host)
        return host

    def close(self) -> None:
        """Everything is written, and nobody follows any more."""
        for host in self.hosts:
            host.close()
        self.hosts = []

    # -- what happens ------------------------------------------------------------------------------------------------------

    def start(self, trial: int = 0, attempt: int = 0, **values: Any) -> None:
        """An attempt starts; the first of a trial with the drawn ``values``."""
        if attempt == 0:
            self.add(ev.Suggested(trial, values or {"lr": 0.1}, "random"), Decision("launch", trial))
        self.add(ev.AttemptStarted(trial, attempt, INFO, at=1.0))

    def report(self, iteration: int, trial: int = 0, attempt: int = 0, checkpoint: str | None = None, **metrics: Any) -> None:
        """A report, made of ``metrics`` as a worker makes it: flat scalars, and apart what is none."""
        flat, others = flatten_metrics(metrics)
        full = {**flat, "training_iteration": iteration, "time_this_iter_s": 0.5, "time_total_s": 0.5 * iteration}
        self.add(ev.Reported(trial, attempt, iteration, full, checkpoint, None, tuple(others), 1.0 + iteration, extras=others or None))

    def end(self, trial: int = 0, attempt: int = 0, outcome: str = "finished", reason: str = "") -> None:
        """The trial is over, and well."""
        data = {"status": "TERMINATED", "outcome": outcome}
        self.add(ev.AttemptEnded(trial, attempt, outcome, at=9.0), Decision("end", trial, reason, data))

    def lose(self, trial: int = 0, attempt: int = 0) -> None:
        """The attempt was cut off with its driver; the trial is tried again, free of charge."""
        decision = Decision("retry", trial, "the driver was lost", {"outcome": "driver_lost", "charge": False})
        self.add(ev.AttemptEnded(trial, attempt, "driver_lost", at=8.5), decision)

    def pause(self, trial: int = 0, attempt: int = 0) -> None:
        """The attempt ends from a checkpoint; the trial goes on later, as another attempt."""
        self.add(ev.AttemptEnded(trial, attempt, "paused", at=8.0), Decision("paused", trial, "waits for its rung"))

    def fail(self, trial: int = 0, attempt: int = 0, *, retry: bool = False) -> None:
        """The attempt fails in the user's code; ``retry``: and the trial is tried again."""
        error = {"type": "KeyError", "message": "'lr'", "where": "train.py:42", "traceback": "Traceback ...\nKeyError: 'lr'\n"}
        text = "KeyError: 'lr' at train.py:42"
        decision = (
            Decision("retry", trial, text, {"outcome": "user_error", "charge": True})
            if retry
            else Decision("end", trial, text, {"status": "ERROR", "outcome": "user_error"})
        )
        self.add(ev.AttemptEnded(trial, attempt, "user_error", error, at=9.0), decision)

    def fall_silent(self, trial: int = 0, attempt: int = 0) -> None:
        """The trial fails without an error of its own."""
        data = {"status": "ERROR", "outcome": "silent"}
        self.add(ev.AttemptEnded(trial, attempt, "silent", at=9.0), Decision("end", trial, "no report for max_silence_s=5", data))

    def exploit(self, trial: int, attempt: int, source: int, **values: Any) -> None:
        """The attempt ends; the trial is to go on from ``source``'s checkpoint with other values."""
        self.add(ev.AttemptEnded(trial, attempt, "stopped", at=8.0), Decision("exploit", trial, "", {"source": source, "values": values}))
        data = {"source": source, "checkpoint": f"{source}/checkpoint_000000"}
        self.add(ev.TimerFired("exploit"), Decision("exploited", trial, "", data), Decision("launch", trial))

    # -- where things are --------------------------------------------------------------------------------------------------

    def trial_id(self, trial: int = 0) -> str:
        return f"3f2ab_{trial:05d}"

    def trial_dir(self, trial: int = 0) -> Path:
        return self.directory / self.trial_id(trial)


class Diary(LoggerCallback):
    """Notes what it is told. Put last, it also tells when the loggers before it have been flushed.

    Attributes:
        entries: ("start", trial number, attempt), ("restore", number), ("save", number), ("result", number, iteration),
            ("end", number, failed) and ("over", number of trials), in order.
        results: every row, as it was given.
        thread: name of the thread in which results came.
    """

    reads_only: ClassVar[bool] = True

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []
        self.results: list[dict[str, Any]] = []
        self.thread: str | None = None
        self._flushed = 0
        self._news = threading.Condition()

    def setup(self, stop: Any = None, num_samples: int | None = None, total_num_samples: int | None = None, **info: Any) -> None:
        self.entries.append(("setup", num_samples))

    def log_trial_start(self, trial: TrialInfo) -> None:
        self.entries.append(("start", trial.number, trial.attempt))

    def log_trial_restore(self, trial: TrialInfo) -> None:
        self.entries.append(("restore", trial.number))

    def log_trial_save(self, trial: TrialInfo) -> None:
        self.entries.append(("save", trial.number))

    def log_trial_result(self, iteration: int, trial: TrialInfo, result: dict[str, Any]) -> None:
        self.thread = threading.current_thread().name
        self.results.append(result)
        self.entries.append(("result", trial.number, result["training_iteration"]))

    def log_trial_end(self, trial: TrialInfo, failed: bool = False) -> None:
        self.entries.append(("end", trial.number, failed))

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        self.entries.append(("over", len(trials)))

    def flush(self) -> None:
        with self._news:
            self._flushed = len(self.entries)
            self._news.notify_all()

    def wait(self, count: int) -> None:
        """Until ``count`` entries have been noted, and all loggers before this one were flushed after that."""
        with self._news:
            assert self._news.wait_for(lambda: self._flushed >= count, _PATIENCE), f"told so far: {self.entries}"


@dataclass(slots=True)
class _Live:
    """A trial that runs; ``saved``: the iteration of its newest checkpoint."""

    trial: int
    attempt: int = 0
    iteration: int = 0
    saved: int = 0


class Player:
    """Plays acts of a story in any order, and keeps the books of what was told.

    Attributes:
        ACTS: "report", "checkpoint" (a report with one), "retry" (from the newest checkpoint), "end", "fail", and "resume": all that
            run were lost with their driver, and go on from their checkpoints.
        told: trial -> rows, repeated iterations included.
    """

    ACTS = ("report", "report", "checkpoint", "retry", "end", "fail", "resume")

    def __init__(self, story: Story) -> None:
        self.told: dict[int, list[dict[str, Any]]] = {}
        self._story = story
        self._live: dict[int, _Live] = {}

    def play(self, act: str, seat: int) -> None:
        """One act of the trial that has this seat; a seat whose trial is over is taken by a new one."""
        if act == "resume":
            for live in self._live.values():
                self._story.lose(live.trial, live.attempt)
                self._again(live)
            return
        live = self._live.get(seat) or self._begin(seat)
        if act == "retry":
            self._story.fail(live.trial, live.attempt, retry=True)
            self._again(live)
        elif act in ("end", "fail"):
            getattr(self._story, act)(live.trial, live.attempt)
            del self._live[seat]
        else:
            live.iteration += 1
            if act == "checkpoint":
                live.saved = live.iteration
            at, saved = live.iteration, live.iteration if act == "checkpoint" else None
            self.told[live.trial] += tell(self._story, live.trial, at, at, attempt=live.attempt, checkpoint=saved, scale=1 + live.attempt)

    def _begin(self, seat: int) -> _Live:
        live = self._live[seat] = _Live(len(self.told))
        self.told[live.trial] = []
        self._story.start(live.trial)
        return live

    def _again(self, live: _Live) -> None:
        live.attempt += 1
        live.iteration = live.saved
        self._story.start(live.trial, live.attempt)


def tell(
    story: Story, trial: int, first: int, last: int, *, attempt: int = 0, checkpoint: int | None = None, scale: float = 1
) -> list[dict[str, Any]]:
    """Report iterations ``first`` to ``last``, with a checkpoint at one of them; returns the rows."""
    rows = []
    for at in range(first, last + 1):
        metrics = {"loss": scale / at, "val/acc": 0.5}
        story.report(at, trial, attempt, f"{trial}/checkpoint_000000" if at == checkpoint else None, **metrics)
        rows.append({"training_iteration": at, **metrics})
    return rows


def check_rows(
    found: Sequence[Mapping[str, Any]], told: Iterable[dict[str, Any]], whose: str, rewrites: bool, keeps: tuple[type, ...]
) -> None:
    """Fail unless the stored rows are those told, in order.

    Args:
        told: each with "training_iteration", repeated ones included.
        rewrites: repeated iterations have taken the place of the first ones.
        keeps: kinds of values that are compared.
    """
    expected: list[dict[str, Any]] = []
    for row in told:
        while rewrites and expected and expected[-1]["training_iteration"] >= row["training_iteration"]:
            expected.pop()
        expected.append(row)
    iterations = [row["training_iteration"] for row in expected]
    stored = [int(float(row["training_iteration"])) for row in found]
    assert stored == iterations, f"{whose}: iterations stored are {stored}, those told {iterations}"
    for one, row in zip(found, expected, strict=True):
        kept = {key: value for key, value in row.items() if type(value) in keeps}
        wrong = {key: (one.get(key), value) for key, value in kept.items() if not agrees(one.get(key), value)}
        assert not wrong, f"{whose}, iteration {row['training_iteration']}: (stored, told) differ: {wrong}"


def agrees(found: Any, told: Any) -> bool:
    """Whether a stored value is the one told: numbers by value, also as text; None as None, "" or nothing; nan is equal to itself.

    Example:
        >>> agrees("0.5", 0.5), agrees("nan", float("nan")), agrees("", None), agrees("1", "1.0")
        (True, True, True, False)
    """
    if told is None or isinstance(told, str):
        return bool((found or "") == (told or ""))
    if isinstance(told, bool):
        return found in (told, str(told))
    try:
        number = float(found)
    except (TypeError, ValueError):
        return False
    return number == told or (math.isnan(number) and math.isnan(told))


def open_below(directory: Path) -> list[str]:
    """Files below ``directory`` that this process has open."""
    import psutil

    below = str(directory.resolve())
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(below)]

"""Attempts that belong to no experiment: a loop without core and journal, in a directory that goes away again."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tunesmith.checkpoints.store import LocalStore
from tunesmith.core.events import AttemptEnded, CheckpointSaved, Event, Reported, SaveSkipped
from tunesmith.errors import StorageFull
from tunesmith.executors.base import CONTINUE, STOP, Assignment, Executor, ExecutorSetup
from tunesmith.spec import ExperimentSpec
from tunesmith.trainable.watched import READS_FILE, Reads

__all__ = ["Rehearsal", "Seen", "scratch"]

_AFTER_GRACE_S = 5.0
"""An attempt that was killed and does not end in its grace and so many seconds more is no longer waited for."""


@dataclass(slots=True)
class Seen:
    """What an attempt has shown.

    Args:
        assignment: what was run.
        launched: moment of the launch; ``times``: of each report (monotonic seconds).
        reports: in order.
        saved: (iteration, checkpoint id) of each checkpoint, in order; ``skipped``: why one was not saved, "" if all were.
        ended: how it ended; None: it did not.
        overdue: the time was up before it ended.
        reads: what it has read of its configuration; None: it is not known.
    """

    assignment: Assignment
    launched: float
    times: list[float] = field(default_factory=list)
    reports: list[Reported] = field(default_factory=list)
    saved: list[tuple[int, str]] = field(default_factory=list)
    skipped: str = ""
    ended: AttemptEnded | None = None
    overdue: bool = False
    reads: Reads | None = None

    @property
    def outcome(self) -> str:
        """Of its end; "" if it did not end."""
        return self.ended.outcome if self.ended is not None else ""

    @property
    def over(self) -> bool:
        """Whether the trial ended by itself."""
        return self.outcome == "finished" and not self.overdue

    @property
    def failed(self) -> bool:
        """Whether its own code, or its process, is to blame for its end."""
        return not self.overdue and self.outcome not in ("finished", "stopped", "infeasible")

    @property
    def metrics(self) -> dict[str, Any]:
        """All that it has reported, the newest value of each."""
        return {name: value for report in self.reports for name, value in report.metrics.items()}

    def checkpoint_path(self, checkpoint: str) -> str:
        """The directory of one of its checkpoints."""
        return LocalStore.of_trial(self.assignment.trial_dir).path(checkpoint)


class Rehearsal:
    """Runs single attempts, one after another.

    Args:
        spec: the experiment that they are taken from.
        executor: not started yet, and for this alone. Whoever made it closes it.
        timeout_s: seconds for all of them together, from the start on; None: as long as it takes.
    """

    def __init__(self, spec: ExperimentSpec, executor: Executor, timeout_s: float | None) -> None:
        self._spec = spec
        self._executor = executor
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._until = math.inf
        self._seen: Seen | None = None
        self._enough: Callable[[Seen], bool] = bool

    def start(self, cpus: float) -> dict[str, float]:
        """Start the executor; the time runs from here on. Returns all there is to run on.

        Args:
            cpus: of a usual trial.

        Raises:
            ExecutorError: it cannot run here.
            SpecError: the trainable cannot be sent to a worker.
        """
        spec, log_files = self._spec, self._spec.log_to_file
        if log_files is None and self._executor.capabilities.isolated:
            log_files = ("stdout.log", "stderr.log")
        self._until = time.monotonic() + self._timeout_s
        return self._executor.start(
            ExecutorSetup(
                spec.trainable, self._handle, log_files or None, spec.chdir_to_trial_dir, False, spec.grace_s, cpus=cpus,
                min_free=spec.checkpoint.min_free,
            )
        )  # fmt: skip

    def left(self) -> float:
        """Seconds that are left; infinite if there is no limit."""
        return self._until - time.monotonic()

    def run(self, assignment: Assignment, enough: Callable[[Seen], bool]) -> Seen:
        """One attempt, until it ends.

        Args:
            assignment: what to run.
            enough: asked at each report whether it is to stop there; a class then saves itself.

        Returns:
            What it has shown. If the time is up before it ends, it is killed where the executor can do that.
        """
        seen = self._seen = Seen(assignment, time.monotonic())
        self._enough = enough
        self._executor.launch(assignment)
        until = self._until
        while seen.ended is None:
            left = until - time.monotonic()
            if left > 0:
                self._handle(self._executor.poll(None if left == math.inf else left))
            elif seen.overdue or not self._executor.capabilities.kill:
                seen.overdue = True
                break
            else:
                seen.overdue = True
                self._executor.kill(assignment.trial, assignment.attempt, "timeout")
                until = time.monotonic() + self._spec.grace_s + _AFTER_GRACE_S
        if assignment.watch:
            seen.reads = Reads.load(assignment.trial_dir)
            with suppress(FileNotFoundError):  # the next attempt of the trial has its own
                os.unlink(os.path.join(assignment.trial_dir, READS_FILE))
        return seen

    def _handle(self, events: Sequence[Event]) -> None:
        """One turn of the loop; executors on this thread call it from inside ``report``."""
        seen = self._seen
        for event in events:
            if seen is None or not isinstance(event, Reported | CheckpointSaved | SaveSkipped | AttemptEnded):
                continue
            if (event.trial, event.attempt) != (seen.assignment.trial, seen.assignment.attempt):
                continue
            if isinstance(event, AttemptEnded):
                seen.ended = event
            elif isinstance(event, CheckpointSaved):
                seen.saved.append((event.iteration, event.checkpoint))
            elif isinstance(event, SaveSkipped):
                seen.skipped = event.reason
            else:
                self._heard(seen, event)

    def _heard(self, seen: Seen, event: Reported) -> None:
        seen.times.append(time.monotonic())
        seen.reports.append(event)
        if event.checkpoint is not None:
            seen.saved.append((event.iteration, event.checkpoint))
        if seen.overdue or self._enough(seen):
            self._executor.answer(event.trial, event.attempt, STOP, save=self._spec.trainable.kind == "class")
        else:
            self._executor.answer(event.trial, event.attempt, CONTINUE)


@contextmanager
def scratch(root: str) -> Iterator[str]:
    """A directory below ``root``, hidden from listings; afterwards it is gone, and so is ``root`` if it was not there.

    Raises:
        StorageFull: it cannot be made.
    """
    missing = []
    above = root
    while not os.path.isdir(above):
        missing.append(above)
        above = os.path.dirname(above)
    try:
        os.makedirs(root, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".preflight_", dir=root)
    except OSError as error:
        raise StorageFull(
            f"{root} cannot be written: {error.strerror or error}. Give a directory that you can write as storage_path, or free some space."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for made in missing:
            with suppress(OSError):  # somebody else has put something there meanwhile
                os.rmdir(made)

"""The inline executor: trials run one after the other in the driver's own thread. For debuggers and for tiny objectives.

Inside ``report`` the loop takes a whole turn (``setup.deliver``), during which the trial's surroundings (log files, working
directory) are put aside. Two functions can't be held at a report at once, so a pause ends the attempt and it is run anew later.
"""

from __future__ import annotations

import io
import os
import queue
import sys
from collections import deque
from contextlib import suppress
from time import perf_counter
from typing import Any, TextIO

from tunesmith.core.events import AttemptEnded, AttemptStarted, CheckpointSaved, Event, Reported, SaveSkipped
from tunesmith.executors.base import CONTINUE, Assignment, ExecutorCapabilities, ExecutorSetup
from tunesmith.executors.kept_errors import KeptErrors
from tunesmith.executors.machine import machine_totals
from tunesmith.trainable.attempt import AttemptRunner
from tunesmith.trainable.seeding import borrow
from tunesmith.trainable.worker import GO_ON, Answer

__all__ = ["InlineExecutor"]

_STOP = Answer("stop")
_PROMPT_S = 0.02
"""Trials that are silent for longer have their start told at once; with quicker ones it goes with the first report, which spares a turn."""


class InlineExecutor:
    """Runs each attempt inside ``poll``, in the calling thread.

    ``random``, numpy's and torch's global generators are the trial's own while it runs and the driver's again afterwards
    (see :func:`tunesmith.trainable.seeding.borrow`).

    Example:
        >>> InlineExecutor().capabilities.slots
        1
    """

    capabilities = ExecutorCapabilities(name="inline", slots=1)

    def __init__(self) -> None:
        self._queue: deque[Assignment] = deque()
        self._ready: list[Event] = []  # ends of attempts that never ran
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()  # its put is safe in signal handlers
        self._running: _Running | None = None
        self._setup: ExecutorSetup | None = None
        self._runner: AttemptRunner | None = None
        self._errors = KeptErrors()
        self._info: dict[str, Any] = {}
        self._prompt = True  # until the first trial has shown how quick they are

    def start(self, setup: ExecutorSetup) -> dict[str, float]:
        """Get ready; returns this machine's totals."""
        import socket  # takes 10 ms

        self._setup = setup
        self._errors = KeptErrors(setup.keep_errors)
        self._runner = AttemptRunner(setup.trainable, setup.reuse is True, setup.min_free)
        self._info = {"pid": os.getpid(), "hostname": socket.gethostname(), "node_ip": "127.0.0.1"}
        return machine_totals()

    def launch(self, assignment: Assignment) -> None:
        """Run it at one of the next polls."""
        self._queue.append(assignment)

    def answer(self, trial: int, attempt: int, action: str, *, mode: str = "", save: bool = False) -> None:
        """Decide on the running attempt's report; an attempt still in the queue is told to stop by taking it out."""
        running = self._running
        if running is not None and running.is_of(trial, attempt):
            running.decide(GO_ON if action == CONTINUE and not save else Answer(action, mode, save))
        elif action != CONTINUE:
            self._withdraw(trial, attempt, "stopped")

    def save(self, trial: int, attempt: int) -> None:
        """A class saves itself after the present report; a function reports its next checkpoint when it has one."""
        if self._running is not None and self._running.is_of(trial, attempt):
            self._running.save = True

    def kill(self, trial: int, attempt: int, outcome: str) -> None:
        """There is no force in one thread: the attempt is stopped at its present or next report, with this outcome."""
        if self._running is not None and self._running.is_of(trial, attempt):
            self._running.killed = outcome
        else:
            self._withdraw(trial, attempt, outcome)

    def poll(self, timeout: float | None) -> list[Event]:
        """Run the next attempt to its end; without one wait for ``wake``."""
        if self._ready:
            events, self._ready = self._ready, []
            return events
        if not self._queue:
            with suppress(queue.Empty):
                self._wakes.get(timeout=timeout if timeout is None else max(timeout, 0.0))
        while not self._wakes.empty():  # only this thread takes any out
            self._wakes.get()
        return self._run(self._queue.popleft()) if self._queue else []

    def wake(self) -> None:
        """Make a waiting ``poll`` return."""
        self._wakes.put(None)

    def error_of(self, trial: int) -> BaseException | None:
        """What the code of its newest failed attempt raised, itself."""
        return self._errors.of(trial)

    def close(self) -> None:
        """Let go of what was kept between attempts. What is in the queue does not run."""
        self._queue.clear()
        if self._runner is not None:
            self._runner.close()

    def _run(self, assignment: Assignment) -> list[Event]:
        setup, runner = self._setup, self._runner
        assert setup is not None and runner is not None, "start() comes first"
        running = self._running = _Running(assignment, setup, self._info)
        if self._prompt and not running.begin():
            self._running = None
            return [AttemptEnded(assignment.trial, assignment.attempt, "stopped")]
        began = perf_counter()
        give_back = borrow(assignment.seed)
        running.enter()
        try:
            ended = runner.run(assignment, running)
        except BaseException:  # Ctrl-C: the driver's to handle, and the attempt is over all the same
            self._ready += running.unsent([AttemptEnded(assignment.trial, assignment.attempt, "interrupted")])
            raise
        finally:
            self._running = None
            running.close()
            give_back()
        self._errors.heard(ended, runner.error)
        self._prompt = (running.heard or perf_counter()) - began > _PROMPT_S
        return running.unsent([ended])

    def _withdraw(self, trial: int, attempt: int, outcome: str) -> None:
        for assignment in self._queue:
            if (assignment.trial, assignment.attempt) == (trial, attempt):
                self._queue.remove(assignment)
                self._ready.append(AttemptEnded(trial, attempt, outcome))
                return


class _Running:
    """The attempt in progress: its channel to the loop, and its surroundings."""

    def __init__(self, assignment: Assignment, setup: ExecutorSetup, info: dict[str, Any]) -> None:
        self.save = False
        self.killed = ""
        self.heard = 0.0  # moment of the first report
        self._assignment = assignment
        self._deliver = setup.deliver
        self._outbox: list[Event] = [AttemptStarted(assignment.trial, assignment.attempt, info)]
        self._answer = _STOP
        self._surroundings = _Surroundings(assignment, setup) if setup.log_to_file or setup.chdir else None

    def is_of(self, trial: int, attempt: int) -> bool:
        """Whether this is that attempt."""
        return self._assignment.trial == trial and self._assignment.attempt == attempt

    def decide(self, answer: Answer) -> None:
        """The loop's answer to the report that is being delivered."""
        self._answer = answer

    def begin(self) -> bool:
        """Tell that it starts, before it does; false if it is not to start any more."""
        self._answer = GO_ON
        self._deliver(self.unsent([]))
        return self._answer.action != "stop"

    def ask(self, event: Reported) -> Answer:
        """A full turn of the loop; no answer in it means stop."""
        if not self.heard:
            self.heard = perf_counter()
        self._answer = _STOP
        self.leave()
        try:
            self._deliver(self.unsent([event]))
        finally:
            self.enter()
        answer = self._answer
        if self.killed:
            return Answer("stop", outcome=self.killed)
        if self.save:
            self.save = False
            answer = answer._replace(save=True)
        return answer

    def send(self, event: CheckpointSaved | SaveSkipped) -> None:
        """Goes with the next report, or with the end."""
        self._outbox.append(event)

    def unsent(self, events: list[Event]) -> list[Event]:
        """What has to go before ``events``, and they."""
        before, self._outbox = self._outbox, []
        return before + events

    def enter(self) -> None:
        """The trial's code runs from here on."""
        if self._surroundings is not None:
            self._surroundings.enter()

    def leave(self) -> None:
        """The driver's code runs from here on."""
        if self._surroundings is not None:
            self._surroundings.leave()

    def close(self) -> None:
        """The attempt is over."""
        if self._surroundings is not None:
            self._surroundings.leave()
            self._surroundings.close()


class _Surroundings:
    """Output files and working directory of a trial, put on and off as its code and the driver's take turns."""

    def __init__(self, assignment: Assignment, setup: ExecutorSetup) -> None:
        self._trial_dir = assignment.trial_dir
        self._chdir = setup.chdir
        self._cwd = assignment.trial_dir
        names = setup.log_to_file or ()
        files = {name: _LazyLog(os.path.join(assignment.trial_dir, name)) for name in names}
        self._files = list(files.values())  # one, if both streams go to the same
        self._trials: list[Any] = [files[name] for name in names]
        self._drivers: list[TextIO] = []
        self._drivers_cwd = ""

    def enter(self) -> None:
        if self._files:
            self._drivers = [sys.stdout, sys.stderr]
            sys.stdout, sys.stderr = self._trials
        if self._chdir:
            self._drivers_cwd = os.getcwd()
            os.makedirs(self._trial_dir, exist_ok=True)
            os.chdir(self._cwd)

    def leave(self) -> None:
        if self._chdir:
            self._cwd = os.getcwd()
            os.chdir(self._drivers_cwd)
        if self._files:
            self._trials = [sys.stdout, sys.stderr]  # the trial may have put its own there
            sys.stdout, sys.stderr = self._drivers
            for file in self._files:
                file.flush()

    def close(self) -> None:
        for file in self._files:
            file.close()


class _LazyLog(io.TextIOBase):
    """A text file that is made when it is first written to; written to after ``close`` (by a logging handler that kept it), it goes on."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: io.TextIOWrapper | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def buffer(self) -> Any:
        """The binary layer, for ``sys.stdout.buffer``."""
        return self._opened().buffer

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._opened().fileno()

    def write(self, text: str) -> int:
        return self._opened().write(text)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _opened(self) -> io.TextIOWrapper:
        if self._file is None:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._file = open(self._path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - close() is ours
        return self._file

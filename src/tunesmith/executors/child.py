"""What runs in a worker: takes assignments from its line, runs them, and reports over it.

A local worker is forked from the template (:mod:`tunesmith.executors.template`), leads a process group of its own, and dies with the
template; on a cluster it is an actor (:mod:`tunesmith.executors.ray_actor`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import io
import os
import pickle
import resource
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

from tunesmith.blame import describe, outcome_of
from tunesmith.checkpoints.store import LocalStore
from tunesmith.core.events import AttemptEnded, CheckpointSaved, Reported, SaveSkipped
from tunesmith.errors import TrialStopped
from tunesmith.executors.base import Assignment
from tunesmith.executors.line import Closed, Line
from tunesmith.executors.output import Output
from tunesmith.executors.preload import loaded
from tunesmith.executors.surroundings import Surroundings, environment, limit_threads
from tunesmith.executors.unwinding import Unwinding
from tunesmith.executors.wire import Kind, encode, report_of
from tunesmith.trainable.attempt import AttemptRunner
from tunesmith.trainable.parcel import unpack
from tunesmith.trainable.seeding import seed_all, seed_on_import
from tunesmith.trainable.worker import GO_ON, Answer

__all__ = ["Orders", "Worker", "largest"]

_GROWN = 64 << 20
"""A worker that has grown by more bytes than this is not used for another trial."""

_LARGE = 1 << 20
"""An exception of more bytes than this is told by its text alone."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What is the same for all attempts that one executor runs: travels to the template once.

    Args:
        log_to_file: (stdout file, stderr file); None: the driver's console.
        chdir: run trials in their own directories.
        reuse: whether the instance of a class is kept for the next attempt.
        threads: how many threads libraries were told to use when the template imported them.
        keep_errors: whether the exception that an attempt ends with is sent itself, too.
        min_free: bytes that saves leave free on the disk; None: what suits the disk; 0: as few as there are.
    """

    log_to_file: tuple[str, str] | None
    chdir: bool
    reuse: bool
    threads: int
    keep_errors: bool
    min_free: int | None


class Worker:
    """One worker process.

    Args:
        line: to the driver.
        trainable: gives the trainable, when it is first needed.
        orders: see there.
        number: of this worker, for its environment.
    """

    def __init__(self, line: Line, trainable: Callable[[], Any], orders: Orders, number: int) -> None:
        self._line = line
        self._orders = orders
        self._marks = {name: os.environ[name] for name in ("TUNESMITH_RUN", "TUNESMITH_TEMPLATE") if name in os.environ}
        self._marks["TUNESMITH_WORKER"] = str(number)
        self._load = trainable
        self._runner: AttemptRunner | None = None
        self._current = (-1, -1)
        self._save = False
        self._output = Output(orders.log_to_file) if orders.log_to_file is not None else None
        self._surroundings: Surroundings | None = None
        self._threads = orders.threads
        self._modules = len(sys.modules)
        self._size = largest()
        self._unwinding = Unwinding()
        self._pid = os.getpid()

    def serve(self) -> None:
        """Run attempts until told to exit."""
        self._unwinding.install()
        os.register_at_fork(after_in_child=self._line.close)
        faulthandler.enable(2)
        with contextlib.suppress(Closed):
            while True:
                kind, fields = self._line.next()
                if kind is Kind.LAUNCH:
                    self._run(*fields)
                elif kind is Kind.EXIT:
                    break

    def finish(self) -> NoReturn:
        """Leave as a Python process does, without tearing down what the template has built."""
        status = 0
        try:
            if self._runner is not None:
                self._runner.close()
            if "multiprocessing.util" in sys.modules:
                sys.modules["multiprocessing.util"]._exit_function()
            threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons, as the interpreter does
            import atexit

            atexit._run_exitfuncs()
            if "logging" in sys.modules:
                sys.modules["logging"].shutdown()
        except BaseException:
            import traceback

            traceback.print_exc()  # into the trial's own log
            status = 1
        finally:
            _flush()
            _flush_files()
            if self._output is not None:
                self._output.close()
            os._exit(status)

    # -- the channel of the running attempt ------------------------------------------------------------------------------

    def ask(self, event: Reported) -> Answer:
        """Send the report and wait for its answer."""
        self._unwinding.guard()
        self._line.send(report_of(event))
        self._unwinding.allow()
        while True:
            kind, fields = self._line.next()
            if kind is Kind.EXIT:
                raise Closed
            if fields[:2] != self._current:
                continue
            if kind is Kind.SAVE:
                self._save = True
            elif kind is Kind.ANSWER:
                _, _, action, mode, save = fields
                if action == "continue" and not (save or self._save):
                    return GO_ON
                save, self._save = save or self._save, False
                return Answer(action, mode, save)

    def send(self, event: CheckpointSaved | SaveSkipped) -> None:
        """Tell of a checkpoint that came without a report, or that there was no room for one."""
        if isinstance(event, CheckpointSaved):
            data = encode(Kind.SAVED, event.trial, event.attempt, event.iteration, event.checkpoint, event.bytes)
        else:
            data = encode(Kind.UNSAVED, event.trial, event.attempt, event.iteration, event.reason)
        self._unwinding.guard()
        self._line.send(data)
        self._unwinding.allow()

    # -- one attempt -----------------------------------------------------------------------------------------------------

    def _run(self, given: tuple[Any, ...], config: bytes, surroundings: tuple[Any, ...] | None, variables: dict[str, Any] | None) -> None:
        arguments: list[Any] = [*given[:5], {}, *given[5:]]  # the config comes later: loading it is the trial's business
        assignment = Assignment(*arguments)
        self._save = False
        self._current = (assignment.trial, assignment.attempt)
        self._unwinding.begin()
        error: BaseException | None = None
        try:
            runner = self._prepare(assignment, surroundings, variables)
            assignment.config = unpack(config)
        except BaseException as failed:  # the user's modules may not be there, or raise
            error = failed
            ended = AttemptEnded(*self._current, outcome_of(failed), describe(failed))
        else:
            before = _Before.now()
            ended, error = self._attempt(runner, assignment)
        self._leave(assignment)
        spent = "" if error is not None else before.differs(self._size)
        blob = _exception(error) if error is not None and self._orders.keep_errors else None
        self._line.send(encode(Kind.ENDED, *self._current, ended.outcome, ended.error, blob, spent, self._imported()))
        self._current = (-1, -1)
        self._unwinding.end()

    def _attempt(self, runner: AttemptRunner, assignment: Assignment) -> tuple[AttemptEnded, BaseException | None]:
        """The trial's code runs in here."""
        ended = AttemptEnded(*self._current, "finished")
        error: BaseException | None = None
        try:
            self._unwinding.enter()
            ended = runner.run(assignment, self, self._store(assignment))
            self._unwinding.guard()
            error = runner.error
        except TrialStopped:
            pass  # it was told to end on the way in or out
        except KeyboardInterrupt as interrupt:  # nobody but the trial's own code raises it here
            error, ended.outcome, ended.error = interrupt, "user_error", describe(interrupt)
        self._unwinding.guard()
        if os.getpid() != self._pid:
            _leave_fork(error)
        if self._unwinding.found is not None and ended.outcome == "finished":
            ended.outcome, ended.error = "worker_lost", self._unwinding.found
        return ended, error

    def _prepare(self, assignment: Assignment, surroundings: tuple[Any, ...] | None, variables: dict[str, Any] | None) -> AttemptRunner:
        if surroundings is not None and variables is not None:
            self._surroundings = self._settle(Surroundings(*surroundings), {**variables, **self._marks})
            threads = int(variables.get("OMP_NUM_THREADS", self._threads))
            if threads != self._threads:
                self._threads = threads
                limit_threads(threads)
        if self._output is not None:
            self._output.enter(assignment.trial_dir)
        if self._orders.chdir:
            os.makedirs(assignment.trial_dir, exist_ok=True)
            os.chdir(assignment.trial_dir)
        if self._runner is None:
            self._runner = AttemptRunner(self._load(), self._orders.reuse, self._orders.min_free)
        seed_all(assignment.seed)
        seed_on_import(assignment.seed)
        return self._runner

    def _settle(self, drivers: Surroundings, variables: dict[str, str | None]) -> Surroundings:
        """Make the driver's surroundings this process's own; returns what they are now."""
        drivers.apply(variables)
        return drivers

    def _store(self, _assignment: Assignment) -> LocalStore | None:
        """For the attempt's checkpoints; None: one in the trial's directory."""
        return None

    def _leave(self, assignment: Assignment) -> None:
        if self._output is not None:
            self._output.leave()
        if self._orders.chdir and self._surroundings is not None and self._surroundings.cwd is not None:
            with contextlib.suppress(OSError):
                os.chdir(self._surroundings.cwd)

    def _imported(self) -> list[str]:
        """Installed modules that this attempt was the first to import."""
        count, self._modules = len(sys.modules) - self._modules, len(sys.modules)
        # The newest are at the end. Looking at the others would copy their memory from the template, which takes milliseconds.
        newest = list(islice(reversed(sys.modules.items()), max(0, count)))
        return loaded(dict(reversed(newest)))


@dataclass(frozen=True, slots=True)
class _Before:
    """What another trial in the same process must find as this one did."""

    cwd: str
    path: list[str]
    surroundings: dict[Any, Any]
    threads: frozenset[int]

    @classmethod
    def now(cls) -> _Before:
        return cls(_cwd(), list(sys.path), environment(), frozenset(map(id, threading.enumerate())))

    def differs(self, size: int) -> str:
        """Why no other trial should run here; "" if one can."""
        if _has_children():
            return "it has child processes"
        if not frozenset(map(id, threading.enumerate())) <= self.threads:
            return "it has started threads"
        if _cwd() != self.cwd:
            return "it has changed the working directory"
        if sys.path != self.path:
            return "it has changed sys.path"
        if environment() != self.surroundings:
            return "it has changed the environment"
        if largest() - size > _GROWN:
            return "it has grown"
        return ""


def _leave_fork(error: BaseException | None) -> NoReturn:
    """A process that the trial has forked came out of the trial's code: it ends here, and is not the trial's end."""
    if error is not None:
        traceback.print_exception(error)
    _flush()
    os._exit(0 if error is None else 1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the trial may have put anything there
            stream.flush()


def _flush_files() -> None:
    """Files that nobody has closed: the interpreter would do it at its end."""
    for thing in gc.get_objects():
        if issubclass(type(thing), io.TextIOWrapper | io.BufferedWriter):
            with contextlib.suppress(Exception):
                thing.flush()


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def largest() -> int:
    """The most memory that this process has had so far (resident), bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _exception(error: BaseException) -> bytes | None:
    """The exception itself, for a driver that wants to raise it again."""
    with contextlib.suppress(Exception):
        blob = pickle.dumps(error.with_traceback(None), 5)
        return blob if len(blob) <= _LARGE else None
    return None

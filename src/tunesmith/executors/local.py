"""The local executor: every trial in a process of its own on this machine, forked in milliseconds from a template.

One thread, one selector. A worker has a socket of its own; what it reports comes over it, but that it has *ended*, and how, comes from
the template, which is its parent: a child process that a trial leaves behind may hold the socket open for ever.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from tunesmith.blame import describe
from tunesmith.core.events import AttemptEnded, AttemptStarted, Event
from tunesmith.errors import ExecutorError, UserCodeError
from tunesmith.executors.base import CONTINUE, PAUSE, Assignment, ExecutorCapabilities, ExecutorSetup
from tunesmith.executors.child import Orders
from tunesmith.executors.deaths import Autopsy
from tunesmith.executors.forker import Forker
from tunesmith.executors.gpus import Cards
from tunesmith.executors.leasing import Leasing
from tunesmith.executors.machine import machine_totals
from tunesmith.executors.nvml import Nvml
from tunesmith.executors.process import Process
from tunesmith.executors.surroundings import Surroundings, hold_standard_descriptors, thread_variables
from tunesmith.executors.wire import LIMIT, Kind, ended, reported, saved
from tunesmith.trainable.parcel import Parcel, pack_config, pack_trainable

__all__ = ["LocalExecutor"]

_log = logging.getLogger("tunesmith")
_LINGER_S = 0.005
"""The news that an attempt has started waits so long for its first report: one turn of the loop instead of two."""
_BORN_S = 120.0
"""A template that imports one package for so long, while a worker is due, has got stuck in it."""
_AFTER_TERM_S = 1.0
"""From SIGTERM to SIGKILL for a trial that does not end after a stop."""


class LocalExecutor:
    """Runs each attempt in a worker process; see the module.

    Args:
        nvml: whom to ask about GPUs; None: the driver of the cards, if there is one.

    Example:
        >>> LocalExecutor().capabilities.kill
        True
    """

    capabilities = ExecutorCapabilities(name="local", warm_pause=True, kill=True, isolated=True)

    def __init__(self, nvml: Nvml | None = None) -> None:
        hold_standard_descriptors()  # here: before the journal is opened
        self.last_error: BaseException | None = None
        self._setup: ExecutorSetup | None = None
        self._selector = selectors.DefaultSelector()
        self._wakes = -1
        self._nvml = nvml
        self._run = secrets.token_hex(8)
        self._leasing: Leasing | None = None
        self._clearing: dict[int, Process] = {}  # gone, but their cards are not yet known to be clean
        self._blocked: list[tuple[Assignment, bytes]] = []  # until those who had their cards are gone
        self._forkers: list[Forker] = []  # the last one forks; those before it have workers still
        self._barren = 0  # templates in a row that have died before they were of use
        self._excluded: set[str] = set()
        self._learned: set[str] = set()
        self._processes: dict[int, Process] = {}
        self._attempts: dict[int, Process] = {}  # trial -> the process of its open attempt
        self._idle: list[Process] = []
        self._ready: list[Event] = []
        self._starts: list[Event] = []
        self._alarms: list[tuple[float, int, Process, int, int]] = []
        self._numbers = count()
        self._surroundings: Surroundings | None = None
        self._stale = True
        self._info: dict[str, Any] = {}

    # -- the protocol ----------------------------------------------------------------------------------------------------

    def start(self, setup: ExecutorSetup) -> dict[str, float]:
        """Start the template; returns this machine's totals.

        Raises:
            ExecutorError: not on Linux; or Python can't be started.
            SerializationError: the trainable can't be sent to a worker.
        """
        if not sys.platform.startswith("linux"):
            raise ExecutorError(f"executor='local' runs on Linux; this is {sys.platform}. Use executor='inline' here.")
        if _imported_by_multiprocessing():
            raise ExecutorError(
                "an experiment was to start in a child process of multiprocessing that imports your script. Put what must run only once, "
                "such as tune.run, under: if __name__ == '__main__':"
            )
        cards = Cards.discover(nvml=self._nvml)
        totals = machine_totals(cards)
        if cards.count:
            self._leasing = Leasing(cards, self._run, totals, self.wake)
        self._setup = setup
        self._threads = max(1, int(setup.cpus))
        self._info = {"hostname": socket.gethostname(), "node_ip": "127.0.0.1"}
        self._autopsy = Autopsy(setup.log_to_file)
        self._orders = Orders(setup.log_to_file, setup.chdir, setup.reuse is True, self._threads)
        self._parcel: Parcel = pack_trainable(setup.trainable)
        self._wakes = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wakes, selectors.EVENT_READ, self._woken)
        self._begin_template()
        return totals

    def launch(self, assignment: Assignment) -> None:
        """Give it to a worker that is free and clean, or have a new one forked."""
        try:
            config = pack_config(assignment.config)
            if len(config) > LIMIT // 2:
                raise UserCodeError(
                    f"the configuration of trial {assignment.trial_id} has {len(config):,} bytes when pickled, more than {LIMIT // 2:,}. "
                    f"Hand large data to all trials once: tune.with_parameters(train, data=data)."
                )
        except Exception as error:
            self._ready.append(AttemptEnded(assignment.trial, assignment.attempt, "user_error", describe(error)))
            return
        process = self._reusable(assignment)
        if process is None and self._dismiss_holders(assignment):
            self._blocked.append((assignment, config))
        else:
            self._assign(process or self._new(), assignment, config)

    def _assign(self, process: Process, assignment: Assignment, config: bytes) -> None:
        if self._leasing is not None and assignment.gpus and not process.pid:
            self._leasing.lease(process.number, assignment)
        self._attempts[assignment.trial] = process
        process.launch(assignment, config, self._present(), self._variables(assignment))
        if process.pid:
            self._tell_start(process)
        else:
            self._alarm(process, _BORN_S, 0)

    def answer(self, trial: int, attempt: int, action: str, *, mode: str = "", save: bool = False) -> None:
        """Send the decision; a warm pause is an answer that does not come yet."""
        process = self._attempts.get(trial)
        if process is None or not process.runs(attempt) or (action == PAUSE and mode == "warm"):
            if process is None and action != CONTINUE:
                self._withdraw(trial, attempt, "stopped")
            return
        asked = process.asked
        process.asked = False
        process.send(Kind.ANSWER, trial, attempt, action, mode, save)
        if action == CONTINUE:
            return
        assert self._setup is not None
        process.save_due = (save or mode == "cold") and self._setup.trainable.kind == "class"
        if not asked:
            process.told_to_end = True
        elif not process.save_due:
            self._unwinding(process)

    def save(self, trial: int, attempt: int) -> None:
        """A class saves itself when the report at which it is (or the next) is answered."""
        process = self._attempts.get(trial)
        if process is not None and process.runs(attempt):
            process.send(Kind.SAVE, trial, attempt)

    def kill(self, trial: int, attempt: int, outcome: str) -> None:
        """SIGTERM now, which unwinds Python code; SIGKILL to the process group after the grace."""
        process = self._attempts.get(trial)
        if process is not None and process.runs(attempt) and not process.doom:
            assert self._setup is not None
            process.doom = outcome
            process.signal(signal.SIGTERM)
            self._alarm(process, self._setup.grace_s, signal.SIGKILL)
        elif process is None:
            self._withdraw(trial, attempt, outcome)

    def poll(self, timeout: float | None) -> list[Event]:
        """Wait for what workers and the template have to tell."""
        self._stale = True
        if self._ready:
            timeout = 0.0
        elif self._starts:
            timeout = _LINGER_S if timeout is None else min(timeout, _LINGER_S)
        if self._alarms:
            left = max(0.0, self._alarms[0][0] - time.monotonic())
            timeout = left if timeout is None else min(timeout, left)
        if self._leasing is not None and (left_over := self._leasing.patience()) is not None:
            timeout = left_over if timeout is None else min(timeout, left_over)
        for key, mask in self._selector.select(timeout):
            key.data(mask)
        if self._alarms:
            self._ring()
        if self._leasing is not None:
            self._ready += self._leasing.collect()
        events, self._starts, self._ready = self._starts + self._ready, [], []
        return events

    def wake(self) -> None:
        """Make a waiting ``poll`` return."""
        if self._wakes >= 0:
            os.eventfd_write(self._wakes, 1)

    def close(self) -> None:
        """Idle workers may leave by themselves; all others are killed."""
        for process in self._idle:
            process.send(Kind.EXIT)
        waiting = {process.number for process in self._idle}
        deadline = time.monotonic() + _AFTER_TERM_S
        while waiting & self._processes.keys() and time.monotonic() < deadline:
            for key, mask in self._selector.select(max(0.0, deadline - time.monotonic())):
                key.data(mask)
        for forker in self._forkers:
            forker.close()
        for process in self._processes.values():
            process.close(self._selector)
        self._forkers, self._processes, self._attempts, self._idle = [], {}, {}, []
        self._ready, self._starts, self._alarms, self._blocked = [], [], [], []
        if self._leasing is not None:
            self._leasing.close()
            self._leasing = None
        if self._wakes >= 0:
            handle, self._wakes = self._wakes, -1
            os.close(handle)
            self._selector.close()

    # -- workers ---------------------------------------------------------------------------------------------------------

    def _new(self) -> Process:
        process = Process(next(self._numbers), self._forkers[-1], self._selector, self._heard)
        self._processes[process.number] = process
        return process

    def _reusable(self, assignment: Assignment) -> Process | None:
        if assignment.gpus:
            found = next((process for process in self._idle if process.gpus == assignment.gpus), None)
        else:
            found = next((process for process in reversed(self._idle) if not process.gpus), None)
        if found is not None:
            self._idle.remove(found)
        return found

    def _dismiss_holders(self, assignment: Assignment) -> bool:
        """Whether idle workers hold some of the cards; they are sent away."""
        wanted = {card for card, _ in assignment.gpus}
        assert self._setup is not None
        for process in [process for process in self._idle if wanted & process.cards]:
            self._idle.remove(process)
            process.send(Kind.EXIT)
            self._alarm(process, self._setup.grace_s, signal.SIGKILL)
        return self._held(assignment)

    def _held(self, assignment: Assignment) -> bool:
        """Whether a worker that was sent away, or what is left of it, is still on the cards."""
        wanted = {card for card, _ in assignment.gpus}
        leaving = [process for process in self._processes.values() if process.assignment is None] if wanted else []
        return any(wanted & process.cards for process in [*leaving, *self._clearing.values()])

    def _withdraw(self, trial: int, attempt: int, outcome: str) -> None:
        for waiting in self._blocked:
            if (waiting[0].trial, waiting[0].attempt) == (trial, attempt):
                self._blocked.remove(waiting)
                self._ready.append(AttemptEnded(trial, attempt, outcome))
                return

    def _present(self) -> Surroundings:
        """The driver's surroundings, looked up once per turn."""
        if self._stale:
            self._surroundings = Surroundings.present(self._surroundings)
            self._stale = False
        assert self._surroundings is not None
        return self._surroundings

    def _variables(self, assignment: Assignment) -> dict[str, str | None]:
        """The environment variables of this trial's own."""
        threads = max(1, int(assignment.resources.get("cpu", 1)))
        variables: dict[str, str | None] = dict(thread_variables(threads, self._present().environment))
        visible = self._leasing.cards.visible(assignment.gpus) if self._leasing is not None else None
        if visible is not None:
            variables["CUDA_VISIBLE_DEVICES"] = visible
        return variables

    def _tell_start(self, process: Process) -> None:
        assignment = process.assignment
        assert assignment is not None
        self._starts.append(AttemptStarted(assignment.trial, assignment.attempt, {"pid": process.pid, **self._info}))

    # -- what a worker tells ---------------------------------------------------------------------------------------------

    def _heard(self, process: Process) -> None:
        process.unread += process.receive()
        if not process.pid:
            return  # it is quicker than the template's word that it was born, which comes first in its story
        messages, process.unread = process.unread, []
        for kind, fields in messages:
            if kind is Kind.REPORT:
                self._ready.append(reported(fields))
                process.asked = not process.told_to_end
                if process.told_to_end and not process.save_due:
                    self._unwinding(process)
                process.told_to_end = False
            elif kind is Kind.SAVED:
                self._ready.append(saved(fields))
                if process.save_due:
                    process.save_due = False
                    self._unwinding(process)
            elif kind is Kind.ENDED:
                self._ended(process, fields)

    def _ended(self, process: Process, fields: tuple[Any, ...]) -> None:
        assert self._setup is not None
        event = ended(fields)
        blob, spent, imported = fields[4:]
        self.last_error = self._autopsy.exception(blob)
        if self.last_error is not None and event.error and event.error.get("traceback"):
            self.last_error.add_note(f"In the trial's process:\n{event.error['traceback']}")
        self._judge(process, event)
        self._learn(imported)
        reuse = self._setup.reuse
        clean = event.outcome == "finished" and not spent and not process.gpus and self._setup.trainable.kind == "function"
        if process.forker is self._forkers[-1] and (
            clean if reuse is None else reuse and not process.doom and event.outcome in ("finished", "stopped")
        ):
            self._attempts.pop(event.trial)
            process.rest(forget=bool(spent))
            self._idle.append(process)
            self._ready.append(event)
        else:
            process.ended = event
            process.send(Kind.EXIT)
            self._alarm(process, self._setup.grace_s, signal.SIGKILL)

    def _learn(self, names: list[str]) -> None:
        """What a trial had to import is there from the start for those to come."""
        fresh = [name for name in names if name not in self._learned and name.partition(".")[0] not in self._excluded]
        if fresh:
            self._learned.update(fresh)
            self._forkers[-1].preload(fresh)

    # -- what the template tells -----------------------------------------------------------------------------------------

    def _begin_template(self) -> None:
        forker = Forker(self._parcel, self._orders, self._excluded, self._run)
        if self._leasing is not None:
            self._leasing.spare(forker.pid)
        forker.preload(self._learned)
        self._forkers.append(forker)
        forker.watch(self._selector, self._told, self._bereaved)

    def _told(self, forker: Forker) -> None:
        for kind, fields in forker.receive():
            if kind is Kind.SPOILED:
                self._replace(forker, *fields)
                continue
            process = self._processes.get(fields[0])
            if process is None:
                continue
            if kind is Kind.FORKED:
                self._forked(process, fields[1])
            elif kind is Kind.EXITED:
                self._exited(process, fields[1])
            elif kind is Kind.UNFORKED:
                self._unforked(process, fields[1])
        if forker.forked_any:
            self._barren = 0
        if forker.replaced and not any(process.forker is forker for process in self._processes.values()):
            self._forkers.remove(forker)
            forker.close()

    def _forked(self, process: Process, pid: int) -> None:
        process.pid = pid
        if self._leasing is not None and process.gpus:
            self._leasing.join(process.number, pid)
        if process.assignment is not None and process.ended is None:
            self._tell_start(process)
        if process.doom:  # there is nothing to unwind yet
            process.signal(signal.SIGKILL)
        self._heard(process)

    def _unforked(self, process: Process, why: str) -> None:
        if not why:  # this template is not to be forked any more
            assert process.forker is not self._forkers[-1]
            process.move(self._forkers[-1])
            return
        self._gone(process, lambda one: self._autopsy.unborn(one, why))

    def _exited(self, process: Process, status: int) -> None:
        self._gone(process, lambda one: self._autopsy.died(one, process.pid, status))

    def _gone(self, process: Process, verdict: Callable[[Assignment], AttemptEnded]) -> None:
        """The process is no more, nor is anything that it started."""
        self._heard(process)  # what it had sent before
        process.close(self._selector)
        del self._processes[process.number]
        if process in self._idle:
            self._idle.remove(process)
        events: list[Event] = []
        assignment = process.assignment
        if assignment is not None:
            event = process.ended or verdict(assignment)
            self._judge(process, event)
            self._attempts.pop(assignment.trial, None)
            events.append(event)
        if self._leasing is None or not process.gpus:
            self._ready += events
            return
        self._clearing[process.number] = process
        self._leasing.clear(process.number, lambda: self._cleared(process, events))

    def _cleared(self, process: Process, events: list[Event]) -> list[Event]:
        """Its cards are free for others now."""
        del self._clearing[process.number]
        blocked, self._blocked = self._blocked, []
        for assignment, config in blocked:
            if self._held(assignment):
                self._blocked.append((assignment, config))
            else:
                self._assign(self._new(), assignment, config)
        return events

    def _judge(self, process: Process, event: AttemptEnded) -> None:
        """An end that was decided from here has the outcome that it was decided for."""
        if process.doom:
            event.outcome = process.doom
            if event.error is not None and event.error["type"] == "SIGKILL":
                event.error["message"] = f"its process {process.pid} did not end when told to, and was killed (it blocked in C code?)"
        elif process.leaving and event.outcome == "worker_lost":
            event.outcome, event.error = "stopped", None

    def _replace(self, forker: Forker, module: str, why: str) -> None:
        """Importing a module made the template unfit: another one does without."""
        _log.info("%s is not imported ahead for trials: %s.", module, why)
        self._excluded.add(module)
        forker.replaced = True
        for process in self._idle:
            process.send(Kind.EXIT)
        self._idle = []
        self._begin_template()

    def _bereaved(self, forker: Forker) -> None:
        """The template has died. Its workers did, too."""
        if forker in self._forkers:
            self._told(forker)  # what it had told before
        if forker not in self._forkers:
            return
        status = forker.bury()
        self._forkers.remove(forker)
        if not self._forkers:
            self._blame(forker, status)
            self._begin_template()
        for process in [process for process in self._processes.values() if process.forker is forker]:
            if process.pid:
                self._gone(process, self._autopsy.orphaned)
            else:
                process.move(self._forkers[-1])

    def _blame(self, forker: Forker, status: int) -> None:
        """A package whose import ends the template is left out; one that ends before it has done anything may do so once."""
        if forker.importing:
            _log.info("%s is not imported ahead for trials: the import ended the process (status %d).", forker.importing, status)
            self._excluded.add(forker.importing)
        elif not forker.forked_any:
            self._barren += 1
            if self._barren > 1:
                how = f"exit code {status}" if status >= 0 else signal.Signals(-status).name
                raise ExecutorError(
                    f"the process that trials are forked from ends as soon as it is started ({sys.executable}: {how}); see what it printed "
                    f"above. Until it can start, use executor='inline'."
                )

    # -- time ------------------------------------------------------------------------------------------------------------

    def _unwinding(self, process: Process) -> None:
        """It has been told to end, and was at a report: it has the grace for its ``finally`` blocks."""
        assert self._setup is not None
        process.leaving = True
        self._alarm(process, self._setup.grace_s, signal.SIGTERM)
        self._alarm(process, self._setup.grace_s + _AFTER_TERM_S, signal.SIGKILL)

    def _alarm(self, process: Process, seconds: float, what: int) -> None:
        heapq.heappush(self._alarms, (time.monotonic() + seconds, next(self._numbers), process, process.launches, what))

    def _ring(self) -> None:
        now = time.monotonic()
        while self._alarms and self._alarms[0][0] <= now:
            _, _, process, launches, what = heapq.heappop(self._alarms)
            if process.number in self._processes and process.launches == launches and process not in self._idle:
                if what:
                    if process.ended is not None and process.assignment is not None and what == signal.SIGKILL:
                        name = process.assignment.trial_id
                        _log.warning("Trial %s is over, but its process did not end (a thread of its own ran on?), and was killed.", name)
                    process.signal(what)
                elif not process.pid:
                    self._alarm(process, _BORN_S, 0)
                    if process.forker.importing:
                        process.forker.kill()  # the next one does without

    def _woken(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wakes)


def _imported_by_multiprocessing() -> bool:
    """Whether this is a child that multiprocessing has spawned, while it imports the script of its parent."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and getattr(module.current_process(), "_inheriting", False)

"""The local executor: every trial in a process of its own on this machine, forked in milliseconds from a template.

One thread, one selector. A worker has a socket of its own; what it reports comes over it, but that it has *ended*, and how, comes from
the template, which is its parent: a child process that a trial leaves behind may hold the socket open for ever.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from typing import Any

from tunesmith.core.events import AttemptEnded, AttemptStarted, CapacityChanged, Event
from tunesmith.executors.alarms import Alarms
from tunesmith.executors.base import CONTINUE, PAUSE, Assignment, ExecutorCapabilities, ExecutorSetup
from tunesmith.executors.child import Orders
from tunesmith.executors.deaths import Autopsy
from tunesmith.executors.endings import Endings
from tunesmith.executors.gpus import Cards
from tunesmith.executors.interpreter import Interpreter
from tunesmith.executors.kept_errors import KeptErrors
from tunesmith.executors.leasing import Leasing
from tunesmith.executors.machine import machine_totals
from tunesmith.executors.nursery import Nursery
from tunesmith.executors.nvml import Nvml
from tunesmith.executors.process import Process
from tunesmith.executors.surroundings import Present, hold_standard_descriptors, refuse_elsewhere, thread_variables
from tunesmith.executors.talk import Talk
from tunesmith.executors.tenants import Tenants
from tunesmith.executors.warmth import WarmRoom
from tunesmith.executors.wire import Kind
from tunesmith.trainable.parcel import pack_trainable

__all__ = ["LocalExecutor"]

_LINGER_S = 0.005
"""The news that an attempt has started waits so long for its first report: one turn of the loop instead of two."""
_LEAVE_S = 1.0
"""Idle workers have so long to leave by themselves when all is over."""


class LocalExecutor:
    """Runs each attempt in a worker process; see the module.

    Args:
        nvml: whom to ask about GPUs; None: the driver of the cards, if there is one.

    Example:
        >>> LocalExecutor().capabilities.kill
        True
    """

    capabilities = ExecutorCapabilities(name="local", warm_pause=True, kill=True, isolated=True, max_ram=True)

    def __init__(self, nvml: Nvml | None = None) -> None:
        hold_standard_descriptors()  # here: before the journal is opened
        self._setup: ExecutorSetup | None = None
        self._selector = selectors.DefaultSelector()
        self._wakes = -1
        self._nvml = nvml
        self._leasing: Leasing | None = None
        self._tenants = Tenants()
        self._nursery: Nursery | None = None
        self._attempts: dict[int, Process] = {}  # trial -> the process of its open attempt
        self._idle: list[Process] = []
        self._ahead: Process | None = None  # forked for the next attempt that needs a fresh one
        self._fresh = False  # attempts do: so far none could take over another's worker
        self._ready: list[Event] = []
        self._starts: list[Event] = []
        self._alarms = Alarms()
        self._errors = KeptErrors()
        self._surroundings = Present()
        self._info: dict[str, Any] = {}
        self._totals: dict[str, float] = {}
        self._room: WarmRoom | None = None

    # -- the protocol ----------------------------------------------------------------------------------------------------

    def start(self, setup: ExecutorSetup) -> dict[str, float]:
        """Start the template; returns this machine's totals.

        Raises:
            ExecutorError: not on Linux; or Python can't be started.
            SerializationError: the trainable can't be sent to a worker.
        """
        refuse_elsewhere()
        cards = Cards.discover(nvml=self._nvml)
        totals = self._totals = machine_totals(cards)
        parcel = pack_trainable(setup.trainable)
        interpreter = Interpreter.take()
        if cards.count:
            self._leasing = Leasing(cards, interpreter.run, totals, self.wake)
        self._setup = setup
        self._info = {"hostname": socket.gethostname(), "node_ip": "127.0.0.1"}
        self._errors = KeptErrors(setup.keep_errors)
        self._autopsy = Autopsy(setup.log_to_file)
        orders = Orders(setup.log_to_file, setup.chdir, setup.reuse is True, max(1, int(setup.cpus)), setup.keep_errors, setup.min_free)
        self._wakes = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wakes, selectors.EVENT_READ, self._woken)
        self._nursery = Nursery(
            self._selector, parcel, orders,
            heard=self._heard, born=self._born, gone=self._gone, begun=self._spare, first=interpreter,
        )  # fmt: skip
        self._endings = Endings(self._nursery, self._alarms, setup, self._autopsy, self.wake)
        self._talk = Talk(setup.trainable, self._endings, self._errors, self._autopsy)
        self._room = WarmRoom(self.wake) if setup.warm else None
        return totals

    def launch(self, assignment: Assignment) -> None:
        """Give it to a worker that is free and clean, or have a new one forked."""
        config = self._talk.packed(assignment)
        if isinstance(config, AttemptEnded):
            self._ready.append(config)
            return
        process = self._reusable(assignment)
        if process is None and self._dismiss_holders(assignment):
            self._tenants.wait(assignment, config)
        else:
            self._assign(process, assignment, config)

    def _assign(self, process: Process | None, assignment: Assignment, config: bytes) -> None:
        if process is None:
            process = self._new()
            if self._leasing is not None and assignment.gpus:
                self._leasing.lease(process.number, assignment)
                if process.pid:
                    self._leasing.join(process.number, process.pid)
        self._attempts[assignment.trial] = process
        process.launch(assignment, config, self._surroundings.look(), self._variables(assignment))
        if process.pid:
            self._begin(process)
        else:
            self._endings.expect_birth(process)

    def answer(self, trial: int, attempt: int, action: str, *, mode: str = "", save: bool = False) -> None:
        """Send the decision; a warm pause is an answer that does not come yet."""
        process = self._attempts.get(trial)
        if process is None or not process.runs(attempt) or (action == PAUSE and mode == "warm"):
            if process is None and action != CONTINUE:
                self._withdraw(trial, attempt, "stopped")
            return
        self._talk.answer(process, trial, attempt, action, mode, save)

    def save(self, trial: int, attempt: int) -> None:
        """A class saves itself when the report at which it is (or the next) is answered."""
        process = self._attempts.get(trial)
        if process is not None and process.runs(attempt):
            process.send(Kind.SAVE, trial, attempt)

    def kill(self, trial: int, attempt: int, outcome: str) -> None:
        """A signal now, which unwinds Python code; an end by force, with all that the trial has started, after the grace."""
        process = self._attempts.get(trial)
        if process is not None and process.runs(attempt):
            self._endings.kill(process, outcome)
        elif process is None:
            self._withdraw(trial, attempt, outcome)

    def poll(self, timeout: float | None) -> list[Event]:
        """Wait for what workers and the template have to tell."""
        self._surroundings.outdate()
        if self._ready:
            timeout = 0.0
        elif self._starts:
            timeout = _LINGER_S if timeout is None else min(timeout, _LINGER_S)
        timeout = self._alarms.patience(timeout)
        if self._leasing is not None and (left_over := self._leasing.patience()) is not None:
            timeout = left_over if timeout is None else min(timeout, left_over)
        for key, mask in self._selector.select(timeout):
            key.data(mask)
        self._alarms.ring()
        self._endings.look()
        if self._leasing is not None:
            self._ready += self._leasing.collect()
        self._tell_room()
        events, self._starts, self._ready = self._starts + self._ready, [], []
        return events

    def wake(self) -> None:
        """Make a waiting ``poll`` return."""
        if self._wakes >= 0:
            os.eventfd_write(self._wakes, 1)

    def error_of(self, trial: int) -> BaseException | None:
        """The exception of its newest failed attempt; the traceback, which does not travel, is told in a note."""
        return self._errors.of(trial)

    def close(self) -> None:
        """Idle workers may leave by themselves; all others are killed. Idempotent."""
        nursery = self._nursery
        if nursery is not None:
            self._endings.close()
            waiting = [process for process in nursery.processes.values() if process.idle and process.launches]
            for process in waiting:
                process.dismiss()
            deadline = time.monotonic() + _LEAVE_S
            while not all(process.gone for process in waiting) and (left := deadline - time.monotonic()) > 0:
                for key, mask in self._selector.select(left):
                    key.data(mask)
            nursery.close()
            self._nursery = None  # not before: those that run on are still heard
        if self._room is not None:
            self._room.close()
            self._room = None
        if self._leasing is not None:
            self._leasing.close()
            self._leasing = None
        self._attempts, self._idle, self._ready, self._starts, self._ahead = {}, [], [], [], None
        self._tenants.clear()
        self._alarms.clear()
        if self._wakes >= 0:
            handle, self._wakes = self._wakes, -1
            os.close(handle)
            self._selector.close()

    # -- workers ---------------------------------------------------------------------------------------------------------

    def _reusable(self, assignment: Assignment) -> Process | None:
        """The idle worker that was busy last; one with cards only for the very same cards."""
        self._idle = [process for process in self._idle if process.idle]
        found = next((process for process in reversed(self._idle) if process.gpus == assignment.gpus), None)
        if found is not None:
            self._idle.remove(found)
        return found

    def _new(self) -> Process:
        """A process that has not run anything yet. Where every attempt needs one, the next is forked while this one works."""
        assert self._nursery is not None, "start() comes first"
        process, self._ahead = self._ahead, None
        if process is None or not process.idle or not self._nursery.is_current(process):
            process = self._nursery.make()
        if self._fresh:
            self._ahead = self._nursery.make()
        return process

    def _dismiss_holders(self, assignment: Assignment) -> bool:
        """Send idle workers away that hold some of the cards. Returns whether any that was sent away still does."""
        wanted = {card for card, _ in assignment.gpus}
        assert self._nursery is not None
        for process in self._idle:
            if wanted & process.cards:
                process.dismiss()
                self._endings.expect(process)
        return self._tenants.held(assignment, self._nursery.processes.values())

    def _withdraw(self, trial: int, attempt: int, outcome: str) -> None:
        if self._tenants.withdraw(trial, attempt):
            self._ready.append(AttemptEnded(trial, attempt, outcome))

    def _variables(self, assignment: Assignment) -> dict[str, str | None]:
        """The environment variables of this trial's own."""
        threads = max(1, int(assignment.resources.get("cpu", 1)))
        variables: dict[str, str | None] = dict(thread_variables(threads, self._surroundings.look().environment))
        visible = self._leasing.cards.visible(assignment.gpus) if self._leasing is not None else None
        if visible is not None:
            variables["CUDA_VISIBLE_DEVICES"] = visible
        return variables

    def _begin(self, process: Process) -> None:
        """Its attempt begins: it has been forked."""
        assignment = process.assignment
        assert assignment is not None
        self._endings.begin(process)
        self._starts.append(AttemptStarted(assignment.trial, assignment.attempt, {"pid": process.pid, **self._info}))

    # -- what a worker tells ---------------------------------------------------------------------------------------------

    def _heard(self, process: Process) -> None:
        process.unread += process.receive()
        if not process.pid:
            return  # it is quicker than the template's word that it was born, which comes first in its story
        messages, process.unread = process.unread, []
        for kind, fields in messages:
            if kind is Kind.ENDED:
                self._ended(process, fields)
                continue
            if kind is Kind.REPORT and self._room is not None and not self._room.done:
                self._room.look(fields[0], process.pid)
                self._tell_room()  # before it is decided whether it is to be held
            self._ready.append(self._talk.heard(process, kind, fields))

    def _tell_room(self) -> None:
        if self._room is not None and (warm := self._room.news()) is not None:
            out = self._leasing.out if self._leasing is not None else ()
            self._ready.append(CapacityChanged(dict(self._totals), out=out, warm=warm))

    def _ended(self, process: Process, fields: tuple[Any, ...]) -> None:
        assert self._setup is not None
        event, spent, imported = self._talk.ended(process, fields)
        assert self._nursery is not None
        if self._nursery.learn(imported) and self._ahead is not None:
            self._ahead.dismiss()  # the next one has them
            self._ahead = None
        reuse = self._setup.reuse
        clean = event.outcome == "finished" and not spent and not process.gpus and self._setup.trainable.kind == "function"
        again = clean if reuse is None else reuse and event.outcome in ("finished", "stopped")
        if again and self._nursery.is_current(process) and not process.signalled:
            self._attempts.pop(event.trial)
            self._endings.over(process)
            process.rest(forget=bool(spent))
            self._idle.append(process)
            self._ready.append(event)
            self._fresh = False
        else:
            self._fresh = event.outcome in ("finished", "stopped")
            process.ended = event
            process.send(Kind.EXIT)
            self._endings.expect(process)

    # -- what the nursery tells ------------------------------------------------------------------------------------------

    def _born(self, process: Process) -> None:
        if self._leasing is not None and process.gpus:
            self._leasing.join(process.number, process.pid)
        if process.assignment is not None:
            self._begin(process)
        if process.doom:  # there is nothing to unwind yet
            process.signal(signal.SIGKILL)
        self._heard(process)

    def _gone(self, process: Process, how: str, detail: Any) -> None:
        events: list[Event] = []
        assignment = process.assignment
        self._endings.over(process)
        if assignment is not None:
            event = process.ended or self._autopsy.verdict(assignment, process.pid, how, detail, process.dump_at)
            self._endings.judge(process, event)
            if process.ended is None:
                self._errors.heard(event)
            self._attempts.pop(assignment.trial, None)
            events.append(event)
        if self._leasing is None or not process.gpus:
            self._ready += events
            return
        self._tenants.leave(process)
        self._leasing.clear(process.number, lambda: self._cleared(process, events))

    def _cleared(self, process: Process, events: list[Event]) -> list[Event]:
        """Its cards are free for others now."""
        if self._nursery is not None:
            for assignment, config in self._tenants.cleared(process, self._nursery.processes.values()):
                self._assign(None, assignment, config)
        return events

    def _spare(self, template: int) -> None:
        if self._leasing is not None:
            self._leasing.spare(template)

    def _woken(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wakes)

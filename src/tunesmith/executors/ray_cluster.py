"""The Ray executor: every trial in an actor of a Ray cluster.

Ray places the actors and looks after their lives; what they say goes by our own lines.

One thread, one selector. Attempts wait for a worker of their kind (what they ask for), and workers for room in the cluster; whichever
worker comes first gets the attempt that has waited longest. So the cluster may grow or shrink, and others may use it, without anybody being
stuck.
"""

from __future__ import annotations

import selectors
import socket
import time
from functools import partial
from typing import Any

from tunesmith.core.events import AttemptEnded, AttemptStarted, Event
from tunesmith.executors.alarms import Alarms
from tunesmith.executors.base import CONTINUE, PAUSE, Assignment, ExecutorCapabilities, ExecutorSetup
from tunesmith.executors.endings import Endings
from tunesmith.executors.kept_errors import KeptErrors
from tunesmith.executors.ray_crew import Crew
from tunesmith.executors.ray_deaths import RayAutopsy
from tunesmith.executors.ray_hand import Hand
from tunesmith.executors.ray_maker import Maker
from tunesmith.executors.ray_places import key_of
from tunesmith.executors.ray_session import RaySession
from tunesmith.executors.ray_surroundings import HOST
from tunesmith.executors.surroundings import Present, thread_variables
from tunesmith.executors.talk import Talk
from tunesmith.executors.wire import Kind

__all__ = ["RayExecutor"]

_LINGER_S = 0.005
"""The news that an attempt has started waits so long for its first report: one turn of the loop instead of two."""
_LEAVE_S = 1.0
"""Idle workers have so long to leave by themselves when all is over."""


class RayExecutor:
    """Runs each attempt in an actor; see the module.

    Args:
        address: of the cluster, as for ``ray.init``: ``"auto"``, ``"10.0.0.1:6379"``, or None: the one that this process is connected to,
            or that the environment's ``RAY_ADDRESS`` names, or that runs on this machine, or else one is started for the time of the run.
        runtime_env: a runtime environment of Ray's for the workers.
        direct: workers connect to this process (TCP, to a port that is chosen here, with a secret of the run); where they cannot, and with
            False always, they talk to it by calls of an actor, which take some milliseconds each.
        ship: workers write no file where this process does, even if they see its disk: checkpoints and logs are sent to it. They are
            anyway by workers that do not see it.

    Raises:
        SpecError: Ray is not installed; the address is one of Ray's client (``ray://``); ``runtime_env`` is no dict.

    Example:
        >>> RayExecutor(direct=False).capabilities.growing
        True
    """

    capabilities = ExecutorCapabilities(name="ray", warm_pause=True, kill=True, growing=True, isolated=True, places=True)

    def __init__(
        self, address: str | None = None, runtime_env: dict[str, Any] | None = None, direct: bool = True, ship: bool = False
    ) -> None:
        self._ray = RaySession(address, runtime_env)
        self._direct = direct
        self._ship = ship
        self._setup: ExecutorSetup | None = None
        self._selector = selectors.DefaultSelector()
        self._crew: Crew | None = None
        self._attempts: dict[int, Hand] = {}  # trial -> the worker of its open attempt
        self._ready: list[Event] = []
        self._starts: list[Event] = []
        self._fresh = False  # attempts need processes of their own
        self._alarms = Alarms()
        self._errors = KeptErrors()
        self._surroundings = Present()

    # -- the protocol ----------------------------------------------------------------------------------------------------

    def start(self, setup: ExecutorSetup) -> dict[str, float]:
        """Connect to Ray if nobody has; returns the cluster's totals.

        Raises:
            ExecutorError: there is no such cluster, or this process is connected to one as a client.
            SerializationError: the trainable can't be sent to a worker.
        """
        ray = self._ray.connect()
        self._setup = setup
        self._fresh = setup.reuse is False or (setup.reuse is None and setup.trainable.kind == "class")
        self._errors = KeptErrors(setup.keep_errors)
        self._autopsy = RayAutopsy(setup.log_to_file)
        make = partial(
            Maker, ray, self._selector, setup, self._ray.runtime_env, direct=self._direct, ship=self._ship, heard=self._heard
        )
        self._crew = Crew(ray, self._alarms, setup, make, begun=self._begin, lost=self._lost, news=self._ready.append)
        self._endings = Endings(self._crew, self._alarms, setup, self._autopsy, self.wake)
        self._talk = Talk(setup.trainable, self._endings, self._errors, self._autopsy)
        return dict(self._crew.totals)

    def launch(self, assignment: Assignment) -> None:
        """Give it to a worker that is free and of its kind, or have it wait for the next."""
        assert self._crew is not None, "start() comes first"
        config = self._talk.packed(assignment)
        if isinstance(config, AttemptEnded):
            self._ready.append(config)
            return
        self._crew.launch(key_of(assignment.resources, assignment.bundles, assignment.strategy), assignment, config)

    def answer(self, trial: int, attempt: int, action: str, *, mode: str = "", save: bool = False) -> None:
        """Send the decision; a warm pause is an answer that does not come yet, and others may have the place meanwhile."""
        hand = self._attempts.get(trial)
        if hand is None or not hand.runs(attempt):
            if hand is None and action != CONTINUE:
                self._withdraw(trial, attempt, "stopped")
            return
        assert self._setup is not None and self._crew is not None
        if action == PAUSE and mode == "warm":
            self._crew.hold(hand)
            return
        self._crew.go_on(hand)
        self._talk.answer(hand, trial, attempt, action, mode, save)

    def save(self, trial: int, attempt: int) -> None:
        """A class saves itself when the report at which it is (or the next) is answered."""
        hand = self._attempts.get(trial)
        if hand is not None and hand.runs(attempt):
            hand.send(Kind.SAVE, trial, attempt)

    def kill(self, trial: int, attempt: int, outcome: str) -> None:
        """A signal now, which unwinds Python code; an end by force after the grace."""
        hand = self._attempts.get(trial)
        if hand is not None and hand.runs(attempt):
            self._endings.kill(hand, outcome)
        elif hand is None:
            self._withdraw(trial, attempt, outcome)

    def poll(self, timeout: float | None) -> list[Event]:
        """Wait for what workers and Ray have to tell."""
        assert self._crew is not None, "start() comes first"
        self._surroundings.outdate()
        self._crew.share()
        if self._ready:
            timeout = 0.0
        elif self._starts:
            timeout = _LINGER_S if timeout is None else min(timeout, _LINGER_S)
        for key, mask in self._selector.select(self._crew.patience(self._alarms.patience(timeout))):
            key.data(mask)
        self._crew.turn()
        self._alarms.ring()
        events = self._starts + self._ready
        self._starts.clear()
        self._ready.clear()
        return events

    def wake(self) -> None:
        """Make a waiting ``poll`` return."""
        if self._crew is not None:
            self._crew.maker.mail.ring()

    def error_of(self, trial: int) -> BaseException | None:
        """The exception of its newest failed attempt; the traceback, which does not travel, is told in a note."""
        return self._errors.of(trial)

    def close(self) -> None:
        """Idle workers may leave by themselves; all others are killed. Idempotent."""
        crew, self._crew = self._crew, None
        if crew is None:
            return
        self._endings.close()
        waiting = [hand for hand in crew.processes.values() if hand.idle and hand.pid]
        for hand in waiting:
            hand.dismiss()
        deadline = time.monotonic() + _LEAVE_S
        while not all(hand.gone for hand in waiting) and (left := deadline - time.monotonic()) > 0:
            for key, mask in self._selector.select(left):
                key.data(mask)
            crew.maker.mail.deliver()
        crew.close()
        self._attempts, self._ready, self._starts = {}, [], []
        self._alarms.clear()
        self._selector.close()
        self._ray.close()

    # -- what the crew tells ---------------------------------------------------------------------------------------------

    def _withdraw(self, trial: int, attempt: int, outcome: str) -> None:
        assert self._crew is not None
        if self._crew.withdraw(trial, attempt):
            self._ready.append(AttemptEnded(trial, attempt, outcome))

    def _begin(self, hand: Hand, assignment: Assignment, config: bytes) -> None:
        """There is a worker for the attempt."""
        self._attempts[assignment.trial] = hand
        hand.launch(assignment, config, self._surroundings.look(), self._variables(assignment))
        self._starts.append(AttemptStarted(assignment.trial, assignment.attempt, dict(hand.info)))
        if self._fresh and self._crew is not None:
            self._crew.ahead(hand)

    def _variables(self, assignment: Assignment) -> dict[str, str | None]:
        """The environment variables of this trial's own."""
        cpus = assignment.bundles[0].get("cpu", 1) if assignment.bundles else assignment.resources.get("cpu", 1)
        variables: dict[str, str | None] = dict(thread_variables(max(1, int(cpus)), self._surroundings.look().environment))
        variables[HOST] = socket.gethostname()
        return variables

    def _heard(self, process: Hand, messages: list[tuple[Kind, tuple[Any, ...]]]) -> None:
        for kind, fields in messages:
            if kind is Kind.ENDED:
                self._ended(process, fields)
            else:
                self._ready.append(self._talk.heard(process, kind, fields))

    def _ended(self, hand: Hand, fields: tuple[Any, ...]) -> None:
        assert self._setup is not None and self._crew is not None
        event, spent, _ = self._talk.ended(hand, fields)
        self._attempts.pop(event.trial)
        self._endings.over(hand)
        self._ready.append(event)
        reuse = self._setup.reuse
        clean = event.outcome == "finished" and not spent and not hand.cards and self._setup.trainable.kind == "function"
        again = clean if reuse is None else reuse and event.outcome in ("finished", "stopped")
        self._fresh = not again and event.outcome in ("finished", "stopped")
        if again and not hand.signalled and not hand.mute:
            self._crew.rest(hand, forget=bool(spent))
        else:
            self._crew.leave(hand)
            self._endings.expect(hand)

    def _lost(self, hand: Hand, error: Exception, node: str) -> None:
        assignment = hand.assignment
        assert assignment is not None
        if hand.killed and not node:
            event = self._autopsy.killed(assignment, hand.pid, hand.dump_at)
        else:
            event = self._autopsy.lost(assignment, hand.pid, error, node)
        self._endings.over(hand)
        self._endings.judge(hand, event)
        self._errors.heard(event)
        self._attempts.pop(assignment.trial, None)
        self._ready.append(event)

"""The simulated executor: attempts play curves in virtual time. It is itself what moves the clock: ``poll`` goes to the next event.

Made for :func:`tunesmith.simulate`, which drives the same loop as any run with this executor's clock. Events of one instant come out of one
``poll``, in the order in which they were scheduled; a trial's next step is asked for only when it goes on.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any

from tunesmith.blame import describe, outcome_of
from tunesmith.core.events import AttemptEnded, AttemptStarted, CapacityChanged, CheckpointSaved, Event, Reported
from tunesmith.errors import ExecutorError, TuneError
from tunesmith.executors.base import CONTINUE, PAUSE, Assignment, ExecutorCapabilities, ExecutorSetup
from tunesmith.executors.fault_plan import Delays, FaultPlan, Faults
from tunesmith.executors.plays import End, Play, Source, Step
from tunesmith.executors.virtual import VirtualClock, VirtualStore, Workers
from tunesmith.trainable.metrics import Counters

__all__ = ["SimulatedExecutor"]

_REPEATED_S = 10.0
"""A message that comes twice comes again within so many seconds."""
_ANY = -1

Act = Callable[[Any, Any, list[Event]], None]


class _Attempt:
    """One attempt. ``flow`` goes up whenever what it had before it is no longer to happen."""

    __slots__ = (
        "chance", "config", "counters", "deaf", "flow", "held", "leaving", "memory", "number", "play", "save", "speed", "told", "trial",
        "waiting", "worker",
    )  # fmt: skip

    def __init__(self, assignment: Assignment, chance: random.Random | None) -> None:
        self.trial = assignment.trial
        self.number = assignment.attempt
        self.config = assignment.config
        self.counters = Counters(assignment.iteration, assignment.time_total)
        self.chance = chance
        self.play: Play | None = None
        self.memory: dict[str, Any] = {}
        self.worker = _ANY
        self.speed = 1.0
        self.flow = 0
        self.waiting = self.held = self.leaving = self.save = self.deaf = False
        self.told: tuple[str, str, bool] | None = None


class SimulatedExecutor:
    """Plays attempts on so many workers in virtual time.

    Args:
        source: what attempts play.
        totals: what there is to run on, e.g. ``{"cpu": 64.0}``; a worker that is lost takes one CPU away.
        delays, faults: see there; ``seed``: of the faults.
        speeds: how fast each worker is, > 0; those beyond the sequence have 1.
        pauses: "warm": a paused attempt stays where it is, without a worker; "cold": it can save when asked; "rerun": it can do neither.
        checkpoint_freq: a report brings a checkpoint every so many iterations; 0: none does.

    Attributes:
        clock: the time that it keeps; store: of its checkpoints.
        workers: who is on which; work_s: seconds of iterations that were reported.

    Example:
        >>> from tunesmith.simulation import FunctionSource
        >>> executor = SimulatedExecutor(FunctionSource(lambda config, iteration: ({"loss": 1 / iteration}, 60.0), 3), {"cpu": 1.0})
        >>> executor.launch(Assignment(0, 0, "0", "0", "demo", {}, ""))
        >>> [type(event).__name__ for event in executor.poll(None) + executor.poll(None)], executor.clock.now()
        (['AttemptStarted', 'Reported'], 60.0)
    """

    def __init__(
        self,
        source: Source,
        totals: Mapping[str, float],
        *,
        delays: Delays | None = None,
        faults: Faults | None = None,
        seed: int = 0,
        speeds: Sequence[float] = (),
        pauses: str = "warm",
        checkpoint_freq: int = 0,
    ) -> None:
        self.clock = VirtualClock()
        self.store = VirtualStore()
        self.work_s = 0.0
        self._source = source
        self._totals = dict(totals)
        self._delays = delays or Delays()
        self._faults = faults or Faults()
        self._plan = FaultPlan(self._faults, seed)
        self._speeds = speeds
        self._can_save = pauses != "rerun"
        self._every = checkpoint_freq
        self.capabilities = ExecutorCapabilities("simulated", warm_pause=pauses == "warm", kill=True, growing=self._faults.shrinks)
        self._heap: list[tuple[float, int, Act, Any, int, Any]] = []
        self._count = 0
        self._attempts: dict[int, _Attempt] = {}
        self._going: list[_Attempt] = []
        self.workers: Workers[_Attempt] = Workers(self.clock)
        for at, worker in self._faults.lost_at:
            self._push(at, self._lose_worker, None, _ANY, worker)

    # -- the protocol ----------------------------------------------------------------------------------------------------

    def start(self, setup: ExecutorSetup) -> dict[str, float]:
        """Get ready; returns the totals.

        Raises:
            ExecutorError: there is a trainable to run; this one runs none.
        """
        if setup.trainable is not None:
            raise ExecutorError("the simulated executor plays curves and runs no code: call tune.simulate(curves, ...), not tune.run.")
        return dict(self._totals)

    def launch(self, assignment: Assignment) -> None:
        """Give it a worker; it starts after the delays for that."""
        attempt = _Attempt(assignment, self._plan.of_attempt(assignment.trial, assignment.attempt))
        attempt.memory = self.store.load(assignment.checkpoint_id)
        self._attempts[attempt.trial] = attempt
        self._sit_down(attempt)
        delay = self._delays.start + (self._delays.load if assignment.checkpoint_id is not None else 0.0)
        self._push(self.clock.now() + delay, self._begin, attempt, 0, None)
        if attempt.chance is not None and self._faults.lost_every_s is not None:
            life = attempt.chance.expovariate(1.0 / self._faults.lost_every_s)
            self._push(self.clock.now() + life, self._lose_attempt, attempt, _ANY, None)

    def answer(self, trial: int, attempt: int, action: str, *, mode: str = "", save: bool = False) -> None:
        """The decision on a report, or one that is obeyed at the next; a held attempt goes on or ends at once."""
        one = self._attempts.get(trial)
        if one is None or one.number != attempt or one.leaving:
            return
        if action == CONTINUE:
            if one.waiting or one.held:
                if one.held:
                    self._sit_down(one)
                one.waiting = one.held = False
                self._going.append(one)
        elif one.waiting or (one.held and action != PAUSE):
            self._obey(one, action, mode, save)
        elif not one.held:
            one.told = (action, mode, save)

    def save(self, trial: int, attempt: int) -> None:
        """It saves where it is now at a report, else after its next one."""
        one = self._attempts.get(trial)
        if self._can_save and one is not None and one.number == attempt and not one.leaving:
            one.save = True
            if one.held:
                self._save(one, self.clock.now())

    def kill(self, trial: int, attempt: int, outcome: str) -> None:
        """It ends with this outcome, whatever it does, after the delay of a stop."""
        one = self._attempts.get(trial)
        if one is not None and one.number == attempt:
            self._leave(one, self.clock.now(), outcome)

    def poll(self, timeout: float | None) -> list[Event]:
        """Let time pass until something happens, at most ``timeout`` seconds.

        Raises:
            ExecutorError: nothing ever will: workers were lost for good that somebody waits for.
        """
        clock, heap = self.clock, self._heap
        for attempt in self._going:
            if not attempt.leaving:
                self._go_on(attempt)
        self._going.clear()
        while heap and self._is_stale(heap[0]):
            heappop(heap)
        until = math.inf if timeout is None else clock.now() + timeout
        if not heap or heap[0][0] > until:
            if until == math.inf:
                raise ExecutorError(self._deadlock())
            clock.advance(until)
            return []
        clock.advance(heap[0][0])
        now = clock.now()
        events: list[Event] = []
        while heap and heap[0][0] <= now:
            entry = heappop(heap)
            if not self._is_stale(entry):
                entry[2](entry[3], entry[5], events)
        return events

    def wake(self) -> None:
        """Nothing ever waits in real time."""

    def wake_at(self, at: float) -> None:
        """Let a ``poll`` return at that second."""
        self._push(at, self._nothing, None, _ANY, None)

    def error_of(self, trial: int) -> BaseException | None:
        """None: no code was run."""
        return None

    def close(self) -> None:
        """What is left counts as busy until now. Idempotent."""
        self.workers.close()
        self._heap.clear()

    # -- what attempts do ------------------------------------------------------------------------------------------------

    def _begin(self, attempt: _Attempt, _: Any, events: list[Event]) -> None:
        if attempt.told is not None:
            self._leave(attempt, self.clock.now(), "stopped")
            return
        attempt.play = self._source.play(attempt.trial, attempt.config)
        self._say(attempt, AttemptStarted(attempt.trial, attempt.number, {"worker": attempt.worker}), events)
        self._work(attempt, self.clock.now())

    def _go_on(self, attempt: _Attempt) -> None:
        now = self.clock.now()
        if attempt.deaf:
            self._push(now + self._faults.message_timeout_s, self._broken, attempt, attempt.flow, None)
        else:
            self._work(attempt, self._save(attempt, now) if attempt.save else now)

    def _work(self, attempt: _Attempt, since: float) -> None:
        """The next iteration begins, if there is one."""
        iteration = attempt.counters.iteration + 1
        step = self._step(attempt, iteration)
        if type(step) is not Step:
            self._push(since, self._end, attempt, attempt.flow, step)
            return
        seconds = step.seconds / attempt.speed
        saves = self._every > 0 and iteration % self._every == 0
        at = since + seconds + (self._delays.save if saves else 0.0) + self._delays.report
        chance = attempt.chance
        if chance is not None and self._faults.lost_messages and chance.random() < self._faults.lost_messages:
            if chance.random() < 0.5:
                self._push(at + self._faults.message_timeout_s, self._broken, attempt, attempt.flow, None)
                return
            attempt.deaf = True
        self._push(at, self._report, attempt, attempt.flow, (step.metrics, seconds, saves))

    def _step(self, attempt: _Attempt, iteration: int) -> Step | End:
        assert attempt.play is not None
        try:
            return attempt.play.step(iteration, attempt.memory)
        except TuneError:
            raise
        except Exception as error:
            return End(outcome_of(error), describe(error))

    def _report(self, attempt: _Attempt, done: tuple[dict[str, Any], float, bool], events: list[Event]) -> None:
        metrics, seconds, saves = done
        counters = attempt.counters
        counters.fill(metrics, seconds)
        self.work_s += seconds
        event = Reported(attempt.trial, attempt.number, counters.iteration, metrics)
        if saves:
            event.checkpoint = self.store.save(attempt.trial, attempt.memory)
        self._say(attempt, event, events)
        attempt.waiting = True
        if attempt.told is not None:
            self._obey(attempt, *attempt.told)

    def _obey(self, attempt: _Attempt, action: str, mode: str, save: bool) -> None:
        """At its report: be held, or end."""
        attempt.waiting, attempt.told = False, None
        now = self.clock.now()
        if attempt.deaf:
            attempt.leaving = True
            self._push(now + self._faults.message_timeout_s, self._broken, attempt, attempt.flow, None)
        elif action == PAUSE and mode == "warm":
            self._stand_up(attempt)
            attempt.held = True
            if attempt.save:
                self._save(attempt, now)
        else:
            saves = self._can_save and (save or mode == "cold" or attempt.save)
            self._leave(attempt, now, "stopped", saves=saves)

    def _save(self, attempt: _Attempt, since: float) -> float:
        """It writes a checkpoint; returns when that is done."""
        attempt.save = False
        at = since + self._delays.save
        checkpoint = self.store.save(attempt.trial, attempt.memory)
        event = CheckpointSaved(attempt.trial, attempt.number, attempt.counters.iteration, checkpoint)
        self._push(at, self._say, attempt, attempt.flow, event)
        return at

    def _leave(self, attempt: _Attempt, since: float, outcome: str, *, saves: bool = False) -> None:
        """Nothing else happens any more, but that it ends."""
        attempt.flow += 1
        attempt.leaving = True
        attempt.waiting = False
        at = self._save(attempt, since) if saves else since
        self._push(at + self._delays.stop, self._end, attempt, attempt.flow, End(outcome))

    def _end(self, attempt: _Attempt, end: End, events: list[Event]) -> None:
        attempt.flow += 1
        attempt.leaving = True
        self._stand_up(attempt)
        del self._attempts[attempt.trial]
        self._say(attempt, AttemptEnded(attempt.trial, attempt.number, end.outcome, end.error), events)

    def _say(self, attempt: _Attempt, event: Event, events: list[Event]) -> None:
        events.append(event)
        chance = attempt.chance
        if chance is not None and self._faults.repeated_messages and chance.random() < self._faults.repeated_messages:
            self._push(self.clock.now() + chance.random() * _REPEATED_S, self._repeat, None, _ANY, copy.copy(event))

    # -- what happens to them --------------------------------------------------------------------------------------------

    def _repeat(self, _: Any, event: Event, events: list[Event]) -> None:
        events.append(event)

    def _nothing(self, _: Any, __: Any, events: list[Event]) -> None:
        """It was only to be that late."""

    def _broken(self, attempt: _Attempt, _: Any, events: list[Event]) -> None:
        text = f"its worker {attempt.worker} has not been heard of for {self._faults.message_timeout_s:g} s"
        self._end(attempt, _lost(text), events)

    def _lose_attempt(self, attempt: _Attempt, _: Any, events: list[Event]) -> None:
        if self._attempts.get(attempt.trial) is attempt:
            if attempt.held:
                self._end(attempt, _lost("the worker that held it was lost"), events)
            else:
                self._lose_worker(None, attempt.worker, events)

    def _lose_worker(self, _: Any, worker: int, events: list[Event]) -> None:
        """Capacity first: else what the core starts in the place of the lost attempt would not fit any more."""
        workers, faults = self.workers, self._faults
        if worker in workers.down:
            return
        attempt = workers.on(worker)
        if faults.down_s:
            workers.lose(worker)
            self._resized(-1.0, events)
            if faults.down_s < math.inf:
                self._push(self.clock.now() + faults.down_s, self._give_back, None, _ANY, worker)
        if attempt is not None:
            self._end(attempt, _lost(f"worker {worker} was lost"), events)

    def _give_back(self, _: Any, worker: int, events: list[Event]) -> None:
        self.workers.give_back(worker)
        self._resized(1.0, events)

    def _resized(self, by: float, events: list[Event]) -> None:
        self._totals["cpu"] += by
        events.append(CapacityChanged(dict(self._totals)))

    def _deadlock(self) -> str:
        down = sorted(self.workers.down)
        why = f"workers {', '.join(map(str, down))} were lost for good" if down else "please report this"
        return f"the simulation can't go on: nothing runs, and what waits needs more than there is; {why}."

    def _sit_down(self, attempt: _Attempt) -> None:
        worker = attempt.worker = self.workers.take(attempt)
        attempt.speed = (self._speeds[worker] if worker < len(self._speeds) else 1.0) / self._plan.slowness(worker)

    def _stand_up(self, attempt: _Attempt) -> None:
        if not attempt.held:
            self.workers.leave(attempt.worker)

    # -- time ------------------------------------------------------------------------------------------------------------

    def _push(self, at: float, act: Act, attempt: Any, flow: int, what: Any) -> None:
        self._count += 1
        heappush(self._heap, (at, self._count, act, attempt, flow, what))

    def _is_stale(self, entry: tuple[float, int, Act, Any, int, Any]) -> bool:
        """Whether its attempt has got something else to do meanwhile."""
        return entry[4] >= 0 and entry[3].flow != entry[4]


def _lost(message: str) -> End:
    return End("worker_lost", {"type": "WorkerLost", "message": message, "where": "", "traceback": ""})

"""The only loop: takes what happened, lets the core decide, commits, and then carries out.

Per turn: stamp -> drop what is stale or repeated -> ask the user's stop functions -> ``controller.handle`` (pure) -> one commit of
events, decisions and reasons -> carry out the commands -> tell the observers. Nothing leaves the process before its cause is
committed. A turn may run nested inside ``executor.poll`` (executors on this thread call ``deliver`` from inside ``report``).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.blame import describe_exception
from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.controller import Controller
from tunesmith.core.flat import ResultDict
from tunesmith.core.ports import CheckpointStore, Clock, Journal, Observer, Record
from tunesmith.errors import PoisonEvent, TuneError, UserCodeError
from tunesmith.executors.base import CONTINUE, PAUSE, STOP, Assignment, Executor
from tunesmith.resume import without_ends

if TYPE_CHECKING:
    from tunesmith.core.rounds import Rounds
    from tunesmith.schedulers.exploring import Explorer
    from tunesmith.search.host import SearchHost
    from tunesmith.stopper import Stopper

__all__ = ["Drive"]


@dataclass(slots=True)
class Drive:
    """Drives one session of one experiment.

    Args:
        assign: makes the assignment for a ``Launch``: resolved configuration, names, paths.
        stopper: the user's stop criteria, or None; ``resolve``: drawn values and the version of the space that they belong to -> the
            configuration that they are shown with a report.
        explore: gives the new values that an exploit asks for.
        again: trials that go on, should they end in the first turn: neither searcher nor stop criteria hear of that end.
        warn: shows one line to the user.

    Attributes:
        failure: the error that the session ends with, if any.
        blamed: what code of the user's that belongs to no single trial raised, so that the run is drained; "" if none did.
    """

    controller: Controller
    journal: Journal
    executor: Executor
    host: SearchHost
    clock: Clock
    store: CheckpointStore
    assign: Callable[[cmd.Launch], Assignment]
    trial_id: Callable[[int], str]
    warn: Callable[[str], None]
    stopper: Stopper | None = None
    resolve: Callable[[dict[str, Any], int], dict[str, Any]] | None = None
    explore: Explorer | None = None
    observers: list[Observer] = field(default_factory=list)
    rounds: Rounds | None = None
    again: frozenset[int] = frozenset()
    failure: BaseException | None = None
    blamed: str = ""
    finished: bool = False
    _inbox: deque[ev.Event] = field(default_factory=deque)
    _configs: dict[int, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    _timers: dict[str, float] = field(default_factory=dict)
    _due: list[tuple[float, str]] = field(default_factory=list)

    # -- the loop --------------------------------------------------------------------------------------------------------

    def run(self, first: Sequence[ev.Event], lost: Sequence[ev.Event] = ()) -> None:
        """Run until the controller says that nothing is left to do.

        Args:
            first: the session's first events: ``ExperimentStarted``, ``CapacityChanged``, what was lost.
            lost: with ``rounds``: ends of attempts that had been told to end, which take their turn in a round as they would have.

        Raises:
            TuneError: see :attr:`failure`; everything committed is safe.
        """
        self.deliver(first)
        self.again = frozenset()
        if lost:
            self._in_rounds(lost)
        while not self.finished and self.failure is None:
            ready: list[ev.Event] = [*self._suggestions()]
            due = self._is_due()
            if due and self.executor.capabilities.kill:  # a limit is not up before what came in time has been heard
                ready += self.executor.poll(0.0)
            elif not (ready or due or self._inbox):
                ready = self.executor.poll(self._patience())
            if self.rounds is not None:
                self._in_rounds([*self._timers_due(), *ready])
            elif ready or due or self._inbox:
                self.deliver(ready)
            else:
                self._idle()
        if self.failure is not None:
            raise self.failure

    def _idle(self) -> None:
        """Nothing happened: what waits for time to pass gets its turn."""
        if self.journal.waiting() == 0.0:
            try:
                self.journal.sync()
            except TuneError as error:
                self.failure = error
        if self.stopper is not None:
            self._ask_stop_all()

    def ask(self, event: ev.Event) -> None:
        """Put an event of the user's (stop, pause) into the loop. From any thread, and from signal handlers."""
        self._inbox.append(event)
        self.executor.wake()

    def deliver(self, events: Sequence[ev.Event]) -> None:
        """One turn. Never raises an ``Exception``: what goes wrong ends the run (:attr:`failure`), and every attempt is then stopped."""
        if self.failure is not None or self.finished:
            return
        try:
            self._turn(events)
        except TuneError as error:
            self.failure = error
        except Exception as error:
            self.failure = PoisonEvent(f"the run's own loop failed: {describe_exception(error)}; the journal is intact, please report this")
            self.failure.__cause__ = error
        except BaseException as error:  # Ctrl-C: what was in hand may be half done, so nothing may follow, even if a trial swallows it
            self.failure = error
            raise

    def _turn(self, events: Sequence[ev.Event]) -> None:
        controller, host = self.controller, self.host
        queue: deque[ev.Event] = deque(events)
        if self._inbox and controller.state.session >= 0:  # a request to stop counts before the ends that came after it
            queue.extendleft(self._inbox.pop() for _ in range(len(self._inbox)))
        if self.rounds is None:
            self._add_timers(queue)
        now = self.clock.now()
        records: list[Record] = []
        commands: list[cmd.Command] = []
        while queue:
            event = queue.popleft()
            event.at = now
            if not self._admit(event, commands):
                continue
            try:
                decisions, owed = controller.handle(event, accepted=True)
            except Exception as error:
                self._poison(records, [event, *queue], error)
                return
            record = Record(event, decisions)
            records.append(record)
            told = without_ends(record, self.again) if self.again else record
            host.observe(told)
            if self.stopper is not None:
                self._forget(told.decisions)
            for command in owed:
                if type(command) is cmd.Suggest:
                    host.request(command.n, command.first)
                    queue.extend(self._suggestions())
                else:
                    commands.append(command)
        if records:
            self.journal.append(records)
        if self.failure is not None:
            return  # what was handled is on record; nothing more is carried out
        self._carry_out_all(commands)
        if records:
            self._tell(records)
            if self.stopper is not None:
                self._ask_stop_all()

    def _suggestions(self) -> list[ev.Suggested | ev.SearchExhausted]:
        """What the searcher has ready. User code that names or sizes trials may raise here: the run ends, with this turn on record."""
        try:
            return self.host.poll()
        except TuneError as error:
            self.failure = error
            return []

    def _admit(self, event: ev.Event, commands: list[cmd.Command]) -> bool:
        """Whether the event is news; asks the user's stop criteria about a report that is."""
        if not self._news(event, commands):
            return False
        if self.stopper is not None and isinstance(event, ev.Reported):
            try:
                event.verdict = self._verdict(event)
            except Exception as error:
                self._blame("a stop criterion", error)
        return True

    def _news(self, event: ev.Event, commands: list[cmd.Command]) -> bool:
        """Whether the controller accepts the event; a report that it does not accept gets its answer all the same."""
        if self.controller.accepts(event):
            return True
        if isinstance(event, ev.Reported) and not (self.rounds is not None and self.rounds.holds(event.trial, event.attempt)):
            reply = self.controller.reply(event)
            if reply is not None:
                commands.append(reply)
        self.controller.state.late += 1
        return False

    def _verdict(self, event: ev.Reported) -> str | None:
        assert self.stopper is not None
        result = ResultDict(event.metrics)
        result["trial_id"] = trial_id = self.trial_id(event.trial)
        result.setdefault("done", False)
        if self.resolve is not None:
            attempt, config = self._configs.get(event.trial, (-1, {}))
            if attempt != event.attempt:  # an exploit changes the configuration, and begins an attempt
                trial = self.controller.state.trials[event.trial]
                config = self.resolve(trial.values, trial.space)
                self._configs[event.trial] = (event.attempt, config)
            result["config"] = config
        return self.stopper.verdict(trial_id, result)

    def remember(self, record: Record) -> str | None:
        """Show the stop criteria a record of an earlier session, so that they count on from it.

        Returns:
            What they would say of it now; what they said then is on record, and stands.

        Raises:
            UserCodeError: they raised.
        """
        if self.stopper is None:
            return None
        try:
            verdict = self._verdict(record.event) if isinstance(record.event, ev.Reported) else None
            self._forget(record.decisions)
            return verdict
        except Exception as error:
            text = f"a stop criterion raised {describe_exception(error)}, shown a report of an earlier session. Mend it and resume again."
            raise UserCodeError(text) from error

    def _forget(self, decisions: Sequence[cmd.Decision]) -> None:
        """Let the stop criteria drop what they keep of trials that are over."""
        for decision in decisions:
            if decision.do == "end" and decision.trial is not None and self.stopper is not None:
                self.stopper.forget(self.trial_id(decision.trial))
                self._configs.pop(decision.trial, None)

    def _ask_stop_all(self) -> None:
        stopper = self.stopper
        if stopper is None or self.controller.state.stopping:
            return
        try:
            over = stopper.stop_all()
            reason = stopper.reason() if over else ""
        except Exception as error:
            self._blame("Stopper.stop_all", error)
            return
        if over:
            self._inbox.append(ev.StopRequested(reason))

    def _blame(self, what: str, error: Exception) -> None:
        """Code of the user's that belongs to no single trial raised: drain, and end with its error; a resume goes on."""
        self.stopper = None
        self._drain_for(f"{what} raised {describe_exception(error)}")

    def _drain_for(self, what: str) -> None:
        self.blamed = f"{what.removesuffix('.')}. The run was stopped; mend it and continue with resume=True."
        self._inbox.append(ev.StopRequested(self.blamed, drain=True))

    def _poison(self, records: list[Record], rest: list[ev.Event], error: Exception) -> None:
        """``handle`` raised: commit what was handled, and the rest marked unhandled, so that the fold skips it."""
        now = rest[0].at
        for event in rest:
            event.at = now
        self.journal.append([*records, *(Record(event, handled=False) for event in rest)], durable=True)
        trial = getattr(rest[0], "trial", None)
        whose = f" of trial {self.trial_id(trial)}" if trial is not None else ""
        self.failure = PoisonEvent(
            f"handling {type(rest[0]).__name__}{whose} raised {describe_exception(error)}. Everything before it is kept; "
            f"the experiment can be opened, and continued with resume=True once the code is mended."
        )
        self.failure.__cause__ = error

    def _tell(self, records: Sequence[Record]) -> None:
        for observer in tuple(self.observers):
            try:
                observer.committed(records)
            except Exception as error:
                self.observers.remove(observer)
                self.warn(f"{type(observer).__name__} failed and is off for the rest of the run: {describe_exception(error)}")

    def _in_rounds(self, events: Sequence[ev.Event]) -> None:
        """``deterministic=True``: let through what may be handled now, in the order that does not depend on timing."""
        assert self.rounds is not None
        controller, state = self.controller, self.controller.state
        replies: list[cmd.Command] = []
        fresh = [event for event in events if self._news(event, replies)]
        for command in replies:
            self._carry_out(command)
        while not self.finished and self.failure is None:
            asked = state.asked - self.host.held_back()
            released = self.rounds.offer(fresh, controller.awaited(), asked, state.exploring())
            if not released and not self._inbox:
                return
            self.deliver(released)
            fresh = []

    # -- commands --------------------------------------------------------------------------------------------------------

    def _carry_out_all(self, commands: Sequence[cmd.Command]) -> None:
        """What trials wait for comes before what the disk is asked for."""
        doomed = []
        for command in commands:
            if type(command) is cmd.DeleteCheckpoint:
                doomed.append(command.checkpoint)
            else:
                self._carry_out(command)
        if doomed:
            self.journal.sync()  # never delete before the records that allow it are safe
            for checkpoint in doomed:
                self.store.delete(checkpoint)

    def _carry_out(self, command: cmd.Command) -> None:
        executor = self.executor
        match command:
            case cmd.Continue(trial, attempt):
                executor.answer(trial, attempt, CONTINUE)
            case cmd.Launch():
                executor.launch(self.assign(command))
            case cmd.Stop(trial, attempt, save):
                executor.answer(trial, attempt, STOP, save=save)
            case cmd.Pause(trial, attempt, mode):
                executor.answer(trial, attempt, PAUSE, mode=mode)
            case cmd.Kill(trial, attempt, outcome):
                executor.kill(trial, attempt, outcome)
            case cmd.Save(trial, attempt):
                executor.save(trial, attempt)
            case cmd.SetTimer(timer, at):
                self._set_timer(timer, at)
            case cmd.Explore():
                self._explore(command)
            case cmd.Finish():
                self.finished = True

    def _explore(self, command: cmd.Explore) -> None:
        """New values for an exploit. If the user's code fails the run drains, with the exploit on record: a resume asks again."""
        assert self.explore is not None, "whoever runs a scheduler that explores gives it an explorer"
        try:
            self._inbox.append(self.explore(command, self.controller.state.trials.values()))
        except TuneError as error:
            whose = f"trial {self.trial_id(command.trial)}, which is to go on from trial {self.trial_id(command.source)}"
            self._drain_for(f"new values for {whose}: {error}")

    # -- time ------------------------------------------------------------------------------------------------------------

    def _set_timer(self, timer: str, at: float | None) -> None:
        if at is None:
            self._timers.pop(timer, None)
        else:
            self._timers[timer] = at
            heapq.heappush(self._due, (at, timer))

    def _add_timers(self, queue: deque[ev.Event]) -> None:
        """The end of the experiment counts before what came at the same moment; a trial's own limits after its report."""
        for event in self._timers_due():
            if event.timer.startswith(("deadline:", "silence:")):
                queue.append(event)
            else:
                queue.appendleft(event)

    def _is_due(self) -> bool:
        return bool(self._due) and self._due[0][0] <= self.clock.now()

    def _timers_due(self) -> list[ev.TimerFired]:
        if not self._due:
            return []
        now = self.clock.now()
        fired: list[ev.TimerFired] = []
        while self._due and self._due[0][0] <= now:
            at, timer = heapq.heappop(self._due)
            if self._timers.get(timer) == at:
                del self._timers[timer]
                fired.append(ev.TimerFired(timer))
        return fired

    def _patience(self) -> float | None:
        """How long to wait for events: until the next timer, until a stopper's own time is up, until records must not wait longer."""
        while self._due and self._timers.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        waits = [max(0.0, self._due[0][0] - self.clock.now())] if self._due else []
        stopper = None if self.controller.state.stopping else self.stopper  # one whose time is up would not let it wait any more
        if stopper is not None and (left := stopper.remaining()) is not None:
            waits.append(left)
        if (left := self.journal.waiting()) is not None:
            waits.append(left)
        return min(waits, default=None)

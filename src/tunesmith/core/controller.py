"""The controller: events in, decisions with reasons and commands out. Pure.

    decisions, commands = controller.handle(event)

``handle`` records the event's facts, takes the decisions that follow, fills free slots and notices the end. It has no clock
(time is a field of the event), no thread, file, process or global randomness, and costs O(log n).

Replaying a journal is calling ``handle(event, recorded=decisions)`` for each record: decisions are computed again and compared;
where they differ (because code has changed) the recorded ones stand, and ``difference`` names the first such place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.apply import apply
from tunesmith.core.commands import Decision
from tunesmith.core.filling import Runnable, settle
from tunesmith.core.handlers import HANDLERS
from tunesmith.core.policy import OUTCOMES
from tunesmith.core.settings import Settings
from tunesmith.core.shelf import drops
from tunesmith.core.state import State
from tunesmith.core.transitions import EXPERIMENT, NEW, STARTING, TABLE
from tunesmith.core.trial import ERROR, PAUSED, RUNNING, TERMINATED, Trial
from tunesmith.core.wishes import consult
from tunesmith.errors import IllegalTransition

__all__ = ["Controller", "Runnable", "SchedulerPort"]

_STILL = frozenset({"continue", "stop", "save", "drop"})
"""Decisions that, after a report, neither free a slot nor give anybody something to start."""

_SUPERSEDED = ("end", "exploit")
"""What an attempt may have been told to end for, so that nothing it still reports counts."""


class SchedulerPort(Protocol):
    """What the controller asks of a scheduler; :class:`tunesmith.schedulers.Scheduler` is the class to derive from."""

    def change(self, options: Mapping[str, Any]) -> None: ...
    def start(self, settings: Settings) -> None: ...
    def on_trial_add(self, trial: Any) -> Any: ...
    def on_result(self, trial: Any, result: dict[str, Any]) -> Any: ...
    def on_trial_end(self, trial: Any, outcome: str) -> Any: ...
    def on_trial_reopen(self, trial: Any) -> None: ...
    def on_exploit_end(self, trial: Any, source: int, done: bool) -> None: ...
    def on_search_end(self) -> Any: ...
    def on_capacity(self, totals: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> None: ...
    def choose(self, runnable: Runnable) -> Any: ...
    def state(self) -> Any: ...


class Controller:
    """Decides everything about one experiment.

    Args:
        scheduler: asked for decisions on results and for what to start next; its state is folded together with ours.
        parted: called with a trial and the decision "end" just before it is applied: the last that the controller knows of it.

    Attributes:
        state: :class:`~tunesmith.core.state.State`; read it, never change it.
        difference: while replaying, a sentence about the first decision that differs from the recorded one; "" if none.

    Example:
        >>> from tunesmith.schedulers import FIFOScheduler
        >>> controller = Controller(FIFOScheduler())
        >>> _ = controller.handle(ev.ExperimentStarted({"num_samples": 1}))
        >>> controller.handle(ev.CapacityChanged({"cpu": 2.0}))
        ([], [Suggest(n=1, first=0)])
    """

    def __init__(self, scheduler: SchedulerPort, parted: Callable[[Trial, Decision], None] | None = None) -> None:
        self.scheduler = scheduler
        self.parted = parted
        self.state = State()
        self.current = -1
        self.difference = ""
        self._followups: list[Decision] = []

    # -- events in -------------------------------------------------------------------------------------------------------

    def accepts(self, event: ev.Event) -> bool:
        """Whether the event is news; false for repeated ones, and for those of older attempts and ended trials."""
        state = self.state
        if isinstance(event, ev.Reported):
            trial = state.trials.get(event.trial)
            if trial is None or trial.attempt != event.attempt or trial.owed[:5] == "kill:":
                return False
            if trial.then and (trial.then in _SUPERSEDED or trial.status == PAUSED):
                return False
            if state.settings.deterministic and event.iteration <= trial.frontier:
                return False
            return event.iteration > trial.iteration
        if isinstance(event, ev.AttemptStarted):
            trial = state.trials.get(event.trial)
            return trial is not None and trial.attempt == event.attempt and not trial.started and trial.status == RUNNING
        if isinstance(event, (ev.AttemptEnded, ev.CheckpointSaved, ev.SaveSkipped)):
            trial = state.trials.get(event.trial)
            if trial is None or trial.attempt != event.attempt or not trial.alive:
                return False
            if isinstance(event, ev.SaveSkipped):
                return event.iteration >= trial.iteration  # else a repeat, of a save before the newest report
            return isinstance(event, ev.AttemptEnded) or _is_new(event, trial)
        if isinstance(event, ev.TimerFired):
            return (due := state.timers.get(event.timer)) is not None and due <= event.at  # else it was put off meanwhile
        if isinstance(event, ev.Suggested):
            return state.asked > 0 and event.trial >= state.next_number
        if isinstance(event, ev.SearchExhausted):
            return not (state.exhausted or state.stopping or state.finished)
        if isinstance(event, ev.Explored):
            trial = state.trials.get(event.trial)
            exploit = trial.exploit if trial is not None else None
            return exploit is not None and exploit.values is None and exploit.number == event.exploit  # else for one that was given up
        if isinstance(event, ev.UserAction):
            return event.trial in state.trials and not state.stopping
        if isinstance(event, ev.Reopened):
            return event.trial < state.next_number and event.trial not in state.trials and not (state.stopping or state.finished)
        return not isinstance(event, ev.StopRequested) or not state.finished

    def reply(self, event: ev.Reported) -> cmd.Command | None:
        """What to answer to a report that was not accepted but whose attempt still waits: what is owed, or go on."""
        trial = self.state.trials.get(event.trial)
        if trial is None or trial.attempt != event.attempt:
            return cmd.Stop(event.trial, event.attempt)
        owed = self.state.owed(trial)
        return owed if owed is not None and not isinstance(owed, cmd.Launch) else cmd.Continue(event.trial, event.attempt)

    def handle(
        self, event: ev.Event, recorded: Sequence[Decision] | None = None, *, accepted: bool = False
    ) -> tuple[list[Decision], list[cmd.Command]]:
        """Fold one event.

        Args:
            event: stamped with its time. One that is not accepted is counted and otherwise ignored.
            accepted: :meth:`accepts` has been asked already.
            recorded: when replaying: the decisions in the record.

        Returns:
            the decisions that are not plain "continue"s, and the commands to carry out, both in order.

        Raises:
            IllegalTransition: the table has no entry for it; the state is unchanged.
        """
        if recorded is None and not accepted and not self.accepts(event):
            self.state.late += 1
            return [], []
        name = self._handler(event)
        state = self.state
        state.now = event.at
        state.out = []
        self.current = event.trial if isinstance(event, ev.Reported) else -1
        taken: list[Decision] = []
        steps = self._steps(name, event)
        if recorded is None:
            for decision in steps:
                self._apply(decision)
                if decision.do != "continue" or decision.reason:
                    taken.append(decision)
        else:
            taken = self._replay(event, steps, list(recorded))
        return taken, state.out

    def wanted(self) -> list[cmd.Command]:
        """The commands still owed, derived from the state alone: what recovery sends again."""
        return list(self.state.wanted())

    def alive(self) -> list[tuple[int, int]]:
        """(trial, attempt) of every attempt that exists somewhere, by trial number."""
        return [(number, trial.attempt) for number, trial in sorted(self.state.trials.items()) if trial.alive]

    def awaited(self) -> list[tuple[int, int]]:
        """(trial, attempt) of every attempt from which an event must come, by trial number: all that are alive but those held warm."""
        trials = sorted(self.state.trials.items())
        return [(number, trial.attempt) for number, trial in trials if trial.alive and (trial.holds or trial.then)]

    def digest(self) -> str:
        """A hash of the whole state, the scheduler's included."""
        return self.state.digest(self.scheduler.state())

    # -- decisions -------------------------------------------------------------------------------------------------------

    def _handler(self, event: ev.Event) -> str:
        kind = type(event)
        if kind in EXPERIMENT:
            if self.state.session < 0 and kind is not ev.ExperimentStarted:
                raise IllegalTransition(f"{event!r} came before ExperimentStarted; please report this")
            if kind is ev.ExperimentStarted and event.session != self.state.session + 1:  # type: ignore[union-attr]
                raise IllegalTransition(f"{kind.__name__} of session {event.session} after session {self.state.session}")  # type: ignore[union-attr]
            return EXPERIMENT[kind]
        number: int = event.trial  # type: ignore[union-attr]
        trial = self.state.trials.get(number)
        if trial is not None:
            status = STARTING if trial.status == RUNNING and not trial.started else trial.status
        else:
            status = NEW if number == self.state.next_number else "UNKNOWN" if number > self.state.next_number else self._ended_as(number)
        entry = TABLE.get((status, kind))
        if entry is None or (kind is ev.AttemptEnded and event.outcome not in OUTCOMES):  # type: ignore[union-attr]
            raise IllegalTransition(f"trial {number} is {status} and cannot take {event!r}; please report this")
        return entry[0]

    def _ended_as(self, number: int) -> str:
        return ERROR if self.state.ended[number] == 2 else TERMINATED

    def _steps(self, name: str, event: ev.Event) -> Iterator[Decision]:
        moved = name != "attempt_started" and name != "reported"
        for decision in HANDLERS[name](self, event):
            if decision.do not in _STILL:
                moved = True
            yield decision
        if moved:
            yield from settle(self)
        if self.state.shelf.full and self.state.shelf.freed:
            yield from drops(self.state)

    def _apply(self, decision: Decision) -> None:
        if decision.do == "end" and decision.trial is not None:
            trial = self.state.trials[decision.trial]
            if self.parted is not None:
                self.parted(trial, decision)
            apply(self.state, decision)
            self._followups += consult(self.scheduler.on_trial_end(trial, decision.data["outcome"]), trial, self.scheduler)
        elif decision.do in ("exploited", "skip") and decision.trial is not None:
            trial = self.state.trials[decision.trial]
            exploit = trial.exploit
            apply(self.state, decision)
            if exploit is not None:
                self.scheduler.on_exploit_end(trial, exploit.source, decision.do == "exploited")
        else:
            apply(self.state, decision)

    def drawn_all(self) -> None:
        """No more trials will be drawn, as far as is known now: the scheduler hears it, and what it wants is done with the followups."""
        self.state.drawn = True
        self._followups += consult(self.scheduler.on_search_end(), None, self.scheduler)

    def take_followups(self) -> list[Decision]:
        """What the scheduler asked for when a trial ended, or all were drawn."""
        followups, self._followups = self._followups, []
        return followups

    # -- replay ----------------------------------------------------------------------------------------------------------

    def _replay(self, event: ev.Event, steps: Iterator[Decision], recorded: list[Decision]) -> list[Decision]:
        at = 0
        plain: Decision | None = None
        for decision in steps:
            expected = recorded[at] if at < len(recorded) else None
            if decision.do == "continue" and not decision.reason:
                self._apply(decision)  # not recorded; should the record have another answer, that one takes its place below
                plain = decision
            elif expected is not None and (expected.do, expected.trial, expected.data) == (decision.do, decision.trial, decision.data):
                self._apply(expected)
                at += 1
            else:
                self._differs(event, expected, decision)
                break
        else:
            if at < len(recorded):
                self._differs(event, recorded[at], plain)
        for expected in recorded[at:]:
            self._apply(expected)
            self._followups.clear()
        self._answer_anyway(event)
        return recorded

    def _differs(self, event: ev.Event, recorded: Decision | None, computed: Decision | None) -> None:
        if not self.difference:
            was = f"{recorded.do} trial {recorded.trial}" if recorded else "nothing more"
            now = f"{computed.do} trial {computed.trial}" if computed else "nothing more"
            where = f"at {event.at:.3f} s, {type(event).__name__}"
            self.difference = f"{where}: recorded was '{was}', this code decides '{now}'; the record stands"

    def _answer_anyway(self, event: ev.Event) -> None:
        """A report that the recorded decisions left unanswered was continued: that is what no record means."""
        if isinstance(event, ev.Reported):
            trial = self.state.trials.get(event.trial)
            if trial is not None and trial.status == RUNNING and not trial.owed and not trial.then:
                self._apply(Decision("continue", trial.number))


def _is_new(event: ev.CheckpointSaved, trial: Trial) -> bool:
    """Whether the checkpoint is no repeat: an attempt saves later states after earlier ones, but may save one more than once."""
    base = trial.base
    if base is not None and base is not trial.restore and not trial.borrowed and event.iteration < base.iteration:
        return False
    return event.checkpoint not in trial.replaced and all(saved.id != event.checkpoint for saved in trial.saved)

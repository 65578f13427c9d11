"""The controller: events in, decisions with reasons and commands out. Pure.

    decisions, commands = controller.handle(event)

``handle`` records the event's facts, takes the decisions that follow, fills free slots and notices the end. It has no clock
(time is a field of the event), no thread, file, process or global randomness, and costs O(log n).

Replaying a journal is calling ``handle(event, recorded=decisions)`` for each record: decisions are computed again and compared;
where they differ (because code has changed) the recorded ones stand, and ``difference`` names the first such place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.apply import apply
from tunesmith.core.commands import Decision
from tunesmith.core.handlers import HANDLERS, end
from tunesmith.core.settings import Settings
from tunesmith.core.state import State
from tunesmith.core.transitions import EXPERIMENT, NEW, STARTING, TABLE
from tunesmith.core.trial import PAUSED, PENDING, RUNNING, Trial
from tunesmith.errors import BugError, IllegalTransition

__all__ = ["Controller", "Runnable", "SchedulerPort"]

_BOUND = 1024
"""Suggestions asked for at once where nothing else bounds them."""


class SchedulerPort(Protocol):
    """What the controller asks of a scheduler; :class:`tunesmith.schedulers.Scheduler` is the class to derive from."""

    def start(self, settings: Settings) -> None: ...
    def on_trial_add(self, trial: Any) -> Any: ...
    def on_result(self, trial: Any, result: dict[str, Any]) -> Any: ...
    def on_trial_end(self, trial: Any, outcome: str) -> Any: ...
    def choose(self, runnable: Runnable) -> Any: ...
    def state(self) -> Any: ...


@dataclass(slots=True)
class Runnable:
    """What could be started now, for ``Scheduler.choose``.

    Args:
        pending: the first waiting trial of each kind of request that fits, by number.
        paused: numbers of all paused trials, oldest pause first.
    """

    pending: list[Trial]
    paused: Sequence[int] | Iterable[int]
    _state: State

    def get(self, number: int) -> Trial | None:
        """The live trial with this number, if it could be started now."""
        trial = self._state.trials.get(number)
        if trial is None or trial.then or trial.exploit is not None:
            return None
        return trial if trial.status in (PENDING, PAUSED) and self._state.pool.fits(trial.request) else None

    def first_paused(self) -> Trial | None:
        """The trial that has been paused longest and fits."""
        return next((trial for number in self.paused if (trial := self.get(number)) is not None), None)


class Controller:
    """Decides everything about one experiment.

    Args:
        scheduler: asked for decisions on results and for what to start next; its state is folded together with ours.

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

    def __init__(self, scheduler: SchedulerPort) -> None:
        self.scheduler = scheduler
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
            if trial is None or trial.attempt != event.attempt or trial.then or trial.owed.startswith("kill"):
                return False
            if state.settings.deterministic and event.iteration <= trial.frontier:
                return False
            return event.iteration > trial.iteration if trial.owed != "launch" else True
        if isinstance(event, ev.AttemptStarted):
            trial = state.trials.get(event.trial)
            return trial is not None and trial.attempt == event.attempt and not trial.started and trial.status == RUNNING
        if isinstance(event, (ev.AttemptEnded, ev.CheckpointSaved)):
            trial = state.trials.get(event.trial)
            if trial is None or trial.attempt != event.attempt or not trial.alive:
                return False
            return isinstance(event, ev.AttemptEnded) or all(saved.id != event.checkpoint for saved in trial.saved)
        if isinstance(event, ev.TimerFired):
            return event.timer in state.timers
        if isinstance(event, ev.Suggested):
            return state.asked > 0
        if isinstance(event, ev.SearchExhausted):
            return not state.exhausted and not state.stopping
        if isinstance(event, ev.Explored):
            trial = state.trials.get(event.trial)
            return trial is not None and trial.exploit is not None and trial.exploit.values is None
        if isinstance(event, ev.UserAction):
            return event.trial in state.trials and not state.stopping
        return True

    def reply(self, event: ev.Reported) -> cmd.Command | None:
        """What to answer to a report that was not accepted but whose attempt still waits: what is owed, or go on."""
        trial = self.state.trials.get(event.trial)
        if trial is None or trial.attempt != event.attempt:
            return cmd.Stop(event.trial, event.attempt)
        return self.state.owed(trial) or cmd.Continue(event.trial, event.attempt)

    def handle(self, event: ev.Event, recorded: Sequence[Decision] | None = None) -> tuple[list[Decision], list[cmd.Command]]:
        """Fold one event.

        Args:
            event: stamped with its time.
            recorded: when replaying: the decisions in the record.

        Returns:
            the decisions that are not plain "continue"s, and the commands to carry out, both in order.

        Raises:
            IllegalTransition: the table has no entry for it; the state is unchanged.
        """
        if recorded is None and not self.accepts(event):
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
            status = NEW if number == self.state.next_number else "ENDED"
        entry = TABLE.get((status, kind))
        if entry is None:
            raise IllegalTransition(f"trial {number} is {status} and cannot take {event!r}; please report this")
        return entry[0]

    def _steps(self, name: str, event: ev.Event) -> Iterator[Decision]:
        yield from HANDLERS[name](self, event)
        if name != "attempt_started" and (name != "reported" or self._moved()):
            yield from self._fill()
            yield from self._close()

    def _moved(self) -> bool:
        """After a report: whether anything but a plain answer happened, so that slots may be free or the end near."""
        out = self.state.out
        return len(out) != 1 or not isinstance(out[0], (cmd.Continue, cmd.Stop))

    def _fill(self) -> Iterator[Decision]:
        """Start what can be started; ask for suggestions for the slots that are left."""
        state = self.state
        if state.stopping or state.finished:
            return
        while True:
            limit = self._free_slots()
            if limit <= 0:
                return
            trial = self._choose()
            if trial is None:
                break
            yield Decision("launch", trial.number)
        settings = state.settings
        if state.exhausted or (state.queues and not settings.config_resources):  # what waits needs the same as what would be drawn
            return
        room = 1 if settings.config_resources else state.pool.room(state.default_request, min(limit, _BOUND))
        if settings.config_resources and state.counts[PENDING] >= settings.pending_cap:
            return
        if settings.num_samples is not None:
            room = min(room, settings.num_samples - (state.next_number - state.infeasible))
            if state.infeasible > 10 * settings.num_samples:
                return
        if room > state.asked:
            n = room - state.asked
            state.asked = room
            state.out.append(cmd.Suggest(n, state.next_number + room - n))

    def _free_slots(self) -> int:
        state = self.state
        limit = _BOUND + len(state.running)
        for bound in (state.settings.max_concurrent, state.slots):
            if bound is not None and bound < limit:
                limit = bound
        return limit - len(state.running)

    def _choose(self) -> Trial | None:
        state = self.state
        if not state.queues and not state.paused:
            return None
        heads = state.heads()
        if not heads and not state.paused:
            return None
        trial = self.scheduler.choose(Runnable(heads, state.paused, state))
        if trial is None:
            return None
        chosen = state.trials.get(trial.number)
        if chosen is None or Runnable(heads, (), state).get(chosen.number) is None:
            raise BugError(f"scheduler {type(self.scheduler).__name__} chose trial {trial.number}, which cannot be started now")
        return chosen

    def _close(self) -> Iterator[Decision]:
        """Notice that nothing is left to do."""
        state = self.state
        if state.finished or state.asked or state.running or any(trial.alive for trial in state.trials.values()):
            return
        settings = state.settings
        if state.stopping:
            yield Decision("finish", None, state.stopping)
            return
        drawn = state.next_number - state.infeasible
        if settings.num_samples is not None and drawn < settings.num_samples and not state.exhausted:
            if state.infeasible > 10 * settings.num_samples:
                state.exhausted = f"{state.infeasible} configurations were infeasible, {drawn} were not"
            else:
                return
        elif settings.num_samples is None and not state.exhausted:
            return
        if any(trial.status == PENDING for trial in state.trials.values()):
            return
        for number in list(state.paused):
            yield from end(self, state.trials[number], "stopped", "paused, and nothing was left that could resume it")
        yield Decision("finish", None, state.exhausted or f"all {drawn} trials have ended")

    def _apply(self, decision: Decision) -> None:
        if decision.do == "end" and decision.trial is not None:
            trial = self.state.trials[decision.trial]
            apply(self.state, decision)
            self._followups += self.consult(self.scheduler.on_trial_end(trial, decision.data["outcome"]), trial)
        else:
            apply(self.state, decision)

    def take_followups(self) -> list[Decision]:
        """What the scheduler asked for when a trial ended."""
        followups, self._followups = self._followups, []
        return followups

    def consult(self, answer: Any, trial: Trial) -> list[Decision]:
        """A scheduler's answer as a list: None, one of Ray's words, a Decision, or several of these.

        Raises:
            TypeError: it is none of that.
        """
        if answer is None or answer == "CONTINUE" or answer == "NOOP":
            return []
        if isinstance(answer, str):
            return [Decision(answer.lower(), trial.number)]
        if isinstance(answer, Decision):
            if answer.trial is None:
                answer.trial = trial.number
            return [answer]
        if isinstance(answer, Iterable):
            return [decision for one in answer for decision in self.consult(one, trial)]
        name = type(self.scheduler).__name__
        raise TypeError(f"scheduler {name} answered {answer!r} for trial {trial.number}; expected CONTINUE, PAUSE, STOP or a Decision")

    # -- replay ----------------------------------------------------------------------------------------------------------

    def _replay(self, event: ev.Event, steps: Iterator[Decision], recorded: list[Decision]) -> list[Decision]:
        at = 0
        for decision in steps:
            expected = recorded[at] if at < len(recorded) else None
            if decision.do == "continue" and not decision.reason:
                if expected is None or expected.trial != decision.trial or expected.do not in ("stop", "pause", "exploit"):
                    self._apply(decision)
                    continue
            elif expected is not None and (expected.do, expected.trial, expected.data) == (decision.do, decision.trial, decision.data):
                self._apply(expected)
                at += 1
                continue
            self._differs(event, expected, decision)
            break
        else:
            if at < len(recorded):
                self._differs(event, recorded[at], None)
        for expected in recorded[at:]:
            self._apply(expected)
            self._followups.clear()
        self._answer_anyway(event)
        return recorded

    def _differs(self, event: ev.Event, recorded: Decision | None, computed: Decision | None) -> None:
        if not self.difference:
            was = f"{recorded.do} trial {recorded.trial}" if recorded else "nothing more"
            now = f"{computed.do} trial {computed.trial}" if computed else "nothing more"
            self.difference = f"at {event.at:.3f} s, {type(event).__name__}: recorded was '{was}', this code decides '{now}'; the record stands"

    def _answer_anyway(self, event: ev.Event) -> None:
        """A report that the recorded decisions left unanswered was continued: that is what no record means."""
        if isinstance(event, ev.Reported):
            trial = self.state.trials.get(event.trial)
            if trial is not None and trial.status == RUNNING and not trial.owed and not trial.then:
                self._apply(Decision("continue", trial.number))

"""Going on with an experiment: which trials that were over go on in a new session, and what that leaves of the past."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core import policy
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Record
from tunesmith.core.retention import Saved
from tunesmith.core.state import State
from tunesmith.core.trial import ERROR, TERMINATED, Trial
from tunesmith.description import changed
from tunesmith.spec import ResumePlan

__all__ = ["Candidates", "reopening", "without_ends"]

@dataclass(slots=True)
class _Ended:
    """A trial that goes on, as it was just before its end.

    Args:
        why: see :class:`~tunesmith.core.events.Reopened`.
        default: what trials took by default then; None: it depended on the configuration.
        seq: number of the record that ended it; 0: the first turn of this session does.
    """

    trial: Trial
    why: str
    default: Mapping[str, float] | None
    seq: int


class Candidates:
    """Finds, while the journal is folded, the trials that are over and go on in this session.

    Failed ones, if the plan says so; and those that an end was put to which has been raised since: a stop criterion that does not
    hold any more for their newest report, a bound of the scheduler's, the time budget. Never those that ended by themselves, that
    the scheduler or a person gave up, or whose configuration was infeasible.

    Args:
        plan: what the session takes up.
        now: this session's description.
        past: the records that are to be folded.

    Attributes:
        found: number -> what there is of the trial.
        deleted: ids of checkpoints that are gone.
    """

    def __init__(self, plan: ResumePlan, now: Mapping[str, Any], past: Sequence[Record]) -> None:
        self._plan = plan
        self._now = now
        self._spec: dict[str, Any] = {}
        self._seq = 0
        self._told: dict[int, dict[str, Any]] = {}  # trials that were told to stop, and the description at that time
        self._passing: set[int] = set()
        self._cancelled = _cancelled_ends(past)
        self.found: dict[int, _Ended] = {}
        self.deleted: set[str] = set()

    def next(self, record: Record) -> None:
        """Before each record is handled."""
        self._seq = record.seq
        self._spec = changed(self._spec, record.event)
        for decision in record.decisions:
            if decision.do == "stop" and decision.trial is not None and "by" in decision.data:
                self._told[decision.trial] = self._spec
        if isinstance(record.event, ev.Reopened):
            self.found.pop(record.event.trial, None)

    def judged(self, trial: int, verdict: str | None) -> None:
        """What the present stop criteria say of a trial's newest report."""
        if verdict is None:
            self._passing.add(trial)
        else:
            self._passing.discard(trial)

    def parted(self, trial: Trial, decision: Decision) -> None:
        """A trial ends; see :class:`~tunesmith.core.controller.Controller`."""
        self._consider(trial, decision.data, self._seq)

    def losing(self, trials: Iterable[Trial]) -> None:
        """The attempts of these are lost with the last driver; those that it had told to end for good do so as this session begins."""
        for trial in trials:
            if trial.then == "end" and trial.outcome not in policy.FAILURES:
                self._consider(trial, {"status": TERMINATED, **trial.by}, 0)

    def _consider(self, trial: Trial, data: Mapping[str, Any], seq: int) -> None:
        why = self._why(trial, data, self._told.pop(trial.number, self._spec))
        if why:
            default = None if self._spec.get("config_resources") else self._spec.get("resources")
            self.found[trial.number] = _Ended(trial, why, default, seq)

    def _why(self, trial: Trial, data: Mapping[str, Any], before: Mapping[str, Any]) -> str:
        """``before``: the description under which its end was decided; between that and the end there may lie a crash, and a resume."""
        if data["status"] == ERROR:
            return "errored" if self._plan.errored != "skip" else ""
        if not self._plan.unfinished:
            return ""
        by, now = data.get("by"), self._now
        if by == "criterion":
            passes = trial.number in self._passing and not trial.metrics.get("done")  # else it has ended by itself, too
            return "criterion" if passes and before.get("stop") != now["stop"] else ""
        if by == "bound":
            name, value = data["bound"]
            return "bound" if name in now["scheduler_options"] and _is_raised(value, now["scheduler_options"][name]) else ""
        return "budget" if by == "halt:budget" and _is_raised(before.get("time_budget_s"), now["time_budget_s"]) else ""

    def onward(self, record: Record) -> Record:
        """The record, once handled, without ends after which the trial went on, or is to: to searchers and stoppers a trial ends once."""
        if not record.decisions:
            return record
        over = {one.trial for one in record.decisions if one.do == "end" and self._goes_on(one.trial, record.seq)}
        return without_ends(record, over) if over else record

    def _goes_on(self, trial: int | None, seq: int) -> bool:
        found = self.found.get(-1 if trial is None else trial)
        return (seq, trial) in self._cancelled or (found is not None and found.seq == seq)

    def reopened(self, state: State) -> list[ev.Reopened]:
        """The events that take them up, by number; ``state``: after the fold."""
        gone = self.deleted | state.doomed
        events = []
        for number in sorted(self.found):
            ended = self.found[number]
            restart = ended.why == "errored" and self._plan.errored == "restart"
            events.append(reopening(ended.trial, ended.why, gone, restart=restart, default=ended.default))
        return events


def reopening(
    trial: Trial, why: str, gone: Container[str] = (), *, restart: bool = False, default: Mapping[str, float] | None = None
) -> ev.Reopened:
    """The event that takes up an ended trial.

    Args:
        trial: as it was just before its end.
        why: see :class:`~tunesmith.core.events.Reopened`.
        gone: ids of checkpoints that are deleted, or are to be.
        restart: it begins from scratch.
        default: the resources that trials took by default: if they are its, it takes those that are the default now. One that was
            resized begins with what it took at first: what it had been given has gone to others.
    """
    saved = [one for one in trial.saved if one.id not in gone]
    resources = trial.resources if trial.first is None else trial.first
    base: Saved | None = trial.base
    if restart:
        base = None
    elif base is not None and base.id in gone:
        base = saved[-1] if saved else None
    return ev.Reopened(
        trial.number,
        trial.attempt + 1,
        why,
        trial.values,
        None if resources == default else resources,
        trial.iteration,
        trial.time_total,
        trial.metrics,
        trial.frontier,
        [list(astuple(one)) for one in saved],
        list(astuple(base)) if base is not None else None,
        space=trial.space,
        exploits=trial.exploits,
    )


def _is_raised(before: Any, now: Any) -> bool:
    """Whether a bound is higher than it was, or is none any more."""
    if now is None:
        return before is not None
    return isinstance(before, int | float) and isinstance(now, int | float) and now > before


def _cancelled_ends(past: Sequence[Record]) -> set[tuple[int, int | None]]:
    """(seq, trial) of the ends after which the trial went on in a later session."""
    cancelled: set[tuple[int, int | None]] = set()
    if any(isinstance(record.event, ev.Reopened) for record in past):
        ends: dict[int | None, int] = {}
        for record in past:
            if record.handled and isinstance(record.event, ev.Reopened):
                cancelled.add((ends[record.event.trial], record.event.trial))
            for decision in record.decisions if record.handled else ():
                if decision.do == "end":
                    ends[decision.trial] = record.seq
    return cancelled


def without_ends(record: Record, trials: Container[int | None]) -> Record:
    """The record without the ends of these trials, for those to whom a trial ends once.

    Example:
        >>> without_ends(Record(ev.StopRequested("x"), [Decision("end", 3), Decision("end", 4)]), {3}).decisions
        [Decision(do='end', trial=4, reason='', data={})]
    """
    return replace(record, decisions=[one for one in record.decisions if not (one.do == "end" and one.trial in trials)])

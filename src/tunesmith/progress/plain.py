"""Plain console output: one line per change, and a summary at the end."""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.core.trial import ERROR, TERMINATED
from tunesmith.failures import FailureLog
from tunesmith.journal.trials import trial_id_of
from tunesmith.progress.decisions import again, left, told
from tunesmith.progress.leader import latest, rank
from tunesmith.progress.text import duration, joined, numbers, pairs, plural

__all__ = ["PlainReporter"]

_WHAT = {
    "started": "started", "ended": "ended", "failed": "failed", "retried": "to be tried again", "reported": "reported",
    "reopened": "to go on", "exploited": "copied from others", "left": "left to a resume",
}  # fmt: skip

_AGAIN = {
    "errored": "after its failure",
    "criterion": "as the stop criterion was raised",
    "bound": "as the scheduler's bound was raised",
    "budget": "as the time budget was raised",
}


_MOST = 80
"""Characters for one setting that has changed; of more its name is enough."""

_COUNT_S = 5.0
"""Between two lines of the countdown, at least."""


@dataclass(slots=True)
class _Live:
    values: dict[str, Any]
    then: dict[str, Any] | None = None  # values after the exploit under way
    iteration: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    space: int = 0
    paused: bool = False
    resumed: bool = False  # its next attempt follows a pause


@dataclass(slots=True)
class _Best:
    rank: float
    number: int
    iteration: int
    values: dict[str, Any]
    metrics: dict[str, Any]
    space: int


class PlainReporter:
    """An :class:`~tunesmith.core.ports.Observer` that prints what happens. Its memory does not grow with the number of ended trials.

    Args:
        header: of the journal.
        path: the experiment's directory, for people; "": it is temporary, and not spoken of.
        show: drawn values and the version of the space that they belong to -> what to show of them; None: as they are.
        stream: where to print; None: ``sys.stdout`` as it is at that moment.
        verbose: 0: nothing; 1: header, starts, ends, failures, summary; 2: every report too; 3: every decision and checkpoint too.
        clock: seconds of the experiment's clock.
        lines_per_s: more than so many lines within a second are counted and told as one.
        pictured: a picture shows what runs, so at ``verbose`` 1 only what must stay is told: header, failures, the end.

    Example:
        >>> reporter = PlainReporter(Header(uuid="3f2ab" + "0" * 27, name="demo", created=0.0), "/runs/demo", verbose=1)
        >>> reporter.committed([Record(ev.Suggested(0, {"lr": 0.1})), Record(ev.AttemptStarted(0, 0))])
        trial 3f2ab_00000 started: lr=0.1
    """

    def __init__(
        self,
        header: Header,
        path: str,
        *,
        show: Callable[[dict[str, Any], int], Mapping[str, Any]] | None = None,
        stream: TextIO | None = None,
        verbose: int = 1,
        clock: Callable[[], float] = time.monotonic,
        lines_per_s: int = 20,
        pictured: bool = False,
    ) -> None:
        self._header, self._path, self._show, self._stream = header, path, show, stream
        self._verbose, self._clock, self._limit = verbose, clock, lines_per_s
        self._pictured = pictured and verbose < 2
        self._spec: dict[str, Any] = {}
        self._space = 0
        self._changes: dict[str, Any] = {}
        self._live: dict[int, _Live] = {}
        self._best: _Best | None = None
        self._failures = FailureLog()
        self._counts: dict[str, int] = {}
        self._at = 0.0
        self._muted = verbose < 1
        self._window = -math.inf
        self._lines = 0
        self._skipped: dict[str, int] = {}
        self._finish = ""
        self._halted = False
        self._open = False  # this session has begun
        self._until: float | None = None  # when unfinished trials are killed
        self._counted = 0.0

    # -- the observer ----------------------------------------------------------------------------------------------------

    def replay(self, records: Iterable[Record]) -> None:
        """Take in records of earlier sessions without printing them."""
        muted, self._muted = self._muted, True
        for record in records:
            self.committed([record])
        self._muted = muted

    def committed(self, records: Sequence[Record]) -> None:
        """Print what these records change."""
        self._failures.committed(records)
        for record in records:
            if record.handled:
                event = record.event
                self._at = event.at
                if type(event) is ev.ExperimentStarted:  # its first line shows what it goes on with
                    self._changes = {k: v for r in records if type(r.event) is ev.SpecChanged for k, v in r.event.changes.items()}
                handler = _EVENTS.get(type(event))
                if handler is not None:
                    handler(self, event)
                for decision in record.decisions:
                    self._decided(decision)
        if self._until is not None:
            self._count_down(self._until)

    def alone(self) -> None:
        """There is no picture any more."""
        self._pictured = False

    def say(self, line: str) -> None:
        """Print a line of somebody else's."""
        if not self._muted:
            self._print(line)

    def close(self) -> None:
        """Print the summary."""
        if self._muted or not self._open:
            return
        self._tell_skipped()
        for line in self._summary():
            self._print(line)

    # -- events ----------------------------------------------------------------------------------------------------------

    def _begun(self, event: ev.ExperimentStarted) -> None:
        before = {**self._spec, **event.spec}
        self._spec = {**before, **self._changes}
        self._finish, self._halted, self._until = "", False, None  # an earlier session's end is not this one's
        if self._muted:
            return
        self._open = True
        spec = self._spec
        samples = spec.get("num_samples")
        parts = [
            plural(samples, "trial") if samples is not None else "trials without a limit",
            *([f"{spec['searcher']} ({spec['search']})" if spec.get("search") else spec["searcher"]] if spec.get("searcher") else []),
            *([spec["scheduler"]] if spec.get("scheduler") else []),
            *([_executor(spec)] if spec.get("executor") else []),
            *([f"seed {spec['seed']}"] if spec.get("seed") is not None else []),
        ]
        verb = "goes on" if event.session else "begins"
        self._print(f"{self._name} {verb}: {', '.join(parts)}")
        if self._changes:
            self._print(f"changed since: {', '.join(_change(key, before.get(key), value) for key, value in self._changes.items())}")
        if self._path:
            self._print(f"files: {self._path}")

    def _suggested(self, event: ev.Suggested) -> None:
        self._live[event.trial] = _Live(event.values, space=self._space)

    def _changed(self, event: ev.SpecChanged) -> None:
        self._spec = {**self._spec, **event.changes}
        self._space += "space" in event.changes

    def _reopened(self, event: ev.Reopened) -> None:
        self._live[event.trial] = _Live(event.values, None, event.iteration, event.metrics, event.space)
        status = ERROR if event.why == "errored" else TERMINATED
        self._counts[status] = self._counts.get(status, 0) - 1
        if self._may("reopened"):
            self._print(f"trial {self._id(event.trial)} goes on {_AGAIN[event.why]}")

    def _started(self, event: ev.AttemptStarted) -> None:
        live = self._live.get(event.trial)
        if live is not None and self._may("started"):
            what = "goes on after a pause" if live.resumed else "started again" if event.attempt else "started"
            what += f" (attempt {event.attempt + 1})" if event.attempt else ""
            shown = pairs(self._labels(live.values, live.space))
            self._print(f"trial {self._id(event.trial)} {what}{': ' if shown else ''}{shown}")

    def _reported(self, event: ev.Reported) -> None:
        live = self._live.get(event.trial)
        if live is None:
            return
        live.iteration, live.metrics = event.iteration, latest(live.metrics, event.metrics, self._spec.get("metrics") or ())
        if self._verbose > 1 and self._may("reported"):
            shown = pairs(numbers(event.metrics, (), 8))
            saved = f" (checkpoint {event.checkpoint})" if event.checkpoint and self._verbose > 2 else ""
            self._print(f"trial {self._id(event.trial)} iteration {event.iteration}: {shown}{saved}")

    def _saved(self, event: ev.CheckpointSaved) -> None:
        if self._verbose > 2 and self._may("saved"):
            self._print(f"trial {self._id(event.trial)} saved checkpoint {event.checkpoint}")

    def _explored(self, event: ev.Explored) -> None:
        if event.trial in self._live:
            self._live[event.trial].then = event.values

    # -- decisions -------------------------------------------------------------------------------------------------------

    def _decided(self, decision: Decision) -> None:
        do, trial = decision.do, decision.trial
        if trial is None:
            self._experiment(decision)
            return
        live = self._live.get(trial)
        goes_on = do == "launch" and live is not None and live.paused
        if live is not None:
            live.paused, live.resumed = do in ("pause", "paused") or (live.paused and do == "resize"), goes_on
        if do == "end":
            self._ended(trial, decision)
        elif do == "retry" or (do == "paused" and decision.data.get("charge")):
            waits = decision.data.get("wait")  # for an exploit, which is told when it is complete
            if not waits and self._may("left" if self._halted else "retried"):
                self._print(f"trial {self._id(trial)} {left(decision) if self._halted else again(decision)}")
        elif do == "exploit" and live is not None and decision.data.get("values") is not None:
            live.then = decision.data["values"]
        elif do == "exploited" and live is not None and live.then is not None:
            live.values, live.space, live.then = live.then, decision.data.get("space", live.space), None
            if self._may("exploited"):
                self._print(f"trial {self._id(trial)} {told(decision, self._id)}")
        if self._verbose > 2 and (goes_on or do not in ("end", "exploited", "retry", "launch")) and self._may("decided"):
            self._print(f"trial {self._id(trial)} {'goes on' if goes_on else do}{': ' if decision.reason else ''}{decision.reason}")

    def _experiment(self, decision: Decision) -> None:
        if decision.do == "finish":
            self._finish = decision.reason
            return
        if decision.do == "drop":
            if self._verbose > 2 and self._may("decided"):
                self._print(f"checkpoints deleted: {decision.reason}: {', '.join(decision.data['checkpoints'])}")
            return
        self._halted = True
        self._until = decision.data.get("until")
        text = f"{self._name} is stopping: {decision.reason}"
        if self._until is not None and self._live:
            self._counted = self._clock()
            bound = duration(max(0.0, round(self._until - self._counted)))
            text = joined(text, f"trials that have not ended in {bound} are killed")
        self.say(text)

    def _count_down(self, until: float) -> None:
        """Tell, whenever something happens but not too often, how long unfinished trials still have."""
        now = self._clock()
        if self._live and now - self._counted >= _COUNT_S and not self._pictured and now < until:
            self._counted = now
            self.say(f"{duration(round(until - now))} left until running trials are killed")

    def _ended(self, trial: int, decision: Decision) -> None:
        live = self._live.pop(trial, None) or _Live({})
        status, outcome = decision.data["status"], decision.data.get("outcome", "")
        self._counts[status] = self._counts.get(status, 0) + 1
        best = self._is_best(trial, live, outcome)
        if status == ERROR:
            if self._may("failed"):
                self._print(f"trial {self._id(trial)} failed{_after(live)}: {decision.reason}")
        elif self._may("ended"):
            shown = pairs(numbers(live.metrics, self._spec.get("metrics", ())))
            text = f"trial {self._id(trial)} {outcome or 'ended'}{_after(live)}"
            text += f": {shown}" if shown else ""
            text += " (best so far)" if best else ""
            text += f"; {decision.reason}" if outcome != "finished" and decision.reason else ""
            self._print(text)

    def _is_best(self, trial: int, live: _Live, outcome: str = "") -> bool:
        """Whether the trial's last value is better than that of all that ended before; then it is kept as the best."""
        metrics: Sequence[str] = self._spec.get("metrics") or ()
        if len(metrics) != 1:  # of several metrics none says alone which trial is the best
            return False
        key, best = rank(live.metrics.get(metrics[0]), self._spec["modes"][0], outcome), self._best
        if key is None or (best is not None and (best.rank, best.number) < (key, trial)):
            return False
        self._best = _Best(key, trial, live.iteration, live.values, numbers(live.metrics, metrics), live.space)
        return True

    # -- the summary -----------------------------------------------------------------------------------------------------

    def _summary(self) -> Iterable[str]:
        for trial, live in self._live.items():
            self._is_best(trial, live)
        counts = [f"{count} {status}" for status, count in sorted(self._counts.items(), reverse=True) if count]
        if self._live:
            counts.append(f"{len(self._live)} unfinished")
        total = sum(self._counts.values()) + len(self._live)
        of = f" ({', '.join(counts)})" if counts else ""
        yield f"{self._name}: {plural(total, 'trial')} in {duration(self._at)}{of}"
        if self._finish and (self._halted or total != self._spec.get("num_samples")):
            yield f"ended because: {self._finish}"
        best = self._best
        if best is not None:
            yield f"best trial {self._id(best.number)}: {pairs(best.metrics)} after {plural(best.iteration, 'iteration')}"
            yield f"best config: {pairs(self._labels(best.values, best.space)) or 'nothing was drawn'}"
        groups = self._failures.groups
        for group in groups:
            yield f"{group.count} of {plural(total, 'trial')}: {group.text}"
        if groups and self._path:
            yield f"run one of them again, here: python -m tunesmith rerun {shlex.quote(self._path)} {self._id(groups[0].trials[0])}"
        if self._path:
            yield f"files: {self._path}"

    # -- printing --------------------------------------------------------------------------------------------------------

    def _may(self, kind: str) -> bool:
        """Whether a line of this kind may be printed now; else it is counted."""
        if self._muted or (self._pictured and kind != "failed"):
            return False
        now = self._clock()
        if now - self._window >= 1.0:
            self._tell_skipped()
            self._window, self._lines = now, 0
        self._lines += 1
        if self._lines <= self._limit:
            return True
        self._skipped[kind] = self._skipped.get(kind, 0) + 1
        return False

    def _tell_skipped(self) -> None:
        skipped, self._skipped = self._skipped, {}
        if skipped:
            self._print(f"... and {', '.join(f'{count} {_WHAT.get(kind, kind)}' for kind, count in skipped.items())}")

    def _print(self, line: str) -> None:
        stream = self._stream or sys.stdout
        if stream is None:  # no console at all, as under pythonw
            return
        try:
            try:
                stream.write(f"{line}\n")
            except UnicodeEncodeError:
                stream.write(f"{line}\n".encode(stream.encoding or "ascii", "replace").decode(stream.encoding or "ascii"))
            stream.flush()
        except (OSError, ValueError):  # closed, or nobody reads any more: the run has better things to do
            self._muted = True

    @property
    def _name(self) -> str:
        """As it is called now: it goes with its directory."""
        return str(self._spec.get("name", self._header.name))

    def _id(self, trial: int) -> str:
        return trial_id_of(self._header, trial)

    def _labels(self, values: dict[str, Any], space: int) -> Mapping[str, Any]:
        return self._show(values, space) if self._show is not None else values


def _executor(spec: Mapping[str, Any]) -> str:
    why = spec.get("executor_why")
    return f"executor {spec['executor']} ({why})" if why else f"executor {spec['executor']}"


def _change(key: str, before: Any, now: Any) -> str:
    text = f"{key} {before} -> {now}"
    return text if len(text) <= _MOST else key


def _after(live: _Live) -> str:
    return f" after {plural(live.iteration, 'iteration')}" if live.iteration else ""


_EVENTS: dict[type, Callable[[PlainReporter, Any], None]] = {
    ev.ExperimentStarted: PlainReporter._begun,
    ev.SpecChanged: PlainReporter._changed,
    ev.Suggested: PlainReporter._suggested,
    ev.Reopened: PlainReporter._reopened,
    ev.AttemptStarted: PlainReporter._started,
    ev.Reported: PlainReporter._reported,
    ev.CheckpointSaved: PlainReporter._saved,
    ev.Explored: PlainReporter._explored,
}

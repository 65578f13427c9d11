"""Names that an experiment looks for in reports, and what is said where they do not come (they may be misspelt), or not as numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.ends import AUTOFILLED
from tunesmith.core.ports import Header, Record
from tunesmith.core.trial import TERMINATED
from tunesmith.hints import did_you_mean
from tunesmith.progress.text import cut
from tunesmith.schedulers.rungs import time_of
from tunesmith.spec import ExperimentSpec

__all__ = ["AwaitedWatch", "is_number", "meant", "number_keys", "wanted_keys"]

_GIVEN = frozenset({"done", "should_checkpoint", "trial_id", "config"})
"""What stop criteria find in every result."""
_PATIENCE = 3
"""Reports of one trial that may lack a name, or a value for it, before it is spoken of."""

_TIME = "the scheduler's time_attr"

_log = logging.getLogger("tunesmith")


def wanted_keys(spec: ExperimentSpec) -> dict[str, list[str]]:
    """Keys of reports -> who looks for them."""
    wanted: dict[str, list[str]] = {}
    for name in spec.metrics:
        wanted.setdefault(name, []).append("the metric")
    for key in spec.stop.compares() if spec.stop is not None else ():
        wanted.setdefault(key, []).append("the stop criterion")
    time_attr = getattr(spec.scheduler, "time_attr", None)
    if isinstance(time_attr, str):
        wanted.setdefault(time_attr, []).append(_TIME)
    if spec.checkpoint.score_attribute is not None:
        wanted.setdefault(spec.checkpoint.score_attribute, []).append("the score attribute of checkpoints")
    return {key: users for key, users in wanted.items() if key.partition("/")[0] not in _GIVEN}


def number_keys(spec: ExperimentSpec) -> dict[str, str]:
    """Keys of reports whose values must be numbers, or nothing can be decided by them -> what they are, as in "the metric"."""
    time_attr = getattr(spec.scheduler, "time_attr", None)
    keys = {time_attr: _TIME} if isinstance(time_attr, str) else {}
    return {**dict.fromkeys(spec.metrics, "the metric"), **keys}


def is_number(role: str, key: str, metrics: Mapping[str, Any]) -> bool:
    """Whether ``metrics`` has a number under ``key``, as schedulers see it: as a metric True is 1 and nan the worst, but neither is a time.

    Args:
        role: of the key, as in :func:`number_keys`.
    """
    return time_of(metrics, key) is not None if role == _TIME else isinstance(metrics.get(key), (int, float))


def meant(key: str, own: Iterable[str]) -> str:
    """A hint at one of the trial's ``own`` names, or of those that every result has: "" if none is like ``key``."""
    return did_you_mean(key, [*own, "training_iteration", "time_total_s", "timesteps_total"])


class AwaitedWatch:
    """Says once which of :func:`wanted_keys` no trial reports, which of :func:`number_keys` is reported as something else, and of the first
    trial that ended without any report; whatever ``verbose`` is. A metric that is missing from reports ends the experiment, and is the
    core's business.

    Args:
        spec: of the experiment.
        header: of the journal.
        past: records of earlier sessions.
    """

    def __init__(self, spec: ExperimentSpec, header: Header, past: Sequence[Record]) -> None:
        self._header = header
        self._metrics = spec.metrics
        self._missing = {key: users for key, users in wanted_keys(spec).items() if key not in spec.metrics}
        self._numbers = number_keys(spec)
        self._blank = set(self._numbers)  # those of which no number has come
        self._silent = bool(spec.metrics)  # nothing has been reported at all
        for record in past:
            if record.handled and isinstance(record.event, ev.Reported):
                self._note(record.event)

    def committed(self, records: Sequence[Record]) -> None:
        """Look for reports, and for ends without one."""
        if not self._missing and not self._numbers and not self._silent:
            return
        for record in records:
            if isinstance(record.event, ev.Reported):
                self._note(record.event)
                if self._missing and record.event.iteration >= _PATIENCE:
                    self._tell(record.event)
                for key in [key for key, role in self._numbers.items() if not is_number(role, key, record.event.metrics)]:
                    self._tell_of_value(key, record.event)
            for decision in record.decisions if self._silent else ():
                if decision.do == "end" and decision.data["status"] == TERMINATED and decision.data["outcome"] != "infeasible":
                    self._tell_of_silence(decision.trial or 0)

    def close(self) -> None:
        """There is nothing to finish."""

    def _note(self, event: ev.Reported) -> None:
        self._silent = False
        for key in [key for key in self._missing if _is_there(key, event.metrics) or _is_there(key, event.named)]:
            del self._missing[key]
        if self._blank:
            self._blank -= {key for key in self._blank if is_number(self._numbers[key], key, event.metrics)}

    def _tell(self, event: ev.Reported) -> None:
        own = sorted(name for name in {*event.metrics, *event.named} if name not in AUTOFILLED)
        for key, users in self._missing.items():
            _log.warning(
                "%s %r is not among what was reported: %s.%s (All is well if it comes with a later report.)",
                " and ".join(users), key, ", ".join(own) or "nothing", meant(key, own),
            )  # fmt: skip
        self._missing = {}

    def _tell_of_value(self, key: str, event: ev.Reported) -> None:
        """There is no number under ``key``; if there is anything else, that is said. Of the metric, too: if no trial reports it as a number
        the core ends the experiment, but not before one of them is over."""
        value, more = event.metrics.get(key), ""
        if key in event.named:
            what = "an array or an object"
        elif key not in event.metrics:
            if key not in self._blank or not _is_there(key, event.metrics):
                return
            what = "a dict"
        elif value is None or value != value:  # not measured this time, perhaps
            if key not in self._blank or event.iteration < _PATIENCE:
                return
            what, more = f"{value} ({type(value).__name__})", " All is well if a number comes with a later report."
        else:
            what = f"{cut(repr(value), 60)} ({type(value).__name__})"
        _log.warning(
            "%s %r was reported as %s, and must be a number: nothing can be decided by such a report.%s (Said once.)",
            self._numbers.pop(key), key, what, more,
        )  # fmt: skip
        self._blank.discard(key)

    def _tell_of_silence(self, number: int) -> None:
        from tunesmith.journal.experiment import trial_id_of

        self._silent = False
        _log.warning(
            "trial %s has ended and reported nothing, so there is no %s to compare it by. Return the value, or give it to tune.report().",
            trial_id_of(self._header, number), " and ".join(map(repr, self._metrics)),
        )  # fmt: skip


def _is_there(key: str, names: Iterable[str]) -> bool:
    """Whether ``key`` is among the flat ``names``, or is the front part of one: a whole dict was reported under it."""
    return key in names or any(name.startswith(f"{key}/") for name in names)

"""What attempts have shown, judged: what is a problem, what a warning, and in which words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from tunesmith.awaited import is_number, meant, number_keys, wanted_keys
from tunesmith.core.ends import AUTOFILLED
from tunesmith.core.flat import ResultDict
from tunesmith.inspection.rehearsal import Seen
from tunesmith.progress.text import cut
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec
from tunesmith.trainable.watched import Reads

__all__ = ["judge_keys", "judge_unread", "said", "unread_paths", "went_on", "where"]

Texts = tuple[list[str], list[str]]
"""Problems and warnings."""


def where(seen: Seen) -> str:
    """``train.py:12: ``, the user's own line; "" if it is not known."""
    error = seen.ended.error if seen.ended is not None else None
    return f"{error['where']}: " if error and error.get("where") else ""


def said(seen: Seen) -> str:
    """``train.py:12: KeyError: 'lr'``: how an attempt failed."""
    error = (seen.ended.error if seen.ended is not None else None) or {}
    lines = error.get("message", "").strip().splitlines() or [""]
    text = f"{error.get('type') or seen.outcome}: {lines[0]}".rstrip(": ")
    return f"{where(seen)}{text}{' ...' if len(lines) > 1 else ''}"


def judge_keys(spec: ExperimentSpec, seen: Seen) -> Texts:
    """Is there in the reports what the run will look for? What a trial that ended by itself has not reported will never come."""
    problems: list[str] = []
    warnings: list[str] = []
    reported = ResultDict(seen.metrics)
    others = {name for report in seen.reports for name in report.named}
    own = sorted(name for name in {*reported, *others} if name not in AUTOFILLED and not name.startswith("time_"))
    numbers = number_keys(spec)
    for key, users in wanted_keys(spec).items():
        who, value = f"{' and '.join(users)} {key!r}", reported.get(key)
        if key in others or isinstance(value, str | Mapping):
            if key in numbers:
                what = "is an array or an object" if key in others else f"is {cut(repr(value), 60)}"
                problems.append(f"{who} {what}, and must be a number")
        elif value is None:
            text = f"{who} is not among what was reported: {', '.join(own) or 'nothing'}.{meant(key, own)}"
            if seen.over:
                problems.append(text)
            else:
                warnings.append(f"{text} (All is well if it comes with a later report.)")
        elif key in numbers and not is_number(numbers[key], key, reported):
            problems.append(f"{who} is {value!r}, and must be a number")
        elif key in spec.metrics and isinstance(value, float) and math.isnan(value):
            what = "; a trial that reports nan ends in ERROR, unless FailureConfig(nan='continue')"
            warnings.append(f"{who} is nan{what if spec.failure.nan_policy == 'fail' else ''}")
    return problems, warnings


def unread_paths(space: Space, drawn: Iterable[str], reads: Sequence[Reads]) -> tuple[str, ...]:
    """Paths in the config of the parameters ``drawn`` that nobody has read. Constants are not named: they may be there for people."""
    paths = [tuple(map(str, space.nodes[name].keys)) for name in drawn if name in space.nodes]
    return tuple(dict.fromkeys("/".join(path) for path in paths if not any(one.covers(path) for one in reads)))


def judge_unread(unread: Sequence[str], reads: Sequence[Reads], computes: bool) -> str:
    """A warning.

    Args:
        unread: at least one.
        reads: may know of keys that were asked for in vain.
        computes: functions of the space may have read them.
    """
    what = f"the parameter {_quoted(unread)} was" if len(unread) == 1 else f"the parameters {_quoted(unread)} were"
    maybe = " (by a sample_from perhaps)" if computes else ""
    absent = sorted({"/".join(path) for one in reads for path in one.absent})
    asked = f"; it asked for {_quoted(absent)}, which the config does not have" if absent else ""
    return f"{what} drawn, and never read in the first steps of the trial{maybe}{asked}"


def went_on(first: Seen, second: Seen, iteration: int) -> str:
    """Whether ``second`` counts on from the checkpoint of ``first`` at ``iteration``; else what is wrong.

    A counter of the user's own (``training_iteration`` in what is reported) may count in larger steps.
    """
    if not second.reports:
        return ""  # there was nothing more to do
    saved = next((report.metrics for report in first.reports if report.iteration == iteration), {})
    before, after = saved.get("training_iteration", iteration), second.reports[0].metrics.get("training_iteration")
    if not isinstance(before, int | float) or not isinstance(after, int | float) or after > before:
        return ""
    return (
        f"a trial that goes on from its checkpoint of training_iteration={before} reports {after} next: it began anew. Take the counter "
        "from the checkpoint, too"
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))

"""How an experiment's end reaches the caller: results, an error that names what happened, or a line that says how to go on."""

from __future__ import annotations

import logging
import os
import shlex
from contextlib import closing
from typing import TYPE_CHECKING

from tunesmith.core.trial import ERROR
from tunesmith.errors import JournalError, MetricError, SpecError, StorageFull, TrialsFailed, UserCodeError
from tunesmith.places import JOURNAL

if TYPE_CHECKING:
    from tunesmith.analysis import ExperimentAnalysis
    from tunesmith.execute import Finished
    from tunesmith.failures import FailureLog
    from tunesmith.spec import ExperimentSpec

__all__ = ["failure_text", "perform", "rerun_command"]

_BY_FAILURES = frozenset({"breaker", "fail_fast", "unplaceable"})
"""Kinds of ends that failed trials brought about: there all of them count, nan ones too."""


def perform(spec: ExperimentSpec, ended: list[Finished] | None = None) -> ExperimentAnalysis:
    """Drive a validated experiment to its end.

    Args:
        ended: gets how it ended, also where that is raised.

    Raises:
        MetricError: the metric was never reported.
        TrialsFailed: trials ended in ERROR, and the spec says to raise.
        TuneError: the experiment itself could not go on.
        KeyboardInterrupt: a second Ctrl-C.
        SystemExit: the run was drained after SIGTERM, which the process is to end by.
    """
    from tunesmith.execute import execute

    try:
        finished = execute(spec)
    except SpecError:
        if not spec.resume:
            _clear(spec.path)
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        by = " by Ctrl-C" if isinstance(error, KeyboardInterrupt) else ""
        logging.getLogger("tunesmith").warning("broken off%s.%s", by, _again(spec, " What was reported is kept; to go on"))
        raise
    except StorageFull as error:
        raise StorageFull(f"{error}{_again(spec)}") from error.__cause__
    if ended is not None:
        ended.append(finished)
    from tunesmith.analysis import ExperimentAnalysis  # not before it is needed: first trials would wait for it

    analysis = ExperimentAnalysis(finished.path, resolve=finished.resolve)
    _conclude(spec, finished, analysis)
    return analysis


def _again(spec: ExperimentSpec, lead: str = " To go on") -> str:
    """The end of a message: the arguments that go on with it; nothing where no files are kept."""
    return f"{lead}: resume=True, name={spec.name!r}." if spec.kept else ""


def _clear(path: str) -> None:
    """Take away the directory of an experiment that was refused before its first record, so that its name is free again."""
    from tunesmith.journal import open_reader

    file = os.path.join(path, JOURNAL)
    try:
        if os.path.exists(file):
            with closing(open_reader(file)) as reader:
                if reader.last():
                    return
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)
    except (OSError, JournalError):
        pass  # an empty directory more is no reason to hide what was refused


def failure_text(finished: Finished, analysis: ExperimentAnalysis, kept: bool = True) -> str:
    """``3 of 20 trials failed: KeyError: 'lr' at train.py:42 (3x: 4f2a1_00003, ...)``, and how to run one of them again."""
    groups = finished.failures.groups
    failed, total = finished.failures.count(), sum(finished.counts.values())
    parts = []
    for group in groups:
        ids = [analysis.trials[number].trial_id for number in group.trials]
        more = ", ..." if group.count > len(ids) else ""
        parts.append(f"{group.text} ({group.count}x: {', '.join(ids)}{more})")
    again = rerun_command(finished.path, analysis.trials[groups[0].trials[0]].trial_id)
    why = {
        "breaker": f" {finished.reason.partition(':')[0].capitalize()}, so no more were started.",
        "fail_fast": " With fail_fast the first failure ends the run, so no more were started.",
    }.get(finished.kind, "")
    hint = f"To run one of them again, in this terminal: {again}" if kept else "Their files were temporary: storage_path= keeps them."
    return f"{failed} of {total} trials failed: {'; '.join(parts)}.{why} {hint}"


def rerun_command(path: str, trial_id: str) -> str:
    """The shell command that runs a trial again where a debugger can follow."""
    return f"python -m tunesmith rerun {shlex.quote(path)} {trial_id}"


def _conclude(spec: ExperimentSpec, finished: Finished, analysis: ExperimentAnalysis) -> None:
    if finished.exhausted:
        if not any(finished.counts.values()):
            raise UserCodeError(f"no trial could be started: {finished.exhausted}")
        logging.getLogger("tunesmith").warning("no more configurations were proposed: %s", finished.exhausted)
    if finished.kind == "metric":
        raise MetricError(finished.reason + (f" The results so far are in {finished.path}." if spec.kept else ""))
    if finished.broken:
        raise UserCodeError(f"{finished.broken}{_again(spec)}")
    if finished.kind == "drain":
        logging.getLogger("tunesmith").warning("%s%s", finished.reason, _again(spec, "; unfinished trials can go on") or ".")
    if finished.exit_code:
        raise SystemExit(finished.exit_code)
    cut_short = finished.kind in _BY_FAILURES
    failed = finished.failures.count(but=() if cut_short else ("nan",))
    policy = spec.failure
    if failed and policy.fail_fast == "raise" and (original := _original(spec, finished.failures)) is not None:
        raise original
    # who asked for fail_fast="raise" gets something raised, too, where the trial has left no exception (nan, a lost worker)
    if failed and (policy.raise_on_failed_trial or (policy.fail_fast == "raise" and finished.kind == "fail_fast")):
        raise TrialsFailed(failure_text(finished, analysis, spec.kept), [trial for trial in analysis.trials if trial.status == ERROR])
    if cut_short:
        reason = finished.reason.rstrip(".")
        logging.getLogger("tunesmith").warning("%s. No more trials were started%s", reason, _again(spec, "; to go on") or ".")


def _original(spec: ExperimentSpec, failures: FailureLog) -> BaseException | None:
    """What the trial raised whose failure ended the run, itself; None if it has raised nothing, or in an earlier session."""
    trial = failures.first if failures.culprit is None else failures.culprit
    return spec.executor.error_of(trial) if spec.executor is not None and trial is not None else None

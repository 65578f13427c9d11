"""Who watches a run: the user's callbacks, the files, the console. Put together here, each independent of the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tunesmith.core.ports import Clock, Header, Observer, Record
from tunesmith.spec import ExperimentSpec

__all__ = ["observers"]


def observers(spec: ExperimentSpec, header: Header, settings: dict[str, Any], past: Sequence[Record], clock: Clock) -> list[Observer]:
    """The observers of one session.

    Args:
        settings: the JSON description of the experiment.
        past: records of earlier sessions: they know of them, but do not tell them again.
    """
    from tunesmith.logger import loggers_from, split_callbacks

    hooks, own = split_callbacks(spec.callbacks)
    loggers = loggers_from(None, own) if spec.loggers is None else [*own, *spec.loggers]
    info = {"stop": spec.stop, "num_samples": spec.num_samples, "total_num_samples": settings["num_samples"]}
    found: list[Observer] = []
    if hooks:
        from tunesmith.callback import CallbackObserver

        observer = CallbackObserver(hooks, _book(spec, header))
        observer.replay(past)
        observer.setup(**info)
        found.append(observer)
    if loggers:
        from tunesmith.journal import JOURNAL_FILE, open_reader
        from tunesmith.logger import LoggerHost

        host = LoggerHost(loggers, _book(spec, header), lambda: open_reader(os.path.join(spec.path, JOURNAL_FILE)), spec.path)
        host.setup(**info)
        found.append(host)
    if spec.verbose:
        from tunesmith.progress import PlainReporter

        reporter = PlainReporter(header, spec.path, show=spec.space.labels, verbose=spec.verbose, clock=clock.now)
        reporter.replay(past)
        found.append(reporter)
    return found


def _book(spec: ExperimentSpec, header: Header) -> Any:
    """A fold of its own for each observer: they stand at different records at any one time."""
    from tunesmith.journal.trials import TrialBook

    return TrialBook(header, spec.path, spec.trainable.name, spec.space.resolve, keep_finished=False)

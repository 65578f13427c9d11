"""A search as a run: where its trials run, where its files are, and what comes back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.config import CheckpointConfig, FailureConfig
from tunesmith.ending import perform
from tunesmith.errors import SpecError
from tunesmith.executors.interpreter import ahead
from tunesmith.hints import did_you_mean
from tunesmith.logger import CSVLogger, JsonLogger, TBXLogger
from tunesmith.places import default_name
from tunesmith.runner import check_arguments
from tunesmith.sklearn.gradual import Gradual
from tunesmith.sklearn.spaces import Candidates, Space
from tunesmith.sklearn.task import Task, evaluate
from tunesmith.trainable.base import with_parameters

if TYPE_CHECKING:
    from tunesmith.analysis import ExperimentAnalysis
    from tunesmith.execute import Finished

__all__ = ["Ran", "Search", "search"]

_LOGGERS = {"csv": CSVLogger, "json": JsonLogger, "tensorboard": TBXLogger}
"""By their names in tune-sklearn."""


@dataclass(slots=True)
class Search:
    """What to try.

    Args:
        owner: the class, for messages and for the experiment's name.
        source: the candidates, or the space.
        searcher: a searcher or the name of one.
        num_samples: how often it is asked.
        seed: of the run.
        learns: whether it needs the trials' scores.
    """

    owner: str
    source: Candidates | Space
    searcher: Any
    num_samples: int
    seed: int
    learns: bool


@dataclass(slots=True)
class Ran:
    """What came of it.

    Args:
        task: as it was run.
        gradual: trials report step by step.
        trials: parameters and newest result of each trial that has one, by number.
        analysis: of the experiment, if it was kept.
    """

    task: Task
    gradual: bool
    trials: list[tuple[dict[str, Any], dict[str, Any]]]
    analysis: ExperimentAnalysis | None


def search(
    task: Task, what: Search, scheduler: Any, *, jobs: int, gpus: float, name: str | None, storage_path: Any, loggers: Any, **arguments: Any
) -> Ran:
    """Run it to its end.

    Args:
        task: what trials share.
        what: what to try.
        scheduler: None: each trial evaluates its candidate at once, and reports once.
        jobs: so many trials at once, each in a process of its own; 1: one after the other in this very thread.
        gpus: that each trial holds.
        name, storage_path, loggers: as for :func:`tunesmith.run`; loggers also by name. If all are None, the experiment's files are
            temporary.
        **arguments: more of :func:`tunesmith.run`'s.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        SpecError: an argument is wrong, or nothing was evaluated before the end.
        Exception: what a trial raised.
    """
    kept = not (name is None and storage_path is None and loggers is None)
    executor = "inline" if jobs == 1 and not gpus else None
    with ExitStack() as stack:
        stack.enter_context(ahead(executor))
        if not kept:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tunesmith-sklearn-", ignore_cleanup_errors=True))
            storage_path, loggers = os.path.realpath(folder), ()
        checked = check_arguments(
            f"{what.owner}.fit",
            with_parameters(evaluate if scheduler is None else Gradual, task=task),
            {
                **arguments, "name": name or default_name(type(task.estimator).__name__),
                "storage_path": storage_path, "loggers": _loggers(loggers),
                "config": what.source.config, "search_alg": what.searcher, "num_samples": what.num_samples, "seed": what.seed,
                "scheduler": scheduler, "executor": executor, "max_concurrent_trials": jobs,
                "resources_per_trial": {"cpu": 1, "gpu": gpus} if gpus else None, "log_to_file": None if kept else False,
                "failure_config": FailureConfig(fail_fast="raise", nan="continue"),
                "checkpoint_config": CheckpointConfig(checkpoint_at_end=False) if scheduler is not None else None,
            },
        )  # fmt: skip
        ended: list[Finished] = []
        spec = checked.placed()
        spec.kept = kept
        analysis = perform(spec, ended)
        if ended[0].kind == "drain":
            raise KeyboardInterrupt
        trials = [
            (task.source.params_of(trial.config), dict(trial.last_result)) for trial in analysis.trials if trial.report is not None
        ]  # fmt: skip
    if not trials:
        raise SpecError(f"{what.owner}.fit: no candidate was evaluated ({ended[0].reason or 'nothing was proposed'}).")
    return Ran(task, scheduler is not None, trials, analysis if kept else None)


def _loggers(given: Any) -> Any:
    """What :func:`tunesmith.run` takes for them."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return given
    return [_logger(one) if isinstance(one, str) else one for one in given]


def _logger(name: str) -> Any:
    if name not in _LOGGERS:
        raise SpecError(
            f"loggers: there is none named {name!r}; there are: {', '.join(_LOGGERS)}.{did_you_mean(name, _LOGGERS)} Others are given as "
            "objects: loggers=[tunesmith.integration.mlflow.MLflowLoggerCallback()]."
        )
    return _LOGGERS[name]

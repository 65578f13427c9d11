"""``preflight``: what would spoil an experiment, found before it begins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tunesmith.executors.interpreter import ahead
from tunesmith.inspection.findings import Preflight
from tunesmith.inspection.gate import TIMEOUT_S, examine, refuse_instance
from tunesmith.runner import check_arguments
from tunesmith.space.nodes import fresh

__all__ = ["Preflight", "preflight"]


def preflight(trainable: Any, *, timeout_s: float | timedelta | None = TIMEOUT_S, **arguments: Any) -> Preflight:
    """Try an experiment with one trial, for a step or two, before hours are spent on it. Nothing of it is kept, and no name is taken.

    It finds out whether

    * the trial runs: an error is a problem, and its text begins with the line of your code;
    * it reports the metric, and the keys that stop criteria, the scheduler and the ranking of checkpoints look at. That one is missing
      is a problem if the trial ended by itself, else a warning: it may come with a later report;
    * it goes on from its own checkpoint: the trial is stopped, and begun again from there;
    * it reads what is drawn for it: a parameter that it never looks at is most often misspelt. Where the configuration is passed on as
      a whole (``Model(**config)``), nobody can know;
    * there are time and disk enough: how long the whole experiment takes, and what its checkpoints need.

    One configuration is drawn, independently of the search: the experiment's own configurations are the same with and without a
    preflight. The trial is a real one, with a trial's resources; what your code does to the world (uploads, prints), it does here, too.
    If it fails, it is run a second time with a plain dict, to tell whether it did so because its config notes what is read of it.

    Args:
        trainable: as for :func:`tunesmith.run`.
        timeout_s: seconds, or a ``timedelta``, for all of it, > 0; None: as long as it takes. A trial that is over time is killed; with
            executor="inline" it cannot be, and is waited for.
        arguments: those of :func:`tunesmith.run`. ``executor`` is a name, or None.

    Returns:
        What was found: print it, look at ``ok``, ``problems`` and ``warnings``, or call ``raise_if_bad()``.

    Raises:
        SpecError: an argument is wrong or unknown, ``executor`` is no name, or an experiment would be resumed.
        StorageFull: the directory of results cannot be written.
        ExecutorError: the executor cannot run here.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> def train(config):
        ...     for step in range(100):
        ...         tune.report(loss=config["lr"] / (step + 1))
        >>> space = {"lr": tune.uniform(0.1, 1), "momentum": tune.choice([0.9])}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = preflight(train, config=space, metric="los", mode="min", storage_path=folder, executor="inline")
        >>> found.ok, found.unread
        (True, ('momentum',))
        >>> for warning in found.warnings:
        ...     print(warning)
        the metric 'los' is not among what was reported: loss. Did you mean 'loss'? (All is well if it comes with a later report.)
        no checkpoint was saved. A retry, and a trial that goes on after a pause, starts anew
        the parameter 'momentum' was drawn, and never read in the first steps of the trial
    """
    refuse_instance(arguments.get("executor"))
    arguments["scheduler"] = fresh(arguments.get("scheduler"))  # it is told the metric, and may be meant for another run
    with ahead(arguments.get("executor")):
        return examine(check_arguments("preflight()", trainable, arguments), timeout_s)

"""``Tuner``: the object front. The same experiments as with ``run``, described by config objects; failed trials do not raise."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tunesmith.checks import flag
from tunesmith.config import RunConfig, TuneConfig
from tunesmith.errors import SpecError, TuneError
from tunesmith.executors.interpreter import ahead
from tunesmith.legacy import settle
from tunesmith.places import JOURNAL, is_url
from tunesmith.spec import ResumePlan

if TYPE_CHECKING:
    from tunesmith.analysis import ResultGrid
    from tunesmith.build import Checked
    from tunesmith.inspection.findings import Preflight
    from tunesmith.spec import ExperimentSpec

__all__ = ["Tuner"]

_OWN = ("trainable", "param_space", "tune_config", "run_config")
AS_BEFORE: Any = ...
"""Stands for what an experiment that is restored had before."""
_CONFIGS = ("failure_config", "checkpoint_config")


class Tuner:
    """An experiment to be fitted.

    Args:
        trainable: a training function, a ``Trainable`` class or a registered name.
        param_space: the search space, as ``config`` of :func:`tunesmith.run`.
        tune_config: how to search; see :class:`TuneConfig`.
        run_config: how to run, and what to keep; see :class:`RunConfig`.

    Raises:
        SpecError: an argument is unknown or of the wrong type.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> def train(config):
        ...     tune.report({"loss": (config["x"] - 3) ** 2})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = tune.Tuner(
        ...         train,
        ...         param_space={"x": tune.grid_search([1, 2, 3])},
        ...         tune_config=tune.TuneConfig(metric="loss", mode="min"),
        ...         run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ...     )
        ...     print(tuner.fit().get_best_result().config)
        {'x': 3}
    """

    def __init__(
        self,
        trainable: Any,
        *,
        param_space: Mapping[str, Any] | None = None,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
        **unknown: Any,
    ) -> None:
        settle("Tuner()", unknown, _OWN)
        self._trainable = trainable
        self._space: Any = param_space.to_dict() if param_space is not None and hasattr(param_space, "to_dict") else param_space
        self._tune_config = _config("tune_config", tune_config, TuneConfig)
        self._run_config = _config("run_config", run_config, RunConfig)
        self._restored: ExperimentSpec | None = None
        self._again: Callable[[], ExperimentSpec] | None = None
        self._spent = False
        self._results: ResultGrid | None = None

    def fit(self) -> ResultGrid:
        """Run all trials to their end.

        Returns:
            The results, failed trials included: these are in ``.errors`` and never raised.

        Raises:
            SpecError: a setting is wrong; nothing was started.
            TuneError: the experiment itself could not go on; see :mod:`tunesmith.errors`.
        """
        restored = self._restored.executor if self._restored is not None else None
        with ahead(self._run_config.executor if restored is None else restored.capabilities.name):  # while that begins, this one imports
            from tunesmith.analysis import ResultGrid
            from tunesmith.ending import perform

            self._results = ResultGrid(perform(self._spec()))
        return self._results

    def _spec(self) -> ExperimentSpec:
        """A fresh one each time: what has run once holds what it has seen."""
        if self._again is None:
            return self._checked().placed()
        if self._restored is None or self._spent:
            self._restored = self._again()
        self._spent = True
        return self._restored

    def preflight(self, timeout_s: float | timedelta | None = 600.0) -> Preflight:
        """Try the experiment with one trial, for a step or two, before :meth:`fit`. See :func:`tunesmith.preflight`.

        Args:
            timeout_s: seconds, or a ``timedelta``, for all of it; None: as long as it takes.

        Raises:
            SpecError: a setting is wrong, the executor is not given by name, or this tuner was restored.
            TuneError: the preflight itself was not possible.
        """
        if self._restored is not None:
            raise SpecError(f"Tuner.preflight() is for new experiments, and this one goes on with {self._restored.path}; call fit().")
        from tunesmith.inspection.gate import examine, refuse_instance

        refuse_instance(self._run_config.executor)
        with ahead(self._run_config.executor):
            return examine(self._checked(), timeout_s)

    def get_results(self) -> ResultGrid:
        """What :meth:`fit` returned; for a restored tuner also what was there before.

        Raises:
            TuneError: there are no results yet.
        """
        if self._results is None and self._restored is not None:
            from tunesmith.analysis import ExperimentAnalysis, ResultGrid
            from tunesmith.specfile import load
            from tunesmith.versions import Versions

            versions = Versions((), load(self._restored.path), self._restored.space)
            self._results = ResultGrid(ExperimentAnalysis(self._restored.path, resolve=versions.shown))
        if self._results is None:
            raise TuneError("this Tuner has no results yet; call fit() first.")
        return self._results

    @classmethod
    def restore(
        cls,
        path: str | os.PathLike[str],
        trainable: Any,
        resume_unfinished: bool = True,
        resume_errored: bool = False,
        restart_errored: bool = False,
        param_space: Mapping[str, Any] | None = None,
        *,
        num_samples: int = AS_BEFORE,
        stop: Any = AS_BEFORE,
        time_budget_s: float | timedelta | None = AS_BEFORE,
        max_concurrent_trials: int | None = AS_BEFORE,
        scheduler: Any = AS_BEFORE,
        executor: Any = AS_BEFORE,
        storage_filesystem: Any = None,
        take_over: bool = False,
        **unknown: Any,
    ) -> Tuner:
        """A tuner that goes on with the experiment in the directory ``path``, which may have been moved, or at a URL.

        Everything is as it was before, but for what is given here. Trials that a raised bound would not have ended (a stop criterion, the
        scheduler's ``max_t``, the time budget) go on from their newest checkpoints.

        Args:
            path: the experiment's directory; or its URL, whose records and what they need are fetched into a local folder at once.
            trainable: of the same name as before.
            resume_unfinished: go on with unfinished trials, and with the search. False: they stay as they are for now, and nothing new is
                tried: the session is about failed trials only.
            resume_errored: trials that ended in ERROR go on from their newest checkpoints, with fresh budgets of failures.
            restart_errored: or they begin anew, under their old numbers.
            param_space: the space, as it was or another one; needed if it held secrets or what could not be pickled.
            num_samples, stop, time_budget_s, max_concurrent_trials, scheduler, executor: another value than before, as in ``TuneConfig``
                and ``RunConfig``. A scheduler must be of the same kind.
            storage_filesystem: of fsspec's or pyarrow's, in which ``path`` is a path.
            take_over: go on although another machine has claimed the experiment, because that is known to be dead.

        Raises:
            SpecError: there is no experiment, the trainable is another one, an argument is unknown or wrong, or both of
                ``resume_errored`` and ``restart_errored`` are true.

        Example:
            >>> import tempfile
            >>> import tunesmith as tune
            >>> def train(config):
            ...     for step in range(100):
            ...         tune.report({"loss": 1 / (step + 1)})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     run_config = tune.RunConfig(storage_path=folder, stop={"training_iteration": 2}, verbose=0, executor="inline")
            ...     path = tune.Tuner(train, run_config=run_config).fit().experiment_path
            ...     results = tune.Tuner.restore(path, train, stop={"training_iteration": 4}).fit()
            ...     print(results[0].metrics["training_iteration"])
            4
        """
        changes = {
            "num_samples": num_samples, "stop": stop, "time_budget_s": time_budget_s, "max_concurrent_trials": max_concurrent_trials,
            "scheduler": scheduler, "executor": executor,
        }  # fmt: skip
        known = ("path", *_OWN[:2], "resume_unfinished", "resume_errored", "restart_errored", "storage_filesystem", "take_over", *changes)
        settle("Tuner.restore()", unknown, known)
        plan = _plan(resume_unfinished, resume_errored, restart_errored)
        if not cls.can_restore(path, storage_filesystem):
            raise SpecError(f"Tuner.restore(): there is no experiment in {os.fspath(path)!r} (no {JOURNAL}).")
        given = {name: value for name, value in changes.items() if value is not AS_BEFORE}
        checked_take_over = flag("take_over", take_over)

        def again() -> ExperimentSpec:
            from tunesmith.restore import restored_from

            spec = restored_from(path, storage_filesystem, trainable, param_space, plan, **given)
            spec.take_over = checked_take_over
            return spec

        tuner = cls(trainable, param_space=param_space)
        tuner._restored, tuner._again = again(), again
        return tuner

    @staticmethod
    def can_restore(path: str | os.PathLike[str], storage_filesystem: Any = None) -> bool:
        """Whether ``path`` is the directory, or the URL, of an experiment.

        Args:
            storage_filesystem: of fsspec's or pyarrow's, in which ``path`` is a path.

        Raises:
            RemoteStorageError: that cannot be found out, for the storage does not answer.
        """
        if storage_filesystem is not None or is_url(path):
            from tunesmith.storage.copies import experiment_at

            return experiment_at(path, storage_filesystem)
        return os.path.isfile(os.path.join(os.path.expanduser(path), JOURNAL))

    def _checked(self) -> Checked:
        from tunesmith.build import check

        tune = {item.name: getattr(self._tune_config, item.name) for item in fields(TuneConfig)}
        run = {item.name: getattr(self._run_config, item.name) for item in fields(RunConfig) if item.name not in _CONFIGS}
        return check(
            self._trainable,
            config=self._space,
            failure=self._run_config.failure_config,
            checkpoint=self._run_config.checkpoint_config,
            raise_on_failed_trial=False,
            **tune,
            **run,
        )


def _plan(unfinished: Any, resume: Any, restart: Any) -> ResumePlan:
    resume, restart = flag("resume_errored", resume), flag("restart_errored", restart)
    if resume and restart:
        raise SpecError("Tuner.restore(): resume_errored and restart_errored are both True: failed trials go on, or begin anew; give one.")
    return ResumePlan(True, flag("resume_unfinished", unfinished), "resume" if resume else "restart" if restart else "skip")


def _config(what: str, given: Any, cls: type[Any]) -> Any:
    if given is not None and not isinstance(given, cls):
        raise SpecError(f"Tuner(): {what} must be a {cls.__name__}, got {type(given).__name__} {given!r}.")
    return given or cls()

"""``Tuner``: the object front. The same experiments as with ``run``, described by config objects; failed trials do not raise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tunesmith.config import RunConfig, TuneConfig
from tunesmith.errors import SpecError, TuneError
from tunesmith.executors.interpreter import ahead
from tunesmith.legacy import settle
from tunesmith.places import JOURNAL

if TYPE_CHECKING:
    from tunesmith.analysis import ResultGrid
    from tunesmith.build import Checked
    from tunesmith.inspection.findings import Preflight
    from tunesmith.spec import ExperimentSpec

__all__ = ["Tuner"]

_OWN = ("trainable", "param_space", "tune_config", "run_config")
_CONFIGS = ("failure_config", "checkpoint_config", "sync_config")


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
        self._results: ResultGrid | None = None

    def fit(self) -> ResultGrid:
        """Run all trials to their end.

        Returns:
            The results, failed trials included: these are in ``.errors`` and never raised.

        Raises:
            SpecError: a setting is wrong; nothing was started.
            TuneError: the experiment itself could not go on; see :mod:`tunesmith.errors`.
        """
        with ahead(self._run_config.executor):  # while that process begins, this one imports
            from tunesmith.analysis import ResultGrid
            from tunesmith.ending import perform

            self._results = ResultGrid(perform(self._restored or self._checked().placed()))
        return self._results

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
        **unknown: Any,
    ) -> Tuner:
        """A tuner that goes on with the experiment in the directory ``path``, which may have been moved.

        Args:
            path: the experiment's directory.
            trainable: of the same name as before.
            resume_unfinished: only True.
            resume_errored, restart_errored: only False.
            param_space: the space, as it was or another one; needed if it held secrets or what could not be pickled.

        Raises:
            SpecError: there is no experiment, the trainable is another one, or a flag is not supported.
        """
        settle("Tuner.restore()", unknown, ("path", *_OWN[:2], "resume_unfinished", "resume_errored", "restart_errored"))
        for name, value, only in (
            ("resume_unfinished", resume_unfinished, True),
            ("resume_errored", resume_errored, False),
            ("restart_errored", restart_errored, False),
        ):
            if value is not only:
                raise SpecError(f"Tuner.restore(): argument {name}={value!r} is not supported yet; leave it at {only}.")
        from tunesmith.restore import restored

        if not cls.can_restore(path):
            raise SpecError(f"Tuner.restore(): there is no experiment in {os.fspath(path)!r} (no {JOURNAL}).")
        tuner = cls(trainable, param_space=param_space)
        tuner._restored = restored(os.path.abspath(os.path.expanduser(path)), trainable, param_space)
        return tuner

    @staticmethod
    def can_restore(path: str | os.PathLike[str], storage_filesystem: None = None) -> bool:
        """Whether ``path`` is the directory of an experiment."""
        settle("Tuner.can_restore()", {"storage_filesystem": storage_filesystem}, ("path",))
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


def _config(what: str, given: Any, cls: type[Any]) -> Any:
    if given is not None and not isinstance(given, cls):
        raise SpecError(f"Tuner(): {what} must be a {cls.__name__}, got {type(given).__name__} {given!r}.")
    return given or cls()

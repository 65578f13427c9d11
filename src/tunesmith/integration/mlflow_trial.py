"""``mlflow`` inside a trial: a run that is active while the trial runs."""

from __future__ import annotations

import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from tunesmith.errors import Infeasible, SpecError, TrialStopped
from tunesmith.integration.mlflow_ends import InsideRuns
from tunesmith.integration.mlflow_store import (
    Login,
    Names,
    changed,
    experiment_id,
    load,
    log_params,
    params_of,
    require,
    runs_with,
    schedule_of,
    settings_block,
    tag_value,
)
from tunesmith.trainable import session as session_module
from tunesmith.trainable.base import Bound
from tunesmith.trainable.class_api import Trainable

if TYPE_CHECKING:
    from tunesmith.trainable.worker import Session

__all__ = ["mlflow_mixin", "setup_mlflow"]

_log = logging.getLogger("tunesmith")
T = TypeVar("T", bound=Callable[..., Any])

_begun: WeakKeyDictionary[Session, Any] = WeakKeyDictionary()  # attempts that have their run -> the mlflow module


def setup_mlflow(
    config: Mapping[str, Any] | None = None,
    tracking_uri: str | os.PathLike[str] | None = None,
    registry_uri: str | None = None,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    tracking_token: str | None = None,
    artifact_location: str | None = None,
    run_name: str | None = None,
    create_experiment_if_not_exists: bool = False,
    tags: Mapping[str, Any] | None = None,
    rank_zero_only: bool = True,
) -> Any:
    """Begin an MLflow run for the trial that calls this, in the calling thread, and make it the active one.

    It ends by itself with the trial: FINISHED, FAILED if the trial's code raised, KILLED if it was infeasible. A retried or resumed
    trial goes on with its run. Outside a trial it is a plain run that the caller ends. What the ``mlflow`` block of ``config`` says counts
    where an argument is not given.

    Args:
        config: the trial's configuration; logged as parameters, without secrets and the ``mlflow`` block. What has changed since an
            earlier attempt (PBT) is logged as metrics and tags ``config/<name>``: MLflow never changes a parameter. None: none.
        tracking_uri, registry_uri: as in ``mlflow.set_tracking_uri`` and ``set_registry_uri``; None: as MLflow is set up.
        experiment_id: of an experiment that is there; wins over the name.
        experiment_name: None: ``MLFLOW_EXPERIMENT_NAME`` or ``_ID``, else the name of tunesmith's experiment.
        tracking_token: for the server; in the block ``token`` is another name of it. Better: ``MLFLOW_TRACKING_TOKEN``.
        artifact_location: where a new experiment keeps its artifacts.
        run_name: None: the trial's name.
        create_experiment_if_not_exists: make an experiment of that name if there is none.
        tags: for the run, name -> value; ``trial_id`` and ``trial_name`` come by themselves.
        rank_zero_only: in processes with another ``RANK`` than 0 (torchrun sets it) nothing is logged: what is returned does nothing.

    Returns:
        The ``mlflow`` module.

    Raises:
        SpecError: MLflow is not installed, the block has unknown keys, or there is no such experiment.

    Example:
        >>> def train(config):
        ...     mlflow = setup_mlflow(config, tracking_uri="sqlite:///runs.db", experiment_name="digits")
        ...     mlflow.log_metric("loss", config["lr"])
    """
    given = {
        "tracking_uri": tracking_uri, "registry_uri": registry_uri, "experiment_id": experiment_id, "experiment_name": experiment_name,
        "tracking_token": tracking_token, "artifact_location": artifact_location, "run_name": run_name, "tags": tags,
        "create_experiment_if_not_exists": create_experiment_if_not_exists or None,
    }  # fmt: skip
    if rank_zero_only and os.environ.get("RANK", "0") != "0":
        return _Nothing()
    return _begin(config, {**settings_block(config), **{key: value for key, value in given.items() if value is not None}}, "setup_mlflow()")


def mlflow_mixin(trainable: T) -> T:
    """A decorator for functions and :class:`Trainable` classes: ``mlflow.log_metric(...)`` just works in the trial.

    The settings are those of :func:`setup_mlflow`, under the key ``mlflow`` of the configuration, where ``token`` is the server's. An
    experiment that is not there is made. The run begins before the function (the class's ``setup``) and ends with the trial.

    Raises:
        SpecError: MLflow is not installed, or this is neither a function nor a Trainable class. A run with a wrong block is not begun.

    Example:
        >>> @mlflow_mixin
        ... def train(config):
        ...     import mlflow
        ...     mlflow.log_metric("loss", config["lr"])
        >>> space = {"lr": 0.1, "mlflow": {"experiment_name": "digits", "tracking_uri": "sqlite:///runs.db"}}
    """
    require("mlflow_mixin")
    if isinstance(trainable, type):
        if not issubclass(trainable, Trainable):
            raise SpecError(f"mlflow_mixin: {trainable.__name__} is no Trainable. Derive it from tune.Trainable, or decorate a function.")
        _mix(trainable)
        return trainable
    if not callable(trainable):
        raise SpecError(f"mlflow_mixin takes a function or a Trainable class, got {trainable!r}.")
    if isinstance(trainable, Bound):
        return type(trainable)(mlflow_mixin(trainable.target), trainable.parameters, trainable.resources)

    @functools.wraps(trainable)
    def run(*args: Any, **kwargs: Any) -> Any:
        mlflow = _begin_mixin(args[0] if args else kwargs.get("config"))
        if session_module.current() is not None:
            return trainable(*args, **kwargs)  # its run ends with the attempt
        with mlflow.active_run():
            result = trainable(*args, **kwargs)
            return list(result) if isinstance(result, Generator) else result

    run.__check_config__ = functools.partial(_judged, judge=getattr(trainable, "__check_config__", None))  # type: ignore[attr-defined]
    run.__callbacks__ = (InsideRuns,)  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]


def _judged(config: Mapping[str, Any], judge: Callable[[Mapping[str, Any]], None] | None) -> None:
    """Whether a config will do, also for what another integration has made of the trainable. Raises SpecError."""
    settings_block(config)
    if judge is not None:
        judge(config)


def _mix(cls: Any) -> None:
    """Give the class's objects a run from before its set-up until the attempt ends; one that runs alone ends its run in ``stop``."""
    init, reset, stop = cls.__init__, cls.reset_config, cls.stop

    @functools.wraps(init)
    def begin(self: Any, config: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> None:
        self._tune_mlflow = _begin_mixin(config)
        init(self, config, *args, **kwargs)

    @functools.wraps(reset)
    def begin_again(self: Any, new_config: dict[str, Any]) -> Any:
        self._tune_mlflow = _begin_mixin(new_config)
        return reset(self, new_config)

    @functools.wraps(stop)
    def end(self: Any) -> None:
        stop(self)
        if session_module.current() is None and self._tune_session is None:
            self._tune_mlflow.end_run()

    cls.__init__, cls.stop = begin, end
    cls.__callbacks__ = (InsideRuns,)
    cls.__check_config__ = staticmethod(functools.partial(_judged, judge=getattr(cls, "__check_config__", None)))
    if reset is not Trainable.reset_config:
        cls.reset_config = begin_again


def _begin_mixin(config: Any) -> Any:
    block = settings_block(config)
    return _begin(config, {"create_experiment_if_not_exists": True, **block}, "mlflow_mixin")


def _begin(config: Mapping[str, Any] | None, settings: Mapping[str, Any], owner: str) -> Any:
    session = session_module.current()
    if session is not None and session in _begun:
        return _begun[session]
    mlflow = load(owner)
    login = Login(settings.get("tracking_uri"), settings.get("tracking_token"))
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None

    def leave() -> None:
        if login.uri is not None:
            mlflow.set_tracking_uri(before)
        login.leave()

    login.enter()
    try:
        with login.hushed():
            if login.uri is not None:
                mlflow.set_tracking_uri(login.uri)
            if settings.get("registry_uri") is not None:
                mlflow.set_registry_uri(settings["registry_uri"])
            client = mlflow.MlflowClient()
            run_id = _run(client, session, settings)
            mlflow.start_run(run_id=run_id, nested=mlflow.active_run() is not None)
            if config:
                _log_config(client, run_id, config, session)
    except BaseException:
        leave()
        raise
    if session is not None:
        _begun[session] = mlflow
        _at_end(session, lambda: _end(mlflow, run_id, session), leave)
    return mlflow


def _run(client: Any, session: Session | None, settings: Mapping[str, Any]) -> str:
    """The id of the trial's run: an earlier attempt's, or a new one."""
    here = session.assignment if session is not None else None
    name = settings.get("experiment_name") or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    number = settings.get("experiment_id") or (None if name else os.environ.get("MLFLOW_EXPERIMENT_ID"))
    fallback = "Default" if here is None else here.experiment_name
    create = bool(settings.get("create_experiment_if_not_exists")) or not name
    experiment = experiment_id(client, name or fallback, number, create=create, place=settings.get("artifact_location"))
    tags = {str(key): tag_value(value) for key, value in (settings.get("tags") or {}).items()}
    if here is not None:
        ours = {"trial_id": here.trial_id, "tunesmith.experiment_name": here.experiment_name, "tunesmith.role": "inside"}
        if here.attempt > 0:
            for run in runs_with(client, experiment, trial_id=here.trial_id, **{"`tunesmith.role`": "inside"}):
                if run.data.tags.get("tunesmith.experiment_name") == here.experiment_name:
                    return str(run.info.run_id)
        tags |= {**ours, "trial_name": here.trial_name}
    run_name = settings.get("run_name") or (here.trial_name if here is not None else None)
    return str(client.create_run(experiment, None, tags, run_name).info.run_id)


def _log_config(client: Any, run_id: str, config: Mapping[str, Any], session: Session | None) -> None:
    data = client.get_run(run_id).data
    drawn = session.assignment.drawn if session is not None else ()
    fresh, changes = changed(data.params, params_of(config, Names(f"trial {run_id}"), drawn))
    log_params(client, run_id, fresh)
    now = {key[7:]: value for key, value in data.tags.items() if key.startswith("config/")}
    if now or changes:
        everything = {key: value for key, value in {**{key: data.params[key] for key in now}, **changes}.items() if now.get(key) != value}
        metrics, tags = schedule_of(everything, session.counters.iteration if session is not None else 0, int(time.time() * 1000))
        client.log_batch(run_id, metrics, tags=tags)


def _at_end(session: Session, *then: Callable[[], None]) -> None:
    """Have something done when the attempt's code is over, whatever the trainable is."""
    for step in then:
        session.at_end(functools.partial(_tried, session, step))


def _tried(session: Session, step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:  # the trial's work is done
        _log.warning("MLflow: the run of trial %s could not be ended: %s", session.assignment.trial_id, error)


def _end(mlflow: Any, run_id: str, session: Session) -> None:
    """End the run, and what was begun below it; one that the trial's code has ended itself is left alone."""
    error = sys.exception()
    status = "FINISHED"
    if isinstance(error, (Infeasible, KeyboardInterrupt)):
        status = "KILLED"
    elif error is not None and not isinstance(error, TrialStopped) and session.ended is None:
        status = "FAILED"
    if mlflow.MlflowClient().get_run(run_id).info.status != "RUNNING":
        return
    while (active := mlflow.active_run()) is not None:
        mlflow.end_run(status)
        if active.info.run_id == run_id:
            break


class _Nothing:
    """Stands for the module in processes that log nothing: every call does nothing and returns this."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        return None

"""From loose arguments to one validated :class:`ExperimentSpec`. Both fronts, ``run`` and ``Tuner``, end here."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tunesmith.config import CheckpointConfig, FailureConfig
from tunesmith.create import create_scheduler, create_searcher
from tunesmith.errors import SpecError
from tunesmith.hints import did_you_mean
from tunesmith.objectives import agree
from tunesmith.places import check_name, choose_directory, default_name, storage_root
from tunesmith.registry import registered_trainable
from tunesmith.resources import resource_request
from tunesmith.spec import CheckpointPolicy, ExperimentSpec, FailurePolicy

if TYPE_CHECKING:
    from tunesmith.trainable.base import TrainableSpec

__all__ = ["build"]

EXECUTORS = ("inline",)


def build(
    trainable: Any,
    *,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    storage_path: Any = None,
    local_dir: Any = None,
    metric: Any = None,
    mode: Any = None,
    stop: Any = None,
    num_samples: Any = 1,
    search_alg: Any = None,
    scheduler: Any = None,
    resources: Any = None,
    max_concurrent_trials: Any = None,
    time_budget_s: Any = None,
    max_trial_s: Any = None,
    max_silence_s: Any = None,
    failure: FailureConfig | None = None,
    raise_on_failed_trial: bool = True,
    checkpoint: CheckpointConfig | None = None,
    callbacks: Any = None,
    loggers: Any = None,
    log_to_file: Any = False,
    trial_name_creator: Any = None,
    trial_dirname_creator: Any = None,
    chdir_to_trial_dir: bool = False,
    reuse_actors: bool | None = None,
    seed: Any = None,
    deterministic: bool = False,
    executor: Any = None,
    verbose: Any = 1,
    resume: Any = False,
) -> ExperimentSpec:
    """Check every argument, and make the experiment's directory once all of them are right.

    The arguments are those of :func:`tunesmith.run`, under their present names.

    Raises:
        SpecError: an argument is wrong; nothing was made.
        StorageFull: the directory cannot be written.
    """
    from tunesmith.space import Space
    from tunesmith.stopper import stopper_from

    if config is not None and not isinstance(config, Mapping):
        raise SpecError(f"config must be a dict (name -> value or domain), got {type(config).__name__} {config!r}.")
    what = _trainable(trainable)
    failure, checkpoint = failure or FailureConfig(), checkpoint or CheckpointConfig()
    chosen_executor = _executor(executor)
    limit = _whole("max_concurrent_trials", max_concurrent_trials, least=1)
    searcher, scheduler = _searcher(search_alg, limit), _scheduler(scheduler)
    metrics, modes = agree(metric, mode, scheduler, searcher)
    spec = ExperimentSpec(
        trainable=what,
        name=name if name is None else check_name(name),  # type: ignore[arg-type]  # settled below, with the path
        path="",
        space=Space.parse(config or {}),
        searcher=searcher,
        scheduler=scheduler,
        metrics=metrics,
        modes=modes,
        num_samples=_num_samples(num_samples),
        stop=stopper_from(stop),
        resources=_resources(what, resources),
        max_concurrent=limit,
        time_budget_s=_seconds("time_budget_s", time_budget_s),
        max_trial_s=_seconds("max_trial_s", max_trial_s),
        max_silence_s=_seconds("max_silence_s", max_silence_s),
        seed=_whole("seed", seed),
        deterministic=_flag("deterministic", deterministic),
        executor=chosen_executor,
        failure=FailurePolicy(
            max_failures=failure.max_failures,
            fail_fast=failure.fail_fast,
            raise_on_failed_trial=_flag("raise_on_failed_trial", raise_on_failed_trial),
        ),
        checkpoint=_checkpoint(what, checkpoint),
        callbacks=_callbacks(callbacks),
        loggers=_loggers(loggers),
        trial_name_creator=_function("trial_name_creator", trial_name_creator),
        trial_dirname_creator=_function("trial_dirname_creator", trial_dirname_creator),
        log_to_file=_log_files(log_to_file),
        chdir_to_trial_dir=_flag("chdir_to_trial_dir", chdir_to_trial_dir),
        reuse_actors=None if reuse_actors is None else _flag("reuse_actors", reuse_actors),
        verbose=_verbose(verbose),
    )
    _check_limits(spec)
    _check_determinism(spec, stop)
    root = storage_root(storage_path, local_dir)
    again = _resume(resume, name)
    spec.name, spec.path, spec.resume = choose_directory(root, name or default_name(what.name), chosen=name is not None, resume=again)
    return spec


def _trainable(given: Any) -> TrainableSpec:
    from tunesmith.trainable.base import TrainableSpec

    if isinstance(given, str):
        return TrainableSpec.of(registered_trainable(given), name=given)
    return TrainableSpec.of(given)


def _searcher(given: Any, limit: int | None) -> Any:
    if given is None or given in ("random", "variant_generator"):
        return create_searcher("random", max_concurrent=limit or 0)
    return create_searcher(given) if isinstance(given, str) else _plug_in("search_alg", given, ("suggest",))


def _scheduler(given: Any) -> Any:
    if given is None or isinstance(given, str):
        return create_scheduler(given or "fifo")
    return _plug_in("scheduler", given, ("on_result",))


def _executor(given: Any) -> Any:
    if given is None:
        given = os.environ.get("TUNESMITH_EXECUTOR") or "inline"
    if isinstance(given, str):
        if given.lower() != "inline":
            raise SpecError(f"executor={given!r} is not known.{did_you_mean(given, EXECUTORS)} Known names: {', '.join(EXECUTORS)}.")
        from tunesmith.executors.inline import InlineExecutor

        return InlineExecutor()
    return _plug_in("executor", given, ("start", "launch", "answer", "poll"))


def _plug_in(what: str, given: Any, methods: Sequence[str]) -> Any:
    if isinstance(given, type):
        raise SpecError(f"{what}: got the class {given.__name__}; pass an instance of it, as in {what}={given.__name__}(...).")
    missing = [method for method in methods if not callable(getattr(given, method, None))]
    if missing:
        raise SpecError(f"{what}: {type(given).__name__} {given!r} has no method {missing[0]}(); give a name, or an object that has one.")
    return given


def _resources(trainable: TrainableSpec, given: Any) -> Any:
    own = trainable.resources
    if given is not None and own is not None:
        raise SpecError(
            f"resources are given twice: resources_per_trial={given!r}, and with the trainable {trainable.name!r} itself "
            "(with_resources or default_resource_request). Give them once."
        )
    return resource_request(own, "with_resources") if own is not None else resource_request(given)


def _checkpoint(trainable: TrainableSpec, config: CheckpointConfig) -> CheckpointPolicy:
    if not trainable.is_class and (config.checkpoint_frequency or config.checkpoint_at_end):
        name = "checkpoint_frequency (checkpoint_freq)" if config.checkpoint_frequency else "checkpoint_at_end"
        raise SpecError(
            f"{name} is for Trainable classes, and {trainable.name!r} is a function: it decides itself when to save, "
            "with report(metrics, checkpoint=...). Remove the argument."
        )
    return CheckpointPolicy(
        num_to_keep=config.num_to_keep,
        score_attribute=config.checkpoint_score_attribute,
        score_order=config.checkpoint_score_order,
        frequency=config.checkpoint_frequency,
        at_end=config.checkpoint_at_end,
    )


def _callbacks(given: Any) -> tuple[Any, ...]:
    from tunesmith.callback import HOOKS

    callbacks = _several("callbacks", given)
    for callback in callbacks:
        if isinstance(callback, type):
            raise SpecError(f"callbacks: got the class {callback.__name__}; pass an instance, as in callbacks=[{callback.__name__}()].")
        if not any(callable(getattr(callback, hook, None)) for hook in HOOKS):
            raise SpecError(f"callbacks must be instances of Callback; {type(callback).__name__} {callback!r} has none of its hooks.")
    return callbacks


def _loggers(given: Any) -> tuple[Any, ...] | None:
    if given is None:
        return None
    from tunesmith.logger import Logger, LoggerCallback
    from tunesmith.logger.legacy import LegacyLoggerCallback

    loggers = _several("loggers", given)
    classes = [item for item in loggers if isinstance(item, type) and issubclass(item, Logger)]
    wrong = [item for item in loggers if item not in classes and not isinstance(item, LoggerCallback)]
    if wrong:
        raise SpecError(f"loggers takes Logger classes and LoggerCallback instances, got {wrong[0]!r}.")
    instances = tuple(item for item in loggers if isinstance(item, LoggerCallback))
    return (*instances, LegacyLoggerCallback(classes)) if classes else instances


def _several(what: str, given: Any) -> tuple[Any, ...]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        raise SpecError(f"{what} must be a list, got {type(given).__name__} {given!r}.")
    return tuple(given)


def _log_files(given: Any) -> tuple[str, str] | None:
    if given is None or given is False:
        return None
    if given is True:
        return "stdout.log", "stderr.log"
    if isinstance(given, str) and given:
        return given, given
    if isinstance(given, list | tuple) and len(given) == 2 and all(isinstance(item, str) and item for item in given):
        return given[0], given[1]
    raise SpecError(f"log_to_file must be True, False, a file name, or a pair (stdout file, stderr file), got {given!r}.")


def _function(what: str, given: Any) -> Callable[[Any], str] | None:
    if given is not None and not callable(given):
        raise SpecError(f"{what} must be a function of the trial that returns a string, got {given!r}.")
    return given  # type: ignore[no-any-return]


def _flag(what: str, given: Any) -> bool:
    if given not in (True, False):
        raise SpecError(f"{what} must be True or False, got {given!r}.")
    return bool(given)


def _whole(what: str, given: Any, least: int | None = None) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not hasattr(given, "__index__") or (least is not None and given < least):
        at_least = "" if least is None else f" >= {least}"
        raise SpecError(f"{what} must be a whole number{at_least} or None, got {given!r}.")
    return int(given)


def _num_samples(given: Any) -> int | None:
    if isinstance(given, bool) or not hasattr(given, "__index__") or (given < 1 and given != -1):
        raise SpecError(f"num_samples must be a whole number >= 1, or -1 to go on until a limit, got {given!r}.")
    return None if given == -1 else int(given)


def _verbose(given: Any) -> int:
    if given is None:
        return 1
    if not hasattr(given, "__index__") or given < 0:
        raise SpecError(f"verbose must be a whole number >= 0 (0 is silent), got {given!r}.")
    return int(given)


def _seconds(what: str, given: Any) -> float | None:
    if given is None:
        return None
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool | str) or not hasattr(seconds, "__float__") or not 0 < float(seconds) < math.inf:
        raise SpecError(f"{what} must be a number of seconds > 0, a timedelta, or None, got {given!r}.")
    return float(seconds)


def _resume(given: Any, name: str | None) -> bool | str:
    wanted = given.upper() if isinstance(given, str) else given
    if wanted is None or wanted is False:
        return False
    if wanted not in (True, "LOCAL", "AUTO"):
        raise SpecError(f"resume={given!r} is not supported yet; use True (the experiment must be there) or 'AUTO' (begin if it is not).")
    if name is None:
        raise SpecError(f"resume={given!r} needs name=..., the experiment to go on with.")
    return "AUTO" if wanted == "AUTO" else True


def _check_limits(spec: ExperimentSpec) -> None:
    capabilities = spec.executor.capabilities  # type: ignore[union-attr]  # always set here
    for what in ("max_trial_s", "max_silence_s"):
        if getattr(spec, what) is not None and not capabilities.kill:
            raise SpecError(
                f"{what}={getattr(spec, what)} needs an executor that can end a trial by force; {capabilities.name!r} runs trials in "
                "this very thread and cannot. Remove it."
            )


_TIMES = ("time_total_s", "time_this_iter_s", "time_since_restore", "timestamp")


def _check_determinism(spec: ExperimentSpec, stop: Any) -> None:
    """``deterministic=True`` promises an order that no clock has a say in."""
    if not spec.deterministic:
        return
    timed = [what for what in ("time_budget_s", "max_trial_s", "max_silence_s") if getattr(spec, what) is not None]
    timed += [f"stop={{{key!r}: ...}}" for key in _TIMES if isinstance(stop, Mapping) and key in stop]
    if getattr(spec.scheduler, "time_attr", None) in _TIMES:
        timed.append(f"the scheduler's time_attr={spec.scheduler.time_attr!r}")  # type: ignore[attr-defined]
    if spec.stop is not None and spec.stop.remaining() is not None:
        timed.append("a stopper with a time limit")
    if timed:
        raise SpecError(f"deterministic=True cannot be kept with {timed[0]}: it depends on the clock. Remove one of the two.")

"""From loose arguments to one validated :class:`ExperimentSpec`. Both fronts, ``run`` and ``Tuner``, end here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tunesmith import checks
from tunesmith.config import CheckpointConfig, FailureConfig, sync_policy
from tunesmith.create import create_executor, create_scheduler, create_searcher, usual_searcher
from tunesmith.errors import SpecError
from tunesmith.executors.usual import usual_executor
from tunesmith.objectives import agree
from tunesmith.places import JOURNAL, check_name, choose_directory, default_name, given_storage, storage_root
from tunesmith.registry import registered_trainable
from tunesmith.resources import Bundled, resource_request
from tunesmith.schedulers.hooks import check_hooks
from tunesmith.spec import DRAIN_S, GRACE_S, CheckpointPolicy, ExperimentSpec, FailurePolicy
from tunesmith.storage.remote import Remote, remote_from

if TYPE_CHECKING:
    from tunesmith.executors.base import Executor
    from tunesmith.schedulers.base import Scheduler
    from tunesmith.search.base import Searcher
    from tunesmith.trainable.base import TrainableSpec

__all__ = ["Checked", "build", "check", "executor_from", "resources_of", "scheduler_from", "trainable_from", "verify"]


@dataclass(slots=True)
class Checked:
    """An experiment whose arguments are right, and that has no directory yet.

    Args:
        spec: the experiment; ``path`` is empty, ``resume`` false.
        root: the absolute directory of all experiments.
        chosen: its name was given.
        resume: False, True, or "AUTO": if it is there.
        remote: the place of all experiments in remote storage; None: they are in ``root`` only.
    """

    spec: ExperimentSpec
    root: str
    chosen: bool
    resume: bool | str
    remote: Remote | None = None

    @property
    def resumes(self) -> bool:
        """Whether it goes on with an experiment that is there, or has to be."""
        if self.resume == "AUTO" and self.remote is not None:
            from tunesmith.storage.arrive import resumable

            return resumable(self.remote, self.spec.name)
        if self.resume == "AUTO":
            return os.path.isfile(os.path.join(self.root, self.spec.name, JOURNAL))
        return bool(self.resume)

    def placed(self) -> ExperimentSpec:
        """The experiment with its directory, which is made.

        Raises:
            SpecError: there is nothing to resume.
            StorageFull: the directory cannot be written.
        """
        spec = self.spec
        if self.remote is not None:
            from tunesmith.storage.arrive import choose_place

            spec.name, spec.path, spec.resume = choose_place(
                self.remote, spec.name, chosen=self.chosen, resume=self.resume, fetched=spec.plan.remote
            )
            spec.remote = self.remote.below(spec.name)
            return spec
        spec.name, spec.path, spec.resume = choose_directory(self.root, spec.name, chosen=self.chosen, resume=self.resume)
        return spec


def build(trainable: Any, **arguments: Any) -> ExperimentSpec:
    """Check every argument, and make the experiment's directory once all of them are right.

    The arguments are those of :func:`check`.

    Raises:
        SpecError: an argument is wrong; nothing was made.
        StorageFull: the directory cannot be written.
    """
    return check(trainable, **arguments).placed()


def check(
    trainable: Any,
    *,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    storage_path: Any = None,
    local_dir: Any = None,
    storage_filesystem: Any = None,
    sync_config: Any = None,
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
    grace_s: Any = GRACE_S,
    max_ram: Any = None,
    drain_s: Any = DRAIN_S,
    failure: FailureConfig | None = None,
    raise_on_failed_trial: Any = True,
    checkpoint: CheckpointConfig | None = None,
    callbacks: Any = None,
    loggers: Any = None,
    log_to_file: Any = None,
    trial_name_creator: Any = None,
    trial_dirname_creator: Any = None,
    chdir_to_trial_dir: Any = False,
    reuse_actors: Any = None,
    seed: Any = None,
    deterministic: Any = False,
    executor: Any = None,
    verbose: Any = 1,
    progress_reporter: Any = None,
    resume: Any = False,
    take_over: Any = False,
) -> Checked:
    """Check every argument. Nothing is made, and no name is taken.

    The arguments are those of :func:`tunesmith.run`, under their present names.

    Raises:
        SpecError: an argument is wrong.
        ExecutorError: this is a trial's process, which only means to import the module that its trainable is in.
    """
    from tunesmith.space import Space
    from tunesmith.stopper import stopper_from
    from tunesmith.trainable.parcel import refuse_unpacking

    refuse_unpacking()
    if config is not None and not isinstance(config, Mapping):
        raise SpecError(f"config must be a dict (name -> value or domain), got {type(config).__name__} {config!r}.")
    name = None if name is None else check_name(name)
    what, keep = _checkpointing(trainable_from(trainable), checkpoint or CheckpointConfig())
    failure = failure or FailureConfig()
    limit = checks.whole("max_concurrent_trials", max_concurrent_trials, least=1)
    scheduler = scheduler_from(scheduler)
    searcher = None if search_alg is None else _searcher(search_alg)
    metrics, modes = agree(metric, mode, scheduler, searcher)
    prepare = getattr(scheduler, "prepare_space", None)  # one of the user's own need not derive from ours
    space = Space.parse(prepare(config or {}) if prepare is not None else config or {})
    spec = ExperimentSpec(
        trainable=what,
        name=name or default_name(what.name),
        path="",
        space=space,
        searcher=searcher or usual_searcher(space, metrics, exploits=scheduler.capabilities.exploits),
        scheduler=scheduler,
        metrics=metrics,
        modes=modes,
        num_samples=checks.num_samples(num_samples),
        stop=stopper_from(stop),
        resources=_resources(what, resources),
        max_concurrent=limit,
        time_budget_s=checks.seconds("time_budget_s", time_budget_s),
        max_trial_s=checks.seconds("max_trial_s", max_trial_s),
        max_silence_s=checks.seconds("max_silence_s", max_silence_s),
        drain_s=checks.seconds("drain_s", drain_s),
        grace_s=checks.seconds("grace_s", grace_s) or GRACE_S,
        max_ram=checks.size("max_ram", max_ram, least=1),
        seed=checks.whole("seed", seed),
        deterministic=checks.flag("deterministic", deterministic),
        executor=executor_from(executor),
        executor_why=usual_executor()[1] if executor is None else "",
        failure=FailurePolicy(
            retries=failure.retries,
            fail_fast=failure.fail_fast,
            raise_on_failed_trial=checks.flag("raise_on_failed_trial", raise_on_failed_trial),
            identical=failure.circuit_breaker,
            nan_policy=failure.nan,
        ),
        checkpoint=keep,
        callbacks=(*_callbacks(callbacks), *(make() for make in getattr(what.target, "__callbacks__", ()))),  # it brings its own
        loggers=_loggers(loggers),
        trial_name_creator=checks.function("trial_name_creator", trial_name_creator),
        trial_dirname_creator=checks.function("trial_dirname_creator", trial_dirname_creator),
        log_to_file=checks.log_files(log_to_file),
        chdir_to_trial_dir=checks.flag("chdir_to_trial_dir", chdir_to_trial_dir),
        reuse_actors=None if reuse_actors is None else checks.flag("reuse_actors", reuse_actors),
        verbose=checks.verbose(verbose),
        progress_reporter=checks.reporter(progress_reporter),
        take_over=checks.flag("take_over", take_over),
    )
    verify(spec)
    remote = remote_from(given_storage(storage_path, local_dir), storage_filesystem)
    spec.sync = sync_policy(sync_config, needed=remote is not None)
    again: bool | str = False
    if (plan := checks.resume(resume, name, remote is not None)) is not None:
        spec.plan, again = plan, plan.must_exist or "AUTO"
    root = storage_root(storage_path, local_dir) if remote is None else remote.folder
    return Checked(spec, root, name is not None, again, remote)


def verify(spec: ExperimentSpec) -> None:
    """Refuse settings that contradict each other, and what the executor cannot do.

    Raises:
        SpecError: names the argument, and what to do.
    """
    from tunesmith.trainable.parcel import check_picklable

    _check_limits(spec)
    _check_determinism(spec)
    for one in (*spec.callbacks, *(spec.loggers or ()), spec.trainable.target):
        judge = getattr(one, "__check_config__", None)  # of integrations that take settings from the config
        if judge is not None:
            judge(spec.space.config)
    if spec.executor is not None and getattr(spec.executor.capabilities, "isolated", False):
        check_picklable(spec.trainable)


def trainable_from(given: Any) -> TrainableSpec:
    """The checked trainable behind a function, a class or a registered name."""
    from tunesmith.trainable.base import TrainableSpec

    if isinstance(given, str):
        return replace(TrainableSpec.of(registered_trainable(given)), name=given)
    return TrainableSpec.of(given)


def executor_from(given: Any) -> Executor:
    """An executor from its name, None (see :func:`~tunesmith.executors.usual.usual_executor`), or itself."""
    if given is None:
        given, _ = usual_executor()
    if isinstance(given, str):
        return create_executor(given)
    return checks.instance("executor", given, ("start", "launch", "answer", "poll"))  # type: ignore[no-any-return]


def _searcher(given: Any) -> Searcher:
    if isinstance(given, str):
        return create_searcher(given)
    if hasattr(given, "suggest") and not hasattr(given, "bind"):
        raise SpecError(f"search_alg: {type(given).__name__} can suggest, but is no Searcher; derive it from tune.search.Searcher.")
    return checks.instance("search_alg", given, ("suggest", "bind"))  # type: ignore[no-any-return]


def scheduler_from(given: Any) -> Scheduler:
    """A scheduler from its name, None (first in, first out), or a copy of the one that is given: several runs may be given the same."""
    if given is None or isinstance(given, str):
        return create_scheduler("fifo" if given is None else given)
    return checks.copied("scheduler", checks.instance("scheduler", check_hooks(given), ("on_result", "choose")))  # type: ignore[no-any-return]


def _resources(trainable: TrainableSpec, given: Any) -> Any:
    if trainable.resources is None:
        return resource_request(given)
    if given is not None:
        raise SpecError(
            f"resources are given twice: resources_per_trial={given!r}, and with the trainable {trainable.name!r} itself "
            "(with_resources or default_resource_request). Give them once."
        )
    return resources_of(trainable)


def resources_of(trainable: TrainableSpec) -> Any:
    """What a trainable that says so itself takes: a request, or a function of the configuration."""
    request = _Own(trainable)
    return request if callable(trainable.resources) else request({})


class _Own:
    """What the trainable itself asks for. Unlike with ``resources_per_trial`` a request without "cpu" takes none."""

    def __init__(self, trainable: TrainableSpec) -> None:
        self.trainable = trainable

    def __call__(self, config: dict[str, Any]) -> dict[str, float]:
        request = self.trainable.resources_for(config)
        if isinstance(request, Bundled):
            return request
        return {"cpu": 1.0} if request is None else {"cpu": 0.0, **request}


def _checkpointing(trainable: TrainableSpec, config: CheckpointConfig) -> tuple[TrainableSpec, CheckpointPolicy]:
    """The trainable that knows when to save, and which checkpoints are kept."""
    at_end = config.checkpoint_at_end
    if trainable.kind == "function":
        if config.checkpoint_frequency or at_end:
            what = "checkpoint_frequency (checkpoint_freq)" if config.checkpoint_frequency else "checkpoint_at_end"
            raise SpecError(
                f"{what} is for Trainable classes, and {trainable.name!r} is a function: it decides itself when to save, "
                "with report(metrics, checkpoint=...). Remove the argument."
            )
        at_end = False
    at_end = True if at_end is None else at_end
    policy = CheckpointPolicy(
        config.num_to_keep, config.checkpoint_score_attribute, config.checkpoint_score_order, config.checkpoint_frequency, at_end,
        config.keep_best, checks.size("max_checkpoint_bytes", config.max_checkpoint_bytes),
        checks.size("min_free_bytes", config.min_free_bytes),
    )  # fmt: skip
    return replace(trainable, checkpoint_frequency=config.checkpoint_frequency, checkpoint_at_end=at_end), policy


def _callbacks(given: Any) -> tuple[Any, ...]:
    from tunesmith.callback import HOOKS

    callbacks = checks.several("callbacks", given)
    for callback in callbacks:
        if isinstance(callback, type):
            raise SpecError(f"callbacks: got the class {callback.__name__}; pass an instance, as in callbacks=[{callback.__name__}()].")
        if not any(callable(getattr(callback, hook, None)) for hook in HOOKS):
            raise SpecError(f"callbacks must be instances of Callback; {type(callback).__name__} {callback!r} has none of its hooks.")
    return callbacks


def _loggers(given: Any) -> tuple[Any, ...] | None:
    if given is None:
        return None
    from tunesmith.logger import loggers_from

    return tuple(loggers_from(given))


def _check_limits(spec: ExperimentSpec) -> None:
    scheduler, executor = spec.scheduler, spec.executor
    if not spec.metrics and scheduler.capabilities.needs_metric:
        raise SpecError(f"the scheduler {type(scheduler).__name__} needs a metric and a mode; give metric=... and mode='min' or 'max'.")
    if len(spec.metrics) > 1 and scheduler.capabilities.needs_metric and not scheduler.capabilities.multi_objective:
        raise SpecError(f"the scheduler {type(scheduler).__name__} ranks by one metric; the run has {list(spec.metrics)}.")
    _check_population(spec)
    if spec.reuse_actors and getattr(scheduler.capabilities, "resizes", False):
        raise SpecError(
            f"reuse_actors=True cannot be kept with {type(scheduler).__name__}: a trial that is given other resources needs a process that "
            f"begins with them. Remove reuse_actors."
        )
    for what in _forced(spec):
        if executor is not None and not executor.capabilities.kill:
            raise SpecError(
                f"{what}={getattr(spec, what):g} needs an executor that can end a trial by force; {executor.capabilities.name!r} runs "
                "trials in this very thread and cannot. Remove it."
            )
    if spec.max_ram is not None and executor is not None and not getattr(executor.capabilities, "max_ram", False):
        raise SpecError(
            f"max_ram={spec.max_ram} needs an executor that gives each trial processes of its own and looks after them; "
            f"{executor.capabilities.name!r} does not. Remove it, or use executor='local'."
        )
    keeping = "keep_best" if spec.checkpoint.keep_best is not None else "max_checkpoint_bytes"
    if (spec.checkpoint.keep_best or spec.checkpoint.max_bytes) and not spec.checkpoint.score_attribute and len(spec.metrics) != 1:
        raise SpecError(f"{keeping} must know which checkpoints are the best: give checkpoint_score_attr, or one metric and its mode.")


def _check_population(spec: ExperimentSpec) -> None:
    """Where trials change their configurations, a searcher that learns would be told results of others than it proposed."""
    searcher, scheduler = spec.searcher, type(spec.scheduler).__name__
    if not spec.scheduler.capabilities.exploits:
        return
    if not searcher.capabilities.deterministic:
        raise SpecError(
            f"search_alg={type(searcher).__name__} may learn from results, and with {scheduler} trials change their configurations as they "
            f"train: it would learn what is not so. Leave search_alg out; random and grid search give the population its start."
        )
    if searcher.max_concurrent:
        raise SpecError(
            f"{type(searcher).__name__}(max_concurrent={searcher.max_concurrent}) gives a new trial only when one is over, and with "
            f"{scheduler} the whole population lives at once and takes turns. Use max_concurrent_trials instead."
        )


def _forced(spec: ExperimentSpec) -> list[str]:
    """Limits that were given and end trials by force. ``drain_s`` has a value that means: where it can be."""
    unset = {"max_trial_s": None, "max_silence_s": None, "drain_s": DRAIN_S, "grace_s": GRACE_S}
    return [what for what, default in unset.items() if getattr(spec, what) not in (None, default)]


_TIMES = ("time_total_s", "time_this_iter_s", "time_since_restore", "timestamp")


def _check_determinism(spec: ExperimentSpec) -> None:
    """``deterministic=True`` promises an order that no clock has a say in."""
    if not spec.deterministic:
        return
    timed = ["time_budget_s"] if spec.time_budget_s is not None else []
    timed += _forced(spec)
    timed += ["max_ram"] if spec.max_ram is not None else []
    if spec.stop is not None:
        timed += [f"stop={{{key!r}: ...}}" for key in spec.stop.compares() if key in _TIMES]
    time_attr = getattr(spec.scheduler, "time_attr", None)
    if time_attr in _TIMES:
        timed.append(f"the scheduler's time_attr={time_attr!r}")
    if spec.stop is not None and spec.stop.remaining() is not None:
        timed.append("a stopper with a time limit")
    if timed:
        raise SpecError(f"deterministic=True cannot be kept with {timed[0]}: it depends on the clock. Remove one of the two.")

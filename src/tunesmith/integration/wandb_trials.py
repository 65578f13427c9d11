"""W&B inside the trial: its process has the W&B run, and ``wandb.log`` works in the user's code."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from tunesmith.errors import Infeasible, SpecError, TrialStopped
from tunesmith.integration.wandb_rows import config_shown
from tunesmith.integration.wandb_settings import BLOCK, WandbSettings, block_of, client, settings_in
from tunesmith.trainable import session as session_module
from tunesmith.trainable.base import Bound
from tunesmith.trainable.class_api import Trainable

__all__ = ["WandbTrainableMixin", "setup_wandb", "wandb_mixin"]

_FINISHED, _FAILED, _KILLED = 0, 1, 255


def wandb_mixin(func: Callable[..., Any]) -> Any:
    """Decorator of a function trainable: in the trial ``wandb.log``, ``wandb.config`` and ``wandb.run`` just work.

    ``config["wandb"]`` holds ``project``, ``api_key_file`` or ``api_key`` if wanted, and arguments of ``wandb.init``. The function gets its
    configuration without this block. The run has the trial's id and name, and the function's name as group, unless the block says
    otherwise. It ends with the function: well if that returns or is stopped, as failed if it raises. A trial that is retried, paused,
    resumed or copies another one goes on in its run.

    Args:
        func: ``f(config)`` in any of the forms that ``tune.run`` takes, also with parameters or resources bound to it.

    Raises:
        SpecError: it is a class, or nothing that can be called.

    Example::

        @wandb_mixin
        def train(config):
            for step in range(10):
                wandb.log({"loss": config["a"] / (step + 1)})
                tune.report(loss=config["a"] / (step + 1))

        tune.run(train, config={"a": tune.uniform(0, 1), "wandb": {"project": "digits", "api_key_file": "~/.wandb_key"}})
    """
    if isinstance(func, type):
        raise SpecError(f"wandb_mixin is for functions. Write class {func.__name__}(WandbTrainableMixin, tune.Trainable).")
    if not callable(func):
        raise SpecError(f"wandb_mixin takes a function, got {func!r}.")
    if isinstance(func, Bound):
        return type(func)(wandb_mixin(func.target), func.parameters, func.resources)
    name = getattr(func, "__name__", None) or getattr(getattr(func, "func", None), "__name__", None) or type(func).__name__

    if inspect.isgeneratorfunction(func):

        @functools.wraps(func)
        def wrapped(config: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            with _running(config, name, "wandb_mixin"):
                return (yield from func(config, *args, **kwargs))

    else:

        @functools.wraps(func)
        def wrapped(config: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            with _running(config, name, "wandb_mixin"):
                return func(config, *args, **kwargs)

    wrapped.__name__ = name
    wrapped.__check_config__ = functools.partial(_judged, judge=getattr(func, "__check_config__", None))  # type: ignore[attr-defined]
    return wrapped


class WandbTrainableMixin:
    """For trainables that are classes: ``class T(WandbTrainableMixin, tune.Trainable)``. The run is there as ``self.wandb``.

    It is begun before ``setup`` and ends with the attempt; the settings and all else are as for :func:`wandb_mixin`. ``wandb.log`` works,
    too. With ``reuse_actors`` an instance that becomes another trial (``reset_config``) goes on to that trial's run.

    Args:
        config: the configuration; the block of settings is taken out of it.

    Raises:
        SpecError: the block or the project is missing; there is no key; it does not stand before ``tune.Trainable`` in the list of bases.

    Example::

        class Digits(WandbTrainableMixin, tune.Trainable):
            def step(self):
                self.wandb.log({"loss": self.config["lr"]})
                return {"loss": self.config["lr"], "done": self.iteration == 9}
    """

    wandb: Any
    """The W&B run."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        order = cls.__mro__
        if Trainable in order and order.index(Trainable) < order.index(WandbTrainableMixin):
            raise SpecError(f"WandbTrainableMixin must come first: class {cls.__name__}(WandbTrainableMixin, tune.Trainable).")
        if "reset_config" in cls.__dict__:
            cls.reset_config = _with_new_run(cls.__dict__["reset_config"])  # type: ignore[attr-defined]

    def __init__(self, config: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> None:
        config = {} if config is None else config
        name = type(self).__name__
        self.wandb = _begin(_taken(config, name), config, name)
        try:
            super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        except BaseException as error:
            _finish(self.wandb, _exit_code(error))
            raise

    def stop(self) -> None:
        """The end: what :class:`tune.Trainable` does, and the run is finished."""
        error = sys.exc_info()[1]  # of the step, if that is why it ends
        try:
            super().stop()  # type: ignore[misc]
        finally:
            _finish(self.wandb, _FINISHED if error is None else _exit_code(error))

    @classmethod
    def __check_config__(cls, config: Mapping[str, Any]) -> None:
        """Whether a config will do for its trials; values may still be undrawn. Raises SpecError."""
        _settings_in(config, cls.__name__)


def setup_wandb(
    config: dict[str, Any] | None = None,
    api_key: str | None = None,
    api_key_file: str | None = None,
    rank_zero_only: bool = True,
    **init: Any,
) -> Any:
    """Begin the trial's W&B run, from within the trial; ``wandb.log`` works then. Nothing needs to be decorated.

    The run ends with ``wandb.finish()``, else with the trial's process. Outside a trial it is a run like any other.

    Args:
        config: shown as the run's config, without secrets. A block ``config["wandb"]`` counts as arguments, where these are not given.
        api_key, api_key_file: as for :class:`WandbLoggerCallback`.
        rank_zero_only: in distributed training (``RANK`` in the environment) only rank 0 has a run, the others get one that does nothing.
        init: arguments of ``wandb.init``. ``project`` is needed; ``group`` is the experiment's name, ``id`` and ``name`` are the trial's.

    Returns:
        the run.

    Raises:
        SpecError: as for :class:`WandbLoggerCallback`.

    Example::

        def train(config):
            run = setup_wandb(config, project="digits")
            run.log({"loss": config["lr"]})
    """
    shown = dict(config or {})
    given = {"api_key": api_key, "api_key_file": api_key_file, **init}
    known = dict(block_of(shown) or {})
    if api_key is not None or api_key_file is not None:  # in place of the block's, be that a key or a file
        known = {name: value for name, value in known.items() if name not in ("api_key", "api_key_file")}
    block = {**known, **{name: value for name, value in given.items() if value is not None}}
    if rank_zero_only and os.environ.get("RANK", "0") != "0":
        return client("setup_wandb").init(mode="disabled")
    session = session_module.current()
    group = session.assignment.experiment_name if session is not None else None
    return _begin(WandbSettings.of("setup_wandb", block).check().in_trial(), shown, group)


@contextmanager
def _running(config: dict[str, Any], group: str, who: str) -> Iterator[None]:
    run = _begin(_taken(config, who), config, group)
    try:
        yield
    except BaseException as error:
        _finish(run, _exit_code(error))
        raise
    _finish(run, _FINISHED)


def _taken(config: MutableMapping[str, Any], who: str) -> WandbSettings:
    """The settings in the config, which has them no more."""
    settings = _settings_in(config, who)
    config.pop(BLOCK, None)
    return settings


def _judged(config: Mapping[str, Any], judge: Callable[[Mapping[str, Any]], None] | None) -> None:
    """Whether a config will do, also for what another integration has made of the function. Raises SpecError."""
    _settings_in(config, "wandb_mixin")
    if judge is not None:
        judge(config)


def _settings_in(config: Mapping[str, Any], who: str) -> WandbSettings:
    return settings_in(config, who).in_trial()


def _begin(settings: WandbSettings, config: Mapping[str, Any], group: str | None) -> Any:
    """Begin the run of the trial whose code calls this. It becomes the one that ``wandb.log`` means."""
    wandb = client(settings.where)
    if f"-{os.getpid()}-" not in os.environ.get("WANDB_SERVICE", ""):
        os.environ.pop("WANDB_SERVICE", None)  # the driver's: a trial that is killed should leave nothing behind in it
    named: dict[str, Any] = {"group": group}
    drawn: tuple[str, ...] = ()
    session = session_module.current()
    if session is not None:
        trial = session.assignment
        drawn = trial.drawn
        os.makedirs(trial.trial_dir, exist_ok=True)
        named = {"group": group, "dir": trial.trial_dir, "id": trial.trial_id, "name": trial.trial_name, "resume": "allow"}
    defaults = {**named, "reinit": "finish_previous", "allow_val_change": True}
    return wandb.init(**settings.arguments(config_shown(config, drawn), defaults, {}))


def _with_new_run(reset: Callable[..., Any]) -> Callable[..., Any]:
    """``reset_config`` that, where the instance becomes another trial, ends its run and begins that trial's."""

    @functools.wraps(reset)
    def reset_config(self: Any, new_config: dict[str, Any]) -> Any:
        block = new_config.get(BLOCK)
        if block_of(new_config) is None:
            return reset(self, new_config)  # called by that of a subclass
        name = type(self).__name__
        _finish(self.wandb, _FINISHED)
        self.wandb = _begin(_taken(new_config, name), new_config, name)
        try:
            done = reset(self, new_config)
        except BaseException as error:
            _finish(self.wandb, _exit_code(error))
            raise
        if not done and block is not None:
            new_config[BLOCK] = block  # a new instance takes its place
        return done

    return reset_config


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return _KILLED
    return _FINISHED if isinstance(error, TrialStopped | GeneratorExit | Infeasible) else _FAILED


def _finish(run: Any, exit_code: int) -> None:
    """End the run; the trial's work is done, so an error there is shown and changes nothing."""
    try:
        run.finish(exit_code=exit_code)
    except Exception:
        print("The W&B run could not be finished; the trial's results stand:", file=sys.stderr)
        traceback.print_exc()

"""Names for trainables and environments, so that ``run("my_model")`` finds them. One registry per process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.hints import did_you_mean

__all__ = ["env_creator", "register_env", "register_trainable", "registered_trainable", "trainable_names"]

_trainables: dict[str, Any] = {}
_envs: dict[str, Callable[..., Any]] = {}


def register_trainable(name: str, trainable: Callable[..., Any] | type, warn: bool = True) -> None:
    """Give a training function or a ``Trainable`` class a name that ``run``, ``Tuner`` and ``Experiment`` accept.

    Args:
        name: not empty. A name that is taken is given to the new one.
        trainable: the function or class.
        warn: log one line when the name was taken by something else.

    Raises:
        SpecError: ``name`` is no string or empty, or ``trainable`` cannot be called.

    Example:
        >>> def train(config):
        ...     return {"score": 1.0}
        >>> register_trainable("quick", train)
        >>> registered_trainable("quick") is train
        True
    """
    _check_name("register_trainable", name)
    if not callable(trainable):
        raise SpecError(f"register_trainable({name!r}): expected a function or a class, got {type(trainable).__name__} {trainable!r}.")
    if warn and _trainables.get(name, trainable) is not trainable:
        logging.getLogger("tunesmith").warning("register_trainable: %r now means another trainable in this process.", name)
    _trainables[name] = trainable


def registered_trainable(name: str) -> Any:
    """What ``name`` was registered for.

    Raises:
        SpecError: nothing was, in this process; the message lists the names there are.
    """
    if name not in _trainables:
        known = ", ".join(map(repr, trainable_names())) or "none yet"
        raise SpecError(
            f"no trainable is registered as {name!r}.{did_you_mean(name, _trainables)} Registered in this process: {known}. "
            f"Call register_trainable({name!r}, train) first, or pass the function or class itself."
        )
    return _trainables[name]


def trainable_names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_trainables)


def register_env(name: str, creator: Callable[..., Any]) -> None:
    """Keep ``creator(env_config) -> environment`` under ``name``; trainables get it back with :func:`env_creator`.

    Raises:
        SpecError: ``name`` is no string or empty, or ``creator`` cannot be called.

    Example:
        >>> register_env("corridor", lambda settings: ["start"] * settings["length"])
        >>> env_creator("corridor")({"length": 2})
        ['start', 'start']
    """
    _check_name("register_env", name)
    if not callable(creator):
        raise SpecError(f"register_env({name!r}): expected a function that makes it, got {type(creator).__name__} {creator!r}.")
    _envs[name] = creator


def env_creator(name: str) -> Callable[..., Any]:
    """The function that was registered for the environment ``name``.

    Raises:
        SpecError: nothing was, in this process.
    """
    if name not in _envs:
        raise SpecError(f"no environment is registered as {name!r}.{did_you_mean(name, _envs)} Call register_env({name!r}, creator) first.")
    return _envs[name]


def _check_name(owner: str, name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise SpecError(f"{owner}: the name must be a string that is not empty, got {name!r}.")

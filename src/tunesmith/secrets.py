"""What must reach no file, journal, console or dashboard: passwords and keys that users put into their config.

A value is secret if it is a *string constant* and the last part of its key is, or ends in, ``api_key``, ``apikey``,
``token``, ``password``, ``passwd``, ``secret`` or ``access_key`` (case, ``-`` and ``_`` do not matter). Numbers and values
that a searcher drew never are, so ``max_tokens`` and ``token=choice([...])`` stay. The whole ``wandb`` and ``mlflow``
blocks are, whatever they hold: they are settings of a service, no hyperparameters.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

__all__ = ["is_secret", "redact"]

_WORDS = ("apikey", "token", "password", "passwd", "secret", "accesskey")
_BLOCKS = frozenset({"wandb", "mlflow"})
_HARMLESS = frozenset({int, float, bool, type(None)})


def is_secret(path: str, value: Any) -> bool:
    """Whether the constant at ``path`` of a config must not be written or shown.

    Args:
        path: the keys that lead to it, joined by "/"; an element of a list has its index as last part.
        value: the constant. Never call this for a drawn value.

    Example:
        >>> is_secret("service/api_key", "abc"), is_secret("max_tokens", 512), is_secret("wandb/project", "digits")
        (True, False, True)
    """
    parts = path.split("/")
    if not _BLOCKS.isdisjoint(parts[:-1]):
        return True
    while len(parts) > 1 and parts[-1].isdigit():
        parts.pop()
    if parts[-1] in _BLOCKS:
        return value is not None and not isinstance(value, (bool, int, float))
    return isinstance(value, (str, bytes)) and bool(value) and _names_a_secret(parts[-1])


def redact(config: Any, drawn: Container[str] = (), path: str = "") -> Any:
    """A copy of ``config`` without its secrets; ``config`` itself is left alone.

    Args:
        config: nested dicts and lists, and the options of domains in them; other objects are kept as they are (not copied).
        drawn: flat paths of the values that were drawn: these stay, with all that is below them.
        path: where ``config`` lies in the whole; for the recursion.

    Example:
        >>> redact({"lr": 0.1, "hub": {"password": "x", "user": "ada"}, "wandb": {"project": "p"}})
        {'lr': 0.1, 'hub': {'user': 'ada'}}
    """
    kind = type(config)
    if kind is dict or isinstance(config, Mapping):
        copy = {}
        for key, value in config.items():
            if type(value) not in _HARMLESS:
                place = f"{path}/{key}" if path else str(key)
                if place not in drawn:
                    if is_secret(place, value):
                        continue
                    value = redact(value, drawn, place)
            copy[key] = value
        return copy
    if kind is list or kind is tuple:
        kept = [
            redact(value, drawn, place)
            for index, value in enumerate(config)
            if (place := f"{path}/{index}") in drawn or not is_secret(place, value)
        ]
        return kept if kind is list else tuple(kept)
    map_options = getattr(type(config), "__map_options__", None)  # a choice; its module lies above this one
    return config if map_options is None else map_options(config, lambda option: redact(option, drawn, path))


def _names_a_secret(key: str) -> bool:
    return key.lower().replace("_", "").replace("-", "").endswith(_WORDS)

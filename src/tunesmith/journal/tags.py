"""Drawn values as people read them: where they are in the configuration, and the tag that tells trials apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["expanded", "is_scalar", "located", "tag_of"]

_ABSENT = object()
_SCALARS = (str, int, float, bool, type(None))


def located(config: Any, name: str, value: Any) -> tuple[str, Any]:
    """Path and value in ``config`` of the parameter ``name``, which also has the numbers of the options that it lies in."""
    if name in config:
        return name, config[name]
    path = []
    for part in name.split("/"):
        if isinstance(config, list):
            found = config[int(part)] if part.isdigit() and int(part) < len(config) else _ABSENT
        else:
            found = config.get(part, _ABSENT) if isinstance(config, dict) else _ABSENT
        if found is not _ABSENT:
            config = found
            path.append(part)
        elif not part.isdigit():
            return name, value
    return "/".join(path), config


def is_scalar(value: Any) -> bool:
    return isinstance(value, _SCALARS)


def expanded(values: Mapping[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    """Path -> text or number of what was drawn; an option that is a dict as its scalar entries, or if it has none as its number."""
    drawn: dict[str, Any] = {}
    for name, value in values.items():
        path, found = located(shown, name, value)
        if isinstance(found, dict):
            entries = {f"{path}/{key}": entry for key, entry in found.items() if is_scalar(entry)}
            drawn.update(entries or {path: value})
        else:
            drawn[path] = found
    return drawn


def tag_of(drawn: Mapping[str, Any]) -> str:
    """``lr=0.001,act=relu``; of a path only its end, unless two end alike."""
    keys = [_end(path) if "/" in path else path for path in drawn]
    if len(set(keys)) < len(keys):
        keys = list(drawn)
    return ",".join([f"{key}={_tidy(value)}" for key, value in zip(keys, drawn.values(), strict=True)])


def _end(path: str) -> str:
    """The last part; with what comes before it if it is an index."""
    head, _, last = path.rpartition("/")
    return f"{_end(head)}/{last}" if head and last.isdigit() else last


def _tidy(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace(", ", ",")

"""Nested dicts as flat ones, joined by "/": the form in which metrics travel, are stored, and are looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ResultDict", "flatten", "unflatten"]

_MISSING = object()
_LEAVES = frozenset({bool, int, float, str, list, tuple, type(None)})  # asking whether it is a Mapping is far slower


def flatten(d: Mapping[Any, Any], delimiter: str = "/") -> dict[str, Any]:
    """``d`` with the keys of nested mappings joined by ``delimiter``; keys become strings, the order is kept.

    An empty mapping is a value of its own, so that nothing is lost. Of two entries that come out under one key the later wins.

    Example:
        >>> flatten({"loss": 1, "val": {"acc": 0.5, "n": {"cat": 3}}, "none": {}})
        {'loss': 1, 'val/acc': 0.5, 'val/n/cat': 3, 'none': {}}
    """
    flat: dict[str, Any] = {}
    for key, value in d.items():
        name = key if type(key) is str else str(key)
        if type(value) not in _LEAVES and isinstance(value, Mapping) and value:
            for inner, leaf in flatten(value, delimiter).items():
                flat[f"{name}{delimiter}{inner}"] = leaf
        else:
            flat[name] = value
    return flat


def unflatten(d: Mapping[str, Any], delimiter: str = "/") -> dict[str, Any]:
    """The nested dict behind a flat one. A key that runs through another's value (``a`` and ``a/b``) stays as it is, at the top.

    Example:
        >>> unflatten({"loss": 1, "val/acc": 0.5, "val/n/cat": 3})
        {'loss': 1, 'val': {'acc': 0.5, 'n': {'cat': 3}}}
        >>> unflatten({"a": 1, "a/b": 2})
        {'a': 1, 'a/b': 2}
    """
    nested: dict[str, Any] = {}
    entries = d.keys()
    ours: dict[int, dict[str, Any]] = {}  # the levels made here: a dict that is itself a value must not be written into
    for key, value in d.items():
        parts = key.split(delimiter)
        if any(delimiter.join(parts[:end]) in entries for end in range(1, len(parts))):
            nested[key] = value
            continue
        level = nested
        for part in parts[:-1]:
            step = level.get(part, _MISSING)
            if step is _MISSING or id(step) not in ours:
                step = level[part] = {}
                ours[id(step)] = step
            level = step
        level[parts[-1]] = value
    return nested


class ResultDict(dict[str, Any]):
    """A flat result that can also be read as the nested one that the user reported.

    ``result["val/acc"]`` is an entry. ``result["val"]`` is built when asked for: a ``ResultDict`` of all entries below ``val/``.
    A path may go on inside an entry that is itself a dict: ``result["config/lr"]``. Exact entries win over both.
    Iteration, ``len`` and equality are those of the flat dict.

    Raises:
        KeyError: there is neither an entry of that name nor one below or above it.

    Example:
        >>> r = ResultDict({"loss": 1, "val/acc": 0.5, "val/n": 7, "config": {"lr": 0.1}})
        >>> r["loss"], r["val"], r["val"]["acc"], r["config/lr"]
        (1, ResultDict({'acc': 0.5, 'n': 7}), 0.5, 0.1)
        >>> "val" in r, "va" in r, r.get("train", "none")
        (True, False, 'none')
    """

    __slots__ = ()

    def __missing__(self, key: str) -> Any:
        found = self._find(key)
        if found is _MISSING:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (isinstance(key, str) and self._find(key) is not _MISSING)

    def get(self, key: str, default: Any = None) -> Any:
        """The entry, the sub-dict of that name, or ``default``."""
        try:
            return self[key]
        except KeyError:
            return default

    def nested(self) -> dict[str, Any]:
        """The same as plain nested dicts."""
        return unflatten(self)

    def copy(self) -> ResultDict:
        """A shallow copy, of the same kind."""
        return ResultDict(self)

    def _find(self, key: str) -> Any:
        prefix = f"{key}/"
        below = {name[len(prefix) :]: value for name, value in self.items() if name.startswith(prefix)}
        if below:
            return ResultDict(below)
        return _descend(self, key)

    def __repr__(self) -> str:
        return f"ResultDict({super().__repr__()})"


def _descend(d: dict[str, Any], path: str) -> Any:
    """What lies at ``path`` inside entries of ``d`` that are themselves dicts."""
    head, slash, rest = path.partition("/")
    while slash:
        inner = dict.get(d, head)
        if isinstance(inner, dict):
            found = inner[rest] if dict.__contains__(inner, rest) else _descend(inner, rest)
            if found is not _MISSING:
                return found
        more, slash, rest = rest.partition("/")
        head = f"{head}/{more}"
    return _MISSING

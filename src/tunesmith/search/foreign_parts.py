"""Small things that adapters to other search libraries need: what is proposed and under way, options of choices, arguments."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.core.rng import stream
from tunesmith.errors import SpaceError
from tunesmith.space import Space
from tunesmith.space.nodes import Choice, Leaf, show

__all__ = [
    "Guess", "Live", "Territory", "codes_of", "flat_entries", "nested_entries", "place_of", "step_of",
]  # fmt: skip


@dataclass(slots=True)
class Guess:
    """What a library proposes.

    Args:
        point: values by name of ``problem.space``; of a space in the library's own terms: the config, nested or with "a/b" keys.
        token: what the library knows it by, handed back to :meth:`ForeignSearcher.enter` or :meth:`ForeignSearcher.refuse`.
    """

    point: Mapping[str, Any]
    token: Any = None


@dataclass(slots=True)
class Live:
    """A trial that is under way.

    Args:
        trial: its number.
        point: as in :class:`Guess`.
        handle: the library's.
        known: whether the library has it at all.
    """

    trial: int
    point: Mapping[str, Any]
    handle: Any
    known: bool = True


def step_of(result: Mapping[str, Any]) -> float:
    """How far a trial was when it had this result; 0: it does not say."""
    step = result.get("training_iteration")
    return float(step) if isinstance(step, int | float) else 0.0


class Territory:
    """Which space a library searches, and how that lies in the experiment's.

    Args:
        bound: the experiment's space.
        own: the one to search instead, in our domains; its configs are laid over those of ``bound``.
        native: the same in the library's own terms: points are configs then.
        seed: of what the library leaves open.
    """

    def __init__(self, bound: Space, own: Space | None, native: bool, seed: int) -> None:
        self._bound, self._own, self._native, self._seed = bound, own, native, seed

    def values(self, trial: int, point: Mapping[str, Any]) -> dict[str, Any]:
        """A point of the library's as values of the experiment's space.

        Raises:
            SpaceError: an entry cannot be recorded; names it.
        """
        if self._own is None and not self._native:
            return dict(point)
        config = point if self._own is None else self._own.resolve(point)
        return self._bound.complete(self._bound.values_from(config, strict=False), self._rng(trial))

    def point(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inverse.

        Raises:
            SpaceError: they lie outside of the library's space.
        """
        if self._native:
            return self._bound.resolve(values)
        if self._own is None:
            return values
        found = self._own.values_from(self._bound.resolve(values), strict=False)
        return {name: value for name, value in found.items() if name in self._own.nodes}

    def whole(self, trial: int, point: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a library gave, with computed values, and without what does not exist."""
        return point if self._native else (self._own or self._bound).complete(point, self._rng(trial))

    def keeps(self, trial: int, point: Mapping[str, Any]) -> bool:
        """Whether a whole point satisfies the constraints."""
        if self._own is not None and self._own.broken_constraint(point) is not None:
            return False
        return not self._bound.constraints or self._bound.broken_constraint(self.values(trial, point)) is None

    def begins_with(self, values: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
        """Whether values of the experiment's space are those of ``point``, a start point that may leave something open."""
        if self._native:
            return _has(self._bound.resolve(values), nested_entries(point))
        there = self.point(values)
        return all(name in there and there[name] == value for name, value in point.items())

    def _rng(self, trial: int) -> random.Random:
        return stream(self._seed, "complete", trial)


def codes_of(leaf: Leaf) -> tuple[Any, ...]:
    """How the options of a choice are recorded, in their order."""
    codes: tuple[Any, ...] = leaf.codes if isinstance(leaf, Choice) else leaf.domain.categories  # type: ignore[attr-defined]
    return codes


def place_of(leaf: Leaf, code: Any) -> int:
    """Which option of a choice ``code`` records; 1, 1.0 and True are told apart where the options are.

    Raises:
        SpaceError: none.
    """
    codes = codes_of(leaf)
    found = [index for index, known in enumerate(codes) if known == code]
    if not found:
        raise SpaceError(f"{show(leaf.keys)}: {code!r} stands for none of its {len(codes)} options.")
    return next((index for index in found if type(codes[index]) is type(code)), found[0])


def flat_entries(config: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """All entries of nested dicts, with "a/b" names.

    Example:
        >>> dict(flat_entries({"net": {"layers": 3}, "lr": 0.1}))
        {'net/layers': 3, 'lr': 0.1}
    """
    for key, entry in config.items():
        if isinstance(entry, Mapping) and entry:
            yield from flat_entries(entry, f"{above}{key}/")
        else:
            yield f"{above}{key}", entry


def nested_entries(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse.

    Example:
        >>> nested_entries({"net/layers": 3, "lr": 0.1})
        {'net': {'layers': 3}, 'lr': 0.1}
    """
    found: dict[str, Any] = {}
    for name, value in flat_entries(flat):
        level = found
        *above, last = name.split("/")
        for step in above:
            level = level.setdefault(step, {})
        level[last] = value
    return found


def _has(config: Any, part: Any) -> bool:
    """Whether all entries of ``part`` are in ``config``; elements of lists may be named by number."""
    if not isinstance(part, Mapping):
        return bool(config == part)
    entries = {str(index): entry for index, entry in enumerate(config)} if isinstance(config, list | tuple) else config
    return isinstance(entries, Mapping) and all(key in entries and _has(entries[key], entry) for key, entry in part.items())

"""A space of ours as a parametrization of Nevergrad's, and configs of parametrizations that users bring."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.search.foreign_parts import codes_of, place_of
from tunesmith.space import Categorical, Float, Integer, Normal, Space
from tunesmith.space.nodes import Leaf
from tunesmith.space.parse import Group

__all__ = ["Converter", "NativeConverter"]


class Converter:
    """Values of a space from a candidate's value, and back.

    Numbers are scalars of Nevergrad's, rounded here to whole numbers and steps; so are the positions in a choice of ascending numbers.
    Options with parameters of their own are a choice of dicts. What can have one value only is left out.

    Args:
        p: the module ``nevergrad.p``.
        space: ours.
    """

    def __init__(self, p: Any, space: Space) -> None:
        self._p, self._space = p, space
        content = self._group(space.group)
        # there has to be something, even where nothing varies
        self.parametrization: Any = p.Dict(**content) if content else p.Dict(_=p.Scalar(lower=0.0, upper=1.0))

    def values(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Values of our space; those that are left out are missing."""
        found: dict[str, Any] = {}
        self._read(self._space.group, value, found)
        return found

    def value(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse: what a candidate's value is set to."""
        return self._write(self._space.group, values) or {"_": 0.5}

    def _group(self, group: Group) -> dict[str, Any]:
        p = self._p
        found = {leaf.name: self._leaf(leaf) for leaf in group.leaves if _varies(leaf)}
        for choice in group.choices:
            below = [self._group(each) for each in group.below[choice.name]]
            if len(below) > 1 or below[0]:
                # the number tells options with equal content apart
                found[choice.name] = p.Choice([p.Tuple(index, p.Dict(**content)) for index, content in enumerate(below)])
        return found

    def _leaf(self, leaf: Leaf) -> Any:
        p, domain = self._p, leaf.domain
        if isinstance(domain, Categorical):
            count = len(domain.categories)
            return p.Scalar(lower=-0.5, upper=count - 0.5) if _ascends(domain.categories) else p.Choice(list(range(count)))
        if isinstance(domain, Normal):
            return p.Scalar(init=domain.mean).set_mutation(sigma=domain.sd)
        low, high = _limits(domain)
        return p.Log(lower=low, upper=high) if domain.log else p.Scalar(lower=low, upper=high)  # type: ignore[attr-defined]

    def _read(self, group: Group, value: Mapping[str, Any], found: dict[str, Any]) -> None:
        for leaf in group.leaves:
            if leaf.name in value:
                found[leaf.name] = _member(leaf, value[leaf.name])
        for choice in group.choices:
            if choice.name in value:
                index, inner = value[choice.name]
                found[choice.name] = choice.codes[index]
                self._read(group.below[choice.name][index], inner, found)

    def _write(self, group: Group, values: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for leaf in group.leaves:
            if _varies(leaf):
                value = values[leaf.name]
                found[leaf.name] = place_of(leaf, value) if isinstance(leaf.domain, Categorical) else float(value)
        for choice in group.choices:
            index = place_of(choice, values[choice.name])
            inner = self._write(group.below[choice.name][index], values)
            if len(choice.codes) > 1 or inner:
                found[choice.name] = (index, inner)
        return found


def _varies(leaf: Leaf) -> bool:
    if isinstance(leaf.domain, Categorical):
        return len(codes_of(leaf)) > 1
    return not isinstance(leaf.domain, Integer) or leaf.domain.count > 1


def _ascends(options: Sequence[Any]) -> bool:
    numbers = all(type(option) in (int, float) for option in options)
    return numbers and all(a < b for a, b in itertools.pairwise(options))


def _limits(domain: Any) -> tuple[float, float]:
    """Limits before rounding: half a step more than the domain on both sides, so that its ends are as likely as the rest."""
    step = (domain.q or 1) if isinstance(domain, Integer) else domain.q or 0.0
    last = domain.last if isinstance(domain, Integer) else domain.upper
    low = domain.lower - step / 2
    return (max(low, domain.lower / 2) if domain.log else low), last + step / 2


def _member(leaf: Leaf, value: Any) -> Any:
    domain = leaf.domain
    if isinstance(domain, Categorical):
        codes = codes_of(leaf)
        return codes[min(max(round(value), 0), len(codes) - 1)]
    value = float(value)
    if isinstance(domain, Integer):
        step = domain.q or 1
        return min(max(round(value / step) * step, domain.lower), domain.last)
    assert isinstance(domain, Float | Normal)
    if domain.q is not None:
        value = float(round(round(value / domain.q) * domain.q, 12 - floor(log10(domain.q))))
    return value if isinstance(domain, Normal) else min(max(value, domain.lower), domain.upper)


class NativeConverter:
    """Configs from candidates of a parametrization that the user gave, and back.

    Args:
        p: the module ``nevergrad.p``.
        parametrization: a dict, an instrumentation, or an array.
        names: for the elements of an array, or for the positional arguments of an instrumentation.
    """

    def __init__(self, p: Any, parametrization: Any, names: Sequence[str] = ()) -> None:
        self._p, self.parametrization, self._names = p, parametrization, list(names)

    def config(self, value: Any) -> dict[str, Any]:
        """The config of a candidate's value.

        Raises:
            SpaceError: the parametrization has parts without names.
        """
        if isinstance(self.parametrization, self._p.Instrumentation):
            positional, named = value
            return {**self._named(positional), **{name: _plain(entry) for name, entry in named.items()}}
        if isinstance(value, Mapping):
            return {name: _plain(entry) for name, entry in value.items()}
        return self._named(_plain(value))

    def _named(self, values: Any) -> dict[str, Any]:
        values = values if isinstance(values, list | tuple) else [values]
        if len(values) != len(self._names):
            raise SpaceError(
                f"NevergradSearch: the parametrization has {len(values)} values without names, and space=[...] names "
                f"{len(self._names)}: {', '.join(self._names) or 'none'}. Give as many, or use ng.p.Dict."
            )
        return {name: _plain(value) for name, value in zip(self._names, values)}

    def value(self, config: Mapping[str, Any], *, start: Any = None) -> Any:
        """The inverse. ``start``: a value from which to take what is missing in the config."""
        given = dict(config) if start is None else _merged(self.config(start), config)
        if isinstance(self.parametrization, self._p.Instrumentation):
            return tuple(self._entry(given, name) for name in self._names), self._entries(given, self.parametrization.value[1])
        if isinstance(self.parametrization, self._p.Dict):
            return self._entries(given, self.parametrization.value)
        positional = [self._entry(given, name) for name in self._names]
        return positional if getattr(self.parametrization.value, "shape", ()) else positional[0]

    def _entries(self, given: Mapping[str, Any], shape: Mapping[str, Any]) -> dict[str, Any]:
        return {name: _shaped(self._entry(given, name), there) for name, there in shape.items()}

    @staticmethod
    def _entry(given: Mapping[str, Any], name: str) -> Any:
        if name not in given:
            raise SpaceError(f"NevergradSearch: the configuration has no {name!r}.")
        return given[name]


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, Mapping) and isinstance(above, Mapping) and below.keys() >= above.keys():
        return {key: _merged(entry, above[key]) if key in above else entry for key, entry in below.items()}
    return above


def _shaped(entry: Any, shape: Any) -> Any:
    """Lists as the tuples that they were before they were recorded."""
    if isinstance(entry, Mapping) and isinstance(shape, Mapping):
        return {key: _shaped(entry[key], there) for key, there in shape.items()} if entry.keys() >= shape.keys() else entry
    return tuple(entry) if isinstance(entry, list) and isinstance(shape, tuple) else entry


def _plain(value: Any) -> Any:
    """numpy's values as Python's, and tuples as lists, as they are recorded."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.tolist() if hasattr(value, "tolist") else value

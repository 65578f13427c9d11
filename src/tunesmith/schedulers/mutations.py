"""Mutations: which entries of a configuration may change while a trial runs, how they do, and what that makes of the search space.

Nothing here runs in the fold: values are made at the edge, with the user's own functions, and recorded.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tunesmith.errors import SpaceError, SpecError
from tunesmith.schedulers.calls import called
from tunesmith.space import Categorical, Domain, Float, Function, Integer, Normal, Space
from tunesmith.space.compute import as_json
from tunesmith.space.domains import Mutable
from tunesmith.space.match import place_among
from tunesmith.space.mutable import ABSENT
from tunesmith.space.nodes import Choice, Constant, plain
from tunesmith.space.parse import grid_options

__all__ = ["Mutations", "Proposal"]

Proposal = tuple[Any, str]
"""A new value, and what was done."""


class Mutations:
    """What ``hyperparam_mutations`` says.

    Args:
        owner: the scheduler's class, for messages.
        given: name -> list or tuple of options, a domain, a function without arguments, or a dict of these for a nested entry.
        argument: what the user knows it as.

    Attributes:
        paths: flat names ("a/b") of the entries, as they stand in a configuration.
        domains: path -> what was given for it.

    Raises:
        SpecError: it is none of that; names the entry.

    Example:
        >>> mutations = Mutations("Mine", {"lr": [0.1, 0.2, 0.4], "net": {"dropout": Float(0.0, 0.5)}})
        >>> mutations.paths
        ('lr', 'net/dropout')
        >>> mutations.propose({"lr": 0.2, "net/dropout": 0.3}, random.Random(4), resample=0.0, factors=(1.2, 0.8))
        {'lr': (0.1, 'shift left'), 'net/dropout': (0.24, 'x0.8')}
    """

    def __init__(self, owner: str, given: Mapping[Any, Any] | None, argument: str = "hyperparam_mutations") -> None:
        self._owner = owner
        self._argument = argument
        if given is not None and not isinstance(given, Mapping):
            raise SpecError(f"{owner}: {argument} must be a dict (name -> what it may become), got {type(given).__name__} {given!r}.")
        self._kinds: dict[str, _Kind] = {}
        self.domains: dict[str, Any] = {}
        for path, spec in self._flat(given or {}, ""):
            if path in self.domains:
                raise SpecError(f"{self._named(path)} is there twice.")
            self.domains[path] = spec
            self._kinds[path] = _kind_of(self._named(path), spec)
        self.paths = tuple(self.domains)

    def _named(self, path: str) -> str:
        return f"{self._owner}: {self._argument}[{path!r}]"

    def _flat(self, given: Mapping[Any, Any], above: str) -> Iterator[tuple[str, Any]]:
        for key, spec in given.items():
            path = f"{above}/{key}" if above else str(key)
            if isinstance(spec, Mapping) and grid_options(spec) is None:
                if not spec:
                    raise SpecError(f"{self._named(path)} is an empty dict; name the entries that may change.")
                yield from self._flat(spec, path)
            else:
                yield path, spec

    # ---- values

    def propose(
        self, now: Mapping[str, Any], rng: random.Random, *, resample: float, factors: Sequence[float]
    ) -> dict[str, Proposal]:
        """New values as PBT makes them.

        Args:
            now: path -> present value; of the paths that are not in it nothing is proposed.
            resample: with this probability a value is drawn anew; else it moves on to a neighbour, or is multiplied by one of ``factors``.

        Raises:
            UserCodeError: a function of the user's raised.
        """
        return {path: self._kinds[path].move(now[path], rng, resample, factors) for path in self.paths if path in now}

    def fitted(self, path: str, value: Any, now: Any) -> Any:
        """``value`` as one that the entry can have: inside of its domain, of its type and step; a whole number stays one."""
        return self._kinds[path].fit(value, now)

    # ---- the space

    def prepare(self, config: Mapping[Any, Any]) -> dict[Any, Any]:
        """The search space in which everything that may change is recorded: what the config lacks is drawn, constants become variables.

        Parameters stay as they are. A path may lead through the options of a choice: those that have the entry.

        Raises:
            SpecError: a path leads nowhere, or to something that cannot change.
        """
        prepared: dict[Any, Any] = dict(config)
        for path in self.paths:
            prepared = self._enter(prepared, path.split("/") if path not in prepared else [path], path)
        return prepared

    def _enter(self, level: Any, steps: list[str], path: str) -> Any:
        """``level`` with the entry at ``steps`` below it made one that can change."""
        if not steps:
            return self._entry(level, path)
        if isinstance(level, Categorical) or grid_options(level) is not None:
            options = level.categories if isinstance(level, Categorical) else grid_options(level)
            if not any(_has(option, steps) for option in options):
                raise SpecError(f"{self._named(path)}: none of the options {list(options)!r} on the way there has it.")
            entered = [self._enter(option, steps, path) if _has(option, steps) else option for option in options]
            return type(level)(tuple(entered)) if isinstance(level, Categorical) else {"grid_search": entered}
        if isinstance(level, list | tuple) and steps[0].isdecimal() and int(steps[0]) < len(level):
            items = list(level)
            items[int(steps[0])] = self._enter(items[int(steps[0])], steps[1:], path)
            return items if isinstance(level, list) else tuple(items)
        if not isinstance(level, Mapping):
            raise SpecError(f"{self._named(path)} leads to nothing: the config has {level!r} on the way there.")
        key = next((key for key in level if key == steps[0] or str(key) == steps[0]), steps[0])
        below = level.get(key, {} if len(steps) > 1 else ABSENT)
        return {**level, key: self._enter(below, steps[1:], path)}

    def _entry(self, value: Any, path: str) -> Any:
        kind, where = self._kinds[path], self._named(path)
        if value is ABSENT:
            return kind.domain
        if isinstance(value, Mutable):
            value = value.start
        if isinstance(value, Domain) or grid_options(value) is not None:
            known = value.categories if isinstance(value, Categorical) else grid_options(value)
            for option in kind.objects if known is not None else ():
                if place_among(known, option) is None:
                    raise SpecError(f"{where}: {option!r} is no option of the config's own {value!r}, so it could not be recorded.")
            return value
        if not isinstance(Space.parse({"v": value}).root.children["v"], Constant):
            raise SpecError(f"{where}: the config has domains within {value!r}; let those change, each by its name.")
        own = [value] if _is_object(value) and place_among(kind.objects, value) is None else []
        return Mutable(value, (*own, *kind.objects))


def _kind_of(where: str, spec: Any) -> _Kind:
    options = spec if isinstance(spec, list | tuple) else grid_options(spec)
    if isinstance(spec, Categorical):
        options = spec.categories
    if options is not None:
        if not isinstance(options, list | tuple) or not options:
            raise SpecError(f"{where} has no options to take one from.")
        return _Options(tuple(options))
    if isinstance(spec, Function):
        raise SpecError(f"{where} is a sample_from, which computes a value from a config; give its function itself, without arguments.")
    if isinstance(spec, Float | Integer | Normal):
        return _Range(spec)
    if callable(spec) and not isinstance(spec, type):
        return _Calls(where, spec)
    raise SpecError(f"{where} must be a list of options, a domain such as uniform(0, 1), a function, or a dict of these, got {spec!r}.")


class _Kind:
    """How one entry changes.

    Attributes:
        domain: what it is drawn from if the config lacks it.
        objects: those of its options that JSON cannot hold.
    """

    domain: Domain
    objects: tuple[Any, ...] = ()

    def move(self, now: Any, rng: random.Random, resample: float, factors: Sequence[float]) -> Proposal:
        raise NotImplementedError

    def fit(self, value: Any, now: Any) -> Any:
        """The value, or the one next to it that the entry can have."""
        return value


class _Options(_Kind):
    """One of several, in their order."""

    def __init__(self, options: tuple[Any, ...]) -> None:
        self.domain = Categorical(options)
        self._space = Space.parse({"v": self.domain})
        self._options = tuple(map(plain, options))
        self.objects = tuple(one for index, one in enumerate(self._options) if self._is_constant(index) and _is_object(one))

    @property
    def _node(self) -> Choice | None:
        node = self._space.nodes["v"]
        return node if isinstance(node, Choice) else None

    def _is_constant(self, index: int) -> bool:
        return self._node is None or isinstance(self._node.options[index], Constant)

    def move(self, now: Any, rng: random.Random, resample: float, factors: Sequence[float]) -> Proposal:
        at, last = self._index(now), len(self._options) - 1
        if rng.random() < resample or at is None:
            return self._value(rng.randint(0, last), rng), "resample"
        step = rng.choice((-1, 1))
        to = min(max(at + step, 0), last)
        how = f"shift {'left' if step < 0 else 'right'}"
        return (now, f"{how} (noop)") if to == at else (self._value(to, rng), how)

    def _index(self, value: Any) -> int | None:
        """Which option the value is."""
        found, node = place_among(self._options, value), self._node
        if found is None and node is not None:
            try:
                found = node.index(self._space.values_from({"v": value})["v"])
            except SpaceError:
                return None
        if found is None and type(value) in (int, float):  # 1 and 1.0
            alike = [index for index, option in enumerate(self._options) if type(option) in (int, float) and option == value]
            found = alike[0] if alike else None
        return found

    def _value(self, index: int, rng: random.Random) -> Any:
        """The option; one with domains in it is drawn."""
        node = self._node
        if node is None or self._is_constant(index):
            return self._options[index]
        return self._space.resolve(self._space.complete({"v": node.codes[index]}, rng))["v"]


class _Range(_Kind):
    """Numbers of a domain."""

    def __init__(self, domain: Float | Integer | Normal) -> None:
        self.domain: Float | Integer | Normal = domain

    def move(self, now: Any, rng: random.Random, resample: float, factors: Sequence[float]) -> Proposal:
        if rng.random() < resample or not _is_number(now):
            return self.fit(self.domain.draw(rng), now), "resample"
        factor = rng.choice(factors)
        value = self.fit(now * factor, now)
        if unmoved(value, now) and now * factor != now:  # a number that is rounded moves by one step at least
            value = self.fit(now + math.copysign(self._step(now), now * factor - now), now)
        return value, f"x{factor:g}{' (noop)' if unmoved(value, now) else ''}"

    def fit(self, value: Any, now: Any) -> Any:
        domain = self.domain
        if isinstance(domain, Integer):
            q = domain.q or 1
            return min(max(round(value / q) * q if math.isfinite(value) else value, domain.lower), domain.last)
        if domain.q is not None:
            if math.isfinite(value):
                value = round(round(value / domain.q) * domain.q, 12 - math.floor(math.log10(domain.q)))
        elif self._whole(now):
            value = round(value) if math.isfinite(value) else value
        if isinstance(domain, Normal):
            return value
        low, high = domain.lower, domain.upper
        if self._whole(now):
            low, high = math.ceil(low), math.floor(high)
        return min(max(value, low), high)

    def _whole(self, now: Any) -> bool:
        """Whether a whole number is to stay one: not where the domain has hardly any."""
        if not isinstance(now, int) or isinstance(now, bool) or self.domain.q is not None:
            return False
        return isinstance(self.domain, Normal) or math.floor(self.domain.upper) > math.ceil(self.domain.lower)

    def _step(self, now: Any) -> float:
        return self.domain.q or (1 if isinstance(self.domain, Integer) or self._whole(now) else 0.0)


class _Calls(_Kind):
    """What a function of the user's returns."""

    def __init__(self, where: str, function: Callable[[], Any]) -> None:
        self._what = f"{where} ({getattr(function, '__name__', type(function).__name__)})"
        self._function = function
        self.domain = Function(_WithoutArguments(function))

    def move(self, now: Any, rng: random.Random, resample: float, factors: Sequence[float]) -> Proposal:
        if rng.random() < resample or not (_is_number(now) or isinstance(now, bool)):
            return self.fit(plain(called(self._what, self._function, rng)), now), "resample"
        factor = rng.choice(factors)
        value = self.fit(now * factor, now)
        if type(now) is int and value == now and now * factor != now:
            value = now + (1 if now * factor > now else -1)
        return value, f"x{factor:g}{' (noop)' if unmoved(value, now) else ''}"

    def fit(self, value: Any, now: Any) -> Any:
        if isinstance(now, bool):
            return bool(value)
        if type(now) is int and _is_number(value) and math.isfinite(value):
            return round(value)
        return float(value) if type(now) is float and _is_number(value) else value


class _WithoutArguments:
    """Calls a function without arguments, also one that does not tell what it takes."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self) -> Any:
        return self._function()


def unmoved(value: Any, now: Any) -> bool:
    """Whether a number is what it was."""
    return bool(value == now)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_object(value: Any) -> bool:
    """Whether JSON cannot hold it."""
    return value is not None and as_json(value) is None


def _has(level: Any, steps: Sequence[str]) -> bool:
    """Whether there is an entry at ``steps`` below ``level``."""
    if not steps:
        return True
    if isinstance(level, Categorical) or grid_options(level) is not None:
        options = level.categories if isinstance(level, Categorical) else grid_options(level)
        return any(_has(option, steps) for option in options)
    if isinstance(level, Mapping):
        return any((key == steps[0] or str(key) == steps[0]) and _has(entry, steps[1:]) for key, entry in level.items())
    if isinstance(level, list | tuple):
        return steps[0].isdecimal() and int(steps[0]) < len(level) and _has(level[int(steps[0])], steps[1:])
    return False

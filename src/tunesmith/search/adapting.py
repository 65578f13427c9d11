"""For adapters: parameters as other libraries describe them, and silence while these libraries work."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from tunesmith.errors import BugError
from tunesmith.search.foreign_parts import codes_of, place_of
from tunesmith.space import Space
from tunesmith.space.domains import Categorical, Domain, Float, Integer, Normal
from tunesmith.space.nodes import Leaf
from tunesmith.space.parse import Group
from tunesmith.space.unit import from_unit, to_unit

__all__ = ["Axis", "axes_of", "quiet", "squarable", "unheard"]

_SQUARABLE = 1e100


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter as an interval of real or whole numbers, or as options by their numbers from 0.

    Of a domain with a step, multiples are counted (0.3 in steps of 0.1 is 3); a normal distribution is its cumulative probability.

    Attributes:
        leaf: the parameter.
        kind: "float", "int" or "option".
        lower, upper: ends, both inclusive; of options: 0 and the last one's number.
        log: even over the logarithm.
        ordered: options only: they are numbers in rising or falling order.
        step: what 1 on this axis is in the parameter's own units; 1.0 unless it has a step.
        under: name of the choice, and number of its option, that this parameter exists with; None: it always exists.
    """

    leaf: Leaf
    kind: Literal["float", "int", "option"]
    lower: float
    upper: float
    log: bool = False
    ordered: bool = False
    step: float = 1.0
    under: tuple[str, int] | None = None

    @property
    def name(self) -> str:
        """The parameter's."""
        return self.leaf.name

    def place(self, value: Any) -> float:
        """Where a value of the parameter lies.

        Raises:
            SpaceError: it is none of the options.
        """
        domain = self.leaf.domain
        if self.kind == "option":
            return place_of(self.leaf, value)
        if isinstance(domain, Normal):
            return to_unit(domain, value)
        return float(value) if self.kind == "float" else round(value / self.step)

    def value(self, place: float) -> Any:
        """The parameter's value there; the inverse of :meth:`place`."""
        domain = self.leaf.domain
        inside = min(max(place, self.lower), self.upper)
        if self.kind == "option":
            return codes_of(self.leaf)[round(inside)]
        if isinstance(domain, Normal):
            return from_unit(domain, inside)
        if self.kind == "float":
            return float(inside)
        if isinstance(domain, Integer):
            return round(inside) * (domain.q or 1)
        return from_unit(domain, to_unit(domain, round(inside) * self.step))

    @property
    def middle(self) -> float:
        """A place that is as good as any, for parameters that do not exist in a configuration."""
        if self.kind == "option":
            return 0
        middle = (self.lower * self.upper) ** 0.5 if self.log else (self.lower + self.upper) / 2
        return middle if self.kind == "float" else int(middle)


def axes_of(space: Space) -> list[Axis]:
    """What there is to choose in ``space``, in a fixed order, each after the choice that it hangs on.

    Left out is what can have one value only, and what functions compute: :meth:`Space.complete` adds them.

    Example:
        >>> from tunesmith.space import choice, quniform
        >>> [(axis.name, axis.kind, axis.upper) for axis in axes_of(Space.parse({"x": quniform(0, 1, 0.1), "c": choice(["a", "b"])}))]
        [('c', 'option', 1), ('x', 'int', 10)]
    """
    return list(_of_group(space.group, None))


def _of_group(group: Group, under: tuple[str, int] | None) -> Iterator[Axis]:
    for leaf in group.leaves:
        axis = _of_leaf(leaf, under)
        if axis is not None:
            yield axis
    for choice in group.choices:
        axis = _of_leaf(choice, under)
        if axis is not None:
            yield axis
        for number, below in enumerate(group.below[choice.name]):
            # what hangs on the only option there is exists whenever the choice does
            yield from _of_group(below, under if axis is None else (choice.name, number))


def _of_leaf(leaf: Leaf, under: tuple[str, int] | None) -> Axis | None:
    domain: Domain = leaf.domain
    if isinstance(domain, Categorical):
        last = len(domain.categories) - 1
        return Axis(leaf, "option", 0, last, ordered=_is_ordered(domain.categories), under=under) if last else None
    if isinstance(domain, Normal):
        return Axis(leaf, "float", 0.0, 1.0, under=under)
    if isinstance(domain, Float) and domain.q is None:
        return Axis(leaf, "float", domain.lower, domain.upper, domain.log, under=under)
    if not isinstance(domain, Float | Integer):
        raise BugError(f"{leaf.name}: {domain!r} is a domain that adapters do not know.")
    step = domain.q or 1
    lower, upper = round(domain.lower / step), round((domain.last if isinstance(domain, Integer) else domain.upper) / step)
    return Axis(leaf, "int", lower, upper, domain.log, step=step, under=under) if lower < upper else None


def _is_ordered(options: tuple[Any, ...]) -> bool:
    if not all(isinstance(option, int | float) and not isinstance(option, bool) for option in options):
        return False
    pairs = list(pairwise(options))
    return all(a < b for a, b in pairs) or all(a > b for a, b in pairs)


def squarable(loss: float) -> float:
    """The loss, or the nearest one whose square can be computed, for libraries that standardise what they are told: some trials diverge."""
    return min(max(loss, -_SQUARABLE), _SQUARABLE)


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Nothing that is logged below these loggers, and no warning, reaches the user while a library works; what it raises does."""
    silenced = [logging.getLogger(name) for name in loggers]
    before = [(logger.handlers, logger.propagate) for logger in silenced]
    for logger in silenced:
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, (handlers, propagate) in zip(silenced, before):
            logger.handlers, logger.propagate = handlers, propagate


@contextmanager
def unheard(logger: str) -> Iterator[None]:
    """No warning, and nothing that this one logger is told, reaches the user while a package is imported, which may make handlers."""
    silenced = logging.getLogger(logger)
    silenced.addFilter(_nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        silenced.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    del record
    return False

"""A space as CMA-ES sees it: coordinates in the unit cube, numbers with steps among them, and categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.errors import SpecError
from tunesmith.space import Space
from tunesmith.space.domains import Categorical, Domain, Float, Function, Integer, Normal
from tunesmith.space.nodes import Choice, Leaf, show
from tunesmith.space.unit import from_unit, to_unit

__all__ = ["MARGIN_VALUES", "Layout", "Point"]

Array = npt.NDArray[np.float64]

MARGIN_VALUES = 1000
"""Numbers with at most so many values have steps here; with more they are taken as real numbers that are rounded."""


@dataclass(frozen=True, slots=True)
class Point:
    """A configuration in coordinates.

    Args:
        numbers: shape (continuous + stepped,): where in the unit cube.
        options: for each category the number of the option; -1: it was not given.
    """

    numbers: Array
    options: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Steps:
    """A number that has few values. ``places``: where they are in [0, 1], ascending; ``ends``: what separates them there."""

    name: str
    domain: Domain
    values: tuple[Any, ...]
    places: Array
    ends: Array


@dataclass(frozen=True, slots=True)
class _Category:
    """``options``: the values by which they are recorded, all different."""

    name: str
    options: tuple[Any, ...]

    def index(self, value: Any) -> int:
        alike = [index for index, option in enumerate(self.options) if option == value]
        return next((index for index in alike if type(self.options[index]) is type(value)), alike[0])


class Layout:
    """Which parameters a space has, by kind. Those with one value only, and computed ones, are none of them.

    Args:
        space: without parameters that depend on others.

    Attributes:
        continuous: real numbers, and others with more than 1,000 values.
        stepped: numbers with 3 to 1,000 values.
        categorical: choices, and numbers with two values.

        reals: which of a point's numbers are real ones, without any steps.

    Raises:
        SpecError: options of a choice have parameters of their own.

    Example:
        >>> from tunesmith.space import choice, randint, uniform
        >>> layout = Layout(Space.parse({"x": uniform(0, 10), "n": randint(0, 4), "c": choice(["a", "b"])}))
        >>> layout.sizes
        (1, 1, 1)
        >>> layout.values(layout.point({"x": 2.5, "n": 3, "c": "b"}))
        {'x': 2.5, 'n': 3, 'c': 'b'}
    """

    def __init__(self, space: Space) -> None:
        self.continuous: list[Leaf] = []
        self.stepped: list[_Steps] = []
        self.categorical: list[_Category] = []
        for name in sorted(space.nodes):
            leaf = space.nodes[name]
            if isinstance(leaf.domain, Function):
                continue
            if any(not isinstance(other.domain, Function) for group in space.group.below.get(name, ()) for other in group.every()):
                raise SpecError(
                    f"CMAESSearch: options of {show(leaf.keys)} have parameters of their own, and CMA-ES needs all parameters in every "
                    "trial. Use TPESearch or NSGA2Search, or take these parameters out of the options."
                )
            self._add(leaf)
        domains = [leaf.domain for leaf in self.continuous]
        self.reals = np.flatnonzero([isinstance(domain, Float | Normal) and domain.q is None for domain in domains])

    def _add(self, leaf: Leaf) -> None:
        domain = leaf.domain
        if isinstance(domain, Categorical):
            options = leaf.codes if isinstance(leaf, Choice) else domain.categories
        elif (values := _values(domain)) is None:
            self.continuous.append(leaf)
            return
        elif len(values) > 2:
            places = np.array([to_unit(domain, value) for value in values])
            self.stepped.append(_Steps(leaf.name, domain, values, places, (places[1:] + places[:-1]) / 2))
            return
        else:
            options = values
        if len(options) > 1:
            self.categorical.append(_Category(leaf.name, tuple(options)))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many parameters of each kind there are."""
        return len(self.continuous), len(self.stepped), len(self.categorical)

    def values(self, point: Point) -> dict[str, Any]:
        """The values at a point; numbers outside of the cube count as its faces, those between steps as the step next to them."""
        values = {leaf.name: from_unit(leaf.domain, unit) for leaf, unit in zip(self.continuous, point.numbers.tolist())}
        for steps, unit in zip(self.stepped, point.numbers[len(self.continuous) :].tolist()):
            values[steps.name] = steps.values[int(np.searchsorted(steps.ends, unit))]
        for category, option in zip(self.categorical, point.options):
            values[category.name] = category.options[option]
        return values

    def point(self, values: Mapping[str, Any], missing: float = 0.5) -> Point:
        """Where values are. A number that is not given is at ``missing``."""
        numbers: Sequence[Leaf | _Steps] = (*self.continuous, *self.stepped)
        units = [to_unit(one.domain, values[one.name]) if one.name in values else missing for one in numbers]
        options = (one.index(values[one.name]) if one.name in values else -1 for one in self.categorical)
        return Point(np.array(units, dtype=float), tuple(options))


def _values(domain: Domain) -> tuple[Any, ...] | None:
    """All values of a number; None: too many, or so large that floats do not tell them apart."""
    if isinstance(domain, Normal) or not isinstance(domain, Integer | Float):
        return None
    step = domain.q if domain.q is not None else 1 if isinstance(domain, Integer) else None
    if step is None:
        return None
    last = domain.last if isinstance(domain, Integer) else domain.upper
    count = round((last - domain.lower) / step) + 1
    if count > MARGIN_VALUES:
        return None
    # there and back, so that 3 * 0.1 is 0.3
    values = tuple(from_unit(domain, to_unit(domain, domain.lower + index * step)) for index in range(count))
    return values if len(set(map(float, values))) == count else None

"""A space as the columns of a matrix: which are numbers, which are choices, which values they have, and which exist when.

A row has a coordinate in [0, 1] for *every* parameter, those of options that are not taken included, so that a local search can take
another option at once; :meth:`Columns.active` tells which of them exist.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.errors import SpaceError
from tunesmith.space import Space
from tunesmith.space.domains import Categorical, Domain, Float, Integer
from tunesmith.space.encode import Encoder
from tunesmith.space.parse import Group
from tunesmith.space.unit import to_unit

__all__ = ["Array", "Columns", "Flags"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_LEVELS = 1000
"""A number with more values than this counts as continuous; it is rounded when the configuration is made."""


class Columns:
    """Configurations as rows of the unit cube, one column for each parameter.

    Args:
        space: what to encode. Parameters that functions compute have no column.

    Attributes:
        names: the parameters, in the order of their columns.
        dim: how many there are.
        options: number of options of each; 0: a number.
        levels: coordinates of all values of each; None: (as good as) continuous.
        parents: column of the choice that each hangs on and the option that must be taken, or None.
        forks: column -> levels of each choice on whose options others hang.
        weight: the share of random configurations in which each exists.

    Example:
        >>> from tunesmith.space import choice, randint, uniform
        >>> columns = Columns(Space.parse({"n": randint(0, 2), "opt": choice([{"lr": uniform(0, 4)}, None])}))
        >>> columns.names, columns.parents
        (['n', 'opt', 'opt/0/lr'], [None, None, (1, 0)])
        >>> columns.encode({"n": 1, "opt": 0, "opt/0/lr": 1.0}).tolist()
        [0.75, 0.25, 0.25]
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._encoder = Encoder(space, one_hot=False)
        self.names: list[str] = self._encoder.names
        self.dim = len(self.names)
        self._domains = domains = [space.nodes[name].domain for name in self.names]
        self.options = [len(domain.categories) if isinstance(domain, Categorical) else 0 for domain in domains]
        self.levels = [_levels(domain) for domain in domains]
        self._edges = [None if levels is None else _edges(domain, len(levels)) for domain, levels in zip(domains, self.levels)]
        places = {name: at for at, name in enumerate(self.names)}
        hangs = _hanging(space.group, None)
        self.parents = [None if hangs[name] is None else (places[hangs[name][0]], hangs[name][1]) for name in self.names]
        parents = sorted({parent[0] for parent in self.parents if parent is not None})
        self.forks = {at: levels for at in parents if (levels := self.levels[at]) is not None}
        self.weight = np.ones(self.dim)
        # a parent's name is the beginning of its children's, so it comes before them in the order of names
        self._hanging = [(at, *parent) for at, parent in enumerate(self.parents) if parent is not None]
        for at, parent, _ in self._hanging:
            self.weight[at] = self.weight[parent] / self.options[parent]
        self.continuous = np.array([levels is None for levels in self.levels], dtype=bool)

    def encode(self, values: Mapping[str, Any]) -> Array | None:
        """A configuration as a row, with 0.5 for what does not exist in it; None: it is none of this space (an older one's, perhaps)."""
        try:
            row = self._encoder.encode(values)
        except (SpaceError, TypeError, ValueError, OverflowError):
            return None
        missing = np.isnan(row)
        row[missing] = 0.5
        return None if (missing & self.active(row[None])[0]).any() else row

    def decode(self, row: Array) -> dict[str, Any]:
        """Values of the parameters that exist in the configuration of ``row``; computed ones are missing."""
        values, exists = self._encoder.decode(row), self.active(row[None])[0]
        return {name: _at_bound(domain, values[name]) for name, domain, there in zip(self.names, self._domains, exists) if there}

    def active(self, rows: Array) -> Flags:
        """Which parameters exist in each row."""
        exists = np.ones(rows.shape, dtype=bool)
        for at, parent, option in self._hanging:
            exists[:, at] = exists[:, parent] & (self.option(rows[:, parent], parent) == option)
        return exists

    def option(self, units: Array, at: int) -> NDArray[np.int64]:
        """Numbers of the options that ``units`` of choice ``at`` stand for."""
        count = self.options[at]
        return np.minimum((units * count).astype(np.int64), count - 1)

    def agree(self, rows: Array, taken: Mapping[int, float]) -> Flags:
        """Which rows take the options of ``taken`` (column -> coordinate), as far as these choices exist in them."""
        exists, same = self.active(rows), np.ones(len(rows), dtype=bool)
        for at, level in taken.items():
            same &= ~exists[:, at] | (self.option(rows[:, at], at) == self.option(np.array([level]), at))
        return same

    def snap(self, rows: Array) -> Array:
        """Rows with every coordinate that has levels at the next of them; the argument is not changed."""
        snapped = np.clip(rows, 0.0, 1.0)
        for at, (levels, edges) in enumerate(zip(self.levels, self._edges)):
            if levels is not None and edges is not None:
                snapped[:, at] = levels[np.searchsorted(edges, snapped[:, at], side="right")]
        return snapped

    def every(self, limit: int) -> Array | None:
        """All rows there are, if all parameters have levels, and they are not more than ``limit``."""
        axes, count = [levels for levels in self.levels if levels is not None], 1
        for levels in axes:
            count *= len(levels)
            if count > limit:
                return None
        return np.array(list(itertools.product(*axes))) if len(axes) == self.dim > 0 else None


def _at_bound(domain: Domain, value: Any) -> Any:
    """``value``, or the bound that it misses by a rounding error, as logarithms and their inverses do."""
    if isinstance(domain, Float):
        return next((bound for bound in (domain.lower, domain.upper) if math.isclose(value, bound, rel_tol=1e-12)), value)
    return value


def _hanging(group: Group, parent: tuple[str, int] | None) -> dict[str, Any]:
    """Name -> (choice, option) that it hangs on."""
    found: dict[str, Any] = {leaf.name: parent for leaf in (*group.leaves, *group.choices, *group.grids, *group.computed)}
    for name, groups in group.below.items():
        for option, below in enumerate(groups):
            found |= _hanging(below, (name, option))
    return found


def _levels(domain: Domain) -> Array | None:
    if isinstance(domain, Categorical):
        return (np.arange(len(domain.categories)) + 0.5) / len(domain.categories)
    values = _values(domain)
    return None if values is None else np.array([to_unit(domain, value) for value in values])


def _values(domain: Domain) -> list[float] | None:
    if isinstance(domain, Integer):
        return [domain.lower + i * (domain.q or 1) for i in range(domain.count)] if domain.count <= _LEVELS else None
    if isinstance(domain, Float) and domain.q is not None:
        count = round((domain.upper - domain.lower) / domain.q) + 1
        return [min(domain.lower + i * domain.q, domain.upper) for i in range(count)] if count <= _LEVELS else None
    return None


def _edges(domain: Domain, count: int) -> Array:
    """Between the cells of ``count`` neighbouring values."""
    if isinstance(domain, Categorical):
        return np.arange(1, count) / count
    values = np.array(_values(domain))
    whole = isinstance(domain, Integer) and domain.q is None
    borders = values[1:] if whole else (values[1:] + values[:-1]) / 2
    if isinstance(domain, Integer | Float) and domain.log:
        margin = 0.0 if domain.q is None else domain.q / 2
        low, high = np.log(domain.lower - margin), np.log(domain.upper + margin)
        return np.asarray((np.log(borders) - low) / (high - low))
    assert isinstance(domain, Integer | Float)
    margin = 0.0 if domain.q is None else domain.q / 2
    return np.asarray((borders - domain.lower + margin) / (domain.upper - domain.lower + 2 * margin))

"""Encoding of a space's values to the unit cube, for searchers that fit models.

Every parameter but computed ones has columns of its own, those of all options of conditional choices included: numbers one column,
categorical ones as many as they have options (one-hot) or one (ordinal). Equal lengths in a column are equally likely under the
space's own distribution: logarithms are undone, integers and steps are cells of equal width (a value is its cell's middle), normal
distributions go through their cumulative distribution function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.errors import SpaceError
from tunesmith.space.domains import Categorical, Domain, Float, Function, Integer, Normal, same
from tunesmith.space.nodes import Choice, Leaf
from tunesmith.space.space import Space

__all__ = ["Encoder", "from_unit", "to_unit"]

_EDGE = 1e-9


def to_unit(domain: Domain, value: Any) -> float:
    """Where ``value`` lies in [0, 1].

    Raises:
        SpaceError: the domain has no order to encode (``sample_from``), or the value is none of its options.

    Example:
        >>> from tunesmith.space import loguniform, randint
        >>> to_unit(loguniform(1e-4, 1), 1e-2)
        0.5
        >>> to_unit(randint(0, 4), 3)
        0.875
    """
    if isinstance(domain, Categorical):
        options = domain.categories
        exact = [i for i, option in enumerate(options) if type(option) is type(value) and same(option, value)]
        index = next(iter(exact or [i for i, option in enumerate(options) if same(option, value)]), None)
        if index is None:
            raise SpaceError(f"{value!r} is none of the options {list(options)!r}.")
        return (index + 0.5) / len(options)
    if isinstance(domain, Normal):
        return NormalDist(domain.mean, domain.sd).cdf(value)
    low, high = _ends(domain)
    position = float(value) + 0.5 if _starts_cell(domain) else float(value)
    if domain.log:  # type: ignore[attr-defined]
        low, high, position = math.log(low), math.log(high), math.log(position)
    return min(max((position - low) / (high - low), 0.0), 1.0)


def from_unit(domain: Domain, unit: float) -> Any:
    """The value at ``unit`` in [0, 1]; always a member of the domain, and the inverse of :func:`to_unit`.

    Example:
        >>> from tunesmith.space import choice, quniform
        >>> from_unit(choice(["a", "b"]), 0.6)
        'b'
        >>> from_unit(quniform(0, 1, 0.25), 1.0)
        1.0
    """
    unit = min(max(float(unit), 0.0), 1.0)
    if isinstance(domain, Categorical):
        count = len(domain.categories)
        return domain.categories[min(int(unit * count), count - 1)]
    if isinstance(domain, Normal):
        value = NormalDist(domain.mean, domain.sd).inv_cdf(min(max(unit, _EDGE), 1.0 - _EDGE))
        return value if domain.q is None else _step(value, domain.q)
    low, high = _ends(domain)
    if domain.log:  # type: ignore[attr-defined]
        value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    else:
        value = low + unit * (high - low)
    if isinstance(domain, Integer):
        whole = math.floor(value) if domain.q is None else round(value / domain.q) * domain.q
        return min(max(whole, domain.lower), domain.last)
    assert isinstance(domain, Float)
    if domain.q is None and unit in (0.0, 1.0):
        return domain.upper if unit else domain.lower  # a logarithm and its exponential need not meet again
    return min(max(value if domain.q is None else _step(value, domain.q), domain.lower), domain.upper)


def _starts_cell(domain: Domain) -> bool:
    """Whether a value is the lower end of its cell rather than its middle."""
    return isinstance(domain, Integer) and domain.q is None


def _ends(domain: Domain) -> tuple[float, float]:
    """Ends of the interval that is spread over [0, 1]: with a step, half a step more than the bounds on both sides."""
    if isinstance(domain, Integer | Float):
        margin = 0.0 if domain.q is None else domain.q / 2
        return domain.lower - margin, domain.upper + margin
    raise SpaceError(f"{domain!r} has no encoding: a value that a function computes is no coordinate.")


def _step(value: float, q: float) -> float:
    return float(round(round(value / q) * q, 12 - math.floor(math.log10(q))))


@dataclass(frozen=True, slots=True)
class _Column:
    leaf: Leaf
    start: int
    width: int


class Encoder:
    """Values of a space as rows of the unit cube, and back.

    Args:
        space: what to encode.
        one_hot: give categorical parameters one column per option; false: one column in the order of the options.

    Attributes:
        names: the encoded parameters, in the order of their columns.
        columns: name -> slice of its columns.
        dim: number of columns.

    Example:
        >>> from tunesmith.space import uniform, choice
        >>> encoder = Encoder(Space.parse({"x": uniform(0, 10), "act": choice(["relu", "tanh"])}))
        >>> encoder.encode({"x": 2.5, "act": "tanh"}).tolist()
        [0.0, 1.0, 0.25]
        >>> encoder.decode([0.1, 0.7, 0.5])
        {'act': 'tanh', 'x': 5.0}
    """

    def __init__(self, space: Space, *, one_hot: bool = True) -> None:
        self._one_hot = one_hot
        self._columns: list[_Column] = []
        start = 0
        for name in sorted(space.nodes):
            leaf = space.nodes[name]
            if isinstance(leaf.domain, Function):
                continue
            width = len(leaf.domain.categories) if one_hot and isinstance(leaf.domain, Categorical) else 1
            self._columns.append(_Column(leaf, start, width))
            start += width
        self.dim = start
        self.names = [column.leaf.name for column in self._columns]
        self.columns = {column.leaf.name: slice(column.start, column.start + column.width) for column in self._columns}

    def encode(self, values: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """One configuration as a row of shape (dim,); NaN in the columns of parameters that it does not have.

        Raises:
            SpaceError: a value is none of a choice's options.
        """
        row = np.full(self.dim, np.nan)
        for column in self._columns:
            name, domain = column.leaf.name, column.leaf.domain
            if name not in values:
                continue
            part = row[column.start : column.start + column.width]
            if self._one_hot and isinstance(domain, Categorical):
                part[:] = 0.0
                part[self._index(column.leaf, values[name])] = 1.0
            elif isinstance(column.leaf, Choice):
                part[0] = (self._index(column.leaf, values[name]) + 0.5) / len(column.leaf.codes)
            else:
                part[0] = to_unit(domain, values[name])
        return row

    def encode_all(self, rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
        """Many configurations, as an array of shape (len(rows), dim)."""
        return np.stack([self.encode(values) for values in rows]) if rows else np.empty((0, self.dim))

    def decode(self, row: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, Any]:
        """Values of *all* parameters, also of options that are not taken; pass them as ``fixed`` to :meth:`Space.draw`, or to
        :meth:`Space.complete`, which keep those that exist and add computed ones. NaN counts as 0.5; of a one-hot part the largest wins.
        """
        array = np.nan_to_num(np.asarray(row, dtype=float), nan=0.5)
        if array.shape != (self.dim,):
            raise SpaceError(f"Encoder.decode: expected a row of {self.dim} numbers, got an array of shape {array.shape}.")
        values: dict[str, Any] = {}
        for column in self._columns:
            leaf = column.leaf
            part = array[column.start : column.start + column.width]
            if not isinstance(leaf.domain, Categorical):
                values[leaf.name] = from_unit(leaf.domain, float(part[0]))
                continue
            codes = leaf.codes if isinstance(leaf, Choice) else leaf.domain.categories
            index = int(np.argmax(part)) if self._one_hot else min(int(min(max(part[0], 0.0), 1.0) * len(codes)), len(codes) - 1)
            values[leaf.name] = codes[index]
        return values

    @staticmethod
    def _index(leaf: Leaf, code: Any) -> int:
        if isinstance(leaf, Choice):
            index = leaf.index(code)
            if index is None:
                raise SpaceError(f"{leaf.name}: {code!r} stands for none of its {len(leaf.codes)} options.")
            return index
        assert isinstance(leaf.domain, Categorical)
        return min(int(to_unit(leaf.domain, code) * len(leaf.domain.categories)), len(leaf.domain.categories) - 1)

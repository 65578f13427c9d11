"""Encoding of a space's values to the unit cube, for searchers that fit models.

Every parameter but computed ones has columns of its own, those of all options of conditional choices included: numbers one column (see
:mod:`tunesmith.space.unit`), categorical ones as many as they have options (one-hot) or one (ordinal).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.errors import SpaceError
from tunesmith.space.domains import Categorical, Function
from tunesmith.space.nodes import Choice, Leaf
from tunesmith.space.space import Space
from tunesmith.space.unit import from_unit, to_unit

__all__ = ["Encoder"]

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

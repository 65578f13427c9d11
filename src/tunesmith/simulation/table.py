"""Curve tables: what configurations reported at each iteration, and how long that took; in memory and as one compact file.

The file is a compressed ``.npz`` without pickles, described in ``docs/simulation.md``.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.core.flat import unflatten
from tunesmith.core.policy import FAILURES
from tunesmith.errors import SpecError
from tunesmith.simulation.columns import Column, as_columns
from tunesmith.simulation.nearest import Nearest

__all__ = ["CUT", "FINISHED", "LIMIT", "CurveTable"]

FORMAT = 1
FINISHED, LIMIT, CUT = "finished", "limit", "cut"
_ENDS = (FINISHED, LIMIT, CUT, "infeasible", *sorted(FAILURES))
_DTYPES = {"float32": np.float32, "float64": np.float64}

Array = npt.NDArray[Any]


@dataclass(eq=False)
class CurveTable:
    """Learning curves of configurations. Made by :meth:`from_arrays`, :meth:`from_experiment` or :meth:`load`.

    Attributes:
        columns: of the configurations.
        names: of the metrics.
        configs: shape (rows, columns): a number, or the index of an option; NaN: this row does not have it.
        metrics: shape (metrics, rows, iterations); NaN beyond a row's length.
        seconds: shape (rows, iterations), of each iteration.
        lengths: shape (rows,), iterations that were observed.
        ends: shape (rows,), what came after them: index into ``kinds``.
        kinds: "finished" (by itself), "limit" (a stop criterion, or a scheduler's ``max_t``), "cut" (it would have gone on), or the
            outcome of a failure.
        missing: shape of ``metrics``, where a report did not have the metric; None: all have all.
        units: of metrics and "seconds", for people.
        drawn_from: description of the space that the configurations were drawn from, or None.
        about: for people.

    Example:
        >>> table = CurveTable.from_arrays({"lr": [0.1, 0.01]}, {"loss": [[0.9, 0.5], [0.8, 0.7]]}, seconds=60.0)
        >>> len(table), table.config(1), table.curve(1, "loss").tolist(), table.best("loss", "min")
        (2, {'lr': 0.01}, [0.8, 0.7], 0.5)
        >>> table.lookup({"lr": 0.02})[0]
        1
    """

    columns: tuple[Column, ...]
    names: tuple[str, ...]
    configs: npt.NDArray[np.float64]
    metrics: Array
    seconds: Array
    lengths: npt.NDArray[np.int32]
    ends: npt.NDArray[np.uint8]
    kinds: tuple[str, ...]
    missing: npt.NDArray[np.bool_] | None
    units: dict[str, str]
    drawn_from: dict[str, Any] | None
    about: str

    def __post_init__(self) -> None:
        self._nearest = Nearest(self.columns, self.configs)
        self.key = "row"
        while any(column.name == self.key for column in self.columns):
            self.key += "_"

    # -- making ----------------------------------------------------------------------------------------------------------

    @classmethod
    def from_arrays(
        cls,
        configs: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
        metrics: Mapping[str, Any],
        seconds: Any = 1.0,
        *,
        lengths: Any = None,
        ends: Sequence[str] | str = FINISHED,
        missing: Mapping[str, Any] | None = None,
        log: Sequence[str] = (),
        units: Mapping[str, str] | None = None,
        space: Mapping[str, Any] | None = None,
        about: str = "",
    ) -> CurveTable:
        """A table of arrays.

        Args:
            configs: one sequence per parameter, or one config per row (nested ones are flattened; they need not have the same entries).
            metrics: name -> array of shape (rows, iterations); ``loss`` and ``val/acc`` are names.
            seconds: of each iteration: a number, an array of shape (rows,) or (rows, iterations); finite, >= 0.
            lengths: iterations that were observed of each row, 0 to the arrays' width; None: all of them.
            ends: what came after the last iteration, of all rows or of each: see :class:`CurveTable`.
            missing: metric -> boolean array: where it was not reported. None: NaN is a value like others.
            log: parameters that are compared on a logarithmic scale.
            units: of parameters, of metrics and of "seconds", for people.
            space: a config with domains, from which the rows were drawn.
            about: where it comes from, for people.

        Raises:
            SpecError: shapes do not fit each other, or a value is not what it can be.
        """
        from tunesmith.space import Space

        columns, values = as_columns(configs, log, units or {})
        rows = len(values)
        arrays = {name: _array(f"metrics[{name!r}]", given, rows) for name, given in metrics.items()}
        if not arrays or not rows:
            raise SpecError("CurveTable: there must be at least one row and one metric.")
        widths = {array.shape[1] for array in arrays.values()}
        if len(widths) > 1:
            raise SpecError(f"CurveTable: all metrics must have as many iterations; they have {sorted(widths)}.")
        width = widths.pop()
        counts = _counts(lengths, rows, width)
        kinds = [ends] * rows if isinstance(ends, str) else list(ends)
        if len(kinds) != rows or not set(kinds) <= set(_ENDS):
            raise SpecError(f"CurveTable: ends must be one of {', '.join(_ENDS)}, or one for each of the {rows} rows; got {ends!r}.")
        gone = None if not missing else np.stack([np.asarray(missing.get(name, np.zeros((rows, width))), bool) for name in arrays])
        known = None if space is None else Space.parse(space).describe()
        return cls(
            columns, tuple(arrays), values, np.stack([*arrays.values()]), _seconds(seconds, rows, width), counts,
            np.array([_ENDS.index(kind) for kind in kinds], np.uint8), _ENDS, gone, dict(units or {}), known, about,
        )  # fmt: skip

    @classmethod
    def from_experiment(cls, path: str | os.PathLike[str]) -> CurveTable:
        """The curves of an experiment, as far as they were observed; exact, in float64.

        One row per trial that was suggested, in order; of the parameters those that were drawn, of the metrics those that are numbers.
        What a trial reported after an exploit, with another's weights, is left out; of repeated iterations the newest attempt's counts.

        Args:
            path: the experiment's directory, or its journal.

        Raises:
            JournalError: there is none, or it cannot be read.
            SpecError: nothing was reported in it.
        """
        from tunesmith.simulation.recorded import recorded

        return recorded(path)

    # -- file ------------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], dtype: str = "float32") -> None:
        """Write it, whole or not at all.

        Args:
            path: of the file; ends in ``.npz`` by custom.
            dtype: of metrics and seconds: "float32", or "float64", twice as large. Parameters are always exact.

        Raises:
            SpecError: another dtype.
        """
        if dtype not in _DTYPES:
            raise SpecError(f"CurveTable.save: dtype must be 'float32' or 'float64', got {dtype!r}.")
        kind = _DTYPES[dtype]
        header = {
            "format": FORMAT, "columns": [column.describe() for column in self.columns], "ends": list(self.kinds), "about": self.about,
            "metrics": [{"name": name, "unit": self.units.get(name, "")} for name in self.names],
            "seconds": {"unit": self.units.get("seconds", "s")}, "space": self.drawn_from,
        }  # fmt: skip
        arrays: dict[str, Array] = {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8), "configs": self.configs, "metrics": self.metrics.astype(kind),
            "seconds": self.seconds.astype(kind), "lengths": self.lengths, "ends": self.ends,
        }  # fmt: skip
        if self.missing is not None:
            arrays["missing"] = np.packbits(self.missing)
        partial = f"{os.fspath(path)}.partial"
        with open(partial, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CurveTable:
        """Read what :meth:`save` wrote. Nothing is unpickled.

        Raises:
            SpecError: it is no such file, or of a newer format.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(arrays["header"].tobytes())
            if header["format"] > FORMAT:
                raise SpecError(f"{os.fspath(path)} is a curve table of format {header['format']}; this version reads up to {FORMAT}.")
            metrics = arrays["metrics"]
            gone = arrays.get("missing")
            return cls(
                tuple(Column.of(one) for one in header["columns"]), tuple(one["name"] for one in header["metrics"]), arrays["configs"],
                metrics, arrays["seconds"], arrays["lengths"], arrays["ends"], tuple(header["ends"]),
                None if gone is None else np.unpackbits(gone, count=metrics.size).astype(bool).reshape(metrics.shape),
                {one["name"]: one["unit"] for one in [*header["metrics"], {"name": "seconds", **header["seconds"]}] if one["unit"]},
                header["space"], header["about"],
            )  # fmt: skip
        except FileNotFoundError:
            raise SpecError(f"there is no curve table at {os.path.abspath(path)}.") from None
        except (KeyError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            if isinstance(error, SpecError):
                raise
            raise SpecError(f"{os.fspath(path)} is no curve table: {error}. Write it with CurveTable.save.") from error

    # -- reading ---------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.configs)

    def __repr__(self) -> str:
        about = f" ({self.about})" if self.about else ""
        return f"<CurveTable of {len(self)} x {self.metrics.shape[2]}: {', '.join(self.names)}{about}>"

    def values(self, row: int) -> dict[str, Any]:
        """The row's parameters: flat name -> value."""
        cells = zip(self.columns, self.configs[row].tolist(), strict=True)
        return {column.name: column.decode(cell) for column, cell in cells if not math.isnan(cell)}

    def config(self, row: int) -> dict[str, Any]:
        """The row's configuration, nested where names have "/"."""
        return unflatten(self.values(row))

    def curve(self, row: int, metric: str) -> Array:
        """What the row reported of a metric.

        Raises:
            SpecError: the table has no such metric.
        """
        return np.asarray(self.metrics[self._index(metric), row, : self.lengths[row]])

    def best(self, metric: str, mode: str, scope: str = "all") -> float:
        """The best value that there is: of all reports, or with ``scope="last"`` of the rows' last ones.

        Raises:
            SpecError: no such metric, or no finite value of it.
        """
        values = self.metrics[self._index(metric)]
        seen = np.arange(values.shape[1]) < self.lengths[:, None]
        if scope == "last":
            seen &= np.arange(values.shape[1]) == self.lengths[:, None] - 1
        finite = values[seen & np.isfinite(values)]
        if not finite.size:
            raise SpecError(f"CurveTable: the metric {metric!r} has no finite value.")
        return float(finite.min() if mode == "min" else finite.max())

    def lookup(self, config: Mapping[str, Any]) -> tuple[int, float]:
        """The row of a configuration, and its distance: 0.0 if it is exactly that row's.

        Numbers are compared by their place between the least and the greatest in the table (of logarithms where the column says so),
        all else by being the same; what only one of the two has counts 1; the distance is the root of the sum of squares, and of
        equally near rows the first counts. Entries that are no columns do not matter. An entry :attr:`key` ("row") stands for all
        parameters of that row; others beside it take the place of single ones.

        Raises:
            SpecError: there is no such row.
        """
        from tunesmith.core.flat import flatten

        flat = flatten(config)
        row = flat.get(self.key)
        if row is None:
            return self._nearest.find(flat)
        if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < len(self):
            raise SpecError(f"CurveTable: {self.key}={row!r} is no row; there are {len(self)}, from 0.")
        values = self.values(row)
        changed = {name: value for name, value in flat.items() if name in self._nearest.names and values.get(name) != value}
        return (row, 0.0) if not changed else self._nearest.find({**values, **changed})

    def space(self, over: str = "rows") -> dict[str, Any]:
        """The table as a search space.

        Args:
            over: "rows": one of the rows, as ``{"row": choice([0, 1, ...])}``; "grid": walk through the values of all parameters, of a
                table that has every combination; "domains": the space that its rows were drawn from, whose configurations play the
                nearest row.

        Raises:
            SpecError: the table is no full grid, does not know its domains, or another ``over``.
        """
        from tunesmith.space import choice, grid_search
        from tunesmith.space.rebuild import space_from_description

        if over == "rows":
            return {self.key: choice(range(len(self)))}
        if over == "domains":
            if self.drawn_from is None:
                raise SpecError("CurveTable.space: the table does not say what its rows were drawn from; make it with space=.")
            return dict(space_from_description(self.drawn_from).config)
        if over != "grid":
            raise SpecError(f"CurveTable.space: over must be 'rows', 'grid' or 'domains', got {over!r}.")
        options = [column.options_in(self.configs[:, place]) for place, column in enumerate(self.columns)]
        points = {tuple(row) for row in self.configs.tolist()}
        if len(points) != len(self) or len(self) != int(np.prod([len(some) for some in options])):
            raise SpecError("CurveTable.space: the table is no full grid; use space('rows').")
        return unflatten({column.name: grid_search(some) for column, some in zip(self.columns, options, strict=True)})

    def _index(self, metric: str) -> int:
        if metric not in self.names:
            raise SpecError(f"CurveTable: there is no metric {metric!r}; there are {', '.join(self.names)}.")
        return self.names.index(metric)


def _array(what: str, given: Any, rows: int) -> Array:
    array = np.asarray(given)
    if array.dtype not in (np.float32, np.float64):
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise SpecError(f"CurveTable: {what} must hold numbers.") from None
    if array.ndim != 2 or len(array) != rows:
        raise SpecError(f"CurveTable: {what} must have the shape ({rows}, iterations), one row per configuration; it has {array.shape}.")
    return array


def _seconds(given: Any, rows: int, width: int) -> Array:
    array: npt.NDArray[np.floating] = np.asarray(given, np.float32 if getattr(given, "dtype", None) == np.float32 else np.float64)
    if array.ndim == 1 and len(array) == rows:
        array = array[:, None]
    if array.ndim not in (0, 2) or not (np.isfinite(array).all() and (array >= 0).all()):
        raise SpecError(f"CurveTable: seconds must be finite and >= 0: a number, or of shape ({rows},) or ({rows}, {width}).")
    try:
        return np.broadcast_to(array, (rows, width))
    except ValueError:
        raise SpecError(f"CurveTable: seconds must have the shape ({rows}, {width}), not {array.shape}.") from None


def _counts(lengths: Any, rows: int, width: int) -> npt.NDArray[np.int32]:
    counts = np.full(rows, width, np.int32) if lengths is None else np.asarray(lengths, np.int32)
    if counts.shape != (rows,) or (counts < 0).any() or (counts > width).any():
        raise SpecError(f"CurveTable: lengths must be {rows} whole numbers from 0 to {width}.")
    return counts

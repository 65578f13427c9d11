"""Results as pandas dataframes. The only module that needs pandas, and only when a dataframe is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.pasts import Constant, Past
from tunesmith.core.flat import flatten
from tunesmith.errors import TuneError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Frames", "frame", "frame_of"]

_MANY = 10_000
"""Lines from which on it pays to look for texts that come again and again."""


def frame(rows: Iterable[Mapping[str, Any]], logdirs: Iterable[str] | None = None, index: str | None = None) -> pd.DataFrame:
    """A dataframe with one line per result.

    Args:
        rows: results; ``config`` becomes columns ``config/...``, after all others.
        logdirs: the trials' directories, one per row: column ``logdir``.
        index: this column becomes the index.

    Raises:
        TuneError: pandas is not installed.
    """
    pandas = _pandas()
    metrics, configs = _Columns(), _Columns()
    for row in rows:
        values = dict(row)
        config = values.pop("config", None) or {}
        metrics.add(values)
        configs.add({f"config/{name}": value for name, value in flatten(config).items()})
    columns = metrics.finish(pandas)
    if logdirs is not None:
        columns["logdir"] = list(logdirs)
    columns.update(configs.finish(pandas))
    table = pandas.DataFrame(columns)
    return table.set_index(index) if index is not None and index in table else table


def frame_of(pasts: Iterable[Past], wall: Callable[[float], float], logdirs: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A dataframe with one line per report of all these trials, the columns as in :func:`frame`.

    Args:
        pasts: of the trials, in order.
        wall: seconds of the experiment's clock -> wall time.
        logdirs: ``trial_id`` -> directory: column ``logdir``.

    Raises:
        TuneError: pandas is not installed.
    """
    pandas = _pandas()
    metrics, configs = _Columns(), _Columns()
    known: dict[int, dict[str, Constant]] = {}
    for past in pasts:
        for rows in past.rows(wall):
            if logdirs is not None:
                rows.columns["logdir"] = Constant(logdirs[past.trial_id])
            metrics.extend(rows.columns, rows.lines)
            flat = known.get(id(rows.config))
            if flat is None:
                flat = known[id(rows.config)] = {f"config/{name}": Constant(value) for name, value in flatten(rows.config).items()}
            configs.extend(flat, rows.lines)
    return pandas.DataFrame({**metrics.finish(pandas), **configs.finish(pandas)})


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise TuneError('dataframes need pandas, which is not installed: pip install "tunesmith[pandas]"') from None
    return pd


class Frames(Mapping[str, "pd.DataFrame"]):
    """Trial directory -> all results of that trial, one line per report. A trial's ``trial_id`` finds it as well.

    A dataframe is made when it is first asked for.

    Args:
        pasts: directory -> reports.
        wall: seconds of the experiment's clock -> wall time.
    """

    def __init__(self, pasts: Mapping[str, Past], wall: Callable[[float], float]) -> None:
        _pandas()  # missing, it is missed here and not at the first trial
        self._pasts = pasts
        self._wall = wall
        self._paths = {past.trial_id: path for path, past in pasts.items()}
        self._made: dict[str, pd.DataFrame] = {}

    def __getitem__(self, key: str) -> pd.DataFrame:
        path = self._paths.get(key, key)
        found = self._made.get(path)
        if found is None:
            found = self._made[path] = frame_of([self._pasts[path]], self._wall)
        return found

    def __contains__(self, key: object) -> bool:
        return key in self._pasts or key in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._pasts)

    def __len__(self) -> int:
        return len(self._pasts)

    def __repr__(self) -> str:
        return f"<dataframes of {len(self)} trials>"


class _Columns:
    """Dicts, or columns of neighbours, put under one another."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self._count = 0
        self._keys: tuple[str, ...] = ()
        self._pending: list[Any] = []

    def add(self, values: Mapping[str, Any]) -> None:
        """One line. Neighbours with the same keys, as nearly all are, are turned over together."""
        keys = tuple(values)
        if keys != self._keys:
            self._flush()
            self._keys = keys
        self._pending.append(values.values())

    def _flush(self) -> None:
        if self._pending:
            columns = zip(self._keys, zip(*self._pending, strict=True), strict=False)
            pending, self._pending = len(self._pending), []
            self.extend({name: list(column) for name, column in columns}, pending)

    def extend(self, columns: Mapping[str, list[Any] | Constant], count: int) -> None:
        """``count`` lines."""
        for name, values in columns.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = _Column()
            column.extend(values, self._count, count)
        self._count += count

    def finish(self, pandas: Any) -> dict[str, Any]:
        """Name -> values, None where a line had none."""
        self._flush()
        return {name: column.finish(pandas, self._count) for name, column in self._columns.items()}


class _Column:
    """Values, as runs of equal ones for as long as only such come."""

    __slots__ = ("_counts", "_length", "_runs", "_values")

    def __init__(self) -> None:
        self._runs: list[Any] = []
        self._counts: list[int] = []
        self._values: list[Any] | None = None
        self._length = 0

    def extend(self, values: list[Any] | Constant, before: int, count: int) -> None:
        """``count`` more, behind ``before`` lines: those in which the column has nothing yet are filled up."""
        self._fill(before)
        self._length += count
        if isinstance(values, Constant) and self._values is None:
            self._runs.append(values.value)
            self._counts.append(count)
            return
        self._spread().extend([values.value] * count if isinstance(values, Constant) else values)

    def _fill(self, length: int) -> None:
        missing = length - self._length
        if missing > 0:
            self._length = length
            if self._values is None:
                self._runs.append(None)
                self._counts.append(missing)
            else:
                self._values.extend([None] * missing)

    def _spread(self) -> list[Any]:
        if self._values is None:
            self._values = [value for value, count in zip(self._runs, self._counts, strict=True) for _ in range(count)]
        return self._values

    def finish(self, pandas: Any, length: int) -> Any:
        self._fill(length)
        if self._values is None and len(self._runs) * 4 < length:
            return _series(pandas, self._runs, pandas.Series).repeat(self._counts).reset_index(drop=True)
        values = self._spread()
        if length >= _MANY and isinstance(values[0], str):
            codes: dict[Any, int] = {}
            places = [codes.setdefault(value, len(codes)) for value in values] if all(map(_is_text, values)) else []
            if places and len(codes) * 4 < length:
                return pandas.Series(list(codes)).take(places).reset_index(drop=True)
        return _series(pandas, values, lambda values: values)


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _series(pandas: Any, values: list[Any], plain: Callable[[list[Any]], Any]) -> Any:
    """Nested values (lists, objects) stay what they are: one cell each."""
    if any(issubclass(kind, (list, tuple, set, dict)) or hasattr(kind, "__array__") for kind in set(map(type, values))):
        return pandas.Series(values, dtype=object)
    return plain(values)

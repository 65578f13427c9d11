"""Results as pandas dataframes. The only module that needs pandas, and only when a dataframe is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tunesmith.core.flat import flatten
from tunesmith.errors import TuneError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame"]


def frame(rows: Iterable[Mapping[str, Any]], logdirs: Iterable[str] | None = None, index: str | None = None) -> pd.DataFrame:
    """A dataframe with one line per result.

    Args:
        rows: results; ``config`` becomes columns ``config/...``, after all others.
        logdirs: the trials' directories, one per row: column ``logdir``.
        index: this column becomes the index.

    Raises:
        TuneError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise TuneError('dataframes need pandas, which is not installed: pip install "tunesmith[pandas]"') from None
    metrics, configs = _Columns(), _Columns()
    for row in rows:
        values = dict(row)
        config = values.pop("config", None) or {}
        metrics.add(values)
        configs.add({f"config/{name}": value for name, value in flatten(config).items()})
    columns = metrics.finish()
    if logdirs is not None:
        columns["logdir"] = list(logdirs)
    columns.update(configs.finish())
    table = pd.DataFrame({name: _series(pd, values) for name, values in columns.items()})
    return table.set_index(index) if index is not None and index in table else table


class _Columns:
    """Dicts turned into columns. Neighbours with the same keys, as nearly all are, are turned over together."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {}
        self._count = 0
        self._keys: tuple[str, ...] = ()
        self._pending: list[Any] = []

    def add(self, values: Mapping[str, Any]) -> None:
        keys = tuple(values)
        if keys != self._keys:
            self._flush()
            self._keys = keys
        self._pending.append(values.values())

    def _flush(self) -> None:
        for name, column in zip(self._keys, zip(*self._pending, strict=True), strict=False):
            values = self._columns.setdefault(name, [])
            values.extend([None] * (self._count - len(values)))
            values.extend(column)
        self._count += len(self._pending)
        self._pending = []

    def finish(self) -> dict[str, list[Any]]:
        """Name -> values, None where a dict had none."""
        self._flush()
        for values in self._columns.values():
            values.extend([None] * (self._count - len(values)))
        return self._columns


def _series(pd: Any, values: list[Any]) -> Any:
    """Nested values (lists, objects) stay what they are: one cell each."""
    if any(issubclass(kind, (list, tuple, set, dict)) or hasattr(kind, "__array__") for kind in set(map(type, values))):
        return pd.Series(values, dtype=object)
    return values

"""Results as pandas dataframes. The only module that needs pandas, and only when a dataframe is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tunesmith.core.flat import flatten
from tunesmith.errors import TuneError

if TYPE_CHECKING:
    import pandas

__all__ = ["frame"]


def frame(rows: Iterable[Mapping[str, Any]], logdirs: Iterable[str] | None = None, index: str | None = None) -> pandas.DataFrame:
    """A dataframe with one line per result.

    Args:
        rows: results; ``config`` becomes columns ``config/...``, after all others.
        logdirs: the trials' directories, one per row: column ``logdir``.
        index: this column becomes the index.

    Raises:
        TuneError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise TuneError("dataframes need pandas, which is not installed: pip install pandas") from None
    metrics: dict[str, list[Any]] = {}
    configs: dict[str, list[Any]] = {}
    count = 0
    for row in rows:
        for name, value in row.items():
            if name != "config":
                _put(metrics, name, value, count)
        for name, value in flatten(row.get("config") or {}).items():
            _put(configs, f"config/{name}", value, count)
        count += 1
    if logdirs is not None:
        metrics["logdir"] = list(logdirs)
    columns = {**metrics, **configs}
    for values in columns.values():
        values.extend([None] * (count - len(values)))
    table = pandas.DataFrame({name: _series(pandas, values) for name, values in columns.items()})
    return table.set_index(index) if index is not None and index in table else table


def _put(columns: dict[str, list[Any]], name: str, value: Any, count: int) -> None:
    values = columns.get(name)
    if values is None:
        values = columns[name] = []
    if len(values) < count:
        values.extend([None] * (count - len(values)))
    values.append(value)


def _series(pandas: Any, values: list[Any]) -> Any:
    """Nested values (lists, objects) stay what they are: one cell each."""
    if any(isinstance(value, (list, tuple, set)) or hasattr(value, "__array__") for value in values):
        return pandas.Series(values, dtype=object)
    return values

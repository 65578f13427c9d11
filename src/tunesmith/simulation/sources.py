"""Where simulated trials get their curves from: functions and tables."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tunesmith.errors import SpecError
from tunesmith.executors.plays import End, Play, Step
from tunesmith.simulation.table import CUT, FINISHED, LIMIT, CurveTable
from tunesmith.trainable.metrics import as_metrics, flatten_metrics

__all__ = ["FunctionSource", "Played", "TableSource"]


class Played(Protocol):
    """A source with a book of what could not be played as asked for.

    Attributes:
        unobserved: trial -> the last iteration that there is, of trials that were to go on beyond it.
        approximated: trial -> distance, of trials that played the curve of another configuration.
    """

    unobserved: dict[int, int]
    approximated: dict[int, float]

    def play(self, trial: int, config: dict[str, Any]) -> Play: ...
    def shown(self, config: dict[str, Any]) -> dict[str, Any]: ...


class FunctionSource:
    """Curves that a function computes.

    Args:
        function: ``(config, iteration)`` or ``(config, iteration, memory)`` -> metrics (a dict or a number), or (metrics, seconds); None:
            the trial has finished before this iteration. Iterations count from 1.
        max_t: iterations that a trial has, None: until the function says so.

    Raises:
        SpecError: it is no such function; what it returns is checked when it does.

    Example:
        >>> source = FunctionSource(lambda config, iteration: {"loss": config["x"] / iteration}, max_t=2)
        >>> play = source.play(0, {"x": 1.0})
        >>> play.step(2, {}), play.step(3, {}).outcome
        (Step(metrics={'loss': 0.5}, seconds=1.0), 'finished')
    """

    def __init__(self, function: Callable[..., Any], max_t: int | None = None) -> None:
        self._function = function
        self._name = getattr(function, "__qualname__", type(function).__name__)
        self._remembers = _takes_memory(function, self._name)
        self._max_t = math.inf if max_t is None else max_t
        self.unobserved: dict[int, int] = {}
        self.approximated: dict[int, float] = {}

    def play(self, trial: int, config: dict[str, Any]) -> Play:
        """One attempt."""
        return _Computed(self, config)

    def shown(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config itself."""
        return config

    def step(self, config: dict[str, Any], iteration: int, memory: dict[str, Any]) -> Step | End:
        """One iteration."""
        if iteration > self._max_t:
            return End()
        answer = self._function(config, iteration, memory) if self._remembers else self._function(config, iteration)
        if answer is None:
            return End()
        metrics, seconds = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, 1.0)
        named = metrics if type(metrics) is dict else as_metrics(metrics)
        try:
            seconds = float(seconds)
        except (TypeError, ValueError):
            seconds = math.nan
        if named is None or not 0.0 <= seconds < math.inf:
            raise SpecError(
                f"{self._name}({config!r}, {iteration}) returned {answer!r}; expected metrics (a dict or a number), or (metrics, seconds), "
                "with finite seconds >= 0; None: the trial has finished."
            )
        return Step(flatten_metrics(named)[0], seconds)


class _Computed:
    def __init__(self, source: FunctionSource, config: dict[str, Any]) -> None:
        self._source = source
        self._config = config

    def step(self, iteration: int, memory: dict[str, Any]) -> Step | End:
        return self._source.step(self._config, iteration, memory)


def _takes_memory(function: Callable[..., Any], name: str) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False  # some builtins have none
    for count in (2, 3):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count == 3
    raise SpecError(
        f"simulate: {name}{signature} must take (config, iteration) or (config, iteration, memory) and return what that iteration reports. "
        "A training function can't be simulated: run it once, and simulate from its experiment."
    )


class TableSource:
    """Curves of a table.

    Args:
        table: see there.
        exact: a configuration that is not in it fails; else it plays the nearest row.
        max_t: iterations that a trial has at most; None: as many as its row.
        limited: the simulation has limits of its own, so curves that ended at those of their experiment would have gone on.
    """

    def __init__(self, table: CurveTable, *, exact: bool = False, max_t: int | None = None, limited: bool = False) -> None:
        self.table = table
        self.exact = exact
        self.max_t = math.inf if max_t is None else max_t
        self.open_ended = frozenset({CUT, LIMIT} if limited else {CUT})
        self.unobserved: dict[int, int] = {}
        self.approximated: dict[int, float] = {}

    def play(self, trial: int, config: dict[str, Any]) -> Play:
        """One attempt."""
        row, distance = self.table.lookup(config)
        if distance:
            if self.exact:
                where = f"it is not in the table; the nearest is row {row}, at a distance of {distance:.3g}"
                return _Nothing(End("user_error", _error("LookupError", f"{self._given(config)}: {where}")))
            self.approximated[trial] = distance
        return _Row(self, trial, row)

    def shown(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config, with the parameters of the row that it names."""
        row = config.get(self.table.key)
        return config if row is None else {**self.table.config(row), **config}

    def _given(self, config: Mapping[str, Any]) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in config.items())


class _Nothing:
    def __init__(self, end: End) -> None:
        self._end = end

    def step(self, iteration: int, memory: dict[str, Any]) -> Step | End:
        return self._end


class _Row:
    def __init__(self, source: TableSource, trial: int, row: int) -> None:
        table = source.table
        self._source, self._trial = source, trial
        self._length = int(table.lengths[row])
        self._names = table.names
        self._metrics: list[list[float]] = table.metrics[:, row, : self._length].T.tolist()
        self._missing: list[list[bool]] | None = None if table.missing is None else table.missing[:, row, : self._length].T.tolist()
        self._seconds: list[float] = table.seconds[row, : self._length].tolist()
        self._kind = table.kinds[table.ends[row]]

    def step(self, iteration: int, memory: dict[str, Any]) -> Step | End:
        if iteration > self._source.max_t:
            return End()
        if iteration > self._length:
            return self._after()
        metrics: dict[str, Any] = dict(zip(self._names, self._metrics[iteration - 1], strict=True))
        if self._missing is not None:
            metrics = {name: value for (name, value), gone in zip(metrics.items(), self._missing[iteration - 1], strict=True) if not gone}
        return Step(metrics, self._seconds[iteration - 1])

    def _after(self) -> End:
        if self._kind in self._source.open_ended:
            self._source.unobserved[self._trial] = self._length
        if self._kind in (FINISHED, LIMIT, CUT):
            return End()
        return End(self._kind, _error(self._kind, "as it was observed"))


def _error(kind: str, message: str) -> dict[str, str]:
    return {"type": kind, "message": message, "where": "", "traceback": ""}

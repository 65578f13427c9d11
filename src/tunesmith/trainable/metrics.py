"""From what a user reports to what travels: flat scalars and strings, the names of all else, and the keys that we fill in."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.core.events import DEFAULT_METRIC

__all__ = ["Counters", "as_metrics", "filled", "flatten_metrics"]

_PLAIN = frozenset({float, int, bool, str, type(None)})
_NOT_SCALAR = object()


def flatten_metrics(metrics: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``metrics`` as flat ("/"-joined) scalars and strings, and, apart, the values that are neither.

    numpy scalars and arrays or tensors of one element (with a gradient, or on a GPU) become Python numbers.

    Example:
        >>> import numpy as np
        >>> flatten_metrics({"loss": np.float32(0.5), "val": {"acc": np.array(1)}, "confusion": np.eye(2).tolist()})
        ({'loss': 0.5, 'val/acc': 1}, {'confusion': [[1.0, 0.0], [0.0, 1.0]]})
    """
    flat: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, value in metrics.items():
        if type(value) in _PLAIN and type(key) is str:
            flat[key] = value
        else:
            _add(str(key), value, flat, others)
    return flat, others


def _add(name: str, value: Any, flat: dict[str, Any], others: dict[str, Any]) -> None:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            _add(f"{name}/{key}", inner, flat, others)
        return
    plain = _scalar(value)
    if plain is _NOT_SCALAR:
        flat.pop(name, None)
        others[name] = value
    else:
        others.pop(name, None)
        flat[name] = plain


def _scalar(value: Any) -> Any:
    """``value`` as a plain Python scalar or string; ``_NOT_SCALAR`` if it is none."""
    if type(value) in _PLAIN:
        return value
    for plain in (bool, int, float, str):  # subclasses: numpy.float64, numpy.str_, IntEnum
        if isinstance(value, plain):
            return plain(value)
    if _elements(value) == 1:
        holder = value if hasattr(value, "item") else value.numpy()  # TensorFlow's have no item()
        value = holder.item()
        if type(value) in _PLAIN:
            return value
    if hasattr(type(value), "__float__") and not hasattr(value, "__len__"):  # Fraction, Decimal, numpy.longdouble
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return float(value)
    return _NOT_SCALAR


def _elements(value: Any) -> int:
    """How many elements an array or tensor holds; 0 for everything else."""
    shape = getattr(value, "shape", None)
    if shape is None or not (hasattr(value, "item") or hasattr(value, "numpy")):
        return 0
    try:
        count = 1
        for size in shape:
            count *= int(size)
    except TypeError:
        return 0
    return count


def as_metrics(value: Any) -> Mapping[Any, Any] | None:
    """A reported, returned or yielded value as metrics: a dict as it is, a number under ``_metric``; None if it is neither."""
    if isinstance(value, Mapping):
        return value
    plain = _scalar(value)
    return None if plain is _NOT_SCALAR or plain is None or isinstance(plain, str) else {DEFAULT_METRIC: plain}


@dataclass(slots=True)
class Counters:
    """A trial's running totals; they go on from the checkpoint that an attempt starts from.

    ``timesteps`` and ``episodes`` are None until the trial reports some; ``timesteps_before`` is what the checkpoint had.
    """

    iteration: int = 0
    time_total: float = 0.0
    timesteps: float | None = None
    episodes: float | None = None
    timesteps_before: float = 0

    def fill(self, flat: dict[str, Any], elapsed: float) -> None:
        """Count one report and add the keys that are ours to ``flat``.

        The user's own ``training_iteration`` and ``time_this_iter_s`` (which then counts for the total) win.
        """
        self.iteration += 1
        flat.setdefault("training_iteration", self.iteration)
        own = flat.setdefault("time_this_iter_s", elapsed)
        self.time_total += own if isinstance(own, float | int) and own >= 0.0 else elapsed
        flat["time_total_s"] = self.time_total
        if "timesteps_this_iter" in flat or "timesteps_total" in flat:
            self.timesteps = _total(flat, "timesteps", self.timesteps)
            if self.timesteps is not None and self.timesteps != self.timesteps_before:
                flat["timesteps_since_restore"] = self.timesteps - self.timesteps_before
        if "episodes_this_iter" in flat or "episodes_total" in flat:
            self.episodes = _total(flat, "episodes", self.episodes)

    def notes(self) -> dict[str, Any]:
        """What a checkpoint must remember, as JSON."""
        return {"time_total": self.time_total, "timesteps": self.timesteps, "episodes": self.episodes}

    @classmethod
    def resumed(cls, iteration: int, time_total: float, notes: Mapping[str, Any]) -> Counters:
        """Counters that go on from a checkpoint with these :meth:`notes`."""
        timesteps = notes.get("timesteps")
        return cls(iteration, time_total, timesteps, notes.get("episodes"), timesteps or 0)


def filled(result: Mapping[str, Any], counters: Counters, elapsed: float) -> dict[str, Any]:
    """``result``, nested as it is, with the keys that :meth:`Counters.fill` adds, and ``done``."""
    flat = flatten_metrics(result)[0]
    own = set(flat) - {"time_total_s"}
    counters.fill(flat, elapsed)
    return {"done": False, **result, **{key: value for key, value in flat.items() if key not in own}}


def _total(flat: dict[str, Any], what: str, before: float | None) -> float | None:
    """The running total of ``what``: the user's own if reported, else what was before and this iteration's."""
    own = flat.get(f"{what}_total")
    if own is None:
        this = flat.get(f"{what}_this_iter")
        if not isinstance(this, int | float):
            return before
        own = flat[f"{what}_total"] = (before or 0) + this
    return own if isinstance(own, int | float) else before

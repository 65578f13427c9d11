"""The ``metrics`` argument of callbacks: which of a framework's metrics are reported, and by what names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.errors import SpecError, UserCodeError
from tunesmith.hints import did_you_mean

__all__ = ["Wanted", "chosen", "wanted"]

Wanted = str | Sequence[str] | Mapping[str, str] | None


def wanted(owner: str, metrics: Wanted) -> dict[str, str] | None:
    """``metrics`` as {name in the report: name in the framework}; None: all there are.

    Raises:
        SpecError: it is neither a name, nor several, nor a dict of them; the message begins with ``owner``.

    Example:
        >>> wanted("Callback", "loss"), wanted("Callback", {"loss": "val_loss"}), wanted("Callback", [])
        ({'loss': 'loss'}, {'loss': 'val_loss'}, None)
    """
    if metrics is None:
        return None
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    elif isinstance(metrics, Sequence) and not isinstance(metrics, bytes):
        pairs = [(name, name) for name in ([metrics] if isinstance(metrics, str) else metrics)]
    else:
        pairs = [(metrics, metrics)]
    if not all(isinstance(name, str) for pair in pairs for name in pair):
        raise SpecError(
            f"{owner}: metrics must be a name, a list of names, a dict {{name to report: name there}}, or None for all, got {metrics!r}."
        )
    return dict(pairs) or None


def chosen(owner: str, names: Mapping[str, str] | None, there: Mapping[str, Any], advice: str) -> dict[str, Any]:
    """Those of ``there`` that are wanted, by the names to report.

    Raises:
        UserCodeError: one is missing, or there are none; the message names those that are there, and ends with ``advice``.

    Example:
        >>> chosen("Callback", {"loss": "val_loss"}, {"val_loss": 0.5, "lr": 0.1}, "")
        {'loss': 0.5}
    """
    names = {name: name for name in there} if names is None else names
    missing = [name for name in names.values() if name not in there]
    if names and not missing:
        return {name: there[given] for name, given in names.items()}
    what = f"the metric {missing[0]!r} is not there" if missing else "there are no metrics"
    hint = did_you_mean(missing[0], there) if missing else ""
    raise UserCodeError(f"{owner}: {what}; there are: {', '.join(sorted(there)) or 'none'}.{hint} {advice}")

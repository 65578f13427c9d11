"""``tune.track``: how functions reported in Ray 0.7. The same session under old names."""

from __future__ import annotations

from typing import Any

from tunesmith.trainable.session import get_trial_dir, report

__all__ = ["init", "log", "shutdown", "trial_dir"]


def init(ignore_reinit_error: bool = True) -> None:
    """Nothing is left to set up: the session is there when the trial starts, and ``init`` may be called again and again."""


def log(**metrics: Any) -> None:
    """Report metrics of the running trial, as :func:`tunesmith.report` does."""
    report(metrics)


def shutdown() -> None:
    """Nothing to do; the session ends with the trial."""


def trial_dir() -> str | None:
    """The running trial's directory."""
    return get_trial_dir()

"""What an end means: outcome classes, retry budgets, the circuit breaker. Pure functions and tables."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.core.events import AttemptEnded
from tunesmith.core.settings import Settings

__all__ = ["DEFAULT_RETRIES", "FAILURES", "FREE", "OUTCOMES", "RESUMABLE", "TERMINAL", "Breaker", "budget", "describe_error", "signature"]

TERMINAL = frozenset({"finished", "stopped", "infeasible"})
"""Outcomes that end a trial TERMINATED."""

FAILURES = frozenset({"user_error", "nan", "timeout", "silent", "oom_ram", "oom_gpu", "worker_lost", "node_lost", "unplaceable"})
"""Outcomes that are retried within their budget and then end a trial in ERROR."""

FREE = frozenset({"driver_lost", "interrupted"})
"""Ends that are nobody's fault: the driver died or was stopped. The trial goes on in the next session; nothing is charged."""

OUTCOMES = TERMINAL | FAILURES | FREE

RESUMABLE = frozenset({"drain", "breaker", "fail_fast", "metric"})
"""Kinds of end of an experiment that leave its unfinished trials to the next session: nobody has said that they are not wanted."""

DEFAULT_RETRIES = {"worker_lost": 5, "node_lost": 20}
"""Retries per trial that need not be asked for. ``max_failures`` is the budget of ``user_error``; all others have none."""


def budget(settings: Settings, outcome: str) -> int:
    """Retries that a trial has for this class of failure; -1: without end."""
    return settings.retries.get(outcome, DEFAULT_RETRIES.get(outcome, 0))


def describe_error(event: AttemptEnded) -> str:
    """One line for people: "KeyError: 'lr' at train.py:42", or the outcome's name where no error came along."""
    error = event.error
    if not error:
        return event.outcome
    lines = error.get("message", "").strip().splitlines() or [""]
    text = f"{error.get('type', 'error')}: {lines[0].removesuffix('.')}".rstrip(": ")
    if len(lines) > 1:
        text += " ..."
    where = error.get("where")
    return f"{text} at {where}" if where else text


def signature(event: AttemptEnded) -> str:
    """What two failures have in common that are the same one: class, error type and place."""
    error = event.error or {}
    return f"{event.outcome}|{error.get('type', '')}|{error.get('where', '')}"


@dataclass(slots=True)
class Breaker:
    """Circuit breaker: trips if the first ``limit`` ended trials all failed alike (same class, error type and place).

    One trial that ends otherwise disarms it for good: then the failures are about configurations, not about the script. While there is one
    that came further than all that failed, it does not trip: under schedulers that pause, who fails ends long before the others.

    Args:
        armed: no trial has ended otherwise.
        signature: of the failures; count: how many; furthest: the last iteration that one of them reported.
    """

    armed: bool = True
    signature: str = ""
    count: int = 0
    furthest: int = 0

    def success(self) -> None:
        """A trial ended without a failure."""
        self.armed = False

    def failure(self, event: AttemptEnded, limit: int | None, iteration: int = 0) -> bool:
        """A trial ended in ERROR after ``iteration`` reports; true if the breaker trips now, unless another came further."""
        if not self.armed or limit is None:
            return False
        now = signature(event)
        if self.count and now != self.signature:
            self.armed = False
            return False
        self.signature = now
        self.count += 1
        self.furthest = max(self.furthest, iteration)
        return self.count >= limit

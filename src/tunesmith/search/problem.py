"""What a native searcher is to solve, and what it has seen of it so far: plain values, shared by all of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tunesmith.errors import SpecError
from tunesmith.space import Space

__all__ = ["Bound", "Observation", "Problem", "losses_of"]

_BOUND = re.compile(r"\s*(?P<metric>\S(?:.*\S)?)\s*(?P<sign><=|>=)\s*(?P<limit>\S+)\s*")



class Bound(NamedTuple):
    """A bound on something that trials report, as in "latency <= 20".

    Attributes:
        metric: key of the result.
        sign: "<=" or ">=".
        limit: in the metric's units.
    """

    metric: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, owner: str, text: str) -> Bound:
        """The bound that ``text`` writes.

        Raises:
            SpecError: it is not of the form "metric <= number" or "metric >= number"; names ``owner``.

        Example:
            >>> Bound.parse("TPESearch", "latency <= 20").excess({"latency": 25})
            5.0
        """
        found = _BOUND.fullmatch(text) if isinstance(text, str) else None
        try:
            limit = float(found["limit"]) if found else math.nan
        except ValueError:
            limit = math.nan
        if found is None or not math.isfinite(limit):
            raise SpecError(f'{owner}: outcome_constraints are texts like "latency <= 20" or "accuracy >= 0.9", got {text!r}.')
        return cls(found["metric"], found["sign"], limit)

    def excess(self, result: Mapping[str, Any]) -> float:
        """By how much a result breaks it: at most 0 if it is kept, infinite if the result does not have the metric as a number."""
        value = _number(result.get(self.metric))
        if value is None:
            return math.inf
        return value - self.limit if self.sign == "<=" else self.limit - value


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be solved.

    Args:
        space: what may be tried.
        metrics: what is optimised; several: all at once.
        signs: 1.0 for each that is minimised, -1.0 for each that is maximised; losses are metrics times these.
        seed: of the search.
        bounds: what trials must keep, on top of the space's own constraints.
        budget: about how many trials there will be; None: not known.
        concurrency: at most so many run at once; None: not known.
        early: whether a scheduler stops trials early.
    """

    space: Space
    metrics: tuple[str, ...] = ("loss",)
    signs: tuple[float, ...] = (1.0,)
    seed: int = 0
    bounds: tuple[Bound, ...] = ()
    budget: int | None = None
    concurrency: int | None = None
    early: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What became of one configuration.

    Args:
        trial: its number; negative: told by the user, and not run here.
        values: the configuration, see :class:`tunesmith.space.Space`.
        losses: what it had at last, smaller is better, one for each metric, all finite; None: nothing that can be compared.
        outcome: "finished", "stopped" (early, by a scheduler, as far as that is known), "infeasible", or the class of the failure.
        step: how far it was trained ("training_iteration" of its last result); 0: it never reported.
        excess: by how much each bound of the problem was broken; at most 0 where it was kept.
    """

    trial: int
    values: Mapping[str, Any]
    losses: tuple[float, ...] | None
    outcome: str = "finished"
    step: float = 0.0
    excess: tuple[float, ...] = field(default=())

    @property
    def loss(self) -> float:
        """The first loss; infinite if there is none."""
        return self.losses[0] if self.losses else math.inf

    @property
    def feasible(self) -> bool:
        """Whether it was possible at all, and kept all bounds. A failure that says nothing about the configuration counts as possible."""
        return self.outcome not in INFEASIBLE and all(excess <= 0 for excess in self.excess)


INFEASIBLE = frozenset({"infeasible", "nan", "oom_ram", "oom_gpu", "timeout", "silent", "user_error", "failed"})
"""Ends that may be the configuration's own doing, so that others near it would end alike; a worker that was lost is not."""


def losses_of(result: Mapping[str, Any] | None, metrics: Sequence[str], signs: Iterable[float]) -> tuple[float, ...] | None:
    """The losses of a result; None: one is missing, no number, or not finite.

    Example:
        >>> losses_of({"acc": 0.9, "size": 3}, ["acc", "size"], [-1.0, 1.0])
        (-0.9, 3.0)
        >>> losses_of({"acc": float("nan"), "size": 3}, ["acc", "size"], [-1.0, 1.0]) is None
        True
    """
    losses = []
    for metric, sign in zip(metrics, signs):
        value = None if result is None else _number(result.get(metric))
        if value is None:
            return None
        losses.append(sign * value)
    return tuple(losses)


def _number(value: Any) -> float | None:
    """``value`` as a finite float, if it is one."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None

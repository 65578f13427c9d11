"""What goes wrong in a simulation, and what takes time beside the training: plain numbers, and the chances drawn from them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields

from tunesmith.core.rng import stream
from tunesmith.errors import SpecError

__all__ = ["Delays", "FaultPlan", "Faults"]


def _number(owner: object, name: str, value: object, least: float = 0.0, most: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        bound = f"from {least:g} to {most:g}" if most < math.inf else f">= {least:g}"
        raise SpecError(f"{type(owner).__name__}: {name} must be a number {bound}, got {value!r}.")


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds of virtual time that are not training.

    Args:
        start: from the launch of an attempt to its first instruction.
        report: from the end of an iteration until its report is there; the trial waits meanwhile.
        save: writing a checkpoint; the trial waits.
        load: reading the one that an attempt begins from, beside ``start``.
        stop: from the decision that ends an attempt until its worker is free.

    Raises:
        SpecError: one of them is no finite number >= 0.

    Example:
        >>> Delays(start=10, save=2.5).save
        2.5
    """

    start: float = 0.0
    report: float = 0.0
    save: float = 0.0
    load: float = 0.0
    stop: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            _number(self, field.name, value)
            if value == math.inf:
                raise SpecError(f"Delays: {field.name} must be finite, got {value!r}.")


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong. A worker is one CPU; workers are numbered from 0, and an attempt takes the free one with the lowest number.

    Args:
        lost_at: (second, worker) pairs: that worker is lost then, and the attempt on it with it (outcome worker_lost).
        lost_every_s: mean seconds of work from one loss to the next of the same worker, exponentially distributed; None: none are lost.
        down_s: how long a lost worker stays away; 0: another takes its place at once; ``math.inf``: it does not come back.
        slow_share: share of the workers that are slow, from 0 to 1; which ones is drawn.
        slowdown: how many times longer an iteration takes on those, >= 1.
        lost_messages: probability that a report, or else the answer to it, is lost. The trial then waits, until a limit of the experiment
            ends the attempt, or ``message_timeout_s`` (outcome worker_lost).
        repeated_messages: probability that an event of an attempt arrives a second time, up to 10 s later.
        message_timeout_s: seconds after which the connection of a trial that waits in vain counts as broken, > 0.
        seed: of all chances; None: the simulation's.

    Raises:
        SpecError: a value is not what it can be.

    Example:
        >>> Faults(lost_every_s=3600, lost_messages=0.001).down_s
        0.0
    """

    lost_at: Sequence[tuple[float, int]] = ()
    lost_every_s: float | None = None
    down_s: float = 0.0
    slow_share: float = 0.0
    slowdown: float = 1.0
    lost_messages: float = 0.0
    repeated_messages: float = 0.0
    message_timeout_s: float = 60.0
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("slow_share", "lost_messages", "repeated_messages"):
            _number(self, name, getattr(self, name), most=1.0)
        _number(self, "down_s", self.down_s)
        _number(self, "slowdown", self.slowdown, least=1.0)
        for name in ("lost_every_s", "message_timeout_s"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise SpecError(f"Faults: {name} must be a finite number > 0, got {value!r}.")
        for entry in self.lost_at:
            if not (isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[1], int) and entry[1] >= 0 <= entry[0]):
                raise SpecError(f"Faults: lost_at must be pairs (second, number of the worker), both >= 0; got {entry!r}.")

    @property
    def shrinks(self) -> bool:
        """Whether there may be fewer workers for a while."""
        return self.down_s > 0 and (bool(self.lost_at) or self.lost_every_s is not None)


class FaultPlan:
    """The chances of one simulation.

    Args:
        faults: what may happen.
        seed: where ``faults`` gives none.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self._seed = seed if faults.seed is None else faults.seed
        self._chancy = bool(faults.lost_every_s or faults.lost_messages or faults.repeated_messages)

    def slowness(self, worker: int) -> float:
        """How many times longer everything takes on that worker."""
        faults = self.faults
        slow = faults.slow_share > 0 and stream(self._seed, "slow worker", worker).random() < faults.slow_share
        return faults.slowdown if slow else 1.0

    def of_attempt(self, trial: int, attempt: int) -> random.Random | None:
        """An attempt's own chances, whatever happens to others; None: nothing can happen to it."""
        return stream(self._seed, f"faults {attempt}", trial) if self._chancy else None

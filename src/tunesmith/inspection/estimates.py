"""How long an experiment will take and what it will put on the disk, from what one trial has shown."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.core.placement import Pool, request_of
from tunesmith.errors import TuneError
from tunesmith.inspection.rehearsal import Seen
from tunesmith.schedulers.base import Scheduler
from tunesmith.search.base import Searcher
from tunesmith.space import Space
from tunesmith.spec import CheckpointPolicy, ExperimentSpec

__all__ = ["Plan", "disk_use", "may_shorten", "pace", "parallel_trials", "size_of", "steps_per_trial", "total_trials"]

_MANY = 1_000_000_000
_STEPS = "training_iteration"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much there is to do.

    Args:
        trials: in all; None: until a limit.
        parallel: at once; None: no limit is known.
        steps: of a trial that runs to its end; None: unknown.
        shortened: trials may end earlier.
    """

    trials: int | None
    parallel: int | None
    steps: int | None
    shortened: bool = False

    def seconds(self, setup_s: float, step_s: float) -> float | None:
        """The experiment's duration if all trials take as long; None: something is not known.

        Example:
            >>> Plan(trials=10, parallel=4, steps=100).seconds(setup_s=5.0, step_s=0.5)
            165.0
        """
        if self.trials is None or self.parallel is None or self.steps is None:
            return None
        return math.ceil(self.trials / self.parallel) * (setup_s + self.steps * step_s)


def total_trials(spec: ExperimentSpec, space: Space, seed: int) -> int | None:
    """How many trials ``num_samples`` makes; None: until a limit. The searcher itself is left alone: a copy is asked.

    Raises:
        TuneError: the searcher cannot work on this space.
    """
    searcher = spec.searcher
    if getattr(type(searcher), "total_samples", Searcher.total_samples) is Searcher.total_samples:
        return spec.num_samples
    metrics, modes = (list(names) if len(names) > 1 else (names or (None,))[0] for names in (spec.metrics, spec.modes))
    try:
        twin = copy.deepcopy(searcher)
        twin.bind(space, metrics, modes, seed)
        return twin.total_samples(spec.num_samples)
    except TuneError:
        raise
    except Exception:  # a searcher of somebody else's, that cannot be copied
        return None if spec.num_samples is None else spec.num_samples * space.grid_count()


def parallel_trials(spec: ExperimentSpec, totals: Mapping[str, float], request: Mapping[str, float], trials: int | None) -> int | None:
    """How many trials run at once: what the machine holds, ``max_concurrent_trials`` and the searcher allow; None: no limit is known."""
    pool = Pool()
    pool.resize(totals)
    room = pool.room(request_of(request), _MANY)
    slots = spec.executor.capabilities.slots if spec.executor is not None else None
    bounds = [room or 1, slots, spec.max_concurrent, getattr(spec.searcher, "max_concurrent", None), trials]
    least = min(bound for bound in bounds if bound)
    return None if least == _MANY else least


def steps_per_trial(spec: ExperimentSpec, first: Seen) -> int | None:
    """Reports of a trial that nothing but its own end, or the bound on its iterations, ends; None: unknown."""
    if first.over:
        return len(first.reports)
    bounds = _bounds(spec.stop)
    if getattr(spec.scheduler, "time_attr", _STEPS) == _STEPS:
        bounds.append(getattr(spec.scheduler, "max_t", None))
    steps = [bound for bound in bounds if isinstance(bound, int | float) and 1 <= bound < math.inf]
    return math.ceil(min(steps)) if steps else None


def may_shorten(spec: ExperimentSpec) -> bool:
    """Whether the scheduler or a criterion of the user's may end trials before that."""
    if getattr(type(spec.scheduler), "on_result", Scheduler.on_result) is not Scheduler.on_result:
        return True
    return spec.stop is not None and list(spec.stop.compares()) != [_STEPS]


def _bounds(stopper: Any) -> list[Any]:
    parts = getattr(stopper, "stoppers", None)
    if parts:
        return [bound for part in parts for bound in _bounds(part)]
    bounds = getattr(stopper, "bounds", None)
    own = bounds.get(_STEPS) if isinstance(bounds, Mapping) else None
    return [own, getattr(stopper, "max_iter", None)]


def pace(seen: Seen) -> tuple[float, float] | None:
    """Seconds from the launch to the first step, and of a step with what it saves; None: there was no report.

    The first report comes after all that a trial does once, such as loading its data; only the second tells them apart. Without one,
    a step takes what the trial itself says (``time_this_iter_s``), and the rest went before it.
    """
    if not seen.times:
        return None
    until_first = seen.times[0] - seen.launched
    if len(seen.times) > 1:
        step = seen.times[1] - seen.times[0]
    else:
        own = seen.reports[0].metrics.get("time_this_iter_s")
        step = own if isinstance(own, int | float) and 0 <= own <= until_first else until_first
    return max(until_first - step, 0.0), step


def size_of(folder: str) -> int:
    """Bytes of the files in a directory."""
    return sum(os.lstat(os.path.join(inside, name)).st_size for inside, _, names in os.walk(folder) for name in names)


def disk_use(policy: CheckpointPolicy, plan: Plan, one: int, every: int, kind: str) -> int | None:
    """Bytes of all checkpoints that are there at a time, at most; None: something is not known.

    Args:
        policy: what is kept of them.
        one: bytes of a checkpoint.
        every: so many steps lie between two of a function's; ``kind`` of trainable: a class saves when the policy says.

    Example:
        >>> disk_use(CheckpointPolicy(num_to_keep=2), Plan(trials=10, parallel=4, steps=100), one=1000, every=1, kind="function")
        20000
        >>> disk_use(CheckpointPolicy(num_to_keep=2, keep_best=1), Plan(10, 4, 100), one=1000, every=1, kind="function")
        9000
    """
    trials, at_end = plan.trials, 0
    if kind == "class":
        every, at_end = policy.frequency, int(bool(policy.at_end))
    written = at_end if not every else None if plan.steps is None else plan.steps // every + at_end
    kept = policy.num_to_keep if written is None else min(written, policy.num_to_keep or written)
    if kept is None or trials is None:
        return policy.max_bytes
    total = one * kept * trials
    if policy.keep_best is not None and plan.parallel is not None and trials > plan.parallel:
        total = min(total, one * (policy.keep_best + kept * plan.parallel))
    return total if policy.max_bytes is None else min(total, policy.max_bytes)

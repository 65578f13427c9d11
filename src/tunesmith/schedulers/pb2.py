"""Population-based bandits: PBT whose new hyperparameters come from a model of what has improved whom."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tunesmith.core.commands import Decision
from tunesmith.core.ports import TrialView
from tunesmith.errors import SpaceError, SpecError
from tunesmith.schedulers.base import Exploration
from tunesmith.schedulers.mutations import Mutations
from tunesmith.schedulers.pbt import PopulationBasedTraining
from tunesmith.space import Float, Integer, Space
from tunesmith.space.mutable import copied, current, place, recorded

__all__ = ["PB2"]

_KEPT = 1000
"""Observations that the model looks at."""

Row = tuple[float, float, dict[str, Any], float]
"""Time, score and flat values with which a stretch of a trial began, and what the score gained in a unit of time."""

Axis = Float | Integer


@dataclass(slots=True)
class _History:
    """What the population has shown, as the fold sees it.

    Args:
        rows: the newest ones; dropped: how many older ones there were.
        marks: time and score at which the present stretch of each living trial began.
        loans: what the mark of a trial becomes when its exploit is done: the source's.
        trying: trials that go on with new values and have not shown anything yet, and with which.
    """

    rows: list[Row] = field(default_factory=list)
    dropped: int = 0
    marks: dict[int, tuple[float, float]] = field(default_factory=dict)
    loans: dict[int, tuple[float, float]] = field(default_factory=dict)
    trying: dict[int, dict[str, Any]] = field(default_factory=dict)

    def scored(self, trial: int, values: Mapping[str, Any], time: float, score: float) -> None:
        """A stretch of the trial is over, and the next one begins."""
        began, before = self.marks.get(trial, (time, score))
        self.marks[trial] = time, score
        self.trying.pop(trial, None)
        self.loans.pop(trial, None)  # that exploit could not be, or was given up
        if time <= began or not math.isfinite(before):
            return
        self.rows.append((began, before, dict(values), (score - before) / (time - began)))
        if len(self.rows) >= 3 * _KEPT:  # so many more, for questions that are asked again after a crash
            del self.rows[:_KEPT]
            self.dropped += _KEPT

    def known(self, count: int) -> list[Row]:
        """The newest of the first ``count`` rows that there have been."""
        end = max(0, count - self.dropped)
        return self.rows[max(0, end - _KEPT) : end]

    def moved(self, trial: int, values: Mapping[str, Any]) -> None:
        """It stands where its source stood, with new values."""
        if (mark := self.loans.pop(trial, None)) is not None:
            self.marks[trial] = mark
        self.trying[trial] = dict(values)

    def forget(self, trial: int) -> None:
        """It is over."""
        self.marks.pop(trial, None)
        self.loans.pop(trial, None)
        self.trying.pop(trial, None)


class PB2(PopulationBasedTraining):
    """Population Based Bandits: as PBT, but the hyperparameters of who copies come from a model of what has improved whom.

    PBT changes hyperparameters at random, which wants a population of dozens; PB2 learns from the gains of all its members and does with a
    handful. Jack Parker-Holder, Vu Nguyen and Stephen Roberts, "Provably Efficient Online Hyperparameter Optimization with
    Population-Based Bandits", NeurIPS 2020, algorithm 1.

    Each interval of a member is an observation: from a time and a score on, some hyperparameters have gained so much in a unit of time. The
    last 1,000 are modelled by a Gaussian process that forgets (:mod:`tunesmith.search.pb2_model`). Who copies gets the hyperparameters with
    the largest upper confidence bound for where it stands then; what others are trying counts as known there, so that no two try the same.
    The model is asked outside the fold, and its answer is recorded.

    Args:
        time_attr: what counts as time, a reported key that grows; seconds by default.
        metric: what to rank by; None: the run's.
        mode: "min" or "max"; None: the run's.
        perturbation_interval: units of ``time_attr`` between two looks at a member, > 0.
        hyperparam_bounds: what may change, and within what: name -> [lower, upper] (numbers, lower < upper), or a domain of numbers such as
            ``loguniform(1e-4, 1)``, or a dict of these for a nested entry. Log domains are modelled by their logarithms. What the config
            lacks is drawn.
        quantile_fraction: share of the population that copies, and that is copied, 0 to 0.5.
        log_config: write Ray's ``pbt_*.txt`` files.
        require_attrs: a result without ``time_attr`` or the metric fails the trial. False: it does not count.
        synch: trials wait for one another at each interval; reproducible with ``deterministic=True``.
        custom_explore_fn: called last with the whole new config; returns it, changed.
        seed: of the scheduler's random streams; None: the run's.

    Raises:
        SpecError: an argument is wrong; names it.

    Differs from Ray Tune: bounds may be domains. Time is counted in intervals and not from 0 to 1, so that as much is forgotten in an
    interval early and late. The window is always 1,000 observations; there it is chosen by likelihoods of different data. A gain after an
    exploit is counted from the donor's score. Each hyperparameter has a length scale of its own. What explodes, or is nan, counts as bad
    and does not blind the model to the rest. The space's constraints hold. And what :class:`PopulationBasedTraining` says of exploits.

    Example:
        >>> from tunesmith.space import loguniform
        >>> bounds = {"lr": loguniform(1e-4, 1), "wd": [0, 0.1]}
        >>> scheduler = PB2(time_attr="training_iteration", perturbation_interval=5, hyperparam_bounds=bounds)
        >>> scheduler.paths
        ('lr', 'wd')
    """

    changeable: ClassVar[tuple[str, ...]] = ("perturbation_interval", "quantile_fraction", "log_config", "require_attrs")

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        perturbation_interval: float = 60.0,
        hyperparam_bounds: Mapping[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
        custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        seed: int | None = None,
    ) -> None:
        if not isinstance(hyperparam_bounds, Mapping) or not hyperparam_bounds:
            raise SpecError(
                f"PB2: hyperparam_bounds must be a dict such as {{'lr': [0.001, 0.1]}}, got {hyperparam_bounds!r}; "
                "it says which entries of the config change, and within what."
            )
        bounds = _domains(hyperparam_bounds, "")
        mutations = Mutations("PB2", bounds, "hyperparam_bounds")
        super().__init__(
            time_attr, metric, mode, perturbation_interval, hyperparam_mutations=bounds, quantile_fraction=quantile_fraction,
            log_config=log_config, require_attrs=require_attrs, synch=synch, custom_explore_fn=custom_explore_fn, seed=seed,
        )  # fmt: skip
        self._mutations = mutations
        self._history = _History()

    def on_scored(self, trial: TrialView, time: float, score: float) -> None:
        """Take the observation that ends here."""
        self._history.scored(trial.number, trial.values, time, score)

    def exploit_data(self, trial: int, source: int) -> dict[str, Any]:
        """Where the trial will stand, and how much is known by now."""
        history = self._history
        history.loans[trial] = mark = history.marks[source]
        return {"rows": history.dropped + len(history.rows), "mark": list(mark)}

    def on_exploit_end(self, trial: TrialView, source: int, done: bool) -> None:
        """As PBT; it tries its new values now, or goes on as it was."""
        super().on_exploit_end(trial, source, done)
        if done:
            self._history.moved(trial.number, trial.values)

    def on_trial_end(self, trial: TrialView, outcome: str) -> list[Decision]:
        """As PBT; what it has shown stays known."""
        self._history.forget(trial.number)
        return super().on_trial_end(trial, outcome)

    # -- outside the fold ------------------------------------------------------------------------------------------------

    def propose(self, current: Mapping[str, Any], exploration: Exploration, rng: random.Random) -> dict[str, tuple[Any, str]]:
        """Ask the model, which takes some tenths of a second at most. Asked again for the same exploit: values at random."""
        from tunesmith.search import pb2_model  # numpy and scipy

        cube = _Cube({path: self.domains[path] for path in self.paths if path in current}, exploration.space)
        if not cube.axes:
            return {}
        if rng.getstate() != exploration.stream(self.seed).getstate():
            return {path: (axis.draw(rng), "drawn, for the constraints") for path, axis in cube.axes.items()}
        interval, (time, score) = self.perturbation_interval, exploration.data["mark"]
        rows = cube.rows(self._history.known(exploration.data["rows"]), interval)
        trying = (*self._history.trying.values(), *exploration.others)
        points = [point for values in trying if (point := cube.point(values)) is not None]
        pending = [(time / interval, score, point) for point in points]

        def fitted(point: list[float]) -> dict[str, Any]:
            return {path: self._mutations.fitted(path, value, current[path]) for path, value in cube.values(point).items()}

        allowed = None if not exploration.space.constraints else lambda point: cube.allows(fitted(point), exploration.values)
        found = pb2_model.propose(rows, time / interval, score, pending, len(cube.axes), rng.getrandbits(32), allowed)
        how = f"model of {len(rows)} gains" if rows else "drawn, nothing is known yet"
        return {path: (value, how) for path, value in fitted(found).items()}


class _Cube:
    """Hyperparameters as points of the unit cube.

    Args:
        axes: path in the config -> its range.
        space: in which the paths are.
    """

    def __init__(self, axes: Mapping[str, Axis], space: Space) -> None:
        self.axes = axes
        self._paths = tuple(axes)
        self._space = space
        self._known: dict[str, list[float] | None] = {}

    def rows(self, rows: list[Row], interval: float) -> list[tuple[float, float, list[float], float]]:
        """Those whose values have a point, with times counted in intervals."""
        points = ((row, self.point(row[2])) for row in rows)
        return [(time / interval, before, point, gain) for (time, before, _, gain), point in points if point is not None]

    def point(self, values: Mapping[str, Any]) -> list[float] | None:
        """Where flat values are; None: they are of another version of the space, or no numbers."""
        key = repr(values)  # most stretches of a trial have the values of the one before
        if key not in self._known:
            self._known[key] = self._point(values)
        return self._known[key]

    def _point(self, values: Mapping[str, Any]) -> list[float] | None:
        try:
            now = current(self._space, values, self._paths)
        except SpaceError:
            return None
        if not all(_is_number(now.get(path)) for path in self._paths):
            return None
        return [_place(axis, now[path]) for path, axis in self.axes.items()]

    def values(self, point: list[float]) -> dict[str, float]:
        """What stands at a point."""
        found = {}
        for (path, axis), at in zip(self.axes.items(), point):
            low, high = _ends(axis)
            value = low + at * (high - low)
            found[path] = math.exp(value) if axis.log else value
        return found

    def allows(self, entries: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
        """Whether the space's constraints hold for the config of ``values`` with these entries."""
        before = self._space.resolve(values)
        after = copied(before)
        for path, value in entries.items():
            place(after, path, value)
        return self._space.broken_constraint(recorded(self._space, values, before, after)) is None


def _ends(axis: Axis) -> tuple[float, float]:
    """Its least and largest value, or their logarithms."""
    low, high = axis.lower, axis.last if isinstance(axis, Integer) else axis.upper
    return (math.log(low), math.log(high)) if axis.log else (low, high)


def _place(axis: Axis, value: float) -> float:
    """Where the value is between the ends, 0 to 1; others than those of the axis are at the ends."""
    low, high = _ends(axis)
    value = math.log(max(value, axis.lower)) if axis.log else value
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.0


def _domains(bounds: Mapping[str, Any], above: str) -> dict[str, Any]:
    """Domains for pairs of numbers."""
    found: dict[str, Any] = {}
    for name, bound in bounds.items():
        path = f"{above}{name}"
        if isinstance(bound, Mapping):
            found[name] = _domains(bound, f"{path}/")
        elif isinstance(bound, Float | Integer):
            found[name] = bound
        elif isinstance(bound, list | tuple) and len(bound) == 2 and all(map(_is_number, bound)) and bound[0] < bound[1]:
            found[name] = Float(float(bound[0]), float(bound[1]))
        else:
            raise SpecError(
                f"PB2: hyperparam_bounds[{path!r}] must be [lower, upper], two numbers with lower < upper, or a domain of numbers such as "
                f"loguniform(1e-4, 1), got {bound!r}."
            )
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

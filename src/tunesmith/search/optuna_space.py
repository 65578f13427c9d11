"""A space of ours as Optuna asks for it: parameter by parameter, on a live trial."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log10
from statistics import NormalDist
from typing import Any

from tunesmith.search.foreign_parts import codes_of, place_of
from tunesmith.space import Categorical, Float, Integer, Normal, Space
from tunesmith.space.nodes import Leaf
from tunesmith.space.parse import Group

__all__ = ["Converter"]

_CELLS = 1 << 20
"""A normal distribution is asked for by its quantile, in so many steps: Optuna has none, and a step can be found again exactly."""


class Converter:
    """Values of a space from an Optuna trial, and back.

    Parameters have the same names and mostly the same values. Where Optuna cannot tell options apart (1, 1.0 and True) they are numbered,
    as are options that are no scalars; where it cannot have steps on a logarithmic scale the number of steps is asked for, and for
    normal distributions the quantile.

    Args:
        space: ours.
    """

    def __init__(self, space: Space) -> None:
        self._space = space

    def values(self, trial: Any) -> dict[str, Any]:
        """What ``trial`` suggests for all parameters that exist."""
        found: dict[str, Any] = {}
        self._group(self._space.group, trial, found)
        return found

    def _group(self, group: Group, trial: Any, found: dict[str, Any]) -> None:
        for leaf in group.leaves:
            found[leaf.name] = _suggest(leaf, trial)
        for choice in group.choices:
            found[choice.name] = _suggest(choice, trial)
            self._group(group.below[choice.name][place_of(choice, found[choice.name])], trial, found)

    def params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse: parameters of the trial that has these values. Computed values and overlays are nothing to Optuna."""
        nodes = self._space.nodes
        return {name: _param(nodes[name], value) for name, value in values.items() if name in nodes and _is_searched(nodes[name])}


def _is_searched(leaf: Leaf) -> bool:
    return isinstance(leaf.domain, Categorical | Float | Integer | Normal)


def _suggest(leaf: Leaf, trial: Any) -> Any:
    name, domain = leaf.name, leaf.domain
    if isinstance(domain, Categorical):
        codes, plain = codes_of(leaf), _are_told_apart(leaf)
        chosen = trial.suggest_categorical(name, list(codes) if plain else list(range(len(codes))))
        return chosen if plain else codes[chosen]
    if isinstance(domain, Normal):
        # half a step away from 0 and 1, which are infinitely far away
        quantile = (trial.suggest_int(name, 0, _CELLS - 1) + 0.5) / _CELLS
        value = NormalDist(domain.mean, domain.sd).inv_cdf(quantile)
        return value if domain.q is None else _multiple(value, domain.q)
    assert isinstance(domain, Float | Integer)
    last = domain.last if isinstance(domain, Integer) else domain.upper
    if domain.log and domain.q is not None:
        steps = trial.suggest_int(name, round(domain.lower / domain.q), round(last / domain.q), log=True)
        value = steps * domain.q
    elif isinstance(domain, Integer):
        value = trial.suggest_int(name, domain.lower, last, step=domain.q or 1, log=domain.log)
    elif domain.q is not None:
        value = trial.suggest_float(name, *_ends(domain), step=domain.q)
    else:
        value = trial.suggest_float(name, domain.lower, last, log=domain.log)
    if isinstance(domain, Float) and domain.q is not None:
        value = _multiple(value, domain.q)
    return min(max(value, domain.lower), last)


def _param(leaf: Leaf, value: Any) -> Any:
    domain = leaf.domain
    if isinstance(domain, Categorical):
        return value if _are_told_apart(leaf) else place_of(leaf, value)
    if isinstance(domain, Normal):
        return min(floor(NormalDist(domain.mean, domain.sd).cdf(value) * _CELLS), _CELLS - 1)
    assert isinstance(domain, Float | Integer)
    if domain.q is None:
        return value
    if domain.log:
        return round(value / domain.q)
    if isinstance(domain, Integer):
        return value
    # the very float that Optuna makes of this step
    low, high = _ends(domain)
    return min(low + round((value - low) / domain.q) * domain.q, high)


def _are_told_apart(leaf: Leaf) -> bool:
    codes = codes_of(leaf)
    return all(code == code for code in codes) and len(set(codes)) == len(codes)


def _ends(domain: Float) -> tuple[float, float]:
    """The bounds with as few digits as their step has: Optuna counts steps in decimals, and warns of rounding errors."""
    assert domain.q is not None
    return _multiple(domain.lower, domain.q), _multiple(domain.upper, domain.q)


def _multiple(value: float, q: float) -> float:
    return float(round(round(value / q) * q, 12 - floor(log10(q))))

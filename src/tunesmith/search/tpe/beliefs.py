"""What users believe of single parameters, from what they write to what is used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunesmith.errors import SpecError
from tunesmith.hints import did_you_mean
from tunesmith.search.tpe.parzen import Belief
from tunesmith.space.domains import Categorical, Domain, Function, Normal, same
from tunesmith.space.space import Space
from tunesmith.space.unit import to_unit

__all__ = ["beliefs_of"]

_SPREADS = (0.005, 10.0)
"""Of normal distributions, in parts of the range: a narrower one would be no belief, a wider one says nothing."""


def beliefs_of(owner: str, priors: Mapping[str, Any] | None, space: Space) -> dict[str, Belief]:
    """The beliefs that ``priors`` writes, by name of the parameter.

    Raises:
        SpecError: there is no such parameter, or its entry is of the wrong kind; names ``owner`` and the parameter.
    """
    beliefs = {}
    for name, given in (priors or {}).items():
        domain = space.parameters.get(name)
        if domain is None:
            raise SpecError(f"{owner}: priors: there is no parameter {name!r}.{did_you_mean(str(name), space.parameters)}")
        what = f"{owner}: priors[{name!r}]"
        if isinstance(domain, Function):
            raise SpecError(f"{what}: the parameter is computed by a function, so it is not searched.")
        beliefs[name] = _category(what, given, domain) if isinstance(domain, Categorical) else _number(what, given, domain)
    return beliefs


def _category(what: str, given: Any, domain: Categorical) -> Belief:
    options = domain.categories
    if isinstance(given, Mapping):
        unknown = [key for key in given if not any(same(option, key) for option in options)]
        if unknown:
            raise SpecError(f"{what}: {unknown[0]!r} is none of the options; they are {list(options)!r}.")
        weights = [next((weight for key, weight in given.items() if same(option, key)), 1.0) for option in options]
    elif isinstance(given, Sequence) and not isinstance(given, str) and len(given) == len(options):
        weights = list(given)
    else:
        raise SpecError(f"{what}: expected {len(options)} weights, in the order of the options, or option -> weight, got {given!r}.")
    if not all(_is_number(weight) and weight > 0 for weight in weights):
        raise SpecError(f"{what}: weights must be numbers > 0, got {weights!r}. For an option that must never be taken, leave it out.")
    array = np.array(weights, dtype=float)
    return Belief(weights=array / array.sum())


def _number(what: str, given: Any, domain: Domain) -> Belief:
    if not (isinstance(given, Sequence) and len(given) == 2 and all(_is_number(each) for each in given)):
        raise SpecError(f"{what}: expected (value, spread), two numbers, got {given!r}.")
    value, spread = map(float, given)
    log = bool(getattr(domain, "log", False))
    if spread <= (1 if log else 0):
        rule = "a factor > 1, as the parameter is spread over its logarithm" if log else "a number > 0"
        raise SpecError(f"{what}: the spread must be {rule}, got {spread!r}.")
    if isinstance(domain, Normal):
        mean, width = to_unit(domain, value), (to_unit(domain, value + spread) - to_unit(domain, value - spread)) / 2
    else:
        low, high = domain.lower, domain.last if hasattr(domain, "last") else domain.upper  # type: ignore[attr-defined]
        if not low <= value <= high:
            raise SpecError(f"{what}: the value must lie between {low!r} and {high!r}, got {value!r}.")
        mean = to_unit(domain, value)
        width = math.log(spread) / (math.log(high / low) or 1.0) if log else spread / ((high - low) or 1.0)
    return Belief(mean, float(np.clip(width, *_SPREADS)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""Where a value lies in [0, 1] under its domain's own distribution, and back.

Equal lengths are equally likely: logarithms are undone, integers and steps are cells of equal width (a value is its cell's middle), normal
distributions go through their cumulative distribution function.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tunesmith.errors import SpaceError
from tunesmith.space.domains import Categorical, Domain, Float, Integer, Normal, same

if TYPE_CHECKING:
    from statistics import NormalDist

__all__ = ["from_unit", "to_unit"]

_EDGE = 1e-9


def to_unit(domain: Domain, value: Any) -> float:
    """Where ``value`` lies in [0, 1].

    Raises:
        SpaceError: the domain has no order to encode (``sample_from``), or the value is none of its options.

    Example:
        >>> from tunesmith.space import loguniform, randint
        >>> to_unit(loguniform(1e-4, 1), 1e-2)
        0.5
        >>> to_unit(randint(0, 4), 3)
        0.875
    """
    if isinstance(domain, Categorical):
        options = domain.categories
        exact = [i for i, option in enumerate(options) if type(option) is type(value) and same(option, value)]
        index = next(iter(exact or [i for i, option in enumerate(options) if same(option, value)]), None)
        if index is None:
            raise SpaceError(f"{value!r} is none of the options {list(options)!r}.")
        return (index + 0.5) / len(options)
    if isinstance(domain, Normal):
        return _normal(domain).cdf(value)
    low, high = _ends(domain)
    position = float(value) + 0.5 if _starts_cell(domain) else float(value)
    if domain.log:  # type: ignore[attr-defined]
        low, high, position = math.log(low), math.log(high), math.log(position)
    return min(max((position - low) / (high - low), 0.0), 1.0)


def from_unit(domain: Domain, unit: float) -> Any:
    """The value at ``unit`` in [0, 1]; always a member of the domain, and the inverse of :func:`to_unit`.

    Example:
        >>> from tunesmith.space import choice, quniform
        >>> from_unit(choice(["a", "b"]), 0.6)
        'b'
        >>> from_unit(quniform(0, 1, 0.25), 1.0)
        1.0
    """
    unit = min(max(float(unit), 0.0), 1.0)
    if isinstance(domain, Categorical):
        count = len(domain.categories)
        return domain.categories[min(int(unit * count), count - 1)]
    if isinstance(domain, Normal):
        value = _normal(domain).inv_cdf(min(max(unit, _EDGE), 1.0 - _EDGE))
        return value if domain.q is None else _step(value, domain.q)
    low, high = _ends(domain)
    if domain.log:  # type: ignore[attr-defined]
        value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    else:
        value = low + unit * (high - low)
    if isinstance(domain, Integer):
        whole = math.floor(value) if domain.q is None else round(value / domain.q) * domain.q
        return min(max(whole, domain.lower), domain.last)
    assert isinstance(domain, Float)
    if domain.q is None and unit in (0.0, 1.0):
        return domain.upper if unit else domain.lower  # a logarithm and its exponential need not meet again
    return min(max(value if domain.q is None else _step(value, domain.q), domain.lower), domain.upper)


def _starts_cell(domain: Domain) -> bool:
    """Whether a value is the lower end of its cell rather than its middle."""
    return isinstance(domain, Integer) and domain.q is None


def _ends(domain: Domain) -> tuple[float, float]:
    """Ends of the interval that is spread over [0, 1]: with a step, half a step more than the bounds on both sides."""
    if isinstance(domain, Integer | Float):
        margin = 0.0 if domain.q is None else domain.q / 2
        return domain.lower - margin, domain.upper + margin
    raise SpaceError(f"{domain!r} has no encoding: a value that a function computes is no coordinate.")


def _step(value: float, q: float) -> float:
    return float(round(round(value / q) * q, 12 - math.floor(math.log10(q))))


def _normal(domain: Normal) -> NormalDist:
    from statistics import NormalDist  # not cheap to import, and few spaces have such a domain

    return NormalDist(domain.mean, domain.sd)

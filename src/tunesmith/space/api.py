"""The functions with which users write a search space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space.domains import Categorical, Float, Function, Integer, Normal, Require

__all__ = [
    "choice",
    "grid_search",
    "lograndint",
    "loguniform",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "require",
    "sample_from",
    "uniform",
]


def uniform(lower: float, upper: float) -> Float:
    """A real number, evenly spread over [lower, upper).

    Raises:
        SpaceError: a bound is no finite number, or ``lower >= upper``. So do all functions below.

    Example:
        >>> uniform(0, 1).is_valid(0.5)
        True
    """
    return Float(lower, upper)


def quniform(lower: float, upper: float, q: float) -> Float:
    """Like :func:`uniform`, rounded to the next multiple of ``q``; both bounds are included and must be multiples of ``q``.

    Each bound is half as likely as a value between them.

    Example:
        >>> quniform(0, 1, 0.25).sample() in (0, 0.25, 0.5, 0.75, 1)
        True
    """
    return Float(lower, upper, q=q)


def loguniform(lower: float, upper: float, base: float = 10) -> Float:  # noqa: ARG001
    """A real number whose logarithm is evenly spread: as likely in [1e-4, 1e-3] as in [1e-3, 1e-2].

    Args:
        lower, upper: bounds, both > 0.
        base: accepted because scripts pass it; the distribution is the same for any base.

    Example:
        >>> 1e-4 <= loguniform(1e-4, 1e-1).sample() <= 1e-1
        True
    """
    return Float(lower, upper, log=True)


def qloguniform(lower: float, upper: float, q: float, base: float = 10) -> Float:  # noqa: ARG001
    """Like :func:`loguniform`, rounded to the next multiple of ``q``; both bounds are included and must be multiples of ``q``."""
    return Float(lower, upper, log=True, q=q)


def randn(mean: float = 0.0, sd: float = 1.0) -> Normal:
    """A real number from the normal distribution with this mean and standard deviation (> 0); it has no bounds."""
    return Normal(mean, sd)


def qrandn(mean: float, sd: float, q: float) -> Normal:
    """Like :func:`randn`, rounded to the next multiple of ``q``."""
    return Normal(mean, sd, q)


def randint(lower: int, upper: int) -> Integer:
    """A whole number from ``lower`` up to but *without* ``upper``, like ``range``.

    Example:
        >>> randint(1, 4).sample() in (1, 2, 3)
        True
    """
    return Integer(lower, upper)


def qrandint(lower: int, upper: int, q: int = 1) -> Integer:
    """A multiple of ``q`` from ``lower`` to ``upper``, *both included*, each as likely as the others.

    Example:
        >>> qrandint(32, 128, 32).sample() in (32, 64, 96, 128)
        True
    """
    return Integer(lower, upper, q=q)


def lograndint(lower: int, upper: int, base: float = 10) -> Integer:  # noqa: ARG001
    """A whole number from ``lower`` (>= 1) up to but *without* ``upper``, small ones more likely: the logarithm is evenly spread."""
    return Integer(lower, upper, log=True)


def qlograndint(lower: int, upper: int, q: int, base: float = 10) -> Integer:  # noqa: ARG001
    """A multiple of ``q`` from ``lower`` (>= 1) to ``upper``, *both included*, with the logarithm evenly spread."""
    return Integer(lower, upper, log=True, q=q)


def choice(categories: Iterable[Any]) -> Categorical:
    """One of these options, each as likely as the others.

    Options may be anything. One that is a dict or list with domains inside is a sub-space: its parameters exist only in trials
    that chose it.

    Example:
        >>> choice(["relu", "tanh"]).is_valid("relu")
        True
        >>> optimizer = choice([{"name": "sgd", "momentum": uniform(0.5, 1)}, {"name": "adam"}])
    """
    return Categorical(tuple(_options("choice", categories)))


def grid_search(values: Iterable[Any]) -> dict[str, list[Any]]:
    """Try every one of ``values``: the whole grid of all ``grid_search`` entries is walked through ``num_samples`` times.

    Example:
        >>> grid_search([16, 32])
        {'grid_search': [16, 32]}
    """
    return {"grid_search": _options("grid_search", values)}


def sample_from(func: Callable[..., Any]) -> Function:
    """A value computed from the rest of the configuration.

    Args:
        func: called with the configuration, or with nothing if it takes no argument. ``config["x"]``, ``config.x``, ``spec.config.x``
            and ``spec["config"]["x"]`` all work; entries that are themselves computed are evaluated first, whatever the order in the
            dict. It may return another domain (drawn then) or a ``grid_search`` (which multiplies the grid and must have the same
            length in every trial). During the call ``random`` and ``numpy.random`` are seeded from the trial's own stream.

    Raises:
        SpaceError: ``func`` cannot be called, or needs more than one argument.

    Example:
        >>> space = {"width": choice([32, 64]), "depth": sample_from(lambda config: 256 // config["width"])}
    """
    return Function(func)


def require(predicate: Callable[[dict[str, Any]], Any], message: str | None = None) -> Require:
    """A constraint between parameters, put under any key at the top level of the config (the key itself does not reach trials).

    Args:
        predicate: gets a resolved config; configurations for which it is false are drawn anew before they cost anything.
        message: what it asks for, in words; shown when nothing that satisfies it can be found.

    Example:
        >>> space = {"layers": randint(1, 9), "width": choice([64, 512]), "fits": require(lambda c: c["layers"] * c["width"] <= 2048)}
    """
    return Require(predicate, message)


def _options(name: str, values: Iterable[Any]) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping, set, frozenset)) or not hasattr(values, "__iter__"):
        hint = " A set has no order: use sorted(...)." if isinstance(values, (set, frozenset)) else ""
        raise SpaceError(f"{name}: expected a list of options, got {type(values).__name__} {values!r}.{hint}")
    options = list(values)
    if not options:
        raise SpaceError(f"{name}: the list of options is empty.")
    return options

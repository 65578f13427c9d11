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

    Args:
        lower, upper: the bounds, finite numbers.

    Raises:
        SpaceError: a bound is no finite number, or ``lower >= upper``.

    Example:
        >>> uniform(0, 1).is_valid(0.5)
        True
    """
    return Float(lower, upper)


def quniform(lower: float, upper: float, q: float) -> Float:
    """Like :func:`uniform`, rounded to the next multiple of ``q``; both bounds are included.

    Each bound is half as likely as a value between them.

    Args:
        lower, upper: the bounds, multiples of ``q``.
        q: the step, > 0.

    Raises:
        SpaceError: a bound is no finite number or no multiple of ``q``, ``lower >= upper``, or ``q <= 0``.

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

    Raises:
        SpaceError: a bound is no finite number > 0, or ``lower >= upper``.

    Example:
        >>> 1e-4 <= loguniform(1e-4, 1e-1).sample() <= 1e-1
        True
    """
    return Float(lower, upper, log=True)


def qloguniform(lower: float, upper: float, q: float, base: float = 10) -> Float:  # noqa: ARG001
    """Like :func:`loguniform`, rounded to the next multiple of ``q``; both bounds are included.

    Args:
        lower, upper: the bounds, > 0 and multiples of ``q``.
        q: the step, > 0.
        base: accepted because scripts pass it; the distribution is the same for any base.

    Raises:
        SpaceError: a bound is no finite number > 0 or no multiple of ``q``, ``lower >= upper``, or ``q <= 0``.

    Example:
        >>> qloguniform(0.5, 2, 0.5).sample() in (0.5, 1, 1.5, 2)
        True
    """
    return Float(lower, upper, log=True, q=q)


def randn(mean: float = 0.0, sd: float = 1.0) -> Normal:
    """A real number from a normal distribution; it has no bounds.

    Args:
        mean: of the distribution.
        sd: its standard deviation, > 0.

    Raises:
        SpaceError: one of them is no finite number, or ``sd <= 0``.

    Example:
        >>> randn(10, 2).is_valid(7.5)
        True
    """
    return Normal(mean, sd)


def qrandn(mean: float, sd: float, q: float) -> Normal:
    """Like :func:`randn`, rounded to the next multiple of ``q``.

    Args:
        mean, sd: as for :func:`randn`.
        q: the step, > 0.

    Raises:
        SpaceError: one of them is no finite number, ``sd <= 0`` or ``q <= 0``.

    Example:
        >>> qrandn(0, 1, 0.5).sample() % 0.5
        0.0
    """
    return Normal(mean, sd, q)


def randint(lower: int, upper: int) -> Integer:
    """A whole number from ``lower`` up to but *without* ``upper``, like ``range``.

    Args:
        lower, upper: whole numbers.

    Raises:
        SpaceError: a bound is no whole number, or ``lower >= upper``.

    Example:
        >>> randint(1, 4).sample() in (1, 2, 3)
        True
    """
    return Integer(lower, upper)


def qrandint(lower: int, upper: int, q: int = 1) -> Integer:
    """A multiple of ``q`` from ``lower`` to ``upper``, *both included*, each as likely as the others.

    Args:
        lower, upper: multiples of ``q``; ``upper`` is included with ``q=1``, too (in Ray Tune it is not).
        q: the step, a whole number >= 1.

    Raises:
        SpaceError: one of them is no whole number, a bound is no multiple of ``q``, ``lower >= upper``, or ``q < 1``.

    Example:
        >>> qrandint(32, 128, 32).sample() in (32, 64, 96, 128)
        True
    """
    return Integer(lower, upper, q=q)


def lograndint(lower: int, upper: int, base: float = 10) -> Integer:  # noqa: ARG001
    """A whole number from ``lower`` up to but *without* ``upper``, small ones more likely: the logarithm is evenly spread.

    Args:
        lower, upper: whole numbers >= 1.
        base: accepted because scripts pass it; the distribution is the same for any base.

    Raises:
        SpaceError: a bound is no whole number >= 1, or ``lower >= upper``.

    Example:
        >>> 1 <= lograndint(1, 1000).sample() < 1000
        True
    """
    return Integer(lower, upper, log=True)


def qlograndint(lower: int, upper: int, q: int, base: float = 10) -> Integer:  # noqa: ARG001
    """A multiple of ``q`` from ``lower`` to ``upper``, *both included*, with the logarithm evenly spread.

    Args:
        lower, upper: whole numbers >= 1 and multiples of ``q``.
        q: the step, a whole number >= 1.
        base: accepted because scripts pass it; the distribution is the same for any base.

    Raises:
        SpaceError: one of them is no whole number >= 1, a bound is no multiple of ``q``, or ``lower >= upper``.

    Example:
        >>> qlograndint(16, 64, 16).sample() in (16, 32, 48, 64)
        True
    """
    return Integer(lower, upper, log=True, q=q)


def choice(categories: Iterable[Any]) -> Categorical:
    """One of these options, each as likely as the others.

    Args:
        categories: at least one option, of any kind. One that is a dict or list with domains inside is a sub-space: its
            parameters exist only in trials that chose it.

    Raises:
        SpaceError: there is no option, or it is no list.

    Example:
        >>> choice(["relu", "tanh"]).is_valid("relu")
        True
        >>> optimizer = choice([{"name": "sgd", "momentum": uniform(0.5, 1)}, {"name": "adam"}])
    """
    return Categorical(tuple(_options("choice", categories)))


def grid_search(values: Iterable[Any]) -> dict[str, list[Any]]:
    """Try every one of ``values``: the whole grid of all ``grid_search`` entries is walked through ``num_samples`` times.

    Args:
        values: at least one, of any kind; sub-spaces as in :func:`choice`.

    Raises:
        SpaceError: there is no value, or it is no list.

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

    Raises:
        SpaceError: ``predicate`` cannot be called.

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

"""Domains: what a parameter may be, how it is drawn, and what its text is. Values only; how they nest is the tree's business.

Users build them with the functions of :mod:`tunesmith.space.api`; a plug-in that converts a space looks at these classes.
"""

from __future__ import annotations

import inspect
import math
import operator
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from tunesmith.errors import SpaceError

__all__ = ["Categorical", "Domain", "Float", "Function", "Grid", "Integer", "Mutable", "Normal", "Require"]


class Domain(ABC):
    """The set of values that one parameter may take, with the distribution they are drawn from. Immutable."""

    __slots__ = ()

    @abstractmethod
    def sampler(self) -> Callable[[random.Random], Any]:
        """A function that draws one value, a plain Python object; made once and called for each trial."""

    def draw(self, rng: random.Random) -> Any:
        """One value."""
        return self.sampler()(rng)

    @abstractmethod
    def is_valid(self, value: Any) -> bool:
        """Whether ``value`` belongs to the domain (bounds of floats are both inclusive)."""

    @abstractmethod
    def cast(self, value: Any) -> Any:
        """``value`` as the plain Python type of this domain; it may still lie outside.

        Raises:
            TypeError, ValueError: there is no such value.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON: ``type`` (the constructor's name) and its arguments."""

    def sample(self, config: Mapping[str, Any] | None = None, size: int = 1, random_state: Any = None) -> Any:
        """Draw from the domain outside of any experiment.

        Args:
            config: what a ``sample_from`` is called with; other domains do not look at it.
            size: how many; 1 gives the value itself, more give a list.
            random_state: None: the module ``random``'s own generator; an integer; a ``random.Random``; or a numpy generator.

        Example:
            >>> from tunesmith.space import uniform
            >>> uniform(0, 1).sample(random_state=1) == uniform(0, 1).sample(random_state=1)
            True
        """
        rng, draw = _generator(random_state), self.sampler()
        return draw(rng) if size == 1 else [draw(rng) for _ in range(size)]

    def __repr__(self) -> str:
        about = self.describe()
        name = about.pop("type")
        return f"{name}({', '.join(map(repr, about.values()))})"


@dataclass(frozen=True, slots=True, repr=False)
class Float(Domain):
    """Real numbers in [lower, upper], evenly spread over the value or (``log``) its logarithm, rounded to multiples of ``q``."""

    lower: float
    upper: float
    log: bool = False
    q: float | None = None

    def __post_init__(self) -> None:
        name = f"{'q' if self.q is not None else ''}{'log' if self.log else ''}uniform"
        _check_bounds(self, name, _number)
        if self.log and self.lower <= 0:
            raise SpaceError(
                f"{self!r}: lower must be > 0, because the logarithm is spread evenly; got {self.lower!r}. "
                "Start at a small number such as 1e-6, or use uniform."
            )

    def sampler(self) -> Callable[[random.Random], float]:
        lower, upper, q, exp = self.lower, self.upper, self.q, math.exp
        start, span = (math.log(lower), math.log(upper) - math.log(lower)) if self.log else (lower, upper - lower)

        def draw(rng: random.Random) -> float:
            value = start + rng.random() * span
            return value if lower <= value <= upper else min(max(value, lower), upper)

        def draw_log(rng: random.Random) -> float:
            value = exp(start + rng.random() * span)
            return value if lower <= value <= upper else min(max(value, lower), upper)

        exact = draw_log if self.log else draw
        return exact if q is None else lambda rng: min(max(_multiple(exact(rng), q), lower), upper)

    def is_valid(self, value: Any) -> bool:
        return _is_number(value) and self.lower <= value <= self.upper and (self.q is None or _divides(self.q, value))

    def cast(self, value: Any) -> float:
        return float(value)

    def describe(self) -> dict[str, Any]:
        kind = f"{'log' if self.log else ''}uniform"
        about: dict[str, Any] = {"type": kind, "lower": self.lower, "upper": self.upper}
        return about if self.q is None else about | {"type": f"q{kind}", "q": self.q}


@dataclass(frozen=True, slots=True, repr=False)
class Integer(Domain):
    """Whole numbers from ``lower`` up to but without ``upper``; with a step ``q``: its multiples, from ``lower`` to ``upper`` inclusive."""

    lower: int
    upper: int
    log: bool = False
    q: int | None = None

    def __post_init__(self) -> None:
        name = f"{'q' if self.q is not None else ''}{'log' if self.log else ''}randint"
        _check_bounds(self, name, _integer)
        if self.log and self.lower < 1:
            raise SpaceError(
                f"{self!r}: lower must be >= 1, because the logarithm is spread evenly; got {self.lower!r}. Use randint for a range with 0."
            )

    @property
    def last(self) -> int:
        """The largest value."""
        return self.upper - 1 if self.q is None else self.upper

    @property
    def count(self) -> int:
        """How many values there are."""
        return (self.last - self.lower) // (self.q or 1) + 1

    def sampler(self) -> Callable[[random.Random], int]:
        lower, last, count, q = self.lower, self.last, self.count, self.q or 1
        if not self.log:
            # one multiplication where it is exact enough, the slow exact way for huge ranges
            if count <= 1 << 32:
                return lambda rng: lower + int(rng.random() * count) * q
            return lambda rng: lower + rng.randrange(count) * q
        start, span = math.log(lower), math.log(self.upper) - math.log(lower)
        whole = int if self.q is None else round  # without a step value k stands for [k, k + 1), with one for what lies next to it

        def draw(rng: random.Random) -> int:
            return min(max(whole(math.exp(start + rng.random() * span) / q) * q, lower), last)

        return draw

    def is_valid(self, value: Any) -> bool:
        return _is_number(value) and self.lower <= value <= self.last and value == int(value) and int(value) % (self.q or 1) == 0

    def cast(self, value: Any) -> int:
        whole = int(value)
        if whole != value:
            raise ValueError(f"{value!r} is no whole number")
        return whole

    def describe(self) -> dict[str, Any]:
        kind = f"{'log' if self.log else ''}randint"
        about: dict[str, Any] = {"type": kind, "lower": self.lower, "upper": self.upper}
        return about if self.q is None else about | {"type": f"q{kind}", "q": self.q}


@dataclass(frozen=True, slots=True, repr=False)
class Normal(Domain):
    """Real numbers around ``mean`` with standard deviation ``sd``, without bounds, rounded to multiples of ``q``."""

    mean: float = 0.0
    sd: float = 1.0
    q: float | None = None

    def __post_init__(self) -> None:
        name = "randn" if self.q is None else "qrandn"
        object.__setattr__(self, "mean", _number(name, "mean", self.mean))
        object.__setattr__(self, "sd", _number(name, "sd", self.sd))
        if self.q is not None:
            object.__setattr__(self, "q", _number(name, "q", self.q))
        for what, value in (("sd", self.sd), ("q", self.q)):
            if value is not None and value <= 0:
                raise SpaceError(f"{self!r}: {what} must be > 0, got {value!r}.")

    def sampler(self) -> Callable[[random.Random], float]:
        mean, sd, q = self.mean, self.sd, self.q
        if q is None:
            return lambda rng: rng.normalvariate(mean, sd)
        return lambda rng: _multiple(rng.normalvariate(mean, sd), q)

    def is_valid(self, value: Any) -> bool:
        return _is_number(value) and math.isfinite(value) and (self.q is None or _divides(self.q, value))

    def cast(self, value: Any) -> float:
        return float(value)

    def describe(self) -> dict[str, Any]:
        about: dict[str, Any] = {"type": "randn", "mean": self.mean, "sd": self.sd}
        return about if self.q is None else about | {"type": "qrandn", "q": self.q}


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Categorical(Domain):
    """One of ``categories``, each as likely as the others. Options may be anything; dicts and lists may hold domains."""

    categories: tuple[Any, ...]

    def sampler(self) -> Callable[[random.Random], Any]:
        options, count = self.categories, len(self.categories)
        return lambda rng: options[int(rng.random() * count)]

    def is_valid(self, value: Any) -> bool:
        return any(same(option, value) for option in self.categories)

    def cast(self, value: Any) -> Any:
        return value

    def __map_options__(self, change: Callable[[Any], Any]) -> Self:
        """The same domain with ``change`` applied to each option."""
        return replace(self, categories=tuple(map(change, self.categories)))

    def describe(self) -> dict[str, Any]:
        return {"type": "choice", "options": len(self.categories)}

    def __repr__(self) -> str:
        return f"choice({list(self.categories)!r})"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Grid(Categorical):
    """Every one of ``categories`` in turn: what ``{"grid_search": [...]}`` in a config becomes."""

    def describe(self) -> dict[str, Any]:
        return {"type": "grid_search", "options": len(self.categories)}

    def __repr__(self) -> str:
        return f"grid_search({list(self.categories)!r})"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Function(Domain):
    """A value computed from the rest of the configuration by the user's ``func``."""

    func: Callable[..., Any]
    takes_config: bool = True

    def __post_init__(self) -> None:
        if not callable(self.func):
            raise SpaceError(f"sample_from: expected a function, got {type(self.func).__name__} {self.func!r}.")
        object.__setattr__(self, "takes_config", _takes_config(self.func))

    def __call__(self, config: Any) -> Any:
        """The user's function, given ``config`` if it wants one."""
        return self.func(config) if self.takes_config else self.func()

    def sampler(self) -> Callable[[random.Random], Any]:
        return lambda _: self({})

    def sample(self, config: Mapping[str, Any] | None = None, size: int = 1, random_state: Any = None) -> Any:
        """Call the function with ``config``; ``size`` > 1: that often, as a list."""
        given = {} if config is None else config
        return self(given) if size == 1 else [self(given) for _ in range(size)]

    def is_valid(self, value: Any) -> bool:
        return True

    def cast(self, value: Any) -> Any:
        return value

    def describe(self) -> dict[str, Any]:
        return {"type": "sample_from", "function": getattr(self.func, "__name__", type(self.func).__name__)}


@dataclass(frozen=True, slots=True, eq=False)
class Require:
    """A constraint: configurations for which ``predicate(config)`` is false are never proposed.

    It may stand under any key at the top level of a config (the key itself vanishes); see :func:`tunesmith.require`.
    """

    predicate: Callable[[dict[str, Any]], Any]
    message: str | None = None

    def __post_init__(self) -> None:
        if not callable(self.predicate):
            raise SpaceError(f"require: expected a function of the config, got {type(self.predicate).__name__} {self.predicate!r}.")

    def __str__(self) -> str:
        if self.message:
            return self.message
        code = getattr(self.predicate, "__code__", None)
        name = getattr(self.predicate, "__name__", type(self.predicate).__name__)
        return f"{name} at {code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}" if code else name


@dataclass(frozen=True, slots=True, eq=False)
class Mutable:
    """A constant entry of a config that a scheduler may give other values while a trial runs. Searchers take it as the constant.

    Args:
        start: what every trial begins with; no domain is in it.
        options: what it may become besides JSON values: objects, which are recorded by their place here.
    """

    start: Any
    options: tuple[Any, ...] = ()


def same(option: Any, value: Any) -> bool:
    """Equality that also answers for arrays, and for objects whose ``==`` fails."""
    if option is value:
        return True
    try:
        equal = option == value
        return bool(equal.all()) if hasattr(equal, "all") else bool(equal)
    except Exception:
        return False


def _generator(state: Any) -> random.Random:
    if state is None:
        return random.Random(random.getrandbits(64))
    if isinstance(state, random.Random):
        return state
    if hasattr(state, "integers"):
        return random.Random(int(state.integers(1 << 62)))
    if hasattr(state, "randint"):
        return random.Random(int(state.randint(1 << 31)))
    return random.Random(operator.index(state))


def _is_number(value: Any) -> bool:
    # numpy's scalars have __float__ and no length
    return not isinstance(value, (str, bytes, bool)) and hasattr(value, "__float__") and not getattr(value, "shape", ())


def _number(name: str, what: str, value: Any) -> float:
    if not _is_number(value):
        raise SpaceError(f"{name}: {what} must be a number, got {type(value).__name__} {value!r}.")
    real = float(value)
    if not math.isfinite(real):
        raise SpaceError(f"{name}: {what} must be a finite number, got {real!r}.")
    return real


def _integer(name: str, what: str, value: Any) -> int:
    real = _number(name, what, value)
    if not real.is_integer():
        raise SpaceError(f"{name}: {what} must be a whole number, got {value!r}; for real numbers use uniform.")
    return int(value)


def _check_bounds(domain: Float | Integer, name: str, number: Callable[[str, str, Any], float]) -> None:
    for what in ("lower", "upper", "q"):
        value = getattr(domain, what)
        if what != "q" or value is not None:
            object.__setattr__(domain, what, number(name, what, value))
    if domain.lower >= domain.upper:
        raise SpaceError(f"{domain!r}: lower must be less than upper, got {domain.lower!r} and {domain.upper!r}.")
    if domain.q is None:
        return
    if domain.q <= 0:
        raise SpaceError(f"{domain!r}: the step q must be > 0, got {domain.q!r}.")
    for what, bound in (("lower", domain.lower), ("upper", domain.upper)):
        if not _divides(domain.q, bound):
            raise SpaceError(f"{domain!r}: {what} must be a multiple of q={domain.q!r}, got {bound!r}.")


def _divides(q: float, value: float) -> bool:
    ratio = value / q
    return math.isclose(ratio, round(ratio), rel_tol=1e-9, abs_tol=1e-9)


def _multiple(value: float, q: float) -> float:
    """The multiple of ``q`` next to ``value``, as people write it: 0.3, not 0.30000000000000004."""
    return round(round(value / q) * q, 12 - math.floor(math.log10(q)))


def _takes_config(func: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):  # some builtins do not tell
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(required) > 1 or (required and not positional):
        raise SpaceError(f"sample_from: the function takes no argument or one (the config), but this one needs {', '.join(required)}.")
    return bool(required) or any(p.kind is p.VAR_POSITIONAL for p in parameters)

"""What an objective asks a parameter for: numbers in a range, or one of some choices."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.space.domains import Categorical, Domain, Float, Integer

__all__ = ["Distribution", "dumped", "loaded"]

_SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Distribution:
    """A range of numbers, both bounds included, or choices.

    To a searcher one with a step is the number of the step, since a step counts from ``low`` here and from 0 in a space.

    Args:
        kind: "float", "int" or "categorical".
        low, high: of numbers; with a step ``high`` is a whole number of steps above ``low``.
        step: between values; None: floats have none, ints 1.
        log: the logarithm is evenly spread.
        choices: of categoricals: JSON scalars.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @classmethod
    def number(cls, name: str, kind: str, low: Any, high: Any, step: Any, log: Any) -> Distribution:
        """A range.

        Raises:
            SpecError: an argument makes no sense; names the parameter.
        """
        call = f"suggest_{kind}({name!r}, ...)"
        for what, value in (("low", low), ("high", high), *([("step", step)] if step is not None else [])):
            whole = kind == "int"
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or (whole and value != int(value)):
                raise SpecError(f"{call}: {what} must be a {'whole' if whole else 'finite'} number, got {value!r}.")
        if low > high:
            raise SpecError(f"{call}: low must not be above high, got {low!r} and {high!r}.")
        if step is not None and step <= 0:
            raise SpecError(f"{call}: step must be > 0, got {step!r}.")
        if log and (step not in (None, 1) or (step == 1 and kind == "float")):
            raise SpecError(f"{call}: a step cannot be had together with log=True.")
        if log and low <= 0:
            raise SpecError(f"{call}: with log=True low must be > 0, got {low!r}.")
        cast = int if kind == "int" else float
        low, high = cast(low), cast(high)
        if step is None or (kind == "int" and step == 1):
            return cls(kind, low, high, None, bool(log))
        step = cast(step)
        return cls(kind, low, low + math.floor((high - low) / step + 1e-9) * step, step)

    @classmethod
    def one_of(cls, name: str, choices: Any) -> Distribution:
        """Choices.

        Raises:
            SpecError: there are none, or one is no JSON scalar.
        """
        if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
            raise SpecError(f"suggest_categorical({name!r}, ...): expected a list of choices, got {choices!r}.")
        wrong = [choice for choice in choices if type(choice) not in _SCALARS]
        if wrong:
            raise SpecError(
                f"suggest_categorical({name!r}, ...): choices are None, booleans, numbers and texts, got {wrong[0]!r}. Choose among names, "
                "and look the object up by its name."
            )
        return cls("categorical", choices=tuple(choices))

    @property
    def single(self) -> bool:
        """There is nothing to search."""
        return len(self.choices) == 1 if self.kind == "categorical" else self.low == self.high

    def contains(self, value: Any) -> bool:
        """Whether it could have been drawn."""
        if self.kind == "categorical":
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int if self.kind == "int" else float):
            return False
        if not self.low <= value <= self.high and not math.isclose(value, self.high, rel_tol=1e-12):
            return False
        return self.step is None or math.isclose((value - self.low) / self.step, self.code(value), rel_tol=1e-9, abs_tol=1e-9)

    def draw(self, rng: random.Random) -> Any:
        """One value."""
        if self.single:
            return self.choices[0] if self.choices else self.low
        return self.value(self.domain().draw(rng))

    def domain(self) -> Domain:
        """As an entry of a space; not for what is :attr:`single`."""
        if self.kind == "categorical":
            return Categorical(self.choices)
        if self.step is not None:
            return Integer(0, round((self.high - self.low) / self.step) + 1)
        if self.kind == "int":
            return Integer(int(self.low), int(self.high) + 1, log=self.log)
        return Float(self.low, self.high, log=self.log)

    def code(self, value: Any) -> Any:
        """What stands for ``value`` in the space."""
        return value if self.step is None else round((value - self.low) / self.step)

    def value(self, code: Any) -> Any:
        """The value that ``code`` stands for."""
        return code if self.step is None else min(self.low + code * self.step, self.high)

    def joined(self, other: Distribution) -> Distribution | None:
        """The least that has both; None: they are not of one kind.

        Example:
            >>> Distribution("int", 1, 4).joined(Distribution("int", 3, 9)), Distribution("int", 1, 4).joined(Distribution("float", 1, 4))
            (Distribution(kind='int', low=1, high=9, step=None, log=False, choices=()), None)
        """
        if (self.kind, self.step, self.log) != (other.kind, other.step, other.log):
            return None
        if self.kind == "categorical":
            return replace(self, choices=(*self.choices, *(choice for choice in other.choices if not self.contains(choice))))
        if self.step is not None:
            steps = (other.low - self.low) / self.step
            if not math.isclose(steps, round(steps), abs_tol=1e-9):
                return None
        return replace(self, low=min(self.low, other.low), high=max(self.high, other.high))


def dumped(found: dict[str, Distribution]) -> str:
    """Distributions by name, as a text that :func:`loaded` reads."""
    fields = {name: [one.kind, one.low, one.high, one.step, one.log, list(one.choices)] for name, one in found.items()}
    return json.dumps(fields, separators=(",", ":"))


def loaded(text: str) -> dict[str, Distribution]:
    """The inverse of :func:`dumped`."""
    found = json.loads(text)
    return {name: Distribution(kind, low, high, step, log, tuple(choices)) for name, (kind, low, high, step, log, choices) in found.items()}

"""Search spaces in words of their own, from which each searcher's own are made; and how a task's true parameters are hidden.

Only the standard library is needed here: peers in environments of their own read it, too.

A configuration is a flat dict, name -> value. Parameters of options that a fork does not take are not in it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Config", "Disguise", "Fork", "Labels", "Number", "Parameter", "Space", "draw", "dump", "every", "load"]

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """A number from ``low`` to ``high``, both included.

    Args:
        name: of the parameter.
        low, high: the bounds.
        whole: only integers.
        log: evenly spread is its logarithm.
    """

    name: str
    low: float
    high: float
    whole: bool = False
    log: bool = False

    def to_unit(self, value: float) -> float:
        """From [low, high] to [0, 1]."""
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, unit: float) -> float:
        """From [0, 1] to [low, high]; not rounded."""
        if self.log:
            value = math.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + unit * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def draw(self, rng: random.Random) -> float:
        if not self.whole:
            return self.from_unit(rng.random())
        if not self.log:
            return rng.randint(int(self.low), int(self.high))
        wide = Number(self.name, self.low - 0.5, self.high + 0.5, log=True)
        return min(max(round(wide.from_unit(rng.random())), int(self.low)), int(self.high))


@dataclass(frozen=True, slots=True)
class Labels:
    """One of some texts, in no order."""

    name: str
    labels: tuple[str, ...]

    def draw(self, rng: random.Random) -> str:
        return rng.choice(self.labels)


@dataclass(frozen=True, slots=True)
class Fork:
    """One of some texts, each with parameters that exist only if it is taken. All names in a space differ."""

    name: str
    options: tuple[tuple[str, tuple[Number | Labels, ...]], ...]

    def below(self, label: str) -> tuple[Number | Labels, ...]:
        return dict(self.options)[label]


Parameter = Number | Labels | Fork
Space = tuple[Parameter, ...]


def every(space: Space) -> Iterator[Number | Labels]:
    """All parameters without forks, those of all options included."""
    for parameter in space:
        if isinstance(parameter, Fork):
            for _, below in parameter.options:
                yield from below
        else:
            yield parameter


def draw(space: Space, rng: random.Random) -> Config:
    """A configuration at random, each parameter evenly spread."""
    config: Config = {}
    for parameter in space:
        if isinstance(parameter, Fork):
            label, below = rng.choice(parameter.options)
            config[parameter.name] = label
            config |= draw(below, rng)
        else:
            config[parameter.name] = parameter.draw(rng)
    return config


def dump(space: Space) -> list[dict[str, Any]]:
    """As JSON has it."""
    return [asdict(parameter) for parameter in space]


def load(dumped: list[dict[str, Any]]) -> Space:
    """What :func:`dump` was given."""
    found: list[Parameter] = []
    for each in dumped:
        if "options" in each:
            found.append(Fork(each["name"], tuple((label, load(below)) for label, below in each["options"])))  # type: ignore[misc]
        elif "labels" in each:
            found.append(Labels(each["name"], tuple(each["labels"])))
        else:
            found.append(Number(**each))
    return tuple(found)


class Disguise:
    """A space whose parameters have other names and another order, where numbers may run backwards and labels have changed places.

    So nothing is gained by a default that happens to suit a benchmark, as "try low values first", or the first label, or the alphabet.

    Args:
        true: the space of the task.
        key: what decides it all.

    Attributes:
        true: as given.
        space: what searchers see.
    """

    def __init__(self, true: Space, key: str) -> None:
        rng = random.Random(key)
        self.true = true
        self._names: dict[str, str] = {}
        self._labels: dict[str, dict[str, str]] = {}
        self._flipped: set[str] = set()
        self.space = self._hide(true, rng)
        self._by_name = {self._names[parameter.name]: parameter for parameter in (*every(true), *true)}

    def _hide(self, parameters: Space, rng: random.Random) -> Space:
        hidden: list[Parameter] = []
        for parameter in parameters:
            name = self._names[parameter.name] = self._fresh(rng)
            if isinstance(parameter, Number):
                if rng.random() < 0.5:
                    self._flipped.add(parameter.name)
                hidden.append(Number(name, parameter.low, parameter.high, parameter.whole, parameter.log))
                continue
            labels = parameter.labels if isinstance(parameter, Labels) else tuple(label for label, _ in parameter.options)
            shown = [f"v{number}" for number in range(len(labels))]
            rng.shuffle(shown)
            self._labels[parameter.name] = dict(zip(labels, shown, strict=True))
            if isinstance(parameter, Labels):
                hidden.append(Labels(name, tuple(sorted(shown))))
            else:
                options = [(self._labels[parameter.name][label], self._hide(below, rng)) for label, below in parameter.options]
                hidden.append(Fork(name, tuple(sorted(options, key=lambda option: option[0]))))  # type: ignore[arg-type]
        rng.shuffle(hidden)
        return tuple(hidden)

    def _fresh(self, rng: random.Random) -> str:
        while (name := f"{rng.choice('abcdefghijklmnopqrstuvwxyz')}{rng.randrange(1000):03}") in self._names.values():
            pass
        return name

    def back(self, config: Mapping[str, Any]) -> Config:
        """The task's own configuration that ``config`` stands for. Whole numbers on a logarithmic scale come out as real ones."""
        found: Config = {}
        for name, value in config.items():
            parameter = self._by_name[name]
            if isinstance(parameter, Number):
                found[parameter.name] = self._flip(parameter, value) if parameter.name in self._flipped else value
            else:
                found[parameter.name] = next(label for label, shown in self._labels[parameter.name].items() if shown == value)
        return found

    def forth(self, true: Mapping[str, Any]) -> Config:
        """What stands for ``true``: the inverse of :meth:`back`."""
        found: Config = {}
        for parameter in (*every(self.true), *(fork for fork in self.true if isinstance(fork, Fork))):
            if parameter.name not in true:
                continue
            value, name = true[parameter.name], self._names[parameter.name]
            if isinstance(parameter, Number):
                value = self._flip(parameter, value) if parameter.name in self._flipped else value
                found[name] = round(value) if parameter.whole else value
            else:
                found[name] = self._labels[parameter.name][value]
        return found

    def _flip(self, parameter: Number, value: float) -> float:
        if parameter.log:
            return min(max(parameter.low * parameter.high / value, parameter.low), parameter.high)
        return parameter.low + parameter.high - value

"""The trial that an objective is given: where its parameters come from, in the process that runs it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.core.events import DEFAULT_METRIC
from tunesmith.core.rng import stream
from tunesmith.defining.distributions import Distribution, dumped
from tunesmith.errors import SpecError
from tunesmith.trainable.session import get_context, report

__all__ = ["DEFINED", "PARAMS", "DefinedTrial", "Objective"]

PARAMS = "params"
"""Results have the parameters under this name."""
DEFINED = "define_by_run"
"""The result in which parameters are new has here what they were asked for."""


class DefinedTrial:
    """One trial, as its objective sees it.

    A parameter has the value that the search proposes, where it knows the parameter and the value is one of those asked for here; else
    it is drawn at random: by the trial's seed and its name alone, so that a retried or resumed trial has the same.

    Args:
        config: what was proposed, and the constants of the run's config: one that has a parameter's name decides it.
        seed: the trial's.
        metric: what bare numbers are called, a list where objectives give several; None: nobody knows, and they are refused.

    Attributes:
        config: the same.
        params: what was asked for so far: name -> value.

    Example:
        >>> trial = DefinedTrial({"lr": 0.25}, seed=1)
        >>> trial.suggest_float("lr", 0, 1), trial.suggest_int("layers", 3, 3)
        (0.25, 3)
        >>> trial.params
        {'lr': 0.25, 'layers': 3}
    """

    def __init__(self, config: Mapping[str, Any], seed: int, metric: str | Sequence[str] | None = DEFAULT_METRIC) -> None:
        self.config = dict(config)
        self._metrics = [metric] if isinstance(metric, str) else list(metric or ())
        self._seed = seed
        self.params: dict[str, Any] = {}
        self._asked: dict[str, Distribution] = {}
        self._new: dict[str, Distribution] = {}  # since the last report
        self._last: dict[str, Any] | None = None

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> float:
        """A real number from ``low`` to ``high``, both included.

        Args:
            name: of the parameter; the same everywhere.
            low, high: bounds, ``low <= high``.
            step: only ``low``, ``low + step``, ... ; None: every number.
            log: the logarithm is evenly spread; ``low > 0``, and no step.

        Raises:
            SpecError: an argument makes no sense, or this trial has asked for something else under that name.
        """
        return float(self._suggest(name, Distribution.number(name, "float", low, high, step, log)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number from ``low`` to ``high``, both included. Arguments and errors as of :meth:`suggest_float`."""
        return int(self._suggest(name, Distribution.number(name, "int", low, high, step, log)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of ``choices``: None, booleans, numbers, texts.

        Raises:
            SpecError: there are none, or others; or this trial has asked for something else under that name.
        """
        return self._suggest(name, Distribution.one_of(name, choices))

    def _suggest(self, name: str, asked: Distribution) -> Any:
        if not isinstance(name, str) or not name:
            raise SpecError(f"a parameter needs a name, got {name!r}.")
        if (before := self._asked.get(name)) is not None:
            if before != asked:
                raise SpecError(f"the parameter {name!r} is asked for twice in one trial, as {before} and as {asked}.")
            return self.params[name]
        proposed = _entry(self.config, name)
        value = proposed if asked.contains(proposed) else asked.draw(stream(self._seed, f"define {name}"))
        self._asked[name] = self._new[name] = asked
        self.params[name] = value
        return value

    def report(self, value: Any, step: int | None = None, *, checkpoint: Any = None) -> None:
        """Report an intermediate value; a scheduler may end the trial here, or hold it.

        Args:
            value: a number (of several metrics: as many), or a dict of metrics.
            step: recorded as "step"; results count themselves anyway ("training_iteration").
            checkpoint: as for :func:`tunesmith.report`; after a pause or a retry ``tunesmith.get_checkpoint()`` has it.

        Raises:
            TrialStopped: the trial was told to stop. Not an ``Exception``: let it pass.
            SpecError: not as many values as there are metrics.
        """
        metrics = self._named(value)
        report(self._with_params(metrics if step is None else {**metrics, "step": step}), checkpoint=checkpoint)

    def should_prune(self) -> bool:
        """Always false: a scheduler that stops the trial does so in :meth:`report`. For objectives that ask."""
        return False

    def last(self, value: Any) -> dict[str, Any] | None:
        """What is left to report when the objective has returned ``value``."""
        if value is None:
            return self._with_params({}) if self._new else None
        metrics = self._named(value)
        return self._with_params(metrics) if metrics != self._last or self._new else None

    def _named(self, value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping):
            return dict(value)
        if not self._metrics:
            raise SpecError(
                f"the objective gave {value!r}, and nothing says here what that is: return a dict, such as {{'loss': {value!r}}}, or go on "
                "with tune.run(tune.define_by_run(objective), resume=True, ...)."
            )
        values = list(value) if isinstance(value, list | tuple) else [value]
        if len(values) != len(self._metrics):
            raise SpecError(f"the objective gave {value!r}; expected a number for each of {', '.join(self._metrics)}, or a dict.")
        return dict(zip(self._metrics, values))

    def _with_params(self, metrics: dict[str, Any]) -> dict[str, Any]:
        self._last = metrics
        new, self._new = self._new, {}
        return {**metrics, PARAMS: dict(self.params), **({DEFINED: dumped(new)} if new else {})}


class Objective:
    """The trainable around an objective.

    Args:
        function: the user's, called with a :class:`DefinedTrial`.
        metric: of the run. It is kept here and not in the config, which is the user's; None: the run is not known yet.
    """

    def __init__(self, function: Callable[[DefinedTrial], Any], metric: str | Sequence[str] | None = None) -> None:
        self.function = function
        self.metric = metric
        self.__name__ = getattr(function, "__name__", None) or type(function).__name__
        functools.update_wrapper(self, function, assigned=("__doc__",), updated=())

    def __call__(self, config: dict[str, Any]) -> dict[str, Any] | None:
        trial = DefinedTrial(config, get_context().seed or 0, self.metric)
        return trial.last(self.function(trial))


def _entry(config: Any, name: str) -> Any:
    """What the config has under a flat name; None: nothing."""
    if isinstance(config, Mapping) and name in config:
        return config[name]
    head, slash, rest = name.partition("/")
    return _entry(config[head], rest) if slash and isinstance(config, Mapping) and head in config else None

"""What a stopper is, and the ones that are built of others or of functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.stopper._values import code_digest

__all__ = ["CombinedStopper", "FunctionStopper", "NoopStopper", "Stopper"]


class Stopper:
    """Base of all stoppers; subclass it and define ``__call__``, and ``stop_all`` if the whole experiment may end.

    Example:
        >>> class Diverged(Stopper):
        ...     def __call__(self, trial_id, result):
        ...         return result["loss"] > 1e6
        >>> Diverged().verdict("3f2ab_00000", {"loss": 1e9})
        'stopped by Diverged'
    """

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether this trial ends with this report. Called once per report.

        Args:
            trial_id: as in file names, e.g. ``"3f2ab_00004"``.
            result: the report: metrics, ``training_iteration``, ``time_total_s``, ``trial_id``, ``done``, ``config``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define __call__(self, trial_id, result)")

    def stop_all(self) -> bool:
        """Whether the experiment ends now. Asked after each report, and when :meth:`remaining` is over."""
        return False

    def verdict(self, trial_id: str, result: Mapping[str, Any]) -> str | None:
        """:meth:`__call__` with a reason: the text that the journal and the console show, or None to go on."""
        return self.reason() if self(trial_id, result) else None

    def reason(self) -> str:
        """What to say when :meth:`stop_all` is true, or a trial was stopped."""
        return f"stopped by {type(self).__name__}"

    def remaining(self) -> float | None:
        """Seconds until ``stop_all`` turns true without any report; None: only reports can make it so."""
        return None

    def compares(self) -> Iterable[str]:
        """Entries of the result that it is known to compare; ``deterministic=True`` refuses those that depend on the clock."""
        return ()

    def forget(self, trial_id: str) -> None:
        """The trial is over for good: drop what is kept of it."""

    def describe(self) -> Any:
        """What it stops at, as JSON. Recorded; where a resume brings another one, trials that it no longer ends go on.

        This one tells the class only: a class of your own with a bound that may be raised says so here. Asked before the run, so it
        tells what was given, and not what has been seen since.

        Example:
            >>> class Slow(Stopper):
            ...     def __init__(self, most):
            ...         self.most = most
            ...     def describe(self):
            ...         return {"stopper": "Slow", "most": self.most}
        """
        return {"stopper": type(self).__name__}


class NoopStopper(Stopper):
    """Never stops anything.

    Example:
        >>> NoopStopper()("a", {"loss": 0})
        False
    """

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return False


class FunctionStopper(Stopper):
    """Stops a trial when ``function(trial_id, result)`` is true. If it has a ``stop_all`` of its own, that is asked too.

    Raises:
        SpecError: ``function`` is not callable or does not take two positional arguments.

    Example:
        >>> FunctionStopper(lambda trial_id, result: result["loss"] <= 0.1)("t", {"loss": 0.05})
        True
    """

    def __init__(self, function: Callable[[str, Any], Any]) -> None:
        if isinstance(function, type):
            raise SpecError(f"stop: got the class {function.__name__}; pass an instance of it, as in stop={function.__name__}(...).")
        if not callable(function):
            raise SpecError(f"stop: expected a function of (trial_id, result), got {function!r}.")
        _check_signature(function)
        self.function = function
        self._stop_all: Callable[[], Any] | None = getattr(function, "stop_all", None)

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return bool(self.function(trial_id, result))

    def stop_all(self) -> bool:
        return self._stop_all is not None and bool(self._stop_all())

    def reason(self) -> str:
        return "stopped by the stop function" if self._name == "<lambda>" else f"stopped by {self._name}"

    @property
    def _name(self) -> str:
        name: str = getattr(self.function, "__qualname__", type(self.function).__name__)
        return name.rpartition("<locals>.")[2]

    def describe(self) -> Any:
        """Its name, and a digest of its code and of the numbers and strings that it works with, to notice that it has changed."""
        return {"function": self._name, "code": code_digest(self.function)}


class CombinedStopper(Stopper):
    """Stops as soon as one of ``stoppers`` does. All of them see every report, so that each one's counts stay right.

    Args:
        stoppers: any number of them.

    Example:
        >>> from tunesmith.stopper import MaximumIterationStopper
        >>> CombinedStopper(NoopStopper(), MaximumIterationStopper(1))("a", {"loss": 0})
        True
    """

    def __init__(self, *stoppers: Stopper) -> None:
        self.stoppers = stoppers

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return self.verdict(trial_id, result) is not None

    def verdict(self, trial_id: str, result: Mapping[str, Any]) -> str | None:
        verdicts = [stopper.verdict(trial_id, result) for stopper in self.stoppers]
        return next((verdict for verdict in verdicts if verdict is not None), None)

    def stop_all(self) -> bool:
        return any(stopper.stop_all() for stopper in self.stoppers)

    def reason(self) -> str:
        return next((stopper.reason() for stopper in self.stoppers if stopper.stop_all()), super().reason())

    def remaining(self) -> float | None:
        return min((left for stopper in self.stoppers if (left := stopper.remaining()) is not None), default=None)

    def compares(self) -> Iterable[str]:
        return [key for stopper in self.stoppers for key in stopper.compares()]

    def forget(self, trial_id: str) -> None:
        for stopper in self.stoppers:
            stopper.forget(trial_id)

    def describe(self) -> Any:
        return [stopper.describe() for stopper in self.stoppers]


def _check_signature(function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some builtins have none; they will be called
    try:
        signature.bind("trial_id", {})
    except TypeError:
        name = getattr(function, "__name__", type(function).__name__)
        raise SpecError(f"stop: {name}{signature} must take two positional arguments, (trial_id, result).") from None

"""Run a function trainable: all the forms in which people write them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any

from tunesmith.errors import SpecError, TrialStopped, UserCodeError
from tunesmith.trainable import session as session_module
from tunesmith.trainable.metrics import as_metrics
from tunesmith.trainable.worker import Session

__all__ = ["PLAIN", "Reporter", "call_form", "run_function"]

PLAIN = "config"
"""``f(config)``; the other two forms are named after the extra parameter."""

_EXTRA = ("reporter", "checkpoint_dir")


class Reporter:
    """The second argument of ``f(config, reporter)``: call it to report, ``reporter(mean_accuracy=0.9)``."""

    def __init__(self, session: Session) -> None:
        self._assignment = session.assignment

    def __call__(self, metrics: Any = None, **named: Any) -> None:
        session_module.report(metrics, **named)

    @property
    def logdir(self) -> str:
        """The trial's directory; it is made if need be."""
        return session_module.TuneContext(self._assignment).get_trial_dir() or ""

    @property
    def trial_id(self) -> str:
        """Id of the trial."""
        return self._assignment.trial_id

    @property
    def trial_name(self) -> str:
        """Name of the trial."""
        return self._assignment.trial_name

    @property
    def trial_resources(self) -> dict[str, float]:
        """What the trial holds."""
        return dict(self._assignment.resources)


def call_form(function: Callable[..., Any], parameters: dict[str, Any], name: str) -> tuple[str, ...]:
    """Names of the legacy arguments (``reporter``, ``checkpoint_dir``) that ``function`` takes beside its configuration.

    Args:
        function: the user's.
        parameters: what ``with_parameters`` binds by keyword.
        name: of the trainable, for messages.

    Raises:
        SpecError: it can't be called with one configuration; names the parameter that is in the way and what to write.
    """
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise SpecError(f"{name}() is async, and a trainable is called as {name}(config). Wrap it: lambda c: asyncio.run({name}(c)).")
    try:
        left = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a built-in that has no signature
        return ()
    takes_any = any(one.kind is one.VAR_KEYWORD for one in left.values())
    unknown = [key for key in parameters if key not in left and not takes_any]
    if unknown:
        raise SpecError(f"with_parameters({name}, {unknown[0]}=...): {name}() has no parameter {unknown[0]!r}; it takes {_listed(left)}.")
    for key in parameters:
        left.pop(key, None)
    if not _takes_config(list(left.values())):
        raise SpecError(
            f"{name}() takes {_listed(left)}, and a trainable is called with one positional argument, the trial's configuration: "
            f"def {name}(config): ..."
        )
    extra = list(left.values())
    extra = extra[1:] if extra[0].kind is not inspect.Parameter.VAR_POSITIONAL else extra
    form = tuple(one.name for one in extra if one.name in _EXTRA)
    for one in extra:
        required = one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        if required and (one.name not in _EXTRA or one.kind is one.POSITIONAL_ONLY):
            raise SpecError(
                f"{name}() needs a parameter {one.name!r} beside its configuration, and nothing says what to pass. Bind it: "
                f"tune.with_parameters({name}, {one.name}={one.name})."
            )
    return form


def _takes_config(parameters: list[inspect.Parameter]) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return bool(parameters) and parameters[0].kind in kinds


def _listed(parameters: dict[str, inspect.Parameter]) -> str:
    return str(inspect.Signature(list(parameters.values()))) if parameters else "no argument"


def run_function(function: Callable[..., Any], form: tuple[str, ...], parameters: dict[str, Any], session: Session) -> None:
    """Call it; report what it returns or yields.

    Raises:
        TrialStopped: it was told to stop.
        BaseException: whatever it raises.
    """
    arguments = parameters
    if form:
        arguments = dict(parameters)
        if "reporter" in form:
            arguments["reporter"] = Reporter(session)
        if "checkpoint_dir" in form:
            session.checkpoint_read = True
            arguments["checkpoint_dir"] = session.checkpoint.path if session.checkpoint is not None else None
    result = function(session.assignment.config, **arguments)
    if isinstance(result, Generator):
        result = _drain(result, function, session)
    if result is not None:
        _report(result, "returned", function, session, session.conclude)


def _drain(generator: Generator[Any, Any, Any], function: Callable[..., Any], session: Session) -> Any:
    """Report each value it yields; its return value. Told to stop, it is closed, so that its ``finally`` blocks run."""
    while True:
        try:
            value = next(generator)
        except StopIteration as end:
            return end.value
        try:
            if value is not None:
                _report(value, "yielded", function, session, session.report)
        except TrialStopped:
            generator.close()
            raise


def _report(value: Any, verb: str, function: Callable[..., Any], session: Session, report: Callable[[Any], None]) -> None:
    metrics = as_metrics(value)
    if metrics is None:
        name = getattr(function, "__name__", type(function).__name__)
        raise UserCodeError(
            f"{name}() {verb} a {type(value).__name__} in trial {session.assignment.trial_id}; expected a dict of metrics, a number, "
            f"or nothing."
        )
    report(metrics)

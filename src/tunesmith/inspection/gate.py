"""Where fronts ask for a preflight: by itself, or before a run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tunesmith import checks
from tunesmith.create import create_executor
from tunesmith.errors import SpecError
from tunesmith.inspection.findings import Preflight
from tunesmith.inspection.flow import inspect

if TYPE_CHECKING:
    from tunesmith.build import Checked

__all__ = ["TIMEOUT_S", "admit", "examine", "refuse_instance"]

TIMEOUT_S = 600.0
"""Seconds that a preflight may take, unless it is said otherwise."""

_log = logging.getLogger("tunesmith")


def refuse_instance(executor: Any) -> None:
    """A preflight needs an executor of its own.

    Raises:
        SpecError: ``executor`` is neither a name nor None.
    """
    if executor is not None and not isinstance(executor, str):
        raise SpecError(
            f"a preflight runs on an executor of its own, and {type(executor).__name__} is one that is made already: give a name, such as "
            "executor='local'."
        )


def examine(checked: Checked, timeout_s: Any = TIMEOUT_S) -> Preflight:
    """The preflight of an experiment.

    Args:
        checked: the experiment. It is left as it is, and can be run afterwards.
        timeout_s: seconds, or None.

    Raises:
        SpecError: it would be resumed; or ``timeout_s`` is no number of seconds.
        TuneError: the preflight itself was not possible.
    """
    seconds = checks.seconds("timeout_s", timeout_s)
    if checked.resumes:
        raise SpecError(f"a preflight is for new experiments, and {checked.spec.name!r} would be resumed: leave resume out.")
    assert checked.spec.executor is not None, "the front chooses the executor"
    return inspect(checked.spec, checked.root, create_executor(checked.spec.executor.capabilities.name), seconds)


def admit(checked: Checked) -> None:
    """``run(preflight=True)``: let an experiment pass that has no problem; warnings are logged.

    Raises:
        SpecError: there are problems; the message has all of them.
    """
    if checked.resumes:
        _log.warning("preflight=True is for new experiments; %r is resumed without one.", checked.spec.name)
        return
    found = examine(checked)
    found.raise_if_bad()
    for warning in found.warnings:
        _log.warning("preflight: %s.", warning.rstrip("."))
    _log.info("preflight: %s.", found.forecast())

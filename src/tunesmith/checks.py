"""Checks of single arguments: each returns the value in its one form, or raises ``SpecError`` with the argument's name."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal

from tunesmith.errors import SpecError
from tunesmith.hints import did_you_mean
from tunesmith.spec import ResumePlan

__all__ = [
    "copied", "flag", "function", "instance", "log_files", "num_samples", "reporter", "resume", "seconds", "several", "size", "verbose",
    "whole",
]  # fmt: skip


def flag(what: str, given: Any) -> bool:
    """True or False."""
    if given not in (True, False):
        raise SpecError(f"{what} must be True or False, got {given!r}.")
    return bool(given)


def whole(what: str, given: Any, least: int | None = None) -> int | None:
    """A whole number (numpy's are fine), or None."""
    if given is None:
        return None
    if isinstance(given, bool) or not hasattr(given, "__index__") or (least is not None and given < least):
        at_least = "" if least is None else f" >= {least}"
        raise SpecError(f"{what} must be a whole number{at_least} or None, got {given!r}.")
    return int(given)


def num_samples(given: Any) -> int | None:
    """At least 1; None for -1, which means until a limit."""
    if isinstance(given, bool) or not hasattr(given, "__index__") or (given < 1 and given != -1):
        raise SpecError(f"num_samples must be a whole number >= 1, or -1 to go on until a limit, got {given!r}.")
    return None if given == -1 else int(given)


def verbose(given: Any) -> int:
    """At least 0; None is 1."""
    if given is None:
        return 1
    if not hasattr(given, "__index__") or given < 0:
        raise SpecError(f"verbose must be a whole number >= 0 (0 is silent), got {given!r}.")
    return int(given)


def seconds(what: str, given: Any) -> float | None:
    """A positive, finite number of seconds from a number or a ``timedelta``; or None."""
    if given is None:
        return None
    number = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(number, bool | str) or not hasattr(number, "__float__") or not 0 < float(number) < math.inf:
        raise SpecError(f"{what} must be a number of seconds > 0, a timedelta, or None, got {given!r}.")
    return float(number)


_UNITS = {"": 1, "B": 1} | {
    f"{prefix}{binary}B": (1024 if binary else 1000) ** power for power, prefix in enumerate("KMGT", 1) for binary in ("", "i")
}


def size(what: str, given: Any, least: int = 0) -> int | None:
    """A number of bytes from a whole number or a text such as "4GB", "512 MiB"; or None.

    Example:
        >>> size("max_ram", "1.5 GB"), size("max_ram", "2MiB"), size("max_ram", 4096)
        (1500000000, 2097152, 4096)
    """
    if given is None:
        return None
    number = given
    if isinstance(given, str) and (found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?i?B?)\s*", given)):
        unit = found[2].replace("k", "K")
        number = int(float(found[1]) * _UNITS.get(unit if unit.endswith("B") or not unit else f"{unit}B", 0)) or None
    if isinstance(number, bool | str) or not hasattr(number, "__index__") or number < least:
        raise SpecError(f"{what} must be a number of bytes >= {least}, a text such as '4GB' or '512MiB', or None, got {given!r}.")
    return int(number)


def function(what: str, given: Any) -> Callable[[Any], str] | None:
    """A function of the trial, or None."""
    if given is not None and not callable(given):
        raise SpecError(f"{what} must be a function of the trial that returns a string, got {given!r}.")
    return given  # type: ignore[no-any-return]


def several(what: str, given: Any) -> tuple[Any, ...]:
    """A list or tuple; empty for None."""
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        raise SpecError(f"{what} must be a list, got {type(given).__name__} {given!r}.")
    return tuple(given)


_OUR_FILES = frozenset({"progress.csv", "result.json", "params.json", "params.pkl", "error.txt"})


def log_files(given: Any) -> tuple[str, str] | tuple[()] | None:
    """Names of the files for stdout and stderr; none if they are to go to the console; None: as the executor usually does."""
    if given is None:
        return None
    if given is False:
        return ()
    if given is True:
        return "stdout.log", "stderr.log"
    names = (given, given) if isinstance(given, str) else given
    if isinstance(names, list | tuple) and len(names) == 2 and all(isinstance(item, str) and item for item in names):
        for name in names:
            if name in _OUR_FILES:
                raise SpecError(f"log_to_file={given!r}: {name} is a file of results in the trial's directory; choose another name.")
        return names[0], names[1]
    raise SpecError(f"log_to_file must be True, False, a file name, or a pair (stdout file, stderr file), got {given!r}.")


def copied(what: str, thing: Any) -> Any:
    """A copy of what a run takes as its own, so that others may be given the same, as new.

    Raises:
        SpecError: it can't be copied.
    """
    try:
        return copy.deepcopy(thing)
    except Exception as error:
        raise SpecError(
            f"{what}: {type(thing).__name__} can't be copied ({type(error).__name__}: {error}), and each run takes one of its own, as new. "
            "Leave what can't be out of it, or give it a __deepcopy__."
        ) from error


def instance(what: str, given: Any, methods: Sequence[str]) -> Any:
    """An object that has ``methods``; a class is a common slip and is told apart."""
    if isinstance(given, type):
        raise SpecError(f"{what}: got the class {given.__name__}; pass an instance of it, as in {what}={given.__name__}(...).")
    missing = [method for method in methods if not callable(getattr(given, method, None))]
    if missing:
        raise SpecError(f"{what}: {type(given).__name__} {given!r} has no method {missing[0]}(); give a name, or an object that has one.")
    return given


def reporter(given: Any) -> Any:
    """An object with the methods of a ``ProgressReporter``, or None."""
    if given is None:
        return None
    if isinstance(given, type):
        raise SpecError(f"progress_reporter: got the class {given.__name__}; pass an instance of it, as in {given.__name__}().")
    for method in ("should_report", "report"):
        if not callable(getattr(given, method, None)):
            raise SpecError(
                f"progress_reporter must be a CLIReporter, a JupyterNotebookReporter or a ProgressReporter of your own; "
                f"{type(given).__name__} {given!r} has no method {method}()."
            )
    return given


_RESUMABLE = (
    "True or 'LOCAL', 'AUTO' (begin it if it is not there), 'REMOTE' (take what is in remote storage), and these with '+ERRORED', "
    "'+RESTART_ERRORED', '+ERRORED_ONLY' or '+RESTART_ERRORED_ONLY'"
)
_REFUSED = {
    "PROMPT": "asks a person at a terminal, and a run must not wait for one; say what you want",
}


def resume(given: Any, name: str | None, stored: bool = False) -> ResumePlan | None:
    """What a run takes up of the experiment of its name; None: nothing, it is a new one.

    Args:
        given: False or None; True or "LOCAL": it must be there; "AUTO"; "REMOTE"; each with suffixes, in capitals or not; "ERRORED_ONLY".
        name: of the experiment; needed.
        stored: it is in remote storage.

    Raises:
        SpecError: it is none of these, or there is no name.

    Example:
        >>> resume("auto+errored", "x")
        ResumePlan(must_exist=False, unfinished=True, errored='resume', remote=False)
    """
    if given is None or given is False:
        return None
    first, *suffixes = given.upper().split("+") if isinstance(given, str) else ["LOCAL"] if given is True else [""]
    if first == "ERRORED_ONLY" and not suffixes:  # as old releases took it
        first, suffixes = "LOCAL", ["RESTART_ERRORED_ONLY"]
    if first in _REFUSED:
        raise SpecError(f"resume={given!r} {_REFUSED[first]}: resume can be {_RESUMABLE}.")
    how = suffixes[0] if suffixes else ""
    if first not in ("LOCAL", "AUTO", "REMOTE") or len(suffixes) > 1 or how not in _ERRORED:
        raise SpecError(f"resume={given!r} is not known.{did_you_mean(str(given), _FORMS)} It can be {_RESUMABLE}.")
    if name is None:
        raise SpecError(f"resume={given!r} needs name=..., the experiment to go on with.")
    if first == "REMOTE" and not stored:
        raise SpecError(f"resume={given!r} needs a storage_path that is a URL; give one, or say resume=True.")
    return ResumePlan(first != "AUTO", not how.endswith("_ONLY"), _ERRORED[how], first == "REMOTE")


_ERRORED: dict[str, Literal["skip", "resume", "restart"]] = {
    "": "skip", "ERRORED": "resume", "ERRORED_ONLY": "resume", "RESTART_ERRORED": "restart", "RESTART_ERRORED_ONLY": "restart",
}  # fmt: skip
_FORMS = [f"{first}{'+' if how else ''}{how}" for first in ("LOCAL", "AUTO", "REMOTE") for how in _ERRORED] + ["ERRORED_ONLY"]

"""Checks of single arguments: each returns the value in its one form, or raises ``SpecError`` with the argument's name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from tunesmith.errors import SpecError

__all__ = [
    "flag", "function", "instance", "log_files", "num_samples", "reporter", "resume", "seconds", "several", "size", "verbose", "whole",
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


def resume(given: Any, name: str | None) -> bool | str:
    """False, True or "AUTO"."""
    wanted = given.upper() if isinstance(given, str) else given
    if wanted is None or wanted is False:
        return False
    if wanted not in (True, "LOCAL", "AUTO"):
        raise SpecError(f"resume={given!r} is not supported yet; use True (the experiment must be there) or 'AUTO' (begin if it is not).")
    if name is None:
        raise SpecError(f"resume={given!r} needs name=..., the experiment to go on with.")
    return "AUTO" if wanted == "AUTO" else True

"""What a raised exception means for a trial, and where in the user's own code it came from."""

from __future__ import annotations

import functools
import os
import site
import sysconfig
import traceback
from types import TracebackType

from tunesmith import errors

__all__ = ["describe", "describe_exception", "is_library", "is_ours", "outcome_of", "user_frame"]

_OWN = os.path.dirname(os.path.abspath(errors.__file__)) + os.sep
_KITS = os.path.join(_OWN, "testing") + os.sep


def outcome_of(error: BaseException) -> str:
    """The class of the failure: ``infeasible``, ``oom_ram``, ``oom_gpu`` or ``user_error``."""
    if isinstance(error, errors.Infeasible):
        return "infeasible"
    if isinstance(error, MemoryError):
        return "oom_ram"
    names = {(one.__module__.partition(".")[0], one.__name__) for one in type(error).__mro__}
    text = str(error) if isinstance(error, RuntimeError) else ""
    if names & {("torch", "OutOfMemoryError"), ("cupy", "OutOfMemoryError"), ("tensorflow", "ResourceExhaustedError")}:
        return "oom_gpu"
    if "CUDA out of memory" in text or "RESOURCE_EXHAUSTED: Out of memory" in text:
        return "oom_gpu"
    if "DefaultCPUAllocator: can't allocate memory" in text:
        return "oom_ram"
    return "user_error"


def describe(error: BaseException, fallback: str = "") -> dict[str, str]:
    """``{"type", "message", "where", "traceback"}`` of an exception that the user's code raised.

    ``where`` is "file:line" of the innermost frame of the user's own code, ``fallback`` if there is none; in ``traceback``
    our own frames are left out.
    """
    return {
        "type": type(error).__name__,
        "message": _message(error),
        "where": user_frame(error) or fallback,
        "traceback": _text(error),
    }


def describe_exception(error: BaseException) -> str:
    """One line: ``KeyError: 'lr' at train.py:42``.

    Example:
        >>> describe_exception(ValueError("too large"))
        'ValueError: too large'
    """
    lines = _message(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    where = user_frame(error)
    return f"{text} at {os.path.basename(where)}" if where else text


def user_frame(error: BaseException) -> str:
    """``file:line`` of the innermost frame that is the user's own; of the innermost that is not ours if there is none; else ""."""
    users, any_ = "", ""
    trace: TracebackType | None = error.__traceback__
    for frame, line in traceback.walk_tb(trace):
        file = frame.f_code.co_filename
        if is_ours(file):
            continue
        any_ = f"{file}:{line}"
        if not is_library(file):
            users = any_
    return users or any_


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the trial's code called sys.exit({error.code!r}); return from the function to end a trial"
    if isinstance(error, KeyError) and len(error.args) == 1:
        return repr(error.args[0])
    try:
        return str(error)
    except Exception as failed:
        return f"(its text could not be made: {type(failed).__name__})"


def _text(error: BaseException) -> str:
    summary: traceback.TracebackException | None = traceback.TracebackException.from_exception(error)
    assert summary is not None
    todo, seen = [summary], set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.stack[:] = [frame for frame in one.stack if not is_ours(frame.filename)]
        todo += [other for other in (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())) if other is not None]
    return "".join(summary.format())


@functools.cache
def is_ours(file: str) -> bool:
    """Whether a source file is this framework's."""
    return file.startswith(_OWN) and not file.startswith(_KITS)


@functools.cache
def is_library(file: str) -> bool:
    """Whether a source file belongs to an installed package or to Python, not to the user's own code."""
    return f"{os.sep}site-packages{os.sep}" in file or file.startswith(("<frozen ", *_library_folders()))


@functools.cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"], *site.getsitepackages()}
    return tuple(folder + os.sep for folder in folders)

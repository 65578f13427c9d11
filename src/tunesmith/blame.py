"""What a raised exception means for a trial, and where in the user's own code it came from."""

from __future__ import annotations

import errno
import functools
import os
import site
import sysconfig
import traceback
from collections.abc import Iterator
from types import TracebackType

from tunesmith import errors

__all__ = ["describe", "describe_exception", "is_library", "is_ours", "outcome_of", "user_frame"]

_OWN = os.path.dirname(os.path.abspath(errors.__file__)) + os.sep
_KITS = os.path.join(_OWN, "testing") + os.sep


_OOM_TYPES = {
    ("torch", "OutOfMemoryError"): "oom_gpu",
    ("cupy", "OutOfMemoryError"): "oom_gpu",
    ("pycuda", "MemoryError"): "oom_gpu",
    ("tensorflow", "ResourceExhaustedError"): "oom_gpu",
}
"""(package, class) -> what it means."""

_OOM_TEXTS = {
    "cuda out of memory": "oom_gpu",
    "cuda error: out of memory": "oom_gpu",
    "cuda_error_out_of_memory": "oom_gpu",
    "cudaerrormemoryallocation": "oom_gpu",
    "cublas_status_alloc_failed": "oom_gpu",
    "cudnn_status_alloc_failed": "oom_gpu",
    "cusolver_status_alloc_failed": "oom_gpu",
    "cusparse_status_alloc_failed": "oom_gpu",
    "hip out of memory": "oom_gpu",
    "hip error: out of memory": "oom_gpu",
    "mps backend out of memory": "oom_gpu",
    "xpu out of memory": "oom_gpu",
    "resource_exhausted: out of memory": "oom_gpu",
    "defaultcpuallocator: can't allocate memory": "oom_ram",
    "defaultcpuallocator: not enough memory": "oom_ram",
    "std::bad_alloc": "oom_ram",
}
"""What errors say that have no class of their own; in lower case."""

_FULL = {
    errno.ENOSPC: "that disk is full: free some space on it",
    errno.EDQUOT: "your quota on that disk is used up: free some space on it",
}


def outcome_of(error: BaseException) -> str:
    """The class of the failure: ``infeasible``, ``oom_ram``, ``oom_gpu`` or ``user_error``.

    Memory that ran out is found behind ``raise ... from`` and in exception groups too. What an exception was raised beside
    (``__context__``) has no say: it may have been handled.

    Example:
        >>> outcome_of(RuntimeError("CUDA error: out of memory")), outcome_of(OSError(12, "Cannot allocate memory"))
        ('oom_gpu', 'oom_ram')
    """
    if isinstance(error, errors.Infeasible):
        return "infeasible"
    return next((found for one in _behind(error) if (found := _oom(one))), "user_error")


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The exception, those in it and those that it was raised from, outermost first, each once."""
    todo, seen = [error], {id(error)}
    for one in todo:  # grows meanwhile
        yield one
        for other in (one.__cause__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                todo.append(other)


def _oom(error: BaseException) -> str:
    """``oom_ram`` or ``oom_gpu`` if this very exception says so, else ""."""
    for cls in type(error).__mro__:
        if found := _OOM_TYPES.get((cls.__module__.partition(".")[0], cls.__name__)):
            return found
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "oom_ram"
    if type(error).__module__ == "builtins" and not isinstance(error, RuntimeError):
        return ""  # a ValueError may speak of anything
    text = _said(error).lower()
    return next((outcome for part, outcome in _OOM_TEXTS.items() if part in text), "")


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
    """What it says; where a full disk is behind it, the first line says so."""
    text = _said(error)
    full = _full_disk(error)
    if not full:
        return text
    first, newline, rest = text.partition("\n")
    return f"{first} ({full}){newline}{rest}"


def _full_disk(error: BaseException) -> str:
    if isinstance(error, errors.StorageFull):  # says so itself
        return ""
    return next((hint for one in _behind(error) if isinstance(one, OSError) and (hint := _FULL.get(one.errno or 0))), "")


def _said(error: BaseException) -> str:
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

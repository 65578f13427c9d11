"""Whose fault, and where: the user's own frame of an exception, in one line."""

from __future__ import annotations

import os
import traceback

__all__ = ["describe_exception", "user_frame"]

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


def user_frame(error: BaseException) -> str:
    """``file:line`` of the innermost frame that is neither ours nor a library's; of the innermost at all if there is none.

    Example:
        >>> try:
        ...     {}["lr"]
        ... except KeyError as error:
        ...     user_frame(error).rpartition(":")[2]
        '2'
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    foreign = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    own = [frame for frame in foreign if "site-packages" not in frame.filename and f"{os.sep}lib{os.sep}python" not in frame.filename]
    frame = (own or foreign or frames)[-1]
    return f"{os.path.basename(frame.filename)}:{frame.lineno}"


def describe_exception(error: BaseException) -> str:
    """``KeyError: 'lr' at train.py:42``."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    where = user_frame(error)
    return f"{text} at {where}" if where else text

"""What the console can do, found out without loading what would draw on it."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["in_foreground", "in_notebook", "terminal"]


def terminal(stream: Any) -> bool:
    """Whether pictures can be drawn on ``stream``: a terminal in use by nobody else, that understands how to move the cursor."""
    if os.name == "nt" or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return False
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return False  # some builders pretend to be terminals; their logs keep every line
    try:
        return stream.isatty() and "write" not in vars(stream) and in_foreground(stream)
    except (AttributeError, OSError, TypeError, ValueError):
        return False


def in_foreground(stream: Any) -> bool:
    """False for a job in the background, which leaves the terminal to the shell."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # a terminal without jobs
        return True


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = getattr(ipython, "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None

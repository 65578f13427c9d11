"""Which modules a template imports for its workers, and whether an import spoilt it for forking."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import types
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from tunesmith.blame import is_library

__all__ = ["device_files", "harm", "import_quietly", "loaded", "needed"]

_NEVER = frozenset({
    "__main__", "__mp_main__", "antigravity", "this", "idlelib", "tkinter", "turtle", "tunesmith", "_pytest", "pytest", "xdist", "execnet",
    "pluggy", "IPython", "ipykernel", "debugpy", "pydevd", "coverage", "rich",
})  # fmt: skip
"""The driver's own tools: trials have no use for them, and some act when they are imported."""


def loaded(modules: Mapping[str, object], excluded: Container[str] = ()) -> list[str]:
    """Names of installed modules (never the user's own) among ``modules``, as ``sys.modules`` has them, in the order of import.

    Args:
        excluded: top-level packages to be left out.
    """
    return [name for name, module in list(modules.items()) if _is_installed(name, module, excluded)]


def needed(modules: Mapping[str, object], referenced: Iterable[str], excluded: Container[str] = ()) -> list[str]:
    """Those of :func:`loaded` that a worker imports before it can begin, because of the modules that its trainable refers to.

    What the user's own modules among them import is not known: then it is all.
    """
    known = [name for name in referenced if name in modules and name.partition(".")[0] not in _NEVER]
    found = loaded(modules, excluded)
    if any(not _is_installed(name, modules[name], ()) for name in known):
        return found
    return [name for name in found if name in known]


def _is_installed(name: str, module: object, excluded: Container[str]) -> bool:
    top = name.partition(".")[0]
    # the very type: libraries that cffi has made say that they are modules, and are none
    if top in _NEVER or top in excluded or not issubclass(type(module), types.ModuleType):
        return False
    spec = object.__getattribute__(module, "__dict__").get("__spec__")  # asked politely, a lazy module would load itself
    origin = getattr(spec, "origin", None)
    if spec is None or spec.name != name:
        return False  # made by hand, or under another name
    return origin is not None and (origin in ("built-in", "frozen") or is_library(origin))


def import_quietly(name: str) -> None:
    """Import a module if it can be; one that can't is the trial's to complain of. What it prints, the driver's import has printed."""
    if name in sys.modules:
        return
    try:
        with _muted(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    except BaseException:
        return  # whatever it is: a template is not interrupted by the keyboard


@contextmanager
def _muted() -> Iterator[None]:
    """Nothing is printed, by C code neither."""
    kept = [(handle, os.dup(handle)) for handle in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for handle, _ in kept:
            os.dup2(nowhere, handle)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the module may have put anything there
                stream.flush()
        for handle, copy in kept:
            os.dup2(copy, handle)
            os.close(copy)
        os.close(nowhere)


def harm(devices_before: Iterable[str]) -> str:
    """Why this process must not be forked any more: the GPU was touched, or threads were started; "" if all is well."""
    if device_files() - set(devices_before):
        return "it touches the GPU when it is imported"
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        return f"it starts threads when it is imported ({', '.join(others[:3])})"
    return ""


def device_files(root: str = "/proc/self/fd", prefix: str = "/dev/nvidia") -> set[str]:
    """Files of the GPU driver that this process has open: none before CUDA is used."""
    found = set()
    for entry in os.listdir(root):
        try:
            target = os.readlink(f"{root}/{entry}")
        except OSError:
            continue  # closed meanwhile
        if target.startswith(prefix):
            found.add(target)
    return found

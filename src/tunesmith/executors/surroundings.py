"""A trial's surroundings: working directory, import path, environment, threads; as the driver has them when the trial starts."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from tunesmith.errors import ExecutorError

__all__ = [
    "THREADS", "Present", "Surroundings", "environment", "hold_standard_descriptors", "imported_by_multiprocessing", "limit_threads",
    "refuse_elsewhere", "thread_variables",
]  # fmt: skip

THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "POLARS_MAX_THREADS",
)  # fmt: skip
"""Variables by which libraries are told how many threads to use. Most read them once, when they are imported."""


def environment() -> dict[Any, Any]:
    """The environment as the operating system has it: to be compared, which this form makes cheap."""
    return dict(getattr(os.environ, "_data", os.environ))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Working directory, import path and environment of a process."""

    cwd: str | None
    path: tuple[str, ...]
    environment: dict[str, str]

    raw: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def present(cls, before: Surroundings | None = None) -> Surroundings:
        """Those of this process; ``before`` itself if nothing has changed."""
        try:
            cwd = os.getcwd()
        except FileNotFoundError:  # it was removed
            cwd = None
        path, raw = tuple(sys.path), environment()
        if before is not None and before.raw == raw and before.path == path and before.cwd == cwd:
            return before
        return cls(cwd, path, dict(os.environ), raw)

    def plain(self) -> tuple[str | None, tuple[str, ...], dict[str, str]]:
        """What travels to a worker."""
        return self.cwd, self.path, self.environment

    def apply(self, changes: dict[str, str | None]) -> None:
        """Make them this process's own.

        Args:
            changes: variables of the trial's own, over the environment; None: to be absent.
        """
        if self.cwd is not None:
            with contextlib.suppress(OSError):  # removed meanwhile
                os.chdir(self.cwd)
        sys.path[:] = self.path
        wanted: dict[str, str] = dict(self.environment)
        for name, value in changes.items():
            if value is None:
                wanted.pop(name, None)
            else:
                wanted[name] = value
        present = dict(os.environ)
        for name in present.keys() - wanted.keys():
            del os.environ[name]
        os.environ.update({name: text for name, text in wanted.items() if present.get(name) != text})


class Present:
    """This process's surroundings, looked up once for all attempts that begin in the same turn."""

    def __init__(self) -> None:
        self._found: Surroundings | None = None
        self._stale = True

    def look(self) -> Surroundings:
        """The same object as before if nothing has changed."""
        if self._stale or self._found is None:
            self._found = Surroundings.present(self._found)
            self._stale = False
        return self._found

    def outdate(self) -> None:
        """They may be others from now on."""
        self._stale = True


def refuse_elsewhere() -> None:
    """Where processes can't be forked from a template.

    Raises:
        ExecutorError: this is not Linux, or a child of multiprocessing that only means to import the script of its parent.
    """
    if not sys.platform.startswith("linux"):
        raise ExecutorError(f"executor='local' runs on Linux; this is {sys.platform}. Use executor='inline' here.")
    if imported_by_multiprocessing():
        raise ExecutorError(
            "an experiment was to start in a child process of multiprocessing that imports your script. Put what must run only once, "
            "such as tune.run, under: if __name__ == '__main__':"
        )


def hold_standard_descriptors() -> None:
    """In a service that was started with descriptors 0, 1 or 2 closed, the next file that is opened would become one of them.

    Then a child process prints into the journal, or holds its lock. So they are taken, for good.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)


def thread_variables(count: int, given: Any) -> dict[str, str]:
    """The variables that make libraries use ``count`` threads; those in ``given`` (the user's environment) are left as they are."""
    return {name: str(count) for name in THREADS if name not in given}


def limit_threads(count: int) -> None:
    """Make the libraries that are loaded already use ``count`` threads, too."""
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "set_num_threads"):
        torch.set_num_threads(count)
    if "numpy" in sys.modules or "scipy" in sys.modules:
        import threadpoolctl

        threadpoolctl.threadpool_limits(count)


def imported_by_multiprocessing() -> bool:
    """Whether this is a child that multiprocessing has spawned, while it imports the script of its parent."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and getattr(module.current_process(), "_inheriting", False)

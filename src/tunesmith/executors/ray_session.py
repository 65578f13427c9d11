"""This process's connection to a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

from tunesmith.errors import ExecutorError, SpecError
from tunesmith.optional import load

__all__ = ["RaySession"]


class RaySession:
    """The connection: that which the process has already, or one of its own, which then ends with it.

    Args:
        address, runtime_env: see :class:`~tunesmith.executors.ray_cluster.RayExecutor`.

    Raises:
        SpecError: Ray is not installed; an argument is wrong.
    """

    def __init__(self, address: str | None, runtime_env: dict[str, Any] | None) -> None:
        if address is not None and not isinstance(address, str):
            raise SpecError(f"RayExecutor(address=...) takes a string such as 'auto' or '10.0.0.1:6379', got {address!r}.")
        if address is not None and address.startswith("ray://"):
            raise SpecError(f"RayExecutor(address={address!r}): {_NO_CLIENT}")
        if runtime_env is not None and not isinstance(runtime_env, dict):
            raise SpecError(f"RayExecutor(runtime_env=...) takes a dict as ray.init does, got {type(runtime_env).__name__}.")
        self._ray = load("executor='ray'", "ray", "ray")
        self._address = address
        self._given = runtime_env
        self._own = False

    def connect(self) -> Any:
        """The module, connected.

        Raises:
            ExecutorError: there is no cluster at the address; or the process is connected as a client, or to another cluster.
        """
        ray = self._ray
        if ray.util.client.ray.is_connected():
            raise ExecutorError(f"This process is connected to Ray as a client. {_NO_CLIENT}")
        if not ray.is_initialized():
            try:
                with _handlers_kept():
                    ray.init(self._address, runtime_env=self._given, log_to_driver=False, logging_level=logging.WARNING)
            except Exception as error:
                where = f"at address={self._address!r}" if self._address else "here"
                raise ExecutorError(
                    f"Ray could not be reached or started {where} ({type(error).__name__}: {error}). Start a cluster with "
                    "'ray start --head', or use executor='local'."
                ) from error
            self._own = True
        elif self._address not in (None, "auto", "local", ray.get_runtime_context().gcs_address):
            raise ExecutorError(
                f"RayExecutor(address={self._address!r}), and this process is connected to {ray.get_runtime_context().gcs_address}. "
                "Leave the address out, or call ray.shutdown() first."
            )
        return ray

    @property
    def runtime_env(self) -> dict[str, Any] | None:
        """For the workers; None: that of the connection, which has it already."""
        return None if self._own else self._given

    def close(self) -> None:
        """End the connection if it was begun here."""
        if self._own:
            self._own = False
            self._ray.shutdown()


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """``ray.init`` makes SIGTERM end this process at once; that it drains the run is already arranged."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


_NO_CLIENT = (
    "Trials connect to the process that runs tune.run, so that process must run in the cluster itself: on its head node, or as a job "
    "('ray job submit'). Ray's client (ray://) is a proxy elsewhere."
)

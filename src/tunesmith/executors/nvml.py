"""NVIDIA's management library behind four questions: which cards there are, how full one is, who is on it, and good-bye."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

__all__ = ["Device", "Nvml", "NvmlError", "open_nvml"]

DRIVER = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg")
"""Signs of a driver; without one the library is not even imported. The last is Windows' own, inside its Linux."""


class NvmlError(Exception):
    """The driver gives no answer for a card: it has fallen off the bus, or this process may not ask."""


class Device(NamedTuple):
    """A card, or a slice (MIG) of one.

    ``uuid`` is as ``CUDA_VISIBLE_DEVICES`` takes it, ``alias`` a slice's older name; ``memory``: all it has, bytes; ``slices``: those
    that the card is cut into (then only they can be computed on).
    """

    uuid: str
    name: str
    memory: int
    alias: str = ""
    slices: tuple[Device, ...] = ()


class Nvml(Protocol):
    """What is asked of the driver. All methods may be called from any thread; ``tunesmith.testing.FakeNvml`` is one without a card."""

    def devices(self) -> list[Device]:
        """The cards in the order of ``nvidia-smi``; those that this process may not use are left out."""

    def used(self, uuid: str) -> int:
        """Bytes in use, by anybody.

        Raises:
            NvmlError: the card does not answer.
        """

    def processes(self, uuid: str) -> dict[int, int | None]:
        """Process id -> bytes that it has on the card; None: it is there, and the driver does not say with how much.

        In a container the numbers may be the host's, or some may be missing.

        Raises:
            NvmlError: the card does not answer.
        """

    def close(self) -> None:
        """Let go of the driver. Idempotent."""


def open_nvml(signs: tuple[str, ...] = DRIVER) -> Nvml | None:
    """The driver's own answers; None if there is no driver or no library: then there are no cards.

    Args:
        signs: files of which one is there if a driver is.

    Example:
        >>> open_nvml(signs=("/nowhere",)) is None
        True
    """
    if not any(map(os.path.exists, signs)):
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no library, no driver behind it, or one of another version: in each case no card can be used
        return None
    return _Driver(pynvml)


class _Driver:
    """:class:`Nvml` on the package ``nvidia-ml-py``."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._handles: dict[str, Any] = {}
        self._open = True

    def devices(self) -> list[Device]:
        lib = self._library
        found = []
        try:
            count = lib.nvmlDeviceGetCount()
        except lib.NVMLError:
            return []
        for index in range(count):
            try:
                found.append(self._device(lib.nvmlDeviceGetHandleByIndex(index)))
            except lib.NVMLError:
                continue  # not ours to use, or broken
        return found

    def _device(self, handle: Any) -> Device:
        lib = self._library
        uuid, name = _text(lib.nvmlDeviceGetUUID(handle)), _text(lib.nvmlDeviceGetName(handle))
        self._handles[uuid] = handle
        return Device(uuid, name, int(lib.nvmlDeviceGetMemoryInfo(handle).total), slices=tuple(self._slices(handle, uuid)))

    def _slices(self, handle: Any, parent: str) -> list[Device]:
        lib = self._library
        try:
            if lib.nvmlDeviceGetMigMode(handle)[0] != lib.NVML_DEVICE_MIG_ENABLE:
                return []
            most = lib.nvmlDeviceGetMaxMigDeviceCount(handle)
        except lib.NVMLError:
            return []  # a card that cannot be cut
        found = []
        for number in range(most):
            try:
                part = lib.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
                uuid, name = _text(lib.nvmlDeviceGetUUID(part)), _text(lib.nvmlDeviceGetName(part))
                alias = f"MIG-{parent}/{lib.nvmlDeviceGetGpuInstanceId(part)}/{lib.nvmlDeviceGetComputeInstanceId(part)}"
                found.append(Device(uuid, name, int(lib.nvmlDeviceGetMemoryInfo(part).total), alias))
                self._handles[uuid] = part
            except lib.NVMLError:
                continue  # the place for a slice is empty
        return found

    def used(self, uuid: str) -> int:
        return int(self._ask(uuid, self._library.nvmlDeviceGetMemoryInfo).used)

    def processes(self, uuid: str) -> dict[int, int | None]:
        lib = self._library
        found: dict[int, int | None] = {}
        for question in (
            lib.nvmlDeviceGetComputeRunningProcesses,
            lib.nvmlDeviceGetMPSComputeRunningProcesses,
            lib.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            try:
                listed = question(self._handle(uuid))
            except (lib.NVMLError_NotSupported, lib.NVMLError_FunctionNotFound, lib.NVMLError_NoPermission):
                continue
            except lib.NVMLError as error:
                raise NvmlError(str(error)) from None
            for one in listed:  # who computes and draws is in two lists, with the same amount
                sizes = [size for size in (one.usedGpuMemory, found.get(one.pid)) if size is not None]
                found[int(one.pid)] = max(sizes, default=None)
        return found

    def close(self) -> None:
        if self._open:
            self._open = False
            try:
                self._library.nvmlShutdown()
            except self._library.NVMLError:
                pass  # the driver has gone before us

    def _handle(self, uuid: str) -> Any:
        if uuid not in self._handles:
            raise NvmlError(f"no card {uuid}")
        return self._handles[uuid]

    def _ask(self, uuid: str, question: Callable[[Any], Any]) -> Any:
        try:
            return question(self._handle(uuid))
        except self._library.NVMLError as error:
            raise NvmlError(str(error)) from None


def _text(value: Any) -> str:
    """Older releases of the package answer in bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)

"""Where the network lets no worker connect to the driver: an actor on the driver's machine that both sides call, and that holds frames."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

__all__ = ["Relay"]


class Relay:
    """The actor. All its methods are coroutines, so any number of calls may wait in it; it takes no CPU.

    Ray runs the calls of such an actor in any order: each piece carries its number, from 0, and is handed on in its turn.
    """

    def __init__(self) -> None:
        self._down: dict[int, _Pieces] = {}
        self._up: dict[int, _Pieces] = {}
        self._told = asyncio.Event()

    async def push(self, worker: int, order: int, data: bytes) -> None:
        """From the driver to a worker."""
        self._down.setdefault(worker, _Pieces()).put(order, data)

    async def pull(self, worker: int) -> bytes:
        """What there is for a worker, as soon as there is anything."""
        pieces = self._down.setdefault(worker, _Pieces())
        await pieces.there.wait()
        return pieces.take()

    async def tell(self, worker: int, order: int, data: bytes) -> None:
        """From a worker to the driver."""
        pieces = self._up.setdefault(worker, _Pieces())
        pieces.put(order, data)
        if pieces.there.is_set():
            self._told.set()

    async def hear(self) -> list[tuple[int, bytes]]:
        """What there is for the driver, by worker, as soon as there is anything."""
        await self._told.wait()
        self._told.clear()
        return [(worker, pieces.take()) for worker, pieces in self._up.items() if pieces.there.is_set()]

    async def forget(self, worker: int) -> None:
        """The worker is gone."""
        self._down.pop(worker, None)
        self._up.pop(worker, None)


class _Pieces:
    """One direction of one line. ``there`` is set while something can be taken."""

    def __init__(self) -> None:
        self.there = asyncio.Event()
        self._next = 0
        self._early: dict[int, bytes] = {}
        self._ready: deque[bytes] = deque()

    def put(self, order: int, data: bytes) -> None:
        self._early[order] = data
        while self._next in self._early:
            self._ready.append(self._early.pop(self._next))
            self._next += 1
        if self._ready:
            self.there.set()

    def take(self) -> bytes:
        data = b"".join(self._ready)
        self._ready.clear()
        self.there.clear()
        return data


def relay_beside(ray: Any) -> Any:
    """A relay on this process's machine."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(Relay).options(num_cpus=0, max_concurrency=10_000, scheduling_strategy=here).remote()

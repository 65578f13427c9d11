"""GPUs for machines without any: a driver that makes its cards up, and a machine whose time and processes are the test's own.

Example:
    >>> from tunesmith.executors.gpus import Cards
    >>> from tunesmith.executors.hand_over import HandOver
    >>> machine = FakeMachine(cards=2)
    >>> cards = Cards.discover(environ={}, nvml=machine.nvml)
    >>> hand_over = HandOver(cards, processes=machine, clock=machine.clock, wait=machine.wait)
    >>> hand_over.lease("trial 0", [(1, 1.0)])
    >>> machine.start(70, uses={1: 2**30})
    >>> hand_over.join("trial 0", 70)
    >>> machine.end(70)
    >>> hand_over.clear("trial 0")
    []
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path

from tunesmith.executors.nvml import Device, NvmlError
from tunesmith.executors.process_table import Process, ProcessTable

__all__ = ["FakeMachine", "FakeNvml"]

_IDLE = 450 * 2**20
"""Bytes that a card has in use when nobody is on it."""


class FakeNvml:
    """A driver (:class:`tunesmith.executors.nvml.Nvml`) with the cards that a test wants.

    Args:
        cards: how many, or what they are.
        alive: whether a process is still there; what one that is not had on the cards is free. None: as this machine says.
        folder: trials in processes of their own take memory with :meth:`claim`, which leaves a note here.

    Example:
        >>> nvml = FakeNvml(1)
        >>> nvml.put(0, os.getpid(), 2**30)
        >>> nvml.used("GPU-fake-0") - nvml.idle == 2**30
        True
    """

    idle = _IDLE

    def __init__(
        self, cards: int | Iterable[Device] = 2, alive: Callable[[int], bool] | None = None, folder: str | Path | None = None
    ) -> None:
        made = (Device(f"GPU-fake-{number}", "Fake GPU", 16 * 2**30) for number in range(cards)) if isinstance(cards, int) else cards
        self.found = list(made)
        self.closed = False
        self.broken: dict[str, str] = {}
        """UUID -> why the card does not answer."""
        self.leaked: dict[str, int] = {}
        """UUID -> bytes in use that no process has."""
        self.nameless: set[int] = set()
        """Processes that the driver does not list, though it counts their memory."""
        self._alive = alive or (lambda pid: ProcessTable().get(pid) is not None)
        self._folder = folder
        self._taken: dict[str, dict[int, int | None]] = {}

    def put(self, card: int, pid: int, size: int | None) -> None:
        """A process has so many bytes of a card now; 0: it is there no more; None: it is there, with an amount that is not told."""
        taken = self._taken.setdefault(self.found[card].uuid, {})
        taken[pid] = size
        if size == 0:
            del taken[pid]

    @staticmethod
    def claim(folder: str | Path, card: int, size: int) -> None:
        """Called by a process of a trial: it has so many bytes of the card until it ends."""
        Path(folder, f"{card}_{os.getpid()}").write_text(str(size))

    def devices(self) -> list[Device]:
        return self.found

    def used(self, uuid: str) -> int:
        taken = self._on(uuid)
        return self.idle + self.leaked.get(uuid, 0) + sum(size or 0 for size in taken.values())

    def processes(self, uuid: str) -> dict[int, int | None]:
        return {pid: size for pid, size in self._on(uuid).items() if pid not in self.nameless}

    def close(self) -> None:
        self.closed = True

    def _on(self, uuid: str) -> dict[int, int | None]:
        if uuid in self.broken:
            raise NvmlError(self.broken[uuid])
        taken = dict(self._taken.get(uuid, {}))
        if self._folder is not None:
            numbers = {device.uuid: number for number, device in enumerate(self.found)}
            for note in Path(self._folder).glob(f"{numbers[uuid]}_*"):
                taken[int(note.name.partition("_")[2])] = int(note.read_text() or 0)
        return {pid: size for pid, size in taken.items() if self._alive(pid)}


class FakeMachine:
    """Processes (:class:`tunesmith.executors.process_table.Processes`), time, and a driver that knows both.

    Args:
        cards: as for :class:`FakeNvml`.

    Attributes:
        nvml: the driver.
        now: seconds.
        killed: processes that were killed, in order; ``immortal``: those that do not end by it.

    Example:
        >>> machine = FakeMachine()
        >>> machine.start(70)
        >>> machine.at(2.0, lambda: machine.end(70))
        >>> machine.wait(3.0), machine.clock(), machine.get(70)
        (False, 3.0, None)
    """

    def __init__(self, cards: int | Iterable[Device] = 2) -> None:
        self.now = 0.0
        self.killed: list[int] = []
        self.immortal: set[int] = set()
        self.nvml = FakeNvml(cards, alive=lambda pid: pid in self._living or pid in self._elsewhere)
        self._living: dict[int, Process] = {}
        self._elsewhere: set[int] = set()
        self._environments: dict[int, frozenset[bytes]] = {}
        self._plans: list[tuple[float, int, Callable[[], None]]] = []
        self._count = count(1)

    def start(
        self,
        pid: int,
        *,
        parent: int = 1,
        group: int | None = None,
        session: int | None = None,
        environment: Iterable[str] = (),
        uses: Mapping[int, int | None] | None = None,
    ) -> None:
        """A process begins; of the group and session of its parent unless others are given.

        Args:
            uses: card -> bytes that it takes.
        """
        family = self._living.get(parent, Process(parent, 0, pid, pid, 0))
        group, session = (given if given is not None else own for given, own in ((group, family.group), (session, family.session)))
        self._living[pid] = Process(pid, parent, group, session, next(self._count), "python")
        self._environments[pid] = frozenset(word.encode() for word in environment)
        for card, size in (uses or {}).items():
            self.nvml.put(card, pid, size)

    def start_elsewhere(self, pid: int, uses: Mapping[int, int | None]) -> None:
        """A process begins that the driver lists under a number of another name space: nothing here is called so."""
        self._elsewhere.add(pid)
        for card, size in uses.items():
            self.nvml.put(card, pid, size)

    def end(self, pid: int) -> None:
        """It ends, and its children become those of process 1."""
        self._elsewhere.discard(pid)
        if self._living.pop(pid, None) is not None:
            for child in self._living.values():
                if child.parent == pid:
                    self._living[child.pid] = child._replace(parent=1)

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Something happens at that second."""
        heapq.heappush(self._plans, (when, next(self._count), do))

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def wait(self, seconds: float) -> bool:
        """Time goes by, and what was planned happens; never interrupted."""
        until = self.now + seconds
        while self._plans and self._plans[0][0] <= until:
            self.now, _, do = heapq.heappop(self._plans)
            do()
        self.now = until
        return False

    def get(self, pid: int) -> Process | None:
        return self._living.get(pid)

    def all(self) -> Iterator[Process]:
        yield from list(self._living.values())

    def environment(self, pid: int) -> frozenset[bytes]:
        return self._environments.get(pid, frozenset())

    def kill(self, process: Process) -> None:
        self.killed.append(process.pid)
        if process.pid not in self.immortal:
            self.end(process.pid)

"""Verified hand-over of GPU cards: the next trial gets a card only when the last one's processes and memory are gone from it.

The driver's two answers are held against each other. *Who is on the card*: a process of the tenant that is gone has no business there
any more; it is killed. *How full it is*: more than before the lease, and more than other people's processes explain, means that
something is left that cannot be seen, as in containers, where the driver may name processes by the host's numbers or not at all. On a
card that is shared with other tenants memory says nothing, and processes decide alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tunesmith.executors.gpus import Cards
from tunesmith.executors.nvml import NvmlError
from tunesmith.executors.process_table import Process, Processes, ProcessTable

__all__ = ["Dirty", "HandOver"]

_GRACE_S = 1.0
"""What ends by itself (workers of a data loader, the driver's own clearing up) is left alone for so long."""

_TOLERANCE = 128 * 2**20
"""Bytes that come and go without a process; the smallest CUDA context takes more."""


@dataclass(frozen=True, slots=True)
class Dirty:
    """A card that may not be leased, and why, for people."""

    card: int
    reason: str


@dataclass(slots=True)
class _Lease:
    """``members``: processes of the tenant that were told of, with the moment each was started (None: it had ended before)."""

    cards: tuple[int, ...]
    label: str
    mark: bytes
    members: dict[int, int | None] = field(default_factory=dict)
    leaving: bool = False


@dataclass(slots=True)
class _Before:
    """A card before its first tenant came."""

    used: int
    processes: dict[int, int | None]


@dataclass(slots=True)
class _Left:
    """What is on a card that should not be: processes, bytes, or the driver's excuse for no answer."""

    processes: list[Process] = field(default_factory=list)
    size: int = 0
    error: str = ""


class HandOver:
    """Keeps book of which tenant has which cards, and clears a card when its tenant is gone.

    All methods may be called from any thread; only ``clear`` takes its time.

    Args:
        cards: the run's cards. Those that the driver does not know are taken on trust.
        run: the value of ``TUNESMITH_RUN`` in the environment that all processes of this run were started with; "": there is none.
        deadline_s: how long ``clear`` tries before it gives a card up.
        spare: processes that are never killed (this one, its parents and process 1 never are).
        processes: the table of processes; None: this machine's.
        clock: seconds, monotonic; ``wait``: sleeps for so many seconds, true if there is no point in going on. None: the real ones.

    Example:
        >>> hand_over = HandOver(Cards([]))
        >>> hand_over.lease("trial 3", [])
        >>> hand_over.clear("trial 3")
        []
    """

    def __init__(
        self,
        cards: Cards,
        *,
        run: str = "",
        deadline_s: float = 10.0,
        spare: Iterable[int] = (),
        processes: Processes | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._cards = cards
        self._mark = f"TUNESMITH_RUN={run}".encode() if run else b""
        self._deadline_s = deadline_s
        self._table: Processes = ProcessTable() if processes is None else processes
        self._spare = {0, 1, os.getpid(), os.getppid(), *spare}
        self._closing = threading.Event()
        self._clock = clock
        self._wait = self._closing.wait if wait is None else wait
        self._lock = threading.Lock()
        self._leases: dict[Hashable, _Lease] = {}
        self._before: dict[int, _Before] = {}
        self._dirty: dict[int, _Lease] = {}

    @property
    def out(self) -> tuple[int, ...]:
        """The cards that may not be leased now, for ``CapacityChanged``."""
        with self._lock:
            return tuple(sorted(self._dirty))

    def spare(self, *pids: int) -> None:
        """Never kill these (the process that the workers are forked from)."""
        self._spare.update(pids)

    def lease(self, tenant: Hashable, gpus: Sequence[tuple[int, float]], *, label: str = "", mark: str = "") -> None:
        """A tenant is about to come: note how its cards are before it does.

        One or two questions to the driver per card (tens of microseconds each), none for a tenant without cards.

        Args:
            tenant: its name here, e.g. (trial, attempt).
            gpus: the (card index, fraction) pairs that it was given.
            label: its name for people, e.g. "trial 4f2a1_00003".
            mark: ``NAME=value`` that, beside ``run``, only programs started by this tenant have in their environment; "": there is none.
        """
        known = tuple(card for card, _ in gpus if self._known(card))
        if not known:
            return
        lease = _Lease(known, label or str(tenant), mark.encode())
        with self._lock:
            alone = [card for card in known if not any(card in one.cards for one in self._leases.values())]
            self._leases[tenant] = lease
        for card in alone:
            self._before.pop(card, None)
            with suppress(NvmlError):  # it does not answer: if that lasts, the end of the lease says so
                used, listed = self._ask(card)
                self._before[card] = _Before(used, listed)

    def join(self, tenant: Hashable, *pids: int) -> None:
        """These processes are the tenant's: its worker, and whichever others are known; all that they start belongs to it, too."""
        with self._lock:
            lease = self._leases.get(tenant)
            if lease is not None:
                for pid in pids:
                    process = self._table.get(pid)
                    lease.members[pid] = lease.members.get(pid) or (None if process is None else process.started)

    def clear(self, tenant: Hashable, pids: Iterable[int] = ()) -> list[Dirty]:
        """The tenant is gone: see that its cards are as they were before it came. Blocks, most often for a few milliseconds.

        After a second what is left of the tenant's processes is killed; after ``deadline_s`` the card is given up and stays in
        ``out`` until a later look finds it clean.

        Args:
            tenant: as in ``lease``; one that has no cards is fine.
            pids: more of its processes, as in ``join``.

        Returns:
            The cards that must not be leased, empty if all are clean. They are in ``out`` already.
        """
        self.join(tenant, *pids)
        with self._lock:
            lease = self._leases.get(tenant)
            if lease is None:
                return []
            lease.leaving = True
        left = self._drained(lease)
        dirty = [Dirty(card, self._reason(card, lease, what)) for card, what in left.items()]
        with self._lock:
            del self._leases[tenant]
            self._dirty.update(dict.fromkeys(left, lease))
        self.review()
        return dirty

    def review(self) -> bool:
        """Look at the cards that were given up: those that are clean now leave ``out``. True: some did."""
        with self._lock:
            given_up = list(self._dirty.items())
        clean = [card for card, lease in given_up if self._left(card, lease) is None]
        with self._lock:
            for card in clean:
                self._dirty.pop(card, None)
        return bool(clean)

    def close(self) -> None:
        """Nobody needs a card any more: calls of ``clear`` that still wait give up at once. Idempotent."""
        self._closing.set()

    # -- the tenant's leaving --------------------------------------------------------------------------------------------

    def _drained(self, lease: _Lease) -> dict[int, _Left]:
        """Wait until nothing is left on the tenant's cards, with force after a while; what is left all the same, by card."""
        began, pause = self._clock(), 0.01
        while True:
            left = {card: what for card in lease.cards if (what := self._left(card, lease)) is not None}
            waited = self._clock() - began
            if not left or waited >= self._deadline_s:
                return left
            if waited >= _GRACE_S:
                self._kill(lease, left)
            if self._wait(min(pause, self._deadline_s - waited)):
                return {}
            pause = min(2 * pause, 0.25)

    def _left(self, card: int, lease: _Lease) -> _Left | None:
        """What the tenant has left on the card; None: it is clean."""
        try:
            used, listed = self._ask(card)
        except NvmlError as error:
            return _Left(error=str(error))
        with self._lock:
            shared = self._others(card, lease)
        here = [process for pid in sorted(listed) if (process := self._table.get(pid)) is not None]
        own = [process for process in here if self._is_of(process, lease) or (not shared and self._is_orphan(process))]
        if own:
            return _Left(own, sum(listed[process.pid] or 0 for process in own))
        before = self._before.get(card)
        if shared or before is None:
            return None
        excess = used - before.used - self._by_others(listed, before.processes)
        return _Left(size=round(excess)) if excess > _TOLERANCE else None

    def _by_others(self, listed: dict[int, int | None], before: dict[int, int | None]) -> float:
        """Bytes that other people's processes have taken since; infinite where the driver does not say how much one has."""
        grown = 0
        for pid in listed.keys() | before.keys():
            if pid not in before and self._table.get(pid) is None:
                continue  # a number of another name space: it may be the tenant's
            now, then = listed.get(pid, 0), before.get(pid, 0)
            if now is None or then is None:
                return float("inf")
            grown += now - then
        return grown

    def _kill(self, lease: _Lease, left: dict[int, _Left]) -> None:
        """End what belongs to the tenant: what is left on its cards, and whatever else it has started, seen there or not."""
        doomed = {process.pid: process for what in left.values() for process in what.processes}
        doomed |= {process.pid: process for process in self._table.all() if self._is_of(process, lease)}
        for process in doomed.values():
            self._table.kill(process)

    def _is_of(self, process: Process, lease: _Lease) -> bool:
        """Whether the process is the tenant's: told of, in the group or session of one that was, descended from one, or marked."""
        if process.pid in self._spare:
            return False
        if self._descends(process, lease.members):
            return True
        return bool(lease.mark) and {self._mark, lease.mark} <= self._table.environment(process.pid)

    def _is_orphan(self, process: Process) -> bool:
        """Whether the process is one of this run's that no tenant which stays has started. On a card with one tenant it is that one's."""
        if not self._mark or process.pid in self._spare or self._mark not in self._table.environment(process.pid):
            return False
        with self._lock:
            staying = [lease.members for lease in self._leases.values() if not lease.leaving]
        return not any(self._descends(process, members) for members in staying)

    def _descends(self, process: Process, members: dict[int, int | None]) -> bool:
        """From one of ``members``, by its ancestors, or, if these have ended, by the group or session that they began.

        A number belongs to whoever was started when it was told of: it may have gone to a stranger since. It cannot while a group or a
        session is called by it.
        """
        for number in (process.group, process.session):
            if number in members:
                leader = self._table.get(number)
                if leader is None or leader.started == members[number]:
                    return True
        return any(one.pid in members and one.started == members[one.pid] for one in self._line(process))

    def _line(self, process: Process) -> list[Process]:
        """The process and its ancestors."""
        line = [process]
        while line[-1].parent > 1 and (parent := self._table.get(line[-1].parent)) is not None and len(line) < 100:
            line.append(parent)
        return line

    # -- cards -----------------------------------------------------------------------------------------------------------

    def _known(self, card: int) -> bool:
        return self._cards.nvml is not None and card < self._cards.count and bool(self._cards.cards[card].uuid)

    def _ask(self, card: int) -> tuple[int, dict[int, int | None]]:
        nvml, uuid = self._cards.nvml, self._cards.cards[card].uuid
        assert nvml is not None
        return nvml.used(uuid), nvml.processes(uuid)

    def _others(self, card: int, lease: _Lease) -> bool:
        """Whether the card has tenants that stay. Under the lock."""
        return any(card in one.cards and one is not lease and not one.leaving for one in self._leases.values())

    def _reason(self, card: int, lease: _Lease, left: _Left) -> str:
        who = f"{self._cards.label(card)} gets no further trials: {self._deadline_s:g} s after the end of {lease.label}"
        if left.error:
            return f"{who} the driver gives no answer for it ({left.error}). Look at it with nvidia-smi; it may need a reset."
        size = f"{left.size / 2**20:,.0f} MB"
        if not left.processes:
            return (
                f"{who} {size} more are in use on it than before, and no process of the trial can be found (the driver may not "
                "show those of a container). See with nvidia-smi, on the host, who has them, and end it. It is used again when it is clean."
            )
        named = ", ".join(f"{process.pid} ({process.command})" for process in left.processes)
        pids = " ".join(str(process.pid) for process in left.processes)
        one = len(left.processes) == 1
        return (
            f"{who} its {'process' if one else 'processes'} {named} still {'has' if one else 'have'} {size} of it and cannot be killed. "
            f"End {'it' if one else 'them'} (kill -9 {pids}, as {'its' if one else 'their'} owner or root), or reset the card. "
            "It is used again when it is clean."
        )

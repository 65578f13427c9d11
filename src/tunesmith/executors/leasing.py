"""GPU cards for the local executor: who has which, and that a card is clean before it is leased again."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tunesmith.core.events import CapacityChanged, Event
from tunesmith.executors.base import Assignment
from tunesmith.executors.gpus import Cards
from tunesmith.executors.hand_over import HandOver

__all__ = ["Leasing"]

_log = logging.getLogger("tunesmith")
_REVIEW_S = 10.0
"""A card that was given up is looked at again so often."""


class Leasing:
    """Leases cards to processes and, in threads of its own, clears those whose tenant is gone.

    Args:
        cards: this run's.
        run: the value of ``TUNESMITH_RUN``.
        totals: of the executor, for ``CapacityChanged``.
        wake: makes the loop ask :meth:`collect`; called from other threads.
        hand_over: see there; None: one for ``cards``.
    """

    def __init__(
        self, cards: Cards, run: str, totals: dict[str, float], wake: Callable[[], None], hand_over: HandOver | None = None
    ) -> None:
        self.cards = cards
        self._totals = totals
        self._wake = wake
        self._hand_over = HandOver(cards, run=run) if hand_over is None else hand_over
        self._pool: ThreadPoolExecutor | None = None
        self._done: deque[Callable[[], list[Event]]] = deque()
        self._review_at = 0.0
        self._out: tuple[int, ...] = ()

    @property
    def out(self) -> tuple[int, ...]:
        """The cards that were said to be out of use."""
        return self._out

    def spare(self, pid: int) -> None:
        """Never to be killed."""
        self._hand_over.spare(pid)

    def lease(self, number: int, assignment: Assignment) -> None:
        """A process is about to be given the assignment's cards."""
        mark = f"TUNESMITH_WORKER={number}"
        self._hand_over.lease(number, assignment.gpus, label=f"trial {assignment.trial_id}", mark=mark)

    def join(self, number: int, pid: int) -> None:
        """The process has been made."""
        self._hand_over.join(number, pid)

    def clear(self, number: int, then: Callable[[], list[Event]]) -> None:
        """The process is gone: once its cards are clean, or given up, :meth:`collect` calls ``then`` and returns what it gives."""

        def look() -> None:
            try:
                for dirty in self._hand_over.clear(number):
                    _log.warning("%s", dirty.reason)
            except Exception:
                _log.exception("GPU cards could not be looked at; they are leased on trust")
            self._done += (self._news, then)  # what is out must be known before the end that frees the card
            self._wake()

        self._submit(look)

    def collect(self) -> list[Event]:
        """Events of what has been looked at since the last call. On the loop's thread."""
        events: list[Event] = []
        while self._done:
            events += self._done.popleft()()
        if self._hand_over.out and time.monotonic() >= self._review_at:
            self._review_at = time.monotonic() + _REVIEW_S
            self._submit(self._review)
        return events

    def patience(self) -> float | None:
        """Seconds until :meth:`collect` should be called again even if nothing wakes the loop."""
        return max(0.0, self._review_at - time.monotonic()) if self._hand_over.out else None

    def close(self) -> None:
        """Nobody needs a card any more."""
        self._hand_over.close()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self.cards.close()

    def _review(self) -> None:
        if self._hand_over.review():
            self._done.append(self._news)
            self._wake()

    def _news(self) -> list[Event]:
        out = self._hand_over.out
        if out == self._out:
            return []
        self._out = out
        self._review_at = time.monotonic() + _REVIEW_S
        return [CapacityChanged(dict(self._totals), out=out)]

    def _submit(self, work: Callable[[], Any]) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(4, thread_name_prefix="tunesmith-gpu")
        self._pool.submit(work)

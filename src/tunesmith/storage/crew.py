"""Doing many small things over a network at once. The threads hold up nobody's exit: they are daemons, unlike those of a pool."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["each"]

T = TypeVar("T")


def each(work: Callable[[T], object], items: Iterable[T], hands: int) -> None:
    """Call ``work`` with every item, ``hands`` at once, in the order given. After a failure no more are begun.

    Raises:
        Exception: what the first call to fail raised.
    """
    waiting = deque(items)
    failures: list[BaseException] = []

    def hand() -> None:
        while waiting and not failures:
            try:
                item = waiting.popleft()
            except IndexError:  # another hand was faster
                return
            try:
                work(item)
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=hand, name="tunesmith-storage-hand", daemon=True) for _ in range(min(hands, len(waiting)) - 1)]
    for thread in threads:
        thread.start()
    hand()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]

"""Ctrl-C and SIGTERM while a run goes on: the first ends it in good order, a second one breaks it off.

A signal handler runs between any two steps of whatever the main thread is at: a commit, a ``print``, with any lock held. So it only
takes notes, puts a request into the loop's inbox, and hands the line for the user to a thread that waits for one. That line is
seen at once even where the main thread is in a trial's own code (the inline executor).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from types import FrameType
from typing import Any

from tunesmith.core.events import Event, StopRequested

__all__ = ["Interrupts"]

_NAMES: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}

_SAME_S = 1.0
"""Wrappers such as ``timeout`` send SIGTERM to the process and to its group: what comes within so many seconds is the same request."""

_installed: list[Interrupts] = []


class Interrupts:
    """The signal handlers of one run.

    Only the main thread can have any: elsewhere ``install`` does nothing. A signal that is ignored (``nohup``) stays so. A handler of
    the user's is called first; if it raises, its exception goes on as it would without us, else the run is drained all the same.

    Args:
        drain_s: seconds that trials have to end after a first signal; None: as long as it takes.
        show: shows one line to the user; called from a thread of its own.

    Example:
        >>> interrupts = Interrupts(30.0, print)
        >>> interrupts.install()
        >>> interrupts.attach(lambda event: None)  # the loop's Drive.ask
        []
        >>> interrupts.restore()
    """

    def __init__(self, drain_s: float | None, show: Callable[[str], None]) -> None:
        self._drain_s = drain_s
        self._show = show
        self._lines: SimpleQueue[str | None] = SimpleQueue()  # its put is safe in signal handlers
        self._speaker: threading.Thread | None = None
        self._handler = self._handle  # one object, to be known again
        self._before: dict[int, Any] = {}
        self._active = False
        self._closing = False
        self._first: int | None = None
        self._terminated: float | None = None  # moment of the first SIGTERM
        self._ask: Callable[[Event], None] | None = None

    # -- by the run ------------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Handle SIGINT and SIGTERM from here on."""
        if threading.current_thread() is not threading.main_thread():
            return
        speaker = threading.Thread(target=self._speak, name="tunesmith-interrupts", daemon=True)
        speaker.start()
        self._speaker = speaker
        self._active = True
        _installed.append(self)
        for number in _NAMES:
            before = signal.getsignal(number)
            if before is None or before is signal.SIG_IGN:  # None: not set from Python, so it could not be given back
                continue
            self._before[number] = before
            with suppress(ValueError):  # an embedding program whose main thread is none of Python's
                signal.signal(number, self._handler)

    def attach(self, ask: Callable[[Event], None]) -> list[Event]:
        """From here on a request goes to ``ask``, which signal handlers may call; returns the one that came before."""
        self._ask = ask
        return [] if self._first is None else [self._request(self._first)]

    def closing(self) -> None:
        """The loop is over: what comes now has only files to wait for."""
        self._closing = True

    def restore(self) -> None:
        """Put back what was there before, where nobody else has put something in the place of ours. Idempotent."""
        self._give_back()
        self._lines.put(None)
        if self._speaker is not None:
            self._speaker.join(_SAME_S)
            self._speaker = None

    @property
    def exit_code(self) -> int:
        """What the process is to end with after the run: 143 if SIGTERM came and nobody but us handles it; else 0."""
        unhandled = self._terminated is not None and self._before[signal.SIGTERM] is signal.SIG_DFL
        return 128 + signal.SIGTERM if unhandled else 0

    def _give_back(self) -> None:
        self._active = False  # from here on the handler only passes on
        for number, before in self._before.items():
            if signal.getsignal(number) is self._handler:
                signal.signal(number, before)
        if self in _installed:
            _installed.remove(self)

    # -- by signals ------------------------------------------------------------------------------------------------------

    def _handle(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if not self._active:
            _pass_on(before, number, frame)  # somebody who found this handler put it back after the run
            return
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)
        if self._first is None:
            self._first = number
            self._lines.put(self._line(number))
            if self._ask is not None:
                self._ask(self._request(number))
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGTERM:
            now = time.monotonic()
            if self._terminated is None:
                self._terminated = now
            elif now - self._terminated > _SAME_S:
                raise SystemExit(128 + number)

    def _request(self, number: int) -> Event:
        return StopRequested(f"interrupted by {_NAMES[number]}", drain=True)

    def _line(self, number: int) -> str:
        if self._closing:
            what = "the run is over, and its files are being closed"
        elif self._drain_s is None:
            what = "ending at the next report"
        else:
            until = time.strftime("%H:%M:%S", time.localtime(time.time() + self._drain_s))
            what = f"trials have until {until} ({self._drain_s:g} s) to report and save, then they are killed"
        return f"{_NAMES[number]}: {what}; {'press' if number == signal.SIGINT else 'send'} it again to break off at once."

    def _speak(self) -> None:
        while (line := self._lines.get()) is not None:
            self._show(line)


def _pass_on(before: Any, number: int, frame: FrameType | None) -> None:
    """Do what would have been done without us."""
    if callable(before):
        before(number, frame)
    elif before is signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def _in_child() -> None:
    """A process that the run's main thread forks, such as a data loader's, has handlers as if there were no run."""
    while _installed:
        _installed[-1]._give_back()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

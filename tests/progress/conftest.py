"""A terminal to look at, and runs to show on it."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
import threading
from collections.abc import Iterator
from typing import Any

import pyte
import pytest

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record

HEADER = Header(uuid="3f2ab" + "0" * 27, name="digits", created=0.0)
SPEC: dict[str, Any] = {
    "num_samples": 4, "metrics": ["acc"], "modes": ["max"], "searcher": "BasicVariant", "scheduler": "FIFOScheduler", "executor": "inline",
    "seed": 42, "resources": {"cpu": 1.0},
}  # fmt: skip


class Terminal:
    """A pseudo-terminal with an emulator behind it: what is on the screen, and what has scrolled out of it."""

    def __init__(self, columns: int = 80, rows: int = 24, encoding: str = "utf-8") -> None:
        self._master, self._slave = pty.openpty()
        self._arrived = threading.Condition()
        self._bytes = b""
        self._marks = 0
        self.screen = pyte.HistoryScreen(columns, rows, history=5000)
        self._feed = pyte.ByteStream(self.screen)
        self.raw = b""
        self._size(columns, rows)
        self.out = io.TextIOWrapper(io.FileIO(os.dup(self._slave), "w"), encoding=encoding, line_buffering=True)
        self.err = io.TextIOWrapper(io.FileIO(os.dup(self._slave), "w"), encoding=encoding, line_buffering=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def lines(self) -> list[str]:
        """All lines, those that scrolled away first."""
        self._sync()
        history = ["".join(line[column].data for column in range(self.screen.columns)) for line in self.screen.history.top]
        lines = [line.rstrip() for line in (*history, *self.screen.display)]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def cursor(self) -> tuple[int, int]:
        self._sync()
        return self.screen.cursor.y, self.screen.cursor.x

    def resize(self, columns: int, rows: int, *, reflow: bool = False) -> None:
        """As a window is resized; ``reflow``: lines that are too long for it are wrapped anew."""
        self._sync()
        shown = [line.rstrip() for line in self.screen.display[: self.screen.cursor.y]]
        self._size(columns, rows)
        if reflow:
            self.screen.resize(rows, columns)
            self.screen.reset()
            self._feed.feed("".join(f"{line}\r\n" for line in shown).encode())
        else:
            self.screen.resize(rows, columns)

    def hang_up(self) -> None:
        """The window is closed."""
        if self._master >= 0:
            for stream in (self.out, self.err):
                try:
                    stream.close()
                except OSError:
                    pass
            os.close(self._slave)
            self._reader.join()
            os.close(self._master)
            self._master = -1

    def _size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            with self._arrived:
                self._bytes += data
                self._arrived.notify()

    def _sync(self) -> None:
        """What was written until now has arrived: a mark that shows nowhere follows it."""
        self._marks += 1
        mark = f"\x1b]2;{self._marks}\x07".encode()
        self.out.flush()
        self.err.flush()
        os.write(self._slave, mark)
        with self._arrived:
            assert self._arrived.wait_for(lambda: mark in self._bytes, 10)
            data, self._bytes = self._bytes.replace(mark, b""), b""
        self.raw += data
        self._feed.feed(data)


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("XTERM_VERSION", "XTerm(1)")  # it does not reflow, and neither does the emulator
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "STY", "COLUMNS", "LINES", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def open_terminal(plain_environment: None) -> Iterator[Any]:
    opened: list[Terminal] = []

    def make(*args: Any, **options: Any) -> Terminal:
        opened.append(Terminal(*args, **options))
        return opened[-1]

    yield make
    for terminal in opened:
        terminal.hang_up()


@pytest.fixture
def terminal(open_terminal: Any) -> Terminal:
    made: Terminal = open_terminal()
    return made


class Story:
    """Records of a run as they would be committed, told to an observer."""

    def __init__(self, *observers: Any, spec: dict[str, Any] | None = None, cpus: float = 4.0) -> None:
        self.observers = observers
        self.at = 0.0
        self.seq = 0
        self.tell(ev.ExperimentStarted(SPEC if spec is None else {**SPEC, **spec}))
        self.tell(ev.CapacityChanged({"cpu": cpus}))

    def tell(self, event: Any, *decisions: Decision) -> Record:
        event.at = self.at
        self.seq += 1
        record = Record(event, list(decisions), seq=self.seq)
        for observer in self.observers:
            observer.committed([record])
        return record

    def start(self, number: int, **values: Any) -> None:
        self.tell(ev.Suggested(number, values or {"lr": number / 10}), Decision("launch", number))
        self.tell(ev.AttemptStarted(number, 0))

    def report(self, number: int, acc: Any = None, iteration: int = 1, *decisions: Decision, **metrics: Any) -> None:
        known = {"training_iteration": iteration, "time_total_s": float(iteration), **metrics}
        self.tell(ev.Reported(number, 0, iteration, known if acc is None else {"acc": acc, **known}), *decisions)

    def end(self, number: int, outcome: str = "finished", reason: str = "") -> None:
        status = "ERROR" if outcome == "user_error" else "TERMINATED"
        self.tell(ev.AttemptEnded(number, 0, outcome), Decision("end", number, reason, {"status": status, "outcome": outcome}))

    def trial(self, number: int, acc: Any = None, **values: Any) -> None:
        self.start(number, **values)
        self.report(number, acc)
        self.end(number)


@pytest.fixture
def story() -> type[Story]:
    return Story


@pytest.fixture
def header() -> Header:
    return HEADER

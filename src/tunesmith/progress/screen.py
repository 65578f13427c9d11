"""A few lines at the bottom of a terminal that are drawn anew in place, while everything printed scrolls by above them.

The picture is always followed by the cursor, at the beginning of the line below it, and the cursor is never hidden: whatever ends this
process at whatever moment leaves a usable terminal. What this process prints (``print``, ``logging``, warnings, saved references to
``sys.stdout``) passes through here, as the stream objects themselves are intercepted; it is written as it came, above the picture.
"""

from __future__ import annotations

import builtins
import io
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from tunesmith.progress.detect import in_foreground
from tunesmith.progress.table import Line, width_of

__all__ = ["TerminalScreen"]

_BURST = 10
"""So many times between two ticks the picture is redrawn at once below what is printed; in a flood of output the next tick does it."""

_LONGEST_TAIL = 4096


class TerminalScreen:
    """Draws pictures on a terminal.

    Args:
        stream: a text stream for which :func:`~tunesmith.progress.detect.terminal` is true.
        others: streams to the same terminal, such as ``sys.stderr``.
    """

    def __init__(self, stream: TextIO, others: Sequence[TextIO] = ()) -> None:
        self._streams = [stream, *(other for other in others if other is not stream and _same_terminal(stream, other))]
        self._originals: list[Callable[[str], Any]] = []
        self._tails = [""] * len(self._streams)  # what was printed without an end of line yet
        self._lock = threading.RLock()  # a signal handler may print while its own thread draws
        self._pid = os.getpid()
        self._busy = False
        self._waiting: deque[tuple[int, str]] = deque()
        self._lines: list[str] = []  # the picture as it is to be, and each line's width
        self._widths: list[int] = []
        self._drawn: list[int] | None = None  # widths of the lines on the terminal; None: there is no picture on it
        self._redrawn = 0  # times since the last tick
        self._stale = False
        self._suspended = False
        self._reflows = not (os.environ.get("XTERM_VERSION") or os.environ.get("STY") or os.environ.get("TERM") == "linux")
        self._style: Callable[[Sequence[Line]], list[str]] = _Styles()
        self.open = False

    stays = False

    # -- for the display -------------------------------------------------------------------------------------------------

    @property
    def ascii_only(self) -> bool:
        """Whether the stream's encoding has no lines to draw with."""
        return not (self._streams[0].encoding or "").lower().startswith("utf")

    def space(self) -> tuple[int, int]:
        """Columns and rows for a picture now; one of each stays free, as the cursor's."""
        columns, rows = self._size()
        return columns - 1, rows - 1

    def start(self) -> None:
        """From now on everything printed passes through here."""
        for index, stream in enumerate(self._streams):
            self._originals.append(stream.write)
            stream.write = _Writer(self, index)  # type: ignore[method-assign]
        self._input, builtins.input = builtins.input, self._asked
        self.open = True

    def draw(self, lines: Sequence[Line]) -> None:
        """Show this picture instead of the one before."""
        styled = self._style(lines)
        with self._lock:
            self._redrawn = 0
            if self.open and not self._suspended and not self._busy:
                same = self._drawn is not None and styled == self._lines and not self._stale
                self._lines, self._widths = styled, [sum(width_of(text) for text, _ in line) for line in lines]
                if not in_foreground(self._streams[0]):
                    self._drawn = None
                elif not same:
                    self._emit(self._picture())

    def resume(self) -> None:
        """The run goes on: what was put aside while somebody was asked something may come back."""
        self._suspended = False

    def close(self) -> None:
        """Take the picture away; what is printed goes its usual way again."""
        with self._lock:
            if not self.open:
                return
            while self._waiting:  # what an interrupt left
                self._print(*self._waiting.popleft())
            self._emit((self._erase() if self._drawn else "") + "".join(f"{tail}\n" for tail in self._tails if tail))
            self._release()

    # -- what others print -----------------------------------------------------------------------------------------------

    def write(self, index: int, text: str) -> int:
        """In place of the ``write`` of stream ``index``."""
        if os.getpid() != self._pid or not isinstance(text, str):  # a forked child has its own output, and maybe a lock that nobody holds
            return self._originals[index](text)  # type: ignore[no-any-return]
        with self._lock:
            if text:
                self._waiting.append((index, text))
            if not self._busy:
                self._busy = True
                try:
                    while self._waiting:
                        self._print(*self._waiting.popleft())
                finally:
                    self._busy = False
        return len(text)

    def _print(self, index: int, text: str) -> None:
        if not self.open or self._suspended:
            self._originals[index](text)
            return
        complete, newline, tail = (self._tails[index] + text).rpartition("\n")
        before, _, last = tail.rstrip("\r").rpartition("\r")  # progress bars: only what shows in the end
        self._tails[index] = f"\r{last}" if before else tail
        if len(tail) > _LONGEST_TAIL:
            complete, newline, self._tails[index] = complete + newline + tail, "\n", ""
        if newline:
            self._redrawn += 1
            redraw = self._lines and self._redrawn <= _BURST and in_foreground(self._streams[0])
            self._emit(self._erase() + complete + newline + (self._picture() if redraw else ""))
        else:
            self._stale = True

    def _asked(self, prompt: object = "", /) -> str:
        """In place of ``input``, which debuggers use, too: the terminal is the user's until the run goes on."""
        if os.getpid() == self._pid:
            with self._lock:
                if self.open and not self._suspended:
                    self._emit(self._erase() + "".join(self._tails))
                    self._tails = [""] * len(self._streams)
                    self._suspended = True
        return self._input(prompt)

    # -- drawing ---------------------------------------------------------------------------------------------------------

    def _height(self) -> int:
        """Rows between the beginning of the picture on the terminal and the cursor."""
        if self._drawn is None:
            return 0
        columns, rows = self._size()
        height = sum(-(-max(width, 1) // columns) if self._reflows else 1 for width in self._drawn)
        return min(height, rows - 1)

    def _erase(self) -> str:
        height = self._height()
        self._drawn = None
        return f"\r{_up(height)}{_cleared(height)}"

    def _picture(self) -> str:
        """The codes that replace the picture on the terminal by the present one."""
        columns, rows = self._size()
        before = self._height()
        tails = [shown for tail in self._tails if (shown := _visible(tail)[: columns - 1])]
        lines = [*tails, *self._lines][: rows - 1]
        self._drawn = [*map(width_of, tails), *self._widths][: len(lines)]
        self._stale = False
        fresh = "".join(f"{line}\x1b[K\n" for line in lines)
        return f"\r{_up(before)}{fresh}{_cleared(max(0, before - len(lines)))}"

    def _emit(self, text: str) -> None:
        """Write it to the terminal; a terminal that is gone ends the drawing, never the run."""
        if not text:
            return
        write = self._originals[0]
        try:
            try:
                write(text)
            except UnicodeEncodeError:
                encoding = self._streams[0].encoding or "ascii"
                write(text.encode(encoding, "replace").decode(encoding))
            self._streams[0].flush()
        except (OSError, ValueError):
            self._release()

    def _release(self) -> None:
        self.open = False
        self._drawn = None
        for stream in self._streams:
            mine = vars(stream).get("write")
            if isinstance(mine, _Writer) and mine.screen is self:
                del stream.write
        if builtins.input == self._asked:
            builtins.input = self._input

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._streams[0].fileno())
        except (OSError, ValueError):
            columns, rows = 0, 0
        return columns or 80, rows or 24


class _Writer:
    """The ``write`` of an intercepted stream; whoever has kept it can use it after the screen is closed."""

    def __init__(self, screen: TerminalScreen, index: int) -> None:
        self.screen, self.index = screen, index

    def __call__(self, text: str, /) -> int:
        return self.screen.write(self.index, text)


class _Styles:
    """Lines with styles -> lines with the escape codes that this terminal (and ``NO_COLOR``) asks for."""

    def __init__(self) -> None:
        self._painted: Callable[[str, str], str] | None = None

    def __call__(self, lines: Sequence[Line]) -> list[str]:
        if self._painted is None:
            self._painted = _painter()
        paint = self._painted
        return ["".join(paint(text, style) if style else text for text, style in line) for line in lines]


def _painter() -> Callable[[str, str], str]:
    """(text, style) -> text with escape codes. Asked once: ``rich`` takes 50 ms to load, and a picture drawn by it 5 ms."""
    from rich.console import COLOR_SYSTEMS, Console

    console = Console(file=io.StringIO(), force_terminal=True, force_jupyter=False)
    colours = COLOR_SYSTEMS.get(console.color_system or "")

    def painted(text: str, name: str) -> str:
        style = console.get_style(name)
        return (style.without_color if console.no_color else style).render(text, color_system=colours)

    return painted


def _up(rows: int) -> str:
    return f"\x1b[{rows}A" if rows else ""


def _cleared(rows: int) -> str:
    """So many rows and the one below them, and back. Row by row: some terminals save a screen that is cleared as a whole."""
    return "\x1b[2K\n" * rows + "\x1b[2K" + _up(rows)


def _same_terminal(one: Any, other: Any) -> bool:
    try:
        return other.isatty() and "write" not in vars(other) and os.fstat(one.fileno()).st_rdev == os.fstat(other.fileno()).st_rdev
    except (AttributeError, OSError, TypeError, ValueError, io.UnsupportedOperation):
        return False


def _visible(tail: str) -> str:
    """An unfinished line without what a terminal would obey."""
    last = tail.rstrip("\r").rpartition("\r")[2]
    if "\x1b" in last:
        from rich.text import Text

        last = Text.from_ansi(last).plain
    return "".join(letter for letter in last.expandtabs() if letter.isprintable())

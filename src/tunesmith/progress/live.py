"""The display that is drawn anew in place: on a terminal or in a notebook, a few times a second, whether or not something happened."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from tunesmith.blame import describe_exception
from tunesmith.core.ports import Record
from tunesmith.progress.board import Board
from tunesmith.progress.layout import block, frame
from tunesmith.progress.plain import PlainReporter

__all__ = ["LiveReporter", "Screen"]

_PERIOD_S = 0.25

_log = logging.getLogger("tunesmith")


class Screen(Protocol):
    """Where pictures are drawn."""

    @property
    def open(self) -> bool:
        """False before ``start``, after ``close``, and once the place is gone."""

    @property
    def ascii_only(self) -> bool:
        """Only letters, digits and signs can be drawn."""

    @property
    def stays(self) -> bool:
        """The last picture is still seen after ``close``."""

    def start(self) -> None:
        """Get ready; called once, when the run begins."""

    def space(self) -> tuple[int, int]:
        """Columns and rows for a picture now."""

    def draw(self, lines: Any) -> None:
        """Show these lines, or what the screen's own ``paint`` made of the picture, in place of what was there."""

    def resume(self) -> None:
        """The run goes on."""

    def close(self) -> None:
        """The last picture has been drawn."""


class LiveReporter:
    """An :class:`~tunesmith.core.ports.Observer` that draws what its board knows; lines and the summary come from a plain reporter.

    The records are folded on the loop's thread, a few microseconds each; the drawing has a thread of its own.

    Args:
        board: what the picture shows.
        lines: prints what stays; it has been told that a picture shows the rest.
        screen: where to draw.
        final: the table of trials is printed at the end, too.
        ticking: with a thread; false: whoever has made it calls :meth:`refresh`.
    """

    def __init__(self, board: Board, lines: PlainReporter, screen: Screen, *, final: bool = False, ticking: bool = True) -> None:
        self._board, self._lines, self._screen = board, lines, screen
        self._final = final
        self._period = max(_PERIOD_S, board.options.max_report_frequency or 0.0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="tunesmith-progress", daemon=True) if ticking else None
        self._begun = False

    def replay(self, records: Iterable[Record]) -> None:
        """Take in records of earlier sessions without showing them."""
        known = list(records)
        self._board.replay(known)
        self._lines.replay(known)

    def committed(self, records: Sequence[Record]) -> None:
        """Take in what was committed."""
        try:
            if not self._begun:
                self._begun = True
                self._screen.start()
                if self._thread is not None:
                    self._thread.start()
            self._board.committed(records)
            self._lines.committed(records)
            self._screen.resume()
        except Exception:
            self._stop()  # whoever raises here is not called again, not even to be closed
            raise

    def refresh(self) -> None:
        """Draw the picture as it is now. What goes wrong ends the drawing; the plain lines go on."""
        try:
            columns, rows = self._screen.space()
            picture = self._board.picture(rows)
            paint = getattr(self._screen, "paint", frame)  # notebooks show pages
            self._screen.draw(paint(picture, self._board.options, columns, rows, ascii_only=self._screen.ascii_only))
        except Exception as error:
            self._over.set()
            self._screen.close()
            self._lines.alone()
            _log.warning("the progress table failed and is off for the rest of the run: %s", describe_exception(error))

    def close(self) -> None:
        """Take the picture away and print the summary."""
        self._stop()
        if self._final and self._begun:
            for line in block(self._board.picture(), self._board.options):
                self._lines.say("".join(text for text, _ in line))
        self._lines.close()

    def _stop(self) -> None:
        self._over.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        if self._screen.open and self._screen.stays:
            self.refresh()
        self._screen.close()

    def _tick(self) -> None:
        while not self._over.wait(self._period) and self._screen.open:
            self.refresh()

"""Pictures in a notebook (Jupyter, Colab, VS Code): one output of the cell that is replaced in place."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import Any

from tunesmith.progress.board import Picture
from tunesmith.progress.notebook_page import page
from tunesmith.progress.options import TableOptions
from tunesmith.progress.table import Line

__all__ = ["NotebookScreen", "html"]

_COLUMNS, _ROWS = 140, 60
_FORMAT = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:normal;'
    "font-family:Menlo,'DejaVu Sans Mono',consolas,'Courier New',monospace\">{code}</pre>"
)


def html(lines: Sequence[Line]) -> str:
    """The lines as HTML, in colours that can be read on light and dark pages."""
    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=io.StringIO(), record=True, force_terminal=True, force_jupyter=False, color_system="truecolor", highlight=False, markup=False
    )
    for line in lines:
        console.print(Text.assemble(*line), soft_wrap=True)
    return console.export_html(inline_styles=True, code_format=_FORMAT)


class NotebookScreen:
    """Draws pictures into the output of the cell that started the run; the last one stays."""

    ascii_only = False
    stays = True

    def __init__(self) -> None:
        self.open = False
        self._handle: Any = None
        self._shown = ""

    def start(self) -> None:
        """Take a place in the output of the cell that is running; pictures come from another thread, which belongs to no cell."""
        self.open = True
        self.show("")

    def space(self) -> tuple[int, int]:
        return _COLUMNS, _ROWS

    def paint(self, picture: Picture, options: TableOptions, columns: int, rows: int, *, ascii_only: bool = False) -> str:
        """The page to draw of a picture: it finds its own width and height."""
        return page(picture, options)

    def draw(self, picture: str | Sequence[Line]) -> None:
        """Show a page, or lines, in place of what was there; four times a second, so what is there already is not sent again."""
        shown = picture if isinstance(picture, str) else html(picture)
        if shown != self._shown:
            self.show(shown)

    def show(self, shown: str) -> None:
        """Show a page in place of what was there."""
        ipython: Any = importlib.import_module("IPython.display")  # there is one: this is a notebook
        content = ipython.HTML(shown)
        self._shown = shown
        if self._handle is None:
            self._handle = ipython.display(content, display_id=True)
        else:
            self._handle.update(content)

    def resume(self) -> None:
        """Nothing was put aside."""

    def close(self) -> None:
        self.open = False

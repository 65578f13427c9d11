"""Pictures in a notebook: one output of the cell that is replaced in place."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import Any

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
    """Draws pictures into the output of the cell that is running; the last one stays."""

    ascii_only = False
    stays = True

    def __init__(self) -> None:
        self.open = False
        self._handle: Any = None

    def start(self) -> None:
        self.open = True

    def space(self) -> tuple[int, int]:
        return _COLUMNS, _ROWS

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these lines in place of the ones before."""
        ipython: Any = importlib.import_module("IPython.display")  # there is one: this is a notebook
        picture = ipython.HTML(html(lines))
        if self._handle is None:
            self._handle = ipython.display(picture, display_id=True)
        else:
            self._handle.update(picture)

    def resume(self) -> None:
        """Nothing was put aside."""

    def close(self) -> None:
        self.open = False

"""How all plots look: colours that colour-blind people can tell apart, on light and dark pages; sizes, axes, and words in the margin."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import TuneError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = [
    "BLUE", "DARK", "GREEN", "GREY", "LIGHT", "MANY", "ORANGE", "PALETTE", "PURPLE", "SCALE", "SKY", "VERMILION", "clipped", "distinct",
    "ending", "figure", "log_like", "note", "number", "packed", "panels", "plotly", "scale", "short", "show_metric", "spread",
]  # fmt: skip

# Okabe and Ito's colours, some of them shifted so that each can be seen on white and on nearly black.
BLUE, VERMILION, GREEN, ORANGE = "#2b83c6", "#d95f0e", "#0d9f76", "#cf8b0a"
PURPLE, SKY, GREY = "#b968a0", "#6bb6de", "#8b95a1"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#7a6fd0", GREY)

SCALE = ((0.0, "#a3adb8"), (0.4, "#5b9fd6"), (0.75, "#8a5fb8"), (1.0, VERMILION))
"""From the worst to the best."""

MANY = 3000
"""Points beyond which a plot is drawn by the graphics card (WebGL)."""

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def _template(text: str, faint: str, grid: str, page: str) -> dict[str, Any]:
    axis = {
        "gridcolor": grid, "linecolor": faint, "zeroline": False, "automargin": True, "ticks": "outside", "tickcolor": grid,
        "tickfont": {"color": text}, "title": {"standoff": 10}, "exponentformat": "e", "minexponent": 5,
        "separatethousands": True,
    }  # fmt: skip
    return {
        "font": {"family": _FONT, "size": 13, "color": text},
        "title": {"x": 0.01, "xanchor": "left", "y": 1, "yanchor": "top", "pad": {"t": 22}, "font": {"size": 16}},
        "paper_bgcolor": page,
        "plot_bgcolor": page,
        "colorway": list(PALETTE),
        "xaxis": axis,
        "yaxis": axis,
        "hoverlabel": {"bgcolor": page, "bordercolor": faint, "font": {"color": text, "family": _FONT, "size": 12}, "align": "left"},
        "legend": {
            "orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "y": 0, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)",
        },
        "margin": {"l": 70, "r": 30, "t": 90, "b": 60},
        "hovermode": "closest",
        "coloraxis": {"colorbar": {"thickness": 12, "outlinewidth": 0, "tickcolor": grid}},
        "annotationdefaults": {"font": {"color": text}},
    }


LIGHT = {"layout": _template("#24292f", "#8b95a1", "#e3e7eb", "#ffffff")}
DARK = {"layout": _template("#e3e7eb", "#7a848f", "#30363d", "#14181d")}
"""Plotly templates; figures are made in the light one."""


def plotly(module: str = "plotly.graph_objects") -> Any:
    """A module of Plotly.

    Raises:
        TuneError: Plotly is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise TuneError('plots need Plotly, which is not installed: pip install "tunesmith[plots]"') from None


def figure(title: str, x: str = "", y: str = "", *, about: str = "", height: int = 460) -> Figure:
    """An empty figure in our looks: title, a line below it in small print (``about``), and what the axes are."""
    made = plotly().Figure(layout={"template": LIGHT})
    return _titled(made.update_xaxes(title_text=x).update_yaxes(title_text=y), title, about, height)


def panels(title: str, rows: int, columns: int, *, about: str = "", height: int = 460, **options: Any) -> Figure:
    """An empty figure of several panels; ``options`` as of Plotly's ``make_subplots``."""
    made = plotly("plotly.subplots").make_subplots(rows, columns, figure=plotly().Figure(layout={"template": LIGHT}), **options)
    return _titled(made, title, about, height)


def _titled(made: Any, title: str, about: str, height: int) -> Figure:
    text = f"{title}<br><sup>{about}</sup>" if about else title
    return made.update_layout(title_text=text, height=height, meta={"about": about})


def note(made: Figure, text: str) -> None:
    """A line in the middle of a figure that has nothing else to show."""
    made.update_xaxes(visible=False).update_yaxes(visible=False).update_layout(height=260, showlegend=False)
    made.add_annotation(text=text, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font={"size": 14})


def log_like(values: Iterable[float]) -> bool:
    """Whether numbers are better shown on a logarithmic axis: all are positive, and the largest is 1000 times the smallest, or more.

    Example:
        >>> log_like([0.001, 2.0]), log_like([0.0, 1e6]), log_like([])
        (True, False, False)
    """
    known = [value for value in values if math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) / min(known) >= 1000


def number(value: Any) -> str:
    """A value as people read it: four significant digits. Text that may be markup for Plotly; see :func:`short`.

    Example:
        >>> number(0.123456), number(12), number("relu"), number(None)
        ('0.1235', '12', 'relu', 'None')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def short(text: str, length: int = 60) -> str:
    """At most so many characters, and nothing in them that Plotly would take for markup."""
    text = clipped(text, length)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def packed(values: Sequence[float | None]) -> Any:
    """Numbers for a trace (None: a gap): very many of them as an array, which Plotly takes as it is, and packs."""
    return np.asarray(values, dtype=float) if len(values) > MANY else values


def clipped(text: str, length: int) -> str:
    """At most so many characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def ending(path: str, length: int) -> str:
    """At most so many characters of a path such as "model/encoder/dropout": its end tells it from others.

    Example:
        >>> ending("model/encoder/dropout", 16), ending("drop", 16), ending("no path, and long", 10)
        ('…encoder/dropout', 'drop', 'no path, …')
    """
    return "…" + path[1 - length :] if len(path) > length and "/" in path else clipped(path, length)


def distinct(texts: Iterable[str]) -> list[str]:
    """The same, told apart where two of them are equal: Plotly takes equal texts on an axis for one place.

    Example:
        >>> distinct(["a", "b", "a"])
        ['a', 'b', 'a (2)']
    """
    found: dict[str, None] = {}
    for text in texts:
        name, count = text, 1
        while name in found:
            count += 1
            name = f"{text} ({count})"
        found[name] = None
    return list(found)


def show_metric(metric: str, mode: str | None = None) -> str:
    """A metric as an axis names it.

    Example:
        >>> show_metric("loss", "min"), show_metric("time_total_s")
        ('loss (lower is better)', 'time_total_s')
    """
    better = {"min": " (lower is better)", "max": " (higher is better)"}
    return short(metric) + better.get(mode or "", "")


def scale(values: Iterable[float], log: bool | None = None) -> dict[str, Any]:
    """Settings of an axis for these numbers: logarithmic or not (None: if that looks better), with ticks that read well."""
    known = [value for value in values if math.isfinite(value)]
    if not (log_like(known) if log is None else log):
        return {"type": "linear"}
    wide = not known or max(known) / min(known) >= 300
    return {"type": "log", "dtick": 1 if wide else "D2", "tickformat": "~g"}


def spread(count: int, most: int) -> Sequence[int]:
    """At most ``most`` of ``range(count)``, evenly spaced, the first and the last among them.

    Example:
        >>> spread(5, 10), spread(101, 3)
        (range(0, 5), [0, 50, 100])
    """
    if count <= most:
        return range(count)
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]

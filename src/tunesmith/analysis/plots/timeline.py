"""Timeline: when each attempt ran and how it ended, and how many ran at once."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.plots.material import Attempt, Given, Material, state
from tunesmith.analysis.plots.theme import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, note, packed, panels, plotly, short
from tunesmith.core.policy import FAILURES, FREE

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Part", "lanes", "plot_timeline"]

_COLOURS = {
    "finished": BLUE, "stopped early": ORANGE, "to be continued": SKY, "failed": VERMILION, "infeasible": PURPLE, "cut off": GREY,
    "running": GREEN, "paused in memory": "#c3cad1",
}  # fmt: skip
_BARS = 1500


@dataclass(slots=True)
class Part:
    """A stretch of an attempt: it ran, or (``how`` "paused in memory") it was held without a slot.

    Args:
        row: where it is drawn, from 0.
        how: one of the keys of the colours.
    """

    attempt: Attempt
    row: int
    start: float
    end: float
    how: str


def plot_timeline(given: Given) -> Figure:
    """When each attempt ran and how it ended, in as few rows as there were side by side; below, how many ran at once.

    An attempt is one go at a trial: retries, resumes and exploits are attempts of their own. Those that ended so that the trial could go on
    later (a pause, an exploit) are "to be continued"; those whose run was interrupted or killed are "cut off"; those without an end in the
    journal are drawn to its newest moment. An attempt that is paused in memory has its row still, but does not run: it takes no slot. The
    clock stands still between sessions.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.

    Returns:
        a Plotly figure.

    Raises:
        TuneError: Plotly is not installed.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(lambda config: {"loss": config["x"]}, config={"x": tune.grid_search([3, 1])}, metric="loss",
        ...                         mode="min", storage_path=folder, verbose=0, executor="inline")
        ...     plot_timeline(analysis).data[0].name
        'finished'
    """
    material = Material.of(given)
    entries, end = material.attempts.entries, material.end
    parts = _parts(material)
    count = max((part.row for part in parts), default=0) + 1
    at, busy = _busy(parts, end)
    mean = sum(number * (until - start) for number, start, until in zip(busy, at, at[1:])) / (at[-1] - at[0]) if at[-1] > at[0] else 0.0
    about = f"{len(entries):,} attempts; {mean:.2f} at once on average, {max(busy)} at most" if entries else ""
    made = panels(
        "Timeline", 2, 1, about=about, height=min(1100, 400 + 16 * count), shared_xaxes=True, row_heights=[0.72, 0.28],
        vertical_spacing=0.08,
    )  # fmt: skip
    side = {"title_text": "attempts", "autorange": "reversed", "showgrid": False}
    made.update_yaxes(**side, dtick=1 if count <= 20 else None, row=1, col=1)
    made.update_yaxes(title_text="at once", row=2, col=1, rangemode="tozero")
    made.update_xaxes(title_text="time since the experiment began (s)", row=2, col=1)
    if not entries:
        note(made, "no attempt has begun yet")
        return made
    (_add_bars if len(parts) <= _BARS else _add_strokes)(made, material, parts)
    made.add_scatter(
        x=at, y=busy, mode="lines", line={"shape": "hv", "color": BLUE, "width": 1.5}, fill="tozeroy", name="at once", showlegend=False,
        hovertemplate="%{y} at once from %{x:.4g} s<extra></extra>", row=2, col=1,
    )  # fmt: skip
    _add_room(made, material, at)
    return made.update_layout(barmode="overlay", bargap=0.15)


def lanes(entries: Sequence[Attempt], end: float) -> list[int]:
    """The row of each attempt: the lowest one that is free when it begins. Attempts are in order of their start."""
    free: list[int] = []
    taken: list[tuple[float, int]] = []
    rows, used = [], 0
    for attempt in entries:
        while taken and taken[0][0] <= attempt.start:
            heapq.heappush(free, heapq.heappop(taken)[1])
        if free:
            row = heapq.heappop(free)
        else:
            row, used = used, used + 1
        rows.append(row)
        heapq.heappush(taken, (end if attempt.end is None else attempt.end, row))
    return rows


def _parts(material: Material) -> list[Part]:
    """All stretches of all attempts, in order of the attempts' starts."""
    held, end = _held(material), material.end
    found = []
    for attempt, row in zip(material.attempts.entries, lanes(material.attempts.entries, end)):
        at, until, how = attempt.start, end if attempt.end is None else attempt.end, _how(material, attempt)
        for start, stop in held.get(attempt.trial, ()):
            start, stop = max(start, at), min(stop, until)
            if start < stop:
                found += [Part(attempt, row, at, start, how), Part(attempt, row, start, stop, "paused in memory")]
                at = stop
        if at < until or at == attempt.start:
            found.append(Part(attempt, row, at, until, how))
    return found


def _held(material: Material) -> dict[int, list[tuple[float, float]]]:
    """Trial number -> from when to when it was paused."""
    found: dict[int, list[tuple[float, float]]] = {}
    since: dict[int, float] = {}
    for decision in material.decisions:
        trial, do = decision["trial"], decision["do"]
        if do == "pause":
            since.setdefault(trial, decision["at"])
        elif trial in since and do in ("launch", "continue", "stop", "paused", "end", "retry", "exploited", "kill"):
            found.setdefault(trial, []).append((since.pop(trial), decision["at"]))
    for trial, start in since.items():
        found.setdefault(trial, []).append((start, material.end))
    return found


def _busy(parts: Sequence[Part], end: float) -> tuple[list[float], list[int]]:
    """How many ran at once: from each of these moments on so many."""
    changes: dict[float, int] = {0.0: 0}
    for part in parts:
        if part.how != "paused in memory":
            changes[part.start] = changes.get(part.start, 0) + 1
            if part.end < end or part.attempt.end is not None:
                changes[part.end] = changes.get(part.end, 0) - 1
    at: list[float] = []
    busy: list[int] = []
    for moment in sorted(changes):
        at.append(moment)
        busy.append((busy[-1] if busy else 0) + changes[moment])
    if at[-1] < end:
        at.append(end)
        busy.append(busy[-1])
    return at, busy


def _how(material: Material, attempt: Attempt) -> str:
    if attempt.end is None:
        return "running"
    trial = material.trials[material.positions[attempt.trial]]
    if attempt.outcome in FAILURES:
        return "failed"
    if attempt.outcome in FREE:
        return "cut off"
    if trial.is_finished() and trial.attempt == attempt.number:
        return state(trial)
    return "to be continued"


def _text(material: Material, part: Part) -> str:
    attempt = part.attempt
    where = f" on {short(attempt.host)}" if attempt.host else ""
    end = f"ended: {attempt.outcome}" if attempt.outcome else "no end in the journal"
    how = "paused in memory" if part.how == "paused in memory" else end
    head = f"{material.hover(attempt.trial)}<br>attempt {attempt.number}{where}"
    return f"{head}: {part.end - part.start:.4g} s from {part.start:.4g} s, {how}"


def _add_bars(made: Any, material: Material, parts: Sequence[Part]) -> None:
    for how, colour in _COLOURS.items():
        chosen = [part for part in parts if part.how == how]
        if chosen:
            made.add_bar(
                base=[part.start for part in chosen],
                x=[part.end - part.start for part in chosen],
                y=[part.row + 1 for part in chosen],
                orientation="h",
                name=how,
                marker={"color": colour, "line": {"width": 0.5, "color": "rgba(128,128,128,0.6)"}},
                text=[_text(material, part) for part in chosen],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
                row=1,
                col=1,
            )


def _add_strokes(made: Any, material: Material, parts: Sequence[Part]) -> None:
    """Very many attempts: each a stroke, drawn by the graphics card."""
    for how, colour in _COLOURS.items():
        x: list[float | None] = []
        y: list[float | None] = []
        text: list[str | None] = []
        for part in parts:
            if part.how == how:
                x += [part.start, part.end, None]
                y += [part.row + 1, part.row + 1, None]
                trial = material.trials[material.positions[part.attempt.trial]]
                text += [f"{trial.trial_id}, attempt {part.attempt.number}"] * 3
        if x:
            made.add_trace(plotly().Scattergl(
                x=packed(x), y=packed(y), mode="lines+markers", marker={"size": 4, "symbol": "line-ns-open"},
                line={"color": colour, "width": 4}, name=how, text=text, hovertemplate="%{text}<extra></extra>",
            ), row=1, col=1)  # fmt: skip


def _add_room(made: Any, material: Material, at: Sequence[float]) -> None:
    """For how many there was room, where the executor said so."""
    slots = [(max(moment, at[0]), count) for moment, count in material.attempts.slots if count is not None]
    if slots:
        x = [*(moment for moment, _ in slots), at[-1]]
        y = [*(count for _, count in slots), slots[-1][1]]
        line = {"shape": "hv", "dash": "dash", "color": GREY, "width": 1.5}
        made.add_scatter(x=x, y=y, mode="lines", line=line, name="room for", hovertemplate="room for %{y}<extra></extra>", row=2, col=1)

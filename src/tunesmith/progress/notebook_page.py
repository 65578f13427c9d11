"""Pages for notebooks: a run as it goes on, and tables of results. Plain HTML: no script, nothing to load, readable on light and dark."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED
from tunesmith.progress.board import Picture
from tunesmith.progress.layout import ending_of, estimates, resource
from tunesmith.progress.options import TableOptions
from tunesmith.progress.table import columns_of, left_out
from tunesmith.progress.text import duration, number, numbers, plain, plural, stamp

__all__ = ["Cell", "chip", "escaped", "facts", "failures", "head", "leader", "page", "sheet", "trials", "wrapped"]

_COLOURS = {RUNNING: "#1a8f5c", PAUSED: "#b07400", PENDING: "#7d8590", TERMINATED: "#2f7fc1", ERROR: "#d1483f"}
"""Of a lightness that can be read on white and on black."""

_DECISIONS = 5
_FAILURES = 3

# Text has the page's own colours, lines and backgrounds are greys that let it through; a notebook's rules for tables are overruled.
_STYLE = """<style>
.tunesmith{font:13px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:inherit;max-width:100%;overflow-wrap:anywhere}
.tunesmith b{font-weight:600}
.tunesmith .ts-row{display:flex;flex-wrap:wrap;gap:2px 14px;align-items:baseline}
.tunesmith .ts-name{font-size:15px}
.tunesmith .ts-dim{opacity:.7}
.tunesmith .ts-chip{font-weight:600;font-size:12px;white-space:nowrap}
.tunesmith .ts-bar{height:6px;border-radius:3px;background:rgba(128,128,128,.25);overflow:hidden;margin:5px 0;max-width:560px}
.tunesmith .ts-bar>div{height:100%;background:#2f7fc1}
.tunesmith .ts-scroll{overflow-x:auto;margin:6px 0}
.tunesmith table{border-collapse:collapse;border:0;margin:0;font-size:12px;font-variant-numeric:tabular-nums;color:inherit}
.tunesmith table tr{background:transparent!important}
.tunesmith table th,.tunesmith table td{padding:3px 10px;border:0;border-bottom:1px solid rgba(128,128,128,.25);
text-align:right!important;white-space:nowrap;background:transparent!important;color:inherit;max-width:none}
.tunesmith table th{font-weight:600;border-bottom-color:rgba(128,128,128,.6)}
.tunesmith table th:first-child,.tunesmith table td:first-child{padding-left:0}
.tunesmith table .ts-left{text-align:left!important}
.tunesmith table tr.ts-best td{background:rgba(47,127,193,.16)!important}
.tunesmith code{font:12px ui-monospace,Menlo,Consolas,monospace;background:none;color:inherit;padding:0}
</style>"""

Cell = tuple[str, bool]
"""A cell: HTML, and whether it stands on the left."""


def escaped(value: Any, longest: int = 40) -> str:
    """A value as text on a page: one line, floats with six digits."""
    return html.escape(number(value, longest))


def chip(status: str, text: str = "") -> str:
    """A status in its colour."""
    return f'<span class="ts-chip" style="color:{_COLOURS.get(status, "inherit")}">{html.escape(text or status)}</span>'


def facts(pieces: Iterable[str], kind: str = "") -> str:
    """Pieces of HTML beside each other, as many on a line as fit; nothing if there are none."""
    inside = "".join(f"<span>{piece}</span>" for piece in pieces)
    return f'<div class="ts-row {kind}">{inside}</div>' if inside else ""


def sheet(headers: Sequence[Cell], rows: Iterable[Sequence[Cell]], best: int | None = None) -> str:
    """A table that scrolls by itself where the page is narrow; row number ``best`` stands out."""
    head = "".join(_cell("th", cell) for cell in headers)
    lines = ["".join(_cell("td", cell) for cell in row) for row in rows]
    body = "".join(f"<tr{' class=ts-best' if index == best else ''}>{line}</tr>" for index, line in enumerate(lines))
    return f'<div class="ts-scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(tag: str, cell: Cell) -> str:
    return f"<{tag}{' class=ts-left' if cell[1] else ''}>{cell[0]}</{tag}>"


def wrapped(*parts: str) -> str:
    """Parts of a page as one, with the style that they need."""
    return f'{_STYLE}<div class="tunesmith">{"".join(parts)}</div>'


def page(picture: Picture, options: TableOptions, notes: Iterable[str] = (), *, tables: bool | None = None) -> str:
    """A run as it is now.

    Args:
        notes: lines for below the head, as text.
        tables: with the table of trials; None: as the options say.
    """
    ending = [f'<b style="color:{_COLOURS[PAUSED]}">{html.escape(text)}</b>' for text, _ in ending_of(picture)]
    shown = options.tables if tables is None else tables
    return wrapped(
        facts(ending),
        facts(head(picture)),
        _bar(picture),
        *(facts([html.escape(plain(note))], "ts-dim") for note in notes),
        facts(leader(picture)),
        trials(picture, options) if shown else "",
        *failures(picture, options),
        *_decisions(picture),
    )


def head(picture: Picture) -> list[str]:
    """Name, time, counts and resources."""
    pieces = [f'<b class="ts-name">{html.escape(plain(picture.name))}</b>']
    if picture.elapsed is not None:
        pieces.append(f"<b>{stamp(picture.elapsed)}</b>")
    pieces += [chip(status, f"{count} {status}") for status, count in picture.counts.items() if count]
    pieces += [html.escape(resource(name, used, total)) for name, (used, total) in picture.resources.items()]
    if picture.out:
        pieces.append(chip(ERROR, f"gpu {', '.join(map(str, picture.out))} quarantined"))
    return pieces


def _bar(picture: Picture) -> str:
    if picture.total is None:
        pieces = [f"{plural(picture.over, 'trial')} ended"]
        if picture.budget is not None:
            pieces.append(f"{duration(picture.budget)} of the time budget left")
        return facts(pieces, "ts-dim")
    share = picture.over / picture.total if picture.total else 1.0
    bar = f'<div class="ts-bar"><div style="width:{100 * share:.1f}%"></div></div>'
    return bar + facts([f"{picture.over}/{picture.total} ended", *estimates(picture, share)], "ts-dim")


def leader(picture: Picture) -> list[str]:
    """The best trial."""
    best = picture.best
    if best is None:
        return []
    pieces = [f"<b>best {html.escape(best.trial_id)}</b>"]
    green = f'<b style="color:{_COLOURS[RUNNING]}">'
    pieces += [f"{green}{escaped(name)}={escaped(value)}</b>" for name, value in numbers(best.metrics, picture.metrics).items()]
    pieces.append(f"at iteration {best.iteration}")
    return pieces + [f"<code>{escaped(name)}={escaped(value)}</code>" for name, value in best.values.items()]


def trials(picture: Picture, options: TableOptions) -> str:
    """The table of trials, the best one marked, and what is not shown."""
    rows = picture.rows
    if not rows:
        return ""
    columns = columns_of(picture, rows, options)
    headers = [(html.escape(column.header), column.left) for column in columns]
    first = picture.best.trial_id if picture.best is not None else None
    best = next((index for index, row in enumerate(rows) if row.trial_id == first), None)
    cells = [[(chip(text) if column.styles else html.escape(text), column.left) for text in column.cells] for column in columns]
    hidden = left_out(picture, rows, [])
    return sheet(headers, zip(*cells), best) + (facts([html.escape(hidden)], "ts-dim") if hidden else "")


def failures(picture: Picture, options: TableOptions) -> list[str]:
    """Trials that failed, and why."""
    shown = picture.failed[: min(_FAILURES, options.max_error_rows)]
    return [facts([f"{chip(ERROR, f'{trial_id} failed:')} {html.escape(plain(reason))}"]) for trial_id, reason in shown]


def _decisions(picture: Picture) -> list[str]:
    failed = {trial_id for trial_id, _ in picture.failed[:_FAILURES]}
    shown = [one for one in picture.decisions if not (one[1].partition(" ")[0] in failed and " failed" in one[1])]
    return [facts([f"{stamp(at)} {html.escape(plain(text))}"], "ts-dim") for at, text in shown[-_DECISIONS:]]

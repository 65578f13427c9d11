"""A picture of the run as lines that fit into a given space: head, bar, best trial, table, failures, decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tunesmith.progress.board import Picture
from tunesmith.progress.options import TableOptions
from tunesmith.progress.table import STYLES, Line, fit, table, width_of
from tunesmith.progress.text import duration, number, numbers, plain, plural, stamp

__all__ = ["block", "ending_of", "estimates", "frame", "resource"]

_NARROWEST_BAR = 6
_WIDEST_BAR = 40
_DECISIONS = 5
_FAILURES = 3

Piece = tuple[str, str]


def frame(picture: Picture, options: TableOptions, width: int, height: int, *, ascii_only: bool = False) -> list[Line]:
    """At most ``height`` lines of at most ``width`` cells, the most important ones first to get their place.

    Args:
        ascii_only: the bar is drawn with ``#`` and ``-``.
    """
    if width < 1 or height < 1:
        return []
    top = _flow(ending_of(picture), width, 3)
    top += _flow(_head(picture), width, 4)
    top.append(_bar(picture, width, ascii_only))
    top += _flow(_best(picture), width, 2)
    top = [line for line in top if line][:height]
    room = height - len(top)
    foot = _foot(picture, options, width, min(room // 3 + 1, room))
    rows = table(picture, options, width, room - len(foot)) if options.tables else []
    return [*top, *rows, *foot]


def block(
    picture: Picture, options: TableOptions, notes: Iterable[str] = (), width: int | None = None, *, tables: bool = True
) -> list[Line]:
    """The picture for consoles where lines stay: printed from time to time, and at the end.

    Args:
        notes: lines for below the head; they say what is in use.
        tables: with the table of trials.
    """
    lines: list[Line] = [
        _one_line(ending_of(picture)),
        _one_line([*_head(picture, resources=False), *_share(picture)]),
        *([(note, "")] for note in notes),
        _one_line(_best(picture)),
    ]
    lines = [line if width is None else _cut_line(line, width) for line in lines if line]
    if tables:
        lines += table(picture, options, width)
        lines += _failures(picture, options.max_error_rows, width)
    return lines


# -- parts ---------------------------------------------------------------------------------------------------------------


def _head(picture: Picture, *, resources: bool = True) -> list[Piece]:
    pieces = [(plain(picture.name), "bold")]
    if picture.elapsed is not None:
        pieces.append((stamp(picture.elapsed), "bold"))
    pieces += [(f"{count} {status}", STYLES[status]) for status, count in picture.counts.items() if count]
    if resources:
        pieces += [(f"{resource(name, used, total)}", "") for name, (used, total) in picture.resources.items()]
        if picture.out:
            pieces.append((f"gpu {', '.join(map(str, picture.out))} quarantined", "bold red"))
    return pieces


def _share(picture: Picture) -> list[Piece]:
    return [] if picture.total is None else [(f"{picture.over}/{picture.total} ended", "")]


def resource(name: str, used: float, total: float) -> str:
    if name == "memory":
        return f"memory {used / 2**30:.3g}/{total / 2**30:.3g} GiB"
    return f"{plain(name)} {used:g}/{total:g}"


def ending_of(picture: Picture) -> list[Piece]:
    if not picture.ending:
        return []
    pieces = [("stopping", "bold yellow")]
    if picture.until is not None and picture.active:
        pieces = [(f"stopping: {plural(picture.active, 'running trial')} killed in {picture.until:.0f} s", "bold yellow")]
    return [*pieces, (plain(picture.ending), "yellow")]


def _bar(picture: Picture, width: int, ascii_only: bool) -> Line:
    if picture.total is None:
        text = f"{plural(picture.over, 'trial')} ended"
        text += f", {duration(picture.budget)} of the time budget left" if picture.budget is not None else ""
        return [(fit(text, width), "")]
    share = picture.over / picture.total if picture.total else 1.0
    text = f"{picture.over}/{picture.total}"
    for more in estimates(picture, share):
        if width_of(text) + 2 + width_of(more) <= width:
            text += f"  {more}"
    room = min(_WIDEST_BAR, width - width_of(text) - 2)
    if room < _NARROWEST_BAR:
        return [(fit(text, width), "")]
    done = int(share * room)
    full, empty = ("#", "-") if ascii_only else ("━", "─")
    return [(full * done, "green"), (empty * (room - done), "dim"), (f"  {text}", "")]


def estimates(picture: Picture, share: float) -> list[str]:
    texts = [f"{100 * share:.0f} %"]
    left, budget = picture.left, picture.budget
    if picture.ending or share >= 1:
        return texts
    if budget is not None and (left is None or budget < left):
        texts.append(f"at most {_rounded(budget)} left")
    elif left is not None:
        texts.append(f"about {_rounded(left)} left")
    return texts


def _rounded(seconds: float) -> str:
    """An estimate pretends no precision."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _best(picture: Picture) -> list[Piece]:
    best = picture.best
    if best is None:
        return []
    shown = numbers(best.metrics, picture.metrics)
    pieces = [(f"best {best.trial_id}", "bold")]
    pieces += [(f"{plain(name)}={number(value)}", "bold green") for name, value in shown.items()]
    pieces.append((f"at iteration {best.iteration}", ""))
    return pieces + [(f"{plain(name)}={number(value)}", "cyan") for name, value in best.values.items()]


def _foot(picture: Picture, options: TableOptions, width: int, most: int) -> list[Line]:
    failures = _failures(picture, min(_FAILURES, options.max_error_rows, -(-most // 2)), width)
    failed = {trial_id for trial_id, _ in picture.failed[: len(failures)]}
    shown = [one for one in picture.decisions if not (one[1].partition(" ")[0] in failed and " failed" in one[1])]
    room = min(_DECISIONS, most - len(failures))
    return failures + [_decision(at, text, width) for at, text in (shown[-room:] if room > 0 else [])]


def _failures(picture: Picture, most: int, width: int | None) -> list[Line]:
    lines = [f"{trial_id} failed: {plain(reason)}" for trial_id, reason in picture.failed[:most]]
    return [[(line if width is None else fit(line, width), "red")] for line in lines]


def _decision(at: float, text: str, width: int) -> Line:
    return _cut_line([(f"{stamp(at)} ", "dim"), (plain(text), "")], width)


# -- lines ---------------------------------------------------------------------------------------------------------------


def _flow(pieces: Sequence[Piece], width: int, most: int) -> list[Line]:
    """The pieces beside each other, two spaces apart, on at most ``most`` lines; what does not fit is left out or cut."""
    lines: list[Line] = []
    left = 0
    for text, style in pieces:
        if lines and width_of(text) + 2 <= left:
            lines[-1].append((f"  {text}", style))
            left -= width_of(text) + 2
        elif len(lines) < most:
            text = fit(text, width)
            lines.append([(text, style)])
            left = width - width_of(text)
        else:
            break
    return lines


def _one_line(pieces: Sequence[Piece]) -> Line:
    return [(f"  {text}" if position else text, style) for position, (text, style) in enumerate(pieces)]


def _cut_line(line: Line, width: int) -> Line:
    cut: Line = []
    left = width
    for text, style in line:
        if left > 0:
            text = fit(text, left)
            cut.append((text, style))
            left -= width_of(text)
    return cut

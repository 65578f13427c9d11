"""What notebooks show of a run: the page, and how it is kept up to date in the cell's output."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.core.ports import Header
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED
from tunesmith.progress.board import Board, Picture, Row
from tunesmith.progress.notebook import NotebookScreen
from tunesmith.progress.notebook_page import page, sheet, wrapped
from tunesmith.progress.options import TableOptions

_VOID = {"br", "hr", "img", "input", "meta"}


class Page(HTMLParser):
    """Reads a page; what is not well formed is a failure.

    Attributes:
        text: what is seen, pieces joined by "|"; ``rows``: the cells of tables; ``tags``: every tag that occurs.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []
        self.text = "|".join(self.pieces)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.pieces.append(data)
            if "td" in self._open or "th" in self._open:
                self.rows[-1][-1] += data


def picture(**more: Any) -> Picture:
    rows = [
        Row("3f2ab_00000", RUNNING, 7, {"lr": 0.1, "net/act": "relu"}, {"acc": 0.9, "training_iteration": 7, "time_total_s": 12.345}),
        Row("3f2ab_00001", ERROR, 2, {"lr": 0.2, "net/act": "tanh"}, {"acc": 0.5, "training_iteration": 2}),
    ]
    made = Picture("digits", {RUNNING: 1, PAUSED: 0, PENDING: 3, TERMINATED: 30, ERROR: 1}, 100, 31, 1, ("acc",), rows[0], rows)
    made.elapsed, made.left = 725.0, 120.0
    made.resources = {"cpu": (1.0, 4.0), "memory": (2.0 * 2**30, 8.0 * 2**30)}
    made.failed = [("3f2ab_00001", "ValueError: no luck at train.py:12")]
    made.decisions = [(71.0, "3f2ab_00003 stopped: below the cut of 0.83"), (80.0, "3f2ab_00001 failed: ValueError")]
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_everything_that_the_picture_has() -> None:
    read = Page(page(picture(), TableOptions()))
    assert read.rows == [
        ["trial", "status", "acc", "iter", "time (s)", "lr", "net/act"],
        ["3f2ab_00000", "RUNNING", "0.9", "7", "12.35", "0.1", "relu"],
        ["3f2ab_00001", "ERROR", "0.5", "2", "", "0.2", "tanh"],
    ]
    for piece in (
        "digits|12:05|1 RUNNING|3 PENDING|30 TERMINATED|1 ERROR|cpu 1/4|memory 2/8 GiB",
        "31/100 ended|31 %|about 2 min left",
        "best 3f2ab_00000|acc=0.9|at iteration 7|lr=0.1|net/act=relu",
        "... and 3 PENDING, 30 TERMINATED",
        "3f2ab_00001 failed:| ValueError: no luck at train.py:12",
        "1:11 3f2ab_00003 stopped: below the cut of 0.83",
    ):
        assert piece in read.text
    assert "1:20" not in read.text, "the failure is told already"
    assert "PAUSED" not in read.text


def test_the_best_trial_stands_out() -> None:
    (marked,) = re.findall(r"<tr class=ts-best>.*?</tr>", page(picture(), TableOptions()))
    assert "3f2ab_00000" in marked
    assert "ts-best>" not in page(picture(best=None), TableOptions())


def test_it_needs_nothing_from_elsewhere() -> None:
    source = page(picture(), TableOptions())
    assert Page(source).tags <= {"style", "div", "span", "b", "code", "table", "thead", "tbody", "tr", "th", "td"}
    assert not re.search(r"https?:|url\(|@import|src=|href=|on\w+=", source)
    assert "prefers-color-scheme" not in source, "a notebook's theme is not the system's"


def test_text_of_the_users_is_text() -> None:
    evil = "<script>alert('1')</script>&<b>"
    row = Row("3f2ab_00000", RUNNING, 1, {evil: evil}, {evil: 1.0, "note": evil})
    made = picture(name=evil, rows=[row], best=row, metrics=(evil,), failed=[("3f2ab_00000", evil)], decisions=[(1.0, evil)], ending=evil)
    source = page(made, TableOptions(metric_columns={"note": evil}, max_column_length=50), [evil])
    read = Page(source)
    assert "<script" not in source
    assert "script" not in read.tags
    assert read.text.count(evil) >= 6
    assert read.rows[1][2] == evil


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({"total": None}, "31 trials ended"),
        ({"total": None, "budget": 65.0}, "31 trials ended|1 min 5 s of the time budget left"),
        ({"total": 0, "over": 0}, "0/0 ended|100 %"),
        ({"ending": "SIGINT", "until": 12.0}, "stopping: 1 running trial killed in 12 s|SIGINT"),
        ({"out": [1, 3]}, "gpu 1, 3 quarantined"),
        ({"rows": [], "best": None, "failed": [], "decisions": []}, "digits|12:05"),
    ],
)
def test_what_may_be_missing(more: dict[str, Any], shown: str) -> None:
    assert shown in Page(page(picture(**more), TableOptions())).text


def test_options_and_notes() -> None:
    options = TableOptions(tables=False, max_error_rows=0)
    read = Page(page(picture(), options, ["memory on this node: 1 GiB"]))
    assert read.rows == []
    assert "memory on this node: 1 GiB" in read.text
    assert "failed:" not in read.text
    assert len(Page(page(picture(), options, tables=True)).rows) == 3


def test_sheets() -> None:
    source = wrapped(sheet([("a", True), ("b", False)], [[("1", True), ("2", False)], [("3", True), ("4", False)]], best=1))
    assert Page(source).rows == [["a", "b"], ["1", "2"], ["3", "4"]]
    assert "<tr class=ts-best><td class=ts-left>3</td>" in source


# -- in the cell -----------------------------------------------------------------------------------------------------------


class Cell:
    """The output of a cell: what was displayed and what replaced it, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def display(self, content: Any, display_id: bool = False) -> Any:
        assert display_id is True
        self.told.append(("display", content.data))
        return types.SimpleNamespace(update=lambda newer: self.told.append(("update", newer.data)))


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cell]:
    made = Cell()
    display = types.ModuleType("IPython.display")
    display.HTML = lambda data: types.SimpleNamespace(data=data)  # type: ignore[attr-defined]
    display.display = made.display  # type: ignore[attr-defined]
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return made


def test_it_takes_its_place_at_the_start_and_sends_only_what_is_new(cell: Cell) -> None:
    screen = NotebookScreen()
    assert not screen.open
    screen.start()
    assert (screen.open, cell.told) == (True, [("display", "")])
    for shown in ("one", "one", "two"):
        screen.draw(shown)
    screen.resume()
    screen.close()
    assert cell.told[1:] == [("update", "one"), ("update", "two")]
    assert not screen.open
    assert screen.stays


def test_a_board_painted(cell: Cell, story: Any, header: Header) -> None:
    board = Board(header, lambda: 0.0)
    told = story(board)
    told.start(0, lr=0.1)
    told.report(0, 0.5)
    told.trial(1, 0.75)
    screen = NotebookScreen()
    read = Page(screen.paint(board.picture(20), board.options, *screen.space()))
    assert [row[:3] for row in read.rows[1:]] == [["3f2ab_00000", "RUNNING", "0.5"], ["3f2ab_00001", "TERMINATED", "0.75"]]
    assert "best 3f2ab_00001|acc=0.75" in read.text


def test_the_reporter_shows_pages(cell: Cell, tmp_path: Any) -> None:
    class Own(tune.JupyterNotebookReporter):
        """One with moments of its own is called by the loop."""

        def should_report(self, trials: Any, done: bool = False) -> bool:
            return done

    class Lines(Own):
        def lines(self, trials: Any, done: bool, *sys_info: str) -> list[Any]:
            return [[("only this <line>", "bold")]]

    def train(config: dict[str, Any]) -> None:
        tune.report(acc=config["x"])

    for reporter in (Own(metric_columns=["acc"]), Lines()):
        tune.run(
            train, config={"x": tune.grid_search([1, 2])}, metric="acc", mode="max", storage_path=tmp_path, executor="inline",
            progress_reporter=reporter,
        )  # fmt: skip
    (_, first), (_, second) = cell.told
    assert Page(first).rows[0] == ["trial", "status", "acc", "x"]
    assert sorted(row[1:] for row in Page(first).rows[1:]) == [["TERMINATED", "1", "1"], ["TERMINATED", "2", "2"]]
    assert "only this &lt;line&gt;" in second
    assert second.startswith("<pre ")

"""Pictures as lines: what they say, and that they fit into every space."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.progress.board import Picture, Row
from tunesmith.progress.layout import block, frame
from tunesmith.progress.options import TableOptions
from tunesmith.progress.table import fit, table, width_of

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
STATUS = st.sampled_from(["RUNNING", "PAUSED", "PENDING", "TERMINATED", "ERROR"])
VALUE = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT)
IDS = st.integers(0, 10**6).map("3f2ab_{:05}".format)
VALUES = st.dictionaries(TEXT, VALUE, max_size=3)
ROWS = st.builds(Row, IDS, STATUS, st.integers(0, 10**6), VALUES, VALUES)
SECONDS = st.floats(0, 1e7)
PICTURES = st.builds(
    Picture,
    TEXT,
    st.dictionaries(STATUS, st.integers(0, 10**6)),
    total=st.one_of(st.none(), st.integers(1, 10**6)),
    over=st.integers(0, 1),
    metrics=st.lists(TEXT, max_size=2),
    best=st.one_of(st.none(), ROWS),
    rows=st.lists(ROWS, max_size=4),
    failed=st.lists(st.tuples(IDS, TEXT), max_size=5),
    decisions=st.lists(st.tuples(SECONDS, TEXT), max_size=8),
    resources=st.dictionaries(st.sampled_from(["cpu", "gpu", "memory", "größe"]), st.tuples(SECONDS, SECONDS)),
    out=st.lists(st.integers(0, 7), max_size=3),
    elapsed=st.one_of(st.none(), SECONDS),
    left=st.one_of(st.none(), SECONDS),
    budget=st.one_of(st.none(), SECONDS),
    ending=TEXT,
    until=st.one_of(st.none(), SECONDS),
)


def texts(lines: Any) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def row(number: int, status: str = "RUNNING", acc: float | None = None, **values: Any) -> Row:
    metrics = {} if acc is None else {"acc": acc, "training_iteration": 3, "time_total_s": 1.23456, "loss": 1 - acc, "tag": "x"}
    return Row(f"3f2ab_{number:05}", status, 3 if acc is not None else 0, values or {"lr": 0.1, "opt": "adam"}, metrics)


@pytest.fixture
def picture() -> Picture:
    return Picture(
        "digits",
        {"RUNNING": 2, "PAUSED": 0, "PENDING": 1, "TERMINATED": 24, "ERROR": 1},
        total=100,
        over=25,
        metrics=("acc",),
        best=row(7, "TERMINATED", 0.97, lr=0.01),
        rows=[row(25, acc=0.5), row(26, acc=0.25), row(24, "TERMINATED", 0.75), row(27, "PENDING")],
        failed=[("3f2ab_00009", "KeyError: 'lr' at train.py:42")],
        decisions=[(61.0, "3f2ab_00003 stopped: 0.1 is below the cut"), (62.0, "3f2ab_00009 failed: KeyError: 'lr' at train.py:42")],
        resources={"cpu": (2.0, 8.0), "memory": (2.0**30, 2.0**34)},
        elapsed=75.2,
        left=225.0,
    )


def test_wide(picture: Picture) -> None:
    assert texts(frame(picture, TableOptions(), 100, 30)) == [
        "digits  1:15  2 RUNNING  1 PENDING  24 TERMINATED  1 ERROR  cpu 2/8  memory 1/16 GiB",
        "━━━━━━━━━━──────────────────────────────  25/100  25 %  about 4 min left",
        "best 3f2ab_00007  acc=0.97  at iteration 3  lr=0.01",
        "trial        status       acc  iter  time (s)  loss   lr  opt",
        "3f2ab_00025  RUNNING      0.5     3      1.23   0.5  0.1  adam",
        "3f2ab_00026  RUNNING     0.25     3      1.23  0.75  0.1  adam",
        "3f2ab_00024  TERMINATED  0.75     3      1.23  0.25  0.1  adam",
        "3f2ab_00027  PENDING                                 0.1  adam",
        "... and 23 TERMINATED, 1 ERROR",
        "3f2ab_00009 failed: KeyError: 'lr' at train.py:42",
        "1:01 3f2ab_00003 stopped: 0.1 is below the cut",
    ]


def test_narrow(picture: Picture) -> None:
    assert texts(frame(picture, TableOptions(), 39, 30, ascii_only=True)) == [
        "digits  1:15  2 RUNNING  1 PENDING",
        "24 TERMINATED  1 ERROR  cpu 2/8",
        "memory 1/16 GiB",
        "#------  25/100  25 %  about 4 min left",
        "best 3f2ab_00007  acc=0.97",
        "at iteration 3  lr=0.01",
        "trial        status       acc  iter",
        "3f2ab_00025  RUNNING      0.5     3",
        "3f2ab_00026  RUNNING     0.25     3",
        "3f2ab_00024  TERMINATED  0.75     3",
        "3f2ab_00027  PENDING",
        "... and 23 TERMINATED, 1 ERROR, colu...",
        "3f2ab_00009 failed: KeyError: 'lr' a...",
        "1:01 3f2ab_00003 stopped: 0.1 is bel...",
    ]


def test_low(picture: Picture) -> None:
    lines = texts(frame(picture, TableOptions(), 100, 8))
    assert lines[3:] == [
        "trial        status   acc  iter  time (s)  loss   lr  opt",
        "3f2ab_00025  RUNNING  0.5     3      1.23   0.5  0.1  adam",
        "... and 1 RUNNING, 1 PENDING, 24 TERMINATED, 1 ERROR",
        "3f2ab_00009 failed: KeyError: 'lr' at train.py:42",
        "1:01 3f2ab_00003 stopped: 0.1 is below the cut",
    ]
    assert texts(frame(picture, TableOptions(), 100, 1)) == lines[:1]
    assert frame(picture, TableOptions(), 100, 0) == frame(picture, TableOptions(), 0, 9) == []


def test_a_drain_shows_a_countdown_first(picture: Picture) -> None:
    picture.ending, picture.until, picture.active = "interrupted by Ctrl-C", 12.4, 3
    assert texts(frame(picture, TableOptions(), 100, 30))[0] == "stopping: 3 running trials killed in 12 s  interrupted by Ctrl-C"
    assert texts(frame(picture, TableOptions(), 45, 30))[:2] == ["stopping: 3 running trials killed in 12 s", "interrupted by Ctrl-C"]
    assert "left" not in "".join(texts(frame(picture, TableOptions(), 100, 30)))
    picture.until = None
    assert texts(frame(picture, TableOptions(), 100, 30))[0] == "stopping  interrupted by Ctrl-C"


def test_the_bar(picture: Picture) -> None:
    def bar() -> str:
        return texts(frame(picture, TableOptions(), 100, 30, ascii_only=True))[1]

    assert bar() == "#" * 10 + "-" * 30 + "  25/100  25 %  about 4 min left"
    picture.budget = 20.0
    assert bar().endswith("25 %  at most 20 s left")
    picture.left = 10.0
    assert bar().endswith("25 %  about 10 s left")
    picture.over = 100
    assert bar() == "#" * 40 + "  100/100  100 %"
    picture.total, picture.budget = None, 90.0
    assert bar() == "100 trials ended, 1 min 30 s of the time budget left"


def test_quarantined_cards_are_named(picture: Picture) -> None:
    picture.out = (1, 3)
    assert "gpu 1, 3 quarantined" in texts(frame(picture, TableOptions(), 200, 30))[0]


def test_columns_that_were_asked_for(picture: Picture) -> None:
    options = TableOptions(metric_columns={"loss": "LOSS", "nothing": "none"}, parameter_columns={"opt": "optimiser"}, max_column_length=6)
    assert texts(table(picture, options, 100))[:3] == [
        "trial        status      LOSS  none  opt...",
        "3f2ab_00025  RUNNING      0.5        adam",
        "3f2ab_00026  RUNNING     0.75        adam",
    ]
    assert texts(table(picture, TableOptions(metric_columns={}, parameter_columns={}), 100))[0] == "trial        status"


def test_numbers_become_columns_by_themselves_up_to_a_limit(picture: Picture) -> None:
    picture.rows = [
        Row("a", "RUNNING", 1, {}, dict.fromkeys("defgh", 1)),
        Row("b", "RUNNING", 1, {}, {"text": "x", "ok": True, "z": 1.0}),
    ]
    assert texts(table(picture, TableOptions(), 100))[0].split() == ["trial", "status", "acc", "iter", "time", "(s)", "d", "e", "f"]
    assert texts(table(picture, TableOptions(infer_limit=0), 100))[0].split() == ["trial", "status", "acc", "iter", "time", "(s)"]


def test_what_a_terminal_would_obey_is_not_shown(picture: Picture) -> None:
    picture.rows = [Row("a", "RUNNING", 1, {"x\n": "\x1b[2J\x07"}, {"acc": "\x1b]0;title\x07"})]
    picture.failed, picture.decisions = [("b", "\x1b[1mbold\nsecond line")], [(0.0, "c stopped: \x9b2J")]
    for lines in (frame(picture, TableOptions(), 100, 30), block(picture, TableOptions())):
        assert all(text.isprintable() for text in texts(lines))


def test_wide_letters_keep_columns_straight(picture: Picture) -> None:
    picture.rows = [Row("a", "RUNNING", 1, {"名": "東京", "z": 1}, {}), Row("b", "RUNNING", 1, {"名": "x", "z": 1}, {})]
    lines = texts(table(picture, TableOptions(metric_columns={}), 60))
    assert [width_of(line) for line in lines[:3]] == [width_of(lines[0])] * 3


def test_a_block_for_consoles_where_lines_stay(picture: Picture) -> None:
    lines = texts(block(picture, TableOptions(max_error_rows=1), ["resources in use: cpu 2/8"]))
    assert lines[:3] == [
        "digits  1:15  2 RUNNING  1 PENDING  24 TERMINATED  1 ERROR  25/100 ended",
        "resources in use: cpu 2/8",
        "best 3f2ab_00007  acc=0.97  at iteration 3  lr=0.01",
    ]
    assert lines[-1] == "3f2ab_00009 failed: KeyError: 'lr' at train.py:42"
    assert len(texts(block(picture, TableOptions(), tables=False))) == 2


def test_cutting() -> None:
    assert [fit("abcdef", width) for width in (6, 5, 3, 0)] == ["abcdef", "ab...", "abc", ""]
    assert fit("東京東京", 7) == "東京..."


@given(PICTURES, st.integers(-1, 130), st.integers(-1, 40), st.booleans(), st.integers(0, 8))
def test_a_picture_fits_into_every_space(picture: Picture, width: int, height: int, ascii_only: bool, most: int) -> None:
    options = TableOptions(max_progress_rows=most, max_error_rows=most, max_column_length=4 + most, tables=most > 0)
    lines = frame(picture, options, width, height, ascii_only=ascii_only)
    assert len(lines) <= max(0, height)
    for text in texts(lines):
        assert width_of(text) <= width
        assert text.isprintable()
    assert all(text.isprintable() for text in texts(block(picture, options)))

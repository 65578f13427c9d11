"""Segments: however a journal was cut, and whatever of it lies there twice, the records come back as they were, or it is an error."""

from __future__ import annotations

import gzip
import itertools
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core.commands import Decision
from tunesmith.core.events import Reported, Suggested
from tunesmith.core.ports import Header, Record
from tunesmith.errors import RemoteStorageError
from tunesmith.journal import SqliteJournal, open_reader
from tunesmith.storage import segments as seg

COUNT = 12
ROWS = "SELECT * FROM records ORDER BY seq"


def journal(folder: Path, name: str = "one", count: int = COUNT, other_from: int = COUNT) -> Path:
    """A journal of so many records; from ``other_from`` on they are others."""
    path = folder / name / "experiment.db"
    with SqliteJournal.create(path, Header(uuid="3f2a9c01" * 4, name="demo", created=1.0)) as writer:
        for number in range(count):
            value = float("nan") if number == 3 else number + 0.25 + (number >= other_from)
            event = Reported(0, 0, number, {"loss": value, **({"late": 1} if number > 5 else {})}, at=number / 3)
            first = Suggested(0, {"x": (1, "é\n")}, at=0.0)
            writer.append([Record(first if number == 0 else event, [Decision("stop", 0, "why", {"a": [1]})] if number % 4 == 1 else [])])
    return path


def cuts(path: Path, ranges: Sequence[tuple[int, int]]) -> dict[str, bytes]:
    with open_reader(path) as reader:
        return {segment.name: data for segment, data in (seg.cut(reader, first, last) for first, last in ranges)}


def rows(path: Path | str, query: str = ROWS) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def built(folder: Path, store: dict[str, bytes], name: str = "back") -> str:
    path = str(folder / f"{name}.db")
    found, others = seg.chain(seg.parse(store), "s3://b")
    seg.build(path, found, store.__getitem__, "s3://b")
    seg.check_redundant(path, others, "s3://b")
    return path


@settings(max_examples=15)
@given(st.sets(st.integers(1, COUNT - 1)), st.lists(st.tuples(st.integers(1, COUNT), st.integers(1, COUNT)), max_size=4))
def test_any_cuts_give_the_journal_back(points: set[int], more: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = journal(folder)
        edges = [0, *sorted(points), COUNT]
        ranges = [(first + 1, last) for first, last in itertools.pairwise(edges)] + [(min(pair), max(pair)) for pair in more]
        store = cuts(path, ranges)
        back = built(folder, store)
        assert rows(back) == rows(path)
        assert rows(back, "SELECT * FROM keysets") == rows(path, "SELECT * FROM keysets")
        with open_reader(back) as reader, open_reader(path) as before:
            assert reader.header == before.header
            assert [repr(record) for record in reader.read()] == [repr(record) for record in before.read()]
        with SqliteJournal.open(back) as writer:
            assert writer.append([Record(Reported(0, 0, 99, {"loss": 1.0}))]) == COUNT + 1


@settings(max_examples=20)
@given(st.integers(0, COUNT - 1), st.integers(1, COUNT), st.integers(1, COUNT), st.booleans())
def test_two_histories_are_never_taken_for_one(parted: int, first: int, last: int, whole: bool) -> None:
    first, last = min(first, last), max(first, last)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = journal(folder), journal(folder, "two", other_from=parted)
        same = rows(ours)[first - 1 : last] == rows(theirs)[first - 1 : last]
        store = {**cuts(ours, [(1, COUNT)] if whole else [(one, one) for one in range(1, COUNT + 1)]), **cuts(theirs, [(first, last)])}
        if same:
            assert rows(built(folder, store)) == rows(ours)
        else:
            with pytest.raises(RemoteStorageError, match="holds two histories"):
                built(folder, store)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    store = cuts(journal(tmp_path), [(1, 3), (4, 6), (7, 9)])
    del store[seg.parse(store)[1].name]
    with pytest.raises(RemoteStorageError, match=r"lacks the records 4 to 6.*0000000007-0000000009"):
        seg.chain(seg.parse(store), "s3://b")


def test_two_experiments_in_one_place_are_named(tmp_path: Path) -> None:
    (one,) = cuts(journal(tmp_path), [(1, 3)])
    with pytest.raises(RemoteStorageError, match=r"2 experiments.*0000aaaa, 3f2a9c01"):
        seg.chain(seg.parse([one, one.replace("3f2a9c01", "0000aaaa")]), "s3://b")


@pytest.mark.parametrize("harm", [lambda data: data[:-9], lambda data: b"x" + data, lambda data: gzip.compress(gzip.decompress(data)[:-1])])
def test_damage_is_named(tmp_path: Path, harm: object) -> None:
    ((name, data),) = cuts(journal(tmp_path), [(1, COUNT)]).items()
    with pytest.raises(RemoteStorageError, match=rf"s3://b/{name} cannot be read: .*Restore that object"):
        built(tmp_path, {name: harm(data)})  # type: ignore[operator]


def test_names_of_other_things_are_none() -> None:
    assert seg.parse(["journal/x.gz", "spec.pkl", "t/journal/0000000001-0000000009-3f2a9c01-0123456789abcdef.jsonl.gz"]) == []

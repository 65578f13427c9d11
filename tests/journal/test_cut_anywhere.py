"""Files of a journal, cut at every byte: what opens holds exactly the records up to a commit, or it is refused; nothing just vanishes.

The *images* are what a crash (or a copy taken at a bad moment) leaves in the directory; one file of an image is cut at a time.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.ports import Header, Record
from tunesmith.errors import JournalCorrupt
from tunesmith.journal import SqliteJournal, damage, open_reader
from tunesmith.testing.journal_kit import report

HEADER = Header("0" * 32, "x", 0.0)
DB, WAL, ROLLBACK = "experiment.db", "experiment.db-wal", "experiment.db-journal"
PAGE = 2048
SHARDS = 6


@dataclass
class Image:
    """What a crash leaves.

    Args:
        files: name -> content.
        commits: numbers of the last records of commits, one of which must be the end of what opens.
        events: what was recorded.
        lengths: of the write-ahead log after each commit.
        older: the database before the log was moved into it, or before the commit that the rollback journal is of.
    """

    files: dict[str, bytes]
    commits: list[int]
    events: list[Any]
    lengths: list[int] = field(default_factory=list)
    older: bytes = b""

    def with_file(self, name: str, content: bytes) -> Image:
        return replace(self, files={**self.files, name: content})

    def allowed(self, name: str, size: int) -> set[int | None]:
        """What may come of it if that file is cut to ``size`` bytes: the numbers of last records, or None: it is refused."""
        if name == ROLLBACK:
            return {None, *self.commits}
        if name == DB:
            return {None, self.commits[0] if ROLLBACK in self.files else self.commits[-1]} if len(self.files) > 1 else {None}
        if len(self.files[DB]) > PAGE:  # some of the log is in the file
            return {None, *self.commits}
        kept = [commit for commit, length in zip(self.commits, self.lengths, strict=True) if length <= size]
        return {kept[-1]} if kept else {None}

    def tail(self, name: str) -> range:
        """Where every byte is tried: the last two pages, the last two frames, all that would be undone."""
        size = len(self.files[name])
        return range(max(0, size - {DB: 2 * PAGE, WAL: 2 * (PAGE + 24), ROLLBACK: size}[name]), size)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """In memory where the system has such a place: thousands of journals are opened, and each waits for its disk."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="tunesmith-test-", dir=memory if os.access(memory, os.W_OK) else None))
    yield path
    shutil.rmtree(path)


def found(image: Image, folder: Path, opened: Callable[[Path], AbstractContextManager[Any]]) -> int | None:
    """The last record's number of what opens, which is a commit's end; None if it is refused."""
    place = folder / "opened"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "spec.pkl").touch()  # as beside any experiment
    for name, content in image.files.items():
        (place / name).write_bytes(content)
    try:
        with opened(place / DB) as journal:
            columns = [column[0] for column in journal.read_columns()]
            records = list(journal.read())
    except JournalCorrupt:
        return None
    assert columns == [record.seq for record in records] == list(range(1, len(records) + 1))
    assert [record.event for record in records] == image.events[: len(records)]
    assert len(records) in image.commits, f"half a commit: {len(records)} records"
    return len(records)


def outcomes(image: Image, folder: Path) -> set[int | None]:
    """What a reader and a writer find."""
    return {found(image, folder, opened) for opened in (open_reader, lambda path: SqliteJournal.open(path, fresh=HEADER))}


def read(folder: Path) -> dict[str, bytes]:
    return {
        name: (folder / name).read_bytes() for name in (DB, WAL, ROLLBACK) if (folder / name).exists() and (folder / name).stat().st_size
    }


# -- images ------------------------------------------------------------------------------------------------------------------------


def batches() -> list[list[Record]]:
    """Small and large commits, new key sets among them; rows that fill pages, and rows that go over several."""
    made = [[report(0, 1)], [report(0, 2), report(1, 1, note="x" * 300)], [report(1, 2, other=1)]]
    made += [[report(trial, n, note="y" * 150) for trial in range(3)] for n in range(3, 9)]
    return [*made, [report(0, 12, note="z" * 2500), report(1, 12)], [report(0, 13)]]


def filled(folder: Path, mode: Any, prepared: Callable[[SqliteJournal], None] = lambda journal: None) -> tuple[SqliteJournal, Image]:
    """A journal with all the batches, still open; the image has its files as they are then."""
    shutil.rmtree(folder, ignore_errors=True)
    journal = SqliteJournal.create(folder / DB, HEADER, mode=mode)
    prepared(journal)
    image = Image({}, [0], [], [])
    log = folder / WAL
    image.lengths.append(log.stat().st_size if log.exists() else 0)
    for batch in batches():
        image.commits.append(journal.append(batch, durable=mode == "network"))
        image.events += [record.event for record in batch]
        image.lengths.append(log.stat().st_size if log.exists() else 0)
    image.files = read(folder)
    return journal, image


def closed(folder: Path, mode: Any) -> Image:
    journal, image = filled(folder / "made", mode)
    journal.close()
    image.files = read(folder / "made")
    assert list(image.files) == [DB]
    return image


def crashed(folder: Path, checkpoint: str) -> Image:
    """A log that nothing has been taken out of yet, or everything (and it goes on after that), or everything but it was not begun anew."""

    def prepared(journal: SqliteJournal) -> None:
        journal._connection.execute(f"PRAGMA wal_autocheckpoint={12 if checkpoint == 'some' else 0}")

    journal, image = filled(folder / "made", "local", prepared)
    if checkpoint == "all":
        image.older = image.files[DB]
        journal._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        image.files = read(folder / "made")
    journal.close()
    return image


def in_a_commit(folder: Path, rows: int, cache: int, deep: bool = False) -> tuple[Image, Image]:
    """The rollback journal of a commit of ``rows`` large rows, with the file just before its end, and with all of the commit in the file.

    The pages that do not fit into ``cache`` are written before the end, each time after what is in the journal so far is safe there.
    ``deep``: the file is so large that pages between the root and the rows are touched, too, and late.
    """
    made = folder / "made"
    journal, image = filled(made, "network")
    if deep:
        many = [report(0, n, note="v" * 1000) for n in range(480)]
        image.commits = [journal.append(many, durable=True)]
        image.events += [record.event for record in many]
    older = (made / DB).read_bytes()
    before = image.commits[-1]
    batch = [report(0, 20 + n, note="w" * 900, **{f"key{n % 3}": n}) for n in range(rows)]
    copies: list[dict[str, bytes]] = []

    def at(statement: str) -> None:
        if statement == "COMMIT":
            os.link(made / ROLLBACK, made / "kept")  # SQLite removes the name; the content stays
            copies.append(read(made))

    journal._connection.execute("PRAGMA locking_mode=NORMAL").fetchall()
    journal._connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    journal._connection.execute(f"PRAGMA cache_size={cache}")
    journal._connection.set_trace_callback(at)
    journal.append(batch, durable=True)
    journal._connection.set_trace_callback(None)
    rollback = (made / "kept").read_bytes()
    after = (made / DB).read_bytes()
    journal.close()
    events = image.events + [record.event for record in batch]
    half = Image({DB: copies[0][DB], ROLLBACK: rollback}, [before], events, image.lengths, older)
    return half, Image({DB: after, ROLLBACK: rollback}, [before, before + rows], events, image.lengths, older)


BUILDERS: dict[str, Callable[[Path], Image]] = {
    "closed, local": lambda folder: closed(folder, "local"),
    "closed, network": lambda folder: closed(folder, "network"),
    "log": lambda folder: crashed(folder, "none"),
    "log begun anew": lambda folder: crashed(folder, "some"),
    "log that is in the file": lambda folder: crashed(folder, "all"),
    "half a commit": lambda folder: in_a_commit(folder, 40, 5)[0],
    "a commit in the cache": lambda folder: in_a_commit(folder, 10, 1000)[0],
    "a whole commit": lambda folder: in_a_commit(folder, 40, 5)[1],
    "half a commit, deep": lambda folder: in_a_commit(folder, 60, 20, deep=True)[0],
    "a whole commit, deep": lambda folder: in_a_commit(folder, 60, 20, deep=True)[1],
}


@pytest.fixture(scope="module")
def image_of(folder: Path) -> Callable[[str], Image]:
    return cache(lambda name: BUILDERS[name](folder))


# -- cuts --------------------------------------------------------------------------------------------------------------------------

CASES = [(name, DB) for name in BUILDERS]
CASES += [(name, WAL) for name in BUILDERS if "log" in name] + [(name, ROLLBACK) for name in BUILDERS if "commit" in name]

DEEP = ("a whole commit, deep", ROLLBACK)
WHAT = {
    DB: "a byte at which the journal's file is cut: all of it by its log, or refused",
    WAL: "a byte at which the write-ahead log is cut: whole commits, or refused",
    ROLLBACK: "a byte at which the rollback journal is cut: whole commits, or refused",
}


def check(image: Image, name: str, cuts: Iterable[int], folder: Path, faults: Any) -> None:
    """Cut the file of that name to each of these sizes: what opens holds what it must."""
    for size in cuts:
        with faults.tried(WHAT[name]) as results:
            outcome = outcomes(image.with_file(name, image.files[name][:size]), folder)
            assert outcome <= image.allowed(name, size), f"{name} cut to {size} bytes: the last record is {outcome}"
            results(sum(last or 0 for last in outcome))


@pytest.mark.parametrize(("made", "name"), CASES)
def test_what_is_cut_short_holds_whole_commits_or_is_refused(
    made: str, name: str, image_of: Callable[[str], Image], folder: Path, faults: Any
) -> None:
    image = image_of(made)
    assert outcomes(image, folder) == {image.commits[0 if ROLLBACK in image.files else -1]}, "uncut it is read as it should be"
    size = len(image.files[name])
    edges = [edge + step for edge in (size, *image.lengths[-2:]) for step in (-1, 0, 1)]
    cuts = {*range(0, size, size // (15 if "deep" in made else 40)), *(cut for cut in edges if cut < size)}
    check(image, name, sorted(cuts), folder, faults)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize(("made", "name"), [case for case in CASES if "deep" not in case[0] or case == DEEP])
def test_every_byte(made: str, name: str, shard: int, image_of: Callable[[str], Image], folder: Path, faults: Any) -> None:
    image = image_of(made)
    check(image, name, image.tail(name)[shard::SHARDS], folder, faults)


@pytest.mark.parametrize("made", ["log that is in the file", "a whole commit"])
def test_a_kill_in_the_middle_of_writing_the_file_is_none_of_that(made: str, image_of: Callable[[str], Image], folder: Path) -> None:
    image = image_of(made)
    newer, older = image.files[DB], image.older
    for size in sorted({*range(0, len(newer), len(newer) // 30), *range(0, len(newer), 3 * PAGE)}):
        half = image.with_file(DB, newer[:size] + older[size:])
        assert outcomes(half, folder) == {image.commits[0 if ROLLBACK in image.files else -1]}


# -- what it says ------------------------------------------------------------------------------------------------------------------


def test_a_file_cut_short_says_by_how_much_and_what_to_do(image_of: Callable[[str], Image], tmp_path: Path) -> None:
    whole = image_of("closed, local").files[DB]
    path = tmp_path / DB
    for size in (len(whole) - 1, len(whole) - PAGE, 3 * PAGE + 5, 100):
        path.write_bytes(whole[:size])
        for opened in (open_reader, SqliteJournal.open):
            with pytest.raises(JournalCorrupt, match=rf"cut short: {size} of {len(whole)} bytes\..* Restore the file from a whole copy"):
                opened(path)
        assert path.read_bytes() == whole[:size], "looking at it makes it no worse"
        assert [found.name for found in tmp_path.iterdir()] == [DB]


def test_a_log_without_its_file_is_not_thrown_away(image_of: Callable[[str], Image], tmp_path: Path) -> None:
    image = image_of("log")
    (tmp_path / DB).write_bytes(b"")
    (tmp_path / WAL).write_bytes(image.files[WAL])
    for opened in (open_reader, lambda path: SqliteJournal.open(path, fresh=HEADER)):
        with pytest.raises(JournalCorrupt, match=rf"cut short: 0 of {PAGE} bytes"):
            opened(tmp_path / DB)
    assert (tmp_path / WAL).read_bytes() == image.files[WAL]
    (tmp_path / DB).write_bytes(image.files[DB])
    with open_reader(tmp_path / DB) as reader:
        assert reader.last() == image.commits[-1]


@pytest.mark.parametrize("content", ["", "no tables"])
def test_an_empty_journal_beside_other_files_has_lost_something(tmp_path: Path, content: str) -> None:
    path = tmp_path / DB

    def empty() -> None:
        path.write_bytes(b"")
        if content:  # as the file is before the first checkpoint
            change(path, "PRAGMA journal_mode=WAL")

    empty()
    (tmp_path / ".hidden").touch()
    with SqliteJournal.open(path, fresh=HEADER) as journal:
        assert journal.last() == 0
    (tmp_path / "spec.pkl").touch()
    empty()
    before = path.read_bytes()
    for opened in (open_reader, SqliteJournal.open, lambda path: SqliteJournal.open(path, fresh=HEADER)):
        with pytest.raises(JournalCorrupt, match=r"is empty, though an .*other files lie beside it.* Restore both.* delete the directory"):
            opened(path)
    assert path.read_bytes() == before


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


def test_half_a_commit_can_be_given_up_as_the_message_says(image_of: Callable[[str], Image], tmp_path: Path) -> None:
    image = image_of("half a commit")
    path = tmp_path / DB
    path.write_bytes(image.files[DB])
    with pytest.raises(JournalCorrupt, match=r"its last commit ended with record 25, its records end with 26") as caught:
        open_reader(path)
    with pytest.raises(JournalCorrupt, match="cut short or missing"):
        SqliteJournal.open(path)
    change(path, str(caught.value).split("'")[-2])
    with SqliteJournal.open(path) as journal:
        assert [record.event for record in journal.read()] == image.events[:25]


def test_a_record_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / DB
    with SqliteJournal.create(path, HEADER) as journal, open_reader(path) as reader:
        journal.append([report(0, n) for n in range(1, 5)])
        journal._connection.execute("DELETE FROM records WHERE seq = 3")
        for source in (journal, reader):
            with pytest.raises(JournalCorrupt, match=r"records are missing, 4 follows on 2\. Restore"):
                list(source.read())
            assert [record.seq for record in source.read(after=3)] == [4]
        journal._connection.execute("DELETE FROM records WHERE seq = 4")
        with pytest.raises(JournalCorrupt, match="records are missing, they break off after 2 of 4"):
            list(journal.read())
    change(path, "UPDATE records SET seq = 4 WHERE seq = 2")
    with pytest.raises(JournalCorrupt, match="records are missing, it has 2, and the last one is number 4"):
        SqliteJournal.open(path)


def test_a_writer_at_work_is_not_taken_for_damage(
    image_of: Callable[[str], Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes of two files are not seen in the same moment: what one look seems to show must be there at the next one, too."""
    path = tmp_path / DB
    path.write_bytes(image_of("closed, local").files[DB])
    looks: list[tuple[int, int] | None] = [(2048, 4096), None]
    monkeypatch.setattr(damage, "_shorter_than_logs", lambda path: looks.pop(0))
    with open_reader(path) as reader:
        assert reader.last() == 25
    assert looks == []

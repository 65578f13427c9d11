"""Nothing acknowledged is lost: logs cut short anywhere, and a writer that is killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tunesmith.core.ports import Header
from tunesmith.journal import SqliteJournal, open_reader
from tunesmith.testing.journal_kit import report

HEADER = Header("0" * 32, "x", 0.0)


def test_a_log_cut_short_anywhere_opens_with_what_was_committed_before(tmp_path: Path) -> None:
    batches = [[report(0, 1)], [report(0, 2), report(1, 1, note="x" * 300)], [report(1, 2, other=1)]]
    sizes = []
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER, mode="local") as journal:
        log = tmp_path / "experiment.db-wal"
        for batch in batches:
            journal.append(batch)
            sizes.append(log.stat().st_size)
        saved = tmp_path / "saved"
        saved.mkdir()
        shutil.copy(tmp_path / "experiment.db", saved)
        shutil.copy(log, saved)
    lasts = [1, 3, 4]
    cuts = {*range(sizes[0], sizes[-1], 997), *(size + step for size in sizes for step in (-1, 0, 1))}
    work = tmp_path / "work"
    work.mkdir()
    for cut in sorted(cuts):
        shutil.copy(saved / "experiment.db", work)
        (work / "experiment.db-wal").write_bytes((saved / "experiment.db-wal").read_bytes()[:cut])
        expected = max([last for last, size in zip(lasts, sizes, strict=True) if size <= cut], default=0)
        with SqliteJournal.open(work / "experiment.db") as again:
            assert again.last() == expected
            assert [record.seq for record in again.read()] == list(range(1, expected + 1))
            assert again.append([report(5)]) == expected + 1
        with open_reader(work / "experiment.db") as reader:
            assert reader.last() == expected + 1
        (work / "experiment.db").unlink()


WRITER = """
import sys
from tunesmith.core.ports import Header, Record
from tunesmith.core.events import Reported
from tunesmith.journal import SqliteJournal

journal = SqliteJournal.create(sys.argv[1], Header("0" * 32, "x", 0.0), mode="local")
for n in range(1, 1000000):
    seq = journal.append([Record(Reported(0, 0, n, {"loss": 1.0 / n})), Record(Reported(1, 0, n, {"loss": 2.0 / n, "n": n}))])
    print(seq, flush=True)
"""


def test_everything_that_a_killed_writer_acknowledged_is_there(tmp_path: Path) -> None:
    path = tmp_path / "experiment.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= 200:
                break
        writer.kill()
        acknowledged = max(int(line) for line in [line, *writer.stdout] if line.endswith("\n"))
    assert writer.returncode == -signal.SIGKILL
    with open_reader(path) as reader:
        found = reader.last()
    assert found in (acknowledged, acknowledged + 2)
    with SqliteJournal.open(path) as journal:
        assert [record.seq for record in journal.read()] == list(range(1, found + 1))
        assert journal.append([report(0)]) == found + 1

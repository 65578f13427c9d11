"""The table of processes: this machine's own, and made-up entries."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunesmith.executors.process_table import ProcessTable


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own; it ends when its input does."""
    environment = {**os.environ, "TUNESMITH_RUN": "ab12"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["cat"], **pipes, bufsize=0, start_new_session=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"there?")
        assert process.stdout.read(6) == b"there?"  # before that its environment may not be there yet
        yield process
        process.kill()


def test_a_process_and_its_family(sleeper: subprocess.Popen[bytes]) -> None:
    table = ProcessTable()
    found = table.get(sleeper.pid)
    assert found is not None
    assert (found.parent, found.group, found.session) == (os.getpid(), sleeper.pid, sleeper.pid)
    assert found in list(table.all())
    assert b"TUNESMITH_RUN=ab12" in table.environment(sleeper.pid)


def test_killing_ends_it_and_a_namesake_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    table = ProcessTable()
    found = table.get(sleeper.pid)
    assert found is not None
    table.kill(found._replace(started=found.started - 1))
    assert table.get(sleeper.pid) == found
    table.kill(found)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert table.get(sleeper.pid) is None  # it has ended, though nobody has taken note
    assert sleeper.wait() == -signal.SIGKILL
    table.kill(found)
    assert table.environment(sleeper.pid) == frozenset()


@pytest.mark.parametrize("name", ["python", "a) R (b", "a b\tc"])
def test_commands_of_any_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / "proc/12").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    numbers = " ".join(map(str, range(4, 60)))
    (tmp_path / "proc/12/stat").write_text(f"12 ({name}) S 1 2 3 {numbers}\n")
    found = ProcessTable(str(tmp_path)).get(12)
    assert found == (12, 1, 2, 3, 19, name)
    assert list(ProcessTable(str(tmp_path)).all()) == [found]


def test_what_has_ended_counts_no_more(tmp_path: Path) -> None:
    (tmp_path / "proc/12").mkdir(parents=True)
    (tmp_path / "proc/12/stat").write_text(f"12 (x) Z 1 2 3 {' '.join(map(str, range(4, 60)))}\n")
    table = ProcessTable(str(tmp_path))
    assert table.get(12) is None
    assert table.get(13) is None
    assert list(table.all()) == []

"""The file of a study: what was asked and told, one JSON object per line, only ever appended to."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.errors import JournalCorrupt, StorageFull
from tunesmith.journal.lease import Lease

__all__ = ["StudyLog", "written"]


class StudyLog:
    """An open log. One process has it at a time.

    Args:
        path: of the file; made if it is not there.

    Attributes:
        events: those in the file as it was opened. A last line that is half written (its process was killed) is cut off.

    Raises:
        JournalLocked: another study has it open.
        JournalCorrupt: it is no such file; names the line.
        StorageFull: it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lease = Lease.acquire(self.path.with_name(f"{self.path.name}.lock"))
        except OSError as error:
            raise StorageFull(f"the study's file {self.path} cannot be made: {error}.") from error
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            lease.release()
            raise StorageFull(f"the study's file {self.path} cannot be opened: {error}.") from error
        self.close: Callable[[], Any] = weakref.finalize(self, _close, self._file, lease)
        try:
            self.events = self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> list[dict[str, Any]]:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._file, whole)
        events = []
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                event = json.loads(line)
                known = isinstance(event, dict) and "event" in event
            except ValueError:
                known = False
            if not known:
                raise JournalCorrupt(f"{self.path}, line {number}: is no event of a study. Give another path, or mend the file.")
            events.append(event)
        return events

    def append(self, event: dict[str, Any]) -> None:
        """Add one; once this returns, the death of this process takes nothing back.

        Raises:
            StorageFull: it could not be written; the file is as it was.
        """
        line = written(event)
        size = os.fstat(self._file).st_size
        try:
            done = os.write(self._file, line)
        except OSError as error:
            raise StorageFull(f"the study's file {self.path} cannot be written: {error}.") from error
        if done < len(line):
            os.ftruncate(self._file, size)
            raise StorageFull(f"the study's file {self.path} cannot be written: the disk is full.")


def written(event: dict[str, Any]) -> bytes:
    """The line of an event."""
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _close(file: int, lease: Lease) -> None:
    os.close(file)
    lease.release()

"""Bringing a journal of an older format up to this version's, once, when a writer opens it.

A step is a function that changes an open database from one format to the next; it runs inside a transaction, with all the steps that
follow it, and must not commit. It must never need anything that later versions may change: it spells out its SQL.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from tunesmith.core.codec import FORMAT
from tunesmith.errors import JournalCorrupt

__all__ = ["MIGRATIONS", "Step", "backup_path", "migrate"]

Step = tuple[int, Callable[[sqlite3.Connection], None]]

MIGRATIONS: list[Step] = []
"""``(from_version, function)`` in order; format 1 is the first, so nothing needs to be brought up yet."""


def backup_path(path: Path, version: int) -> Path:
    """Where the journal at ``path`` is copied before it is brought up from format ``version``."""
    return path.with_name(f"{path.name}.v{version}.bak")


def migrate(connection: sqlite3.Connection, path: Path, version: int, *, backup: bool = True, steps: Sequence[Step] | None = None) -> None:
    """Bring the open database from format ``version`` to the present one, in one transaction.

    Args:
        connection: the writer's connection, in autocommit mode (``isolation_level=None``), or a reader's copy in memory.
        path: of the journal, for the backup beside it and for messages.
        version: its format.
        backup: leave a copy of the old file at :func:`backup_path`.
        steps: None: :data:`MIGRATIONS`.

    Raises:
        JournalCorrupt: there is no step for a format on the way.
    """
    known = dict(MIGRATIONS if steps is None else steps)
    missing = [number for number in range(version, FORMAT) if number not in known]
    if missing:
        raise JournalCorrupt(
            f"the journal '{path}' has format {version}, and this version of tunesmith cannot bring it up from format {missing[0]}: it is "
            f"no longer supported. Open it once with an older version that can."
        )
    if version == FORMAT:
        return
    if backup:
        _copy(connection, backup_path(path, version))
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(version, FORMAT):
            known[number](connection)
        connection.execute("INSERT OR REPLACE INTO header VALUES ('format', ?)", (str(FORMAT),))
        connection.execute(f"PRAGMA user_version={FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    """A complete copy under ``target`` or none: an interrupted copy does not pass for one."""
    fresh = target.with_name(target.name + ".tmp")
    fresh.unlink(missing_ok=True)
    copy = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.backup(copy)
    finally:
        copy.close()
    os.replace(fresh, target)

"""Network file systems are told from local ones by the mount table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.core.ports import Header
from tunesmith.errors import JournalError
from tunesmith.journal import SqliteJournal
from tunesmith.journal.filesystem import is_network
from tunesmith.journal.stores import LocalStore

MOUNTS = r"""
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/me/scratch tmpfs rw 0 0
me@host:/ /mnt/far\040away fuse.sshfs rw 0 0
overlay /containers fuse.fuse-overlayfs rw 0 0
//nas/x /mnt/nas cifs rw 0 0
/dev/sdb1 /mnt/nas ext4 rw 0 0
broken line
"""


@pytest.mark.parametrize(
    ("path", "network"),
    [
        ("/tmp/x", False),
        ("/home", True),
        ("/home/you/run/experiment.db", True),
        ("/homeless/run", False),
        ("/home/me/scratch/run", False),
        ("/mnt/far away/run", True),
        ("/containers/run", False),
        ("/mnt/nas/run", False),
    ],
)
def test_the_deepest_and_latest_mount_decides(path: str, network: bool) -> None:
    assert is_network(Path(path), MOUNTS) is network


def test_this_machines_own_table_is_read(tmp_path: Path) -> None:
    assert is_network(tmp_path) in (True, False)


@pytest.mark.parametrize(("network", "mode"), [(True, "network"), (False, "local")])
def test_auto_follows_the_file_system_and_stays_with_network(tmp_path: Path, network: bool, mode: str) -> None:
    path = tmp_path / "experiment.db"
    with SqliteJournal.create(path, Header("0" * 32, "x", 0.0), detect=lambda path: network) as journal:
        assert journal.mode == mode
    with SqliteJournal.open(path, detect=lambda path: False) as journal:
        assert journal.mode == mode
    for other in ("local", "network"):
        with SqliteJournal.open(path, mode=other) as journal:
            assert journal.mode == other


def test_a_disk_that_cannot_hold_a_log_is_used_as_a_network_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStore, "prepare", staticmethod(lambda connection: False))
    with SqliteJournal.create(tmp_path / "experiment.db", Header("0" * 32, "x", 0.0), detect=lambda path: False) as journal:
        assert journal.mode == "network"
    with pytest.raises(JournalError, match="use mode 'network'"):
        SqliteJournal.open(journal.path, mode="local")

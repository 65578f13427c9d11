"""What tests of integrations share: a W&B that is offline, with a home of its own, and a reader of the files that it writes."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Run", "read_run"]

_BLOCK, _HEADER = 32768, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class Run:
    """A run as one of W&B's transaction logs has it.

    Attributes:
        rows: what was logged, in order, each with ``_step``.
        exit_code: None: it was never finished.
    """

    id: str = ""
    name: str = ""
    group: str = ""
    project: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    configs: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    exit_code: int | None = None
    path: Path = Path()

    def of(self, *names: str) -> list[tuple[Any, ...]]:
        """The rows' values of these names (None: a row has none)."""
        return [tuple(row.get(name) for name in names) for row in self.rows]


def _records(data: bytes) -> Iterator[bytes]:
    """LevelDB's log format, with a header of W&B's: blocks of 32 KiB, in them pieces of records, each with checksum, length and kind."""
    assert data[:4] == b":W&B", data[:16]
    position, pieces = _HEADER, b""
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, position)
        piece = data[position + _HEADER : position + _HEADER + length]
        assert checksum in (0, zlib.crc32(bytes([kind]) + piece)) or length == len(piece), "a damaged record"
        pieces = piece if kind in (_FULL, _FIRST) else pieces + piece
        position += _HEADER + length
        if kind in (_FULL, _LAST):
            yield pieces


def _value(item: Any) -> Any:
    return json.loads(item.value_json)


def _updated(config: dict[str, Any], items: Any) -> None:
    for item in items:
        if item.key:
            config[item.key] = _value(item)
        else:
            level = config
            for key in item.nested_key[:-1]:
                level = level.setdefault(key, {})
            level[item.nested_key[-1]] = _value(item)
    config.pop("_wandb", None)


def read_run(path: Path) -> Run:
    """Read a ``run-<id>.wandb``."""
    from wandb.proto.wandb_internal_pb2 import Record

    run = Run(path=path)
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            part = record.run
            run.id, run.name, run.group, run.project = part.run_id, part.display_name, part.run_group, part.project
            run.tags = list(part.tags)
            _updated(run.config, part.config.update)
        elif kind == "config":
            _updated(run.config, record.config.update)
            run.configs.append(dict(run.config))
        elif kind == "history":
            row: dict[str, Any] = {}
            _updated(row, record.history.item)
            run.rows.append({**row, "_step": record.history.step.num})
        elif kind == "artifact":
            run.artifacts.append(record.artifact.name)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


@pytest.fixture
def runs() -> Callable[[Path], list[Run]]:
    """All runs below a directory, in the order of their ids; those of one id in the order in which they began."""

    def read(root: Path) -> list[Run]:
        found = [read_run(path) for path in sorted(root.rglob("run-*.wandb"))]
        return sorted(found, key=lambda run: (run.id, run.path.parent.name))

    return read


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """W&B writes below ``tmp_path`` only, and to no server; returns its home there."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC", "RANK"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
    return home


@pytest.fixture
def script(tmp_path: Path, offline: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program offline, in a process and a directory of its own; its results go to ``tmp_path / "results"``."""

    def run(source: str, *arguments: str, status: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(source))
        done = subprocess.run(
            [sys.executable, str(path), *arguments],
            cwd=tmp_path, env={**os.environ, "RESULTS": str(tmp_path / "results"), **environment}, text=True, capture_output=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert status is None or done.returncode == status, done.stdout + done.stderr
        return done

    return run

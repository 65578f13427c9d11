"""Programs as users write and start them: files in a directory of their own, a Python process, and what came out."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Program"]


class Program:
    """A directory of source files, and Python processes started in it (or elsewhere).

    Args:
        folder: where the files go; results go to ``folder / "results"``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"

    def write(self, files: Mapping[str, str]) -> None:
        """``{"helper.py": source, "package/__init__.py": ""}``; sources may be indented."""
        for name, source in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source), encoding="utf-8")

    def python(
        self, *arguments: object, python: object = sys.executable, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with ``arguments``; a failure shows what it printed."""
        options = {"cwd": self.folder, "timeout": 120, **options}
        done = subprocess.run([str(python), *map(str, arguments)], capture_output=True, text=True, check=False, **options)
        assert not check or done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def logs(self, name: str = "stdout.log") -> list[str]:
        """The texts of the trials' log files of this name, in the order of trials."""
        return [path.read_text(encoding="utf-8") for path in sorted(self.results.glob(f"*/*/{name}"))]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """An empty one."""
    return Program(tmp_path)


@pytest.fixture
def run_script(program: Program) -> Callable[..., str]:
    """Runs a script in ``program``'s folder, which finds the folder for results in ``sys.argv[1]``; returns what it printed."""

    def run(source: str, *flags: str, **options: Any) -> str:
        program.write({"script.py": source})
        return program.python(*flags, "script.py", program.results, **options).stdout

    return run

"""What the benchmarks share: fresh processes, interleaved repetitions, medians, and one line per comparison.

Ours and the peer's are measured in one run, turn by turn, so that a busy machine slows both; what counts is the ratio of the medians.
Each measurement runs in a process of its own, because warm caches, loaded modules and a grown heap belong to whoever made them.

What measurements write stays until everything is measured. ext4 does not give an inode out again for a minute or so after its file was
deleted: where thousands were just deleted, making a file begins with a search for one that was not, and takes 20 times as long.
Benchmarks that tidied up after each repetition would measure that in all but the first.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Row", "machine", "main", "measure", "number", "peer", "quiet", "scratch", "stopwatch", "workspace"]

_ROOT = "TUNESMITH_BENCH_SCRATCH"


@dataclass
class Row:
    """One line of the table.

    Args:
        what: the thing measured, with its unit ("inline trials/s").
        value: our median.
        target: what we want to reach; compared in the direction of ``better``.
        better: "higher" or "lower".
        peer: who it is compared with ("Optuna 5.0.0, SQLite"); empty: nobody.
        peer_value: their median.
    """

    what: str
    value: float
    target: float | None = None
    better: str = "higher"
    peer: str = ""
    peer_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer; above 1 is in our favour."""
        if not self.peer_value:
            return None
        return self.value / self.peer_value if self.better == "higher" else self.peer_value / self.value

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "higher" else self.value <= self.target

    def __str__(self) -> str:
        text = f"{self.what}: {number(self.value)}"
        if self.target is not None:
            sign = ">=" if self.better == "higher" else "<="
            text += f" (to reach {sign} {number(self.target)}: {'yes' if self.reached else 'NO'})"
        if self.ratio is not None and self.peer_value is not None:
            text += f"; {self.peer}: {number(self.peer_value)}; ratio {self.ratio:.2f}"
        return text


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@contextlib.contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Yields a function that gives the seconds since the ``with`` began, frozen when it ends."""
    start = time.perf_counter()
    end: list[float] = []
    yield lambda: (end[0] if end else time.perf_counter()) - start
    end.append(time.perf_counter())


@contextlib.contextmanager
def workspace() -> Iterator[None]:
    """Holds the folders of all measurements made inside it, in child processes too, and deletes them at its end; an outer one goes on."""
    if _ROOT in os.environ:
        yield
        return
    os.environ[_ROOT] = tempfile.mkdtemp(prefix="tunesmith-bench-")
    try:
        yield
    finally:
        shutil.rmtree(os.environ.pop(_ROOT))


def scratch() -> Path:
    """A new folder on the same disk as results would be. Nothing in it is deleted before the :func:`workspace` ends."""
    return Path(tempfile.mkdtemp(dir=os.environ[_ROOT]))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing on the terminal: console output of either side would be measured with it."""
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        yield


def measure(script: str, cases: list[str], repeat: int, seldom: Mapping[str, int] | None = None) -> dict[str, dict[str, float]]:
    """Medians of what each of ``cases`` prints as JSON, when ``script`` runs it in a fresh process, ``repeat`` times in turn.

    Args:
        script: the benchmark's ``__file__``.
        cases: names of cases, in the order of the first turn; every other turn has the opposite order.
        repeat: turns.
        seldom: case -> in how many turns at most it takes part: slow ones.
    """
    seen: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
    for turn in range(repeat):
        for case in cases if turn % 2 == 0 else reversed(cases):
            if seldom and turn >= seldom.get(case, repeat):
                continue
            done = subprocess.run([sys.executable, script, "--case", case], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SystemExit(f"{Path(script).name} --case {case} failed:\n{done.stderr}")
            seen[case].append(json.loads(done.stdout.splitlines()[-1]))
    return {case: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for case, runs in seen.items()}


def peer(package: str, how: str = "") -> str:
    """Name and version of an installed peer, for the table."""
    name = f"{package.capitalize()} {metadata.version(package)}"
    return f"{name}, {how}" if how else name


def machine() -> str:
    """What the numbers were measured on."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def main(script: str, cases: dict[str, Callable[[], dict[str, Any]]], table: Callable[[int], list[Row]], repeat: int = 5) -> None:
    """Command line of a benchmark: the whole comparison, or (in the child process) one case.

    Args:
        script: the benchmark's ``__file__``.
        cases: name -> function that measures once and returns numbers.
        table: runs :func:`measure` with the given number of repetitions and builds the rows.
        repeat: repetitions if ``--repeat`` is not given.
    """
    arguments = sys.argv[1:]
    if arguments[:1] == ["--case"]:
        with workspace(), quiet():
            result = cases[arguments[1]]()
        print(json.dumps(result))
        return
    if arguments[:1] == ["--repeat"]:
        repeat = int(arguments[1])
    with workspace():
        rows = table(repeat)
    for row in rows:
        print(row)
    if collected := os.environ.get("TUNESMITH_BENCH_ROWS"):
        with open(collected, "a", encoding="utf-8") as file:
            file.writelines(json.dumps({"script": Path(script).name, **asdict(row)}) + "\n" for row in rows)

"""What the benchmarks share: fresh processes, interleaved repetitions, medians, and one line per comparison.

Ours and the peer's are measured in one run, turn by turn, so that a busy machine slows both; what counts is the ratio of the medians.
Each measurement runs in a process of its own, because warm caches, loaded modules and a grown heap belong to whoever made them.

What measurements write stays until everything is measured. ext4 does not give an inode out again for a minute or so after its file was
deleted: where thousands were just deleted, making a file begins with a search for one that was not, and takes 20 times as long.
Benchmarks that tidied up after each repetition would measure that in all but the first.
"""

from __future__ import annotations

import compileall
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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = [
    "Medians",
    "Objective",
    "Row",
    "beside",
    "machine",
    "main",
    "number",
    "peer",
    "plane",
    "reports_a_second",
    "scratch",
    "stopwatch",
    "timed_run",
    "trials_a_second",
    "workspace",
]

Medians = dict[str, dict[str, float]]
"""Of each case, by what it has measured."""

Objective = Callable[[dict[str, Any]], None]

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


def beside(what: str, value: float, target: float, peers: Mapping[str, float]) -> list[Row]:
    """One row for each of ``peers``, in the order given; more is better."""
    return [Row(what, value, target, peer=name, peer_value=theirs) for name, theirs in peers.items()]


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


def timed_run(objective: Objective, trials: int, executor: str, config: dict[str, Any] | None = None, **options: Any) -> float:
    """Seconds from the call of our ``run()`` to its return; nothing is shown, and files go to a new folder.

    Args:
        objective: to be defined in the benchmark's own script, as users have it in theirs: what comes from another module is handed to
            workers in another way.
        trials: how many.
        executor: "inline" or "local".
        config: what is searched, by the seed 1, for the least "loss"; None: nothing is.
        **options: further arguments of ``run()``.
    """
    import tunesmith as tune

    if config is not None:
        options |= {"config": config, "metric": "loss", "mode": "min", "seed": 1, "search_alg": "random"}
    folder = scratch()
    with stopwatch() as elapsed:
        tune.run(objective, num_samples=trials, executor=executor, verbose=0, storage_path=str(folder), **options)
    return elapsed()


def trials_a_second(objective: Objective, trials: int, executor: str, *, warm_up: int, **options: Any) -> dict[str, float]:
    """What our trials on the :func:`plane` reach, after a run of ``warm_up`` of them; for the rest see :func:`timed_run`.

    Modules are loaded in the first run: import_time.py measures that.
    """
    timed_run(objective, warm_up, executor, plane(), **options)
    return {"trials/s": trials / timed_run(objective, trials, executor, plane(), **options)}


def reports_a_second(reporting: Callable[[int], Objective], trials: int, reports: int, executor: str, *, warm_up: int) -> dict[str, float]:
    """What our trials that report again and again reach, after a run with ``warm_up`` reports in each; for the rest see :func:`timed_run`.

    Args:
        reporting: makes the objective, given how often it is to report.
        trials: how many.
        reports: of each.
        executor: "inline" or "local".
        warm_up: reports of each in the run before.
    """
    import tunesmith as tune

    space = {"x": tune.uniform(0, 1)}
    timed_run(reporting(warm_up), trials, executor, space)
    return {"reports/s": trials * reports / timed_run(reporting(reports), trials, executor, space)}


def plane() -> dict[str, Any]:
    """Two parameters at random; the peers have the same."""
    import tunesmith as tune

    return {"x": tune.uniform(-5, 5), "y": tune.loguniform(1e-3, 1)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on the terminal: console output of either side would be measured with it."""
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        yield


def _measure(script: str, cases: list[str], repeat: int, seldom: Mapping[str, int]) -> Medians:
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
            if turn >= seldom.get(case, repeat):
                continue
            done = subprocess.run([sys.executable, script, "--case", case], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SystemExit(f"{Path(script).name} --case {case} failed:\n{done.stderr}")
            seen[case].append(json.loads(done.stdout.splitlines()[-1]))
    return {case: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for case, runs in seen.items()}


def _compile() -> None:
    """Have our bytecode there, as pip leaves it: a checkout has none, and where Python may not write it every process compiles anew."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    for path in (find_spec("tunesmith") or sys.exit("tunesmith is not installed")).submodule_search_locations or ():
        compileall.compile_dir(path, quiet=1)


def peer(package: str, how: str = "") -> str:
    """Name and version of an installed peer, for the table."""
    name = f"{package.capitalize()} {metadata.version(package)}"
    return f"{name}, {how}" if how else name


def machine() -> str:
    """What the numbers were measured on."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def main(
    script: str,
    cases: Mapping[str, Callable[[], dict[str, float]]],
    table: Callable[[Medians], list[Row]],
    repeat: int = 5,
    seldom: Mapping[str, int] | None = None,
) -> None:
    """Command line of a benchmark: the whole comparison, or (in the child process) one case.

    Args:
        script: the benchmark's ``__file__``.
        cases: name -> function that measures once and returns numbers.
        table: builds the rows from the medians of what the cases have returned.
        repeat: repetitions if ``--repeat`` is not given.
        seldom: case -> in how many repetitions at most it takes part: slow ones.

    Raises:
        SystemExit: the command line is something else, or a case has failed.
    """
    match sys.argv[1:]:
        case ["--case", case] if case in cases:
            with workspace(), _quiet():
                result = cases[case]()
            print(json.dumps(result))
            return
        case ["--repeat", count] if count.isdecimal() and int(count) > 0:
            repeat = int(count)
        case []:
            pass
        case _:
            raise SystemExit(f"usage: {Path(script).name} [--repeat N | --case {{{','.join(cases)}}}]")
    _compile()
    with workspace():
        rows = table(_measure(script, list(cases), repeat, seldom or {}))
    for row in rows:
        print(row)
    if collected := os.environ.get("TUNESMITH_BENCH_ROWS"):
        with open(collected, "a", encoding="utf-8") as file:
            file.writelines(json.dumps({"script": Path(script).name, **asdict(row)}) + "\n" for row in rows)

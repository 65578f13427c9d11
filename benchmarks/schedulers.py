"""Schedulers in simulated time: how soon each is where random search ends, beside the peers' schedulers of the same names.

    python benchmarks/schedulers.py [--tasks "digits; Hartmann 6, good"] [--seeds 20] [--workers 8] [--only WORD]

Tasks: "digits", the curves of 2,000 real networks (make_curves.py), and functions of _mf_hartmann.py with 2,000 random points each. Trials
have 81 iterations. Seed by seed all searches get the same configurations in the same order, the same workers and the same clock; starting,
pausing and resuming take no time.

Random search trains 16 configurations per worker (at least 128) to the end. What it then has, the smallest loss that any trial reported, is
the quality to reach, and when the last of them ends is its time. The others draw configurations without end, and are given the same
time. Measured is when they first report a loss that is as small, as a share of random search's time; 1 if they never do. Shares are
averaged over seeds geometrically, intervals are 95 % bootstrap intervals over seeds, and comparisons are paired by seed. Regret is what
the best loss so far lacks to the smallest in the table, as the median over seeds, when 1/10 and 1/5 of random search's time are over.

No trial can reach the end before its own training is through: with 16 trainings a worker, that takes about 1/16 of random search's time.

What a search leaves at the end of a fixed number of samples is shown too: PASHA is meant for that.

Ours are run by ``tune.simulate`` with the real core, the peers' own classes by _simulator.py. Ray Tune and Optuna are in the benchmarks'
environment. Syne Tune needs one of its own (0.13 has what 0.16 has no more, and wants numpy 1)::

    python -m venv ../syne && ../syne/bin/pip install syne-tune==0.13.0
    TUNESMITH_BENCH_PYTHONS=../syne/bin/python python benchmarks/schedulers.py

Several of them are separated as in PATH. Peers that are nowhere are left out, and named.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import Row, scratch, workspace
from _mf_hartmann import ITERATIONS, Hartmann
from _sim_ours import OURS
from _sim_peers import PEERS
from _simulator import Run

HERE = Path(__file__).parent
TABLE = HERE / "curves" / "digits.npz"
POINTS, SAMPLES, PIECE = 2000, 16, 5
RANDOM, CUTS = "random, fully trained", ("cut at 1", "cut at 9")
BESIDE = {
    "successive halving": ("Optuna successive halving",),
    "ASHA (stop)": ("Ray ASHA", "Optuna successive halving", "Syne Tune ASHA (stop)", "Syne Tune 0.16 ASHA (stop)"),
    "ASHA (promote)": ("Syne Tune ASHA (promote)",),
    "ASHA (5 brackets)": ("Optuna Hyperband",),
    "HyperBand": ("Ray HyperBand", "Optuna Hyperband", "Syne Tune HyperBand"),
    "HyperBand (BOHB's order)": ("Syne Tune HyperBand",),
    "median": ("Optuna median", "Syne Tune median"),
}
BESIDE_FIXED = {
    "ASHA (stop)": ("Ray ASHA",),
    "ASHA (promote)": ("Syne Tune ASHA (promote)",),
    "HyperBand": ("Ray HyperBand",),
    "PASHA": ("Syne Tune PASHA",),
    "median": ("Ray median",),
}
"""Peers of the same name, or with the same idea; and those that are compared with a fixed number of samples, too or only: Ray's median
rule makes paused trials wait for ever where new ones never run out, and Syne Tune's PASHA takes minutes for 1,000 trials."""

ENOUGH = 0.25
"""Searches that have reached the quality go on until this share of random search's time is over, for the regret, and no longer."""

Interval = tuple[float, float, float]


@dataclass(slots=True)
class Task:
    """Curves in a file, and what random search makes of them.

    Args:
        name: for people.
        file: with arrays "loss" and "seconds".
        best: the smallest loss in it.
        workers: of every search.
        random: the run of random search, by seed.
    """

    name: str
    file: str
    best: float
    workers: int
    random: dict[int, Run]

    def horizon(self, seed: int) -> float:
        return self.random[seed].seconds

    def quality(self, seed: int) -> float:
        return self.random[seed].best[-1][1]

    def share(self, seed: int, run: Run) -> float:
        """Of random search's time, until its quality is reached; at most 1."""
        return min(run.reached(self.quality(seed)) / self.horizon(seed), 1.0)


# -- tasks ---------------------------------------------------------------------------------------------------------------


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from tunesmith.simulation import CurveTable

    table = CurveTable.load(TABLE)
    return table.metrics[table.names.index("loss")], table.seconds


def _hartmann(dimensions: int, level: str) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    def make() -> tuple[np.ndarray, np.ndarray]:
        task, rng = Hartmann(dimensions, level), random.Random(0)
        points = [[rng.random() for _ in range(dimensions)] for _ in range(POINTS)]
        steps = range(1, ITERATIONS + 1)
        loss, seconds = ([[function(x, step) for step in steps] for x in points] for function in (task.loss, task.seconds))
        return np.array(loss), np.array(seconds)

    return make


TASKS: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "digits": _digits,
    "Hartmann 3, good": _hartmann(3, "good"),
    "Hartmann 3, bad": _hartmann(3, "bad"),
    "Hartmann 6, good": _hartmann(6, "good"),
    "Hartmann 6, bad": _hartmann(6, "bad"),
}
USUAL = ("digits", "Hartmann 6, good", "Hartmann 6, bad")


def prepare(name: str, workers: int, seeds: Sequence[int]) -> Task:
    """Make the curves, and run random search on them."""
    loss, seconds = TASKS[name]()
    file = str(scratch() / "curves.npz")
    np.savez(file, loss=loss, seconds=seconds)
    task = Task(name, file, float(loss.min()), workers, {})
    limits = {"workers": workers, "samples": max(128, SAMPLES * workers)}
    task.random = play(task, RANDOM, dict.fromkeys(seeds, limits))
    return task


# -- playing -------------------------------------------------------------------------------------------------------------


def pythons() -> list[str]:
    """Interpreters whose environments may have peers."""
    return [sys.executable, *filter(None, os.environ.get("TUNESMITH_BENCH_PYTHONS", "").split(os.pathsep))]


def homes() -> dict[str, tuple[str, str]]:
    """Peers that are somewhere -> interpreter and version."""
    found = {}
    for name in PEERS:
        for python in pythons():
            done = subprocess.run([python, str(HERE / "_sim_peers.py"), "--version", name], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found[name] = (python, done.stdout.strip())
                break
    return found


def play(task: Task, name: str, searches: dict[int, dict[str, Any]], python: str = sys.executable) -> dict[int, Run]:
    """One run for each seed, by child processes, as many at once as there are cores: it is not their speed that is measured."""
    script = "_sim_ours.py" if name in OURS else "_sim_peers.py"
    pieces = [list(searches.items())[at : at + PIECE] for at in range(0, len(searches), PIECE)]
    jobs = [{"peer": name, "curves": task.file, "searches": piece} for piece in pieces]

    def one(job: dict[str, Any]) -> list[dict[str, Any]]:
        path = scratch() / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        done = subprocess.run([python, str(HERE / script), str(path)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{name} on {task.name} failed:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = [Run(**run) for piece in pool.map(one, jobs) for run in piece]
    return dict(zip(searches, runs, strict=True))


def race(task: Task, name: str, python: str = sys.executable) -> dict[int, Run]:
    """A search without end for as long as random search takes."""
    searches = {}
    for seed in task.random:
        time = task.horizon(seed)
        searches[seed] = {"workers": task.workers, "horizon": time, "target": task.quality(seed), "least": ENOUGH * time}
    return play(task, name, searches, python)


# -- figures -------------------------------------------------------------------------------------------------------------


def mean(values: Sequence[float]) -> Interval:
    """Geometric mean, and its 95 % bootstrap interval."""
    logs = np.log(values)
    drawn = np.random.default_rng(0).choice(logs, (10_000, len(logs))).mean(1)
    low, high = np.exp(np.percentile(drawn, [2.5, 97.5])).tolist()
    return math.exp(logs.mean()), low, high


def show(interval: Interval) -> str:
    return f"{interval[0]:.3f} [{interval[1]:.3f}, {interval[2]:.3f}]"


def paired(task: Task, ours: dict[int, Run], theirs: dict[int, Run]) -> Interval:
    """Our time over theirs."""
    return mean([task.share(seed, run) / task.share(seed, theirs[seed]) for seed, run in ours.items()])


def line(task: Task, name: str, runs: dict[int, Run]) -> str:
    """One search on one task, as a line of a table in Markdown."""
    there = sum(run.reached(task.quality(seed)) < math.inf for seed, run in runs.items())
    parts = [statistics.median(run.at(part * task.horizon(seed)) - task.best for seed, run in runs.items()) for part in (0.1, 0.2)]
    cells = [name, show(mean([task.share(*item) for item in runs.items()])), f"{there}/{len(runs)}", *(f"{one:.4f}" for one in parts)]
    return f"| {' | '.join(cells)} |"


def fixed(task: Task, peers: dict[str, tuple[str, str]], wanted: Sequence[str]) -> list[Row]:
    """With as many samples as random search: when each is over, and what it has then."""
    print("\n| search, as many samples as random search | over after / its time | regret then | as good as random search |")
    print("|---|---|---|---|")
    limits = {"workers": task.workers, "samples": max(128, SAMPLES * task.workers)}
    ends: dict[str, dict[int, float]] = {}
    for name in [*wanted, *(peer for ours in wanted for peer in BESIDE_FIXED.get(ours, ()) if peer in peers)]:
        runs = play(task, name, dict.fromkeys(task.random, limits), peers[name][0] if name in peers else sys.executable)
        ends[name] = {seed: run.seconds / task.horizon(seed) for seed, run in runs.items()}
        left = statistics.median(run.best[-1][1] - task.best for run in runs.values())
        same = sum(run.best[-1][1] <= task.quality(seed) for seed, run in runs.items())
        print(f"| {name} | {show(mean([*ends[name].values()]))} | {left:.4f} | {same}/{len(runs)} |", flush=True)
    rows = []
    for name in wanted:
        for peer in (peer for peer in BESIDE_FIXED.get(name, ()) if peer in ends):
            ratio = mean([ends[name][seed] / end for seed, end in ends[peer].items()])
            print(f"{name} is over after {show(ratio)} of the time of {peer} ({peers[peer][1]})")
            what = f"{task.name}, {task.workers} workers: {name}, over after this share of random search's time, with as many samples"
            beside = f"{peer}, {peers[peer][1]}, paired [{1 / ratio[2]:.2f}, {1 / ratio[1]:.2f}]"
            rows.append(Row(what, mean([*ends[name].values()])[0], None, "lower", beside, mean([*ends[peer].values()])[0]))
    return rows


def compare(task: Task, peers: dict[str, tuple[str, str]], only: str) -> list[Row]:
    """All searches on one task: prints tables, and returns what goes into the page of all benchmarks."""
    head = f"{task.name}, {task.workers} workers"
    print(f"\n## {head}, {len(task.random)} seeds\n")
    print("| search | time to random search's quality / its time | reached | regret at 1/10 | at 1/5 |")
    print("|---|---|---|---|---|")
    runs: dict[str, dict[int, Run]] = {}
    wanted = [name for name in OURS if name != RANDOM and (only in name or name in CUTS)]
    for name in dict.fromkeys([*wanted, *(peer for ours in wanted for peer in BESIDE.get(ours, ()) if peer in peers)]):
        runs[name] = race(task, name, peers[name][0]) if name in peers else race(task, name)
        print(line(task, name, runs[name]), flush=True)
    print("\n| ours | beside | our time / theirs |\n|---|---|---|")
    rows = []
    for name in wanted:
        value = mean([task.share(*item) for item in runs[name].items()])
        target = 0.2 if name == "ASHA (stop)" and task.workers == 8 else None
        what = f"{head}: {name}, share of random search's time until its quality"
        beside = [peer for peer in BESIDE.get(name, ()) if peer in runs]
        for peer in beside:
            ratio = paired(task, runs[name], runs[peer])
            print(f"| {name} | {peer} ({peers[peer][1]}) | {show(ratio)}{' WORSE' if ratio[1] > 1 else ''} |")
            theirs = mean([task.share(*item) for item in runs[peer].items()])
            span = f"paired [{1 / ratio[2]:.2f}, {1 / ratio[1]:.2f}]"
            rows.append(Row(what, value[0], target, "lower", f"{peer}, {peers[peer][1]}, {span}", theirs[0]))
        if not beside:
            rows.append(Row(f"{what} [{value[1]:.2f}, {value[2]:.2f}]", value[0], target, "lower"))
        for cut in CUTS:
            if name not in CUTS:
                ratio = paired(task, runs[name], runs[cut])
                print(f"| {name} | {cut} | {show(ratio)}{' more than 5 % behind' if ratio[0] > 1.05 else ''} |")
    return rows + fixed(task, peers, wanted)


def publish(rows: list[Row]) -> None:
    """As the other benchmarks do."""
    for row in rows:
        print(row)
    if collected := os.environ.get("TUNESMITH_BENCH_ROWS"):
        with open(collected, "a", encoding="utf-8") as file:
            file.writelines(json.dumps({"script": Path(__file__).name, **asdict(row)}) + "\n" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Schedulers in simulated time.")
    parser.add_argument("--tasks", default=";".join(USUAL), help=f"of: {'; '.join(TASKS)}")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--only", default="", help="those of ours whose names contain it, and the fixed cuts")
    options = parser.parse_args()
    peers = homes()
    if missing := [name for name in PEERS if name not in peers]:
        print(f"left out, as they are in none of {', '.join(pythons())}: {', '.join(missing)}")
    with workspace():
        rows = []
        for name in options.tasks.split(";"):
            task = prepare(name.strip(), options.workers, range(options.seeds))
            rows += compare(task, peers, options.only)
        print()
        publish(rows)


if __name__ == "__main__":
    main()

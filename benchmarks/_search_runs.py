"""One search on one task, whoever proposes, and where results are kept."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from _search_ours import Ours, our_versions
from _search_peers import PEERS, Player, peer_versions
from _search_spaces import Config, Space, dump
from _search_tasks import make

__all__ = ["BUDGETS", "Job", "Results", "Run", "missing", "play", "play_all"]

HERE = Path(__file__).parent
BUDGETS = (25, 50, 100, 200)
"""After so many evaluations it is looked at what a search has found."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be run.

    Args:
        searcher: a key of PEERS, or one of ours.
        task: see _search_tasks.py.
        seed: of the task and of the search.
        budget: evaluations; searchers are told of it where they want to know.
    """

    searcher: str
    task: str
    seed: int
    budget: int


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a job.

    Args:
        job: what was run.
        left: at each of the :data:`BUDGETS` up to the job's: what the configuration with the least observed loss leaves to the optimum
            by its true loss, as a share of what the median configuration leaves.
        ms: milliseconds of processor time per evaluation that the searcher itself took, for asking and telling.
        versions: of what decides what is proposed.
    """

    job: Job
    left: tuple[float, ...]
    ms: float
    versions: dict[str, str]

    def line(self) -> str:
        return json.dumps({**asdict(self.job), "left": self.left, "ms": self.ms, "versions": self.versions})

    @classmethod
    def of(cls, line: str) -> Run:
        told: dict[str, Any] = json.loads(line)
        left, ms, versions = (told.pop(name) for name in ("left", "ms", "versions"))
        return cls(Job(**told), tuple(left), ms, versions)


# -- playing -------------------------------------------------------------------------------------------------------------


class Remote:
    """A peer in another interpreter."""

    def __init__(self, python: str, name: str, space: Space, seed: int, budget: int) -> None:
        command = [python, str(HERE / "_search_peers.py"), name]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._send({"space": dump(space), "seed": seed, "budget": budget})
        self.versions: dict[str, str] = self._receive()
        self._spent = 0.0

    def _send(self, message: Any) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(message) + "\n")
        self._child.stdin.flush()

    def _receive(self) -> Any:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self._child.args))} ended with status {self._child.wait()}")  # type: ignore[arg-type]
        return json.loads(line)

    def ask(self) -> Config:
        self._send(None)
        config, self._spent = self._receive()
        return config

    def tell(self, loss: float) -> None:
        self._send(loss)

    def clock(self) -> float:
        """Processor seconds, up to its last answer."""
        return self._spent

    def close(self) -> None:
        self._child.communicate()


def _player(job: Job, space: Space) -> tuple[Player, dict[str, str]]:
    if job.searcher not in PEERS:
        return Ours(job.searcher, space, job.seed, job.budget), our_versions()
    try:
        return PEERS[job.searcher][0](space, job.seed, job.budget), peer_versions(job.searcher)
    except ImportError as error:
        refusal = error
    for python in filter(None, os.environ.get("TUNESMITH_BENCH_PYTHONS", "").split(os.pathsep)):
        try:
            remote = Remote(python, job.searcher, space, job.seed, job.budget)
        except RuntimeError:
            continue
        return remote, remote.versions
    raise refusal


def play(job: Job) -> Run:
    """Run it, in this process."""
    task = make(job.task, job.seed)
    player, versions = _player(job, task.space)
    clock = player.clock if isinstance(player, Remote) else time.process_time
    best, incumbent, spent = math.inf, None, 0.0
    left: list[float] = []
    for number in range(job.budget):
        begin = clock()
        config = player.ask()
        spent += clock() - begin
        loss = task.evaluate(config, number)
        if loss < best:
            best, incumbent = loss, config
        begin = clock()
        player.tell(loss)
        spent += clock() - begin
        if number + 1 in BUDGETS:
            assert incumbent is not None
            left.append(float(f"{task.left(incumbent):.4g}"))
    if isinstance(player, Remote):
        player.close()
    return Run(job, tuple(left), round(spent / job.budget * 1e3, 3), versions)


def play_all(jobs: Sequence[Job], processes: int) -> Iterator[Run]:
    """Each as soon as it is through, several at once; a job that fails is shown, and left out."""
    waiting, running = iter(jobs), dict[Future[Run], Job]()
    # new processes now and then, because peers keep what they have; and not forks, because of the threads of torch
    with ProcessPoolExecutor(processes, get_context("spawn"), _end_with_parent, max_tasks_per_child=100) as pool:
        while True:
            for job in waiting:
                running[pool.submit(play, job)] = job
                if len(running) == 2 * processes:
                    break
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(done)
                try:
                    yield done.result()
                except (Exception, SystemExit) as error:
                    print(f"FAILED {job}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next job for ever."""

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


# -- keeping -------------------------------------------------------------------------------------------------------------


class Results:
    """Lines of JSON in a folder, a file for each searcher."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _file(self, searcher: str) -> Path:
        return self.folder / f"{re.sub('[^a-z0-9]+', '_', searcher.lower()).strip('_')}.jsonl"

    def add(self, run: Run) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self._file(run.job.searcher), "a", encoding="utf-8") as file:
            file.write(run.line() + "\n")

    def drop(self, jobs: Iterable[Job]) -> None:
        """Forget what there is of these."""
        gone = set(jobs)
        for searcher in {job.searcher for job in gone}:
            if (file := self._file(searcher)).exists():
                kept = [line for line in file.read_text(encoding="utf-8").splitlines() if Run.of(line).job not in gone]
                file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def all(self) -> dict[Job, Run]:
        """Everything, in the order of jobs."""
        runs = [Run.of(line) for file in sorted(self.folder.glob("*.jsonl")) for line in file.read_text(encoding="utf-8").splitlines()]
        return {run.job: run for run in sorted(runs, key=lambda run: (run.job.searcher, run.job.task, run.job.seed, run.job.budget))}


def missing(jobs: Sequence[Job], results: Results) -> list[Job]:
    """Those that have no result, as many in a row as possible on equal tasks, whose tables are loaded once then."""
    there = results.all()
    return [job for job in jobs if job not in there]

"""What runs in one of the processes that make up a trial (:mod:`tunesmith.trainable.ranks`)."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from tunesmith.blame import describe, outcome_of
from tunesmith.checkpoints.checkpoint import Checkpoint
from tunesmith.errors import TrialStopped
from tunesmith.executors.preload import loaded
from tunesmith.executors.surroundings import limit_threads
from tunesmith.trainable.base import TrainableSpec
from tunesmith.trainable.function import run_function
from tunesmith.trainable.homes import set_main
from tunesmith.trainable.outpost import Ended, Outpost
from tunesmith.trainable.parcel import unpack
from tunesmith.trainable.place import Place
from tunesmith.trainable.seeding import seed_all, seed_on_import
from tunesmith.trainable.session import activate, deactivate

__all__ = ["Job", "Setup", "main", "run_rank"]


class Setup(Protocol):
    """What lets the processes work together. It travels to each of them."""

    def enter(self, outpost: Outpost) -> None:
        """Before the user's function runs. ``outpost.exchange({"meeting": value})`` of rank 0 tells all ranks a value."""

    def leave(self) -> None:
        """It has returned, or was told to stop."""


@dataclass(slots=True)
class Job:
    """What a rank runs.

    Args:
        address: of the trial's relay.
        place: of the rank.
        spec: the function.
        config: of the trial.
        setup: see there.
        variables: of the rank's environment.
        threads: for libraries to use.
        seed: of the trial: the same for all ranks.
    """

    address: str
    place: Place
    spec: TrainableSpec
    config: dict[str, Any]
    setup: Setup
    variables: Mapping[str, str]
    threads: int
    seed: int


def run_rank(job: Job, start: Checkpoint | None = None) -> int:
    """Run it to its end; returns the exit code of a process that has done nothing else.

    Args:
        start: a copy of the checkpoint that the trial begins from, where the trial's own can't be seen.
    """
    before = frozenset(sys.modules)
    os.environ.update(job.variables)
    limit_threads(job.threads)
    seed_all(job.seed)
    seed_on_import(job.seed)
    signal.signal(signal.SIGTERM, _told)
    error: dict[str, Any] = {}
    try:
        outpost = Outpost(job.address, job.place, job.config)
        outpost.checkpoint = outpost.checkpoint or start
    except TrialStopped:
        return 0
    try:
        job.setup.enter(outpost)
        token = activate(outpost)
        try:
            run_function(job.spec.target, job.spec.form, job.spec.parameters, outpost)
        finally:
            outpost.close()
            deactivate(outpost, token)
    except TrialStopped:
        pass
    except BaseException as failed:
        error = {**describe(failed), "outcome": outcome_of(failed)}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        newest = {name: module for name, module in sys.modules.copy().items() if name not in before}
        outpost.tell({"ended": error, "modules": loaded(newest)})
        if not error:
            job.setup.leave()  # others may wait for this one there
    except TrialStopped:
        pass
    return 1 if error else 0


def finish(code: int) -> NoReturn:
    """Leave a process that was forked, as a Python process does, without tearing down what it was forked with."""
    try:
        if "multiprocessing.util" in sys.modules:
            sys.modules["multiprocessing.util"]._exit_function()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


def main(path: str, rank: int) -> NoReturn:
    """Entry point of a fresh interpreter; ``path``: a file with what :func:`tunesmith.trainable.ranks.packed` has made."""
    with open(path, "rb") as file:
        given = pickle.load(file)
    set_main(given["main"])
    sys.argv = given["argv"]
    sys.exit(run_rank(job_of(given, given["places"][rank])))


def job_of(given: Mapping[str, Any], place: Place) -> Job:
    """The job of one rank, in another process than the trial's."""
    spec = unpack(given["trainable"], [bytearray(buffer) for buffer in given["buffers"]])
    config = unpack(given["config"])
    return Job(given["address"], place, spec, config, given["setup"], given["variables"], given["threads"], given["seed"])


def _told(_number: int, _frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what unwinds should not be disturbed
    raise Ended("the trial was told to stop")

"""Which worker a trial gets, and what it finds there: the driver's surroundings of that moment, its own seed and thread count."""

from __future__ import annotations

import importlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith.executors import LocalExecutor
from tunesmith.executors.base import STOP
from tunesmith.testing.executor_rig import Reusable, Rig, Stepper, ended_of
from tunesmith.trainable.base import with_parameters
from tunesmith.trainable.session import report

GROWN: list[Any] = []


def spoils(config: dict[str, Any]) -> None:
    report(pid=os.getpid())
    how = config.get("how")
    if how == "children":
        subprocess.Popen(["sleep", "1000"])
    elif how == "zombie":
        os.waitid(os.P_PID, subprocess.Popen(["true"]).pid, os.WEXITED | os.WNOWAIT)
    elif how == "daemon":
        if os.fork() == 0:
            if os.fork() == 0:
                signal.pause()
            os._exit(0)
        os.wait()
    elif how == "threads":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    elif how == "cwd":
        os.chdir("/")
    elif how == "environment":
        os.environ["SPOILT"] = "1"
    elif how == "path":
        sys.path.insert(0, "/nowhere")
    elif how == "memory":
        GROWN.append(b"x" * (80 << 20))
    elif how == "error":
        raise ValueError
    elif how == "finished thread":
        thread = threading.Thread(target=print)
        thread.start()
        thread.join()
    elif how == "finished child":
        subprocess.run(["true"], check=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    executor = LocalExecutor()
    try:
        yield Rig(executor, spoils, tmp_path_factory.mktemp("reuse"))
    finally:
        executor.close()


@pytest.fixture
def rigs(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    executors: list[LocalExecutor] = []

    def make(trainable: Any, **setup: Any) -> Rig:
        executors.append(LocalExecutor())
        return Rig(executors[-1], trainable, tmp_path, **setup)

    yield make
    for executor in executors:
        executor.close()


NUMBERS = iter(range(1000))


def pid_of(rig: Rig, how: str = "", **given: Any) -> int:
    trial = next(NUMBERS)
    rig.run(trial, config={"how": how}, **given)
    pid: int = rig.reports(trial)[0].metrics["pid"]
    return pid


@pytest.mark.parametrize("how", ["children", "zombie", "daemon", "threads", "cwd", "environment", "path", "memory", "error"])
def test_what_makes_a_worker_unfit_for_another_trial(shared: Rig, how: str) -> None:
    spoilt = pid_of(shared, how)
    assert pid_of(shared) != spoilt


@pytest.mark.parametrize("how", ["", "finished thread", "finished child"])
def test_what_does_not(shared: Rig, how: str) -> None:
    first = pid_of(shared, how)
    assert pid_of(shared) == first


def test_a_stopped_trials_worker_is_not_used_again(shared: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "decide", lambda _: (STOP, "", False))
    first = pid_of(shared)
    assert pid_of(shared) != first


def test_a_gpus_worker_is_not_used_again(shared: Rig) -> None:
    first = pid_of(shared, gpus=((0, 1.0),))
    second = pid_of(shared, gpus=((0, 1.0),))
    assert len({first, second, pid_of(shared)}) == 3


def test_where_every_trial_needs_a_fresh_worker_the_next_is_forked_while_this_one_works(rigs: Callable[..., Rig]) -> None:
    rig = rigs(spoils, reuse=False)
    pid = [rig.reports(number)[0].metrics["pid"] for number in range(2) if rig.run(number)]
    executor: Any = rig.executor
    ahead = executor._ahead
    rig.until(lambda: ahead.pid > 0)
    rig.run(2)
    assert rig.reports(2)[0].metrics["pid"] == ahead.pid
    assert ahead.pid not in pid
    executor._ahead.signal(signal.SIGKILL)  # as the system may, when it is short of memory
    rig.until(lambda: executor._ahead.gone)
    assert ended_of(rig.run(3)).outcome == "finished"


def test_never(rigs: Callable[..., Rig]) -> None:
    rig = rigs(spoils, reuse=False)
    assert len({pid_of(rig) for _ in range(3)}) == 3


def test_always(rigs: Callable[..., Rig]) -> None:
    """Even one that is spoilt, and it finds the driver's surroundings again."""
    rig = rigs(spoils, reuse=True)
    assert len({pid_of(rig, how) for how in ("cwd", "environment", "threads", "")}) == 1


class Tells(Stepper):
    def step(self) -> dict[str, Any]:
        return {**super().step(), "pid": os.getpid()}


class TellsAgain(Reusable):
    def step(self) -> dict[str, Any]:
        return {**super().step(), "pid": os.getpid()}


def ends_late_when_stopped(_config: dict[str, Any]) -> None:
    try:
        report(pid=os.getpid())
    finally:
        threading.Event().wait()


def test_whoever_had_to_be_told_by_a_signal_is_not_used_again(rigs: Callable[..., Rig]) -> None:
    """It is not known what the signal has met."""
    rig = rigs(ends_late_when_stopped, reuse=True, grace_s=0.01, decide=lambda _: (STOP, "", False))
    for trial in range(2):
        assert ended_of(rig.run(trial)).outcome == "stopped"
    assert rig.reports(0)[0].metrics["pid"] != rig.reports(1)[0].metrics["pid"]


def test_classes_are_not_used_again_unless_it_is_asked_for(rigs: Callable[..., Rig]) -> None:
    fresh, again = rigs(Tells), rigs(TellsAgain, reuse=True)
    assert pid_of(fresh) != pid_of(fresh)
    assert pid_of(again) == pid_of(again)


def looks(_config: dict[str, Any]) -> None:
    report(
        pid=os.getpid(), cwd=os.getcwd(), path=os.pathsep.join(sys.path), secret=os.environ.get("TOKEN", ""),
        threads=os.environ["OMP_NUM_THREADS"], mkl=os.environ["MKL_NUM_THREADS"],
    )  # fmt: skip


def seen(rig: Rig, **given: Any) -> dict[str, Any]:
    trial = next(NUMBERS)
    assert ended_of(rig.run(trial, **given)).outcome == "finished"
    return rig.reports(trial)[0].metrics


def test_the_drivers_surroundings_of_that_moment(rigs: Callable[..., Rig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = rigs(looks)
    before = seen(rig)
    monkeypatch.setenv("TOKEN", "later")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("/somewhere")
    after = seen(rig)
    assert after["pid"] == before["pid"]
    assert (after["cwd"], after["secret"]) == (str(tmp_path), "later")
    assert after["path"].startswith("/somewhere")
    monkeypatch.delenv("TOKEN")
    assert seen(rig)["secret"] == ""


def test_thread_counts(rigs: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the trial has CPUs; the user's own values win."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    rig = rigs(looks, cpus=2.0)
    assert [seen(rig, resources={"cpu": cpus})["threads"] for cpus in (2.0, 3.0, 0.5, 2.0)] == ["2", "3", "1", "2"]
    assert seen(rig)["mkl"] == "7"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert seen(rig, resources={"cpu": 2.0})["threads"] == "5"


def counts_threads(_config: dict[str, Any]) -> None:
    import numpy as np
    import threadpoolctl

    np.ones((4, 4)) @ np.ones((4, 4))
    report(threads=max(pool["num_threads"] for pool in threadpoolctl.threadpool_info()))


def test_libraries_that_are_loaded_already_obey_too(rigs: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("numpy")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    rig = rigs(counts_threads, reuse=False)
    for _ in range(3):
        assert [seen(rig, resources={"cpu": cpus})["threads"] for cpus in (1.0, 2.0)] == [1, 2]


def draws(_config: dict[str, Any]) -> None:
    import numpy as np

    report(random=random.random(), numpy=float(np.random.random()), pid=os.getpid())  # noqa: NPY002 - it is the global one's state


def test_the_same_seed_draws_the_same_in_any_worker(rigs: Callable[..., Rig]) -> None:
    again, fresh = rigs(draws), rigs(draws, reuse=False)
    found = {(one["random"], one["numpy"]) for rig in (again, fresh) for one in (seen(rig, seed=5), seen(rig, seed=5))}
    assert len(found) == 1
    assert (seen(again, seed=6)["random"], seen(again, seed=6)["numpy"]) not in found


def measures(_config: dict[str, Any], data: Any = None) -> None:
    total = float(data[::4096].sum())
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    report(own=kib["Anonymous"] << 10, total=total)
    data[0] = 9  # its own copy


def test_a_large_array_is_not_copied_for_each_worker(rigs: Callable[..., Rig]) -> None:
    np = importlib.import_module("numpy")
    data = np.ones(200 << 17)  # 200 MB
    rig = rigs(with_parameters(measures, data=data), reuse=False)
    for trial in (0, 1, 2):
        rig.launch(trial)
    rig.finish()
    for trial in (0, 1, 2):
        (one,) = rig.reports(trial)
        assert one.metrics["total"] == len(data) / 4096
        assert one.metrics["own"] < 150 << 20

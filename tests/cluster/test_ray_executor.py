"""The Ray executor beyond the kit: ends by force, deaths, places, growth."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tunesmith.core.events import AttemptEnded, AttemptStarted, CapacityChanged
from tunesmith.executors import RayExecutor
from tunesmith.executors.base import CONTINUE, PAUSE, Need
from tunesmith.testing.executor_rig import Rig, counts, ended_of, kinds, note, notes_of
from tunesmith.trainable.session import report

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

PATIENCE_S = 60.0


class SlowRig(Rig):
    """One that waits for processes to start, and for nodes to be missed."""

    def until(self, reached):
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < deadline, f"open: {sorted(self._open)}, seen: {self.events[-20:]}"
            self.handle(self.executor.poll(0.5))


@pytest.fixture
def rig(ray_cluster, tmp_path):
    with contextlib.ExitStack() as stack:

        def make(trainable, folder="run", executor=None, **given):
            executor = RayExecutor() if executor is None else executor
            stack.callback(executor.close)
            return SlowRig(executor, trainable, tmp_path / folder, **given)

        yield make


def waits(config):
    try:
        report(pid=os.getpid())
        if config.get("deaf"):
            note("asleep")
            ctypes.PyDLL(None).sleep(1000)  # no other thread gets to run either
        if config.get("dies") == "exit":
            os._exit(3)
        if config.get("dies") == "signal":
            os.kill(os.getpid(), signal.SIGSEGV)
        threading.Event().wait()
    finally:
        note("finally")


def pids(config):
    report(pid=os.getpid())
    if config.get("fails"):
        raise ValueError


def nested(config):
    import ray

    @ray.remote(num_cpus=1)
    def square(value):
        return value * value, ray.get_runtime_context().get_placement_group_id()

    found = ray.get([square.remote(value) for value in (2, 3)])
    report(sum=sum(value for value, _ in found), same=len({group for _, group in found}), inside=bool(found[0][1]))


def where(config):
    import ray

    context = ray.get_runtime_context()
    report(node=context.get_node_id(), gpu=os.environ.get("CUDA_VISIBLE_DEVICES", ""), threads=os.environ["OMP_NUM_THREADS"])


def lately(tmp_path, trial=0):
    return notes_of(str(tmp_path / "run" / f"trial_{trial}"))


def test_a_kill_unwinds(rig, tmp_path):
    driver = rig(waits, grace_s=20.0)
    driver.launch()
    driver.until(driver.reports)
    driver.executor.kill(0, 0, "timeout")
    driver.finish()
    assert ended_of(driver.of(0)).outcome == "timeout"
    assert lately(tmp_path) == ["finally"]


def test_who_does_not_hear_is_ended_by_force(rig, tmp_path):
    driver = rig(waits, grace_s=0.5, log_to_file=("out.log", "err.log"))
    driver.launch(config={"deaf": True})
    driver.until(lambda: lately(tmp_path))
    driver.executor.kill(0, 0, "silent")
    driver.finish()
    ended = ended_of(driver.of(0))
    assert ended.outcome == "silent"
    assert "did not end when told to" in ended.error["message"]
    assert lately(tmp_path) == ["asleep"]


@pytest.mark.parametrize("direct", [True, False])
def test_a_worker_that_dies_is_lost_and_another_one_goes_on(rig, direct):
    driver = rig(waits, executor=RayExecutor(direct=direct), log_to_file=("out.log", "err.log"))
    driver.run(0, 0, {"dies": "exit"})
    ended = ended_of(driver.of(0))
    assert ended.outcome == "worker_lost"
    assert "unexpectedly exits" in ended.error["message"]
    driver.run(0, 1, {"dies": "signal"})
    ended = ended_of(driver.of(0, 1))
    assert ended.outcome == "worker_lost"
    assert "Segmentation fault" in ended.error["traceback"]
    assert ended.error["where"].startswith(waits.__code__.co_filename)


def test_a_node_that_goes_takes_its_trials_with_it(rig, ray_cluster):
    ray_cluster.add("leaving", 1)
    driver = rig(waits, grace_s=1.0)
    assert driver.totals["leaving"] == 10
    driver.launch(0, resources={"cpu": 1.0, "leaving": 1.0})
    driver.until(driver.reports)
    ray_cluster.remove("leaving")
    driver.finish()
    ended = ended_of(driver.of(0))
    assert ended.outcome == "node_lost", ended
    assert [event.totals.get("leaving") for event in driver.events if isinstance(event, CapacityChanged)] == [10.0, None]


def test_attempts_wait_for_a_node_and_begin_when_it_comes(rig, ray_cluster, caplog):
    driver = rig(pids, warm=False)
    with caplog.at_level(logging.WARNING, "tunesmith"):
        driver.launch(0, resources={"cpu": 1.0, "coming": 1.0})
        driver.until(lambda: caplog.records)
        assert "Each asks for coming 1, cpu 1, and no node has coming." in caplog.text
        assert kinds(driver.events) == ["CapacityChanged"]
        ray_cluster.add("coming", 1)
        driver.finish()
    assert ended_of(driver.of(0)).outcome == "finished"
    ray_cluster.remove("coming", graceful=True)


def test_demand_is_shown_to_ray_and_met_when_a_node_comes(rig, ray_cluster):
    import ray

    needs = [Need({"cpu": 1.0, "wanted": 1.0}, count=3)]
    driver = rig(pids, demand=lambda: needs)
    driver.run(0, resources={"cpu": 1.0})

    def asked():
        table = ray.util.placement_group_table()
        return [one["bundles"][0] for one in table.values() if one["state"] == "PENDING"]

    driver.until(lambda: len(asked()) == 3)
    assert asked()[0] == {"CPU": 1.0, "wanted": 1.0}
    ray_cluster.add("wanted", 2)
    driver.until(lambda: any(isinstance(event, CapacityChanged) and event.totals.get("wanted") for event in driver.events))
    driver.launch(1, resources={"cpu": 1.0, "wanted": 1.0})
    driver.finish()
    needs.clear()
    driver.run(2, resources={"cpu": 1.0})
    driver.until(lambda: not asked())
    driver.executor.close()
    ray_cluster.remove("wanted", graceful=True)


@pytest.mark.parametrize(("reuse", "same"), [(None, True), (True, True), (False, False)])
def test_reuse(rig, reuse, same):
    driver = rig(pids, reuse=reuse)
    for trial in range(3):
        driver.run(trial)
    seen = [driver.reports(trial)[0].metrics["pid"] for trial in range(3)]
    assert (len(set(seen)) == 1) is same
    assert [event.info["pid"] for event in driver.events if isinstance(event, AttemptStarted)] == seen


def test_a_worker_whose_trial_failed_is_not_used_again(rig):
    driver = rig(pids)
    driver.run(0, config={"fails": True})
    driver.run(1)
    assert driver.reports(0)[0].metrics["pid"] != driver.reports(1)[0].metrics["pid"]


def test_bundles_hold_what_a_trial_starts(rig):
    driver = rig(nested)
    driver.run(0, resources={"cpu": 3.0}, bundles=({"cpu": 1.0}, {"cpu": 1.0}, {"cpu": 1.0}), strategy="SPREAD")
    (event,) = driver.reports()
    assert (event.metrics["sum"], event.metrics["same"], event.metrics["inside"]) == (13, 1, True)


def test_a_trial_in_one_bundle_starts_tasks_elsewhere(rig):
    driver = rig(nested)
    driver.run(0, resources={"cpu": 1.0})
    assert driver.reports()[0].metrics["inside"] is False


def test_places_by_custom_resources_and_parts_of_a_gpu(rig, ray_cluster):
    ray_cluster.add("cards", 2, gpu=1)
    driver = rig(where)
    for trial, name in enumerate(("left", "right")):
        driver.run(trial, resources={"cpu": 0.5, name: 1.0})
    for trial in (2, 3):
        driver.launch(trial, resources={"cpu": 1.0, "gpu": 0.5}, gpus=((0, 0.5),))
    driver.finish()
    nodes = [driver.reports(trial)[0].metrics["node"] for trial in range(4)]
    assert len(set(nodes)) == 3
    assert nodes[2] == nodes[3]
    assert [driver.reports(trial)[0].metrics["gpu"] for trial in range(4)] == ["", "", "0", "0"]
    assert driver.reports(0)[0].metrics["threads"] == "1"
    driver.executor.close()
    ray_cluster.remove("cards", graceful=True)


def test_a_held_attempt_lends_its_place(rig):
    """Else pausing schedulers would wait for room that paused trials have."""
    only = {"cpu": 1.0, "right": 10.0}

    def decide(event):
        return (PAUSE, "warm", False) if event.trial == 0 and event.iteration == 1 else (CONTINUE, "", False)

    driver = rig(counts, decide=decide)
    driver.launch(0, resources=only)
    driver.until(lambda: driver.reports(0))
    driver.launch(1, resources=only)
    driver.until(lambda: any(isinstance(event, AttemptEnded) for event in driver.of(1)))
    driver.executor.answer(0, 0, CONTINUE)
    driver.finish()
    assert [ended_of(driver.of(trial)).outcome for trial in (0, 1)] == ["finished", "finished"]
    assert len({event.info["pid"] for event in driver.events if isinstance(event, AttemptStarted)}) == 2


def test_the_drivers_environment_comes_along(rig, monkeypatch, tmp_path):
    def looks(_config):
        report(cwd=os.getcwd(), word=os.environ.get("MY_WORD"), gone=os.environ.get("GONE", "unset"))

    monkeypatch.setenv("MY_WORD", "first")
    monkeypatch.setenv("GONE", "there")
    driver = rig(looks)
    driver.run(0)
    monkeypatch.setenv("MY_WORD", "second")
    monkeypatch.delenv("GONE")
    monkeypatch.chdir(tmp_path)
    driver.run(1)
    first, second = (driver.reports(trial)[0].metrics for trial in (0, 1))
    assert (first["word"], first["gone"]) == ("first", "there")
    assert (second["word"], second["gone"], second["cwd"]) == ("second", "unset", str(Path(tmp_path).resolve()))


def test_strangers_are_not_heard(rig):
    """Who does not know the secret cannot speak for a worker."""
    import socket

    from tunesmith.executors.wire import Kind, encode

    driver = rig(waits)
    driver.launch()
    driver.until(driver.reports)
    listener = driver.executor._crew.maker._listener
    with socket.create_connection(listener.address) as stranger:
        stranger.sendall(b"x" * 32 + encode(Kind.HELLO, 1, {"pid": 1}))
        driver.executor.poll(0.2)
        driver.executor.poll(0.2)
        stranger.settimeout(5.0)
        with contextlib.suppress(ConnectionError):
            assert stranger.recv(1) == b""
    driver.executor.kill(0, 0, "timeout")
    driver.finish()


def test_where_workers_cannot_connect_they_call(rig, caplog, monkeypatch):
    from tunesmith.executors.ray_roads import Listener

    begin = Listener.__init__

    def elsewhere(self, *args):
        begin(self, *args)
        self.address = ("127.0.0.1", 1)  # nobody listens there

    monkeypatch.setattr(Listener, "__init__", elsewhere)
    driver = rig(counts)
    assert ended_of(driver.run()).outcome == "finished"
    assert "Trials cannot connect to 127.0.0.1, port 1 (ConnectionRefusedError" in caplog.text


def test_an_attempt_says_where_it_runs(rig):
    driver = rig(counts)
    driver.run()
    started = next(event for event in driver.events if isinstance(event, AttemptStarted))
    assert {"pid", "hostname", "node_ip", "node_id"} == set(started.info)


@pytest.mark.parametrize("asked", [False, True])
def test_the_next_process_is_made_while_one_works(rig, monkeypatch, asked):
    """Where attempts need processes of their own they do not wait for them; also if it is first asked then what more could be used."""
    if asked:
        monkeypatch.setattr("tunesmith.executors.ray_crew._DEMAND_S", PATIENCE_S)
    only = {"cpu": 1.0, "right": 10.0}  # there is room for one
    driver = rig(waits, reuse=False, demand=lambda: [Need(only)])
    driver.launch(0, resources=only)
    crew = driver.executor._crew
    driver.until(lambda: any(place.heir is not None and place.heir.pid for place in crew.places._places))
    (heir,) = (place.heir for place in crew.places._places if place.heir is not None)
    driver.executor.kill(0, 0, "timeout")
    driver.finish()
    if asked:
        crew._demand_at = 0.0
        driver.handle(driver.executor.poll(0.0))
    driver.launch(1, resources=only)
    driver.until(lambda: driver.reports(1))
    assert driver.reports(1)[0].metrics["pid"] == heir.pid

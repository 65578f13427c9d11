"""The parts of the Ray executor that need no Ray: requests in its words, surroundings, freight, strangers, the relay's order."""

from __future__ import annotations

import asyncio
import os
import random
import selectors
import socket
import sys
import threading
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.build import executor_from
from tunesmith.checkpoints.store import LocalStore
from tunesmith.create import create_executor
from tunesmith.errors import SpecError
from tunesmith.executors.base import Assignment
from tunesmith.executors.ray_freight import Freight
from tunesmith.executors.ray_places import actor_options, key_of, lacking, lends, sums
from tunesmith.executors.ray_relay import Relay
from tunesmith.executors.ray_roads import Listener, Mail
from tunesmith.executors.ray_surroundings import together
from tunesmith.executors.shipping import ShippedStore
from tunesmith.executors.surroundings import Surroundings
from tunesmith.executors.usual import usual_executor
from tunesmith.executors.wire import Kind, encode
from tunesmith.resources import Bundled, PlacementGroupFactory, bundles_of, resources_from

amounts = st.dictionaries(st.sampled_from(["cpu", "gpu", "memory", "tpu"]), st.integers(0, 20_000).map(lambda n: n / 10_000), max_size=4)


# -- requests ------------------------------------------------------------------------------------------------------------


@given(amounts)
def test_a_request_holds_what_was_asked_for(resources):
    asked = {name: amount for name, amount in resources.items() if amount}
    assert sums(key_of(resources)) == pytest.approx(asked)
    assert key_of(dict(reversed(resources.items()))) == key_of(resources)


def test_what_a_node_must_have_is_named():
    there = [{"CPU": 2.0}, {"GPU": 1.0}]
    nodes = [*({"Alive": True, "Resources": one} for one in there), {"Alive": False, "Resources": {"tpu": 8.0}}]
    assert lacking(key_of({"tpu": 1.0}), nodes, {}) == "no node has tpu"
    assert lacking(key_of({"cpu": 1.0, "gpu": 1.0}), nodes, {}) == "no single node has cpu 1, gpu 1"
    assert lacking(key_of({}, [{"cpu": 1.0}, {"cpu": 3.0}]), nodes, {}) == "no node has cpu 3: the largest has 2"


def test_an_actor_takes_no_more_of_its_place_than_it_must():
    place = types.SimpleNamespace(key=key_of({"cpu": 2.0, "gpu": 0.5, "tpu": 1.0}), group=None)
    options = actor_options(place)
    assert (options["num_cpus"], options["num_gpus"], options["max_restarts"]) == (0, 0.5, 0)
    assert not lends(place.key)
    place.key = key_of({}, [{"cpu": 1.0}, {"cpu": 2.0}])
    assert actor_options(place)["num_cpus"] == 1.0
    assert not lends(place.key)
    assert lends(key_of({"cpu": 1.0}))


def test_bundles_are_kept_beside_their_sums():
    request = resources_from(PlacementGroupFactory([{"CPU": 1}, {"CPU": 2, "GPU": 1}], strategy="SPREAD"))
    assert request == {"cpu": 3.0, "gpu": 1.0}
    assert bundles_of(request, {"cpu": 3.0, "gpu": 1.0}) == (({"cpu": 1.0}, {"cpu": 2.0, "gpu": 1.0}), "SPREAD")
    assert bundles_of(request, {"cpu": 4.0, "gpu": 1.0}) == ((), "PACK"), "a scheduler has given it something else"
    assert bundles_of(resources_from(PlacementGroupFactory([{"cpu": 1}])), {"cpu": 1.0}) == ((), "PACK")


def test_bundles_survive_pickling():
    import pickle

    request = Bundled(PlacementGroupFactory([{"cpu": 1}, {"gpu": 1}], strategy="STRICT_SPREAD"))
    again = pickle.loads(pickle.dumps(request))
    assert (again, again.bundles, again.strategy) == (request, request.bundles, "STRICT_SPREAD")


# -- who runs the trials -------------------------------------------------------------------------------------------------


def test_the_usual_executor_is_ray_where_the_process_is_connected(monkeypatch):
    assert usual_executor() == ("local", "")
    ray = types.SimpleNamespace(is_initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert usual_executor() == ("ray", "this process is connected to a Ray cluster")
    ray.is_initialized = lambda: False
    assert usual_executor()[0] == "local"
    monkeypatch.setenv("TUNESMITH_EXECUTOR", "inline")
    assert usual_executor() == ("inline", "TUNESMITH_EXECUTOR=inline")
    assert type(executor_from(None)).__name__ == "InlineExecutor"


def test_what_cannot_be_is_said_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
    from tunesmith.executors import RayExecutor

    with pytest.raises(SpecError, match=r"address='ray://head:10001'.*proxy"):
        RayExecutor(address="ray://head:10001")
    with pytest.raises(SpecError, match="takes a dict"):
        RayExecutor(runtime_env="env.yaml")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpecError, match=r"pip install \"tunesmith\[ray\]\""):
        create_executor("ray")


# -- surroundings --------------------------------------------------------------------------------------------------------


def test_on_another_machine_paths_and_names_of_the_drivers_mean_nothing():
    drivers = Surroundings("/home/me", ("/home/me", "/lib"), {"PATH": "/a", "KEY": "1", "HOSTNAME": "head", "RAY_JOB": "d", "HOSTING": "x"})
    own = Surroundings("/", ("/lib", "/ray"), {"PATH": "/b", "OTHER": "2", "RAY_JOB": "w", "CUDA_VISIBLE_DEVICES": "1"})
    far = together(drivers, own, same_machine=False)
    assert far.environment == {"PATH": "/b", "KEY": "1", "RAY_JOB": "w", "HOSTING": "x", "CUDA_VISIBLE_DEVICES": "1"}
    near = together(drivers, own, same_machine=True)
    assert near.environment == {"PATH": "/a", "KEY": "1", "HOSTNAME": "head", "RAY_JOB": "w", "HOSTING": "x", "CUDA_VISIBLE_DEVICES": "1"}
    assert (near.cwd, near.path) == ("/home/me", ("/home/me", "/lib", "/ray"))


def test_code_that_ray_has_brought_comes_first():
    brought = together(Surroundings("/home/me", ("/home/me",), {}), Surroundings("/tmp/env", ("/tmp/env",), {}), True, brought=True)
    assert (brought.cwd, brought.path) == ("/tmp/env", ("/tmp/env", "/home/me"))


# -- the relay -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=12), st.randoms())
def test_the_relay_keeps_the_order_of_each_line(pieces, chance):
    async def story():
        relay = Relay()
        calls = list(enumerate(pieces))
        chance.shuffle(calls)
        heard = b""
        for order, data in calls:
            await relay.tell(7, order, data)
            if chance.random() < 0.5 and relay._up[7].there.is_set():
                heard += dict(await relay.hear())[7]
        if relay._up.get(7) is not None and relay._up[7].there.is_set():
            heard += dict(await relay.hear())[7]
        return heard

    assert asyncio.run(story()) == b"".join(pieces)


def test_a_pull_waits_for_what_is_pushed():
    async def story():
        relay = Relay()
        pull = asyncio.ensure_future(relay.pull(3))
        await asyncio.sleep(0)
        assert not pull.done()
        await relay.push(3, 1, b"b")
        await asyncio.sleep(0)
        assert not pull.done()
        await relay.push(3, 0, b"a")
        return await pull

    assert asyncio.run(story()) == b"ab"


# -- connections ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def loop():
    selector = selectors.DefaultSelector()
    mail = Mail(selector)
    yield types.SimpleNamespace(selector=selector, mail=mail, turn=lambda: [key.data(mask) for key, mask in selector.select(5.0)])
    mail.close()
    selector.close()


@pytest.mark.parametrize("shown", [b"w" * 32, b"r" * 31 + b"w", b"r" * 32])
def test_only_who_shows_the_token_is_welcome(loop, shown):
    welcomed = []

    def welcome(connection, fields, frames):
        welcomed.append(fields)
        return False

    listener = Listener("127.0.0.1", b"r" * 32, loop.selector, welcome)
    with socket.create_connection(listener.address) as guest:
        guest.sendall(shown[:7])
        loop.turn()
        loop.turn()
        guest.sendall(shown[7:] + encode(Kind.HELLO, 4, {"pid": 1}))
        guest.setblocking(False)
        while True:
            loop.turn()
            try:
                assert guest.recv(1) == b""
                break
            except BlockingIOError:
                continue
            except ConnectionError:
                break
    assert welcomed == ([(4, {"pid": 1})] if shown == b"r" * 32 else [])
    listener.close()


def test_mail_from_another_thread_wakes_the_loop(loop):
    came = []
    thread = threading.Thread(target=lambda: loop.mail.post(lambda: came.append(threading.get_ident())))
    thread.start()
    loop.turn()
    thread.join()
    loop.mail.deliver()
    assert came == [threading.get_ident()]


# -- freight -------------------------------------------------------------------------------------------------------------


class Worker:
    """A hand that notes what it is sent."""

    def __init__(self, folder, number=1):
        self.number, self.gone = number, False
        self.assignment = Assignment(5, 0, "t", "t", "e", {}, str(folder))
        self.sent = []

    def send(self, kind, *fields):
        self.sent.append((kind, fields))


@pytest.fixture
def freight(loop):
    heard = []
    found = Freight(loop.mail.post, lambda _, messages: heard.extend(messages), 0)

    def until(reached):
        while not reached():
            loop.turn()
            loop.mail.deliver()

    yield types.SimpleNamespace(freight=found, heard=heard, until=until)
    found.close()


def report(checkpoint, size=0):
    return Kind.REPORT, (5, 0, 1, {"loss": 1.0}, checkpoint, size, (), None)


def test_a_report_comes_after_its_checkpoint(freight, tmp_path):
    worker = Worker(tmp_path / "there")
    store = ShippedStore(str(tmp_path / "here" / "there"), lambda part: part, min_free=0, size=100)
    kept = store.save(5, {"weights": random.Random(1).randbytes(1000)}, 1)
    parts = store.take(kept.id)
    assert len(parts) > 3
    for part in parts:
        freight.freight.sort(worker, [(Kind.PART, (part,))])
    freight.freight.sort(worker, [report(kept.id, kept.bytes), (Kind.ENDED, (5, 0, "finished", None, None, "", []))])
    assert freight.heard == []
    freight.until(lambda: freight.heard)
    freight.until(lambda: len(freight.heard) == 2)
    assert [kind for kind, _ in freight.heard] == [Kind.REPORT, Kind.ENDED]
    assert worker.sent == [(Kind.TAKEN, (None,))] * len(parts)
    there = LocalStore.of_trial(worker.assignment.trial_dir)
    assert there.open(kept.id).to_dict() == store.open(kept.id).to_dict()


def test_a_damaged_checkpoint_costs_itself_only(freight, tmp_path):
    worker = Worker(tmp_path / "there")
    freight.freight.sort(worker, [(Kind.PART, (b"nonsense",)), (Kind.PART, (b"more",)), report("5/checkpoint_000000", 8)])
    freight.until(lambda: freight.heard)
    (first, fields), (second, values) = freight.heard
    assert (first, second, values[4]) == (Kind.UNSAVED, Kind.REPORT, None)
    assert "it was lost on its way from its node" in fields[3]
    freight.until(lambda: len(worker.sent) == 2)
    assert not [name for name in os.listdir(tmp_path / "there") if "checkpoint" in name]


def test_what_a_lost_worker_has_begun_leaves_nothing(freight, tmp_path):
    worker = Worker(tmp_path / "there")
    store = ShippedStore(str(tmp_path / "here" / "there"), lambda part: part, min_free=0, size=100)
    parts = store.take(store.save(5, {"weights": bytes(1000)}, 1).id)
    freight.freight.sort(worker, [(Kind.PART, (parts[0],))])
    freight.until(lambda: worker.sent)
    freight.freight.drop(worker)
    freight.freight.close()
    assert os.listdir(tmp_path / "there") == []
    assert freight.heard == []


def test_a_worker_gets_the_checkpoint_that_it_starts_from(freight, tmp_path):
    from tunesmith.executors.shipping import unpack

    worker = Worker(tmp_path / "there")
    store = LocalStore.of_trial(worker.assignment.trial_dir, 0)
    os.makedirs(worker.assignment.trial_dir)
    kept = store.save(5, {"weights": 1}, 1)
    worker.assignment.checkpoint = store.path(kept.id)
    got = []
    for number in range(-1, 5):
        freight.freight.sort(worker, [(Kind.WANT, (number,))])
        freight.until(lambda: worker.sent)
        got.append(worker.sent.pop()[1][0])
        if got[-1] == b"":
            break
    assert got[0] == 1
    unpack(got[1:-1], tmp_path / "came")
    assert sorted(os.listdir(tmp_path / "came")) == sorted(os.listdir(worker.assignment.checkpoint))


def test_files_come_in_pieces_and_stay_in_the_trials_directory(freight, tmp_path):
    worker = Worker(tmp_path / "there")
    messages = [(Kind.LOG, ("out.log", b"one")), (Kind.LOG, ("out.log", b"two"))]
    freight.freight.sort(worker, messages)
    assert (tmp_path / "there" / "out.log").read_bytes() == b"onetwo"
    for offset, data in ((0, b"ab"), (2, b"cd"), (0, b"new")):
        freight.freight.sort(worker, [(Kind.FILE, ("sub/notes.txt", offset, data))])
        freight.until(lambda: worker.sent)
        worker.sent.clear()
    assert (tmp_path / "there" / "sub" / "notes.txt").read_bytes() == b"new"
    freight.freight.sort(worker, [(Kind.FILE, ("../stray", 0, b"x"))])
    freight.until(lambda: worker.sent)
    assert not os.path.exists(tmp_path / "stray")

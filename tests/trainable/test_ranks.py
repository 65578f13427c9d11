"""Ranks of a trial without torch, and without a cluster: who is to blame, what each is given, and what a loss at the start means."""

from __future__ import annotations

import os
import selectors
import socket
import sys
from types import SimpleNamespace

import pytest

from tunesmith.errors import UserCodeError
from tunesmith.executors.surroundings import Surroundings
from tunesmith.trainable import TrainableSpec, ranks, ranks_ray
from tunesmith.trainable.ranks_ray import OnRay
from tunesmith.trainable.relay import Peer


def test_the_rank_that_was_heard_first_is_to_blame(monkeypatch):
    spec = TrainableSpec.of(lambda config: None)
    with selectors.DefaultSelector() as selector:
        run = ranks._Run(ranks.Group(spec, 3, None, 1, 0.1), None, selector, None)
        for rank in (1, 0, 2):
            peer = Peer(None, rank)
            peer.ended = {"outcome": "user_error", "type": "ValueError", "message": "no", "where": "", "traceback": ""}
            run._heard_end(peer)
        with pytest.raises(UserCodeError, match="rank 1 of 3 failed: ValueError: no"):
            run.serve()
        run.close()


class Lost(Exception):
    """As RayActorError."""


class Ray:
    """As much of Ray as a trial's ranks need. Calls are their own results.

    Args:
        loses: the call at which the actors are found to be lost.
    """

    def __init__(self, loses=""):
        self.loses, self.killed, self.given = loses, [], {}
        self.exceptions = SimpleNamespace(RayActorError=Lost, NodeDiedError=Lost, WorkerCrashedError=Lost)
        strategies = SimpleNamespace(PlacementGroupSchedulingStrategy=lambda *_, **__: None)
        self.util = SimpleNamespace(scheduling_strategies=strategies, get_node_ip_address=lambda: "127.0.0.1")

    def get_runtime_context(self):
        return SimpleNamespace(get_node_id=lambda: "left")

    def remote(self, cls):
        actor = SimpleNamespace()
        for name, answer in (("node", "right"), ("sees", True), ("run", 0)):
            setattr(actor, name, SimpleNamespace(remote=lambda *given, name=name, answer=answer: self._call(name, answer, given)))
        made = SimpleNamespace(remote=lambda: actor)
        return SimpleNamespace(options=lambda **_: made)

    def _call(self, name, answer, given):
        self.given[name] = given
        return name, answer

    def get(self, call):
        if call[0] == self.loses:
            raise Lost("its node is gone")
        return call[1]

    def kill(self, actor, no_restart):
        self.killed.append(actor)


GROUP = SimpleNamespace(bundle_specs=[{"CPU": 1.0}] * 2)


@pytest.mark.parametrize("call", ["node", "sees"])
def test_a_rank_that_is_lost_before_it_begins_is_no_failure_of_the_trials_own(attempt, call):
    ray = Ray(loses=call)
    ended, _ = attempt(lambda config: OnRay(ray, GROUP, 2).starter(1)(SimpleNamespace(checkpoint="/saved"), 1))
    assert ended.outcome == "worker_lost"
    assert ended.error["message"] == "rank 1 of 2 was lost before it began: its node is gone"
    assert len(ray.killed) == 1


@pytest.fixture
def _as_before():
    before = Surroundings.present()
    yield
    before.apply({})


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.usefixtures("_as_before")
def test_a_rank_in_an_actor_has_the_environment_of_its_trial(monkeypatch, same):
    ray = Ray()
    monkeypatch.setenv("OF_THE_DRIVER", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(sys, "path", [*sys.path, "/of/the/driver"])
    plan = SimpleNamespace(checkpoint=None, packed=lambda: {"argv": sys.argv, "main": None, "places": [None, None]})
    OnRay(ray, GROUP, 2).starter(1)(plan, 1).kill()
    os.environ.update(OF_THE_DRIVER="", CUDA_VISIBLE_DEVICES="1", PATH="/of/the/actor")
    sys.path.remove("/of/the/driver")

    found = []
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(ranks_ray, "set_main", lambda main: None)
    monkeypatch.setattr(ranks_ray, "job_of", lambda given, place: found.append("/of/the/driver" in sys.path))
    monkeypatch.setattr(ranks_ray, "run_rank", lambda job: found.extend(map(os.environ.get, ("OF_THE_DRIVER", "CUDA_VISIBLE_DEVICES"))))
    if not same:
        monkeypatch.setattr(socket, "gethostname", lambda: "another")
    ranks_ray._Rank().run(*ray.given["run"])
    assert found == [True, "1", "1"]
    assert (os.environ["PATH"] == "/of/the/actor") is not same

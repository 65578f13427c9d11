"""A worker's line to the driver of a Ray cluster, over a road that breaks, or that has a fault."""

from __future__ import annotations

import os
import queue

import pytest

from tunesmith.executors import ray_worker
from tunesmith.executors.line import Closed
from tunesmith.executors.ray_worker import EarLine
from tunesmith.executors.wire import Kind, encode


class Road:
    """Gives what it is given; an exception is raised."""

    def __init__(self):
        self.coming = queue.Queue()
        self.failure = None

    def send(self, data):
        if self.failure is not None:
            raise self.failure

    def receive(self):
        given = self.coming.get(timeout=10)
        if isinstance(given, Exception):
            raise given
        return given

    def close(self):
        pass


@pytest.fixture
def road(monkeypatch):
    """With the signals that the line would send to this process."""
    road = Road()
    road.signals = queue.Queue()
    monkeypatch.setattr(ray_worker.os, "kill", lambda pid, signum: road.signals.put((pid, signum)))
    return road


def test_a_broken_road_closes_the_line_and_says_why(road):
    line = EarLine(road, patience_s=10.0)
    line.leave()
    road.failure = ConnectionResetError("gone")
    with pytest.raises(Closed) as caught:
        line.send(b"")
    assert caught.value.__cause__ is road.failure
    road.coming.put(b"")


def test_a_fault_in_sending_is_no_end_of_the_line(road):
    line = EarLine(road, patience_s=10.0)
    line.leave()
    road.failure = TypeError("a fault")
    with pytest.raises(TypeError, match="a fault"):
        line.send(b"")
    road.coming.put(b"")


@pytest.mark.parametrize(("ending", "told"), [(b"", ""), (ConnectionResetError("gone"), ""), (TypeError("a fault"), "TypeError: a fault")])
def test_when_nothing_more_is_heard_the_trial_is_told_to_end(road, capfd, ending, told):
    line = EarLine(road, patience_s=10.0)
    road.coming.put(encode(Kind.SAVE, 1, 0))
    assert line.next() == (Kind.SAVE, (1, 0))
    road.coming.put(ending)
    assert road.signals.get(timeout=10) == (os.getpid(), ray_worker.UNWIND)
    line.leave()
    with pytest.raises(Closed):
        line.next()
    said = capfd.readouterr().err
    assert told in said
    assert bool(said) is bool(told)


def test_no_signal_when_all_is_said(road):
    line = EarLine(road, patience_s=10.0)
    road.coming.put(encode(Kind.EXIT))
    assert line.next() == (Kind.EXIT, ())
    assert road.signals.empty()

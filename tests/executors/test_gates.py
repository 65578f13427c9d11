"""Gates: what waits at them, in threads and processes, goes on exactly when it may."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import pytest

from tunesmith.testing import Gate, until_gone


def test_those_that_wait_go_on_when_it_opens():
    gate = Gate()
    through = []
    threads = [threading.Thread(target=lambda: (pickle.loads(pickle.dumps(gate)).wait(10), through.append(1))) for _ in range(3)]
    for thread in threads:
        thread.start()
    gate.arrived(2, 10)
    assert not through
    gate.open()
    for thread in threads:
        thread.join(10)
    assert through == [1, 1, 1]
    Gate.at(gate.port).wait(1.0)
    gate.open()


def test_it_opens_by_itself():
    gate = Gate(opens_after=2)
    threads = [threading.Thread(target=Gate.at(gate.port).wait, args=(10,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_nobody_opens():
    gate = Gate()
    with pytest.raises(TimeoutError):
        gate.wait(0.01)
    gate.open()


def test_nobody_comes():
    gate = Gate()
    Gate.at(gate.port).arrive()
    with pytest.raises(TimeoutError, match="1 have arrived"):
        gate.arrived(2, 0.01)
    gate.open()


def test_nobody_will_come():
    gate = Gate()
    process = subprocess.Popen([sys.executable, "-c", ""])
    with process, pytest.raises(ProcessLookupError, match=f"process {process.pid} has ended; 0 had arrived"):
        gate.arrived(1, 10, unless_gone=process.pid)
    gate.open()


def test_the_end_of_processes():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with pytest.raises(TimeoutError, match=f"process {process.pid} runs on"):
        until_gone([process.pid], 0.01)
    process.communicate(b"\n")
    until_gone([process.pid], 10)

"""GPU cards on the local executor, with made-up cards and real processes."""

from __future__ import annotations

import contextlib
import logging
import os

import pytest

from tunesmith.core.events import AttemptEnded, CapacityChanged
from tunesmith.executors import LocalExecutor
from tunesmith.executors.hand_over import HandOver
from tunesmith.testing.executor_rig import Rig, ended_of
from tunesmith.testing.gpus import FakeNvml
from tunesmith.trainable.session import get_context, report


def sees(config):
    report(visible=os.environ.get("CUDA_VISIBLE_DEVICES", "unset"), pid=os.getpid())


def takes(config):
    FakeNvml.claim(config["notes"], config["card"], 2**30)
    report(pid=os.getpid())
    get_context()


@pytest.fixture
def rig(tmp_path, monkeypatch):
    """Makes rigs around an executor with two fake cards."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with contextlib.ExitStack() as stack:

        def make(trainable, nvml=None, **setup):
            nvml = nvml or FakeNvml(2)
            executor = LocalExecutor(nvml=nvml)
            stack.callback(executor.close)
            made = Rig(executor, trainable, tmp_path, **setup)
            made.nvml = nvml
            return made

        yield make


def pid_of(rig, trial):
    return rig.reports(trial)[0].metrics["pid"]


def test_a_trial_sees_its_own_cards(rig):
    rig = rig(sees)
    assert rig.totals["gpu"] == 2.0
    for trial, gpus in enumerate([((0, 1.0),), ((1, 0.5),), ((0, 1.0), (1, 1.0)), ()]):
        rig.run(trial, gpus=gpus)
    assert [rig.reports(trial)[0].metrics["visible"] for trial in range(4)] == ["0", "1", "0,1", ""]


def test_the_drivers_own_choice_is_respected(rig, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    made = rig(sees)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert made.totals["gpu"] == 1.0
    made.run(gpus=((0, 1.0),))
    assert made.reports()[0].metrics["visible"] == "1"


def test_without_cards_the_variable_is_left_alone(rig, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    made = rig(sees, FakeNvml(0))
    assert made.totals["gpu"] == 0.0
    made.run()
    assert made.reports()[0].metrics["visible"] == "7"


def test_gpu_trials_have_fresh_processes(rig):
    rig = rig(sees)
    for trial in range(2):
        rig.run(trial, gpus=((0, 1.0),))
    assert pid_of(rig, 0) != pid_of(rig, 1)


def test_forced_reuse_keeps_the_process_for_the_same_cards_only(rig):
    rig = rig(sees, reuse=True)
    for trial, gpus in enumerate([((0, 1.0),), ((0, 1.0),), ((0, 1.0), (1, 1.0)), ((1, 1.0),), ()]):
        rig.run(trial, gpus=gpus)
    assert [rig.reports(trial)[0].metrics["visible"] for trial in range(5)] == ["0", "0", "0,1", "1", ""]
    pids = [pid_of(rig, trial) for trial in range(5)]
    assert pids[0] == pids[1]
    assert len(set(pids)) == 4


def test_a_trial_that_waits_for_cards_can_be_withdrawn(rig):
    rig = rig(sees, reuse=True)
    rig.run(0, gpus=((0, 1.0),))
    rig.launch(1, gpus=((0, 0.5),))
    rig.launch(2, gpus=((0, 0.5),))
    rig.executor.kill(1, 0, "timeout")
    rig.executor.answer(2, 0, "stop")
    rig.finish()
    assert [ended_of(rig.of(trial)).outcome for trial in (1, 2)] == ["timeout", "stopped"]
    assert rig.reports(1) == rig.reports(2) == []


def test_an_attempt_ends_when_its_memory_is_free(rig, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    nvml = FakeNvml(2, folder=notes)
    made = rig(takes, nvml)
    clean = []
    made.seen = lambda event: clean.append(nvml.used("GPU-fake-1") == nvml.idle) if isinstance(event, AttemptEnded) else None
    for trial in range(3):
        made.run(trial, config={"notes": str(notes), "card": 1}, gpus=((1, 1.0),))
    assert clean == [True] * 3
    assert not any(isinstance(event, CapacityChanged) for event in made.events)


def test_a_card_that_stays_full_is_quarantined_before_its_trial_ends(rig, caplog):
    nvml = FakeNvml(2)
    made = rig(sees, nvml)
    leasing = made.executor._leasing
    leasing._hand_over = HandOver(leasing.cards, run="x", deadline_s=0.02)
    made.seen = lambda event: nvml.leaked.update({"GPU-fake-0": 3 * 2**30}) if getattr(event, "metrics", None) else None
    with caplog.at_level(logging.WARNING, "tunesmith"):
        made.run(gpus=((0, 1.0),))
    kinds = [type(event).__name__ for event in made.events]
    assert kinds.index("CapacityChanged") < kinds.index("AttemptEnded")
    assert [event.out for event in made.events if isinstance(event, CapacityChanged)] == [(0,)]
    assert "GPU card 0 (Fake GPU, GPU-fake-0) gets no further trials" in caplog.text
    assert "3,072 MB" in caplog.text

    nvml.leaked.clear()
    leasing._review_at = 0.0
    made.until(lambda: len([event for event in made.events if isinstance(event, CapacityChanged)]) == 2)
    assert made.events[-1].out == ()

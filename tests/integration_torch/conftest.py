from __future__ import annotations

import pytest

from tunesmith.executors.base import Assignment
from tunesmith.trainable import TrainableSpec, ranks_here, run_attempt
from tunesmith.trainable.session import GO_ON


class Recorder:
    """A channel that answers by a function of the report."""

    def __init__(self, decide):
        self.decide = decide
        self.events = []

    def ask(self, event):
        self.events.append(event)
        return self.decide(event)

    def send(self, event):
        raise AssertionError(event)

    @property
    def metrics(self):
        return [event.metrics for event in self.events]


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """Run a trainable once, without an executor: ``ended, channel = attempt(trainable, config, decide, **fields of the assignment)``."""

    def run(trainable, config=None, decide=lambda event: GO_ON, fork=True, **given):
        monkeypatch.setattr(ranks_here, "_has_one_thread", lambda: fork)
        channel = Recorder(decide)
        fields = {"resources": {"cpu": 2.0}, "seed": 5, **given}
        config = {} if config is None else config
        assignment = Assignment(3, 1, "abcde_00003", "train_abcde_00003", "exp", config, str(tmp_path / "trial"), **fields)
        return run_attempt(TrainableSpec.of(trainable), assignment, channel), channel

    return run

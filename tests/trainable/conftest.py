from __future__ import annotations

import pytest

from tunesmith.executors.base import Assignment
from tunesmith.trainable import TrainableSpec, run_attempt
from tunesmith.trainable.session import GO_ON


class Recorder:
    """A channel that answers by a function of the report."""

    def __init__(self, decide=lambda event: GO_ON):
        self.decide = decide
        self.events = []
        self.saved = []

    def ask(self, event):
        self.events.append(event)
        return self.decide(event)

    def send(self, event):
        self.saved.append(event)

    @property
    def metrics(self):
        return [event.metrics for event in self.events]


@pytest.fixture
def attempt(tmp_path):
    """Run a trainable once: ``ended, channel = attempt(trainable, config, decide, **fields of the assignment)``."""

    def run(trainable, config=None, decide=lambda event: GO_ON, frequency=0, at_end=False, **given):
        spec = TrainableSpec.of(trainable)
        spec.checkpoint_frequency, spec.checkpoint_at_end = frequency, at_end
        channel = Recorder(decide)
        fields = {"resources": {"cpu": 1.0}, "seed": 5, **given}
        assignment = Assignment(
            3, 1, "abcde_00003", "train_abcde_00003", "exp", {} if config is None else config, str(tmp_path / "trial"), **fields
        )
        return run_attempt(spec, assignment, channel), channel

    return run

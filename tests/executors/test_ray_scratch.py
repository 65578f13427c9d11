"""What comes to the driver from the directory of a trial whose worker does not see the driver's disk."""

from __future__ import annotations

import os

import pytest

from tunesmith.executors.base import Assignment
from tunesmith.executors.child import Orders
from tunesmith.executors.ray_worker import _Scratch
from tunesmith.executors.wire import Kind


class Ear:
    """Keeps what is sent."""

    def __init__(self):
        self.files = {}

    def asked(self, kind, *fields):
        if kind is Kind.FILE:
            name, offset, piece = fields
            assert offset == len(self.files.get(name, b""))
            self.files[name] = self.files.get(name, b"") + piece
        return 0


@pytest.fixture
def scratch():
    assignment = Assignment(3, 0, "abcde_00003", "train_abcde_00003", "exp", {}, "/nowhere/trial")
    made = _Scratch(Ear(), assignment, Orders(None, False, False, 1, False, 0))
    yield made, assignment.trial_dir
    made.remove()


def test_all_that_a_trial_has_left_is_sent_but_for_what_is_the_stores(scratch):
    made, home = scratch
    made.store.save(3, {"epoch": 1}, 1)
    made.store.stage(3)
    names = [".hydra/f", "checkpoint_best/f", "checkpoint_50/f", "deep/checkpoint_000001/f", "deep/.stage_checkpoint_1/f", "f"]
    for name in (*names, ".checkpoint_000001.deleted/f"):
        path = os.path.join(home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(name)
    made.send_files()
    assert made._ear.files == {name: name.encode() for name in names}

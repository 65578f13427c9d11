"""``with tune.checkpoint_dir(step)`` before the report or after it: the checkpoint is of the step whose state is in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.checkpoints import LocalStore
from tunesmith.trainable.blocks import Blocks
from tunesmith.trainable.session import GO_ON, checkpoint_dir, get_checkpoint, report


def looping(place, first, due, epochs=7):
    """A script that counts its epochs from ``first``, and saves where ``due(epoch)`` says so."""

    def save(epoch):
        if due(epoch):
            with checkpoint_dir(step=epoch) as folder:
                Path(folder, "epoch").write_text(str(epoch))

    def train(config):
        saved = get_checkpoint()
        start = int(Path(saved, "epoch").read_text()) + 1 if saved is not None else first
        for epoch in range(start, first + epochs):
            if place == "before":
                save(epoch)
            report(epoch=epoch)
            if place == "after":
                save(epoch)

    return train


def filed(channel, tmp_path, first):
    """Where a checkpoint was filed, and after how many epochs it was taken."""
    events = sorted((event.iteration, event.checkpoint) for event in [*channel.events, *channel.saved] if event.checkpoint)
    found = []
    for iteration, checkpoint in events:
        path = tmp_path / "trial" / checkpoint.partition("/")[2]
        assert LocalStore.notes_in(str(path))["iteration"] == iteration
        found.append((iteration, int((path / "epoch").read_text()) + 1 - first))
    return found


def every(k, shift=0):
    return lambda epoch: (epoch + shift) % k == 0


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("k", [1, 3])
def test_a_checkpoint_is_filed_under_the_epoch_that_it_holds(attempt, tmp_path, place, first, k):
    _, channel = attempt(looping(place, first, every(k)))
    found = filed(channel, tmp_path, first)
    assert len(found) == len([epoch for epoch in range(first, first + 7) if epoch % k == 0])
    assert all(iteration == epochs for iteration, epochs in found)
    if place == "before":
        assert channel.saved == []  # each is part of its report
    else:
        assert all(event.checkpoint is None for event in channel.events)  # each is safe before the next epoch begins


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("crash", range(1, 7))
def test_a_resumed_attempt_goes_on_with_the_very_next_iteration(attempt, tmp_path, place, first, k, crash):
    """Killed after any report: the epochs of both attempts are those of one, none twice under two numbers and none left out."""

    def killed_at(event):
        if event.iteration == crash:
            raise SystemExit
        return GO_ON

    rows = {}
    train = looping(place, first, every(k))
    for again in range(3):
        known = sorted((tmp_path / "trial").glob("checkpoint_*"))
        notes = LocalStore.notes_in(str(known[-1])) if known else {}
        recorded = notes.get("iteration", 0) <= max(rows, default=0)  # else its report was never heard: no record, so it is swept
        given = {"checkpoint": str(known[-1]), "checkpoint_id": notes["id"], "iteration": notes["iteration"]} if known and recorded else {}
        _, channel = attempt(train, decide=killed_at if again == 0 else lambda event: GO_ON, **given)
        for event in channel.events:
            rows[event.iteration] = event.metrics["epoch"]
        if again and max(rows) == 7:
            break
    assert rows == {iteration: iteration - 1 + first for iteration in range(1, 8)}


def test_the_place_is_noted_for_the_attempts_to_come(attempt, tmp_path):
    """Every third epoch from 0, before the report: after a resume the first block has the step that would mean the contrary."""
    train = looping("before", 0, every(3))
    attempt(train)
    notes = LocalStore.notes_in(str(tmp_path / "trial" / "checkpoint_000001"))
    assert (notes["iteration"], notes["blocks"]) == (4, "before")
    checkpoint = str(tmp_path / "trial" / "checkpoint_000001")
    _, channel = attempt(train, checkpoint=checkpoint, checkpoint_id="3/checkpoint_000001", iteration=4)
    assert [(event.iteration, event.checkpoint is not None) for event in channel.events] == [(5, False), (6, False), (7, True)]


def test_the_second_block_tells_where_the_first_left_a_doubt(attempt, tmp_path):
    """Counting from 0 and saving the 3rd, 6th ... before their reports looks at first like counting from 1 and saving after them."""
    _, channel = attempt(looping("before", 0, every(3, shift=1), epochs=12))
    assert filed(channel, tmp_path, 0) == [(2, 3), (6, 6), (9, 9), (12, 12)]
    assert LocalStore.notes_in(str(tmp_path / "trial" / "checkpoint_000000"))["blocks"] == ""
    assert LocalStore.notes_in(str(tmp_path / "trial" / "checkpoint_000001"))["blocks"] == "before"


def test_a_state_of_before_the_first_report_is_filed_there(attempt, tmp_path):
    def train(config):
        with checkpoint_dir(step=0) as folder:
            Path(folder, "epoch").write_text("-1")
        for epoch in range(2):
            report(epoch=epoch)

    _, channel = attempt(train)
    assert [event.checkpoint for event in channel.events] == ["3/checkpoint_000000", None]


@pytest.mark.parametrize("step", ["best", object(), np.int64(1), np.float32(1), None])
def test_steps_of_any_kind(step):
    blocks = Blocks()
    assert blocks.stand_before(step, 0, fresh=True)
    assert blocks.stand_before(step, 1, fresh=False)
    blocks = Blocks()
    assert not blocks.stand_before(step, 1, fresh=False)
    assert not blocks.stand_before(step, 2, fresh=False)


@given(counts=st.sampled_from([(0, 0), (0, 1), (1, 0)]), k=st.integers(1, 9), before=st.booleans())
def test_at_most_the_first_block_is_taken_for_another(counts, k, before):
    """Every k-th epoch, as people write it: ``epoch % k == 0``, or ``(epoch + 1) % k == 0`` where they count from 0."""
    first, shift = counts
    blocks, answers = Blocks(), []
    for epoch in range(first, first + 6 * k):
        reports = epoch - first + (0 if before else 1)
        if (epoch + shift) % k == 0:
            answers.append(blocks.stand_before(epoch, reports, fresh=reports == 0))
    assert answers[1:] == [before] * (len(answers) - 1)
    if not (before and shift):
        assert answers[0] == before

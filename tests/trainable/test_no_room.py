"""A disk that is low: what would be saved is not, and is told of; the trial goes on, and no report is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tunesmith.core.events import CheckpointSaved, SaveSkipped
from tunesmith.trainable import Trainable, report
from tunesmith.trainable.session import GO_ON, Answer, checkpoint_dir, get_checkpoint

MB = 10**6
LOW = "1 MB are free under {}, min_free_bytes=20 MB"


@pytest.fixture
def disk(monkeypatch):
    """A disk of 1 GB, of which 20 MB are to stay free: ``disk.free = bytes``."""
    disk = SimpleNamespace(free=500 * MB)
    monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_blocks=MB, f_frsize=1000, f_bavail=disk.free // 1000))
    return disk


def left(tmp_path):
    home = tmp_path / "trial"
    return sorted(os.listdir(home)) if home.exists() else []


def test_reports_of_a_function_go_on_alone(attempt, disk, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "w").write_bytes(b"x" * 1000)
    seen = []

    def train(config):
        for step in range(4):
            disk.free = MB if step in (1, 2) else 500 * MB
            report({"step": step}, checkpoint={"step": step} if step == 1 else str(tmp_path / "mine"))
            seen.append(get_checkpoint().path[-1])

    ended, channel = attempt(train)
    assert ended.outcome == "finished", ended.error
    assert [(event.iteration, event.metrics["step"], event.checkpoint, event.bytes) for event in channel.events] == [
        (1, 0, "3/checkpoint_000000", 1000), (2, 1, None, 0), (3, 2, None, 0), (4, 3, "3/checkpoint_000001", 1000),
    ]  # fmt: skip
    low = LOW.format(tmp_path)
    assert channel.saved == [SaveSkipped(3, 1, 2, low), SaveSkipped(3, 1, 3, low.replace(", min", ", 1 kB are to be written, min"))]
    assert seen == ["0", "0", "0", "1"]
    assert left(tmp_path) == ["checkpoint_000000", "checkpoint_000001"]
    assert (tmp_path / "mine" / "w").exists()


def test_a_save_that_fills_the_disk_is_none(attempt, disk, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ended, channel = attempt(lambda config: report({"a": 1}, checkpoint={"b": 2}))
    assert ended.outcome == "finished", ended.error
    assert [(event.iteration, event.checkpoint) for event in channel.events] == [(1, None)]
    assert channel.saved == [SaveSkipped(3, 1, 1, f"no space is left under {tmp_path}/trial")]
    assert left(tmp_path) == []


@pytest.mark.parametrize("place", ["before", "after"])
def test_blocks_before_and_after_the_report(attempt, disk, tmp_path, place):
    def block(step):
        disk.free = MB if step == 1 else 500 * MB
        with checkpoint_dir(step=step) as folder:
            Path(folder, "w").write_bytes(b"x" * step)

    def train(config):
        for step in range(3):
            if place == "before":
                block(step)
            report(step=step)
            if place == "after":
                block(step)

    ended, channel = attempt(train)
    assert ended.outcome == "finished", ended.error
    assert [event.metrics["step"] for event in channel.events] == [0, 1, 2]
    skipped = SaveSkipped(3, 1, 2, LOW.format(tmp_path))
    if place == "before":
        assert [event.checkpoint for event in channel.events] == ["3/checkpoint_000000", None, "3/checkpoint_000001"]
        assert [event.bytes for event in channel.events] == [0, 0, 2]
        assert channel.saved == [skipped]
    else:
        saves = [CheckpointSaved(3, 1, 1, "3/checkpoint_000000"), skipped, CheckpointSaved(3, 1, 3, "3/checkpoint_000001", bytes=2)]
        assert channel.saved == saves
    assert left(tmp_path) == ["checkpoint_000000", "checkpoint_000001"]


def test_a_block_in_which_the_disk_fills_up_is_left(attempt, disk, tmp_path):
    """With what the system says, with what a library makes of it; whatever else is raised is the script's own."""
    raised = [OSError(errno.ENOSPC, "full"), RuntimeError("writing failed"), RuntimeError("mine")]

    def train(config):
        for step, error in enumerate(raised):
            disk.free = 500 * MB
            with checkpoint_dir(step=step) as folder:
                Path(folder, "w").write_text("half")
                disk.free = MB if step == 1 else 500 * MB
                raise error
            report(step=step)

    ended, channel = attempt(train)
    assert (ended.outcome, ended.error["message"]) == ("user_error", "mine")
    assert [event.iteration for event in channel.events] == [1, 2]
    low = LOW.format(tmp_path)
    assert [event.reason for event in channel.saved] == [f"no space is left under {tmp_path}", f"{low} (RuntimeError while it was written)"]
    assert left(tmp_path) == []


def test_an_error_in_a_block_is_the_scripts_own_where_there_was_no_room_before(attempt, disk, tmp_path):
    def train(config):
        disk.free = MB
        with checkpoint_dir(step=0):
            raise ValueError("mine")

    ended, channel = attempt(train)
    assert (ended.outcome, ended.error["message"]) == ("user_error", "mine")
    assert channel.saved == []


def test_a_disk_without_room_for_a_directory_gives_the_block_another_one(attempt, disk, tmp_path, monkeypatch):
    whole = os.mkdir

    def full(path, *args, **options):
        if ".stage_checkpoint_" in str(path):
            raise OSError(errno.ENOSPC, "full")
        whole(path, *args, **options)

    def train(config):
        with checkpoint_dir(step=0) as folder:
            Path(folder, "w").write_text("x")
            folders.append(folder)
        report(a=1)

    monkeypatch.setattr(os, "mkdir", full)
    folders = []
    ended, channel = attempt(train)
    assert ended.outcome == "finished", ended.error
    assert channel.saved == [SaveSkipped(3, 1, 0, f"no space is left under {tmp_path}/trial")]
    assert not os.path.exists(folders[0])


class Counting(Trainable):
    def setup(self, config):
        self.count, self.saves = 0, config.setdefault("saves", [])

    def step(self):
        self.count += 1
        self.config.get("turn", lambda count: None)(self.count)
        return {"count": self.count, "done": self.count >= 4}

    def save_checkpoint(self, checkpoint_dir):
        self.saves.append(self.count)
        Path(checkpoint_dir, "w").write_bytes(b"x" * self.config.get("bytes", 10))
        self.config.get("writes", lambda count: None)(self.count)

    def load_checkpoint(self, checkpoint):
        pass


def test_due_saves_of_a_class(attempt, disk, tmp_path):
    def turn(count):
        disk.free = MB if count in (2, 3) else 500 * MB

    config = {"turn": turn}
    ended, channel = attempt(Counting, config, frequency=1)
    assert ended.outcome == "finished", ended.error
    assert [(event.iteration, event.metrics["count"]) for event in channel.events] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert [event.bytes for event in channel.events] == [10, 0, 0, 10]
    reason = LOW.format(tmp_path).replace(", min", ", 10 bytes are to be written, min")
    assert channel.saved == [SaveSkipped(3, 1, 2, reason), SaveSkipped(3, 1, 3, reason)]
    assert config["saves"] == [1, 4], "it is not asked to write what there is no room for"
    assert left(tmp_path) == ["checkpoint_000000", "checkpoint_000001"]


def test_the_last_size_is_taken_for_the_next(attempt, disk, tmp_path):
    disk.free = 20 * MB + 15
    config = {"bytes": 10}
    attempt(Counting, config, frequency=2)
    assert config["saves"] == [2], "five bytes more than must stay free are too few"
    first = str(tmp_path / "trial" / "checkpoint_000000")
    disk.free = 20 * MB + 5000
    _, channel = attempt(Counting, {"bytes": 5001}, frequency=2, checkpoint=first, checkpoint_id="3/checkpoint_000000", iteration=2)
    assert [(event.iteration, event.checkpoint) for event in channel.events[1::2]] == [(4, "3/checkpoint_000001"), (6, None)]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("writing failed")])
def test_a_disk_that_fills_up_while_a_class_writes(attempt, disk, tmp_path, error):
    def writes(count):
        if count == 2:
            disk.free = MB if isinstance(error, RuntimeError) else disk.free
            raise error

    def turn(count):
        disk.free = 500 * MB

    ended, channel = attempt(Counting, {"turn": turn, "writes": writes}, frequency=1)
    assert ended.outcome == "finished", ended.error
    assert [event.checkpoint is not None for event in channel.events] == [True, False, True, True]
    (skipped,) = channel.saved
    assert (skipped.iteration, left(tmp_path)) == (2, [f"checkpoint_{index:06d}" for index in range(3)])


def test_an_error_while_a_class_writes_is_its_own_where_there_is_room(attempt, disk):
    def writes(count):
        raise RuntimeError("mine")

    ended, _ = attempt(Counting, {"writes": writes}, frequency=1)
    assert (ended.outcome, ended.error["message"]) == ("user_error", "mine")


@pytest.mark.parametrize("answer", [Answer("stop", save=True), Answer("pause", "cold"), Answer("stop")])
def test_the_save_at_an_end_is_answered_all_the_same(attempt, disk, tmp_path, answer):
    def decide(event):
        disk.free = MB
        return answer if event.iteration == 2 else GO_ON

    ended, channel = attempt(Counting, {}, decide, frequency=0, at_end=True)
    assert ended.outcome == "stopped"
    assert channel.saved == [SaveSkipped(3, 1, 2, LOW.format(tmp_path))]
    assert left(tmp_path) == []


def test_a_save_that_was_asked_for_is_answered_once(attempt, disk, tmp_path):
    def decide(event):
        disk.free = MB if event.iteration < 3 else 500 * MB
        return Answer(save=True) if event.iteration in (1, 3) else GO_ON

    ended, channel = attempt(Counting, {}, decide)
    assert ended.outcome == "finished"
    assert channel.saved == [SaveSkipped(3, 1, 1, LOW.format(tmp_path)), CheckpointSaved(3, 1, 3, "3/checkpoint_000000", bytes=10)]

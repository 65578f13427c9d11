"""Event files, read by TensorBoard itself."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from tunesmith.logger import LegacyLoggerCallback, LoggerCallback, TBXLogger, TBXLoggerCallback
from tunesmith.testing import LoggerKit
from tunesmith.testing.logger_story import Diary, tell

ALL = {"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}
TIMES = {"time_this_iter_s", "time_total_s"}


def read(folder: Path) -> EventAccumulator:
    """What TensorBoard makes of a folder."""
    found = EventAccumulator(str(folder), size_guidance=ALL)
    found.Reload()
    return found


def series(found: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in found.Scalars(tag)]


def records(path: Path) -> list[Event]:
    """What stands in a file, whether or not it is taken back; TensorBoard checks each record's checksum."""
    reader, found = PyRecordReader_New(str(path)), []
    while True:
        try:
            reader.GetNext()
        except OutOfRangeError:
            return found
        found.append(Event.FromString(reader.record()))


def stored(folder: Path) -> list[Mapping[str, Any]]:
    """Rows by step, with what TensorBoard shows of each."""
    rows: dict[int, dict[str, Any]] = {}
    if folder.exists():
        found = read(folder)
        for tag in found.Tags()["scalars"]:
            for step, value in series(found, tag):
                row = rows.setdefault(step, {"training_iteration": step})
                assert tag not in row, f"{tag} stands twice at step {step}"
                row[tag] = value
    return [rows[step] for step in sorted(rows)]


def event_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.out.tfevents.*"))


class TestTensorBoard(LoggerKit):
    keeps: ClassVar[tuple[type, ...]] = (bool,)  # numbers are 32-bit floats

    def make(self, tmp_path: Path) -> LoggerCallback:
        return TBXLoggerCallback()

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]]:
        return stored(tmp_path / trial_id)


class TestLegacyTensorBoard(LoggerKit):
    rewrites = False

    def make(self, tmp_path: Path) -> LoggerCallback:
        return LegacyLoggerCallback([TBXLogger])


def told(story: Any, *rows: Mapping[str, Any]) -> EventAccumulator:
    """What TensorBoard shows of a trial that reported ``rows``."""
    story.host([TBXLoggerCallback()])
    story.start()
    for iteration, row in enumerate(rows, 1):
        story.report(iteration, **row)
    story.end()
    story.close()
    return read(story.trial_dir())


# -- scalars -----------------------------------------------------------------------------------------------------------------------


def test_scalars_stand_under_their_flat_names(story: Any) -> None:
    found = told(story, {"loss": 0.5, "val": {"acc": 0.25, "n": 3}, "ok": True}, {"loss": 0.25, "val": {"acc": 0.5, "n": 4}, "ok": False})
    assert set(found.Tags()["scalars"]) == {"loss", "val/acc", "val/n", "ok"} | TIMES
    assert series(found, "loss") == [(1, 0.5), (2, 0.25)]
    assert series(found, "val/n") == [(1, 3.0), (2, 4.0)]
    assert series(found, "ok") == [(1, 1.0), (2, 0.0)]
    first = story.trial_dir()
    assert [path.name for path in event_files(first)] == ["events.out.tfevents.1000000000.tunesmith.0000"]
    walls = [one.wall_time for one in found.Scalars("loss")]
    assert walls == sorted(walls)
    assert walls[0] > 1e9


def test_numbers_that_a_32_bit_float_cannot_hold_are_infinite(story: Any) -> None:
    row = {"nan": math.nan, "inf": math.inf, "huge": -1e300, "big": 2**70, "vast": 10**400, "half": np.float16(0.5), "n": np.int64(7)}
    found = told(story, row)
    values = {tag: series(found, tag)[0][1] for tag in row}
    assert math.isnan(values.pop("nan"))
    assert values == {"inf": math.inf, "huge": -math.inf, "big": 2.0**70, "vast": math.inf, "half": 0.5, "n": 7.0}


def test_what_is_no_number_is_no_scalar(story: Any) -> None:
    found = told(story, {"note": "x", "none": None, "loss": 1.0}, {"note": 2.0, "none": 3.0, "loss": "x"})
    assert [series(found, tag) for tag in ("note", "none", "loss")] == [[(2, 2.0)], [(2, 3.0)], [(1, 1.0)]]


@pytest.mark.parametrize(("steps", "expected"), [((0, 128, 70_000), [0, 128, 70_000]), (("x", None, 2**80), [1, 2, 3])])
def test_the_step_is_that_of_the_training(story: Any, steps: tuple[Any, ...], expected: list[int]) -> None:
    found = told(story, *[{"loss": 1.0, "timesteps_total": step} for step in steps])
    assert [step for step, _ in series(found, "loss")] == expected


def test_many_rows_are_as_good_as_few(story: Any) -> None:
    """Rows that wait together are written column by column."""
    found = told(story, *[{"loss": 1 / (step + 1), "x": step} for step in range(700)])
    assert series(found, "loss") == [(step + 1, float(np.float32(1 / (step + 1)))) for step in range(700)]
    assert series(found, "x") == [(step + 1, float(step)) for step in range(700)]


def test_wide_rows(story: Any) -> None:
    """They are spread over several events."""
    found = told(story, *[{f"m{number}": number * scale for number in range(150)} for scale in (1.0, 2.0)])
    assert len(found.Tags()["scalars"]) == 150 + len(TIMES)
    assert all(series(found, f"m{number}") == [(1, number), (2, 2.0 * number)] for number in range(150))


# -- arrays ------------------------------------------------------------------------------------------------------------------------


def test_arrays_and_lists_of_numbers_are_histograms(story: Any) -> None:
    weights = np.random.default_rng(1).normal(size=(20, 30))
    others = {"names": ["a"], "none": np.array([]), "loss": 1.0}
    found = told(story, {"w": weights, "list": [1, 2, 2, math.nan], "same": np.full(5, 3), **others})
    assert set(found.Tags()["histograms"]) == {"w", "list", "same"}
    (one,) = found.Histograms("w")
    shown = one.histogram_value
    assert (one.step, shown.num, sum(shown.bucket)) == (1, 600, 600)
    assert (shown.min, shown.max, shown.sum) == pytest.approx((weights.min(), weights.max(), weights.sum()))
    assert shown.sum_squares == pytest.approx((weights**2).sum())
    below = sum(count for limit, count in zip(shown.bucket_limit, shown.bucket, strict=True) if limit <= 0)
    assert abs(below - (weights < 0).sum()) < 40
    (same,) = found.Histograms("same")
    assert (same.histogram_value.bucket_limit, same.histogram_value.bucket) == ([3.0], [5.0])
    assert series(found, "loss") == [(1, 1.0)]


PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (PIXELS, PIXELS),
        (PIXELS.transpose(2, 0, 1), PIXELS),
        (PIXELS[:, :, :1], PIXELS[:, :, 0]),
        (np.dstack([PIXELS, PIXELS[:, :, 0]]), np.dstack([PIXELS, PIXELS[:, :, 0]])),
        (PIXELS / 255, PIXELS),
        (PIXELS[:, :, :1] > 99, np.where(PIXELS[:, :, 0] > 99, 255, 0)),
        (np.full((6, 5, 3), [math.nan, 7.0, -7.0]), np.full((6, 5, 3), [0, 255, 0])),
        (np.stack([PIXELS, PIXELS, PIXELS]), np.vstack([np.hstack([PIXELS, PIXELS]), np.hstack([PIXELS, 0 * PIXELS])])),
        (Image.fromarray(PIXELS), PIXELS),
        (Image.fromarray(PIXELS[:, :, 0]), PIXELS[:, :, 0]),
    ],
    ids=["HWC", "CHW", "grey", "RGBA", "float", "bool", "clipped", "several", "PIL", "PIL grey"],
)
def test_images(story: Any, given: Any, expected: Any) -> None:
    found = told(story, {"loss": 1.0}, {"loss": 1.0, "sample": given})
    (one,) = found.Images("sample")
    assert (one.step, one.height, one.width) == (2, *expected.shape[:2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(one.encoded_image_string))), expected)


def test_objects_that_cannot_be_shown_do_no_harm(story: Any) -> None:
    class Sour:
        def __array__(self, *args: Any, **info: Any) -> Any:
            raise RuntimeError("no array")

    found = told(story, {"loss": 1.0, "sour": Sour(), "print": print, "ragged": [[1], [2, 3]], "complex": np.array([1j, 2j])})
    assert (found.Tags()["histograms"], found.Tags()["images"], series(found, "loss")) == ([], [], [(1, 1.0)])


# -- what is taken back, and resumed runs ------------------------------------------------------------------------------------------


def test_a_retry_leaves_each_step_once(story: Any) -> None:
    story.host([TBXLoggerCallback()])
    story.start()
    for iteration in (1, 2, 3):
        story.report(iteration, loss=1.0, w=np.arange(iteration + 1), **({"gone": 1.0} if iteration == 3 else {}))
    story.fail(retry=True)
    story.start(attempt=1)
    for iteration in (2, 3):
        story.report(iteration, attempt=1, loss=2.0)
    story.end(attempt=1)
    story.close()
    (path,) = event_files(story.trial_dir())
    steps = [one.step for one in records(path) if one.HasField("summary") and one.step]
    assert steps == [1, 1, 2, 3]  # two at the first: scalars, and the histogram
    found = read(story.trial_dir())
    assert (series(found, "loss"), "gone" in found.Tags()["scalars"]) == ([(1, 1.0), (2, 2.0), (3, 2.0)], False)


def test_one_who_reads_along_sees_what_one_sees_who_comes_later(story: Any) -> None:
    """Through a retry, a crash and the end of the trial, when the file is put in order."""
    diary = Diary()
    along = EventAccumulator(str(story.trial_dir()), size_guidance=ALL)

    def look(entries: int) -> list[tuple[int, float]]:
        diary.wait(entries)
        along.Reload()
        shown = series(along, "loss")
        assert shown == series(read(story.trial_dir()), "loss")
        return shown

    story.host([TBXLoggerCallback(), diary], note=False)
    story.start()
    tell(story, 0, 1, 3)
    assert [step for step, _ in look(4)] == [1, 2, 3]
    story.fail(retry=True)
    story.start(attempt=1)
    tell(story, 0, 1, 2, attempt=1, scale=4)
    assert look(7) == [(1, 4.0), (2, 2.0)]
    story.close()
    story.host([TBXLoggerCallback(), diary], note=False)
    before = len(diary.entries)
    story.lose(attempt=1)
    story.start(attempt=2)
    tell(story, 0, 1, 1, attempt=2, scale=8)
    assert look(before + 5 + 2 + 2) == [(1, 8.0)]
    story.end(attempt=2)
    look(before + 5 + 2 + 3)
    story.close()


def test_a_resumed_run_keeps_arrays_that_the_journal_does_not_have(story: Any) -> None:
    story.host([TBXLoggerCallback()], note=True)
    story.start()
    for iteration in (1, 2, 3):
        story.report(iteration, loss=1.0, w=np.arange(iteration + 1), checkpoint="0/checkpoint_000000" if iteration == 2 else None)
    story.close()
    (path,) = event_files(story.trial_dir())
    path.write_bytes(path.read_bytes() + path.read_bytes()[40:60])  # a record that was cut off
    story.host([TBXLoggerCallback()], note=True)
    story.lose()
    story.start(attempt=1)
    story.report(3, attempt=1, loss=2.0)
    story.report(4, attempt=1, loss=2.0, w=np.arange(9))
    story.end(attempt=1)
    story.close()
    found = read(story.trial_dir())
    assert series(found, "loss") == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]
    assert [(one.step, one.histogram_value.num) for one in found.Histograms("w")] == [(1, 2), (2, 3), (4, 9)]
    assert len(event_files(story.trial_dir())) == 1


def test_results_that_the_journal_does_not_have_go(story: Any) -> None:
    """After a power cut files may be ahead of the journal."""
    story.host([TBXLoggerCallback()], note=True)
    story.start()
    tell(story, 0, 1, 2)
    story.close()
    ahead = TBXLogger({}, str(story.trial_dir()))
    ahead.on_result({"loss": 7.0, "training_iteration": 9})
    ahead.flush()
    assert len(event_files(story.trial_dir())) == 2
    story.host([TBXLoggerCallback()], note=True)
    story.lose()
    story.start(attempt=1)
    story.end(attempt=1)
    story.close()
    assert [step for step, _ in series(read(story.trial_dir()), "loss")] == [1, 2]


def test_files_of_others_are_left_alone(story: Any) -> None:
    story.trial_dir().mkdir()
    theirs = story.trial_dir() / "events.out.tfevents.1700000000.myhost.1.0"
    theirs.write_bytes(b"mine")
    for session in (0, 1):
        story.host([TBXLoggerCallback()], note=False)
        if not session:
            story.start()
            tell(story, 0, 1, 2)
        story.close()
    assert theirs.read_bytes() == b"mine"
    assert len(event_files(story.trial_dir())) == 2


def test_a_directory_that_somebody_deletes_is_no_reason_to_fail(story: Any) -> None:
    diary = Diary()
    host = story.host([TBXLoggerCallback(), diary])
    story.start()
    tell(story, 0, 1, 2)
    diary.wait(3)
    shutil.rmtree(story.trial_dir())
    story.fail(retry=True)
    story.start(attempt=1)
    tell(story, 0, 1, 2, attempt=1)
    story.end(attempt=1)
    story.close()
    assert host.failures == []


# -- by hand -----------------------------------------------------------------------------------------------------------------------


def test_the_older_class_by_hand(tmp_path: Path) -> None:
    logger = TBXLogger({"lr": 0.5}, str(tmp_path))
    logger.on_result({"loss": 1.0, "val": {"acc": np.float32(0.5)}, "training_iteration": 1, "w": np.arange(3)})
    logger.update_config({"lr": 0.25})
    logger.on_result({"loss": 2.0, "training_iteration": 2})
    logger.flush()
    assert series(read(tmp_path), "loss") == [(1, 1.0), (2, 2.0)]
    assert series(read(tmp_path), "config/lr") == [(1, 0.5), (2, 0.25)]
    logger.close()
    found = read(tmp_path)
    assert (series(found, "val/acc"), found.Tags()["histograms"]) == ([(1, 0.5)], ["w"])
    again = TBXLogger({"lr": 0.25}, str(tmp_path))
    again.on_result({"loss": 3.0, "training_iteration": 3})
    again.close()
    assert series(read(tmp_path), "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]

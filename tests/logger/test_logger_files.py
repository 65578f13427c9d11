"""params.json, progress.csv, result.json, error.txt: what stands in them, whatever happens to a trial."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.logger import CSVLogger, CSVLoggerCallback, ErrorFileCallback, JsonLogger, JsonLoggerCallback, default_loggers
from tunesmith.logger.encode import config_text, json_holds, one_line
from tunesmith.logger.files import CsvFile, FilePool


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_short_trial(story: Any) -> None:
    story.host(default_loggers())
    story.start(lr=0.1)
    story.report(1, loss=0.5, **{"val/acc": 0.25})
    story.end()
    story.close()
    where = story.trial_dir()
    assert sorted(path.name for path in where.iterdir()) [-3:] == ["params.json", "progress.csv", "result.json"]
    assert (where / "params.json").read_text() == '{\n  "lr": 0.1\n}'
    (row,) = table(where / "progress.csv")
    assert list(row)[:2] == ["loss", "val/acc"]
    assert (row["loss"], row["val/acc"], row["training_iteration"], row["trial_id"]) == ("0.5", "0.25", "1", "3f2ab_00000")
    assert not [name for name in row if name.startswith("config")]
    (result,) = lines(where / "result.json")
    assert (result["loss"], result["val"], result["config"], result["pid"]) == (0.5, {"acc": 0.25}, {"lr": 0.1}, 7)


def test_ray_and_pandas_can_read_it(story: Any) -> None:
    story.host(default_loggers())
    story.start()
    for iteration in (1, 2, 3):
        story.report(iteration, loss=1 / iteration, note='a "quoted", text')
    story.end()
    story.close()
    frame = pd.read_csv(story.trial_dir() / "progress.csv")
    assert frame["loss"].tolist() == [1.0, 0.5, 1 / 3]
    assert frame["note"].iloc[0] == 'a "quoted", text'
    assert len(pd.read_json(story.trial_dir() / "result.json", lines=True)) == 3


def test_nan_and_infinities(story: Any) -> None:
    story.host(default_loggers())
    story.start()
    story.report(1, loss=float("nan"), gain=float("-inf"))
    story.end()
    story.close()
    text = (story.trial_dir() / "result.json").read_text()
    assert '"loss": NaN' in text
    assert '"gain": -Infinity' in text
    (row,) = table(story.trial_dir() / "progress.csv")
    assert (row["loss"], row["gain"]) == ("nan", "-inf")


@pytest.mark.parametrize("linger", [0.0, 60.0])
def test_a_late_key_widens_the_table(story: Any, linger: float) -> None:
    """Written piece by piece, or all at once: the same table."""
    story.host([CSVLoggerCallback()], linger_s=linger)
    story.start()
    story.report(1, loss=3.0)
    story.report(2, loss=2.0, late="a,b")
    story.report(3, later=1)
    story.end()
    story.close()
    rows = table(story.trial_dir() / "progress.csv")
    assert [(row["loss"], row["late"], row["later"]) for row in rows] == [("3.0", "", ""), ("2.0", "a,b", ""), ("", "", "1")]
    assert not list(story.trial_dir().glob("*.new"))


def test_widening_a_file_on_disk(tmp_path: Path) -> None:
    file = CsvFile(str(tmp_path / "t" / "progress.csv"), FilePool())
    file.add({"a": 1, "text": "two\nlines"})
    file.flush()
    file.add({"a": 2, "b": 3})
    file.close()
    assert table(tmp_path / "t" / "progress.csv") == [{"a": "1", "text": "two\nlines", "b": ""}, {"a": "2", "text": "", "b": "3"}]


def test_values_that_rows_cannot_hold_are_left_to_others(story: Any) -> None:
    story.host([CSVLoggerCallback(), JsonLoggerCallback()])
    story.start()
    metrics = {"loss": 1.0, "training_iteration": 1}
    story.add(ev.Reported(0, 0, 1, metrics, named=("image",), extras={"image": np.zeros((4, 4))}))
    story.end()
    story.close()
    assert "image" not in table(story.trial_dir() / "progress.csv")[0]
    assert "image" not in lines(story.trial_dir() / "result.json")[0]


def test_a_retry_from_a_checkpoint_takes_the_place_of_what_it_repeats(story: Any) -> None:
    story.host(default_loggers())
    story.start()
    for iteration in (1, 2, 3, 4):
        story.report(iteration, loss=float(iteration), checkpoint="0/checkpoint_000000" if iteration == 2 else None)
    story.fail(retry=True)
    story.start(attempt=1)
    story.report(3, attempt=1, loss=30.0)
    story.report(4, attempt=1, loss=40.0)
    story.end(attempt=1)
    story.close()
    assert [row["loss"] for row in table(story.trial_dir() / "progress.csv")] == ["1.0", "2.0", "30.0", "40.0"]
    assert [row["loss"] for row in lines(story.trial_dir() / "result.json")] == [1.0, 2.0, 30.0, 40.0]


def test_a_retry_from_scratch(story: Any) -> None:
    story.host(default_loggers())
    story.start()
    story.report(1, loss=1.0)
    story.report(2, loss=2.0)
    story.fail(retry=True)
    story.start(attempt=1)
    story.report(1, attempt=1, loss=10.0)
    story.end(attempt=1)
    story.close()
    assert [row["loss"] for row in table(story.trial_dir() / "progress.csv")] == ["10.0"]


def test_error_file(story: Any) -> None:
    story.host([ErrorFileCallback()])
    story.start()
    story.fail(retry=True)
    story.start(attempt=1)
    story.fail(attempt=1)
    story.start(1)
    story.end(1)
    story.close()
    text = (story.trial_dir() / "error.txt").read_text()
    assert [line.partition(" (")[0] for line in text.splitlines() if line.startswith("Failure")] == ["Failure # 1", "Failure # 2"]
    assert text.count("KeyError: 'lr'") == 2
    assert not story.trial_dir(1).exists()


def test_an_error_without_a_traceback(story: Any) -> None:
    story.host([ErrorFileCallback()])
    story.start()
    reason = "no report for max_silence_s=5"
    story.add(ev.AttemptEnded(0, 0, "silent"), Decision("end", 0, reason, {"status": "ERROR", "outcome": "silent"}))
    story.close()
    assert reason in (story.trial_dir() / "error.txt").read_text()


def test_secrets_reach_no_file(story: Any) -> None:
    story.resolve = lambda values: {
        **values,
        "wandb": {"project": "p", "api_key": "s3cret"},
        "hub": {"token": "s3cret", "user": "ada", "obj": object()},
        "note": print,
    }
    story.host(default_loggers())
    story.start(lr=0.5, token="drawn")
    story.report(1, loss=1.0)
    story.end()
    story.close()
    files = list(story.trial_dir().iterdir())
    assert len(files) == 5  # params.pkl too, and the event file
    assert not [path for path in files if b"s3cret" in path.read_bytes()]
    params = json.loads((story.trial_dir() / "params.json").read_text())
    assert (params["token"], params["hub"]["user"], "wandb" in params) == ("drawn", "ada", False)


def test_params_pkl_only_where_json_cannot_hold_the_config(story: Any) -> None:
    story.resolve = lambda values: {**values, "data": np.arange(3), "kind": dict, "names": {1: "one"}, "api_key": "s3cret"}
    story.host([JsonLoggerCallback()])
    story.start()
    story.close()
    params = json.loads((story.trial_dir() / "params.json").read_text())
    assert params == {"lr": 0.1, "data": [0, 1, 2], "kind": "builtins.dict", "names": {"1": "one"}}
    pickled = pickle.loads((story.trial_dir() / "params.pkl").read_bytes())
    assert pickled["kind"] is dict
    assert "api_key" not in pickled


def test_an_exploit_changes_params_and_later_rows_only(story: Any) -> None:
    story.host([JsonLoggerCallback()])
    story.start(lr=0.1)
    story.report(1, loss=1.0)
    story.add(ev.AttemptEnded(0, 0, "stopped"), Decision("exploit", 0, "", {"source": 1, "values": {"lr": 0.9}}))
    story.add(ev.TimerFired("x"), Decision("exploited", 0, "", {"source": 1, "checkpoint": "1/checkpoint_000000"}), Decision("launch", 0))
    story.start(attempt=1)
    story.report(2, attempt=1, loss=0.5)
    story.report(3, attempt=1, loss=0.4)
    story.end(attempt=1)
    story.close()
    assert json.loads((story.trial_dir() / "params.json").read_text()) == {"lr": 0.9}
    assert [row["config"] for row in lines(story.trial_dir() / "result.json")] == [{"lr": 0.1}, {"lr": 0.9}, {"lr": 0.9}]


def test_few_files_are_open_at_once(tmp_path: Path) -> None:
    pool = FilePool(limit=3)
    for turn in range(2):
        for index in range(10):
            pool.append(str(tmp_path / f"{index}"), f"{turn}".encode())
            assert len(pool) <= 3
    pool.close_all()
    assert len(pool) == 0
    assert {path.read_text() for path in tmp_path.iterdir()} == {"01"}


def test_loggers_of_one_trial_as_in_old_times(tmp_path: Path) -> None:
    """The old per-trial classes can be used by hand."""
    for cls in (CSVLogger, JsonLogger):
        logger = cls({"lr": 0.1}, str(tmp_path))
        logger.on_result({"loss": 1.0, "val": {"acc": 0.5}})
        logger.flush()
        logger.on_result({"loss": 2.0, "val": {"acc": 0.6}})
        logger.close()
    assert [row["val/acc"] for row in table(tmp_path / "progress.csv")] == ["0.5", "0.6"]
    assert lines(tmp_path / "result.json")[1] == {"loss": 2.0, "val": {"acc": 0.6}, "config": {"lr": 0.1}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5))
def test_what_json_holds_comes_back(config: dict[str, Any]) -> None:
    assert json_holds(config)
    assert json.loads(config_text(config)) == config
    assert json.loads(one_line(config)) == config


def test_what_json_does_not_hold_becomes_readable() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for odd in ({(1, 2): 3}, loop, {"a": {1, 2}}, np.float32(0.5), test_few_files_are_open_at_once):
        json.loads(one_line(odd))
        assert not json_holds(odd)
    assert one_line(np.int64(3)) == "3"
    assert one_line({"f": json.dumps}) == '{"f": "json.dumps"}'


CELLS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(alphabet='ab,"\n\r é', max_size=4)
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c d", "e/f", 'g"h', "i,j"]), CELLS, min_size=1), min_size=1, max_size=8)


@given(ROWS, st.sets(st.integers(0, 8)))
def test_a_table_is_the_same_whenever_it_is_flushed(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], flushes: set[int]) -> None:
    folder = tmp_path_factory.mktemp("table")
    texts = []
    for name, moments in (("at_once", set[int]()), ("in_pieces", flushes)):
        file = CsvFile(str(folder / name), FilePool(limit=1))
        for index, row in enumerate(rows):
            file.add(row)
            if index in moments:
                file.flush()
        file.close()
        with open(folder / name, newline="", encoding="utf-8") as written:
            texts.append(list(csv.reader(written)))
    assert texts[0] == texts[1]
    assert len(texts[0]) == len(rows) + 1

"""Rows of files, byte for byte as ``json`` and ``csv`` would write them one by one, however they are grouped, cut off and rewritten."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tunesmith.core.flat import unflatten
from tunesmith.logger.columns import Rows, csv_lines, json_lines, layout_of
from tunesmith.logger.encode import by_line, config_text, digits, digits_of, entries, json_holds, one_line
from tunesmith.logger.files import CsvFile, FilePool, JsonLinesFile

Row = dict[str, Any]

NAMES = ["loss", "a", "a/b", "a/c", "b/x/y", "b/x/z", 'q"u', "per%s", "x,y", "größe", ""]
NUMBERS = st.sampled_from([0.0, -0.0, 0.5, 1.0, math.nan, math.inf, -math.inf, 1e-7, 1e22, 5e-324]) | st.floats()
WORDS = st.text(alphabet='ab,"\n\r é%\\\t\0\u2028\ud800', max_size=4) | st.sampled_from(["x" * 70, "x" * 70 + '"', "nan", "null", " "])
SCALARS = NUMBERS | st.integers() | st.integers(2**63, 2**80) | st.booleans() | st.none() | WORDS
OTHERS = st.builds(object) | st.lists(st.integers(), max_size=2) | st.just({"x": 1})
CONFIGS: list[Row] = [{}, {"lr": 0.1, "per%s": "100%"}, {"hub": {"token": "s3cret", "user": "ada"}}]
SHOWN = ["{}", '{"lr": 0.1, "per%s": "100%"}', '{"hub": {"user": "ada"}}']


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Rows of a trial: runs of rows with the same keys, of which some values stay the same."""
    rows: list[Row] = []
    configs: list[Any] = draw(st.sampled_from([[None], CONFIGS]))
    for _ in range(draw(st.integers(1, 4))):
        names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6))
        before: Row = {}
        config = draw(st.sampled_from(configs))
        place = draw(st.integers(0, len(names)))
        for _ in range(draw(st.sampled_from([1, 1, 2, 4, 9]))):
            values = draw(st.tuples(*[SCALARS if draw(st.integers(0, 20)) else OTHERS for _ in names]))
            row = {name: before.get(name, value) if draw(st.booleans()) else value for name, value in zip(names, values, strict=True)}
            before = row
            items = list(row.items())
            if config is not None:
                items.insert(place, ("config", config))
            rows.append(dict(items))
    return rows


def plain(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is None or type(value) in (float, int, str, bool)}


def as_json(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        text = json.dumps(unflatten(plain(row)))
        if "config" in row:
            config = f'"config": {SHOWN[CONFIGS.index(row["config"])]}'
            text = f"{text[:-1]}, {config}}}" if len(text) > 2 else f"{{{config}}}"
        lines.append(f"{text}\n")
    return "".join(lines)


def as_csv(columns: list[str], rows: list[Row]) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([[plain(row).get(name) for name in columns] for row in rows])
    return file.getvalue()


def columns_of(rows: list[Row], before: list[str] | None = None) -> list[str]:
    return list(dict.fromkeys([*(before or []), *[name for row in rows for name in plain(row)]]))


def in_bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


@given(tables(), st.data())
def test_files_hold_what_json_and_csv_write(tmp_path_factory: pytest.TempPathFactory, rows: list[Row], data: st.DataObject) -> None:
    """Whenever they are flushed, and whatever is taken back and rewritten in between."""
    folder, pool = tmp_path_factory.mktemp("rows"), FilePool(limit=1)
    objects, table = JsonLinesFile(str(folder / "result.json"), pool), CsvFile(str(folder / "progress.csv"), pool)
    held: list[Row] = []
    told: list[Row] = []
    for row in rows:
        for file in (objects, table):
            file.add(row)
        held.append(row)
        told.append(row)
        move = data.draw(st.sampled_from(["", "", "", "", "flush", "close", "keep", "rewrite"]))
        if move == "keep":
            count = data.draw(st.integers(0, len(held)))
            assert objects.keep(count)
            assert table.keep(count)
            del held[count:]
        elif move == "rewrite":
            del held[data.draw(st.integers(0, len(held))) :]
            for file in (objects, table):
                file.rewrite(held, told)
        elif move:
            for file in (objects, table):
                getattr(file, move)()
    objects.close()
    table.close()
    assert Path(objects.path).read_bytes() == in_bytes(as_json(held))
    assert Path(table.path).read_bytes() == in_bytes(as_csv(columns_of(told), held))


def grouped(rows: list[Row]) -> Rows:
    group = Rows(layout_of(tuple(rows[0])), "}\n")
    group.values = [list(row.values()) for row in rows]
    return group


@given(st.lists(st.sampled_from(NAMES), unique=True, max_size=5), st.integers(1, 9), st.data())
def test_rows_in_a_group_are_written_as_one_by_one(names: list[str], count: int, data: st.DataObject) -> None:
    kinds = {
        name: data.draw(
            st.sampled_from([NUMBERS, st.sampled_from([0.0, -0.0]), st.just(0.5), st.integers(), st.booleans(), WORDS, SCALARS])
        )
        for name in names
    }
    rows = [{name: data.draw(kind) for name, kind in kinds.items()} for _ in range(count)]
    group = grouped(rows)
    assert json_lines(group) == as_json(rows)
    columns = data.draw(st.permutations([*names, *data.draw(st.lists(st.sampled_from(["late", "later"]), unique=True))]))
    assert csv_lines(group, tuple(columns)) == as_csv(columns, rows).partition(as_csv(columns, []))[2]


@pytest.mark.parametrize("count", [1, 3, 4, 300])
def test_rows_with_arrays_and_objects(tmp_path: Path, count: int) -> None:
    rows: list[Row] = [{"step": step, "image": [step], "sometimes": step if step % 3 else {1}} for step in range(count)]
    objects, table = JsonLinesFile(str(tmp_path / "a"), FilePool()), CsvFile(str(tmp_path / "b"), FilePool())
    for file in (objects, table):
        for row in rows:
            file.add(row)
        file.close()
    assert (tmp_path / "a").read_text() == as_json(rows)
    assert (tmp_path / "b").read_bytes() == in_bytes(as_csv(columns_of(rows), rows))
    assert "image" not in table.columns


@given(st.lists(NUMBERS, min_size=1, max_size=9))
@example([0.0, 1.0, -0.0])
@example([-0.0, 1.0, 0.0])
@example([0.5, 1.5])
@example([0.25, 1.5])
def test_digits(numbers: list[float]) -> None:
    """Also the second time, when they are known."""
    finite = tuple(number for number in numbers if math.isfinite(number))
    for _ in range(2):
        assert [digits(number) for number in numbers] == [repr(number) for number in numbers]
        assert not finite or digits_of(finite) == [repr(number) for number in finite]


KEYS = st.text(max_size=4) | st.integers(0, 3) | st.sampled_from([True, None, 1.5])
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=4), TREES, max_size=4))
def test_a_config_that_json_holds(config: Row) -> None:
    """In ``params.json`` and in the rows of ``result.json``."""
    assert json_holds(config)
    assert f"{{{', '.join(entries(config))}}}" == one_line(config) == json.dumps(config)
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in config.items())
    assert config_text(config) == by_line(entries(config)) == (f"{{\n{lines}\n}}" if config else "{}")


@given(st.dictionaries(KEYS, TREES | st.dictionaries(KEYS, TREES, max_size=2), max_size=4))
def test_a_config_with_other_keys(config: dict[Any, Any]) -> None:
    strings = all(type(key) is str for key in config)
    inner = all(type(key) is str for value in config.values() if type(value) is dict for key in value)
    assert json_holds(config) == (strings and inner)
    assert one_line(config) == json.dumps(config)

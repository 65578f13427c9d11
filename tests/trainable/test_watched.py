"""A configuration that notes what is read of it, and is otherwise the dict that it was."""

from __future__ import annotations

import copy
import json
import operator
import os
import pickle
import types
from collections import ChainMap, OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import TrialStopped
from tunesmith.executors.base import Assignment
from tunesmith.trainable import TrainableSpec, report, run_attempt
from tunesmith.trainable.session import GO_ON, Answer, get_checkpoint
from tunesmith.trainable.watched import READS_FILE, Reads, Watched

CONFIG = {"lr": 0.1, "steps": 3, "model": {"width": 64, "deep": {"rate": 0.5}}, "layers": [{"units": 8}, 16]}
ALL = [("lr",), ("steps",), ("model", "width"), ("model", "deep", "rate"), ("layers", "0", "units")]


def watched() -> tuple[Reads, Any]:
    reads = Reads()
    return reads, reads.watch(copy.deepcopy(CONFIG))


def covered(use: Callable[[Any], Any]) -> list[tuple[str, ...]]:
    reads, config = watched()
    use(config)
    return [path for path in ALL if reads.covers(path)]


def takes(**named: Any) -> dict[str, Any]:
    return named


def matched(config: Any) -> Any:
    match config:
        case {"lr": found}:
            return found


@pytest.mark.parametrize(
    "use",
    [
        lambda c: c["lr"],
        lambda c: c.get("lr"),
        lambda c: "lr" in c,
        lambda c: c.pop("lr"),
        lambda c: c.setdefault("lr", 5),
        operator.itemgetter("lr"),
        lambda c: "%(lr)s" % c,  # noqa: UP031 - a way to read a dict
        "{lr}".format_map,
        lambda c: ChainMap({}, c)["lr"],
        lambda c: types.MappingProxyType(c)["lr"],
        matched,
    ],
)
def test_one_entry(use: Callable[[Any], Any]) -> None:
    assert covered(use) == [("lr",)]


@pytest.mark.parametrize(
    "use",
    [
        lambda c: takes(**c),
        lambda c: {**c},
        lambda c: {"first": 1, **c},
        dict,
        {}.update,
        list,
        sorted,
        lambda c: [*reversed(c)],
        lambda c: c.keys(),
        lambda c: c.values(),
        lambda c: c.items(),
        lambda c: c.copy(),
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        lambda c: pickle.dumps(c, 0),
        cloudpickle.dumps,
        json.dumps,
        lambda c: json.dumps(c, indent=1),
        lambda c: c | {"a": 1},
        lambda c: {"a": 1} | c,
        lambda c: operator.ior({}, c),
        lambda c: c == {},
        lambda c: operator.eq({}, c),
        lambda c: c != {},
        lambda c: operator.ne({}, c),
        OrderedDict,
        lambda c: defaultdict(None, c),
        lambda c: types.SimpleNamespace(**c),
        lambda c: type(c)(c),
    ],
)
def test_all_of_it(use: Callable[[Any], Any]) -> None:
    assert covered(use) == ALL


@pytest.mark.parametrize(
    "use",
    [
        print,
        repr,
        str,
        len,
        bool,
        lambda c: isinstance(c, dict),
        lambda c: f"{c}",
        lambda c: c.update(a=1),
        lambda c: c.__setitem__("lr", 1),
        lambda c: c.__delitem__("lr"),
    ],
)
def test_nothing(use: Callable[[Any], Any]) -> None:
    assert covered(use) == []


@pytest.mark.parametrize(
    ("use", "paths"),
    [
        (lambda c: c["model"], []),
        (lambda c: c["model"]["width"], [("model", "width")]),
        (lambda c: c["model"]["deep"]["rate"], [("model", "deep", "rate")]),
        (lambda c: takes(**c["model"]), [("model", "width"), ("model", "deep", "rate")]),
        (lambda c: c["layers"], [("layers", "0", "units")]),
        (lambda c: c.popitem(), [("layers", "0", "units")]),
        (lambda c: c["model"].popitem(), []),
    ],
)
def test_levels(use: Callable[[Any], Any], paths: list[tuple[str, ...]]) -> None:
    assert covered(use) == paths


def test_what_was_asked_for_in_vain() -> None:
    reads, config = watched()
    assert config.get("momentum", 0.9) == 0.9
    assert "decay" not in config["model"]
    with pytest.raises(KeyError, match="momentum"):
        config["momentum"]
    assert reads.absent == {("momentum",), ("model", "decay")}


def test_copies_and_pickles_are_plain() -> None:
    _, config = watched()
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), cloudpickle.loads(cloudpickle.dumps(config))):
        assert twin == CONFIG
        assert [type(twin), type(twin["model"]), type(twin["model"]["deep"])] == [dict, dict, dict]
    shallow = copy.copy(config)
    assert type(shallow) is dict
    assert shallow["model"] is config["model"]
    for made in (type(config)(a=1), type(config)([("a", 1)]), type(config).fromkeys(["a"], 1)):
        assert type(made) is dict
        assert made == {"a": 1}


def test_constants_that_hold_themselves() -> None:
    cyclic: dict[str, Any] = {"x": 1}
    cyclic["again"] = cyclic
    config = Reads().watch({"one": cyclic, "two": cyclic})
    assert config["one"] is config["two"]
    assert config["one"]["again"]["again"]["x"] == 1
    twin = pickle.loads(pickle.dumps(config))
    assert type(twin["one"]["again"]) is dict
    assert twin["one"]["again"] is twin["one"]


def test_a_config_of_another_kind_counts_as_read() -> None:
    reads = Reads()
    config = OrderedDict(lr=1)
    assert reads.watch(config) is config
    assert reads.covers(("lr",))
    inner = OrderedDict(lr=1)
    assert Reads().watch({"a": inner})["a"] is inner


def test_it_is_not_hashable_and_has_no_room_for_more() -> None:
    _, config = watched()
    with pytest.raises(TypeError, match="unhashable"):
        hash(config)
    with pytest.raises(TypeError, match="unhashable"):
        config[[]]
    with pytest.raises(AttributeError):
        config.more = 1


KEYS = st.one_of(st.sampled_from(["a", "b", "c"]), st.integers(0, 2), st.none())
INNER = st.dictionaries(KEYS, st.one_of(st.integers(0, 2), st.dictionaries(KEYS, st.integers(0, 2), max_size=2)), max_size=3)
DICTS = st.dictionaries(KEYS, st.one_of(st.integers(0, 2), INNER), max_size=3)
READS: list[Callable[[Any, Any, Any], Any]] = [
    lambda d, key, _: d[key],
    lambda d, key, _: d.get(key),
    lambda d, key, other: d.get(key, other),
    lambda d, key, _: key in d,
    lambda d, key, _: d.pop(key),
    lambda d, key, other: d.pop(key, other),
    lambda d, key, other: d.setdefault(key, other),
    lambda d, *_: d.popitem(),
    lambda d, *_: list(d),
    lambda d, *_: list(reversed(d)),
    lambda d, *_: list(d.keys()),
    lambda d, *_: list(d.values()),
    lambda d, *_: list(d.items()),
    lambda d, *_: len(d),
    lambda d, *_: repr(d),
    lambda d, *_: d.copy(),
    lambda d, *_: {**d},
    lambda d, *_: dict(d),
    lambda d, *_: copy.deepcopy(d),
    lambda d, *_: pickle.loads(pickle.dumps(d)),
    lambda d, _, other: d | other,
    lambda d, _, other: other | d,
    lambda d, _, other: d == other,
    lambda d, _, other: d != other,
    lambda d, key, other: d.__setitem__(key, other),
    lambda d, _, other: d.update(other),
    lambda d, key, _: d.__delitem__(key),
    lambda d, *_: d.clear(),
]


@given(DICTS, st.lists(st.tuples(st.sampled_from(READS), KEYS, DICTS), max_size=4))
def test_it_equals_a_plain_dict_under_all_that_can_be_done(plain: dict[Any, Any], steps: list[tuple[Any, Any, Any]]) -> None:
    config = Reads().watch(copy.deepcopy(plain))
    assert isinstance(config, Watched)
    for use, key, other in steps:
        outcomes = []
        for one in (plain, config):
            try:
                outcomes.append((use(one, key, copy.deepcopy(other)), None))
            except (KeyError, TypeError) as error:
                outcomes.append((None, (type(error), error.args)))
        assert outcomes[0] == outcomes[1]
        assert plain == config
        assert list(plain) == list(config)


def test_reads_are_stored_and_found_again(tmp_path: Path) -> None:
    reads, config = watched()
    config["lr"], config["model"]["deep"], config.get("x"), config["layers"]
    reads.checkpoint = True
    reads.save(str(tmp_path / "trial"))
    again = Reads.load(str(tmp_path / "trial"))
    assert again is not None
    assert vars(again) == vars(reads)
    assert Reads.load(str(tmp_path)) is None


def test_a_forked_process_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, _ = watched()
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    reads.save(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# -- in an attempt ---------------------------------------------------------------------------------------------------------


class Channel:
    def __init__(self, answer: Answer = GO_ON) -> None:
        self.answer = answer

    def ask(self, event: Any) -> Answer:
        return self.answer

    def send(self, event: Any) -> None:
        pass


def attempt(trainable: Any, folder: Path, answer: Answer = GO_ON, watch: bool = True) -> tuple[Any, Reads | None]:
    assignment = Assignment(0, 0, "a", "b", "c", copy.deepcopy(CONFIG), str(folder), watch=watch)
    ended = run_attempt(TrainableSpec.of(trainable), assignment, Channel(answer))
    return ended, Reads.load(str(folder))


def test_an_attempt_leaves_what_it_has_read(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        report(lr=config["lr"])

    ended, reads = attempt(train, tmp_path)
    assert ended.outcome == "finished"
    assert reads is not None
    assert (reads.whole, reads.checkpoint) == ({("lr",)}, False)


def test_also_one_that_fails_or_is_stopped(tmp_path: Path) -> None:
    def fails(config: dict[str, Any]) -> None:
        get_checkpoint()
        raise KeyError(config["steps"])

    def stopped(config: dict[str, Any]) -> None:
        try:
            report(x=1)
        except TrialStopped:
            config["lr"]
            raise

    ended, reads = attempt(fails, tmp_path / "0")
    assert ended.outcome == "user_error"
    assert reads is not None
    assert (reads.whole, reads.checkpoint) == ({("steps",)}, True)
    ended, reads = attempt(stopped, tmp_path / "1", Answer("stop"))
    assert ended.outcome == "stopped"
    assert reads is not None
    assert reads.whole == {("lr",)}


def test_a_run_is_not_watched(tmp_path: Path) -> None:
    kinds = []
    attempt(lambda config: kinds.append(type(config)), tmp_path, watch=False)
    assert kinds == [dict]
    assert not (tmp_path / READS_FILE).exists()

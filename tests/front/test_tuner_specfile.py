"""``spec.pkl``: what a restore needs, without secrets, and whatever cannot be pickled costs only itself."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.build import build
from tunesmith.errors import JournalCorrupt, JournalError, SpecError, StorageFull
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec
from tunesmith.specfile import FILE, load, pack, save


def made(tmp_path: Path, **arguments: Any) -> ExperimentSpec:
    def train(config: dict[str, Any]) -> None:
        """Local, so it travels by value."""

    spec = build(train, storage_path=tmp_path, name="x", **arguments)
    save(pack(spec), spec.path)
    return spec


def test_what_was_given_comes_back(tmp_path: Path) -> None:
    spec = made(tmp_path, config={"lr": tune.uniform(0, 1)}, stop={"loss": 1}, num_samples=4, metric="loss", mode="min", seed=7)
    stored = load(spec.path)
    assert [stored.get(name) for name in ("num_samples", "metrics", "modes", "seed")] == [4, ("loss",), ("min",), 7]
    assert stored.get("stop").bounds == {"loss": 1}
    assert stored.get("trainable").name == "train"
    assert stored.failed == {}
    assert sorted(Space.parse(stored.space_config()).parameters) == ["lr"]


def test_secrets_are_not_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"lr": 0.1, "hub": {"password": "hush-hush", "user": "ada"}, "api-key": "pssst"}
    spec = made(tmp_path, config=config)
    content = Path(spec.path, FILE).read_bytes()
    assert b"hush-hush" not in content
    assert b"pssst" not in content
    stored = load(spec.path)
    assert sorted(stored.newest.secrets) == ["api-key", "hub/password"]
    assert stored.space_config(config) == config, "the caller's own"
    with pytest.raises(SpecError, match=r"config\['\w+.\w+'\] is a secret and was not stored.* variable (HUB_PASSWORD|API_KEY)\."):
        stored.space_config()
    monkeypatch.setenv("HUB_PASSWORD", "from outside")
    monkeypatch.setenv("API_KEY", "too")
    assert stored.space_config() == {"lr": 0.1, "hub": {"password": "from outside", "user": "ada"}, "api-key": "too"}


def test_blocks_of_settings_come_from_the_script_only(tmp_path: Path) -> None:
    config = {"lr": 0.1, "wandb": {"project": "secret project"}}
    spec = made(tmp_path, config=config)
    assert b"secret project" not in Path(spec.path, FILE).read_bytes()
    stored = load(spec.path)
    assert stored.space_config(config) == config
    assert stored.newest.load(without_blocks=True) == {"lr": 0.1}
    assert stored.newest.load(config) == config, "from the config that is given"
    with pytest.raises(SpecError, match=r"config\['wandb'\] is secret and was not stored\. Give the space again"):
        stored.space_config()


class Locked(tune.Callback):
    def __init__(self) -> None:
        self.lock = threading.Lock()


def test_what_cannot_be_pickled_costs_only_itself(tmp_path: Path) -> None:
    stored = load(made(tmp_path, callbacks=[Locked()]).path)
    assert list(stored.failed) == ["callbacks"]
    assert stored.get("num_samples") == 1
    with pytest.raises(JournalError, match=r"callbacks could not be stored in spec\.pkl .* \(TypeError: cannot pickle"):
        stored.get("callbacks")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"spec\.pkl is not there"):
        load(str(tmp_path))
    (tmp_path / FILE).write_bytes(b"garbage")
    with pytest.raises(JournalCorrupt, match="is damaged"):
        load(str(tmp_path))
    (tmp_path / FILE).write_bytes(pickle.dumps({"format": 99}))
    with pytest.raises(JournalCorrupt, match="written by a newer version"):
        load(str(tmp_path))


def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    spec = made(tmp_path)
    spec.path = str(tmp_path / "gone")
    with pytest.raises(StorageFull, match="cannot be written: No such file or directory"):
        save(pack(spec), spec.path)

"""Secrets stay out of what a plug-in at work would carry to the disk."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import tunesmith as tune
from tunesmith.search import BasicVariantGenerator
from tunesmith.space import Space


def test_a_searcher_that_is_used_again_takes_no_secrets_along(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> int:
        return len(config["api_key"])

    searcher = BasicVariantGenerator()
    for name in ("first", "second"):
        config = {"x": tune.uniform(0, 1), "api_key": f"hush-{name}"}
        analysis = tune.run(train, name=name, config=config, search_alg=searcher, storage_path=tmp_path, verbose=0, executor="inline")
        assert analysis.trials[0].last_result["_metric"] == len(config["api_key"])
    searcher.save(str(tmp_path / "searcher"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "spec.pkl" for path in files)
    assert [path for path in files if b"hush" in path.read_bytes()] == []


def test_a_pickled_space_has_no_secrets() -> None:
    space = Space.parse({"x": tune.uniform(0, 1), "hub": {"token": "hush", "user": "ada"}})
    data = pickle.dumps(space)
    assert b"hush" not in data
    again = pickle.loads(data)
    assert again.resolve({"x": 0.5}) == {"x": 0.5, "hub": {"user": "ada"}}
    assert space.resolve({"x": 0.5})["hub"]["token"] == "hush"

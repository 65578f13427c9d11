"""rllab's VisKit opens a directory of ours as it is.

What it does with the directory that it is given, by its ``core.py``: it visits every folder below; one counts if it has ``progress.csv``
and ``params.json``. Each cell is a float, or 0 where it is none. Parameters are flattened with "."; those with more than one value can be
told apart by. They go through ``repr`` and ``eval`` for that, and are sorted.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tunesmith as tune

Loaded = tuple[dict[str, Any], dict[str, Any]]


def number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return 0.0


def progress(path: str) -> dict[str, Any]:
    entries: dict[str, list[float]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for key, value in row.items():
                entries.setdefault(key, []).append(number(value))
    return {key: np.array(values) for key, values in entries.items()}


def flat(params: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in params.items():
        found |= {f"{key}.{inner}": one for inner, one in flat(value).items()} if isinstance(value, dict) else {key: value}
    return found


def load(folder: Path) -> list[Loaded]:
    found = []
    for place, _, _ in sorted(os.walk(folder)):
        try:
            curves = progress(os.path.join(place, "progress.csv"))
            with open(os.path.join(place, "params.json"), encoding="utf-8") as file:
                found.append((curves, flat(json.load(file))))
        except OSError:
            continue
    return found


def varying(loaded: list[Loaded]) -> dict[str, list[Any]]:
    texts = {repr(item) for _, params in loaded for item in params.items()}
    pairs = sorted(eval(text) for text in texts)
    found = {key: [value for _, value in items] for key, items in itertools.groupby(pairs, lambda pair: pair[0])}
    return {key: values for key, values in found.items() if len(values) > 1}


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_an_experiment(tmp_path: Path, executor: str) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(1, 4):
            late = {"late": 2.0 * step} if step > 1 else {}
            tune.report({"AverageReturn": config["opt"]["lr"] * step, "val": {"acc": step / 4}, "note": "a, b", "w": [1, 2], **late})

    analysis = tune.run(
        train,
        config={
            "opt": {"lr": tune.grid_search([0.25, 0.5]), "betas": [0.9, 0.99], "wd": None}, "act": tune.grid_search(["relu", "tanh"]),
            "fast": True, "api_key": "s3cret",
        },
        storage_path=tmp_path, name="x", executor=executor, verbose=0,
    )  # fmt: skip
    loaded = load(Path(analysis.experiment_path))
    assert len(loaded) == 4
    for curves, params in loaded:
        assert curves["AverageReturn"].tolist() == [params["opt.lr"] * step for step in (1, 2, 3)]
        assert (curves["val/acc"].tolist(), curves["late"].tolist()) == ([0.25, 0.5, 0.75], [0.0, 4.0, 6.0])
        assert curves["training_iteration"].tolist() == [1.0, 2.0, 3.0]
        assert {len(values) for values in curves.values()} == {3}
        assert (params["fast"], params["opt.betas"], params["opt.wd"], "api_key" in params) == (True, [0.9, 0.99], None, False)
    assert varying(loaded) == {"opt.lr": [0.25, 0.5], "act": ["relu", "tanh"]}


def test_trials_without_results_and_other_folders_are_passed_over(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        if config["x"]:
            (tmp_path / "model").mkdir(exist_ok=True)
            tune.report({"loss": float("nan")}, checkpoint=tune.Checkpoint(str(tmp_path / "model")))
            tune.report({"loss": float("inf")})

    tune.run(train, config={"x": tune.grid_search([0, 1])}, storage_path=tmp_path / "r", executor="inline", verbose=0)
    ((curves, params),) = load(tmp_path / "r")
    assert (np.isnan(curves["loss"]).tolist(), np.isinf(curves["loss"]).tolist(), params) == ([True, False], [False, True], {"x": 1})

"""Descriptions and labels: what readers and people see."""

from __future__ import annotations

import json
import random

import numpy as np

import tunesmith as tune
from tunesmith.space import Space, config_from_description


class Net:
    pass


NET = f"<{__name__}.Net object>"
CONFIG = {
    "lr": tune.loguniform(1e-4, 1),
    "opt": tune.choice([{"name": "sgd", "m": tune.uniform(0, 1)}, {"name": "adam"}, None]),
    "act": tune.choice([len, Net, Net(), "relu"]),
    "g": tune.grid_search([1, 2]),
    "layers": [tune.choice([8, 16]), 4],
    "pair": (1, 2),
    "data": np.zeros(3),
    "big": list(range(5)),
    "nested": {"a": 1, 7: "seven", "net": Net()},
    "half": tune.sample_from(lambda c: c["lr"] / 2),
    "obj": tune.sample_from(lambda: Net()),  # noqa: PLW0108
}


def described(values, **more):
    return config_from_description(json.loads(json.dumps(Space.parse(CONFIG).describe(**more))), json.loads(json.dumps(values)))


def test_configs_are_shown_without_the_space() -> None:
    values = Space.parse(CONFIG).draw(random.Random(0), 1, {"opt": 0, "opt/0/m": 0.5, "act": 1, "lr": 0.2, "layers/0": 8})
    shown = described(values)
    assert list(shown) == list(CONFIG)
    assert shown == {
        "lr": 0.2, "opt": {"name": "sgd", "m": 0.5}, "act": "Net", "g": 2, "layers": [8, 4], "pair": [1, 2], "data": "array([0., 0., 0.])",
        "big": [0, 1, 2, 3, 4], "nested": {"a": 1, 7: "seven", "net": NET}, "half": 0.1, "obj": NET,
    }  # fmt: skip


def test_long_texts_are_cut() -> None:
    space = Space.parse({"x": object(), "data": np.arange(100_000).reshape(1000, 100), "c": b"x" * 1000})
    assert all(len(text) <= 200 for text in config_from_description(space.describe(), {}).values())


def test_values_of_constants_are_shown_as_set() -> None:
    space = Space.parse({"x": tune.uniform(0, 1), "momentum": 0.9, "net": {"w": 1}, "l": [1, 2]})
    values = {"x": 0.5, "momentum": 0.8, "net/w": 2, "l/1": 9, "new/a": 3}
    expected = {"x": 0.5, "momentum": 0.8, "net": {"w": 2}, "l": [1, 9], "new": {"a": 3}}
    assert config_from_description(space.describe(), values) == expected
    assert space.resolve(values) == expected
    assert space.labels(values) == values


def test_secrets_are_left_out_wherever_they_are() -> None:
    config = {
        "api_key": "s3cret",
        "wandb": {"project": "p", "seed": tune.choice([1])},
        "net": {"token": "s3cret", "w": 1, "max_tokens": tune.choice([5])},
        "opt": tune.choice([{"password": "s3cret", "lr": tune.uniform(0, 1)}, {"secret": "s3cret"}]),
        "deep": {"list": [{"token": "s3cret"}]},
    }
    asked = []

    def redact(path: str, value: object) -> bool:
        asked.append((path, value))
        return path.rpartition("/")[2] in ("api_key", "token", "password", "secret", "wandb")

    text = json.dumps(Space.parse(config).describe(redact))
    assert "s3cret" not in text
    assert "wandb" not in text
    assert "max_tokens" in text
    assert ("net/max_tokens", 5) not in asked


def test_labels_follow_the_resolved_config() -> None:
    space = Space.parse(CONFIG)
    values = {
        "lr": 0.2,
        "opt": 0,
        "opt/0/m": 0.5,
        "act": 1,
        "g": 2,
        "layers/0": 8,
        "half": 0.1,
        "obj": {"$opaque": "Net", "seed": 1, "pick": None},
    }
    assert space.labels(values) == {
        "lr": 0.2, "opt/name": "sgd", "opt/m": 0.5, "act": "Net", "g": 2, "layers/0": 8, "half": 0.1, "obj": "Net",
    }  # fmt: skip
    assert space.labels(values | {"opt": 1})["opt/name"] == "adam"
    assert space.labels(values | {"opt": None})["opt"] is None
    assert space.labels(values | {"act": 0})["act"] == "len"

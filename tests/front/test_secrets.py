"""Secrets: what is one, and that redaction takes them and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.secrets import is_secret, redact


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("api_key", "x"),
        ("apikey", "x"),
        ("OPENAI_API_KEY", "x"),
        ("service/api-key", "x"),
        ("apiKey", "x"),
        ("hub/token", "x"),
        ("my_token", "x"),
        ("password", "x"),
        ("db/passwd", "x"),
        ("client_secret", "x"),
        ("aws/secret_access_key", "x"),
        ("token", b"x"),
        ("tokens_file_token/0", "x"),
        ("wandb", {"project": "p"}),
        ("wandb/project", "p"),
        ("wandb/log_freq", 10),
        ("logger_config/mlflow/tracking_uri", "u"),
        ("mlflow", {}),
    ],
)
def test_secret(path: str, value: object) -> None:
    assert is_secret(path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("max_tokens", 512),
        ("token", 3),
        ("token", ""),
        ("token", None),
        ("tokenizer", "bert"),
        ("secret/lr", "x"),
        ("secretary", "x"),
        ("password", True),
        ("wandb", False),
        ("use_wandb", "yes"),
        ("0", "x"),
    ],
)
def test_no_secret(path: str, value: object) -> None:
    assert not is_secret(path, value)


def test_redact_leaves_the_config_alone_and_keeps_drawn_values() -> None:
    config = {
        "lr": 0.1,
        "token": "drawn",
        "hub": {"password": "p", "user": "ada"},
        "layers": [{"secret": "s", "n": 1}, 2],
        "pair": ("a", {"api_key": "k"}),
        "tokens_token": ["a", "b"],
        "wandb": {"project": "p"},
        7: "seven",
    }
    redacted = redact(config, drawn={"token"})
    assert redacted == {
        "lr": 0.1,
        "token": "drawn",
        "hub": {"user": "ada"},
        "layers": [{"n": 1}, 2],
        "pair": ("a", {}),
        "tokens_token": [],
        7: "seven",
    }
    assert config["hub"] == {"password": "p", "user": "ada"}
    redacted["hub"]["user"] = "bob"
    assert config["hub"]["user"] == "ada"


KEYS = st.sampled_from(["lr", "token", "api_key", "hub", "wandb", "password", "max_tokens", "n"])
CONFIGS = st.recursive(
    st.integers() | st.text(max_size=3) | st.floats(allow_nan=False) | st.none(),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, CONFIGS, max_size=4))
def test_redacting_twice_changes_nothing_more(config: dict[str, object]) -> None:
    once = redact(config)
    assert redact(once) == once
    assert not any(is_secret(path, value) for path, value in _leaves(once))


def _leaves(node: object, path: str = "") -> list[tuple[str, object]]:
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in [(f"{path}/{key}".strip("/"), value), *_leaves(value, f"{path}/{key}")]]
    return []


def test_secrets_inside_the_options_of_a_choice_are_left_out() -> None:
    space = {"hub": tune.choice([{"api_key": "s3cret", "lr": tune.uniform(0, 1)}, "plain"])}
    kept = redact(space)["hub"]
    assert [sorted(kept.categories[0]), kept.categories[1]] == [["lr"], "plain"]
    assert "api_key" in space["hub"].categories[0]


def test_an_object_of_the_users_that_looks_like_a_choice_is_left_alone() -> None:
    @dataclass
    class Data:
        categories: tuple[str, ...] = field(init=False, default=("a", "b"))

    data = Data()
    assert redact({"data": data})["data"] is data

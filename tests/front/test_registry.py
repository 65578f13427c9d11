"""Names for trainables and environments."""

from __future__ import annotations

import logging

import pytest

from tunesmith import registry
from tunesmith.errors import SpecError
from tunesmith.registry import env_creator, register_env, register_trainable, registered_trainable, trainable_names


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_trainables", {})
    monkeypatch.setattr(registry, "_envs", {})


def train(config: dict[str, float]) -> None:
    """Does nothing."""


def other(config: dict[str, float]) -> None:
    """Does nothing either."""


def test_a_registered_trainable_is_found_by_its_name() -> None:
    register_trainable("quick", train)
    assert registered_trainable("quick") is train
    assert trainable_names() == ["quick"]


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    register_trainable("resnet", train)
    register_trainable("lenet", other)
    with pytest.raises(SpecError, match=r"no trainable is registered as 'resent'\. Did you mean 'resnet'\? .*: 'lenet', 'resnet'\."):
        registered_trainable("resent")


def test_an_unknown_name_in_an_empty_registry_says_what_to_do() -> None:
    with pytest.raises(SpecError, match=r"none yet\. Call register_trainable\('x', train\) first, or pass the function"):
        registered_trainable("x")


def test_a_name_that_is_taken_goes_to_the_new_one_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    register_trainable("quick", train)
    register_trainable("quick", train)
    assert not caplog.records, "the same again is no news"
    with caplog.at_level(logging.WARNING, "tunesmith"):
        register_trainable("quick", other)
    assert "'quick' now means another trainable" in caplog.text
    assert registered_trainable("quick") is other
    caplog.clear()
    register_trainable("quick", train, warn=False)
    assert not caplog.records


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_name_is_a_string_that_is_not_empty(name: object) -> None:
    with pytest.raises(SpecError, match="must be a string"):
        register_trainable(name, train)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="must be a string"):
        register_env(name, train)  # type: ignore[arg-type]


def test_only_what_can_be_called_is_registered() -> None:
    with pytest.raises(SpecError, match=r"register_trainable\('x'\): expected a function or a class, got int 3"):
        register_trainable("x", 3)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"register_env\('x'\): expected a function"):
        register_env("x", 3)  # type: ignore[arg-type]


def test_environments_have_names_of_their_own() -> None:
    register_env("corridor", lambda settings: settings["length"])
    assert env_creator("corridor")({"length": 5}) == 5
    with pytest.raises(SpecError, match=r"no environment is registered as 'coridor'\. Did you mean 'corridor'\?"):
        env_creator("coridor")
    with pytest.raises(SpecError):
        registered_trainable("corridor")

"""The JSON part of a specification, parsed."""

from __future__ import annotations

import json

from tunesmith.core.settings import Settings


def test_what_is_not_ours_is_ignored_and_what_is_missing_has_its_default() -> None:
    settings = Settings.parse({"num_samples": 7, "space": {"lr": 1}, "scheduler": "FIFO", "metrics": ["a", "b"], "modes": ["min", "max"]})
    assert settings == Settings(num_samples=7, metrics=("a", "b"), modes=("min", "max"))
    assert Settings.parse({}) == Settings()


def test_change() -> None:
    settings = Settings()
    settings.change({"num_samples": None, "metrics": ["loss"], "modes": ["min"], "nonsense": 1, "resources": {"cpu": 4}})
    assert settings == Settings(num_samples=None, metrics=("loss",), modes=("min",), resources={"cpu": 4})


def test_settings_do_not_share_state() -> None:
    Settings().retries["user_error"] = 3
    Settings().resources["gpu"] = 1
    assert Settings() == Settings(retries={}, resources={"cpu": 1.0})


def test_parsed_ones_are_their_own() -> None:
    """A spec is an event's, and events never change; a later ``SpecChanged`` must not reach into it."""
    spec = {"resources": {"cpu": 1}, "num_samples": 1}
    settings = Settings.parse(spec)
    settings.change({"resources": {"cpu": 2}})
    assert json.dumps(spec) == '{"resources": {"cpu": 1}, "num_samples": 1}'

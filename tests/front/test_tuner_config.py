"""The settings objects: defaults that users know, and every wrong value refused by name."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest

from tunesmith.config import CheckpointConfig, FailureConfig, RunConfig, SyncConfig, TuneConfig
from tunesmith.errors import SpecError


def test_defaults() -> None:
    tune, run = TuneConfig(), RunConfig()
    assert (tune.metric, tune.mode, tune.num_samples, tune.time_budget_s, tune.reuse_actors) == (None, None, 1, None, None)
    assert (run.name, run.storage_path, run.stop, run.callbacks, run.log_to_file, run.verbose) == (None, None, None, None, None, 1)
    assert run.failure_config == FailureConfig(max_failures=0, fail_fast=False)
    assert run.checkpoint_config == CheckpointConfig(None, None, "max", 0, None)
    assert RunConfig(failure_config=None, checkpoint_config=None) == run  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", [TuneConfig, RunConfig, CheckpointConfig, FailureConfig, SyncConfig])
def test_unknown_arguments_are_named(cls: type[Any]) -> None:
    with pytest.raises(SpecError, match=rf"{cls.__name__}\(\) has no argument 'nonsense'"):
        cls(nonsense=1)


def test_did_you_mean() -> None:
    with pytest.raises(SpecError, match="Did you mean 'num_samples'"):
        TuneConfig(num_sample=3)  # type: ignore[call-arg]


def test_arguments_of_old_releases_go_by_the_table() -> None:
    assert RunConfig(upload_dir=None) == RunConfig()  # type: ignore[call-arg]
    with pytest.raises(SpecError, match=r"RunConfig\(\): argument 'upload_dir' is not supported yet; give the URL as storage_path"):
        RunConfig(upload_dir="s3://results")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FailureConfig(max_failures=-2), "max_failures must be a whole number >= 0, or -1"),
        (lambda: FailureConfig(max_failures=1.5), "max_failures must be a whole number"),  # type: ignore[arg-type]
        (lambda: FailureConfig(fail_fast="never"), "fail_fast must be False, True or 'raise', got 'never'"),
        (lambda: FailureConfig(max_failures=3, fail_fast=True), "give one of the two"),
        (lambda: FailureConfig(nan="ignore"), "nan must be 'fail' or 'continue', got 'ignore'"),
        (lambda: FailureConfig(circuit_breaker=0), "circuit_breaker must be a whole number >= 1"),
        (lambda: CheckpointConfig(num_to_keep=0), "num_to_keep must be a whole number >= 1"),
        (lambda: CheckpointConfig(checkpoint_score_order="best"), "checkpoint_score_order must be 'max' or 'min'"),
        (lambda: CheckpointConfig(checkpoint_frequency=-1), "checkpoint_frequency must be a whole number >= 0"),
        (lambda: CheckpointConfig(checkpoint_at_end="yes"), "checkpoint_at_end must be"),  # type: ignore[arg-type]
        (lambda: SyncConfig(sync_artifacts="yes"), "SyncConfig: sync_artifacts must be True or False"),  # type: ignore[arg-type]
        (lambda: SyncConfig(sync_period=0), "SyncConfig: sync_period must be a number of seconds > 0"),
        (lambda: SyncConfig(sync_timeout=60), "SyncConfig: sync_timeout=60 is not supported: storing is tried again"),
        (lambda: SyncConfig(upload_dir="s3://x"), r"SyncConfig\(\): argument 'upload_dir' is not supported yet; give the URL"),
        (lambda: RunConfig(failure_config={"max_failures": 3}), "failure_config must be a FailureConfig, got dict"),  # type: ignore[arg-type]
        (lambda: RunConfig(sync_config="s3://x"), "sync_config must be a SyncConfig"),  # type: ignore[arg-type]
    ],
)
def test_wrong_values(make: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


def test_raise_is_understood_in_any_case() -> None:
    assert FailureConfig(fail_fast="RAISE").fail_fast == "raise"


def test_what_asks_for_nothing_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "tunesmith"):
        RunConfig(sync_config=SyncConfig(300, 1800))
    assert not caplog.records


def test_settings_are_values() -> None:
    config = RunConfig(name="digits", checkpoint_config=CheckpointConfig(num_to_keep=2))
    assert pickle.loads(pickle.dumps(config)) == config

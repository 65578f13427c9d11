"""Settings of Weights & Biases are looked at before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.integration.wandb import WandbLogger, WandbTrainableMixin, wandb_mixin
from tunesmith.logger import DEFAULT_LOGGERS


def plain(config: dict[str, Any]) -> None:
    tune.report(loss=1.0)


class Steps(WandbTrainableMixin, tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"loss": 1.0, "done": True}


@pytest.mark.parametrize(
    ("trainable", "loggers"), [(plain, (*DEFAULT_LOGGERS, WandbLogger)), (wandb_mixin(plain), None), (Steps, None)]
)
@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ({}, "project is missing"),
        ({"project": "p", "api_key": "a", "api_key_file": "b"}, "both api_key and api_key_file are given"),
        ({"project": "p", "projekt": 1}, "projekt"),
    ],
)
def test_a_wrong_block_starts_nothing(
    trainable: Any, loggers: Any, block: dict[str, Any], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_PROJECT", "WANDB_PROJECT_NAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SpecError, match=complaint):
        tune.run(trainable, config={"wandb": block}, loggers=loggers, storage_path=tmp_path, executor="inline", verbose=0)
    assert not list(tmp_path.iterdir())

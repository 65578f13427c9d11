"""What tests of the fronts share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., tune.ExperimentAnalysis]:
    """``tune.run``, inline and silent, with its results under ``tmp_path``."""

    def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
        return tune.run(trainable, **{"storage_path": tmp_path, "verbose": 0, "executor": "inline", **arguments})

    return run

"""What tests of the fronts share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@pytest.fixture
def fly(tmp_path: Path) -> Iterator[Callable[..., tune.Preflight]]:
    """``tune.preflight``, inline; whatever happens, nothing of it is left."""
    (tmp_path / "before").mkdir()

    def preflight(trainable: Any, **arguments: Any) -> tune.Preflight:
        return tune.preflight(trainable, **{"storage_path": tmp_path, "executor": "inline", **arguments})

    yield preflight
    assert [path.name for path in tmp_path.iterdir()] == ["before"]

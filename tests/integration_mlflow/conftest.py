"""A local MLflow store for each test: a database file, copied from one that is made once, as making one takes seconds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_OUTDATED = "ignore:The ``noload`` loader strategy:DeprecationWarning"
"""What SQLAlchemy 2.1 says of a query of MLflow 3.17's."""


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.path.parent == Path(__file__).parent:
        item.add_marker(pytest.mark.filterwarnings(_OUTDATED))


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> Iterator[None]:
    """MLflow reports nothing to its makers and reads no settings from outside; trials inherit that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        for name in ("URI", "TOKEN", "USERNAME", "PASSWORD"):
            patch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
        for name in ("EXPERIMENT_NAME", "EXPERIMENT_ID", "RUN_ID"):
            patch.delenv(f"MLFLOW_{name}", raising=False)
        yield


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mlflow

    path = tmp_path_factory.mktemp("store") / "empty.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> str:
    """Of a store of its own. Not below ``tmp_path``: MLflow keeps a database open until the process ends."""
    path = tmp_path_factory.mktemp("mlflow") / "runs.db"
    shutil.copy(empty_store, path)
    return f"sqlite:///{path}"


@pytest.fixture
def client(uri: str) -> Any:
    import mlflow

    return mlflow.MlflowClient(uri)

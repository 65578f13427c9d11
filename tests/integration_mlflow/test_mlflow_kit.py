"""The public kit for loggers on MLflow's, which writes into a real store; what it cannot hold is taken out below."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tunesmith.integration.mlflow import MLflowLoggerCallback
from tunesmith.integration.mlflow_store import Names
from tunesmith.logger import LoggerCallback
from tunesmith.testing import LoggerKit
from tunesmith.testing.logger_story import METRICS


@pytest.mark.slow
class TestMLflow(LoggerKit):
    rewrites = False
    keeps = (float, int, bool)
    # names come out otherwise, and a database holds no infinities: both are tested by themselves
    odd_metrics: ClassVar[dict[str, list[dict[str, Any]]]] = {
        name: rows for name, rows in METRICS.items() if name not in ("names", "punctuation in names", "nan and infinities")
    }

    @pytest.fixture(autouse=True)
    def _store(self, uri: str, client: Any, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        self.uri, self.client = uri, client
        with caplog.at_level(logging.ERROR, "tunesmith"):
            yield

    def name(self, tmp_path: Path) -> str:
        return str(tmp_path).replace("'", "")

    def make(self, tmp_path: Path) -> LoggerCallback:
        return MLflowLoggerCallback(self.uri, experiment_name=self.name(tmp_path))

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]] | None:
        experiment = self.client.get_experiment_by_name(self.name(tmp_path))
        if experiment is None:
            return []
        runs = self.client.search_runs([experiment.experiment_id], f"tags.trial_id = '{trial_id}'")
        assert len(runs) <= 1, "a trial has two runs"
        rows: dict[tuple[int, int], dict[str, Any]] = {}
        reported = [key for key in runs[0].data.metrics if not key.startswith("config/")] if runs else []
        for key in reported:
            for one in self.client.get_metric_history(runs[0].info.run_id, key):
                rows.setdefault((one.timestamp, one.step), {})[key] = one.value
        # the story tells of whole seconds, and each attempt adds a millisecond
        return [rows[at] for at in sorted(rows, key=lambda at: (at[0] % 1000, at))]


def test_names_that_come_out_alike_are_told_apart() -> None:
    names = Names("the test")
    plain = ["a b", "loss-1", "x/y", "größe", "a.b", "a:b"]
    assert [names(name) for name in plain] == plain
    odd = ['a"b', "a,b", "a;b", "a\\b", "per%", "a\nb", "\ud800", "nul \x00", "", ".", "..", "/a", "a//b", "a/", "../x"]
    odd += ["x" * 300, "x" * 299 + "y"]
    cleaned = [names(name) for name in odd]
    assert len(set(cleaned)) == len(odd)
    assert [names(name) for name in odd] == cleaned, "a name is always the same"

    from mlflow.utils.validation import _validate_metric_name

    for name in [*plain, *cleaned]:
        _validate_metric_name(name)


def test_a_refused_name_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    names = Names("the test")
    names("a"), names("f(x)"), names("g(x)"), names("f(x)")
    (said,) = caplog.records
    assert said.getMessage() == "the test: MLflow refuses the name 'f(x)'; it is logged as 'f_x_'. (Said once.)"

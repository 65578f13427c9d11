"""How results show themselves in notebooks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.analysis import ExperimentAnalysis, Result, ResultGrid
from tunesmith.analysis.shown import Shown

SECRET = "s3cr3t-0f-the-test"


class Analysis(ExperimentAnalysis, Shown):
    """With the mixin, wherever else it is."""


class Grid(ResultGrid, Shown):
    """With the mixin, wherever else it is."""


class One(Result, Shown):
    """With the mixin, wherever else it is."""


def train(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report({"acc": config["x"] * step, "val": {"f1": 0.5}, "note": "<b>&"}, checkpoint={"at": step} if step == 2 else None)
    if config["x"] == 0.3:
        raise ValueError("no <luck>")


@pytest.fixture
def live(tmp_path: Path) -> ExperimentAnalysis:
    """As the run itself returns it: its configurations have their secrets."""
    space = {"x": tune.grid_search([0.1, 0.3, 0.2]), "net": {"act": "relu"}, "password": SECRET, "max_tokens": 5, "<key>": "<value>"}
    return tune.run(
        train, config=space, metric="acc", mode="max", storage_path=tmp_path, name="<exp>", verbose=0, executor="inline",
        raise_on_failed_trial=False,
    )  # fmt: skip


@pytest.fixture
def analysis(live: ExperimentAnalysis) -> Analysis:
    return Analysis(live.experiment_path)


def rows(page: str) -> list[list[str]]:
    """The cells of all tables, without their tags."""
    lines = re.findall(r"<tr.*?</tr>", page, re.DOTALL)
    return [[re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", line)] for line in lines]


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL))


def test_an_analysis_shows_its_best_trials(analysis: Analysis) -> None:
    page = analysis._repr_html_()
    shown = rows(page)
    assert shown[0] == ["trial", "status", "acc", "iter", "time (s)", "val/f1", "x"]
    assert [row[-1] for row in shown[1:]] == ["0.3", "0.2", "0.1"]
    assert [row[1] for row in shown[1:]] == ["ERROR", "TERMINATED", "TERMINATED"]
    seen = text(page)
    best = analysis.best_trial
    assert f"best {best.trial_id} acc=0.9 at iteration 3 x=0.3" in seen
    assert "2 TERMINATED 1 ERROR" in seen
    assert f"{best.trial_id} failed: ValueError: no &lt;luck&gt;" in seen
    assert "&lt;exp&gt;" in seen
    assert str(analysis.experiment_path).replace("<", "&lt;").replace(">", "&gt;") in page
    assert SECRET not in page


def test_a_grid_shows_the_same(analysis: Analysis) -> None:
    assert Grid(analysis)._repr_html_() == analysis._repr_html_()


def test_without_a_metric_they_come_by_number(tmp_path: Path) -> None:
    tune.run(
        lambda config: {"acc": config["x"]}, config={"x": tune.grid_search(list(range(14)))}, storage_path=tmp_path, name="exp", verbose=0,
        executor="inline",
    )  # fmt: skip
    page = Analysis(tmp_path / "exp")._repr_html_()
    assert [row[-1] for row in rows(page)[1:]] == [str(number) for number in range(10)]
    assert "... and 4 TERMINATED" in text(page)
    assert "best" not in text(page)
    chosen = Analysis(tmp_path / "exp", default_metric="acc", default_mode="max")._repr_html_()
    assert [row[-1] for row in rows(chosen)[1:4]] == ["13", "12", "11"]
    assert "acc=13" in text(chosen)


def test_several_metrics(tmp_path: Path) -> None:
    tune.run(
        lambda config: {"a": config["x"], "b": -config["x"]}, config={"x": tune.grid_search([1, 2])}, metric=["a", "b"],
        mode=["max", "min"], storage_path=tmp_path, name="exp", verbose=0, executor="inline",
    )  # fmt: skip
    page = Analysis(tmp_path / "exp")._repr_html_()
    assert rows(page)[0][2:4] == ["a", "b"]
    assert [row[2] for row in rows(page)[1:]] == ["2", "1"]


def test_a_folder_of_rays(of_ray: Any) -> None:
    """Which may not say whether its metric is to be low or high: then no trial is the best."""
    page = Analysis(of_ray.path)._repr_html_()
    assert [row[0] for row in rows(page)[1:]] == ["f21df_00000", "f21df_00001", "f21df_00002"]
    assert "best" not in text(page)
    chosen = Analysis(of_ray.path, default_mode="min")
    assert [row[0] for row in rows(chosen._repr_html_())[1:]] == ["f21df_00001", "f21df_00000", "f21df_00002"]
    assert "best f21df_00001 loss=0.025" in text(chosen._repr_html_())
    assert "iteration 4" in text(One(chosen[0])._repr_html_())


def test_a_result_shows_its_step(live: ExperimentAnalysis) -> None:
    trial = live.best_trial
    assert trial.config["password"] == SECRET
    page = One(trial)._repr_html_()
    shown = rows(page)
    values = dict(row for row in shown if len(row) == 2)
    assert values["acc"] == "0.9"
    assert values["val/f1"] == "0.5"
    assert values["note"] == "&lt;b&gt;&amp;"
    assert (values["x"], values["net/act"], values["max_tokens"], values["&lt;key&gt;"]) == ("0.3", "relu", "5", "&lt;value&gt;")
    assert "password" not in values
    assert "pid" not in values
    seen = text(page)
    assert "iteration 3" in seen
    assert "checkpoint of iteration 2" in seen
    assert "failed: ValueError: no &lt;luck&gt;" in seen
    assert SECRET not in page
    earlier = One(trial, iteration=1)._repr_html_()
    assert "checkpoint of" not in text(earlier)
    assert dict(row for row in rows(earlier) if len(row) == 2)["acc"] == "0.3"


def test_a_trial_that_never_reported(tmp_path: Path) -> None:
    analysis = tune.run(lambda config: None, config={"x": 1}, storage_path=tmp_path, verbose=0, executor="inline")
    assert ["parameter", "value"] in rows(One(analysis.trials[0])._repr_html_())
    assert "1 TERMINATED" in text(Analysis(analysis.experiment_path)._repr_html_())

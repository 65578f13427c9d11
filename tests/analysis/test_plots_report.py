"""report.html: one file, with everything that applies, and nothing that must not be in it."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.analysis import ExperimentAnalysis, ResultGrid
from tunesmith.analysis.plots import write_report
from tunesmith.core import events as ev
from tunesmith.core.ports import Header, Record
from tunesmith.errors import SpecError
from tunesmith.journal import SqliteJournal

Make = Callable[..., ExperimentAnalysis]
PLOTS = {
    "history", "parallel", "importance", "slice", "learning", "rungs", "lineage", "schedule", "pareto", "hypervolume", "edf", "timeline",
}  # fmt: skip


class Page(HTMLParser):
    """What is in a report."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(Path(path).read_text(encoding="utf-8"))
        self.text = " ".join(self.words)
        self.figures = json.loads(next(one for one in self.scripts if one.startswith('{"figures"')))["figures"]
        self.ids = {about["id"] for _, about in self.tags if "id" in about}
        self.links = {(about["href"] or "")[1:] for tag, about in self.tags if tag == "a"}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        inside = self.tags[-1][0] if self.tags else ""
        (self.scripts if inside == "script" else self.words).append(data.strip())


def train(config: dict[str, Any]) -> None:
    if config["x"] == 7:
        raise ValueError("<b>broken</b> & </script><script>alert(1)</script>")
    for step in range(1, 10):
        tune.report({"loss": config["x"] / step, "size": 10.0 - config["x"]})


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> ExperimentAnalysis:
    """Eight trials under ASHA; one failed. There are secrets in its config."""
    return tune.run(
        train, name="<i>mine</i>", storage_path=tmp_path_factory.mktemp("report"), verbose=0, executor="inline", metric="loss", mode="min",
        config={
            "x": tune.grid_search([float(x) for x in range(1, 9)]), "act": "relu", "api_key": "SECRET", "max_tokens": 5,
            "mark": tune.choice(["</script><i>", "plain"]),
        },
        seed=1,
        scheduler=tune.schedulers.ASHAScheduler(max_t=9, reduction_factor=3), raise_on_failed_trial=False,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plotly's own five megabytes need not be written each time."""
    if "library" not in request.node.name:
        monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "")


def test_it_is_written_into_the_experiments_folder(experiment: ExperimentAnalysis) -> None:
    path = write_report(experiment)
    assert path == os.path.join(experiment.experiment_path, "report.html")
    assert write_report(ResultGrid(experiment)) == path
    assert not [name for name in os.listdir(experiment.experiment_path) if name.startswith(".report")]


def test_plots_are_there_or_named_with_the_reason(experiment: ExperimentAnalysis, tmp_path: Path) -> None:
    page = Page(write_report(experiment, tmp_path))
    assert set(page.figures) == PLOTS - {"lineage", "schedule", "pareto", "hypervolume"}
    assert {about["data-figure"] for tag, about in page.tags if tag == "div" and "data-figure" in about} == set(page.figures)
    assert page.links == page.ids - {"data"}, "the table of contents leads to each section"
    assert re.search(r"Lineage : no trial of experiment .* Its scheduler is AsyncHyperBandScheduler", page.text)
    assert "needs 2 to 4 metrics; the run has loss" in page.text


def test_what_came_out_stands_at_the_top(experiment: ExperimentAnalysis, tmp_path: Path) -> None:
    page = Page(write_report(experiment, tmp_path))
    best = experiment.get_best_step()
    for line in (
        "<i>mine</i>",
        "loss (lower is better)",
        f"loss = {best.metrics['loss']:.6g} by trial {best.trial.trial_id} at iteration 9",
        "x = 1.0, act = relu, max_tokens = 5",
        "7 TERMINATED, 1 ERROR",
    ):
        assert line in page.text
    ranks = [word for word in page.words if word in {trial.trial_id for trial in experiment}]
    assert ranks[0] == best.trial.trial_id
    assert len(ranks) == 8, "seven in the table of the best, one in that of failures"


def test_nothing_of_the_user_becomes_markup(experiment: ExperimentAnalysis, tmp_path: Path) -> None:
    page = Page(write_report(experiment, tmp_path))
    assert "<b>broken</b> & </script><script>alert(1)</script>" in page.text
    marks = next(axis for axis in page.figures["parallel"]["data"][0]["dimensions"] if axis["label"] == "mark")
    assert marks["ticktext"] == ["</script><i>", "plain"]
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    assert not [tag for tag, _ in page.tags if tag in ("i", "img", "iframe")]


def test_no_secrets_and_nothing_from_the_network(experiment: ExperimentAnalysis, tmp_path: Path) -> None:
    path = write_report(experiment, tmp_path)
    page = Page(path)
    assert "SECRET" not in Path(path).read_text(encoding="utf-8")
    assert all((about.get("href") or "#").startswith(("#", "data:")) for _, about in page.tags)
    assert not [about for _, about in page.tags if "src" in about]
    policy = next(about["content"] for tag, about in page.tags if tag == "meta" and about.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"https?:|\*", policy)


def test_the_library_is_there_once(experiment: ExperimentAnalysis, tmp_path: Path) -> None:
    path = write_report(experiment, tmp_path)
    text = Path(path).read_text(encoding="utf-8")
    assert text.count("plotly.js v") == 1
    assert 4_000_000 < len(text) < 6_000_000


def test_where_to(experiment: ExperimentAnalysis, in_memory: Make, tmp_path: Path) -> None:
    named = write_report(experiment, tmp_path / "new" / "mine.html")
    assert named == str(tmp_path / "new" / "mine.html")
    assert write_report(experiment, f"{tmp_path}/newer/") == str(tmp_path / "newer" / "report.html")
    with pytest.raises(SpecError, match=r"has no directory; say where to write, as in report\('report.html'\)"):
        write_report(in_memory())


def test_without_a_metric_it_says_what_to_pass(in_memory: Make, tmp_path: Path) -> None:
    records = [Record(ev.Suggested(0, {"x": 1.0})), Record(ev.AttemptStarted(0, 0)), Record(ev.Reported(0, 0, 1, {"loss": 1.0}))]
    page = Page(write_report(in_memory(*records), tmp_path))
    assert set(page.figures) == {"timeline"}
    assert "report(metric='loss', mode='min') says which to rank by" in page.text
    assert "history" in Page(write_report(in_memory(*records), tmp_path, metric="loss", mode="min")).figures


@pytest.mark.parametrize("losses", [[], [[]], [[math.nan]], [[1.0]], [[math.inf, -math.inf], [2.0]]], ids=str)
def test_whatever_is_there_by_now(in_memory: Make, tmp_path: Path, losses: list[list[float]]) -> None:
    """No trials, none that reported, nothing finite, one trial; all of them still run."""
    records = []
    for number, curve in enumerate(losses):
        records += [Record(ev.Suggested(number, {"x": 1.0})), Record(ev.AttemptStarted(number, 0))]
        records += [Record(ev.Reported(number, 0, step, {"loss": loss})) for step, loss in enumerate(curve, 1)]
    page = Page(write_report(in_memory(*records, spec={"metrics": ["loss"], "modes": ["min"]}), tmp_path))
    assert {"history", "timeline", "edf"} <= set(page.figures)


def test_while_it_runs_and_after_it_crashed(tmp_path: Path) -> None:
    """The driver is in the middle of it, and later it is gone: no attempt has an end in the journal."""
    place = tmp_path / "demo"
    header = Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0)
    records = [Record(ev.ExperimentStarted({"metrics": ["loss"], "modes": ["min"]}))]
    for number in range(3):
        records += [Record(ev.Suggested(number, {"x": number})), Record(ev.AttemptStarted(number, 0, at=1.0))]
        records += [Record(ev.Reported(number, 0, step, {"loss": number + 1 / step}, at=2.0)) for step in (1, 2)]
    with SqliteJournal.create(place / "experiment.db", header) as journal:
        journal.append(records)
        during = Page(write_report(place))
    assert Page(write_report(place)).figures == during.figures
    assert "3 RUNNING" in during.text
    assert [one["name"] for one in during.figures["history"]["data"]] == ["running", "best so far"]
    assert [one["name"] for one in during.figures["timeline"]["data"]] == ["running", "at once"]


def test_of_several_metrics_the_first_stands_for_plots_of_one(in_memory: Make, tmp_path: Path) -> None:
    records = []
    for number in range(8):
        records.append(Record(ev.Suggested(number, {"x": number / 8, "y": number % 3})))
        records.append(Record(ev.Reported(number, 0, 1, {"error": number / 8, "size": 8.0 - number})))
    page = Page(write_report(in_memory(*records, spec={"metrics": ["error", "size"], "modes": ["min", "min"]}), tmp_path))
    assert {"history", "pareto", "hypervolume", "parallel"} <= set(page.figures)
    assert "error (lower is better), size (lower is better)" in page.text


def test_all_plots_are_methods(experiment: ExperimentAnalysis, tmp_path: Path) -> None:
    analysis = ExperimentAnalysis(experiment.experiment_path)
    assert analysis.plot_rungs().data
    assert analysis.plot_edf(others=[experiment]).data[1].name == "<i>mine</i> (8 trials)".replace("<", "&lt;").replace(">", "&gt;")
    assert analysis.plot_optimization_history(by="time").layout.xaxis.title.text.endswith("(s)")
    assert list(analysis.plot_parallel_coordinates(params=["x"]).data[0].dimensions[0].values)
    assert analysis.plot_learning_curves(max_trials=1).data
    assert analysis.plot_slice().data
    assert analysis.plot_timeline().data
    assert sum(analysis.param_importances().values()) == pytest.approx(1.0)
    assert list(analysis.plot_param_importances(params=["x"], quantile=0.3).data[0].y) == ["x"]
    assert analysis.plot_pareto_front(["loss", "size"], ["min", "min"]).data
    assert analysis.plot_hypervolume(["loss", "size"], ["min", "min"], reference=[9, 9]).data
    for plot in (analysis.plot_lineage, analysis.plot_schedule):
        with pytest.raises(SpecError, match="no trial of experiment"):
            plot()
    assert analysis.report(tmp_path).endswith("report.html")

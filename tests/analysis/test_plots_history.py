"""Optimisation history, learning curves and distributions of scores: what is in the figures."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.analysis import ExperimentAnalysis, ResultGrid
from tunesmith.analysis.plots import plot_edf, plot_learning_curves, plot_optimization_history
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.errors import MetricError, SpecError, TuneError
from tunesmith.journal import MemoryJournal

Make = Callable[..., ExperimentAnalysis]


def trace(figure: Any, name: str) -> Any:
    found = [one for one in figure.data if one.name == name]
    assert found, f"no trace {name!r} among {[one.name for one in figure.data]}"
    return found[0]


def trial(number: int, *losses: float, outcome: str = "finished", at: float | None = None, reason: str = "") -> list[Record]:
    """A trial that reported these; no outcome: it still runs. ``at``: when it ended."""
    end = float(number + 1) if at is None else at
    records = [Record(ev.Suggested(number, {"x": number})), Record(ev.AttemptStarted(number, 0, at=0.0))]
    for i, loss in enumerate(losses, 1):
        records.append(Record(ev.Reported(number, 0, i, {"loss": loss, "training_iteration": i}, at=end)))
    if outcome:
        data = {"status": "TERMINATED" if outcome in ("finished", "stopped", "infeasible") else "ERROR", "outcome": outcome}
        records.append(Record(ev.AttemptEnded(number, 0, outcome, at=end), [Decision("end", number, reason, data)]))
    return records


@pytest.fixture
def make(in_memory: Make) -> Make:
    def made(*trials: list[Record], metric: str | None = "loss", mode: str | None = "min") -> ExperimentAnalysis:
        return in_memory(*[record for one in trials for record in one], default_metric=metric, default_mode=mode)

    return made


# -- history -------------------------------------------------------------------------------------------------------------


def test_history_follows_the_order_of_ends_and_never_gets_worse(make: Make) -> None:
    analysis = make(trial(0, 5.0, at=9.0), trial(1, 3.0, at=2.0), trial(2, 4.0, at=5.0))
    figure = plot_optimization_history(analysis)
    assert list(trace(figure, "finished").x) == [1, 2, 3]
    assert list(trace(figure, "finished").y) == [3.0, 4.0, 5.0]
    assert list(trace(figure, "best so far").y) == [3.0, 3.0, 3.0]
    assert [text.split("</b>")[0] for text in trace(figure, "finished").text] == ["<b>3f2a9_00001", "<b>3f2a9_00002", "<b>3f2a9_00000"]
    assert "x = 1" in trace(figure, "finished").text[0]
    assert "best loss: 3 by trial 3f2a9_00001" in figure.layout.title.text


@pytest.mark.parametrize("plot", [plot_optimization_history, plot_edf])
def test_an_unknown_scope_is_refused(make: Make, plot: Callable[..., Any]) -> None:
    with pytest.raises(SpecError, match=r"scope must be 'last'.* got 'newest'"):
        plot(make(trial(0, 5.0)), scope="newest")


@pytest.mark.parametrize("given", [None, 3, [1]], ids=str)
def test_what_is_no_experiment_is_refused(given: Any) -> None:
    with pytest.raises(SpecError, match=rf"or the path of an experiment; this is a {type(given).__name__}"):
        plot_optimization_history(given)


def test_which_of_several_experiments_has_not_the_metric_is_said(make: Make) -> None:
    other = make([Record(ev.Suggested(0, {})), Record(ev.Reported(0, 0, 1, {"score": 1.0}))])
    with pytest.raises(MetricError, match=r"plot_edf\(\): experiment 'b': metric 'loss' was reported by no trial"):
        plot_edf({"a": make(trial(0, 5.0)), "b": other})


def test_history_over_time_and_for_max(make: Make) -> None:
    analysis = make(trial(0, 5.0, at=9.0), trial(1, 3.0, at=2.5), mode="max")
    figure = plot_optimization_history(analysis, by="time")
    assert list(trace(figure, "best so far").x) == [2.5, 9.0]
    assert list(trace(figure, "best so far").y) == [3.0, 5.0]
    assert figure.layout.xaxis.title.text == "time since the experiment began (s)"


def test_each_kind_of_end_has_its_own_mark(make: Make) -> None:
    analysis = make(
        trial(0, 4.0),
        trial(1, 1.0, outcome="infeasible"),
        trial(2, outcome="user_error"),
        trial(3, 2.0, outcome="nan"),
        trial(4, 3.0, outcome="stopped", reason="above the cut of 1"),
        trial(5, 2.5, outcome="stopped", reason="training_iteration 1 is max_t=1 or beyond (bracket 0)"),
        trial(6, 3.5, outcome=""),
        trial(7, math.nan),
    )
    figure = plot_optimization_history(analysis)
    assert list(trace(figure, "finished").y) == [4.0, 2.5]  # who ran as far as it may was not stopped early
    assert list(trace(figure, "stopped early").y) == [3.0]
    assert list(trace(figure, "failed").y) == [2.0]
    assert list(trace(figure, "infeasible").y) == [1.0]
    assert list(trace(figure, "running").y) == [3.5]
    for name, place in (("failed, without a score", 3), ("finished, without a score", 7)):
        mark = trace(figure, name)
        assert (list(mark.x), mark.yaxis) == ([place], "y2"), "on the lower edge"
    assert list(trace(figure, "best so far").y) == [4.0, 4.0, 4.0, 2.0, 2.0, 2.0, 2.0, 2.0], "an infeasible one is never the best"
    assert len({one.marker.symbol for one in figure.data if one.mode == "markers"}) == 5, "told apart without colours, too"


def test_a_wide_range_gets_a_logarithmic_axis(make: Make) -> None:
    assert plot_optimization_history(make(trial(0, 1e-4), trial(1, 1.0))).layout.yaxis.type == "log"
    assert plot_optimization_history(make(trial(0, 1e-4), trial(1, -1.0))).layout.yaxis.type == "linear"


@pytest.mark.parametrize("plot", [plot_optimization_history, plot_learning_curves, plot_edf])
def test_without_any_score_there_is_a_figure_that_says_so(make: Make, plot: Callable[..., Any]) -> None:
    for analysis in (make(), make(trial(0, outcome="")), make(trial(0, outcome="user_error")), make(trial(0, math.nan, math.inf))):
        figure = plot(analysis)
        assert "loss" in figure.layout.annotations[0].text
        assert "yet" in figure.layout.annotations[0].text


@pytest.mark.parametrize("plot", [plot_optimization_history, plot_learning_curves, plot_edf])
def test_what_is_missing_is_named(make: Make, plot: Callable[..., Any]) -> None:
    with pytest.raises(SpecError, match=rf"{plot.__name__}\(\) needs a metric.*{plot.__name__}\(metric='loss', mode='min'\)"):
        plot(make(trial(0, 1.0), metric=None, mode=None))
    with pytest.raises(MetricError, match="Did you mean 'loss'"):
        plot(make(trial(0, 1.0)), "los", "min")


def test_unknown_options_are_refused(make: Make) -> None:
    with pytest.raises(SpecError, match="by must be 'order' or 'time', got 'date'"):
        plot_optimization_history(make(trial(0, 1.0)), by="date")
    with pytest.raises(SpecError, match="max_trials must be a whole number, 1 or more, got 0"):
        plot_learning_curves(make(trial(0, 1.0)), max_trials=0)


def test_plotly_missing_names_the_extra(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(TuneError, match=r'pip install "tunesmith\[plots\]"'):
        plot_optimization_history(make(trial(0, 1.0)))


def test_a_path_a_grid_and_an_analysis_give_the_same(tmp_path: Path) -> None:
    grid = {"x": tune.grid_search([3, 1, 2])}
    analysis = tune.run(
        lambda config: {"loss": config["x"]}, config=grid, metric="loss", mode="min", storage_path=tmp_path, verbose=0, executor="inline"
    )
    wanted = [3.0, 1.0, 1.0]
    for given in (analysis, ResultGrid(analysis), analysis.experiment_path, Path(analysis.experiment_path)):
        assert list(trace(plot_optimization_history(given), "best so far").y) == wanted


def test_text_of_the_user_is_no_markup(make: Make) -> None:
    analysis = make(trial(0, 1.0, outcome="stopped", reason="<b>bold</b> & <script>"))
    text = trace(plot_optimization_history(analysis), "stopped early").text[0]
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &lt;script&gt;" in text


# -- learning curves -----------------------------------------------------------------------------------------------------


def test_curves_have_gaps_between_trials_and_marks_at_their_ends(make: Make) -> None:
    analysis = make(trial(0, 3.0, 2.0, 1.0), trial(1, 5.0, math.nan, 4.0), trial(2, 9.0, outcome="stopped", reason="cut"))
    figure = plot_learning_curves(analysis)
    assert list(trace(figure, "finished").x) == [1, 2, 3, None, 1, 3, None]
    assert list(trace(figure, "finished").y) == [3.0, 2.0, 1.0, None, 5.0, 4.0, None]
    stopped = trace(figure, "stopped early: last report")
    assert (list(stopped.x), list(stopped.y), stopped.marker.symbol) == ([1], [9.0], "diamond")
    assert "3f2a9_00002" in stopped.text[0]
    assert list(trace(figure, "best: 3f2a9_00000 (1)").y) == [3.0, 2.0, 1.0]


def test_of_many_trials_the_best_and_a_spread_are_shown(make: Make) -> None:
    scores = random.Random(1).sample(range(100), 100)
    figure = plot_learning_curves(make(*[trial(number, 200.0, float(score)) for number, score in enumerate(scores)]), max_trials=20)
    ends = sorted(trace(figure, "finished: last report").y)
    assert ends[:5] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert (len(ends), ends[5], ends[-1]) == (20, 5.0, 99.0)
    assert "20 of 100 trials: the best 5, and others evenly over the ranking" in figure.layout.title.text


def test_long_curves_keep_their_extremes(make: Make) -> None:
    losses = [1.0 + math.sin(i / 50) for i in range(5000)]
    losses[3333] = -7.0
    figure = plot_learning_curves(make(trial(0, *losses)))
    curve = trace(figure, "finished")
    assert len(curve.y) <= 404
    assert (-7.0 in curve.y, curve.x[0], curve.x[-2]) == (True, 1, 5000)
    assert "at most 400 points" in figure.layout.title.text


def test_a_run_that_goes_on_is_read_anew() -> None:
    journal = MemoryJournal(Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0))
    journal.append([Record(ev.ExperimentStarted({})), *trial(0, 3.0, outcome="")])
    analysis = ExperimentAnalysis(journal, default_metric="loss", default_mode="min")
    assert list(trace(plot_learning_curves(analysis), "running").y) == [3.0, None]
    journal.append([Record(ev.Reported(0, 0, 2, {"loss": 2.0}))])
    assert list(trace(plot_learning_curves(analysis.refresh()), "running").y) == [3.0, 2.0, None]


# -- distributions -------------------------------------------------------------------------------------------------------


def test_experiments_are_laid_over_each_other(make: Make) -> None:
    one = make(trial(0, 2.0), trial(1, 1.0), trial(2, outcome="user_error"), trial(3, 0.5, outcome="infeasible"))
    other = make(trial(0, 4.0))
    figure = plot_edf({"a": one, "b": other})
    assert list(trace(figure, "a (4 trials)").x) == [1.0, 2.0]
    assert list(trace(figure, "a (4 trials)").y) == [0.25, 0.5], "who failed or may not be never gets there"
    assert list(trace(figure, "b (1 trials)").y) == [1.0]
    assert [curve.name for curve in plot_edf([one, other]).data] == ["demo (4 trials)", "demo (1 trials)"]
    best_first = plot_edf(one, mode="max").data[0]
    assert (list(best_first.x), list(best_first.y)) == ([2.0, 1.0], [0.25, 0.5])
    with pytest.raises(SpecError, match="needs an experiment"):
        plot_edf([])

"""Ten thousand trials: every figure stays small enough for a browser, and says what it leaves out."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.analysis.plots import (
    plot_edf,
    plot_hypervolume,
    plot_learning_curves,
    plot_optimization_history,
    plot_parallel_coordinates,
    plot_param_importances,
    plot_pareto_front,
    plot_slice,
    plot_timeline,
)
from tunesmith.analysis.plots.material import Material
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import MemoryJournal
from tunesmith.space import Space, choice, loguniform, uniform

pytestmark = pytest.mark.slow

COUNT = 10_000
SPACE = Space.parse({"lr": loguniform(1e-5, 1), "drop": uniform(0, 1), "act": choice(["relu", "tanh"])})
SPEC = {"space": SPACE.describe(), "metrics": ["loss", "size"], "modes": ["min", "max"], "scheduler": "FIFOScheduler"}


@pytest.fixture(scope="module")
def material() -> Material:
    rng = random.Random(1)
    ended = {"status": "TERMINATED", "outcome": "finished"}
    records = [Record(ev.ExperimentStarted(SPEC))]
    for number in range(COUNT):
        values = {"lr": 10 ** rng.uniform(-5, 0), "drop": rng.random(), "act": rng.choice(["relu", "tanh"])}
        records.append(Record(ev.Suggested(number, values)))
        records.append(Record(ev.AttemptStarted(number, 0, at=number // 10)))
        for step in (1, 2):
            loss = (math.log10(values["lr"]) + 2) ** 2 + values["drop"] + 1 / step
            records.append(Record(ev.Reported(number, 0, step, {"loss": loss, "size": rng.random()}, at=number // 10 + step / 4)))
        records.append(Record(ev.AttemptEnded(number, 0, "finished", at=number // 10 + 1), [Decision("end", number, "", ended)]))
    journal = MemoryJournal(Header(uuid="3f2a9" + "0" * 27, name="large", created=0.0))
    journal.append(records)
    return Material(ExperimentAnalysis(journal, default_metric="loss", default_mode="min"))


@pytest.mark.parametrize(
    ("plot", "megabytes", "kind"),
    [
        (plot_optimization_history, 1.5, "scattergl"),
        (plot_parallel_coordinates, 0.5, "parcoords"),
        (plot_param_importances, 0.1, "bar"),
        (plot_slice, 5.0, "scattergl"),
        (plot_learning_curves, 0.5, "scatter"),
        (plot_edf, 0.5, "scatter"),
        (plot_timeline, 2.5, "scattergl"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_one_metric(material: Material, plot: Callable[..., Any], megabytes: float, kind: str) -> None:
    figure = plot(material, "loss", "min") if plot is not plot_timeline else plot(material)
    assert figure.data[0].type == kind
    assert len(figure.to_json()) < megabytes * 1e6


@pytest.mark.parametrize("plot", [plot_pareto_front, plot_hypervolume])
def test_several_metrics(material: Material, plot: Callable[..., Any]) -> None:
    figure = plot(material, ["loss", "size"], ["min", "max"])
    assert len(figure.to_json()) < 2e6
    assert figure.data[0].type == ("scattergl" if plot is plot_pareto_front else "scatter")

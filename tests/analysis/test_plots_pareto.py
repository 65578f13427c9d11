"""Several objectives: fronts and the volume that they dominate."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.analysis.plots import plot_hypervolume, plot_pareto_front
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Record
from tunesmith.errors import MetricError, SpecError
from tunesmith.search.fronts import hypervolume

Make = Callable[..., ExperimentAnalysis]
TWO: dict[str, Any] = {"metrics": ["error", "gain"], "modes": ["min", "max"]}
THREE: dict[str, Any] = {"metrics": ["a", "b", "c"], "modes": ["min", "max", "min"]}


def trials(names: list[str], rows: list[list[float]], infeasible: tuple[int, ...] = ()) -> list[Record]:
    records = []
    for number, row in enumerate(rows):
        records.append(Record(ev.Suggested(number, {"x": number})))
        records.append(Record(ev.Reported(number, 0, 1, dict(zip(names, row)), at=float(number))))
        if number in infeasible:
            data = {"status": "TERMINATED", "outcome": "infeasible"}
            records.append(Record(ev.AttemptEnded(number, 0, "infeasible"), [Decision("end", number, "", data)]))
    return records


def trace(figure: Any, name: str) -> Any:
    return next(one for one in figure.data if one.name == name)


def test_the_front_is_what_nothing_is_better_than(in_memory: Make) -> None:
    rows = [[1.0, 5.0], [2.0, 9.0], [3.0, 8.0], [0.5, 1.0], [0.1, 99.0], [math.nan, 100.0], [4.0, 9.5]]
    figure = plot_pareto_front(in_memory(*trials(["error", "gain"], rows, infeasible=(4,)), spec=TWO))
    front = trace(figure, "Pareto front")
    assert list(zip(front.x, front.y)) == [(0.5, 1.0), (1.0, 5.0), (2.0, 9.0), (4.0, 9.5)]
    assert list(trace(figure, "waiting").x) == [3.0]
    assert list(trace(figure, "infeasible").y) == [99.0], "shown, but not on the front"
    assert "6 trials, 4 of them on the front" in figure.layout.title.text
    assert figure.layout.xaxis.title.text == "error (lower is better)"
    assert figure.layout.yaxis.title.text == "gain (higher is better)"


def test_three_objectives_have_a_panel_for_each_pair_and_one_front(in_memory: Make) -> None:
    rows = [[1.0, 1.0, 9.0], [2.0, 2.0, 1.0], [3.0, 1.0, 2.0]]
    figure = plot_pareto_front(in_memory(*trials(["a", "b", "c"], rows), spec=THREE))
    fronts = [one for one in figure.data if one.name == "Pareto front"]
    assert [sorted(zip(one.x, one.y)) for one in fronts] == [[(1.0, 1.0), (2.0, 2.0)], [(1.0, 9.0), (2.0, 1.0)], [(1.0, 9.0), (2.0, 1.0)]]
    assert [one.showlegend for one in fronts] == [True, False, False]


@pytest.mark.parametrize("spec", [TWO, THREE])
def test_the_volume_after_each_trial_is_the_exact_one(in_memory: Make, spec: dict[str, Any]) -> None:
    rng = random.Random(7)
    rows = [[rng.random() for _ in spec["metrics"]] for _ in range(60)]
    signs = [1.0 if mode == "min" else -1.0 for mode in spec["modes"]]
    corner = [1.0 if sign > 0 else 0.0 for sign in signs]
    analysis = in_memory(*trials(spec["metrics"], rows, infeasible=(3,)), spec=spec)
    found = plot_hypervolume(analysis, reference=corner).data[0]
    losses = [[value * sign for value, sign in zip(row, signs)] for row in rows]
    losses[3] = [9.0] * len(signs)
    reference = [value * sign for value, sign in zip(corner, signs)]
    assert list(found.y) == pytest.approx([hypervolume(losses[: count + 1], reference) for count in range(60)])
    assert list(found.y) == sorted(found.y)


def test_without_a_reference_it_is_a_tenth_beyond_the_worst(in_memory: Make) -> None:
    figure = plot_hypervolume(in_memory(*trials(["error", "gain"], [[0.0, 10.0], [1.0, 20.0]]), spec=TWO))
    assert "reference: error 1.1, gain 9" in figure.layout.title.text
    assert list(figure.data[0].y) == pytest.approx([1.1 * 1.0, 1.1 * 1.0 + 0.1 * 10.0])


@pytest.mark.parametrize("plot", [plot_pareto_front, plot_hypervolume])
def test_metrics_are_asked_for_and_checked(in_memory: Make, plot: Callable[..., Any]) -> None:
    name = plot.__name__
    records = trials(["error", "gain"], [[0.0, 1.0]])
    with pytest.raises(SpecError, match=rf"{name}\(\) needs 2 to . metrics; the run has none. Say which, as in {name}\(metrics="):
        plot(in_memory(*records))
    with pytest.raises(SpecError, match=rf"{name}\(\) knows no mode for metric 'error'"):
        plot(in_memory(*records), ["error", "gain"])
    with pytest.raises(SpecError, match=rf"{name}\(\): metrics and modes are lists, as in metrics="):
        plot(in_memory(*records), ["error", "gain"], "min")
    with pytest.raises(SpecError, match="must have equal lengths"):
        plot(in_memory(*records), ["error", "gain"], ["min"])
    with pytest.raises(MetricError, match=r"has finite numbers for all of error, size\. Reported were: error, gain"):
        plot(in_memory(*records), ["error", "size"], ["min", "min"])
    given = plot(in_memory(*records), ["error", "gain"], ["min", "max"])
    assert len(given.data) > 0
    nothing = plot(in_memory(spec=TWO))
    assert nothing.layout.annotations[0].text == "no trial has reported all metrics yet"


@pytest.mark.parametrize("reference", [[1.0], "ab", {"error": 1.0}, [[1.0], [1.0, 2.0]]], ids=str)
def test_a_reference_must_fit(in_memory: Make, reference: Any) -> None:
    with pytest.raises(SpecError, match=r"reference must be 2 finite numbers, one for each of \['error', 'gain'\]"):
        plot_hypervolume(in_memory(*trials(["error", "gain"], [[0.0, 1.0]]), spec=TWO), reference=reference)

"""Parallel coordinates and slices: axes of all kinds of parameters, those that are not set, and what must not be there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.analysis import ExperimentAnalysis
from tunesmith.analysis.plots import plot_parallel_coordinates, plot_slice
from tunesmith.analysis.plots.material import Material
from tunesmith.core import events as ev
from tunesmith.core.ports import Record
from tunesmith.errors import SpecError
from tunesmith.secrets import is_secret
from tunesmith.space import Space

Make = Callable[..., ExperimentAnalysis]

CONFIG = {
    "lr": tune.loguniform(1e-4, 1.0),
    "net": tune.choice([{"kind": "mlp", "width": tune.randint(8, 65), "api_key": "SECRET-1"}, {"kind": "linear"}]),
    "act": tune.choice([len, abs]),
    "batch": tune.choice([16, 32]),
    "drop": tune.uniform(0.0, 0.5),
    "epochs": 3,
    "max_tokens": 512,
    "token": "SECRET-2",
    "wandb": {"project": "SECRET-3"},
}
SPEC = {"space": Space.parse(CONFIG).describe(redact=is_secret), "metrics": ["loss"], "modes": ["min"]}
DRAWN = [
    {"lr": 1e-3, "net": 0, "net/0/width": 16, "act": 1, "batch": 16, "drop": 0.1},
    {"lr": 1e-1, "net": 1, "act": 0, "batch": 32, "drop": 0.5},
    {"lr": 1e-2, "net": 0, "net/0/width": 64, "act": 1, "batch": 32, "drop": 0.0},
]


def records(drawn: list[dict[str, Any]], losses: list[float]) -> list[Record]:
    found = []
    for number, values in enumerate(drawn):
        found.append(Record(ev.Suggested(number, values)))
        found.append(Record(ev.Reported(number, 0, 1, {"loss": losses[number], "time": float(number)})))
    return found


@pytest.fixture
def analysis(in_memory: Make) -> ExperimentAnalysis:
    return in_memory(*records(DRAWN, [0.3, 0.2, 0.1]), spec=SPEC)


def axes(figure: Any) -> dict[str, Any]:
    return {axis.label: axis for axis in figure.data[0].dimensions}


def test_axes_are_those_of_the_domains(analysis: ExperimentAnalysis) -> None:
    found = axes(plot_parallel_coordinates(analysis))
    assert list(found) == ["lr", "net", "net/width", "act", "batch", "drop", "loss"]
    assert list(found["lr"].values) == pytest.approx([-3, -1, -2])
    assert list(found["lr"].range) == pytest.approx([-4, 0])
    assert list(found["lr"].ticktext) == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert list(found["net"].ticktext) == ["kind=mlp", "kind=linear"]
    assert list(found["act"].ticktext) == ["len", "abs"]
    assert list(found["act"].values) == [1, 0, 1]
    assert list(found["batch"].ticktext) == ["16", "32"]
    assert list(found["drop"].range) == [0.0, 0.5]


def test_what_is_not_set_has_a_place_below_all_values(analysis: ExperimentAnalysis) -> None:
    width = axes(plot_parallel_coordinates(analysis))["net/width"]
    assert width.ticktext[0] == "not set"
    assert list(width.values) == [16, width.tickvals[0], 64]
    assert width.tickvals[0] == width.range[0] < 8, "8 is the domain's lower bound"


def test_constants_and_secrets_are_nowhere(analysis: ExperimentAnalysis) -> None:
    for figure in (plot_parallel_coordinates(analysis), plot_slice(analysis)):
        text = figure.to_json()
        assert "SECRET" not in text
        assert "epochs" not in text
        assert "max_tokens" not in text


def test_the_best_has_the_warmest_colour_whatever_the_mode(analysis: ExperimentAnalysis) -> None:
    for mode, best in (("min", 2), ("max", 0)):
        line = plot_parallel_coordinates(analysis, "loss", mode).data[0].line
        assert max(range(3), key=lambda trial: line.color[trial]) == best
        assert line.cmax == line.color[best]
        assert line.colorbar.ticktext[-1] == ("0.1" if mode == "min" else "0.3")


def test_a_run_with_several_metrics_has_an_axis_for_each(in_memory: Make) -> None:
    several = in_memory(*records(DRAWN, [0.3, 0.2, 0.1]), spec={**SPEC, "metrics": ["loss", "time"], "modes": ["min", "max"]})
    found = axes(plot_parallel_coordinates(several, "loss"))
    assert list(found)[-2:] == ["loss", "time"]
    assert list(found["time"].values) == [0.0, 1.0, 2.0]


def test_trials_without_a_finite_score_have_no_line(in_memory: Make) -> None:
    found = axes(plot_parallel_coordinates(in_memory(*records(DRAWN, [0.3, math.nan, math.inf]), spec=SPEC)))
    assert list(found["loss"].values) == [0.3]
    nothing = plot_parallel_coordinates(in_memory(*records(DRAWN, [math.nan] * 3), spec=SPEC))
    assert (len(nothing.data), nothing.layout.annotations[0].text) == (0, "no trial has a finite loss yet")


def test_params_is_a_list(analysis: ExperimentAnalysis) -> None:
    with pytest.raises(SpecError, match=r"plot_slice\(\): params is a list of names, as in params=\['lr'\]"):
        plot_slice(analysis, params="lr")


def test_params_chooses_and_orders(analysis: ExperimentAnalysis) -> None:
    assert list(axes(plot_parallel_coordinates(analysis, params=["drop", "lr"]))) == ["drop", "lr", "loss"]
    with pytest.raises(SpecError, match=r"there is no parameter 'dropout'.*There are: lr, net, net/width, act, batch, drop"):
        plot_slice(analysis, params=["dropout"])


def test_very_many_trials_are_thinned_to_the_best(in_memory: Make) -> None:
    drawn = [{"lr": 10 ** (-4 * number / 3000)} for number in range(1, 3000)]
    figure = plot_parallel_coordinates(in_memory(*records(drawn, [float(number) for number in range(2999)]), spec=SPEC))
    assert max(axes(figure)["loss"].values) == 1999.0
    assert "the best 2,000 of 2,999 trials" in figure.layout.title.text


def test_slices_show_each_parameter_where_it_is_set(analysis: ExperimentAnalysis) -> None:
    figure = plot_slice(analysis)
    panels = [one for one in figure.data if one.marker.symbol != "circle-open"]
    lr, net, width, act, batch, drop = panels
    assert (list(lr.x), list(lr.y)) == ([1e-3, 1e-1, 1e-2], [0.3, 0.2, 0.1])
    assert list(net.x) == ["kind=mlp", "kind=linear", "kind=mlp"]
    assert (list(width.x), list(width.y)) == ([16, 64], [0.3, 0.1])
    assert list(act.x) == ["abs", "len", "abs"]
    assert list(batch.x) == ["16", "32", "32"]
    assert list(drop.x) == [0.1, 0.5, 0.0]
    assert list(lr.marker.color) == [0, 1, 2], "by age"
    assert (figure.layout.xaxis.type, figure.layout.xaxis2.type, figure.layout.xaxis6.type) == ("log", "category", "linear")
    rings = [one for one in figure.data if one.marker.symbol == "circle-open"]
    assert [list(ring.y) for ring in rings] == [[0.1]] * 6


def test_options_and_names_that_are_alike_where_they_are_cut_off_stay_apart(in_memory: Make) -> None:
    path = "model/encoder/layers/attention/dropout"
    kinds = [f"a very long name of an option: {number}" for number in range(3)]
    drawn = [{"kind": kind, f"{path}/a": number / 2, f"{path}/b": 1.0 - number} for number, kind in enumerate(kinds)]
    figure = plot_slice(in_memory(*records(drawn, [1.0, 2.0, 3.0])), "loss", "min")
    assert list(figure.data[0].x) == ["a very long name of an …", "a very long name of an … (2)", "a very long name of an … (3)"]
    assert figure.layout.xaxis.categoryarray == figure.data[0].x
    assert [figure.layout[axis].title.text[-9:] for axis in ("xaxis2", "xaxis3")] == ["dropout/a", "dropout/b"]
    assert list(axes(plot_parallel_coordinates(in_memory(*records(drawn, [1.0, 2.0, 3.0])), "loss", "min")))[1] == f"…{path[-25:]}/a"


def test_values_without_a_space_make_their_own_axes(in_memory: Make) -> None:
    drawn: list[dict[str, Any]] = [
        {"wide": 1e-6, "flag": True, "label": "a<b", "big": 10**400}, {"wide": 1.0, "flag": False, "label": "c", "big": 1},
    ]  # fmt: skip
    analysis = in_memory(*records(drawn, [1.0, 2.0]), default_metric="loss", default_mode="min")
    wide, flag, label, big = Material.of(analysis).parameters
    assert (wide.log, wide.labels) == (True, None)
    assert flag.labels == ["True", "False"]
    assert label.labels == ["a<b", "c"]
    assert big.values == [math.inf, 1.0]
    assert "a&lt;b" in plot_slice(analysis).data[0].text[0]
    plot_parallel_coordinates(analysis).to_json()


def test_what_no_space_describes_and_is_named_like_a_secret_is_left_out(in_memory: Make) -> None:
    drawn = [{"lr": 0.1, "hub/token": "SECRET-1", "max_tokens": 5}, {"lr": 0.2, "hub/token": "SECRET-2", "max_tokens": 6}]
    analysis = in_memory(*records(drawn, [1.0, 2.0]), default_metric="loss", default_mode="min")
    assert [one.label for one in Material.of(analysis).parameters] == ["lr", "max_tokens"]
    assert "SECRET" not in plot_parallel_coordinates(analysis).to_json() + plot_slice(analysis).to_json()


def test_the_same_place_in_two_options_stays_two_parameters(in_memory: Make) -> None:
    space = Space.parse({"opt": tune.choice([{"name": "sgd", "lr": tune.uniform(0, 1)}, {"name": "adam", "lr": tune.loguniform(1e-5, 1)}])})
    drawn = [{"opt": 0, "opt/0/lr": 0.5}, {"opt": 1, "opt/1/lr": 1e-3}]
    analysis = in_memory(*records(drawn, [1.0, 2.0]), spec={**SPEC, "space": space.describe()})
    assert [(one.label, one.log) for one in Material.of(analysis).parameters] == [("opt", False), ("opt/0/lr", False), ("opt/1/lr", True)]

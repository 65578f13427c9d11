"""PED-ANOVA: planted importances come out in order, and what it does with all kinds of parameters."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.analysis.plots import param_importances, plot_param_importances
from tunesmith.analysis.plots.parameters import Parameter
from tunesmith.analysis.plots.ped_anova import divergence, importances
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Record
from tunesmith.errors import MetricError, SpecError
from tunesmith.space import Space, choice, loguniform, uniform

Make = Callable[..., ExperimentAnalysis]


def planted(seed: int, count: int = 1500) -> tuple[list[Parameter], list[float]]:
    """Strong: a number; then a category; then a logarithmic number; nothing: noise."""
    rng = random.Random(seed)
    strong = [rng.random() for _ in range(count)]
    kind = [float(rng.randrange(3)) for _ in range(count)]
    rate = [10 ** rng.uniform(-5, 0) for _ in range(count)]
    noise = [rng.random() for _ in range(count)]
    losses = [
        8 * abs(a - 0.3) + 0.7 * (b != 1) + 0.3 * abs(math.log10(c) + 2) for a, b, c in zip(strong, kind, rate)
    ]
    parameters = [
        Parameter("noise", "noise", noise, lower=0.0, upper=1.0),
        Parameter("rate", "rate", rate, log=True, lower=1e-5, upper=1.0),
        Parameter("kind", "kind", kind, labels=["a", "b", "c"]),
        Parameter("strong", "strong", strong, lower=0.0, upper=1.0),
    ]
    return parameters, losses


@pytest.mark.parametrize("seed", range(5))
def test_planted_importances_come_out_in_order(seed: int) -> None:
    found = importances(*planted(seed), 0.1)
    assert list(found) == ["strong", "kind", "rate", "noise"]
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["strong"] > 0.5
    assert found["noise"] < 0.1


def test_the_divergence_is_that_of_the_paper() -> None:
    """Of categories it is a sum: (p/q - 1)^2 over q, with a uniform trial more in both."""
    kind = Parameter("kind", "kind", [], labels=["a", "b"])
    best, every = np.array([0.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0, 1.0])
    top, base = np.array([3.5, 0.5]) / 4, np.array([3.5, 2.5]) / 6
    assert divergence(kind, best, every) == pytest.approx(float(((top / base - 1) ** 2 * base).sum()))


def test_densities_of_numbers_add_up_and_see_only_the_order_of_losses() -> None:
    parameters, losses = planted(1)
    assert importances(parameters, losses, 0.1) == importances(parameters, [math.exp(loss) for loss in losses], 0.1)
    x = Parameter("x", "x", [], lower=0.0, upper=1.0)
    values = np.linspace(0, 1, 50)
    assert divergence(x, values, values) == pytest.approx(0.0)
    assert divergence(x, values[:5], values) > divergence(x, values[:25], values) > 0


def test_a_logarithmic_parameter_is_seen_on_its_own_axis() -> None:
    """Its best tenth is a hundred-thousandth of the range as it stands, and a sixth of its logarithm."""
    parameters, _ = planted(2)
    rate = next(one for one in parameters if one.name == "rate")
    noise = next(one for one in parameters if one.name == "noise")
    small = [abs(math.log10(value) + 4.5) for value in rate.values]
    seen = importances([rate, noise], small, 0.1)["rate"]
    rate.log = False
    assert seen > 0.95
    assert importances([rate, noise], small, 0.1)["rate"] < seen


def test_what_the_searcher_preferred_is_not_important_for_that() -> None:
    """Most trials are near 0.9, but that makes no difference to the loss."""
    rng = random.Random(3)
    crowded = [min(1.0, max(0.0, rng.gauss(0.9, 0.05))) if rng.random() < 0.8 else rng.random() for _ in range(400)]
    real = [rng.random() for _ in range(400)]
    both = [Parameter(name, name, values, lower=0.0, upper=1.0) for name, values in (("crowded", crowded), ("real", real))]
    found = importances(both, real, 0.1)
    assert found["real"] > 0.9


def test_conditional_parameters_count_where_they_exist() -> None:
    rng = random.Random(4)
    kind = [float(rng.randrange(2)) for _ in range(600)]
    width = [rng.random() if one == 1 else math.nan for one in kind]
    other = [rng.random() if one == 0 else math.nan for one in kind]
    losses = [abs(w - 0.5) if one == 1 else 0.2 + 0.1 * rng.random() for one, w in zip(kind, width)]
    parameters = [Parameter("kind", "kind", kind, ["a", "b"]), Parameter("width", "width", width), Parameter("other", "other", other)]
    found = importances(parameters, losses, 0.1)
    assert list(found)[-1] == "other", "no trial that has it is among the best"
    assert found["other"] == 0.0
    assert found["width"] > found["kind"] > 0, "it is the width that decides among those that have one"
    assert sum(found.values()) == pytest.approx(1.0)


def test_nothing_matters_if_nothing_differs() -> None:
    same = Parameter("same", "same", [0.5] * 20)
    assert importances([same], list(range(20)), 0.1) == {"same": 0.0}
    assert importances([], list(range(20)), 0.1) == {}


# -- over an experiment --------------------------------------------------------------------------------------------------

SPACE = {"x": uniform(0, 1), "kind": choice(["a", "b"]), "rate": loguniform(1e-5, 1)}
SPEC = {"space": Space.parse(SPACE).describe(), "metrics": ["loss"], "modes": ["min"]}


def records(count: int) -> list[Record]:
    rng = random.Random(5)
    found = []
    for number in range(count):
        values: dict[str, Any] = {"x": rng.random(), "kind": rng.choice(["a", "b"]), "rate": 10 ** rng.uniform(-5, 0)}
        found += [Record(ev.Suggested(number, values)), Record(ev.Reported(number, 0, 1, {"loss": values["x"], "gain": -values["x"]}))]
    return found


def test_over_an_experiment(in_memory: Make) -> None:
    analysis = in_memory(*records(60), spec=SPEC)
    found = param_importances(analysis)
    assert next(iter(found)) == "x"
    assert sum(found.values()) == pytest.approx(1.0)
    assert param_importances(analysis, "gain", "max") == found
    assert list(param_importances(analysis, params=["rate", "kind"])) in (["rate", "kind"], ["kind", "rate"])
    bars = plot_param_importances(analysis).data[0]
    assert dict(zip(bars.y, bars.x)) == found
    assert bars.text[0] == f"{found['x']:.1%}"


def test_long_names_have_a_bar_each(in_memory: Make) -> None:
    names = [f"model/encoder/layers/attention/dropout/rate_{end}" for end in "ab"] + [f"{'x' * 50}{end}" for end in "ab"]
    found = []
    for number in range(20):
        found.append(Record(ev.Suggested(number, {name: (number * place) % 7 for place, name in enumerate(names, 1)})))
        found.append(Record(ev.Reported(number, 0, 1, {"loss": float(number)})))
    bars = plot_param_importances(in_memory(*found), "loss", "min").data[0]
    assert len(set(bars.y)) == 4
    assert {name for name in bars.y if "/" in name} == {f"…{name[-39:]}" for name in names[:2]}


def test_the_shares_need_no_plotly(in_memory: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("plotly", "plotly.graph_objects"):
        monkeypatch.setitem(sys.modules, name, None)
    assert param_importances(in_memory(*records(20), spec=SPEC))


def test_failed_nan_and_infeasible_trials_do_not_count(in_memory: Make) -> None:
    more = records(60)
    for number, outcome in ((60, "user_error"), (61, "infeasible")):
        data = {"status": "ERROR" if number == 60 else "TERMINATED", "outcome": outcome}
        more.append(Record(ev.Suggested(number, {"x": 0.99, "kind": "a", "rate": 1.0})))
        more.append(Record(ev.Reported(number, 0, 1, {"loss": math.nan if number == 60 else -5.0})))
        more.append(Record(ev.AttemptEnded(number, 0, outcome), [Decision("end", number, "", data)]))
    assert param_importances(in_memory(*more, spec=SPEC)) == param_importances(in_memory(*records(60), spec=SPEC))


def test_what_cannot_be_told_is_said(in_memory: Make) -> None:
    with pytest.raises(MetricError, match="3 trials have a finite loss; it takes 4"):
        param_importances(in_memory(*records(3), spec=SPEC))
    same = [Record(ev.Suggested(number, {"x": number / 10})) for number in range(5)]
    same += [Record(ev.Reported(number, 0, 1, {"loss": 1.0})) for number in range(5)]
    with pytest.raises(MetricError, match="all 5 trials have the same loss"):
        plot_param_importances(in_memory(*same, spec=SPEC))
    with pytest.raises(SpecError, match=r"quantile is the share.*got 1"):
        param_importances(in_memory(*records(10), spec=SPEC), quantile=1)

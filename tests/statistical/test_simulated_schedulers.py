"""The curves that schedulers are compared on, the simulator that peers run in, and that ours beat random search."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.simulation import CurveTable

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = ("_mf_hartmann", "_simulator", "_sim_ours")
NAMES = (
    "cut at 1", "cut at 9", "successive halving", "HyperBand", "HyperBand (BOHB's order)", "ASHA (stop)", "ASHA (promote)",
    "ASHA (5 brackets)", "PASHA", "median",
)  # fmt: skip
OPTIMA = {
    3: ((0.114614, 0.555649, 0.852547), -3.86278),
    6: ((0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573), -3.32237),
}


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """The benchmarks' modules, by name."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield SimpleNamespace(**{name.strip("_"): import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def curves(bench: Any) -> Any:
    """200 points of a Hartmann function, as the peers' simulator has them and as a table."""
    task, rng = bench.mf_hartmann.Hartmann(3, "good"), random.Random(0)
    points = [[rng.random() for _ in range(3)] for _ in range(200)]
    loss, seconds = ([[function(x, step) for step in range(1, 82)] for x in points] for function in (task.loss, task.seconds))
    table = CurveTable.from_arrays({"number": range(200)}, {"loss": loss}, seconds)
    return SimpleNamespace(lists=bench.simulator.Curves(loss, seconds), table=table)


# -- curves --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [3, 6])
@pytest.mark.parametrize("level", ["good", "bad"])
def test_at_the_end_it_is_the_function_of_the_literature(bench: Any, dimensions: int, level: str) -> None:
    task = bench.mf_hartmann.Hartmann(dimensions, level)
    best, value = OPTIMA[dimensions]
    assert task.loss(best, 81) == pytest.approx({3: 3.9, 6: 3.4}[dimensions] + value, abs=1e-4)


@given(x=st.lists(st.floats(0, 1), min_size=3, max_size=3), level=st.sampled_from(["good", "bad"]), step=st.integers(1, 80))
def test_no_early_value_is_better_than_the_last(bench: Any, x: list[float], level: str, step: int) -> None:
    task = bench.mf_hartmann.Hartmann(3, level)
    assert task.loss(x, step) >= task.loss(x, 81)
    assert task.loss(x, step) == bench.mf_hartmann.Hartmann(3, level).loss(x, step), "equal point, other noise"
    assert task.seconds(x, step) > 0
    assert 40 <= sum(task.seconds(x, each) for each in range(1, 82)) <= 163


@pytest.mark.parametrize("dimensions", [3, 6])
def test_good_early_values_tell_more(bench: Any, dimensions: int) -> None:
    """Rank correlation of the ninth with the last iteration."""
    rng = random.Random(1)
    points = [[rng.random() for _ in range(dimensions)] for _ in range(300)]
    told = {}
    for level in ("good", "bad"):
        task = bench.mf_hartmann.Hartmann(dimensions, level)
        early, last = (np.argsort(np.argsort([task.loss(x, step) for x in points])) for step in (9, 81))
        told[level] = float(np.corrcoef(early, last)[0, 1])
    assert told["good"] > told["bad"] + 0.15 > 0.35


def test_the_table_of_real_networks() -> None:
    path = BENCHMARKS / "curves" / "digits.npz"
    table = CurveTable.load(path)
    loss, accuracy = table.metrics[table.names.index("loss")], table.metrics[table.names.index("accuracy")]
    assert path.stat().st_size < 5 * 2**20
    assert loss.shape == accuracy.shape == table.seconds.shape == (2000, 81)
    assert np.isfinite(loss).all()
    assert loss.min() > 0
    assert 0.98 < accuracy.max() <= 1
    assert accuracy.min() >= 0
    assert table.seconds.min() > 0
    assert np.corrcoef(loss[:, 8].argsort().argsort(), loss[:, -1].argsort().argsort())[0, 1] > 0.6, "early epochs tell of late ones"


# -- two simulators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random, fully trained", *NAMES])
@pytest.mark.parametrize(("workers", "samples", "horizon"), [(4, 30, float("inf")), (1, 12, float("inf")), (7, None, 120.0)])
def test_the_core_and_the_bare_scheduler_do_the_same(
    bench: Any, curves: Any, name: str, workers: int, samples: int | None, horizon: float
) -> None:
    """``tune.simulate``, with its core and its events, and 200 lines without any of that: the same trials, reports and times."""
    limits = bench.simulator.Limits(workers, samples, horizon)
    mine = bench.sim_ours.simulated(name, curves.table, 5, limits)
    peer = bench.sim_ours.Direct(bench.sim_ours.OURS[name](), 5, limits)
    other = bench.simulator.simulate(peer, curves.lists, bench.simulator.rows(5, 200), limits)
    assert [loss for _, loss in mine.best] == [loss for _, loss in other.best]
    assert [seconds for seconds, _ in mine.best] == pytest.approx([seconds for seconds, _ in other.best])
    assert (mine.trials, mine.reports) == (other.trials, other.reports)
    if samples is not None:
        assert (mine.seconds, mine.busy) == pytest.approx((other.seconds, other.busy))


def test_a_simulation_ends_when_its_target_is_reached(bench: Any, curves: Any) -> None:
    limits = {"workers": 4, "horizon": 500.0, "target": 2.0}
    runs = {}
    for least in (0.0, 300.0):
        bounds = bench.simulator.Limits(**limits, least=least)
        peer = bench.sim_ours.Direct(bench.sim_ours.OURS["ASHA (stop)"](), 5, bounds)
        runs[least] = bench.simulator.simulate(peer, curves.lists, bench.simulator.rows(5, 200), bounds)
    assert runs[0.0].seconds == runs[0.0].reached(2.0) == runs[300.0].reached(2.0) < 300 <= runs[300.0].seconds
    assert runs[300.0].at(runs[0.0].seconds) == runs[0.0].best[-1][1]


def test_ours_goes_on_to_the_horizon_only_without_the_target(bench: Any, curves: Any) -> None:
    ends = [
        bench.sim_ours.simulated("ASHA (stop)", curves.table, 5, bench.simulator.Limits(4, None, 200.0, target, 100.0)).seconds
        for target in (3.0, 0.0)
    ]
    assert 100 <= ends[0] < 110
    assert 200 <= ends[1] < 210


# -- ours and random search ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(bench: Any) -> Any:
    """The table, and what random search makes of 64 samples on 8 workers, by seed."""
    table = CurveTable.load(BENCHMARKS / "curves" / "digits.npz")
    limits = bench.simulator.Limits(8, 64)
    return SimpleNamespace(
        table=table, limits=limits, random=[bench.sim_ours.simulated("random, fully trained", table, seed, limits) for seed in range(6)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_beats_random_search(bench: Any, digits: Any, name: str) -> None:
    """With as many samples it is through in 3/4 of the time at most, and what it has then is better than what random search has by then."""
    shares, gains = [], []
    for seed, other in enumerate(digits.random):
        run = bench.sim_ours.simulated(name, digits.table, seed, digits.limits)
        shares.append(run.seconds / other.seconds)
        gains.append(other.at(run.seconds) - run.best[-1][1])
    assert np.exp(np.mean(np.log(shares))) < 0.75
    assert np.mean(gains) > 0

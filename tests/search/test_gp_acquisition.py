"""Expected improvement in logarithms: exact where it underflows, and with the right slopes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from tunesmith.search.gp.acquisition import Acquisition, log_improvement
from tunesmith.search.gp.columns import Columns
from tunesmith.search.gp.features import Features
from tunesmith.search.gp.kernel import Kernel
from tunesmith.search.gp.posterior import Posterior
from tunesmith.space import Space, choice, uniform

CONFIG = {"x": uniform(0, 1), "opt": choice([{"y": uniform(0, 1)}, {"z": uniform(0, 1)}])}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices, and other tests have the other core."""
    with threadpool_limits(1, "blas"):
        yield


def reference(z: float) -> float:
    """log(phi(z) + z Phi(z)) for z < 0, by the continued fraction of Mills' ratio in exact fractions.

    With t = -z: phi/Phi(-t) = t + 1/(t + 2/(t + 3/(t + ...))), so that phi - t Phi = phi * (1 - t / that).
    """
    t = Fraction(-z)
    tail = t
    for k in range(400 if t < 5 else 60, 0, -1):
        tail = (t + Fraction(k) / tail).limit_denominator(10**60)
    bracket = 1 - t / tail
    return -0.5 * z * z - 0.5 * math.log(2 * math.pi) + math.log(bracket)


@pytest.mark.parametrize("z", [-1.5, -2.0, -4.0, -10.0, -38.0, -100.0, -299.0, -301.0, -5e3, -1e6, -1e9])
def test_far_from_the_best_it_has_the_exact_logarithm(z: float) -> None:
    exact = reference(z) + 0.5 * z * z
    assert float(log_improvement(np.array([z]))[0] + 0.5 * z * z) == pytest.approx(exact, rel=1e-9, abs=max(1e-9, 2e-16 * z * z))


@pytest.mark.parametrize("z", [-1.0, -0.999, 0.0, 0.5, 3.0, 40.0])
def test_near_the_best_it_is_the_plain_formula(z: float) -> None:
    plain = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) + z * 0.5 * math.erfc(-z / math.sqrt(2))
    assert log_improvement(np.array([z]))[0] == pytest.approx(math.log(plain), rel=1e-12)


@given(st.floats(-1e12, 1e6), st.floats(1e-6, 1e3))
def test_it_is_finite_and_never_decreases(z: float, more: float) -> None:
    low, high = log_improvement(np.array([z, z + more]))
    assert math.isfinite(low)
    assert high >= low - 1e-9 * abs(low)


def posterior(seed: int, n: int = 14) -> tuple[Features, Posterior]:
    features = Features(Columns(Space.parse(CONFIG)))
    rng = np.random.default_rng(seed)
    rows = features.columns.snap(rng.random((n, features.columns.dim)))
    kernel = Kernel(np.full(features.columns.dim, 0.7), 1.2, 1e-3, 0.1)
    return features, Posterior(features, kernel, rows, rng.standard_normal((n, 1)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", ["improvement", "fantasies", "limits", "feasibility only"])
def test_slopes_are_those_of_finite_differences(shape: str, seed: int) -> None:
    features, model = posterior(seed)
    rng = np.random.default_rng(seed + 100)
    dim = features.columns.dim
    limits = [(posterior(seed + 7)[1], 0.2), (posterior(seed + 8)[1], -1.0)] if shape in ("limits", "feasibility only") else []
    best = np.array([-1.0])
    if shape == "fantasies":
        model = model.with_pending(features.columns.snap(rng.random((3, dim))), rng.standard_normal((3, 5)))
        best = rng.normal(-1.0, 0.1, 5)
    acquisition = Acquisition(None if shape == "feasibility only" else model, best, limits)
    rows = rng.uniform(0.05, 0.95, (6, dim))
    values, slopes = acquisition.with_slopes(rows)
    assert values == pytest.approx(acquisition(rows))
    for at, options in enumerate(features.columns.options):
        if options:
            continue
        step = np.zeros(dim)
        step[at] = 1e-6
        expected = (acquisition(rows + step) - acquisition(rows - step)) / 2e-6
        assert slopes[:, at] == pytest.approx(expected, rel=1e-4, abs=1e-5 * max(1.0, float(np.abs(slopes).max())))


def test_the_mean_over_fantasies_is_that_of_improvements() -> None:
    features, model = posterior(3)
    rng = np.random.default_rng(0)
    pending, draws = features.columns.snap(rng.random((2, 4))), rng.standard_normal((2, 3))
    rows, best = rng.random((5, 4)), np.array([-1.0, -1.2, -0.7])
    together = Acquisition(model.with_pending(pending, draws), best)(rows)
    alone = [Acquisition(model.with_pending(pending, draws[:, [s]]), best[[s]])(rows) for s in range(3)]
    assert np.exp(together) == pytest.approx(np.exp(alone).mean(0))


def test_where_a_bound_is_surely_broken_nothing_is_promising() -> None:
    features, model = posterior(1)
    rows = model.rows[:5]
    kernel = Kernel(np.full(features.columns.dim, 0.7), noise=1e-6)
    broken = Posterior(features, kernel, rows, np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0]]))
    values = Acquisition(model, np.array([0.0]), [(broken, 0.0)])(rows) - Acquisition(model, np.array([0.0]))(rows)
    assert (values[[0, 2, 4]] < -100).all()
    assert values[[1, 3]] == pytest.approx([0.0, 0.0], abs=1e-6)

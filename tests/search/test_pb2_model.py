"""The time-varying Gaussian process of PB2, against one written out entry by entry, and against finite differences."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from threadpoolctl import threadpool_limits

from tunesmith.search import pb2_model
from tunesmith.search.pb2_model import WINDOW, Bandit, Kernel, Observations, fit, loss, propose, standardized

Row = tuple[float, float, list[float], float]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For the parts that are called alone: small matrices, and other tests have the other core."""
    with threadpool_limits(1, "blas"):
        yield


def some(seed: int, n: int, dims: int) -> Observations:
    """Observations at random, some of them at equal times and some at equal inputs."""
    draw = np.random.default_rng(seed)
    inputs = draw.random((n, dims + 1))
    inputs[n // 2 :] = inputs[: n - n // 2]
    return Observations(inputs, np.floor(draw.random(n) * 5), draw.normal(size=n))


def kernels(dims: int) -> st.SearchStrategy[Kernel]:
    log = st.floats(-2.0, 1.5)
    return st.lists(log, min_size=dims + 4, max_size=dims + 4).map(lambda logs: Kernel.of(np.array(logs)))


def rows(n: int, dims: int, peak: float = 0.3, seed: int = 0, noise: float = 0.05) -> list[Row]:
    """Eight members that improve most where the first hyperparameter is at the peak."""
    draw = np.random.default_rng(seed)
    points = draw.random((n, dims))
    gains = -((points[:, 0] - peak) ** 2) + noise * draw.normal(size=n)
    return [(float(i // 8), float(draw.normal()), list(points[i]), float(gains[i])) for i in range(n)]


def entry(kernel: Kernel, x: Any, t: float, other: Any, other_t: float) -> float:
    """The paper's formula, one entry."""
    near = sum((a - b) ** 2 / length**2 for a, b, length in zip(x, other, kernel.lengths))
    return kernel.variance * math.exp(-near / 2) * (1 - kernel.omega) ** (abs(t - other_t) / 2)


def dense(kernel: Kernel, data: Observations) -> np.ndarray:
    pairs = list(zip(data.inputs, data.times))
    covariance = np.array([[entry(kernel, x, t, other, other_t) for other, other_t in pairs] for x, t in pairs])
    return covariance + kernel.noise * np.eye(len(pairs))


# -- the process ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 15), kernels(2))
def test_covariances_are_the_papers_and_positive_definite(seed: int, n: int, kernel: Kernel) -> None:
    data = some(seed, n, 2)
    ours = kernel(data.inputs, data.times, data.inputs, data.times)
    np.testing.assert_allclose(ours + kernel.noise * np.eye(n), dense(kernel, data), rtol=1e-9)
    assert np.linalg.eigvalsh(ours).min() > -1e-9 * kernel.variance * n


@given(st.integers(0, 10**6), st.integers(1, 12), kernels(2))
def test_predictions_are_the_closed_form(seed: int, n: int, kernel: Kernel) -> None:
    data = some(seed, n, 2)
    draw = np.random.default_rng(seed + 1)
    points, score, now = draw.random((4, 2)), float(draw.normal()), 6.0
    means, deviations = Bandit(kernel, data, now, score).predict(points)
    covariance = dense(kernel, data)
    for point, mean, deviation in zip(points, means, deviations):
        asked = [*point, score]
        cross = np.array([entry(kernel, asked, now, x, t) for x, t in zip(data.inputs, data.times)])
        assert mean == pytest.approx(cross @ np.linalg.solve(covariance, data.rewards), rel=1e-6, abs=1e-7)
        left = kernel.variance - cross @ np.linalg.solve(covariance, cross)
        assert deviation**2 == pytest.approx(left, rel=1e-5, abs=1e-7 * kernel.variance)


@given(st.integers(0, 10**6), st.integers(1, 12), kernels(1))
def test_the_loss_is_minus_the_log_posterior(seed: int, n: int, kernel: Kernel) -> None:
    """Differences of it are those of the normal density and of the prior: constants do not count."""
    data = some(seed, n, 1)
    first, second = np.log([*kernel.lengths, kernel.variance, kernel.noise, kernel.rate]), np.zeros(5)

    def reference(logs: np.ndarray) -> float:
        covariance = dense(Kernel.of(logs), data)
        sign, logdet = np.linalg.slogdet(covariance)
        means, deviations = np.log([0.5, 1.0, 1.0, 0.1, 0.05]), np.array([0.7, 0.7, 0.7, 1.5, 1.0])
        assert sign > 0
        fits = 0.5 * data.rewards @ np.linalg.solve(covariance, data.rewards) + 0.5 * logdet
        return float(fits + 0.5 * (((logs - means) / deviations) ** 2).sum())

    assert loss(first, data)[0] - loss(second, data)[0] == pytest.approx(reference(first) - reference(second), rel=1e-6, abs=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 12), st.lists(st.floats(-1.5, 1.0), min_size=6, max_size=6))
def test_gradient_of_the_loss(seed: int, n: int, logs: list[float]) -> None:
    data, at = some(seed, n, 2), np.array(logs)
    numeric = approx_fprime(at, lambda one: loss(one, data)[0], 1e-6)
    np.testing.assert_allclose(loss(at, data)[1], numeric, rtol=1e-3, atol=1e-3)


@given(st.integers(0, 10**6), st.integers(2, 12), kernels(2))
def test_gradient_of_the_bound(seed: int, n: int, kernel: Kernel) -> None:
    data, draw = some(seed, n, 2), np.random.default_rng(seed)
    pending = draw.random((2, 3)), np.array([6.0, 5.0])
    bandit = Bandit(kernel, data, 6.0, 0.3, pending)
    point = draw.random(2)
    value, gradient = bandit.bound(point)
    assert value == pytest.approx(bandit.bounds(point[None])[0], rel=1e-6)
    numeric = approx_fprime(point, lambda one: bandit.bound(one)[0], 1e-6)
    np.testing.assert_allclose(gradient, numeric, rtol=2e-3, atol=2e-3 * (1 + abs(value)))


def test_beta_is_the_papers() -> None:
    for n, beta in ((1, 0.2), (2, 0.2), (100, 0.2 + math.log(40)), (1000, 0.2 + math.log(400))):
        assert Bandit(Kernel(np.ones(2)), some(0, n, 1), 0.0, 0.0).beta == pytest.approx(beta)


# -- forgetting ----------------------------------------------------------------------------------------------------------


def test_old_observations_are_forgotten() -> None:
    data = Observations(np.array([[0.5, 0.0]]), np.array([0.0]), np.array([2.0]))
    kernel = Kernel(np.array([0.5, 1.0]), rate=0.1)
    believed = [Bandit(kernel, data, now, 0.0).predict(np.array([[0.5]])) for now in (0.0, 5.0, 100.0)]
    means, deviations = [float(mean[0]) for mean, _ in believed], [float(one[0]) for _, one in believed]
    assert means[0] > means[1] > means[2]
    assert deviations[0] < deviations[1] < deviations[2]
    assert means[1] == pytest.approx(means[0] * (1 - kernel.omega) ** 2.5)
    assert (means[2], deviations[2]) == pytest.approx((0.0, 1.0), abs=1e-3)


def test_the_newest_say_where_the_optimum_is() -> None:
    draw = np.random.default_rng(3)
    moved = []
    for i in range(80):
        point, peak = float(draw.random()), 0.2 if i < 40 else 0.8
        moved.append((float(i // 4), 0.0, [point], -((point - peak) ** 2)))
    assert propose(moved, 20.0, 0.0, [], 1, seed=1)[0] == pytest.approx(0.8, abs=0.12)
    shifted = [(19 - start, *rest) for start, *rest in moved]  # the other way round: now the first ones are new
    assert propose(shifted, 20.0, 0.0, [], 1, seed=1)[0] == pytest.approx(0.2, abs=0.12)


def test_how_fast_is_learned_from_the_data() -> None:
    draw = np.random.default_rng(1)
    n = 120
    points, times = draw.random((n, 1)), np.repeat(np.arange(n / 4), 4)
    inputs = np.column_stack([points, np.zeros(n)])
    steady = standardized(np.sin(5 * points[:, 0]))[0]
    drifting = standardized(np.sin(5 * points[:, 0] + times))[0]
    slow, fast = fit(Observations(inputs, times, steady)), fit(Observations(inputs, times, drifting))
    assert slow.omega < 0.02 < 0.3 < fast.omega


def test_an_input_that_does_nothing_gets_a_long_scale() -> None:
    data = rows(60, 2, noise=0.0)
    inputs = np.array([[*row[2], 0.0] for row in data])
    kernel = fit(Observations(inputs, np.zeros(60), standardized(np.array([row[3] for row in data]))[0]))
    assert kernel.lengths[1] > 2 * kernel.lengths[0]


def test_what_is_fitted_is_the_newest() -> None:
    data, old = some(1, 200, 1), some(2, 50, 1)
    pairs = (data.inputs, old.inputs), (data.times, old.times - 10), (data.rewards, old.rewards)
    both = Observations(*map(np.concatenate, pairs))
    assert fit(both).noise == pytest.approx(fit(data).noise, rel=1e-3)
    assert fit(old).noise != pytest.approx(fit(data).noise, rel=0.02)


# -- the next point ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(1, 4))
def test_proposals_are_inside(seed: int, n: int, dims: int) -> None:
    point = propose(rows(n, dims, seed=seed), n / 8, 0.5, [], dims, seed)
    assert len(point) == dims
    assert all(type(one) is float and 0 <= one <= 1 for one in point)


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_is_climbed_to_its_top(seed: int) -> None:
    data = some(seed, 20, 2)
    bandit = Bandit(Kernel(np.array([0.2, 0.2, 1.0])), data, 5.0, 0.0)
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 41)), -1).reshape(-1, 2)
    best = bandit.best(np.random.default_rng(seed))[0]
    assert bandit.bounds(best[None])[0] >= bandit.bounds(grid).max() - 0.02


def test_the_peak_is_found() -> None:
    for peak in (0.15, 0.5, 0.85):
        found = [propose(rows(64, 2, peak, seed, noise=0.01), 8.0, 0.0, [], 2, seed)[0] for seed in range(5)]
        assert np.mean(found) == pytest.approx(peak, abs=0.1)


def test_what_counts_depends_on_where_one_stands() -> None:
    """Beginners improve at 0.2, the advanced at 0.8."""
    draw = np.random.default_rng(0)
    seen = []
    for i in range(80):
        point, advanced = float(draw.random()), bool(i % 2)
        seen.append((float(i // 8), float(advanced), [point], -((point - (0.8 if advanced else 0.2)) ** 2)))
    assert propose(seen, 10.0, 0.0, [], 1, seed=0)[0] == pytest.approx(0.2, abs=0.12)
    assert propose(seen, 10.0, 1.0, [], 1, seed=0)[0] == pytest.approx(0.8, abs=0.12)


def test_members_of_a_round_do_not_try_the_same() -> None:
    seen = rows(6, 2, noise=0.0)
    alone = propose(seen, 1.0, 0.0, [], 2, seed=5)
    assert propose(seen, 1.0, 0.0, [], 2, seed=5) == alone
    pending: list[tuple[float, float, list[float]]] = []
    for _ in range(4):
        pending.append((1.0, 0.0, propose(seen, 1.0, 0.0, pending, 2, seed=5)))
    gaps = [math.dist(pending[i][2], pending[j][2]) for i in range(4) for j in range(i)]
    assert min(gaps) > 0.1


def test_what_is_pending_changes_no_expectation() -> None:
    data = some(0, 10, 2)
    grid = np.random.default_rng(0).random((20, 2))
    alone = Bandit(Kernel(np.ones(3)), data, 5.0, 0.0)
    others = Bandit(Kernel(np.ones(3)), data, 5.0, 0.0, (np.array([[0.5, 0.5, 0.0]]), np.array([5.0])))
    np.testing.assert_allclose(alone.predict(grid)[0], others.predict(grid)[0])
    assert (alone.predict(grid)[1] > others.predict(grid)[1]).all()


def test_without_observations_it_is_drawn_evenly() -> None:
    found = np.array([propose([], 0.0, 0.0, [], 1, seed)[0] for seed in range(400)])
    assert 0.45 < found.mean() < 0.55  # 3.5 standard errors
    assert found.min() < 0.05 < 0.95 < found.max()


def test_the_best_that_is_allowed_is_taken() -> None:
    seen = rows(64, 1, 0.7, noise=0.01)
    asked: list[float] = []
    point = propose(seen, 8.0, 0.0, [], 1, 0, lambda one: asked.append(one[0]) or one[0] < 0.6)
    assert 0.5 < point[0] < 0.6
    assert asked[0] == propose(seen, 8.0, 0.0, [], 1, 0)[0]
    assert propose(seen, 8.0, 0.0, [], 1, 0, lambda _: False) == [asked[0]], "nobody is left without an answer"
    assert propose([], 8.0, 0.0, [], 1, 0, lambda one: one[0] < 0.1)[0] < 0.1


# -- bad data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", [-math.inf, math.inf, 1e300, -1e300, 0.0, 1e-300])
@pytest.mark.parametrize("which", ["one", "half", "all"])
def test_extreme_rewards_and_scores(reward: float, which: str) -> None:
    seen = rows(24, 2)
    step = {"one": 24, "half": 2, "all": 1}[which]
    for i in range(0, 24, step):
        seen[i] = (seen[i][0], reward if math.isfinite(reward) else seen[i][1], seen[i][2], reward)
    point = propose(seen, 3.0, reward, [(3.0, reward, [0.1, 0.2])], 2, seed=0)
    assert all(0 <= one <= 1 for one in point)


def test_one_exploded_loss_does_not_blind() -> None:
    seen = rows(64, 1, 0.7, noise=0.01)
    seen[60] = (*seen[60][:2], [0.1], -1e30)
    assert propose(seen, 8.0, 0.0, [], 1, seed=0)[0] == pytest.approx(0.7, abs=0.12)


def test_a_diverged_member_warns_of_its_values() -> None:
    seen = [(0.0, 0.0, [x / 10], -math.inf if x >= 5 else 0.1 * x) for x in range(11)]
    assert propose(seen, 1.0, 0.0, [], 1, seed=0)[0] < 0.6


def test_equal_inputs_do_not_blow_up() -> None:
    draw = np.random.default_rng(0)
    equal = [(0.0, 0.0, [0.5, 0.5], float(draw.normal())) for _ in range(300)]
    point = propose(equal, 1.0, 0.0, [(1.0, 0.0, [0.5, 0.5])] * 3, 2, seed=0)
    assert all(0 <= one <= 1 for one in point)
    one_value = [(0.0, 0.0, [0.5, 0.5], 1.0)] * 300
    assert max(abs(one - 0.5) for one in propose(one_value, 1.0, 0.0, [], 2, seed=0)) > 0.3, "it looks where nobody has been"


# -- cost ----------------------------------------------------------------------------------------------------------------


def test_a_thousand_observations_take_less_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one core: the cores are the trials'."""
    fitted = []
    monkeypatch.setattr(pb2_model, "loss", lambda logs, data: fitted.append(len(data.rewards)) or loss(logs, data))
    begin = time.process_time()
    propose(rows(5000, 6), 625.0, 0.0, [], 6, seed=0)
    assert time.process_time() - begin < 1.5
    assert set(fitted) == {200}
    assert len(fitted) <= 65


def test_only_the_newest_are_looked_at() -> None:
    new = rows(WINDOW, 1, seed=1)
    old = [(start - 1000, before, point, 50.0) for start, before, point, _ in rows(50, 1, seed=2)]
    alone = propose(new, 125.0, 0.0, [], 1, seed=0)
    assert propose(old + new, 125.0, 0.0, [], 1, seed=0) == alone
    assert propose(new[500:] + old + new[:500], 125.0, 0.0, [], 1, seed=0) == pytest.approx(alone, abs=1e-3), "in any order"

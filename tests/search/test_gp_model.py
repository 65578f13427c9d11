"""The Gaussian process: its features, its fit, and what it predicts, against plain computations and finite differences."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from tunesmith.search.gp.columns import Columns
from tunesmith.search.gp.features import Features, Warp, kumaraswamy
from tunesmith.search.gp.fit import factor, fit, loss
from tunesmith.search.gp.kernel import Kernel, Prior, matern
from tunesmith.search.gp.posterior import Posterior
from tunesmith.space import Space, choice, loguniform, qrandint, randint, uniform

TREE = {
    "x": uniform(0, 1),
    "n": randint(0, 9),
    "opt": choice([{"lr": loguniform(1e-3, 1), "kind": choice(["p", "q"])}, {"mom": uniform(0, 1)}, None]),
    "act": choice(["a", "b", "c"]),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices, and other tests have the other core."""
    with threadpool_limits(1, "blas"):
        yield


def made(config: dict[str, object] = TREE) -> Features:
    return Features(Columns(Space.parse(config)))


def some(features: Features, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows and standardised losses at random."""
    rng = np.random.default_rng(seed)
    return features.columns.snap(rng.random((n, features.columns.dim))), rng.standard_normal(n)


def vector(prior: Prior, seed: int) -> np.ndarray:
    """Parameters not far from the prior's centre."""
    return np.clip(prior.centre + np.random.default_rng(seed).normal(0, 0.4, len(prior.centre)), prior.low, prior.high)


def differences(function, at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    return np.array([(function(at + e) - function(at - e)) / (2 * step) for e in np.eye(len(at)) * step])


def distance(features: Features, columns: Columns, one: dict, other: dict) -> float:
    rows = [columns.encode(one), columns.encode(other)]
    return float(np.linalg.norm(np.subtract(*features.of(np.array(rows)))))


# ---- features


def test_different_options_are_as_far_apart_as_the_ends_of_a_range() -> None:
    features = made({"x": uniform(-2, 2), "c": choice(["a", "b", "c"])})
    base = {"x": -2.0, "c": "a"}
    assert distance(features, features.columns, base, {"x": 2.0, "c": "a"}) == pytest.approx(1.0)
    assert distance(features, features.columns, base, {"x": -2.0, "c": "b"}) == pytest.approx(1.0)
    assert distance(features, features.columns, base, {"x": -2.0, "c": "c"}) == pytest.approx(1.0)


def test_what_does_not_exist_is_equally_far_from_all_values_and_differs_from_nothing_that_does_not_exist() -> None:
    features = made({"opt": choice([{"lr": uniform(0, 1), "kind": choice(["p", "q"])}, {"mom": uniform(0, 1)}, None])})
    columns = features.columns

    def first(lr: float, kind: str = "p") -> dict:
        return {"opt": 0, "opt/0/lr": lr, "opt/0/kind": kind}

    def second(mom: float) -> dict:
        return {"opt": 1, "opt/1/mom": mom}

    assert distance(features, columns, first(0.0), first(1.0)) == pytest.approx(1.0)
    far = [distance(features, columns, first(lr, kind), second(mom)) for lr in (0.0, 0.4, 1.0) for kind in "pq" for mom in (0.0, 0.7)]
    assert far == pytest.approx([far[0]] * len(far))
    assert far[0] > 1.0
    latent = np.array([columns.encode(second(0.3))] * 2)
    latent[1, columns.names.index("opt/0/lr")] = 0.9  # a local search goes on with values of options that are not taken
    assert (np.diff(features.of(latent), axis=0) == 0).all()


@given(st.floats(0, 1), st.floats(0, 1))
def test_on_a_conditional_number_distance_grows_with_difference(one: float, other: float) -> None:
    features = made({"opt": choice([{"lr": uniform(0, 1)}, None])})
    points = features.of(np.array([[0.25, one], [0.25, other], [0.25, 0.0]]))
    gap = float(np.linalg.norm(points[0] - points[1]))
    assert 0.9 * abs(one - other) - 1e-9 <= gap <= 1.12 * abs(one - other) + 1e-9


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(-2, 2), st.floats(-2, 2))
def test_warping_is_monotone_and_keeps_the_ends(units: list[float], log_a: float, log_b: float) -> None:
    warp = Warp(np.array([log_a]), np.array([log_b]))
    warped = kumaraswamy(np.array([sorted([0.0, *units, 1.0])]).T, warp)[0][:, 0]
    assert (np.diff(warped) >= 0).all()
    assert warped[0] == pytest.approx(0.0, abs=0.4)  # units are at least 1e-9, and 1 - (1 - 1e-9 ** exp(-2)) ** exp(2) is 0.37
    assert warped[-1] == pytest.approx(1.0, abs=0.4)


def test_without_exponents_warping_changes_nothing() -> None:
    features = made()
    rows, _ = some(features, 10)
    none = Warp(*np.zeros((2, len(features.warped))))
    assert features.of(rows, none) == pytest.approx(features.of(rows), abs=1e-8)


# ---- kernel and fit


def test_matern_has_the_values_of_its_formula() -> None:
    for r in (0.0, 0.3, 1.0, 4.0):
        expected = (1 + math.sqrt(5) * r + 5 * r * r / 3) * math.exp(-math.sqrt(5) * r)
        assert matern(np.array([r * r]), 3.0)[0] == pytest.approx(3 * expected, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans())
def test_gradients_of_the_fit_are_those_of_finite_differences(seed: int, n: int, warping: bool) -> None:
    features = made()
    prior = Prior.make(features, warping)
    rows, targets = some(features, n, seed)
    at = vector(prior, seed)
    gradient = loss(at, features, rows, targets, prior)[1]
    expected = differences(lambda v: loss(v, features, rows, targets, prior)[0], at)
    assert gradient == pytest.approx(expected, rel=1e-3, abs=1e-3 * max(1.0, np.abs(expected).max() * 1e-2))


def test_length_scales_are_expected_to_grow_with_the_square_root_of_the_number_of_parameters() -> None:
    few, many = (Prior.make(made({f"x{i}": uniform(0, 1) for i in range(n)}), False) for n in (3, 12))
    assert many.centre[0] - few.centre[0] == pytest.approx(math.log(2))
    tree = Prior.make(made({"o": choice([{f"x{i}": uniform(0, 1) for i in range(6)} for _ in range(2)])}), False)
    assert tree.centre[0] == pytest.approx(Prior.make(made({f"x{i}": uniform(0, 1) for i in range(7)}), False).centre[0])


def test_a_parameter_that_does_not_matter_gets_the_longest_length_scale() -> None:
    features = made({"a": uniform(0, 1), "b": uniform(0, 1), "c": choice(["p", "q"])})
    rows, _ = some(features, 40)
    targets = np.sin(7 * rows[:, 0])
    kernel = fit(features, rows, (targets - targets.mean()) / targets.std(), Prior.make(features, False))
    assert kernel.lengths[0] * 3 < min(kernel.lengths[1:])
    assert kernel.noise < 1e-3


def test_noise_is_seen() -> None:
    features = made({"a": uniform(0, 1)})
    rows, noise = some(features, 60)
    targets = np.sin(5 * rows[:, 0]) + 0.5 * noise
    kernel = fit(features, rows, (targets - targets.mean()) / targets.std(), Prior.make(features, False))
    assert 0.1 < kernel.noise * targets.var() < 0.5


def test_warping_finds_out_where_a_function_changes_fast() -> None:
    features = made({"a": uniform(0, 1)})
    rows = np.linspace(0.01, 1, 40)[:, None]
    targets = np.sin(6 * np.log(rows[:, 0]))
    kernel = fit(features, rows, targets, Prior.make(features, True))
    assert kernel.warp is not None
    warped = kumaraswamy(np.array([[0.1], [0.9]]), kernel.warp)[0][:, 0]
    assert warped[0] > 0.2


def test_without_observations_the_prior_is_the_answer() -> None:
    features = made()
    prior = Prior.make(features, False)
    assert fit(features, np.empty((0, features.columns.dim)), np.empty(0), prior).lengths == pytest.approx(np.exp(prior.centre[:-3]))


def test_a_covariance_that_is_singular_in_floating_point_is_factored_all_the_same() -> None:
    ones = np.ones((5, 5))
    lower = factor(ones)
    assert lower @ lower.T == pytest.approx(ones, abs=1e-6)
    with pytest.raises(np.linalg.LinAlgError, match="3 observations"):
        factor(np.full((3, 3), np.nan))


# ---- posterior


def textbook(features: Features, kernel: Kernel, rows: np.ndarray, targets: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rasmussen and Williams, equations 2.25 and 2.26, entry by entry."""
    points, others = features.of(rows, kernel.warp), features.of(at, kernel.warp)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        r = math.sqrt(sum(((a - b) / kernel.lengths[g]) ** 2 for a, b, g in zip(x, y, features.group)))
        return kernel.scale * (1 + math.sqrt(5) * r + 5 / 3 * r * r) * math.exp(-math.sqrt(5) * r)

    covariance = np.array([[k(x, y) for y in points] for x in points]) + kernel.noise * np.eye(len(rows))
    between = np.array([[k(x, y) for y in points] for x in others])
    means = kernel.mean + between @ np.linalg.solve(covariance, targets - kernel.mean)
    variances = [kernel.scale - row @ np.linalg.solve(covariance, row) for row in between]
    return means, np.sqrt(variances)


@pytest.mark.parametrize("warping", [False, True])
def test_predictions_are_those_of_the_textbook(warping: bool) -> None:
    features = made()
    rows, targets = some(features, 9)
    kernel = Kernel.of(vector(Prior.make(features, warping), 3), features.columns.dim)
    at, _ = some(features, 6, seed=5)
    means, deviations = textbook(features, kernel, rows, targets, at)
    belief = Posterior(features, kernel, rows, targets[:, None]).at(at)
    assert belief.means[:, 0] == pytest.approx(means, rel=1e-8, abs=1e-8)
    assert belief.deviations == pytest.approx(deviations, rel=1e-5)


def test_without_observations_the_prior_is_predicted() -> None:
    features = made()
    dim = features.columns.dim
    model = Posterior(features, Kernel(np.ones(dim), 4.0, mean=1.5), np.empty((0, dim)), np.empty((0, 1)))
    at = model.at(some(features, 3)[0])
    assert at.means == pytest.approx(np.full((3, 1), 1.5))
    assert at.deviations == pytest.approx(np.full(3, 2.0))


def test_what_is_pending_makes_certain_and_on_average_changes_nothing() -> None:
    features = made({"a": uniform(0, 1), "b": uniform(0, 1)})
    rows, targets = some(features, 12)
    model = Posterior(features, Kernel(np.full(2, 0.6), noise=1e-4), rows, targets[:, None])
    at = np.array([[0.31, 0.62], [0.9, 0.1]])
    half = np.random.default_rng(1).standard_normal((1, 32))
    after = model.with_pending(at[:1], np.hstack([half, -half])).at(at)
    before = model.at(at)
    assert after.deviations[0] < 0.2 * before.deviations[0]
    assert after.means.shape == (2, 64)
    assert after.means.mean(1) == pytest.approx(before.means[:, 0], abs=1e-8)
    assert after.means[0].std() == pytest.approx(before.deviations[0], rel=0.4)


def test_fantasies_are_the_textbooks_posterior_given_them() -> None:
    features = made()
    rows, targets = some(features, 9)
    pending, at = some(features, 3, seed=8)[0], some(features, 4, seed=9)[0]
    kernel = Kernel(np.full(features.columns.dim, 0.8), 1.3, 1e-3, 0.2)
    model = Posterior(features, kernel, rows, targets[:, None]).with_pending(pending, np.zeros((3, 1)))
    believed, _ = textbook(features, kernel, rows, targets, pending)
    means, deviations = textbook(features, kernel, np.vstack([rows, pending]), np.concatenate([targets, believed]), at)
    belief = model.at(at)
    assert belief.means[:, 0] == pytest.approx(means, rel=1e-7, abs=1e-7)
    assert belief.deviations == pytest.approx(deviations, rel=1e-5)


def test_steps_and_conditions_have_a_column_each() -> None:
    columns = Columns(Space.parse({"b": qrandint(8, 64, 8), **TREE}))
    assert columns.names == ["act", "b", "n", "opt", "opt/0/kind", "opt/0/lr", "opt/1/mom", "x"]
    assert columns.weight == pytest.approx([1, 1, 1, 1, 1 / 3, 1 / 3, 1 / 3, 1])

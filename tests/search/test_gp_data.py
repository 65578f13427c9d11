"""What is taken from observations: warped losses, bounds, failures, subsets; and nothing of it raises on strange ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from tunesmith.search.gp.beliefs import Beliefs, scalarized, scheduled
from tunesmith.search.gp.columns import Columns
from tunesmith.search.gp.data import Data, signed_logs, subset
from tunesmith.search.gp.losses import warped, yeo_johnson
from tunesmith.search.problem import Bound, Observation, Problem
from tunesmith.space import Space, choice, uniform

SPACE = Space.parse({"x": uniform(0, 1)})
finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices, and other tests have the other core."""
    with threadpool_limits(1, "blas"):
        yield


# ---- losses


@given(st.lists(finite, min_size=1, max_size=30))
def test_warped_losses_are_finite_standardised_and_in_the_same_order(losses: list[float]) -> None:
    given_ = np.array(losses)
    found = warped(given_)
    assert np.isfinite(found).all()
    assert (np.diff(found[np.argsort(given_, kind="stable")]) >= -1e-9).all()
    assert abs(found.mean()) < 1e-6
    assert found.std() == pytest.approx(1.0, abs=1e-6) or not found.any()


def test_one_explosion_leaves_the_rest_distinct() -> None:
    found = warped(np.array([1.0, 2.0, 3.0, 4.0, 1e300]))
    assert np.diff(found[:4]).min() > 0.1


def test_small_differences_on_a_large_offset_are_seen() -> None:
    found = warped(1e6 + 1e-6 * np.arange(5.0))
    assert np.diff(found).min() > 0.2


def test_yeo_johnson_is_what_its_authors_wrote() -> None:
    values = np.array([-2.0, 0.0, 3.0])
    assert yeo_johnson(values, 1.0) == pytest.approx(values)
    assert yeo_johnson(values, 0.0) == pytest.approx([-(3**2 - 1) / 2, 0, math.log(4)])
    assert yeo_johnson(values, -1.0) == pytest.approx([-(3**3 - 1) / 3, 0, 1 - 1 / 4])
    assert yeo_johnson(values, 2.0) == pytest.approx([-math.log(3), 0, (4**2 - 1) / 2])


def test_skewed_losses_become_nearly_normal() -> None:
    found = warped(np.exp(np.random.default_rng(0).normal(0, 1.5, 200)))
    assert abs(float((found**3).mean())) < 0.5


@given(st.lists(finite, min_size=1, max_size=20))
def test_signed_logs_keep_signs_and_order(values: list[float]) -> None:
    found, zero = signed_logs(np.array(values))
    assert np.isfinite(found).all()
    assert math.isfinite(zero)
    for value, logs in zip(values, found):
        if abs(value) > 1e-9 * max(map(abs, values)):
            assert (logs - zero) * math.copysign(1, value) >= 0


# ---- data


def observed(x: float, losses: tuple[float, ...] | None, outcome: str = "finished", **more: Any) -> Observation:
    return Observation(more.pop("trial", 1), {"x": x}, losses, outcome, 1, **more)


def test_failures_count_as_impossible_and_lost_workers_as_nothing() -> None:
    data = Data(Columns(SPACE), 1, 0)
    data.add(observed(0.1, (3.0,)))
    data.add(observed(0.2, None, "oom_gpu"))
    data.add(observed(0.3, None, "worker_lost"))
    data.add(observed(0.4, (1.0,), "nan"))
    data.add(Observation(1, {"other": 3}, (1.0,)))
    assert data.rows()[:, 0].tolist() == [0.1, 0.2, 0.4]
    assert data.failed().tolist() == [False, True, True]
    assert data.feasible().tolist() == [True, False, False]
    assert np.isnan(data.losses()[:, 0]).tolist() == [False, True, True]


def test_bounds_that_are_broken_leave_the_loss_but_not_as_feasible() -> None:
    data = Data(Columns(SPACE), 1, 1)
    data.add(observed(0.1, (3.0,), excess=(-2.0,)))
    data.add(observed(0.2, (1.0,), excess=(5.0,)))
    data.add(observed(0.3, (2.0,), excess=(math.inf,)))
    data.add(observed(0.4, (2.0,), excess=(0.0,), trial=-1))
    assert data.feasible().tolist() == [True, False, False, True]
    assert data.losses()[:2, 0].tolist() == [3.0, 1.0]
    assert data.failed().tolist() == [False, False, True, False]
    assert data.excess()[:2, 0].tolist() == [-2.0, 5.0]
    assert np.isnan(data.excess()[2:, 0]).all(), "how well a point that users know keeps the bound is not known"


def test_values_that_do_not_exist_are_those_of_the_best_in_which_they_do() -> None:
    space = Space.parse({"o": choice([{"x": uniform(0, 1)}, None])})
    data = Data(Columns(space), 1, 0)
    for x, loss in ((0.2, 5.0), (0.7, 1.0), (0.4, 3.0)):
        data.add(Observation(0, {"o": 0, "o/0/x": x}, (loss,)))
    data.add(Observation(0, {"o": None}, (0.0,)))
    assert data.rows()[:, 1].tolist() == [0.2, 0.7, 0.4, 0.5]
    assert data.filled(data.rows())[:, 1].tolist() == [0.2, 0.7, 0.4, 0.7]


@given(st.integers(4, 40), st.integers(1, 60), st.integers(0, 99))
def test_a_subset_has_the_best_and_the_newest(limit: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, losses = rng.integers(0, 4, (count, 2)) / 4, rng.random(count)
    found = subset(rows, losses, limit)
    assert len(found) == min(limit, count) == len(set(found.tolist()))
    assert (np.diff(found) > 0).all()
    assert int(losses.argmin()) in found
    assert count - 1 in found


def test_a_subset_reaches_far() -> None:
    rows = np.concatenate([np.full((100, 1), 0.5), [[0.0]], np.full((100, 1), 0.5)])
    assert 100 in subset(rows, np.concatenate([np.zeros(100), [9.0], np.zeros(100)]), 8)


def test_fits_are_at_counts_that_never_go_back_and_are_not_far_behind() -> None:
    counts = [scheduled(count) for count in range(1, 2000)]
    assert counts == sorted(counts)
    assert all(scheduled(found) == found and count - found <= count // 8 for count, found in enumerate(counts, start=1))


def test_scalarised_losses_prefer_what_is_no_worse_in_anything() -> None:
    losses = np.array([[1.0, 1.0], [1.0, 2.0], [3.0, 3.0], [0.5, 9.0]])
    found = scalarized(losses, np.array([0.5, 0.5]))
    assert found[0] < found[1] < found[2]
    assert scalarized(losses, np.array([0.99, 0.01])).argmin() == 3


# ---- beliefs


def beliefs(bounds: tuple[str, ...] = (), limit: int = 500) -> Beliefs:
    problem = Problem(SPACE, bounds=tuple(Bound.parse("test", text) for text in bounds))
    return Beliefs(problem, Columns(SPACE), False, limit)


def value(model: Beliefs, *at: float, pending: tuple[float, ...] = ()) -> np.ndarray:
    acquisition, _ = model.acquisition(np.array(pending).reshape(-1, 1), np.random.default_rng(0))
    return acquisition(np.array(at)[:, None])


def test_bounds_are_learned_where_they_are_broken() -> None:
    model = beliefs(("size <= 10",))
    for x in np.linspace(0, 1, 12):
        model.observe(observed(x, (float(x),), excess=(4.0 - 10 * x,)))  # the less the better, but below 0.4 the bound is broken
    inside, outside = value(model, 0.45, 0.2)
    assert inside > outside + 3


def test_impossible_regions_are_avoided_and_a_possible_one_is_sought_when_none_is_known() -> None:
    model = beliefs()
    for x in (0.0, 0.1, 0.2, 0.3):
        model.observe(observed(x, None, "oom_ram"))
    near, far = value(model, 0.15, 0.9)
    assert far > near + 0.5
    model.observe(observed(0.9, (1.0,)))
    near, far = value(model, 0.15, 0.85)
    assert far > near


def test_what_is_pending_is_less_promising_even_if_only_feasibility_is_sought() -> None:
    model = beliefs()
    model.observe(observed(0.0, None, "oom_ram"))
    free, taken = value(model, 0.9)[0], value(model, 0.9, pending=(0.9,))[0]
    assert taken < free - 0.1
    model = beliefs()
    for x in (0.1, 0.5, 0.8):
        model.observe(observed(x, (x,)))
    assert value(model, 0.0, pending=(0.0,))[0] < value(model, 0.0)[0] - 1


def test_the_model_is_conditioned_on_no_more_than_its_limit() -> None:
    model = beliefs(limit=20)
    for number in range(60):
        model.observe(observed(number / 60, (abs(number / 60 - 0.4),)))
    acquisition, tops = model.acquisition(np.empty((0, 1)), np.random.default_rng(0))
    assert acquisition.objective is not None
    assert len(acquisition.objective.rows) == 20
    assert tops[0, 0] == pytest.approx(0.4, abs=0.02)


def test_with_given_options_what_is_best_with_them_is_to_be_improved_on() -> None:
    space = Space.parse({"o": choice([{"x": uniform(0, 1)}, {"y": uniform(0, 1)}])})
    columns = Columns(space)
    model = Beliefs(Problem(space), columns, False, 500)
    for number, (option, loss) in enumerate([(0, 0.0), (1, 7.0), (0, 1.0), (1, 5.0), (1, 6.0)]):
        model.observe(Observation(number, {"o": option, f"o/{option}/{'xy'[option]}": number / 5}, (loss,)))
    rng, at = np.random.default_rng(0), columns.names.index("o")
    pending = np.array([columns.encode({"o": 0, "o/0/x": 0.3})])

    anything, tops = model.acquisition(np.empty((0, 3)), rng)
    assert columns.option(tops[:, at], at).tolist() == [0, 0, 1, 1, 1]
    for waiting in (np.empty((0, 3)), pending):  # what is pending with another option is nothing to be compared with
        second, tops = model.acquisition(waiting, rng, 0.5, {at: 0.75})
        assert columns.decode(tops[0]) == {"o": 1, "o/1/y": pytest.approx(0.6)}
        assert len(tops) == 3
        assert second.objective is not None
        least = float(second.objective.at(tops[:1]).means.mean())
        assert second.best == pytest.approx(np.full(second.best.shape, least), abs=1e-6), "the larger gain is for the best of all"
        assert second.best.min() > anything.best[0] + 0.5
    bold, tops = model.acquisition(np.empty((0, 3)), rng, 0.5, {at: 0.25})
    assert bold.best == pytest.approx(anything.best - 0.5)


def test_parameters_depend_on_observations_only_also_where_not_all_are_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.search.gp.beliefs._FITTED", 8)
    space = Space.parse({"o": choice([{"x": uniform(0, 1)}, {"y": uniform(0, 1), "z": uniform(0, 1)}]), "w": uniform(0, 1)})
    often, once = (Beliefs(Problem(space), Columns(space), False, 12) for _ in range(2))
    rng, nothing = np.random.default_rng(0), np.empty((0, 5))
    for number in range(35):
        unit = [float(each) for each in rng.random(4)]
        values = {"o": 0, "o/0/x": unit[0]} if number % 2 else {"o": 1, "o/1/y": unit[1], "o/1/z": unit[2]}
        observation = Observation(number, {**values, "w": unit[3]}, (sum(unit) - 0.1 * number,))
        for each in (often, once):
            each.observe(observation)
        often.acquisition(nothing, rng)
    rows = rng.random((20, 5))
    ours, theirs = (each.acquisition(nothing, rng)[0](rows) for each in (often, once))
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize(
    "losses",
    [
        [1.0] * 12,
        [0.0] * 12,
        [1.0] * 11 + [1e300],
        [-1e300] + [1.0] * 11,
        [1e300 - 1e284 * n for n in range(12)],
        [(-1.0) ** n * 1.7e308 for n in range(12)],
        [1.0 + 2e-16 * n for n in range(12)],
        [5e-324 * n for n in range(12)],
        [1e8 + n for n in range(12)],
    ],
)
@pytest.mark.parametrize("equal", [True, False])
def test_strange_losses_do_no_harm(losses: list[float], equal: bool) -> None:
    model = beliefs(("size <= 10",))
    for number, loss in enumerate(losses):
        x = 0.5 if equal else number / 12
        model.observe(observed(x, (loss,), excess=(loss if number % 2 else -loss,)))
    assert np.isfinite(value(model, 0.0, 0.5, 0.75, pending=(0.5, 0.5, 0.1))).all()

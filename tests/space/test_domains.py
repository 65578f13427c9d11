"""Domains alone: bounds, distributions, steps, bad arguments."""

from __future__ import annotations

import math
import pickle
import random
import statistics

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import SpaceError, SpecError

ALL = {
    "uniform": tune.uniform(-1, 2),
    "quniform": tune.quniform(-0.5, 0.5, 0.1),
    "loguniform": tune.loguniform(1e-4, 10),
    "qloguniform": tune.qloguniform(0.05, 5, 0.05),
    "randn": tune.randn(3, 2),
    "qrandn": tune.qrandn(3, 2, 0.5),
    "randint": tune.randint(-3, 4),
    "qrandint": tune.qrandint(8, 64, 8),
    "lograndint": tune.lograndint(1, 1000),
    "qlograndint": tune.qlograndint(10, 1000, 10),
    "choice": tune.choice(["a", 1, None]),
}


@pytest.mark.parametrize("name", ALL)
def test_each_draw_is_a_member_and_a_plain_python_value(name: str) -> None:
    domain = ALL[name]
    rng = random.Random(0)
    for _ in range(500):
        value = domain.draw(rng)
        assert domain.is_valid(value)
        assert type(value) in (int, float, str, type(None))
        assert domain.cast(value) == value
        assert type(domain.cast(value)) is type(value)


@pytest.mark.parametrize("name", ALL)
def test_domains_are_values(name: str) -> None:
    domain = ALL[name]
    again = pickle.loads(pickle.dumps(domain))
    assert repr(again) == repr(domain)
    assert [again.draw(random.Random(3)) for _ in range(3)] == [domain.draw(random.Random(3)) for _ in range(3)]
    assert repr(domain).startswith(f"{name}(")


def test_integers_reach_both_ends_and_no_further() -> None:
    rng = random.Random(0)
    assert {tune.randint(1, 4).draw(rng) for _ in range(200)} == {1, 2, 3}
    assert {tune.qrandint(2, 8, 2).draw(rng) for _ in range(200)} == {2, 4, 6, 8}
    assert {tune.qrandint(2, 4).draw(rng) for _ in range(200)} == {2, 3, 4}
    assert {tune.lograndint(1, 4).draw(rng) for _ in range(200)} == {1, 2, 3}
    assert {tune.qlograndint(5, 15, 5).draw(rng) for _ in range(200)} == {5, 10, 15}
    assert tune.randint(7, 8).draw(rng) == 7


def test_steps_look_as_people_write_them() -> None:
    rng = random.Random(0)
    seen = {tune.quniform(0, 1, 0.1).draw(rng) for _ in range(500)}
    assert seen == {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0}
    assert {tune.quniform(0, 3e6, 1e6).draw(rng) for _ in range(200)} == {0.0, 1e6, 2e6, 3e6}


def test_logarithms_are_evenly_spread() -> None:
    rng = random.Random(1)
    exponents = [math.log10(tune.loguniform(1e-4, 1).draw(rng)) for _ in range(4000)]
    assert statistics.fmean(exponents) == pytest.approx(-2, abs=0.06)
    below = sum(tune.lograndint(1, 100).draw(rng) < 10 for _ in range(4000)) / 4000
    assert below == pytest.approx(0.5, abs=0.03)


def test_normal_has_the_moments_asked_for() -> None:
    rng = random.Random(2)
    drawn = [tune.randn(5, 2).draw(rng) for _ in range(4000)]
    assert statistics.fmean(drawn) == pytest.approx(5, abs=0.12)
    assert statistics.stdev(drawn) == pytest.approx(2, abs=0.12)


def test_huge_ranges_are_exact() -> None:
    domain = tune.randint(0, 10**30)
    assert len({domain.draw(random.Random(n)) % 1000 for n in range(50)}) > 30


def test_sample_takes_every_kind_of_random_state() -> None:
    domain = tune.uniform(0, 1)
    assert domain.sample(random_state=3) == domain.sample(random_state=3)
    assert domain.sample(random_state=np.random.RandomState(3)) == domain.sample(random_state=np.random.RandomState(3))
    assert domain.sample(random_state=np.random.default_rng(3)) == domain.sample(random_state=np.random.default_rng(3))
    assert domain.sample(random_state=random.Random(3)) == domain.sample(random_state=random.Random(3))
    assert len(domain.sample(size=4)) == 4
    state = random.getstate()
    random.seed(11)
    first = domain.sample()
    random.seed(11)
    assert domain.sample() == first
    random.setstate(state)


def test_sample_from_can_be_sampled() -> None:
    assert tune.sample_from(lambda config: config["x"] + 1).sample({"x": 2}) == 3
    assert tune.sample_from(lambda: 5).sample(size=2) == [5, 5]


def test_bounds_may_be_numpy_scalars() -> None:
    assert tune.uniform(np.float32(0), np.int64(2)) == tune.uniform(0, 2)
    assert type(tune.randint(np.int64(0), 5.0).upper) is int


def test_membership() -> None:
    assert tune.uniform(0, 1).is_valid(1)
    assert not tune.uniform(0, 1).is_valid(1.1)
    assert not tune.uniform(0, 1).is_valid("0.5")
    assert not tune.uniform(0, 1).is_valid(math.nan)
    assert not tune.randint(0, 3).is_valid(3)
    assert not tune.randint(0, 3).is_valid(1.5)
    assert tune.randint(0, 3).is_valid(np.int64(2))
    assert tune.quniform(0, 1, 0.1).is_valid(0.1 * 3)
    assert not tune.quniform(0, 1, 0.1).is_valid(0.25)
    assert not tune.randn().is_valid(math.inf)
    assert tune.choice([np.array([1, 2]), "a"]).is_valid(np.array([1, 2]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tune.loguniform(0, 1), r"loguniform\(0.0, 1.0\): lower must be > 0.*got 0.0"),
        (lambda: tune.loguniform(-1, 1), "lower must be > 0"),
        (lambda: tune.lograndint(0, 5), "lower must be >= 1"),
        (lambda: tune.uniform(1, 1), r"uniform\(1.0, 1.0\): lower must be less than upper"),
        (lambda: tune.uniform(2, 1), "lower must be less than upper"),
        (lambda: tune.uniform(math.nan, 1), "uniform: lower must be a finite number, got nan"),
        (lambda: tune.uniform(0, math.inf), "upper must be a finite number, got inf"),
        (lambda: tune.uniform("a", 1), "uniform: lower must be a number, got str 'a'"),
        (lambda: tune.uniform(None, 1), "got NoneType None"),
        (lambda: tune.uniform(True, 3), "got bool True"),
        (lambda: tune.randint(0.5, 3), "randint: lower must be a whole number, got 0.5"),
        (lambda: tune.quniform(0, 1, 0.3), r"quniform\(0.0, 1.0, 0.3\): upper must be a multiple of q=0.3, got 1.0"),
        (lambda: tune.quniform(0.1, 1, 0.25), "lower must be a multiple"),
        (lambda: tune.quniform(0, 1, 0), "the step q must be > 0"),
        (lambda: tune.qrandint(1, 9, 2), "lower must be a multiple of q=2, got 1"),
        (lambda: tune.randn(0, 0), r"randn\(0.0, 0.0\): sd must be > 0"),
        (lambda: tune.qrandn(0, 1, -1), "q must be > 0"),
        (lambda: tune.choice([]), "choice: the list of options is empty"),
        (lambda: tune.choice("abc"), "choice: expected a list of options, got str 'abc'"),
        (lambda: tune.choice({1, 2}), "A set has no order"),
        (lambda: tune.choice(3), "got int 3"),
        (lambda: tune.grid_search([]), "grid_search: the list of options is empty"),
        (lambda: tune.grid_search("abc"), "grid_search: expected a list"),
        (lambda: tune.sample_from(3), "sample_from: expected a function, got int 3"),
        (lambda: tune.sample_from(lambda a, b: a), "this one needs a, b"),
        (lambda: tune.require("x > y"), "require: expected a function of the config, got str"),
    ],
)
def test_bad_arguments_are_refused_at_once(make, words: str) -> None:
    with pytest.raises(SpaceError, match=words) as caught:
        make()
    assert isinstance(caught.value, SpecError | ValueError)


def test_options_may_come_from_any_ordered_collection() -> None:
    assert tune.choice(range(3)).categories == (0, 1, 2)
    assert tune.choice(np.arange(3)).is_valid(2)
    assert tune.choice({"a": 1, "b": 2}.keys()).categories == ("a", "b")
    assert tune.grid_search(np.array([1, 2])) == {"grid_search": [1, 2]}
    assert tune.grid_search([1, 2]) == {"grid_search": [1, 2]}


@pytest.mark.parametrize("func", [lambda: 1, lambda config: 1, lambda config, i=3: 1, lambda i=3: i, lambda *args: 1, max, dict])
def test_sample_from_takes_functions_of_nothing_or_of_the_config(func) -> None:
    tune.sample_from(func)


def test_a_default_that_captures_a_loop_variable_is_not_the_config() -> None:
    assert tune.sample_from(lambda i=3: i).sample({"x": 1}) == 3

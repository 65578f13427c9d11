"""The unit cube: every column uniform, every value found again."""

from __future__ import annotations

import random

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import SpaceError
from tunesmith.space import Space
from tunesmith.space.encode import Encoder
from tunesmith.space.unit import from_unit, to_unit

DOMAINS = [
    tune.uniform(-1, 2),
    tune.quniform(-0.5, 0.5, 0.1),
    tune.loguniform(1e-4, 10),
    tune.qloguniform(0.05, 5, 0.05),
    tune.randn(3, 2),
    tune.qrandn(3, 2, 0.5),
    tune.randint(-3, 4),
    tune.qrandint(8, 64, 8),
    tune.lograndint(1, 1000),
    tune.qlograndint(10, 1000, 10),
    tune.choice(["a", "b", "c"]),
]


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_a_value_is_found_again(domain) -> None:
    rng = random.Random(0)
    for _ in range(200):
        value = domain.draw(rng)
        unit = to_unit(domain, value)
        assert 0 <= unit <= 1
        assert from_unit(domain, unit) == (value if isinstance(value, str) else pytest.approx(value, rel=1e-9, abs=1e-9))


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_every_point_of_the_interval_is_a_member(domain) -> None:
    for unit in [-0.1, 0, 1e-12, *np.linspace(0, 1, 101), 1 - 1e-12, 1, 1.1]:
        assert domain.is_valid(from_unit(domain, unit))


def test_columns_are_uniform_under_the_spaces_own_distribution() -> None:
    rng = random.Random(1)
    for domain in (tune.uniform(5, 6), tune.loguniform(1e-6, 1), tune.randn(3, 2), tune.randint(0, 50)):
        units = sorted(to_unit(domain, domain.draw(rng)) for _ in range(2000))
        assert max(abs(unit - (i + 0.5) / 2000) for i, unit in enumerate(units)) < 0.05


CONFIG = {
    "opt": tune.choice([{"lr": tune.uniform(0, 1)}, {"lr": tune.loguniform(1e-6, 1), "b": tune.choice([True, 1])}, "none"]),
    "n": tune.randint(0, 4),
    "g": tune.grid_search([0.1, 0.2]),
    "twice": tune.sample_from(lambda c: c["n"] * 2),
}


@pytest.mark.parametrize("one_hot", [True, False])
def test_conditional_spaces_go_there_and_back(one_hot: bool) -> None:
    space = Space.parse(CONFIG)
    encoder = Encoder(space, one_hot=one_hot)
    assert encoder.dim == (3 + 1 + 2 + 2 + 1 + 1 if one_hot else 6)
    for seed in range(40):
        values = space.draw(random.Random(seed))
        row = encoder.encode(values)
        for name in encoder.names:
            assert np.isnan(row[encoder.columns[name]]).all() == (name not in values)
        again = space.complete(encoder.decode(row), random.Random(0))
        assert again == pytest.approx(values)
        assert {k: type(v) for k, v in again.items()} == {k: type(v) for k, v in values.items()}


def test_rows_are_stacked() -> None:
    space = Space.parse(CONFIG)
    encoder = Encoder(space)
    assert encoder.encode_all([space.draw(random.Random(n)) for n in range(3)]).shape == (3, encoder.dim)
    assert encoder.encode_all([]).shape == (0, encoder.dim)


def test_bad_input_is_named() -> None:
    encoder = Encoder(Space.parse({"c": tune.choice(["a", "b"]), "o": tune.choice([[1], [2]])}))
    with pytest.raises(SpaceError, match="'z' is none of the options"):
        encoder.encode({"c": "z"})
    with pytest.raises(SpaceError, match="o: 5 stands for none of its 2 options"):
        encoder.encode({"o": 5})
    with pytest.raises(SpaceError, match=r"a row of 4 numbers, got an array of shape \(1,\)"):
        encoder.decode([0.5])
    with pytest.raises(SpaceError, match="has no encoding"):
        to_unit(tune.sample_from(lambda: 1), 1)

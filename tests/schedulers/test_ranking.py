"""Rankings by one number, held against sorted lists and numpy; objectives; candidates."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.schedulers.pareto import ParetoRanking
from tunesmith.schedulers.ranking import Objective, ScalarRanking, ordinal


def story(ranking: Any, rng: random.Random, steps: int) -> dict[int, float]:
    """Scores come and go, some of them equal; what the ranking must hold then."""
    known: dict[int, float] = {}
    for _ in range(steps):
        if known and rng.random() < 0.3:
            trial = rng.choice(sorted(known))
            del known[trial]
            ranking.remove(trial)
        elif (trial := rng.randrange(100)) not in known:
            known[trial] = rng.choice((float(rng.randrange(5)), rng.gauss(0, 5), -math.inf))
            ranking.add(trial, known[trial])
    return known


@given(st.integers(0, 2**32), st.integers(1, 80), st.integers(1, 4), st.integers(0, 40))
def test_it_is_the_sorted_list(seed: int, steps: int, block: int, k: int) -> None:
    ranking = ScalarRanking(block)
    known = story(ranking, random.Random(seed), steps)
    order = sorted(known, key=lambda trial: (-known[trial], trial))
    assert len(ranking) == len(order)
    assert ranking.best(k) == order[:k]
    assert [ranking.at(place) for place in range(len(order))] == [known[trial] for trial in order]
    for place, trial in enumerate(order):
        assert ranking.place(trial) == place
        assert ranking.score(trial) == known[trial]
        assert ranking.within(trial, k) == (place < k)
        assert ranking.within(trial, k, ties=True) == (sum(score > known[trial] for score in known.values()) < k)
        assert ranking.standing(trial) == f"{ordinal(place + 1)} of {len(order)}"
    assert [trial in ranking for trial in range(100)] == [trial in known for trial in range(100)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_is_numpys_percentile(values: list[float], share: float) -> None:
    ranking = ScalarRanking(3)
    for trial, value in enumerate(values):
        ranking.add(trial, value)
    assert ranking.quantile(share) == pytest.approx(np.percentile(values, 100 * share), rel=1e-9, abs=1e-4)
    assert min(values) <= ranking.quantile(share) <= max(values)


def test_a_quantile_that_falls_on_a_score_is_that_score() -> None:
    """1 - 1/3 of 9 is a little more than 6 for a computer, and whoever equals the score there would be below the cut."""
    assert (1 - 1 / 3) * 9 > 6
    for factor in (2, 3, 5, 6, 7, 9, 10):
        for count in (factor + 1, 3 * factor + 1, 300 * factor + 1):
            ranking = ScalarRanking()
            for trial in range(count):
                ranking.add(trial, math.sqrt(trial))
            assert ranking.quantile(1 - 1 / factor) == math.sqrt((count - 1) // factor * (factor - 1))


@pytest.mark.parametrize(
    ("values", "share", "cut"),
    [([5.0], 0.75, 5.0), ([-math.inf, 1.0], 0.75, 1.0), ([-math.inf, -math.inf, 1.0], 0.25, -math.inf), ([1.0, math.inf], 0.5, math.inf)],
)
def test_quantiles_between_infinities(values: list[float], share: float, cut: float) -> None:
    ranking = ScalarRanking()
    for trial, value in enumerate(values):
        ranking.add(trial, value)
    assert ranking.quantile(share) == cut


def test_of_equal_scores_the_smaller_number_is_first_unless_ties_count() -> None:
    ranking = ScalarRanking(1)
    for trial, score in ((7, 0.5), (3, 0.5), (5, 0.5), (1, 0.1)):
        ranking.add(trial, score)
    assert ranking.best(4) == [3, 5, 7, 1]
    assert [ranking.within(trial, 1) for trial in (3, 5, 7, 1)] == [True, False, False, False]
    assert [ranking.within(trial, 1, ties=True) for trial in (3, 5, 7, 1)] == [True, True, True, False]
    assert not ranking.within(3, 0, ties=True)


def test_there_is_nothing_at_places_beyond() -> None:
    ranking = ScalarRanking()
    ranking.add(3, 1.0)
    for place in (-1, 1):
        with pytest.raises(IndexError):
            ranking.at(place)


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(0, 40), st.booleans())
def test_the_best_candidate_among_the_first(seed: int, steps: int, k: int, several: bool) -> None:
    """Discarded ones, and discarded and added again; some cannot be used, and are candidates all the same."""
    rng = random.Random(seed)
    ranking = ScalarRanking(2)
    known = story(ranking, rng, steps)
    order = ranking.best(99)
    whole = ParetoRanking() if several else ranking
    for trial, score in known.items() if several else ():
        whole.add(trial, (score, 0.0))
    candidates = whole.candidates()
    members: dict[int, None] = {}
    for trial in (rng.choice(order) for _ in range(30 if order else 0)):
        if trial in members:
            del members[trial]
            candidates.discard(trial)
        else:
            members[trial] = None
            candidates.add(trial)
    unusable = set(rng.sample(order, len(order) // 2))
    usable = [trial for trial in order[:k] if trial in members and trial not in unusable]
    for _ in range(2):
        assert candidates.first(k, lambda trial: None if trial in unusable else trial) == (usable[0] if usable else None)
    assert list(candidates) == list(members)
    assert len(candidates) == len(members)
    assert [trial in candidates for trial in range(100)] == [trial in members for trial in range(100)]


def test_a_score_is_turned_so_that_larger_is_better() -> None:
    objective = Objective.of(["loss", "accuracy"], ["min", "max"])
    assert objective.score({"loss": 2, "accuracy": 0.5}) == (-2, 0.5)
    assert objective.score({"loss": math.nan, "accuracy": 0.5}) == (-math.inf, 0.5)
    assert objective.score({"loss": 2.0}) is None
    assert objective.score({"loss": "low", "accuracy": 0.5}) is None
    assert objective.show((-2.0, 0.5)) == "(loss 2, accuracy 0.5)"
    assert objective.show((-math.inf, 0.5)) == "(loss nan or infinite, accuracy 0.5)"
    assert isinstance(objective.ranking(), ParetoRanking)
    single = Objective.of(["loss"], ["min"])
    assert single.score({"loss": 3}) == -3.0
    assert isinstance(single.score({"loss": 3}), float)
    assert single.score({"loss": math.nan}) == -math.inf
    assert isinstance(single.ranking(), ScalarRanking)

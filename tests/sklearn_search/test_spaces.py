"""Parameters as scikit-learn's users write them, as spaces and lists of candidates."""

from __future__ import annotations

import copy
import math
import pickle
import random
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.search.base import Exhausted, Proposal
from tunesmith.sklearn.spaces import Candidates, Option, Space, is_plain
from tunesmith.space import Space as SearchSpace

KNOWN = {"C", "kernel", "gamma", "degree", "class_weight"}


def drawn(space: Space, seed: int = 0) -> dict[str, Any]:
    """The parameters of one random trial."""
    parsed = SearchSpace.parse(space.config)
    return space.params_of(parsed.resolve(parsed.draw(random.Random(seed))))


def test_candidates_are_the_objects_that_were_given_and_are_shown_by_their_texts() -> None:
    svc = SVC()
    candidates = Candidates([{"clf": svc, "C": np.float64(0.5)}, {"candidate": 7}])
    searcher = candidates.searcher()
    first, second, third = (searcher.propose(number, "") for number in range(3))
    assert isinstance(first, Proposal)
    assert first.values == {"candidate": 0, "clf": "SVC()", "C": 0.5}
    assert type(first.values["C"]) is float
    assert candidates.params_of(first.values)["clf"] is svc
    assert isinstance(second, Proposal)
    assert candidates.params_of(second.values) == {"candidate": 7}
    assert isinstance(third, Exhausted)
    assert searcher.total_samples(99) == 2


def test_options_keep_their_identity_in_a_process_and_their_value_in_another() -> None:
    option = Option(SVC(C=3))
    assert copy.deepcopy({"a": [option]})["a"][0] is option
    assert pickle.loads(pickle.dumps(option)).value.C == 3
    assert repr(Option(np.float32(0.5))) == "0.5"
    assert repr(Option(make_pipeline(SVC()))) == "Pipeline(steps=[('svc', SVC())])"
    assert len(repr(Option("x" * 50 + "y" * 50 + " ")) ) <= 110
    assert len(repr(Option(list(range(1000))))) == 80


def test_lists_are_choices_of_their_very_values() -> None:
    values = [0.5, 1, True, None, "auto", math.nan, np.float64(2.0), {0: 1.0}, (1, 2), SVC]
    space = Space({"C": values}, KNOWN)
    found = [drawn(space, seed)["C"] for seed in range(200)]

    def alike(one: Any, other: Any) -> bool:
        return one is other or (type(one) is type(other) and one == other)

    assert all(any(alike(one, value) for one in found) for value in values)
    assert all(any(alike(one, value) for value in values) for one in found)


@pytest.mark.parametrize(
    ("distribution", "domain"),
    [
        (scipy.stats.uniform(1, 4), tune.uniform(1, 5)),
        (scipy.stats.uniform(loc=1, scale=4), tune.uniform(1, 5)),
        (scipy.stats.loguniform(1e-3, 10), tune.loguniform(1e-3, 10)),
        (scipy.stats.reciprocal(1e-3, 10, scale=2), tune.loguniform(2e-3, 20)),
        (scipy.stats.randint(2, 9), tune.randint(2, 9)),
        (scipy.stats.randint(2, 9, loc=1), tune.randint(3, 10)),
        (scipy.stats.norm(1, 0.5), tune.randn(1, 0.5)),
    ],
)
def test_distributions_that_are_domains(distribution: Any, domain: Any) -> None:
    found = Space({"C": distribution}, KNOWN).config["C"]
    assert type(found) is type(domain)
    for name, value in domain.describe().items():
        assert found.describe()[name] == (value if isinstance(value, str) else pytest.approx(value))


@pytest.mark.parametrize(
    ("given", "domain"),
    [
        ((0.1, 10, "log-uniform"), tune.loguniform(0.1, 10)),
        ((-1.0, 2, "uniform"), tune.uniform(-1, 2)),
        ((1, 10, "uniform"), tune.randint(1, 11)),
        ((np.int64(1), 1000, "log-uniform"), tune.lograndint(1, 1001)),
        ((0.1, 10, "other"), tune.choice([0.1, 10, "other"])),
        ([0.1, 10, "uniform"], tune.choice([0.1, 10, "uniform"])),
        (("a", "b", "uniform"), tune.choice(["a", "b", "uniform"])),
    ],
)
def test_ranges_of_scikit_optimize_are_domains(given: Any, domain: Any) -> None:
    assert Space({"C": given}, KNOWN).config["C"].describe() == domain.describe()
    assert is_plain({"C": given}) == (domain.describe()["type"] == "choice")


@pytest.mark.parametrize("distribution", [
    scipy.stats.gamma(2), scipy.stats.loguniform(1e-3, 10, loc=5), scipy.stats.beta(2, 3), scipy.stats.expon(scale=3), scipy.stats.t(3),
    scipy.stats.lognorm(1.0), scipy.stats.poisson(4), scipy.stats.geom(0.3), scipy.stats.truncnorm(-1, 1),
])  # fmt: skip
def test_all_other_distributions_go_by_their_quantiles(distribution: Any) -> None:
    space = Space({"C": distribution}, KNOWN)
    assert list(space.config) == ["C quantile"]
    found = [drawn(space, seed)["C"] for seed in range(400)]
    low, high = distribution.support()
    assert all(low <= value <= high and math.isfinite(value) for value in found)
    assert {type(value) for value in found} == {int if hasattr(distribution.dist, "pmf") else float}
    if not hasattr(distribution.dist, "pmf"):
        assert scipy.stats.kstest(found, distribution.cdf).pvalue > 1e-4
    else:
        assert abs(np.mean(found) - distribution.mean()) < 5 * distribution.std() / 20


@given(st.floats(0, 1), st.floats(0, 1))
def test_quantiles_lie_in_the_support(quantile: float, peak: float) -> None:
    space = Space({"C": scipy.stats.triang(peak, loc=-1, scale=3), "degree": scipy.stats.binom(7, peak)}, KNOWN)
    params = space.params_of({"C quantile": quantile, "degree quantile": quantile})
    assert -1 <= params["C"] <= 2
    assert 0 <= params["degree"] <= 7


def test_a_list_of_dicts_is_a_choice_of_one() -> None:
    space = Space([{"kernel": ["rbf"], "gamma": scipy.stats.gamma(2)}, {"kernel": ["poly"], "gamma": scipy.stats.gamma(50)}], KNOWN)
    found = [drawn(space, seed) for seed in range(50)]
    assert {params["kernel"] for params in found} == {"rbf", "poly"}
    assert all(set(params) == {"kernel", "gamma"} for params in found)
    assert all((params["gamma"] > 20) == (params["kernel"] == "poly") for params in found), "each has its own distribution"


def test_dicts_under_names_that_are_no_parameters_hold_parameters() -> None:
    space = Space(
        {
            "model": tune.choice([{"kernel": "rbf", "gamma": tune.loguniform(1e-3, 1)}, {"kernel": "poly", "degree": tune.randint(2, 4)}]),
            "class_weight": tune.choice([{0: 1.0, 1: 5.0}]),
            "C": tune.uniform(0, 1),
        },
        KNOWN,
    )
    for seed in range(20):
        params = drawn(space, seed)
        assert set(params) == {"kernel", "class_weight", "C", "gamma" if params["kernel"] == "rbf" else "degree"}
        assert params["class_weight"] == {0: 1.0, 1: 5.0}


def test_constraints_and_grids_of_the_runs_own() -> None:
    space = Space({"C": tune.grid_search([1, 2]), "degree": tune.randint(1, 4), "rule": tune.require(lambda config: True)}, KNOWN)
    assert SearchSpace.parse(space.config).grid_size == 2
    assert len(SearchSpace.parse(space.config).constraints) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"C": 1.0}, r"C: expected a list, a distribution \(with rvs\) or a domain .* got 1.0. One fixed value is a list of one: \[1.0\]"),
        ({"C": "text"}, "C: expected a list"),
        ({"C": []}, "C: there is nothing to choose from"),
        ([], "must be a dict of parameters, or a list of such dicts"),
        ([3], "must be a dict of parameters, or a list of such dicts"),
    ],
)
def test_what_is_no_space(given: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Space(given, KNOWN)


def test_what_can_only_be_drawn_from() -> None:
    class Rvs:
        def rvs(self, random_state: Any = None) -> float:
            return 1.0

    assert is_plain({"C": Rvs()})
    with pytest.raises(SpecError, match=r"C: .* can only be drawn from .* search_optimization='random'"):
        Space({"C": Rvs()}, KNOWN)


def test_what_scikit_learn_can_draw_from_itself() -> None:
    assert is_plain({"C": [1], "gamma": scipy.stats.gamma(2)})
    assert is_plain([{"C": [1]}, {"C": np.arange(3)}])
    assert not is_plain({"C": tune.uniform(0, 1)})
    assert not is_plain([{"C": [1]}, {"C": tune.grid_search([1])}])

"""SMACSearch. Its package takes seconds to import, and about one for each model: few tests have one."""

from __future__ import annotations

import math
import random
import sys
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tunesmith.errors import SpecError
from tunesmith.search.base import Proposal, Searcher
from tunesmith.search.smac import SMACSearch
from tunesmith.space import Space, choice, lograndint, loguniform, qloguniform, quniform, randint, randn, require, uniform
from tunesmith.testing.searcher_kit import CONDITIONAL, FLAT, SearcherKit
from tunesmith.testing.searcher_story import SearcherStory

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

XY = {"x": uniform(-1, 1), "y": uniform(-1, 1)}


class TestDesign(SearcherKit):
    """Up to the first model."""

    def make(self) -> SMACSearch:
        return SMACSearch(n_initial=30)


class FewKit(SearcherKit):
    flat: ClassVar[dict[str, dict[str, Any]]] = {name: FLAT[name] for name in ("categories", "steps")}
    conditional: ClassVar[dict[str, dict[str, Any]]] = CONDITIONAL


def test_resumed_with_a_model_it_proposes_what_it_would_have() -> None:
    """As the kit's, with a model from the sixth trial of seven on, and at two moments: each model takes a second."""
    space = Space.parse({"x": uniform(0, 1), "n": randint(0, 5), "c": choice(["a", "b"])})

    def make() -> SMACSearch:
        return SMACSearch(n_initial=5)

    whole = SearcherStory(make, space, "loss", "min")
    moments = whole.play()
    for moment in (moments // 2, moments - 2):
        story = SearcherStory(make, space, "loss", "min")
        story.play(moment)
        story.resume()
        story.play()
        assert story.proposed() == whole.proposed(), f"resumed after moment {moment}, it proposed something else"


def bound(config: Mapping[str, Any], seed: int = 0, **options: Any) -> SMACSearch:
    searcher = SMACSearch(**{"n_initial": 4, **options})
    searcher.bind(Space.parse(config), "loss", "min", seed)
    return searcher


def step(searcher: Searcher, trial: int, loss: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """One trial whose loss is ``loss(values)``, or fails as that says."""
    answer = searcher.propose(trial, str(trial))
    assert isinstance(answer, Proposal)
    found = loss(answer.values)
    if isinstance(found, str):
        searcher.on_trial_failed(str(trial), found)
        searcher.on_trial_complete(str(trial), None, True)
    else:
        searcher.on_trial_complete(str(trial), {"loss": found, "training_iteration": 1})
    return answer.values


def hill(values: Mapping[str, float]) -> float:
    return (values["x"] - 0.3) ** 2 + (values["y"] + 0.5) ** 2


@pytest.mark.parametrize("facade", ["hyperparameter_optimization", "blackbox"])
def test_a_model_goes_on_after_the_design_exactly_also_from_a_state(facade: str) -> None:
    searcher, again = bound(XY, facade=facade), bound(XY, facade=facade)
    for trial in range(5):
        step(searcher, trial, hill)
    searcher.propose(5, "5")
    again.set_state(searcher.get_state())
    assert again.propose(6, "6") == searcher.propose(6, "6")


def test_parameters_exist_only_with_their_option() -> None:
    config = {"opt": choice([{"lr": uniform(0, 1), "deep": choice([{"n": randint(1, 9)}, None])}, {"eps": loguniform(1e-6, 1)}])}
    searcher, space = bound(config), Space.parse(config)
    for trial in range(6):
        values = step(searcher, trial, lambda values: values.get("opt/0/lr", 2.0))
        assert space.values_from(space.resolve(values)) == values
        searcher.enter(99, values, None)  # the library takes it as a configuration of its space
        searcher._pending.pop(99)


def test_the_design_covers_the_space_before_any_result() -> None:
    searcher = bound({"x": uniform(0, 1)}, n_initial=8)
    places = sorted(int(searcher.propose(trial, str(trial)).values["x"] * 8) for trial in range(8))
    assert len(set(places)) >= 7


@pytest.mark.parametrize(
    ("budget", "facade", "count"),
    [(None, "blackbox", 16), (None, "hyperparameter_optimization", 20), (40, "blackbox", 10), (2, "blackbox", 1)],
)
def test_the_length_of_the_design_depends_on_space_and_budget(budget: int | None, facade: str, count: int) -> None:
    searcher = SMACSearch(facade=facade)
    searcher.bind(Space.parse(XY), "loss", "min", 0, budget=budget)
    assert searcher._count == count


def test_domains_of_all_kinds_come_back_as_they_are() -> None:
    config = {
        "q": quniform(0, 1, 0.1), "ql": qloguniform(0.01, 10, 0.01), "n": lograndint(1, 1000), "g": randn(5, 2),
        "sizes": choice([8, 16, 64]), "act": choice(["a", None, True]), "only": choice([{"deep": uniform(0, 1)}]),
    }  # fmt: skip
    searcher, space = bound(config, n_initial=20), Space.parse(config)
    for trial in range(20):
        values = searcher.propose(trial, str(trial)).values
        assert space.values_from(space.resolve(values)) == values
    assert searcher._names["sizes"] in searcher._space
    assert type(searcher._space[searcher._names["sizes"]]).__name__ == "OrdinalHyperparameter"
    assert type(searcher._space[searcher._names["act"]]).__name__ == "CategoricalHyperparameter"


@pytest.mark.parametrize("domain", [loguniform(1e-12, 1.25e-12), uniform(3e-14, 4e-14), uniform(-1e12, 1e12)], ids=str)
def test_numbers_may_be_as_small_or_large_as_they_like(domain: Any) -> None:
    """The library rounds bounds to 13 digits after the point, and refuses what is beyond."""
    low, high = domain.lower, domain.upper
    searcher = bound({"x": domain}, points_to_evaluate=[{"x": low}, {"x": high}])
    found = [step(searcher, trial, lambda values: values["x"])["x"] for trial in range(6)]
    assert found[:2] == [low, high]
    assert all(low <= x <= high for x in found)
    assert len(set(found)) == 6


def test_failures_push_the_model_away_and_lost_workers_do_not() -> None:
    def told(outcome: str) -> tuple[int, set[float]]:
        searcher = bound({"x": uniform(0, 1)}, n_initial=8)
        for trial in range(8):
            step(searcher, trial, lambda values: outcome if values["x"] > 0.5 else values["x"])
        costs = searcher._told_costs()
        return len(costs), {costs[each][0] for each in searcher._bad}

    number, costs = told("user_error")
    assert number == 8
    assert len(costs) == 1
    assert costs.pop() < 0.5
    assert told("worker_lost") == (4, set())


def test_results_that_are_no_numbers_count_as_the_worst() -> None:
    searcher = bound({"x": uniform(0, 1)})
    for trial, loss in enumerate([1.0, math.nan, math.inf, 3.0]):
        step(searcher, trial, lambda _, loss=loss: loss)
    assert sorted(searcher._told_costs().values()) == [(1.0,), (3.0,), (3.0,), (3.0,)]
    step(searcher, 4, lambda _: 0.0)


def test_what_breaks_a_constraint_is_not_proposed() -> None:
    searcher = bound(XY | {"half": require(lambda config: config["x"] <= 0)})
    for trial in range(5):
        assert step(searcher, trial, hill)["x"] <= 0


def test_what_was_refused_counts_as_the_worst_until_something_is_tried() -> None:
    searcher = bound(XY, n_initial=3)
    for trial in range(3):
        step(searcher, trial, hill)
    refused = searcher._configuration({"x": 0.0, "y": 0.0})
    searcher.refuse(refused)
    costs = searcher._told_costs()
    assert costs[refused] == max(costs.values())
    searcher.enter(3, {"x": 0.5, "y": 0.0}, None)
    assert refused not in searcher._told_costs()


def test_a_space_in_which_all_was_tried_goes_on() -> None:
    searcher = bound({"c": choice(["a", "b"])}, n_initial=2)
    assert {step(searcher, trial, lambda values: float(values["c"] == "a"))["c"] for trial in range(4)} == {"a", "b"}


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    searcher = bound(XY, n_initial=2)
    for trial in range(3):
        step(searcher, trial, hill)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_small_trees_predict_what_the_library_s_do() -> None:
    searcher = bound(XY)
    with tempfile.TemporaryDirectory() as directory:
        scenario = searcher._scenario(directory, 1)
        ours, theirs = searcher._model(scenario, 30), searcher._class.get_model(scenario)
    assert ours._rf_opts["max_leaf_nodes"] == 30 < theirs._rf_opts["max_leaf_nodes"]
    rng = np.random.default_rng(0)
    tried, losses, asked = rng.random((30, 2)), rng.random((30, 1)), rng.random((200, 2))
    for model in (ours, theirs):
        model.train(tried, losses)
    for one, other in zip(ours.predict_marginalized(asked), theirs.predict_marginalized(asked)):
        np.testing.assert_array_equal(one, other)


def test_several_metrics_have_one_model() -> None:
    searcher = SMACSearch(["loss", "size"], ["min", "max"], n_initial=3)
    searcher.bind(Space.parse(XY), None, None, 0)
    for trial in range(4):
        answer = searcher.propose(trial, str(trial))
        searcher.on_trial_complete(str(trial), {"loss": hill(answer.values), "size": answer.values["x"]})
    assert len(searcher._told_costs()) == 4


def test_start_points_come_first_and_known_ones_are_not_run() -> None:
    searcher = bound(XY, points_to_evaluate=[{"x": 0.25, "y": 0.5}, {"x": 0.5}], evaluated_rewards=[0.1])
    first = searcher.propose(0, "0")
    assert first.values["x"] == 0.5
    assert list(searcher._told_costs().values()) == [(0.1,)]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"facade": "hpo"}, "'hyperparameter_optimization', 'blackbox'"), ({"n_initial": 0}, "n_initial"), ({"seed": 1.5}, "seed")],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        SMACSearch(**options)


def test_the_seed_decides() -> None:
    def first(**options: Any) -> Any:
        return bound(XY, **options).propose(0, "0").values

    assert first(seed=7) == first(seed=7) != first(seed=8)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smac", None)
    with pytest.raises(SpecError, match=r'pip install "tunesmith\[smac\]"'):
        SMACSearch()


def test_it_beats_random_search() -> None:
    """Many choices and a number, 24 trials: 5 seeds have, on average, less than 30 of 100 random searches below them."""
    space = Space.parse({**{f"c{number}": choice(["a", "b", "c", "d"]) for number in range(6)}, "lr": loguniform(1e-5, 1)})

    def loss(values: Mapping[str, Any]) -> float:
        wrong = sum(abs("abcd".index(values[f"c{number}"]) - number % 4) for number in range(6))
        return wrong + abs(math.log10(values["lr"]) + 2)

    found = []
    for seed in range(5):
        searcher = SMACSearch()
        searcher.bind(space, "loss", "min", seed, budget=24)
        found.append(min(loss(step(searcher, trial, loss)) for trial in range(24)))
    rng = random.Random(1)
    at_random = sorted(min(loss(space.draw(rng)) for _ in range(24)) for _ in range(400))
    ranks = [bisect_left(at_random, best) / 400 for best in found]
    assert sum(ranks) / 5 < 0.3, ranks  # six times in a hundred by chance


@pytest.mark.parametrize(
    "loss",
    [lambda x: 1e9 + x * 1e-6, lambda x: 1e15 + round(3 * x), lambda x: 1e308 if x > 0.5 else -1e308, lambda x: 1e9],
    ids=["far from 0", "with ties", "beyond squares", "all alike"],
)
def test_large_losses_do_not_end_the_search(loss: Callable[[float], float]) -> None:
    searcher = bound({"x": uniform(0, 1), "n": randint(0, 9)})
    for trial in range(8):
        step(searcher, trial, lambda values: loss(values["x"]))
    assert isinstance(searcher.propose(8, "8"), Proposal)


def test_only_large_losses_are_scaled() -> None:
    searcher = bound({"x": uniform(0, 1)})
    for trial, loss in enumerate([-3.0, 1e5, 0.5]):
        step(searcher, trial, lambda _, loss=loss: loss)  # type: ignore[misc]
    assert list(searcher._told_costs().values()) == [(-3.0,), (1e5,), (0.5,)]
    step(searcher, 3, lambda _: 2e5 - 3.0)
    assert list(searcher._told_costs().values())[0:4:3] == [(0.0,), (1.0,)]
    step(searcher, 4, lambda _: "user_error")
    assert list(searcher._told_costs().values())[4] == (1.0,)

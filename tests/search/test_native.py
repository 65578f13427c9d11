"""What native searchers share, with a sampler that is simple enough to predict."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from tunesmith.errors import SpaceError, SpecError
from tunesmith.search.base import Proposal
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Bound, Observation, Problem
from tunesmith.search.sampler import Asked, Sampler
from tunesmith.space import Space, choice, randint, require, sample_from, uniform
from tunesmith.testing import SearcherKit


class NearBest(Sampler):
    """Keeps about half of the best configuration, and hears of reports."""

    follows_reports = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.observed: list[Observation] = []
        self.reports: list[tuple[int, float, tuple[float, ...]]] = []
        self.asked: list[Asked] = []

    def observe(self, observation: Observation) -> None:
        self.observed.append(observation)

    def report(self, trial: int, values: Mapping[str, Any], step: float, losses: tuple[float, ...]) -> None:
        self.reports.append((trial, step, losses))

    def propose(self, asked: Asked) -> Proposal | None:
        self.asked.append(asked)
        known = [observation for observation in self.observed if observation.losses and observation.feasible]
        if not known:
            return None
        best = min(known, key=lambda observation: observation.loss)
        return Proposal({name: value for name, value in best.values.items() if asked.rng.random() < 0.5}, "near the best")


class NearBestSearch(NativeSearcher):
    def make_sampler(self, problem: Problem) -> NearBest:
        return NearBest(problem)


class Fixed(Sampler):
    def propose(self, asked: Asked) -> Proposal | None:
        return Proposal({"x": 1, "y": 1}, "fixed")


class FixedSearch(NativeSearcher):
    def make_sampler(self, problem: Problem) -> Fixed:
        return Fixed(problem)


class TestNearBest(SearcherKit):
    def make(self) -> NativeSearcher:
        return NearBestSearch()


XY = {"x": randint(0, 4), "y": randint(0, 4)}


def bound(cls: type[NativeSearcher] = NearBestSearch, config: Mapping[str, Any] = XY, mode: str = "min", **options: Any) -> Any:
    searcher = cls("loss", mode, **options)
    searcher.bind(Space.parse(config), seed=5)
    return searcher


def values(searcher: NativeSearcher, trial: int) -> dict[str, Any]:
    answer = searcher.propose(trial, str(trial))
    assert isinstance(answer, Proposal)
    return answer.values


def end(searcher: NativeSearcher, trial: int, loss: float | None, **more: Any) -> None:
    searcher.on_trial_complete(str(trial), None if loss is None else {"loss": loss, **more})


# ---- start points, and what is known


def test_start_points_come_first_in_order_and_are_completed_at_random() -> None:
    searcher = bound(points_to_evaluate=[{"x": 3, "y": 2}, {"x": 1}, {}])
    assert values(searcher, 0) == {"x": 3, "y": 2}
    assert values(searcher, 1)["x"] == 1
    assert values(searcher, 2).keys() == {"x", "y"}
    assert not searcher.sampler.asked
    values(searcher, 3)
    assert searcher.sampler.asked


def test_start_points_that_an_earlier_session_tried_are_not_tried_again() -> None:
    searcher = bound(points_to_evaluate=[{"x": 3, "y": 2}, {"x": 1, "y": 1}])
    searcher.on_replayed(0, "0", {"x": 3, "y": 2})
    assert values(searcher, 1) == {"x": 1, "y": 1}


def test_start_points_tried_in_an_earlier_version_of_the_space_are_not_tried_again() -> None:
    searcher = bound(points_to_evaluate=[{"x": 3, "y": 2}, {"x": 1, "y": 1}])
    searcher.begin_version(4, [{"x": 3, "y": 2}])
    assert values(searcher, 4) == {"x": 1, "y": 1}


def test_start_points_outside_of_the_space_are_named() -> None:
    with pytest.raises(SpaceError, match=r"points_to_evaluate\[1\].*x"):
        bound(points_to_evaluate=[{"x": 1}, {"x": 99}])


def test_points_with_rewards_are_told_and_not_run() -> None:
    searcher = bound(points_to_evaluate=[{"x": 0, "y": 0}, {"x": 1, "y": 1}], evaluated_rewards=[0.5], mode="max")
    assert [(one.trial, one.values, one.losses) for one in searcher.sampler.observed] == [(-1, {"x": 0, "y": 0}, (-0.5,))]
    assert values(searcher, 0) == {"x": 1, "y": 1}


def test_evaluated_points_are_told_before_and_after_there_is_a_space() -> None:
    searcher = NearBestSearch("loss", "min")
    searcher.add_evaluated_point({"x": 2, "y": 3}, 0.1)
    searcher.bind(Space.parse(XY))
    searcher.add_evaluated_point({"x": 2, "y": 2}, 0.2, pruned=True, intermediate_values=[0.4, 0.2])
    searcher.add_evaluated_point({"x": 1, "y": 2}, 0.0, error=True)
    searcher.add_evaluated_point({"x": 0, "y": 2}, math.nan)
    observed = [(one.trial, one.losses, one.outcome, one.step) for one in searcher.sampler.observed]
    assert observed == [(-1, (0.1,), "finished", 0), (-2, (0.2,), "stopped", 2), (-3, None, "failed", 0), (-4, None, "finished", 0)]
    assert {**values(searcher, 0)} not in ({"x": 2, "y": 3}, {"x": 2, "y": 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points_to_evaluate": {"x": 1}}, "list of dicts"),
        ({"points_to_evaluate": [1]}, "list of dicts"),
        ({"evaluated_rewards": [1.0]}, "1 evaluated_rewards were given for 0"),
        ({"outcome_constraints": "size <= 3"}, r"put 'size <= 3' into \[ \]"),
        ({"outcome_constraints": ["size < 3"]}, "latency <= 20"),
        ({"outcome_constraints": ["size <= big"]}, "latency <= 20"),
        ({"max_concurrent": -1}, "max_concurrent must be a whole number >= 0"),
        ({"seed": 1.5}, "seed must be a whole number"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        NearBestSearch(**options)


def test_two_metrics_need_two_rewards() -> None:
    with pytest.raises(SpecError, match="2 values were given for an evaluated point"):
        bound(points_to_evaluate=[{"x": 0, "y": 0}], evaluated_rewards=[(1, 2)])


@pytest.mark.parametrize("reward", ["a", "0.5", [[1.0]], object()])
def test_rewards_must_be_numbers(reward: Any) -> None:
    with pytest.raises(SpecError, match="NearBestSearch: an evaluated point must have a number as loss, got"):
        bound(points_to_evaluate=[{"x": 0, "y": 0}], evaluated_rewards=[reward])


def test_rewards_may_be_numbers_of_any_library_or_say_that_there_is_none() -> None:
    points = [{"x": 0, "y": number} for number in range(4)]
    searcher = bound(points_to_evaluate=points, evaluated_rewards=[np.float32(0.5), Decimal(2), None, math.nan])
    assert [one.losses for one in searcher.sampler.observed] == [(0.5,), (2.0,), None, None]


def test_what_was_evaluated_has_no_gaps_that_chance_could_fill() -> None:
    with pytest.raises(SpaceError, match=r"\['y'\]: a point that was evaluated needs a value of it"):
        bound(points_to_evaluate=[{"x": 0}], evaluated_rewards=[0.5])
    searcher = bound(config={**XY, "sum": sample_from(lambda config: config["x"] + config["y"])})
    searcher.add_evaluated_point({"x": 1, "y": 2}, 0.5)
    assert searcher.problem.space.resolve(searcher.sampler.observed[0].values)["sum"] == 3


def test_without_a_metric_there_is_nothing_to_optimise() -> None:
    with pytest.raises(SpecError, match="needs a metric"):
        NearBestSearch().bind(Space.parse(XY))


# ---- duplicates and constraints


def test_what_was_tried_is_not_tried_again_while_there_is_something_else() -> None:
    searcher = bound(FixedSearch)
    seen = [tuple(values(searcher, trial).values()) for trial in range(16)]
    assert seen[0] == (1, 1)
    assert len(set(seen)) == 16
    assert values(searcher, 16).keys() == {"x", "y"}, "all were tried: one is tried again"


def test_duplicates_can_be_wanted() -> None:
    searcher = bound(FixedSearch, duplicates=True)
    assert [values(searcher, trial) for trial in range(3)] == [{"x": 1, "y": 1}] * 3


def test_a_sampler_that_breaks_constraints_is_replaced_by_draws_that_keep_them() -> None:
    searcher = bound(FixedSearch, {**XY, "apart": require(lambda config: config["x"] != config["y"])})
    for trial in range(6):
        found = values(searcher, trial)
        assert found["x"] != found["y"]


def test_samplers_can_ask_what_would_be_refused() -> None:
    searcher = bound(config={**XY, "small": require(lambda config: config["x"] < 3)})
    tried = values(searcher, 0)
    asked = searcher.sampler.asked[0]
    assert asked.refused({"x": 3, "y": 0})
    assert asked.refused(tried)
    assert not asked.refused({"x": (tried["x"] + 1) % 3, "y": tried["y"]})


def test_computed_entries_are_computed() -> None:
    searcher = bound(FixedSearch, {**XY, "sum": sample_from(lambda config: config["x"] + config["y"])})
    answer = searcher.propose(0, "0")
    assert searcher.problem.space.resolve(answer.values) == {"x": 1, "y": 1, "sum": 2}


# ---- learning


def test_the_last_result_counts_and_maximising_turns_signs() -> None:
    searcher = bound(mode="max")
    values(searcher, 0)
    searcher.on_trial_result("0", {"loss": 3.0, "training_iteration": 4})
    end(searcher, 0, 2.5, training_iteration=4)
    (seen,) = searcher.sampler.observed
    assert (seen.losses, seen.outcome, seen.step, seen.feasible) == ((-2.5,), "finished", 4.0, True)
    assert searcher.sampler.reports == [(0, 4.0, (-3.0,))]


@pytest.mark.parametrize("outcome", ["infeasible", "nan", "oom_gpu", "timeout", "user_error"])
def test_failures_that_may_be_the_configurations_own_are_infeasible(outcome: str) -> None:
    searcher = bound()
    values(searcher, 0)
    searcher.on_trial_failed("0", outcome)
    searcher.on_trial_complete("0", {"loss": 0.1}, error=True)
    (seen,) = searcher.sampler.observed
    assert (seen.losses, seen.outcome, seen.feasible) == (None, outcome, False)


def test_a_lost_worker_says_nothing_about_the_configuration() -> None:
    searcher = bound()
    values(searcher, 0)
    searcher.on_trial_failed("0", "worker_lost")
    searcher.on_trial_complete("0", None, error=True)
    (seen,) = searcher.sampler.observed
    assert (seen.losses, seen.feasible) == (None, True)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, "much", None])
def test_results_that_are_no_finite_numbers_are_not_losses(loss: Any) -> None:
    searcher = bound()
    values(searcher, 0)
    searcher.on_trial_complete("0", {"loss": loss})
    (seen,) = searcher.sampler.observed
    assert (seen.losses, seen.feasible) == (None, False)


def test_outcome_constraints_are_measured() -> None:
    searcher = bound(outcome_constraints=["size <= 10", "acc >= 0.9"])
    for trial, more in enumerate([{"size": 12, "acc": 0.95}, {"size": 10, "acc": 0.9}, {"size": 1}]):
        values(searcher, trial)
        end(searcher, trial, 0.5, **more)
    first, second, third = searcher.sampler.observed
    assert first.excess == pytest.approx((2.0, -0.05))
    assert (first.feasible, second.feasible, third.feasible) == (False, True, False)
    assert third.excess == (-9.0, math.inf)


@pytest.mark.parametrize(("text", "bound"), [("val/loss<=1e-3", ("val/loss", "<=", 1e-3)), (" a b >= -2 ", ("a b", ">=", -2.0))])
def test_bounds_are_read(text: str, bound: tuple[str, str, float]) -> None:
    assert tuple(Bound.parse("X", text)) == bound


def test_a_trial_that_was_never_proposed_is_ignored() -> None:
    searcher = bound()
    searcher.on_trial_result("7", {"loss": 1.0})
    searcher.on_trial_complete("7", {"loss": 1.0})
    assert not searcher.sampler.observed


def test_what_is_pending_is_shown_to_the_sampler() -> None:
    searcher = bound()
    first, second = values(searcher, 0), values(searcher, 1)
    assert dict(searcher.sampler.asked[-1].pending) == {0: first, 1: second}
    end(searcher, 0, 1.0)
    values(searcher, 2)
    assert list(searcher.sampler.asked[-1].pending) == [1, 2]


# ---- what comes next depends on what was observed


def test_a_restored_state_proposes_what_would_have_come() -> None:
    space = {**XY, "z": uniform(0, 1), "c": choice(["a", {"deep": uniform(0, 1)}])}
    searcher, again = bound(config=space), bound(config=space)
    for trial in range(8):
        values(searcher, trial)
        if trial % 3:
            end(searcher, trial, float(trial % 5))
    again.set_state(pickle.loads(pickle.dumps(searcher.get_state())))
    assert values(again, 8) == values(searcher, 8)


def test_a_seed_of_its_own_replaces_the_experiments() -> None:
    first, again, other, experiments = (values(bound(config={"u": uniform(0, 1)}, seed=seed), 0)["u"] for seed in (1, 1, 2, None))
    assert first == again
    assert len({first, other, experiments}) == 3


def test_suggest_gives_whole_configurations() -> None:
    searcher = bound(config={"net": {"width": randint(1, 5)}, "constant": 3})
    assert searcher.suggest("a")["constant"] == 3
    assert searcher.suggest("b")["net"].keys() == {"width"}
    searcher.on_trial_complete("a", {"loss": 0.5})
    assert searcher.sampler.observed[0].trial == 0


# ---- another experiment


def test_a_restored_search_goes_on_where_the_whole_one_would_be() -> None:
    whole, first = bound(), bound()
    proposed = []
    for trial in range(8):
        proposed.append(values(whole, trial))
        end(whole, trial, 1.0 / (trial + 1))
    for trial in range(5):
        values(first, trial)
        end(first, trial, 1.0 / (trial + 1))
    second = NearBestSearch("loss", "min")
    second.set_state(first.get_state())
    second.bind(Space.parse(XY), seed=5)
    assert [one.trial for one in second.sampler.observed] == [0, 1, 2, 3, 4]
    for trial in range(3):
        assert values(second, trial) == proposed[5 + trial]
        end(second, trial, 1.0 / (trial + 6))
    third = bound()  # and once more, in the midst of an experiment
    third.set_state(pickle.loads(pickle.dumps(second.get_state())))
    assert values(third, 3) == values(second, 3) == values(whole, 8)


def test_trials_that_were_not_over_when_it_was_saved_may_be_tried_again() -> None:
    first = bound(FixedSearch)
    assert values(first, 0) == {"x": 1, "y": 1}
    second = FixedSearch("loss", "min")
    second.set_state(first.get_state())
    second.bind(Space.parse(XY), seed=5)
    assert values(second, 0) == {"x": 1, "y": 1}
    assert len(second.get_state()["_pending"]) == 1


def test_a_state_of_another_space_is_refused() -> None:
    first = bound()
    values(first, 0)
    end(first, 0, 1.0)
    for config in ({"x": randint(0, 4)}, {"x": randint(10, 12), "y": randint(0, 4)}, {**XY, "z": randint(0, 2)}):
        second = NearBestSearch("loss", "min")
        second.set_state(first.get_state())
        with pytest.raises(SpecError, match="the state that was restored is of another space"):
            second.bind(Space.parse(config))


def test_asked_without_numbers_it_counts_itself() -> None:
    searcher = bound(config={"x": uniform(0, 1)}, duplicates=True)
    found = []
    for name in "abc":
        found.append(searcher.suggest(name)["x"])
        searcher.on_trial_complete(name, error=True)
    assert found == [values(bound(config={"x": uniform(0, 1)}, duplicates=True), trial)["x"] for trial in range(3)]


def test_it_can_be_pickled_in_the_midst_of_a_search() -> None:
    searcher = bound()
    fresh = pickle.loads(pickle.dumps(NearBestSearch("loss", "min")))
    fresh.bind(Space.parse(XY), seed=5)
    for trial in range(4):
        assert values(searcher, trial) == values(fresh, trial)
        end(searcher, trial, 1.0)
        end(fresh, trial, 1.0)
    again = pickle.loads(pickle.dumps(searcher))
    assert values(again, 4) == values(searcher, 4)
    assert [one.trial for one in again.sampler.observed] == [0, 1, 2, 3]

"""Each configuration several times: groups, means, failures, resumes."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.core.events import Suggested
from tunesmith.errors import SpaceError, SpecError
from tunesmith.search import BasicVariantGenerator, Exhausted, Proposal, Searcher
from tunesmith.search.earlier import Earlier
from tunesmith.search.host import SearchHost
from tunesmith.search.limiter import ConcurrencyLimiter
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.repeater import TRIAL_INDEX, Repeater, mean_result
from tunesmith.search.sampler import Asked, Sampler
from tunesmith.space import Float, Space
from tunesmith.testing.searcher_kit import SearcherKit

SPACE = {"x": tune.uniform(0, 1)}


class NearBest(Sampler):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)

    def propose(self, asked: Asked) -> Proposal | None:
        known = [each for each in self.seen if each.losses]
        if not known or self.problem.space.parameters.get("x") not in (Float(0, 1), Float(-1, 1)):
            return None
        best = min(known, key=lambda each: each.loss)
        return Proposal({"x": min(1.0, max(0.0, best.values["x"] + float(asked.rng.normal(0, 0.1))))}, "near the best")


class Near(NativeSearcher):
    """Depends on all that it was told, in which order."""

    def make_sampler(self, problem: Problem) -> Sampler:
        return NearBest(problem)

    @property
    def seen(self) -> list[Observation]:
        return self.sampler.seen  # type: ignore[attr-defined,no-any-return]


class Scribe(Searcher):
    """As a user writes it: counts its questions, and writes down what it is told."""

    def __init__(self) -> None:
        super().__init__("loss", "min")
        self.count = 0
        self.told: list[tuple[Any, ...]] = []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.count += 1
        return {"x": (self.count + sum(one[0] == "end" for one in self.told) / 10) / 100}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append(("result", trial_id, result["loss"]))

    def on_trial_failed(self, trial_id: str, outcome: str) -> None:
        self.told.append(("failed", trial_id, outcome))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.told.append(("end", trial_id, result["loss"] if result else None, error))


class IndexedKit(SearcherKit):
    """The index is an entry that the space does not have."""

    def check(self, space: Space, answer: object) -> dict[str, Any]:
        assert isinstance(answer, Proposal)
        config = space.resolve(answer.values)
        assert config[TRIAL_INDEX] in (0, 1, 2)
        return super().check(space, Proposal({name: value for name, value in answer.values.items() if name != TRIAL_INDEX}))

    def test_a_hundred_can_be_pending(self) -> None:
        """Of three alike each."""
        searcher, space = self.bound({"x": tune.uniform(0, 1)})
        seen = [self.check(space, searcher.propose(number, str(number)))["x"] for number in range(99)]
        assert seen[::3] == seen[1::3] == seen[2::3]
        assert len(set(seen)) == 33

    def test_grids_are_walked_through_or_refused(self) -> None:
        """Below: each point is repeated."""

    def test_deterministic_ones_depend_on_seed_and_number_only(self) -> None:
        """Their index does, too."""
        one, _ = self.bound({"x": tune.uniform(0, 1)}, seed=7)
        other, _ = self.bound({"x": tune.uniform(0, 1)}, seed=7)
        assert [one.propose(n, str(n)) for n in range(9)] == [other.propose(n, str(n)) for n in reversed(range(9))][::-1]


class TestAroundTheDefaultConforms(IndexedKit):
    def make(self) -> Searcher:
        return Repeater(BasicVariantGenerator(), 3)


class TestAroundANativeOneConforms(IndexedKit):
    def make(self) -> Searcher:
        return Repeater(Near(), 3)

    def test_deterministic_ones_depend_on_seed_and_number_only(self) -> None:
        """It learns."""


class TestAroundAUsersOwnConforms(SearcherKit):
    """Once each, and without an index: what it proposes is what the searcher inside does."""

    def make(self) -> Searcher:
        return Repeater(Drawing(), 1, set_index=False)


class Drawing(Searcher):
    def set_search_properties(self, metric: Any, mode: Any, config: dict[str, Any], **spec: Any) -> bool:
        import random

        self.space, self.rng = spec["space"], random.Random(4)
        return super().set_search_properties(metric, mode, config, **spec)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return dict(self.space.resolve(self.space.draw(self.rng)))


def bound(inner: Searcher, repeat: int = 3, config: dict[str, Any] | None = None, **options: Any) -> Repeater:
    repeater = Repeater(inner, repeat, **options)
    repeater.bind(Space.parse(config or SPACE), "loss", "min", 1)
    return repeater


def proposed(repeater: Repeater, n: int, first: int = 0) -> list[dict[str, Any]]:
    found = [repeater.propose(number, str(number)) for number in range(first, first + n)]
    assert all(isinstance(one, Proposal) for one in found)
    return [one.values for one in found]  # type: ignore[union-attr]


# ---- groups


def test_trials_of_a_group_differ_in_their_index_only() -> None:
    values = proposed(bound(Near()), 6)
    assert [one.pop(TRIAL_INDEX) for one in values] == [0, 1, 2, 0, 1, 2]
    assert values[0] == values[1] == values[2] != values[3]
    plain = proposed(bound(Near(), set_index=False), 4)
    assert plain[0] == plain[1] == plain[2] == values[0]


def test_the_searcher_is_told_the_mean_once_all_are_over() -> None:
    inner = Scribe()
    repeater = bound(inner)
    proposed(repeater, 6)
    for trial, loss in ((4, 9.0), (2, 1.0), (0, 2.0)):
        repeater.on_trial_result(str(trial), {"loss": loss})
        repeater.on_trial_complete(str(trial), {"loss": loss})
    assert inner.told == []
    repeater.on_trial_complete("1", {"loss": 6.0})
    assert inner.told == [("result", "0", 3.0), ("end", "0", 3.0, False)]
    assert inner.count == 2


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan), st.none()), min_size=1, max_size=7), st.randoms())
def test_the_mean_is_over_what_is_there_in_whatever_order_they_end(losses: list[float | None], rng: Any) -> None:
    """None: the trial failed."""
    inner = Scribe()
    repeater = bound(inner, len(losses))
    proposed(repeater, len(losses))
    order = list(range(len(losses)))
    rng.shuffle(order)
    for trial in order:
        loss = losses[trial]
        if loss is None:
            repeater.on_trial_failed(str(trial), "user_error")
        repeater.on_trial_complete(str(trial), None if loss is None else {"loss": loss}, loss is None)
    known = [loss for loss in losses if loss is not None and not math.isnan(loss)]
    last = inner.told[-1]
    assert last[:2] == ("end", "0")
    if known:
        assert last[2] == pytest.approx(statistics.fmean(known))
    assert last[3] == all(loss is None for loss in losses)
    assert sum(one[0] == "end" for one in inner.told) == 1


def test_if_all_fail_so_does_the_configuration() -> None:
    inner = Near()
    repeater = bound(inner, 2)
    proposed(repeater, 2)
    for trial, outcome in ((1, "user_error"), (0, "oom_gpu")):
        repeater.on_trial_failed(str(trial), outcome)
        repeater.on_trial_complete(str(trial), error=True)
    assert [(one.outcome, one.losses) for one in inner.seen] == [("oom_gpu", None)]


def test_one_that_never_reported_has_no_part_in_the_mean() -> None:
    inner = Near()
    repeater = bound(inner, 2)
    proposed(repeater, 4)
    repeater.on_trial_complete("0")
    repeater.on_trial_complete("1", {"loss": 2.0, "training_iteration": 4})
    repeater.on_trial_complete("2")
    repeater.on_trial_complete("3")
    assert [(one.losses, one.step, one.outcome) for one in inner.seen] == [((2.0,), 4.0, "finished"), (None, 0.0, "finished")]


def test_bounds_on_other_metrics_see_their_mean() -> None:
    inner = Near(outcome_constraints=["latency <= 20"])
    repeater = bound(inner, 2)
    proposed(repeater, 2)
    repeater.on_trial_complete("0", {"loss": 1.0, "latency": 10})
    repeater.on_trial_complete("1", {"loss": 2.0, "latency": 28})
    assert [one.excess for one in inner.seen] == [(-1.0,)]


def test_a_mean_result_keeps_what_is_no_number() -> None:
    found = mean_result([{"a": 1, "b": "x", "c": True, "d": math.inf}, {"a": 2, "c": False, "d": -1.0, "e": None}, {"e": 3}])
    assert found == {"a": 1.5, "b": "x", "c": True, "d": math.inf, "e": 3.0}


def test_unknown_and_ended_trials_are_ignored() -> None:
    inner = Scribe()
    repeater = bound(inner, 1)
    proposed(repeater, 1)
    for name in ("nobody", "0", "0"):
        repeater.on_trial_failed(name, "nan")
        repeater.on_trial_complete(name, error=True)
    assert [one[0] for one in inner.told] == ["failed", "end"]


# ---- how many


def test_the_last_group_is_told_though_it_is_not_whole(caplog: pytest.LogCaptureFixture) -> None:
    inner = Scribe()
    repeater = bound(inner)
    assert repeater.total_samples(4) == 4
    assert caplog.messages == [
        "Repeater: 4 trials are no multiple of repeat=3; the last configuration is tried 1 times only. num_samples=6 is one."
    ]
    proposed(repeater, 4)
    repeater.on_trial_complete("3", {"loss": 5.0})
    assert inner.told[-1] == ("end", "3", 5.0, False)


def test_a_multiple_needs_no_word(caplog: pytest.LogCaptureFixture) -> None:
    assert bound(Scribe()).total_samples(6) == 6
    assert bound(Scribe()).total_samples(None) is None
    assert not caplog.messages


def test_of_a_grid_each_point_is_repeated() -> None:
    config = {"g": tune.grid_search([1, 2]), "h": tune.grid_search(["a", "b"])}
    repeater = bound(BasicVariantGenerator(), 3, config)
    assert repeater.total_samples(3) == 12
    values = proposed(repeater, 12)
    assert [(one["g"], one["h"], one[TRIAL_INDEX]) for one in values] == [
        (g, h, index) for h in "ab" for g in (1, 2) for index in range(3)
    ]
    assert isinstance(repeater.propose(12, "12"), Exhausted)
    assert bound(BasicVariantGenerator(), 3, config).total_samples(None) == 12


def test_start_points_are_repeated_too() -> None:
    repeater = bound(BasicVariantGenerator(points_to_evaluate=[{"x": 0.5}, {"x": 0.25}]), 2)
    assert repeater.total_samples(2) == 4
    assert [one["x"] for one in proposed(repeater, 4)] == [0.5, 0.5, 0.25, 0.25]
    native = proposed(bound(Near(points_to_evaluate=[{"x": 0.5}]), 2), 3)
    assert [one["x"] for one in native][:2] == [0.5, 0.5]
    assert native[2]["x"] != 0.5


def test_what_the_searcher_inside_knows_of_the_task_is_in_its_own_units() -> None:
    inner = Near()
    Repeater(inner, 3).bind(Space.parse(SPACE), "loss", "min", 1, budget=10, concurrency=7)
    assert (inner.problem.budget, inner.problem.concurrency) == (4, 3)


@pytest.mark.parametrize("wrong", [0, -2, 1.5, True, "3"])
def test_a_wrong_number_is_refused(wrong: Any) -> None:
    with pytest.raises(SpecError, match="repeat must be a whole number >= 1"):
        Repeater(Near(), wrong)


def test_a_wrong_set_index_is_refused() -> None:
    with pytest.raises(SpecError, match="set_index must be True or False"):
        Repeater(Near(), 2, set_index=1)  # type: ignore[arg-type]


# ---- held groups


def test_a_group_is_held_while_all_of_it_is() -> None:
    class Listener(Scribe):
        def on_pause(self, trial_id: str) -> None:
            self.told.append(("pause", trial_id))

        def on_unpause(self, trial_id: str) -> None:
            self.told.append(("unpause", trial_id))

    inner = Listener()
    repeater = bound(inner, 3)
    proposed(repeater, 2)
    repeater.on_pause("0")
    assert inner.told == []
    repeater.on_pause("1")
    assert inner.told == [("pause", "0")]
    proposed(repeater, 1, first=2)
    assert inner.told[1:] == [("unpause", "0")]
    repeater.on_trial_complete("2", {"loss": 1.0})
    repeater.on_unpause("1")
    assert inner.told[2:] == [("pause", "0"), ("unpause", "0")]


def test_a_bound_on_groups_bounds_trials() -> None:
    assert Repeater(Near(max_concurrent=2), 3).max_concurrent == 6
    assert Repeater(Near(), 3).max_concurrent is None
    with pytest.raises(SpecError, match=r"Repeater\(max_concurrent=4\) gives a new trial only when one is over"):
        tune.run(
            train, config=SPACE, metric="loss", mode="min", search_alg=Repeater(ConcurrencyLimiter(BasicVariantGenerator(), 2), 2),
            scheduler=tune.PopulationBasedTraining(hyperparam_mutations={"x": tune.uniform(0, 1)}), executor="inline",
        )  # fmt: skip


def test_a_held_group_makes_room_for_another() -> None:
    repeater = bound(ConcurrencyLimiter(Near(), 1), 2)
    proposed(repeater, 2)
    assert repeater.propose(2, "2") is None
    repeater.on_pause("0")
    assert repeater.propose(2, "2") is None
    repeater.on_pause("1")
    assert isinstance(repeater.propose(2, "2"), Proposal)


# ---- sessions


def train(config: dict[str, Any]) -> None:
    for step in range(2):
        tune.report(loss=abs(config["x"] - 0.3) + config[TRIAL_INDEX] / (step + 1))


def go(searcher: Searcher, path: Path, **arguments: Any) -> list[dict[str, Any]]:
    fixed = {"name": "x", "storage_path": path, "verbose": 0, "executor": "inline", "loggers": (), "seed": 1, "config": SPACE}
    analysis = tune.run(train, search_alg=searcher, metric="loss", mode="min", **{**fixed, **arguments})
    return [trial.config for trial in analysis.trials]


@pytest.mark.parametrize("make", [Near, Scribe, lambda: ConcurrencyLimiter(Near(), 1, batch=True)])
def test_a_resume_in_the_middle_of_a_group_goes_on_exactly(make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = go(Repeater(make(), 3), tmp_path, num_samples=9, name="whole")
    assert len({config["x"] for config in whole}) == 3
    for total in (2, 4, 9):
        found = go(Repeater(make(), 3), tmp_path, num_samples=total, resume=total > 2)
    assert found == whole
    assert [message for message in caplog.messages if "no multiple" not in message] == []


def test_the_index_reaches_trials_journal_and_analysis(tmp_path: Path) -> None:
    configs = go(Repeater(BasicVariantGenerator(), 2), tmp_path, num_samples=4)
    assert [config[TRIAL_INDEX] for config in configs] == [0, 1, 0, 1]
    read = tune.open_experiment(tmp_path / "x")
    assert [trial.config for trial in read] == configs
    assert read.get_best_config("loss", "min")[TRIAL_INDEX] == 0


def test_infeasible_repeats_are_made_up_for(tmp_path: Path) -> None:
    def picky(config: dict[str, Any]) -> dict[str, float]:
        if config[TRIAL_INDEX] == 1:
            raise tune.Infeasible("no such fold")
        return {"loss": config["x"]}

    inner = Near()
    fixed = {"storage_path": tmp_path, "verbose": 0, "executor": "inline", "loggers": (), "seed": 1}
    analysis = tune.run(picky, config=SPACE, metric="loss", mode="min", num_samples=4, search_alg=Repeater(inner, 2), **fixed)
    assert sum(trial.outcome == "finished" for trial in analysis) == 4
    assert all(one.losses for one in inner.seen[:2])


class TestAnotherSpace:
    """A resume that brings another space."""

    def replayed(self, inner: Searcher, values: list[dict[str, Any] | None], first: int, repeat: int = 2) -> Repeater:
        repeater = Repeater(inner, repeat)
        earlier = Earlier(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0), first)
        host = SearchHost(
            repeater, Space.parse(SPACE), seed=1, metrics=["loss"], modes=["min"], trial_id=str, earlier=earlier, threaded=False
        )
        from tunesmith.core.ports import Record

        for trial, one in enumerate(values):
            host.replay(Record(Suggested(trial, one or {})))
        host.total_samples(8)
        return repeater

    def test_a_group_that_was_begun_in_another_is_told_as_far_as_it_is(self) -> None:
        inner = Near()
        repeater = self.replayed(inner, [{"x": 0.5, TRIAL_INDEX: 0}, {"x": 0.5, TRIAL_INDEX: 1}, {"x": 0.75, TRIAL_INDEX: 0}], 3)
        values = proposed(repeater, 2, first=3)
        assert values[0]["x"] == values[1]["x"] not in (0.5, 0.75)
        for trial, loss in enumerate((1.0, 3.0, 5.0, 7.0, 9.0)):
            repeater.on_trial_complete(str(trial), {"loss": loss})
        assert [(one.values["x"], one.loss) for one in inner.seen] == [(0.5, 2.0), (0.75, 5.0), (values[0]["x"], 8.0)]

    def test_groups_that_began_anywhere_are_told_apart_by_their_values(self) -> None:
        inner = Near()
        repeater = self.replayed(inner, [{"x": 0.1}, {"x": 0.2}, {"x": 0.2}, {"x": 0.3}, None], 5)
        for trial, loss in enumerate((1.0, 2.0, 4.0, 6.0)):
            repeater.on_trial_complete(str(trial), {"loss": loss})
        proposed(repeater, 1, first=5)
        assert [(one.values["x"], one.loss) for one in inner.seen] == [(0.1, 1.0), (0.2, 3.0), (0.3, 6.0)]

    def test_points_that_were_tried_are_not_tried_again(self) -> None:
        inner = BasicVariantGenerator(points_to_evaluate=[{"x": 0.5}, {"x": 0.75}])
        repeater = self.replayed(inner, [{"x": 0.5, TRIAL_INDEX: 0}, {"x": 0.5, TRIAL_INDEX: 1}], 2)
        assert [one["x"] for one in proposed(repeater, 2, first=2)] == [0.75, 0.75]
        assert repeater.total_samples(3) == 4

    def test_repeats_of_a_point_are_one_of_two_that_are_alike(self) -> None:
        class Hearing(Near):
            def begin_version(self, first: int, inside: Any) -> None:
                told.extend(inside)

        told: list[Any] = []
        repeater = bound(Hearing(), 2)
        repeater.begin_version(3, [{"x": 0.5, TRIAL_INDEX: 0}, {"x": 0.5, TRIAL_INDEX: 1}, {"x": 0.5, TRIAL_INDEX: 0}, {"x": 0.25}])
        assert told == [{"x": 0.5}, {"x": 0.5}, {"x": 0.25}]

    def test_a_grid_cannot_change(self) -> None:
        repeater = bound(BasicVariantGenerator(), 2, {"g": tune.grid_search([1, 2])})
        with pytest.raises(SpecError, match="cannot be changed where a grid is repeated"):
            repeater.begin_version(3, [])

    def test_a_real_run(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        go(Repeater(Near(), 2), tmp_path, num_samples=3)
        configs = go(Repeater(Near(), 2), tmp_path, num_samples=7, resume=True, config={"x": tune.uniform(-1, 2)})
        assert [config[TRIAL_INDEX] for config in configs] == [0, 1, 0, 0, 1, 0, 1]
        assert configs[3]["x"] == configs[4]["x"] != configs[2]["x"]


def test_a_suggestion_outside_of_the_space_is_refused_for_each_of_the_group() -> None:
    class Wild(Scribe):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            return {"x": 7.0}

    inner = Wild()
    repeater = bound(inner, 2)
    for number in range(2):
        with pytest.raises(SpaceError, match=r"config\['x'\]"):
            repeater.propose(number, str(number))
        repeater.on_trial_complete(str(number), error=True)
    assert inner.told == [("end", "0", None, True)]


def test_as_rays_users_call_it() -> None:
    inner = Scribe()
    repeater = Repeater(inner, 2)
    assert repeater.suggest("a") == {"x": 0.01, TRIAL_INDEX: 0}
    assert repeater.suggest("b") == {"x": 0.01, TRIAL_INDEX: 1}
    repeater.on_trial_complete("a", {"loss": 1.0})
    repeater.on_trial_complete("b", {"loss": 2.0})
    assert inner.told[-1] == ("end", "a", 1.5, False)
    assert repeater.explain() == "Scribe, each configuration 2 times"


def test_the_state_is_saved_and_restored(tmp_path: Path) -> None:
    one = bound(Near())
    proposed(one, 4)
    one.on_trial_complete("0", {"loss": 1.0})
    one.save(str(tmp_path / "state"))
    other = bound(Near())
    other.restore(str(tmp_path / "state"))
    for repeater in (one, other):
        repeater.on_trial_complete("1", {"loss": 3.0})
        repeater.on_trial_complete("2", {"loss": 5.0})
    assert [each.loss for each in other.searcher.seen] == [3.0]  # type: ignore[attr-defined]
    assert proposed(one, 5, first=4) == proposed(other, 5, first=4)

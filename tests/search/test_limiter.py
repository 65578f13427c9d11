"""The concurrency limiter: around native searchers, users' own, and other wrappers; with batches, pauses and resumes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.core.commands import Decision, Suggest
from tunesmith.core.events import AttemptEnded, Reported, SearchExhausted, Suggested
from tunesmith.core.ports import Record
from tunesmith.errors import SpecError
from tunesmith.search import BasicVariantGenerator, Proposal, Searcher
from tunesmith.search.host import SearchHost
from tunesmith.search.limiter import ConcurrencyLimiter
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.repeater import Repeater
from tunesmith.search.sampler import Asked, Sampler
from tunesmith.space import Float, Space
from tunesmith.testing.searcher_kit import SearcherKit

SPACE = {"x": tune.uniform(0, 1)}


class NearBest(Sampler):
    """Close to the best so far; remembers the order in which it was told."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)

    def propose(self, asked: Asked) -> Proposal | None:
        known = [each for each in self.seen if each.losses]
        if not known or self.problem.space.parameters.get("x") not in (Float(0, 1), Float(-1, 1)):
            return None
        moved = min(known, key=lambda each: each.loss).values["x"] + float(asked.rng.normal(0, 0.1)) + known[-1].loss / 1000
        return Proposal({"x": min(1.0, max(0.0, moved))}, "near the best")


class Near(NativeSearcher):
    """A searcher whose proposals depend on all that it was told, and in which order."""

    def make_sampler(self, problem: Problem) -> Sampler:
        return NearBest(problem)


class Counting(Searcher):
    """As a user writes it: knows nothing but ids and results, and writes down what it is told."""

    def __init__(self) -> None:
        super().__init__("loss", "min")
        self.count = 0
        self.told: list[tuple[Any, ...]] = []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.count += 1
        return {"x": (self.count + len([one for one in self.told if one[0] == "end"]) / 10) / 100}

    def on_trial_failed(self, trial_id: str, outcome: str) -> None:
        self.told.append(("failed", trial_id, outcome))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.told.append(("end", trial_id, result["loss"] if result else None, error))


class TestAroundTheDefaultConforms(SearcherKit):
    def make(self) -> Searcher:
        return ConcurrencyLimiter(BasicVariantGenerator(), 3)


class TestAroundANativeOneConforms(SearcherKit):
    def make(self) -> Searcher:
        return ConcurrencyLimiter(Near(), 200)


class TestAroundAUsersOwnConforms(SearcherKit):
    def make(self) -> Searcher:
        return ConcurrencyLimiter(ConcurrencyLimiter(Whole(), 300), 200)


class TestBatchesConform(SearcherKit):
    """One batch of a hundred; that a resume goes on exactly in the middle of small ones is tried below, with real runs."""

    def make(self) -> Searcher:
        return ConcurrencyLimiter(Near(), 200, batch=True)


class Whole(Searcher):
    """Draws all of the space, from a stream that goes on from question to question."""

    def set_search_properties(self, metric: Any, mode: Any, config: dict[str, Any], **spec: Any) -> bool:
        import random

        self.space, self.rng = spec["space"], random.Random(4)
        return super().set_search_properties(metric, mode, config, **spec)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return dict(self.space.resolve(self.space.draw(self.rng)))


# ---- as Ray's users call it


def test_it_says_none_while_there_are_as_many_as_there_may_be() -> None:
    limiter = ConcurrencyLimiter(Counting(), max_concurrent=2)
    assert [limiter.suggest(name) for name in "abc"] == [{"x": 0.01}, {"x": 0.02}, None]
    limiter.on_trial_complete("nobody")
    limiter.on_trial_complete("b", {"loss": 1.0})
    assert limiter.suggest("c") is not None
    assert limiter.suggest("d") is None


def test_a_finished_searcher_stays_finished() -> None:
    class Finished(Counting):
        def suggest(self, trial_id: str) -> Any:
            return self.FINISHED

    limiter = ConcurrencyLimiter(Finished(), 1)
    assert [limiter.suggest("a"), limiter.suggest("b")] == ["FINISHED", "FINISHED"]


def test_a_batch_is_told_at_once_in_the_order_in_which_it_was_suggested() -> None:
    inner = Counting()
    limiter = ConcurrencyLimiter(inner, 3, batch=True)
    for name in "abc":
        limiter.suggest(name)
    limiter.on_trial_complete("c", {"loss": 3.0})
    limiter.on_trial_failed("a", "oom_gpu")
    limiter.on_trial_complete("a", None, error=True)
    assert (inner.told, limiter.suggest("d")) == ([], None)
    limiter.on_trial_complete("b", {"loss": 2.0})
    assert inner.told == [("failed", "a", "oom_gpu"), ("end", "a", None, True), ("end", "b", 2.0, False), ("end", "c", 3.0, False)]
    assert limiter.suggest("d") is not None


def test_a_batch_that_is_not_full_is_over_when_nothing_of_it_runs() -> None:
    inner = Counting()
    limiter = ConcurrencyLimiter(inner, 3, batch=True)
    limiter.suggest("a")
    limiter.on_trial_complete("a", {"loss": 1.0})
    assert [one[1] for one in inner.told] == ["a"]
    assert [limiter.suggest(name) is not None for name in "bcde"] == [True, True, True, False]


def test_trials_that_are_held_neither_count_nor_keep_a_batch_open() -> None:
    inner = Counting()
    limiter = ConcurrencyLimiter(inner, 2, batch=True)
    limiter.suggest("a")
    limiter.suggest("b")
    limiter.on_pause("a")
    limiter.on_trial_complete("b", {"loss": 2.0})
    assert [one[1] for one in inner.told] == ["b"]
    assert [limiter.suggest(name) is not None for name in "cde"] == [True, True, False]
    limiter.on_unpause("a")
    for name in "cda":
        limiter.on_trial_complete(name, {"loss": 1.0})
    assert [one[1] for one in inner.told] == ["b", "a", "c", "d"]


# ---- under the host


class Play:
    """A host whose loop is the test."""

    def __init__(self, searcher: Searcher) -> None:
        self.host = SearchHost(searcher, Space.parse(SPACE), seed=1, metrics=["loss"], modes=["min"], trial_id=str, threaded=False)
        self.known = 0

    def ask(self, n: int) -> list[Suggested | SearchExhausted]:
        self.host.request(n, self.known)
        return self.take()

    def take(self) -> list[Suggested | SearchExhausted]:
        found = self.host.poll()
        self.known += len(found)
        for event in found:
            self.host.observe(Record(event))
        return found

    def end(self, trial: int, loss: float = 1.0) -> list[Suggested | SearchExhausted]:
        self.host.observe(Record(Reported(trial, 0, 1, {"loss": loss, "training_iteration": 1})))
        self.host.observe(Record(AttemptEnded(trial, 0, "finished"), [Decision("end", trial, "", {"outcome": "finished"})]))
        return self.take()

    def pause(self, trial: int) -> list[Suggested | SearchExhausted]:
        self.host.observe(Record(Reported(trial, 0, 1, {"loss": 1.0}), [Decision("pause", trial, "", {"mode": "warm"})]))
        return self.take()


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("make", [Near, Counting])
def test_the_host_gives_no_more(make: Any, batch: bool) -> None:
    play = Play(ConcurrencyLimiter(make(), 2, batch=batch))
    assert len(play.ask(5)) == 2
    assert len(play.end(1)) == (0 if batch else 1)
    assert len(play.end(0)) == (2 if batch else 1)


@pytest.mark.parametrize("batch", [False, True])
def test_with_a_scheduler_that_holds_trials_others_take_their_place(batch: bool) -> None:
    play = Play(ConcurrencyLimiter(Near(), 2, batch=batch))
    play.ask(6)
    assert [len(play.pause(0)), len(play.pause(1))] == [1, 1]
    assert not any(isinstance(event, SearchExhausted) for event in play.host.poll())


def test_the_host_tells_of_pauses_and_of_their_ends() -> None:
    class Listener(Counting):
        def on_pause(self, trial_id: str) -> None:
            self.told.append(("pause", trial_id))

        def on_unpause(self, trial_id: str) -> None:
            self.told.append(("unpause", trial_id))

    inner = Listener()
    play = Play(ConcurrencyLimiter(inner, 2))
    play.ask(2)
    play.pause(1)
    play.host.observe(Record(AttemptEnded(0, 0, "paused"), [Decision("paused", 0, "")]))
    for trial in (1, 1, 0):
        play.host.observe(Record(Reported(1, 0, 2, {"loss": 1.0}), [Decision("launch", trial)]))
    assert inner.told == [("pause", "1"), ("pause", "0"), ("unpause", "1"), ("unpause", "0")]


def test_the_smallest_of_several_bounds_holds() -> None:
    assert ConcurrencyLimiter(Near(max_concurrent=3), 5).max_concurrent == 3
    assert ConcurrencyLimiter(ConcurrencyLimiter(Near(), 2), 5).max_concurrent == 2
    assert ConcurrencyLimiter(BasicVariantGenerator(), 5).max_concurrent == 5
    assert len(Play(ConcurrencyLimiter(ConcurrencyLimiter(Near(), 2), 5)).ask(9)) == 2


def test_the_searcher_inside_knows_how_many_there_are_at_once() -> None:
    inner = Near()
    ConcurrencyLimiter(inner, 4).bind(Space.parse(SPACE), "loss", "min", 1, concurrency=9, budget=100)
    assert (inner.problem.concurrency, inner.problem.budget) == (4, 100)


def test_around_a_repeater_it_counts_trials_and_inside_of_one_groups() -> None:
    outside = Play(ConcurrencyLimiter(Repeater(Near(), 3), 2))
    assert len(outside.ask(9)) == 2
    inside = Play(Repeater(ConcurrencyLimiter(Near(), 2), 3))
    assert len(inside.ask(9)) == 6
    assert [len(inside.end(trial)) for trial in (0, 3, 1, 2)] == [0, 0, 0, 3]


# ---- what goes through


def test_it_is_what_is_inside() -> None:
    inner = Near("loss", "max", points_to_evaluate=[{"x": 0.25}])
    limiter = ConcurrencyLimiter(inner, 2)
    assert (limiter.metric, limiter.mode, limiter.capabilities) == ("loss", "max", inner.capabilities)
    assert ConcurrencyLimiter(BasicVariantGenerator(), 1).capabilities.grid
    limiter.add_evaluated_point({"x": 0.75}, 3.0)
    limiter.bind(Space.parse(SPACE))
    assert [(one.values, one.losses) for one in inner.sampler.seen] == [({"x": 0.75}, (-3.0,))]  # type: ignore[attr-defined]
    found = limiter.propose(0, "0")
    assert isinstance(found, Proposal)
    assert (found.values, found.source) == ({"x": 0.25}, "start point")
    assert limiter.explain() == "Near, at most 2 at once"
    assert ConcurrencyLimiter(Near(), 2, batch=True).explain() == "Near, in batches of 2"


def test_the_state_is_saved_and_restored_with_what_is_inside(tmp_path: Path) -> None:
    def half(batch: bool = True) -> ConcurrencyLimiter:
        limiter = ConcurrencyLimiter(Near(), 3, batch=batch)
        limiter.bind(Space.parse(SPACE), "loss", "min", 5)
        return limiter

    limiter = half()
    for number in range(3):
        limiter.propose(number, str(number))
    limiter.on_trial_complete("2", {"loss": 2.0})
    limiter.save(str(tmp_path / "state"))
    again = half()
    again.restore(str(tmp_path / "state"))
    assert again.propose(3, "3") is None
    for one in (limiter, again):
        one.on_trial_complete("0", {"loss": 0.5})
        one.on_trial_complete("1", {"loss": 0.7})
    assert limiter.propose(3, "3") == again.propose(3, "3")
    assert pickle.loads(pickle.dumps(ConcurrencyLimiter(Near(), 3))).max_concurrent == 3


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2", None])
def test_a_bound_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(SpecError, match="max_concurrent must be a whole number >= 1"):
        ConcurrencyLimiter(Near(), wrong)


def test_what_is_no_searcher_is_refused() -> None:
    with pytest.raises(SpecError, match="got the class Near; give an instance"):
        ConcurrencyLimiter(Near, 2)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="searcher must be a Searcher"):
        ConcurrencyLimiter("random", 2)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="batch must be True or False"):
        ConcurrencyLimiter(Near(), 2, batch="yes")  # type: ignore[arg-type]


# ---- in real runs


def train(config: dict[str, Any]) -> None:
    for step in range(2):
        tune.report(loss=abs(config["x"] - 0.3) + 1 / (step + 1))


def xs(searcher: Searcher, path: Path, **arguments: Any) -> list[float]:
    given = {"name": "x", "storage_path": path, "verbose": 0, "executor": "inline", "loggers": (), "seed": 1, **arguments}
    analysis = tune.run(train, search_alg=searcher, config=SPACE, metric="loss", mode="min", **given)
    return [trial.config["x"] for trial in analysis.trials]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("make", [Near, Counting])
def test_a_resume_goes_on_exactly(make: Any, batch: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def limited() -> Searcher:
        return ConcurrencyLimiter(make(), 3, batch=batch)

    whole = xs(limited(), tmp_path, num_samples=8, name="whole")
    for total in (2, 4, 8):
        found = xs(limited(), tmp_path, num_samples=total, resume=total > 2)
    assert found == whole
    assert not caplog.messages


def test_batches_with_a_scheduler_that_holds_trials_come_to_an_end(tmp_path: Path) -> None:
    sim = tune.simulate(
        lambda config, iteration: ({"loss": config["x"] + 1 / iteration}, 1.0),
        config=SPACE, num_samples=20, workers=4, max_t=9, metric="loss", mode="min", seed=1,
        search_alg=ConcurrencyLimiter(Near(), 3, batch=True), scheduler=tune.schedulers.HyperBandScheduler(max_t=9),
    )  # fmt: skip
    assert len(sim.trials) == 20
    assert sim.counts["TERMINATED"] == 20


def test_an_asking_that_is_repeated_after_a_crash_meets_the_same_bound() -> None:
    """The driver died after two suggestions, of which one is on record: the other is asked for again, and is the same."""
    first = Play(ConcurrencyLimiter(Counting(), 2, batch=True))
    events = first.ask(2)
    second = SearchHost(
        ConcurrencyLimiter(Counting(), 2, batch=True), Space.parse(SPACE), seed=1, metrics=["loss"], modes=["min"], trial_id=str
    )
    second.replay(Record(events[0]), [Suggest(1, 1)])
    second.close()
    play = Play(ConcurrencyLimiter(Counting(), 2, batch=True))
    play.host.replay(Record(events[0]))
    play.known = 1
    assert [event.values for event in play.ask(3)] == [events[1].values]  # type: ignore[union-attr]


def test_restored_before_there_is_a_space_it_waits_for_no_trial_of_then() -> None:
    def search() -> ConcurrencyLimiter:
        return ConcurrencyLimiter(Near("loss", "min"), 1, batch=True)

    first, space = search(), Space.parse(SPACE)
    first.bind(space)
    assert first.propose(0, "a")
    assert first.propose(1, "b") is None
    second = search()
    second.set_state(first.get_state())
    second.bind(space)
    assert second.propose(0, "c"), "trial a is over here"
    assert second.propose(1, "d") is None
    third = search()
    third.bind(space)
    third.set_state(second.get_state())
    assert third.propose(1, "d") is None

"""The public kit on our own searchers, and on one as a user would write it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith.errors import SpaceError
from tunesmith.search import BasicVariantGenerator, Searcher
from tunesmith.space import Categorical, Float, Integer, Space
from tunesmith.testing.searcher_kit import SearcherKit


class HillClimber(Searcher):
    """A small searcher in the style of Ray's: it knows the config, trial ids and results, and nothing of our spaces."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = random.Random(5)
        self.live: dict[str, dict[str, Any]] = {}
        self.best: tuple[float, dict[str, Any]] | None = None
        self._space: dict[str, Any] | None = None

    def set_search_properties(self, metric, mode, config, **spec):
        self._space = config
        return super().set_search_properties(metric, mode, config, **spec)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        assert self._space is not None
        config = {key: domain.sample(random_state=self.rng) for key, domain in self._space.items() if isinstance(domain, Float | Integer)}
        if self.best is not None and config:
            key = self.rng.choice(sorted(config))
            config = {**self.best[1], key: config[key]}
        self.live[trial_id] = config
        return config

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        config = self.live.pop(trial_id, None)
        if config is not None and result and not error and (self.best is None or result["loss"] < self.best[0]):
            self.best = (result["loss"], config)


class RayStyle(Searcher):
    """Fills a dict when it suggests, and pops from it without looking when the trial is over; steps on from the best so far."""

    def __init__(self, seed: Any = 3) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.live: dict[str, float] = {}
        self.best: tuple[float, float] = (9e9, 0.5)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if len(self.live) > 5:
            return None
        self.live[trial_id] = min(max(self.best[1] + self.rng.uniform(-0.1, 0.1), 0.0), 1.0)
        return {"x": self.live[trial_id]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        x = self.live.pop(trial_id)
        if result is not None and not error:
            self.best = min(self.best, (result["loss"], x))


class Counting(Searcher):
    """What it suggests depends on how often it was asked."""

    count = 0

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.count += 1
        return {"x": self.count / 100}


class TestBasicVariantConforms(SearcherKit):
    def make(self) -> Searcher:
        return BasicVariantGenerator()


class TestBasicVariantWithConstantGridConforms(SearcherKit):
    def make(self) -> Searcher:
        return BasicVariantGenerator(constant_grid_search=True, max_concurrent=3)


class TestAUsersOwnSearcherConforms(SearcherKit):
    def make(self) -> Searcher:
        return HillClimber()


def resumed(make: Callable[[], Searcher]) -> None:
    kit = SearcherKit()
    kit.make = make  # type: ignore[method-assign]
    kit.test_resumed_at_any_moment_it_proposes_what_it_would_have()


@pytest.mark.parametrize("make", [RayStyle, Counting])
def test_users_searchers_that_know_nothing_of_resuming_go_on_exactly(make: Callable[[], Searcher]) -> None:
    resumed(make)


def test_the_kit_finds_a_searcher_that_does_not_go_on() -> None:
    seeds = iter(range(10_000))
    with pytest.raises(AssertionError, match=r"resumed after moment \d+, it proposed something else"):
        resumed(lambda: RayStyle(next(seeds)))

    class Deaf(Counting):
        def on_replayed(self, trial: int, trial_id: str, values: Any) -> None:
            """Takes no note."""

    with pytest.raises(AssertionError, match="proposed something else"):
        resumed(Deaf)


def test_the_kit_finds_a_searcher_that_leaves_the_space() -> None:
    class Wild(Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            return {"x": 7.0}

    class Kit(SearcherKit):
        def make(self) -> Searcher:
            return Wild()

    with pytest.raises(SpaceError, match=r"config\['x'\]"):
        Kit().test_a_hundred_can_be_pending()


def test_the_kits_spaces_hold_each_kind_of_domain() -> None:
    kinds = {type(domain) for config in SearcherKit.flat.values() for domain in Space.parse(config).parameters.values()}
    assert Categorical in kinds
    assert len(kinds) >= 4

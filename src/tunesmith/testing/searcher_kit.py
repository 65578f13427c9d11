"""The conformance kit for searchers: subclass :class:`SearcherKit`, give ``make``, and let pytest collect the subclass."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunesmith.errors import SpecError
from tunesmith.search.base import Exhausted, Proposal, Searcher
from tunesmith.space import (
    Space,
    choice,
    grid_search,
    lograndint,
    loguniform,
    qloguniform,
    qrandint,
    quniform,
    randint,
    require,
    sample_from,
    uniform,
)
from tunesmith.testing.searcher_story import SearcherStory
from tunesmith.testing.strategies import configs

__all__ = ["SearcherKit"]

FLAT: dict[str, dict[str, Any]] = {
    "floats": {"x": uniform(-1, 1), "y": loguniform(1e-8, 1e8)},
    "steps": {"x": quniform(-0.5, 0.5, 0.1), "y": qloguniform(0.01, 10, 0.01), "z": qrandint(8, 64, 8)},
    "integers": {"n": randint(-3, 4), "m": lograndint(1, 100_000)},
    "one value": {"n": randint(5, 6), "c": choice(["only"])},
    "categories": {"c": choice(["a", "b", None]), "t": choice([1, 1.5, True]), "o": choice([[1, 2], {"k": 1}, len])},
    "nested": {"net": {"layers": [uniform(0, 1), 3, choice(["a", "b"])]}, "constant": ["a", "b"], "n": randint(0, 3)},
    "computed": {"double": sample_from(lambda config: config["x"] * 2), "x": uniform(0, 1)},
    "one wide category": {"c": choice(list(range(500)))},
}
CONDITIONAL: dict[str, dict[str, Any]] = {
    "options": {"opt": choice([{"name": "sgd", "lr": uniform(0, 1)}, {"lr": loguniform(1e-6, 1), "eps": choice([0, 1])}, None])},
    "nested options": {"a": choice([{"b": choice([{"c": uniform(0, 1)}, [randint(0, 2), 7]])}, 3])},
}  # fmt: skip


class SearcherKit:
    """What every searcher must do, as pytest tests.

    Attributes:
        flat, conditional: name -> config of the spaces tried; override to leave out what your searcher refuses (say so in its docstring).
        metric, mode: what the fake results hold.
        random_spaces, random_trials: how many spaces hypothesis draws, and trials in each.

    Example::

        class TestMySearcher(SearcherKit):
            def make(self):
                return MySearcher()
    """

    flat: ClassVar[dict[str, dict[str, Any]]] = FLAT
    conditional: ClassVar[dict[str, dict[str, Any]]] = CONDITIONAL
    metric = "loss"
    mode = "min"
    random_spaces: ClassVar[int] = 15
    random_trials: ClassVar[int] = 12

    def make(self) -> Searcher:
        """A new searcher."""
        raise NotImplementedError("a subclass of SearcherKit gives make()")

    # ---- what tests are made of

    def bound(self, config: Mapping[str, Any], seed: int = 0) -> tuple[Searcher, Space]:
        """A new searcher on the space of ``config``."""
        searcher, space = self.make(), Space.parse(dict(config))
        searcher.bind(space, self.metric, self.mode, seed)
        return searcher, space

    def spaces(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The spaces that this searcher has to work on."""
        yield from self.flat.items()
        if self.make().capabilities.conditional:
            yield from self.conditional.items()

    def check(self, space: Space, answer: object) -> dict[str, Any]:
        """The proposal's values, which must be exactly those of one configuration of the space, each within its domain."""
        assert isinstance(answer, Proposal), f"expected a Proposal, got {answer!r}"
        values = answer.values
        again = space.values_from(space.resolve(values))
        assert again == values, f"{values} are not the values of one configuration of the space; that has {again}"
        assert space.broken_constraint(values) is None
        return values

    def finish(self, searcher: Searcher, number: int, loss: float, *, error: str = "") -> None:
        """Let trial ``number`` end with this loss, or with a failure of this class."""
        trial_id = str(number)
        result = {self.metric: loss, "training_iteration": 1, "trial_id": trial_id}
        searcher.on_trial_result(trial_id, dict(result))
        if error:
            searcher.on_trial_failed(trial_id, error)
        searcher.on_trial_complete(trial_id, None if error else result, bool(error))

    # ---- the tests

    def test_proposals_are_members_of_the_space(self) -> None:
        for name, config in self.spaces():
            searcher, space = self.bound(config)
            for number in range(25):
                try:
                    self.check(space, searcher.propose(number, str(number)))
                except Exception as error:
                    error.add_note(f"in the space {name!r}, trial {number}")
                    raise
                self.finish(searcher, number, float(number % 7))

    def test_bounds_are_kept_in_any_space(self) -> None:
        """A space may be refused, when it is bound; no proposal may lie outside of one that was taken."""
        losses = st.lists(st.floats(-1e9, 1e9) | st.just(math.nan), min_size=self.random_trials, max_size=self.random_trials)

        @settings(max_examples=self.random_spaces, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(config=configs(conditional=self.make().capabilities.conditional), losses=losses, seed=st.integers(0, 99))
        def run(config: dict[str, Any], losses: list[float], seed: int) -> None:
            try:
                searcher, space = self.bound(config, seed)
            except SpecError:
                return
            for number, loss in enumerate(losses):
                answer = searcher.propose(number, str(number))
                if isinstance(answer, Exhausted):  # all there are have been tried
                    break
                self.check(space, answer)
                self.finish(searcher, number, loss)

        run()

    def test_a_hundred_can_be_pending(self) -> None:
        searcher, space = self.bound({"x": uniform(0, 1), "n": randint(0, 10), "c": choice(["a", "b"])})
        seen = [self.check(space, searcher.propose(number, str(number))) for number in range(100)]
        assert len({values["x"] for values in seen}) > 50, "pending suggestions are nearly all alike"
        for number in reversed(range(100)):
            self.finish(searcher, number, float(number))
        self.check(space, searcher.propose(100, "100"))

    def test_failures_and_results_that_are_no_numbers_do_no_harm(self) -> None:
        searcher, space = self.bound({"x": uniform(0, 1), "n": randint(0, 10)})
        for number in range(30):
            self.check(space, searcher.propose(number, str(number)))
            if number % 5 == 0:
                self.finish(searcher, number, 0.0, error="oom_gpu")
            elif number % 5 == 1:
                self.finish(searcher, number, (math.nan, math.inf, -math.inf)[number // 5 % 3])
            elif number % 5 == 2:
                searcher.on_trial_complete(str(number))  # it never reported
            else:
                self.finish(searcher, number, float(number))

    def test_a_result_without_the_metric_does_no_harm(self) -> None:
        searcher, space = self.bound({"x": uniform(0, 1)})
        self.check(space, searcher.propose(0, "0"))
        searcher.on_trial_result("0", {"other": 1, "training_iteration": 1, "trial_id": "0"})
        self.finish(searcher, 0, 0.5)
        self.check(space, searcher.propose(1, "1"))

    def test_equal_results_do_no_harm(self) -> None:
        searcher, space = self.bound({"x": uniform(0, 1), "c": choice(["a", "b"])})
        for number in range(30):
            self.check(space, searcher.propose(number, str(number)))
            self.finish(searcher, number, 1.0)

    def test_constraints_are_kept(self) -> None:
        searcher, space = self.bound({"x": uniform(0, 1), "y": uniform(0, 1), "order": require(lambda config: config["x"] <= config["y"])})
        for number in range(25):
            self.check(space, searcher.propose(number, str(number)))
            self.finish(searcher, number, float(number % 3))

    def test_deterministic_ones_depend_on_seed_and_number_only(self) -> None:
        if not self.make().capabilities.deterministic:
            return
        for _, config in self.spaces():
            forward, space = self.bound(config, seed=7)
            backward, _ = self.bound(config, seed=7)
            there = {number: self.check(space, forward.propose(number, str(number))) for number in range(12)}
            self.finish(backward, 99, 0.1)
            back = {number: self.check(space, backward.propose(number, str(number))) for number in reversed(range(12))}
            assert {n: space.labels(v) for n, v in there.items()} == {n: space.labels(v) for n, v in back.items()}
        other, _ = self.bound({"x": uniform(0, 1)}, seed=8)
        same, _ = self.bound({"x": uniform(0, 1)}, seed=7)
        assert other.propose(3, "3") != same.propose(3, "3")

    def test_grids_are_walked_through_or_refused(self) -> None:
        config = {"g": grid_search([1, 2, 3]), "h": grid_search(["a", "b"])}
        if not self.make().capabilities.grid:
            with pytest.raises(SpecError, match="grid_search"):
                self.bound(config)
            return
        searcher, space = self.bound(config)
        assert searcher.total_samples(2) == 12
        seen = [self.check(space, searcher.propose(number, str(number))) for number in range(12)]
        assert {(values["g"], values["h"]) for values in seen[:6]} == {(g, h) for g in (1, 2, 3) for h in "ab"}
        assert seen[:6] == seen[6:]
        assert isinstance(searcher.propose(12, "12"), Exhausted)

    def test_several_metrics_are_taken_or_refused(self) -> None:
        searcher, space = self.make(), Space.parse({"x": uniform(0, 1)})
        if not searcher.capabilities.multi_objective:
            with pytest.raises(SpecError, match="one metric"):
                searcher.bind(space, ["loss", "size"], ["min", "min"])
            return
        searcher.bind(space, ["loss", "size"], ["min", "min"])
        for number in range(10):
            self.check(space, searcher.propose(number, str(number)))
            searcher.on_trial_complete(str(number), {"loss": 1.0 / (number + 1), "size": float(number), "training_iteration": 1})

    def test_state_survives_a_pickle(self) -> None:
        searcher, space = self.bound({"x": uniform(0, 1)})
        for number in range(5):
            self.check(space, searcher.propose(number, str(number)))
            self.finish(searcher, number, float(number))
        state = pickle.loads(pickle.dumps(searcher.get_state()))
        again, space = self.bound({"x": uniform(0, 1)})
        again.set_state(state)
        self.check(space, again.propose(5, "5"))

    def test_restored_before_there_is_a_space_it_goes_on_after_what_it_knows(self) -> None:
        """``restore(path)`` and then ``run()``: another experiment, whose trials are numbered from 0 again."""
        config = {"x": uniform(0, 1), "n": randint(0, 5)}
        first, space = self.bound(config)
        for number in range(6):
            self.check(space, first.propose(number, str(number)))
            if number:  # the first is not over
                self.finish(first, number, float(number))
        state = pickle.dumps(first.get_state())
        again = self.make()
        again.set_state(pickle.loads(state))
        assert not again.bound
        again.bind(Space.parse(config), self.metric, self.mode)
        assert again.bound
        proposed = self.check(space, again.propose(0, "a"))
        again.on_trial_complete("a", {self.metric: 0.5, "training_iteration": 1})
        resumed = self.make()
        resumed.set_state(pickle.loads(state))
        resumed.bind(Space.parse(config), self.metric, self.mode)
        resumed.on_replayed(0, "a", proposed)
        resumed.on_trial_complete("a", {self.metric: 0.5, "training_iteration": 1})
        assert self.check(space, resumed.propose(1, "b")) == self.check(space, again.propose(1, "b"))

    def test_what_an_earlier_session_proposed_can_be_replayed(self) -> None:
        first, space = self.bound({"x": uniform(0, 1), "n": randint(0, 5)})
        proposed = [self.check(space, first.propose(number, str(number))) for number in range(5)]
        second, _ = self.bound({"x": uniform(0, 1), "n": randint(0, 5)})
        for number, values in enumerate(proposed):
            second.on_replayed(number, str(number), values)
            self.finish(second, number, float(number))
        self.check(space, second.propose(5, "5"))

    def test_resumed_at_any_moment_it_proposes_what_it_would_have(self) -> None:
        space = Space.parse({"x": uniform(0, 1), "n": randint(0, 5), "c": choice(["a", "b"])})
        whole = SearcherStory(self.make, space, self.metric, self.mode)
        for moment in range(1, whole.play()):
            story = SearcherStory(self.make, space, self.metric, self.mode)
            story.play(moment)
            for more in (3, 1000):
                story.resume()
                story.play(more)
            assert story.proposed() == whole.proposed(), f"resumed after moment {moment}, it proposed something else"

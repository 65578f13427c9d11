"""What adapters to other libraries share, with a library that only takes notes."""

from __future__ import annotations

import logging
import math
import pickle
import random
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import SpaceError, SpecError
from tunesmith.optional import load
from tunesmith.search.base import Exhausted, Proposal, SearcherCapabilities
from tunesmith.search.foreign import ATTEMPTS, ForeignSearcher, Guess, codes_of, place_of
from tunesmith.search.foreign_parts import flat_entries, nested_entries
from tunesmith.search.problem import Observation
from tunesmith.space import Space, choice, grid_search, loguniform, randint, require, sample_from, uniform
from tunesmith.testing import SearcherKit


class Notes(ForeignSearcher):
    """Proposes at random, and notes what it is told."""

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(conditional=True, multi_objective=True, batch=True)
    package = "json"
    follows_reports = True
    notes: list[tuple[Any, ...]]

    def begin(self) -> None:
        self.notes = []

    def ask(self, trial: int, attempt: int) -> Guess | Exhausted | None:
        rng = random.Random(self.seed_for(trial, attempt))
        if self.native is not None:
            return Guess({self.native: rng.random()}, ("asked", trial, attempt))
        return Guess(self.problem.space.complete({}, rng), ("asked", trial, attempt))

    def enter(self, trial: int, point: Mapping[str, Any], token: Any) -> Any:
        if any(value == "refused" for value in point.values()):
            raise SpaceError("no such thing")
        self.notes.append(("enter", trial, dict(point), token))
        return trial

    def tell(self, handle: Any, observation: Observation) -> None:
        self.notes.append(("tell", handle, observation.losses, observation.outcome, observation.step, observation.excess))

    def report(self, handle: Any, step: float, losses: tuple[float, ...]) -> None:
        self.notes.append(("report", handle, step, losses))

    def refuse(self, token: Any) -> None:
        self.notes.append(("refuse", token))

    def native_point(self, trial: int, point: Mapping[str, Any]) -> Guess:
        return Guess({self.native: 0.5, **point}, ("made whole", trial))

    def kinds(self) -> list[str]:
        return [note[0] for note in self.notes]


class Remembering(Notes):
    """One that has to be asked again."""

    asks_again = True


class TestNotes(SearcherKit):
    def make(self) -> Notes:
        return Notes()


class TestRemembering(SearcherKit):
    def make(self) -> Notes:
        return Remembering()


def bound(searcher: Notes, config: Mapping[str, Any], **task: Any) -> Notes:
    searcher.bind(Space.parse(dict(config)), "loss", "min", 3, **task)
    return searcher


def values_of(answer: object) -> dict[str, Any]:
    assert isinstance(answer, Proposal)
    return answer.values


X = {"x": uniform(0, 1)}


# ---- packages


def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "json", None)
    with pytest.raises(SpecError, match=r'Notes needs the package json \(.*\)\. Install it: pip install "tunesmith\[json\]"'):
        Notes()
    with pytest.raises(SpecError, match=r'needs the package not_there \(.*pip install "tunesmith\[some-extra\]"'):
        load("Notes", "not_there.inner", "some-extra")


def test_a_searcher_with_its_options_can_be_pickled_before_it_is_bound() -> None:
    again = pickle.loads(pickle.dumps(Notes({"x": uniform(0, 1)}, seed=4, points_to_evaluate=[{"x": 0.5}])))
    assert values_of(bound(again, {"lr": 1}).propose(0, "0"))["x"] == 0.5


# ---- parts


def test_options_are_found_by_value_and_by_type() -> None:
    nodes = Space.parse({"a": choice([1, 1.0, True, "x"]), "b": choice([{"c": 1}, 5, None])}).nodes
    assert [place_of(nodes["a"], code) for code in (1, 1.0, True, "x")] == [0, 1, 2, 3]
    assert [place_of(nodes["b"], code) for code in codes_of(nodes["b"])] == [0, 1, 2]
    with pytest.raises(SpaceError, match=r"config\['a'\]: 'y' stands for none of its 4 options"):
        place_of(nodes["a"], "y")


KEYS = st.text("abc", min_size=1, max_size=2)


@given(st.recursive(st.dictionaries(KEYS, st.integers()), lambda below: st.dictionaries(KEYS, below, min_size=1), max_leaves=5))
def test_flat_and_nested_entries_are_inverse(config: dict[str, Any]) -> None:
    assert dict(flat_entries(nested_entries(dict(flat_entries(config))))) == dict(flat_entries(config))
    assert nested_entries(config) == config


# ---- start points, and what is known


def test_start_points_come_first_and_what_they_leave_open_is_drawn() -> None:
    searcher = bound(Notes(points_to_evaluate=[{"x": 0.25}, {"y": 0.5}]), {"x": uniform(0, 1), "y": uniform(0, 1)})
    first, second, third = (values_of(searcher.propose(number, str(number))) for number in range(3))
    assert first["x"] == 0.25
    assert second["y"] == 0.5
    assert 0.25 not in third.values()
    assert [note[3] for note in searcher.notes] == [None, None, ("asked", 2, 0)]


def test_points_that_were_evaluated_are_told_and_not_run() -> None:
    searcher = Notes(points_to_evaluate=[{"x": 0.25}, {"x": 0.75}], evaluated_rewards=[7.0], mode="max")
    searcher.add_evaluated_point({"x": 0.125}, math.nan)
    bound(searcher, X)
    searcher.add_evaluated_point({"x": 1.0}, 3.0, pruned=True, intermediate_values=[1.0, math.nan, 3.0])
    searcher.add_evaluated_point({"x": 0.0}, None, error=True)
    assert searcher.notes == [
        ("enter", -1, {"x": 0.25}, None), ("tell", -1, (-7.0,), "finished", 0.0, ()),
        ("enter", -2, {"x": 0.125}, None), ("tell", -2, None, "finished", 0.0, ()),
        ("enter", -3, {"x": 1.0}, None), ("report", -3, 1.0, (-1.0,)), ("report", -3, 3.0, (-3.0,)),
        ("tell", -3, (-3.0,), "stopped", 3.0, ()),
        ("enter", -4, {"x": 0.0}, None), ("tell", -4, None, "failed", 0.0, ()),
    ]  # fmt: skip
    assert values_of(searcher.propose(0, "0"))["x"] == 0.75


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points_to_evaluate": {"x": 1}}, "points_to_evaluate must be a list of dicts"),
        ({"points_to_evaluate": [3]}, "points_to_evaluate must be a list of dicts"),
        ({"evaluated_rewards": [1.0]}, "1 evaluated_rewards were given for 0 points_to_evaluate"),
        ({"max_concurrent": -1}, "max_concurrent must be a whole number >= 0"),
        ({"seed": True}, "seed must be a whole number"),
        ({"outcome_constraints": "size <= 1"}, "must be a list of texts"),
        ({"outcome_constraints": ["size < 1"]}, 'texts like "latency <= 20"'),
        ({"mode": "least"}, "mode must be"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Notes(**options)


@pytest.mark.parametrize(
    ("searcher", "config", "error", "message"),
    [
        (Notes(points_to_evaluate=[{"x": 0.5}, {"x": 3.0}]), X, SpaceError, r"points_to_evaluate\[1\]: config\['x'\]: 3.0 is not in"),
        (Notes(X), X, SpecError, "has a space of its own, but the config has domains, too: x"),
        (Notes(), {"x": grid_search([1, 2])}, SpecError, "cannot walk through the grid_search"),
        (
            Notes(metric=["loss", "size"], mode=["min", "min"], points_to_evaluate=[{"x": 0.5}], evaluated_rewards=[1.0]),
            X, SpecError, "1 values were given for an evaluated point, and there are 2 metrics",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_space_is_refused(searcher: Notes, config: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bound(searcher, config)


def test_it_needs_a_metric() -> None:
    with pytest.raises(SpecError, match="Notes: needs a metric to optimise"):
        Notes().bind(Space.parse(X))


# ---- results


def test_ends_of_all_kinds_are_told_as_what_they_are() -> None:
    searcher = bound(Notes(outcome_constraints=["size <= 2"], metric="acc", mode="max"), X)
    for number in range(6):
        searcher.propose(number, str(number))
    searcher.on_trial_result("0", {"acc": 0.5, "training_iteration": 1})
    searcher.on_trial_result("0", {"acc": math.nan, "training_iteration": 2})
    searcher.on_trial_complete("0", {"acc": 0.75, "size": 5, "training_iteration": 3})
    searcher.on_trial_complete("1", {"acc": math.nan, "training_iteration": 1})
    searcher.on_trial_complete("2")
    searcher.on_trial_failed("3", "oom_gpu")
    searcher.on_trial_complete("3", {"acc": 0.9}, error=True)
    searcher.on_trial_failed("4", "infeasible")
    searcher.on_trial_complete("4", None, error=True)
    searcher.on_trial_complete("5", {"training_iteration": 1})
    searcher.on_trial_complete("5", {"acc": 0.1})  # over already
    searcher.on_trial_complete("unknown", {"acc": 0.1})
    searcher.on_trial_result("unknown", {"acc": 0.1})
    assert searcher.notes[6:] == [
        ("report", 0, 1.0, (-0.5,)),
        ("tell", 0, (-0.75,), "finished", 3.0, (3.0,)),
        ("tell", 1, None, "nan", 1.0, ()),
        ("tell", 2, None, "finished", 0.0, ()),
        ("tell", 3, None, "oom_gpu", 0.0, ()),
        ("tell", 4, None, "infeasible", 0.0, ()),
        ("tell", 5, None, "nan", 1.0, ()),
    ]


# ---- constraints


def test_suggestions_that_break_a_constraint_are_refused_and_asked_again() -> None:
    searcher = bound(Notes(), {**X, "high": require(lambda config: config["x"] > 0.75)})
    for number in range(10):
        assert values_of(searcher.propose(number, str(number)))["x"] > 0.75
    refused = [note[1][2] for note in searcher.notes if note[0] == "refuse"]
    assert refused, "with three in four refused, none was"
    assert set(refused) <= set(range(ATTEMPTS))
    assert searcher.kinds().count("enter") == 10


def test_where_a_library_does_not_find_out_of_a_constraint_it_is_random() -> None:
    class Stubborn(Notes):
        def ask(self, trial: int, attempt: int) -> Guess:
            return Guess({"x": 0.0}, ("asked", trial, attempt))

    searcher = bound(Stubborn(), {**X, "high": require(lambda config: config["x"] > 0.5)})
    assert values_of(searcher.propose(0, "0"))["x"] > 0.5
    assert searcher.kinds() == ["refuse"] * ATTEMPTS + ["enter"]
    assert searcher.notes[-1][3] is None


def test_a_library_may_have_nothing_now_or_nothing_more() -> None:
    class Ending(Notes):
        def ask(self, trial: int, attempt: int) -> Guess | Exhausted | None:
            return None if trial == 0 else Exhausted("all tried")

    searcher = bound(Ending(), X)
    assert searcher.propose(0, "0") is None
    assert searcher.propose(1, "1") == Exhausted("all tried")


# ---- spaces of its own


def test_a_space_of_our_domains_beside_the_config_is_laid_over_it() -> None:
    own = {"net": {"lr": loguniform(1e-3, 1), "act": choice(["relu", "tanh"])}, "double": sample_from(lambda at: 2 * at["net"]["lr"])}
    config = {"net": {"lr": 7.0, "depth": 3}, "epochs": 5}
    searcher = bound(Notes(own, points_to_evaluate=[{"net/lr": 0.5}]), config)
    space = Space.parse(config)
    values = [values_of(searcher.propose(number, str(number))) for number in range(4)]
    resolved = [space.resolve(each) for each in values]
    assert resolved[0]["net"]["lr"] == 0.5
    for each in resolved:
        assert each["epochs"] == 5
        assert each["net"]["depth"] == 3
        assert each["double"] == 2 * each["net"]["lr"]
        assert each["net"]["act"] in ("relu", "tanh")
    again = bound(Notes(own, points_to_evaluate=[{"net/lr": 0.5}]), config)
    for number, each in enumerate(values):
        again.on_replayed(number, str(number), each)
    assert [note[1:3] for note in again.notes] == [note[1:3] for note in searcher.notes]
    assert values_of(again.propose(4, "4"))["net/lr"] != 0.5, "the start point was tried again"


def test_constraints_of_the_own_space_and_of_the_config_are_kept() -> None:
    own = {"x": uniform(0, 1), "low": require(lambda config: config["x"] < 0.75)}
    config = {"limit": 0.25, "high": require(lambda config: config["x"] > config["limit"] if "x" in config else True)}
    searcher = bound(Notes(own), config)
    assert all(0.25 < values_of(searcher.propose(number, str(number)))["x"] < 0.75 for number in range(20))


def test_spaces_in_the_librarys_own_terms() -> None:
    config = {"epochs": 5, "never": require(lambda config: "lr" not in config or config["lr"] < 0.9)}
    searcher = bound(Notes("lr", points_to_evaluate=[{"more": 1}]), config)
    assert values_of(searcher.propose(0, "0")) == {"lr": 0.5, "more": 1}
    assert searcher.notes == [("enter", 0, {"lr": 0.5, "more": 1}, ("made whole", 0))]
    values = values_of(searcher.propose(1, "1"))
    assert values["lr"] < 0.9
    again = bound(Notes("lr", points_to_evaluate=[{"more": 1}]), config)
    again.on_replayed(0, "0", {"lr": 0.5, "more": 1})
    assert again.notes == [("enter", 0, {"epochs": 5, "lr": 0.5, "more": 1}, None)]
    assert values_of(again.propose(1, "1")) == values


def test_own_spaces_whose_suggestions_all_break_a_constraint_end_the_search() -> None:
    searcher = bound(Notes("lr"), {"never": require(lambda config: "lr" not in config)})
    answer = searcher.propose(0, "0")
    assert isinstance(answer, Exhausted)
    assert "20 suggestions in a row broke a constraint" in answer.reason


# ---- sessions


def test_what_the_library_does_not_take_back_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    searcher = bound(Notes(), {"c": choice(["fine", "refused"]), "n": randint(0, 3)})
    with caplog.at_level(logging.WARNING, "tunesmith"):
        searcher.on_replayed(0, "t0", {"c": "refused", "n": 1})
    assert "Notes does not learn from trial t0 of an earlier session: no such thing" in caplog.text
    searcher.on_trial_result("t0", {"loss": 1.0})
    searcher.on_trial_complete("t0", {"loss": 1.0})
    assert searcher.notes == []


def test_one_that_remembers_is_asked_again_and_told_only_where_it_differs() -> None:
    first, second = bound(Remembering(), X), bound(Remembering(), X)
    values = [values_of(first.propose(number, str(number))) for number in range(2)]
    second.on_replayed(0, "0", values[0])
    second.on_replayed(1, "1", {"x": 0.125})
    assert second.notes == [first.notes[0], ("refuse", ("asked", 1, 0)), ("enter", 1, {"x": 0.125}, None)]


def test_a_restored_state_tells_the_library_the_same_again() -> None:
    def make() -> Notes:
        searcher = Notes(points_to_evaluate=[{"x": 0.5}], outcome_constraints=["size <= 2"])
        searcher.add_evaluated_point({"x": 0.25}, 4.0)
        return bound(searcher, X)

    searcher = make()
    searcher.add_evaluated_point({"x": 1.0}, 9.0)
    for number in range(4):
        searcher.propose(number, str(number))
        searcher.on_trial_result(str(number), {"loss": 1.0, "size": 3, "training_iteration": 1, "big": "x" * 100})
    searcher.on_trial_complete("0", {"loss": 1.0, "size": 3, "training_iteration": 1})
    searcher.on_trial_failed("1", "nan")
    searcher.on_trial_complete("1", None, error=True)
    state = pickle.loads(pickle.dumps(searcher.get_state()))
    assert "big" not in str(state)
    again = make()
    again.set_state(state)
    told = [note[:3] for note in searcher.notes]
    assert sorted(note[:3] for note in again.notes if note[1] < 0) == sorted(note for note in told if note[1] < 0)
    assert [note[:3] for note in again.notes if note[1] >= 0] == [note for note in told if note[1] >= 0]
    assert again.propose(4, "4") == searcher.propose(4, "4")
    assert again.get_state() == searcher.get_state()
    assert Notes().get_state() == {}


def test_without_an_experiment_it_numbers_trials_itself() -> None:
    searcher, other = bound(Notes(), {"lr": 0.5, **X}), bound(Notes(), {"lr": 0.5, **X})
    other.propose(0, "a")
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert second == {"lr": 0.5, "x": values_of(other.propose(1, "b"))["x"]}
    assert first != second

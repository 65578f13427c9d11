"""Ask and tell: what a study asks, what it makes of what it is told, and its file."""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.errors import JournalCorrupt, JournalLocked, SpaceError, SpecError, StorageFull
from tunesmith.search import BasicVariantGenerator, Proposal, Searcher
from tunesmith.search.limiter import ConcurrencyLimiter
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.repeater import Repeater
from tunesmith.search.sampler import Asked, Sampler
from tunesmith.study import NoSuggestion, Study, StudyTrial
from tunesmith.study.trial import front

SPACE = {"x": tune.uniform(0, 1)}


class NearBest(Sampler):
    follows_reports = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.seen: list[Observation] = []
        self.reports: list[tuple[Any, ...]] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)

    def report(self, trial: int, values: Any, step: float, losses: tuple[float, ...]) -> None:
        self.reports.append((trial, step, losses))

    def propose(self, asked: Asked) -> Proposal | None:
        known = [each for each in self.seen if each.losses]
        if not known:
            return None
        moved = min(known, key=lambda each: each.loss).values["x"] + float(asked.rng.normal(0, 0.1)) + len(asked.pending) / 1000
        return Proposal({"x": min(1.0, max(0.0, moved))}, "near the best")


class Near(NativeSearcher):
    """Depends on what it was told, in which order, and on what is pending."""

    def make_sampler(self, problem: Problem) -> Sampler:
        return NearBest(problem)

    @property
    def seen(self) -> list[Observation]:
        return self.sampler.seen  # type: ignore[attr-defined,no-any-return]


class Several(Near):
    from dataclasses import replace as _replace

    capabilities = _replace(Near.capabilities, multi_objective=True)


class Counting(Searcher):
    """As a user writes it: answers every second time, and counts its questions and the ends of trials."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__("loss", "min")
        self.asked = self.ended = 0
        self.most = most

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.asked >= self.most:
            return self.FINISHED
        self.asked += 1
        return {"x": (self.asked + self.ended / 10) / 100} if self.asked % 2 else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.ended += 1


def study(searcher: Any = None, config: Any = None, **options: Any) -> Study:
    return Study(SPACE if config is None else config, search_alg=searcher, **{"metric": "loss", "mode": "min", "seed": 1, **options})


def xs(one: Study) -> list[float]:
    return [trial.config["x"] for trial in one.trials]


# ---- asking and telling


def test_a_trial_has_its_configuration() -> None:
    one = study("random", config={"net": {"act": tune.choice([len, abs]), "n": 3}, "x": tune.uniform(0, 1)})
    trial = one.ask()
    assert (trial.number, trial.trial_id, trial.state, trial.source) == (0, "00000", "pending", "random")
    assert trial.config["net"]["act"] in (len, abs)
    assert trial.config["net"]["n"] == 3
    assert set(trial.params) == {"net/act", "x"}
    assert trial.params["net/act"] in ("len", "abs")
    assert trial.result is None
    assert isinstance(trial.seed, int)
    assert one.pending == one.trials == [trial]


@pytest.mark.parametrize("make", [Near, BasicVariantGenerator])
def test_it_asks_what_a_run_would_try(make: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": abs(config["x"] - 0.3)}

    analysis = tune.run(
        train, config=SPACE, metric="loss", mode="min", num_samples=8, search_alg=make(), seed=7, storage_path=tmp_path, verbose=0,
        executor="inline", loggers=(),
    )  # fmt: skip
    one = study(make(), seed=7)
    for _ in range(8):
        trial = one.ask()
        one.tell(trial, abs(trial.config["x"] - 0.3))
    assert xs(one) == [trial.config["x"] for trial in analysis]
    assert one.best_config == analysis.best_config


def test_as_many_as_one_likes_are_pending_and_told_in_any_order() -> None:
    one = study(Near())
    trials = [one.ask() for _ in range(50)]
    for trial in reversed(trials):
        one.tell(trial.number, trial.config["x"])
    assert one.pending == []
    assert one.best_value == min(xs(one))
    assert [each.trial for each in one.searcher.seen] == list(reversed(range(50)))  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [0.5, {"loss": 0.5}, [0.5], {"loss": 0.5, "notes": "good", "curve": [1, 2]}])
def test_values_in_all_their_forms(value: Any) -> None:
    one = study(Near())
    one.tell(one.ask(), value)
    assert one.best_value == 0.5
    assert one.trials[0].result["training_iteration"] == 1  # type: ignore[index]


def test_numpy_and_nested_values() -> None:
    import numpy as np

    one = study(Near(), metric="val/loss")
    one.tell(one.ask(), {"val": {"loss": np.float32(0.5)}})
    assert (one.best_value, one.trials[0].state) == (0.5, "finished")


def test_reports_reach_the_searcher_and_the_last_one_counts() -> None:
    one = study(Near())
    trial = one.ask()
    one.report(trial, 3.0)
    one.report(trial, {"loss": 2.0, "lr": 0.1})
    one.tell(trial, state="stopped")
    assert one.searcher.sampler.reports == [(0, 1.0, (3.0,)), (0, 2.0, (2.0,))]  # type: ignore[attr-defined]
    assert [(each.losses, each.step) for each in one.searcher.seen] == [((2.0,), 2.0)]  # type: ignore[attr-defined]
    assert (trial.state, len(trial.reports), one.best_value) == ("stopped", 2, 2.0)


@pytest.mark.parametrize(
    ("value", "state", "expected", "outcome"),
    [
        (None, "failed", "failed", "user_error"),
        (None, "infeasible", "infeasible", "infeasible"),
        (1.0, "infeasible", "infeasible", "infeasible"),
        (None, "lost", "lost", "worker_lost"),
        (math.nan, "finished", "nan", "nan"),
    ],
)
def test_trials_that_came_to_nothing(value: Any, state: str, expected: str, outcome: str) -> None:
    one = study(Near())
    trial = one.ask()
    one.tell(trial, value, state=state)
    assert trial.state == expected
    assert [(each.outcome, each.losses) for each in one.searcher.seen] == [(outcome, None)]  # type: ignore[attr-defined]
    with pytest.raises(SpecError, match="no trial has a finite value of 'loss' yet"):
        _ = one.best_trial
    assert one.best_trials == []


def test_an_infinite_value_is_no_best() -> None:
    one = study(Near(), mode="max")
    one.tell(one.ask(), math.inf)
    one.tell(one.ask(), 1.0)
    assert one.best_value == 1.0


def test_the_best_by_mode_and_of_equals_the_first() -> None:
    for mode, best in (("min", 1), ("max", 0)):
        one = study(mode=mode)
        for value in (5, 2, 2, 5):
            one.tell(one.ask(), value)
        assert one.best_trial.number == best
        assert len(one.best_trials) == 2


def test_several_metrics_have_a_front() -> None:
    one = study(Several(), metric=["loss", "acc"], mode=["min", "max"])
    for values in ([1, 0.5], [2, 0.9], [3, 0.7], {"loss": 0.5, "acc": 0.1, "more": 1}):
        one.tell(one.ask(), values)
    assert [trial.number for trial in one.best_trials] == [0, 1, 3]
    with pytest.raises(SpecError, match="no single best; see best_trials"):
        _ = one.best_config
    with pytest.raises(SpecError, match="expected a value for each of loss, acc"):
        one.tell(one.ask(), 1.0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_a_front_is_what_nothing_dominates(points: list[tuple[int, ...]]) -> None:
    def beats(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b))

    trials = [StudyTrial(number, {}, {}, 0) for number in range(len(points))]
    expected = [number for number, point in enumerate(points) if not any(beats(other, point) for other in points)]
    assert [trial.number for trial in front(zip(trials, points))] == expected


# ---- what is refused


def test_trials_that_are_not_pending_are_refused() -> None:
    one, other = study(), study()
    trial = one.ask()
    stranger = other.ask()
    with pytest.raises(SpecError, match="asked for no trial 7; its pending ones are 0"):
        one.tell(7, 1.0)
    with pytest.raises(SpecError, match="asked for no trial"):
        one.tell(stranger, 1.0)
    with pytest.raises(SpecError, match="asked for no trial True"):
        one.tell(True, 1.0)
    one.tell(trial, 1.0)
    with pytest.raises(SpecError, match="trial 0 is over already: it was told as finished"):
        one.tell(trial, 1.0)
    with pytest.raises(SpecError, match="is over already"):
        one.report(trial, 1.0)


def test_wrong_values_are_refused_and_the_trial_stays_pending() -> None:
    one = study()
    trial = one.ask()
    for wrong, message in (
        (None, "has no value of 'loss'. If it has none, say state='failed'"),
        ({"los": 1.0}, "has no value of 'loss'. Did you mean 'los'?"),
        ({"loss": "low"}, "'loss' must be a number, got 'low'"),
        ({"loss": [1, 2]}, r"'loss' must be a number, got \[1, 2\]"),
        ([1.0, 2.0], "expected a value for each of loss"),
    ):
        with pytest.raises(SpecError, match=message):
            one.tell(trial, wrong)
    with pytest.raises(SpecError, match=r"state='fail' is not known\. Did you mean 'failed'"):
        one.tell(trial, 1.0, state="fail")
    assert one.pending == [trial]


def test_arguments_are_checked() -> None:
    with pytest.raises(SpecError, match="needs a metric and a mode"):
        Study(SPACE)
    with pytest.raises(SpecError, match="contradicts"):
        study(Near("acc", "max"))
    with pytest.raises(SpecError, match="search_alg='randm' is not known"):
        study("randm")
    with pytest.raises(SpecError, match="num_samples must be a whole number >= 1"):
        study(num_samples=0)
    with pytest.raises(SpaceError, match="config"):
        study(config=7)
    assert Study(SPACE, search_alg=Near("acc", "max")).metrics == ("acc",)
    assert Study(SPACE, mode="min").metrics == ("_metric",)


# ---- nothing to ask for


def test_a_grid_comes_to_its_end() -> None:
    one = study(config={"g": tune.grid_search([1, 2]), "h": tune.grid_search(["a", "b"])})
    found = [one.ask().config for _ in range(4)]
    assert found == [{"g": g, "h": h} for h in "ab" for g in (1, 2)]
    with pytest.raises(NoSuggestion, match="all 4 trials of num_samples have been asked for") as caught:
        one.ask()
    assert caught.value.final


def test_num_samples_counts_feasible_trials() -> None:
    one = study(num_samples=2)
    one.tell(one.ask(), state="infeasible")
    one.ask()
    one.ask()
    with pytest.raises(NoSuggestion, match="all 2 trials"):
        one.ask()


def test_a_searcher_that_waits_says_for_what() -> None:
    class Waiting(Counting):
        def suggest(self, trial_id: str) -> dict[str, Any] | None:
            return {"x": 0.5} if self.ended else ({"x": 0.25} if not self.asked else None)

    searcher = Waiting()
    one = study(searcher)
    first = one.ask()
    searcher.asked = 1
    with pytest.raises(NoSuggestion, match="Waiting has nothing to propose before it is told what came of a pending trial: 0") as caught:
        one.ask()
    assert not caught.value.final
    one.tell(first, 1.0)
    assert one.ask().config == {"x": 0.5}


def test_a_searcher_that_never_answers_is_given_up() -> None:
    class Silent(Searcher):
        def suggest(self, trial_id: str) -> None:
            return None

    with pytest.raises(NoSuggestion, match="Silent had nothing to propose 100 times in a row") as caught:
        study(Silent()).ask()
    assert caught.value.final


def test_a_searcher_that_is_finished_says_so() -> None:
    one = study(Counting(most=1))
    one.ask()
    with pytest.raises(NoSuggestion, match="returned FINISHED") as caught:
        one.ask()
    assert caught.value.final


def test_bounds_of_searchers_hold() -> None:
    one = study(ConcurrencyLimiter(Near(), 2))
    first = one.ask()
    one.ask()
    with pytest.raises(NoSuggestion, match=r"2 trials are pending, and ConcurrencyLimiter has at most 2 at once.*: 0, 1"):
        one.ask()
    one.tell(first, 1.0)
    assert one.ask().number == 2


def test_with_a_repeater() -> None:
    one = study(Repeater(Near(), 2))
    for value in (1.0, 3.0):
        one.tell(one.ask(), value)
    assert [trial.config["__trial_index__"] for trial in one.trials] == [0, 1]
    assert [each.losses for each in one.searcher.searcher.seen] == [(2.0,)]  # type: ignore[attr-defined]


# ---- what is known from elsewhere


def test_added_trials_are_told_and_can_be_the_best() -> None:
    one = study(Near())
    added = one.add({"x": 0.25}, 0.125)
    one.add({"x": 0.5}, None, state="failed")
    assert (added.number, added.source, one.best_config) == (-1, "added", {"x": 0.25})
    assert [(each.trial, each.losses, each.outcome) for each in one.searcher.seen] == [  # type: ignore[attr-defined]
        (-1, (0.125,), "finished"),
        (-2, None, "failed"),
    ]
    assert one.ask().source == "near the best"


def test_added_trials_are_checked() -> None:
    one = study(Near())
    with pytest.raises(SpaceError, match=r"config\['x'\]"):
        one.add({"x": 7}, 1.0)
    with pytest.raises(SpecError, match="expected a finite number for each of loss, got None"):
        one.add({"x": 0.5}, None)
    with pytest.raises(SpecError, match="state='lost' is not known"):
        one.add({"x": 0.5}, 1.0, state="lost")
    with pytest.raises(SpecError, match="cannot be told"):
        study(Counting()).add({"x": 0.5}, 1.0)
    assert one.trials == []


def test_one_that_never_learns_need_not_be_told() -> None:
    one = study()
    one.add({"x": 0.5}, 1.0)
    assert one.best_config == {"x": 0.5}


# ---- its file


def play(one: Study, moves: int) -> None:
    """Two pending at a time; reports, failures and additions among it."""
    for move in range(moves):
        told = sum(trial.state != "pending" for trial in one.trials)
        if len(one.pending) < 2 or move % 5 == 0:
            with suppress(NoSuggestion):
                one.ask()
                continue
        if not one.pending:
            continue
        if told % 4 == 3:
            one.tell(one.pending[-1], state="failed")
        else:
            trial = one.pending[told % len(one.pending)]
            one.report(trial, 1.0 + trial.config["x"])
            one.tell(trial, {"loss": trial.config["x"], "note": "über"})


@pytest.mark.parametrize("make", [Near, Counting, lambda: ConcurrencyLimiter(Near(), 5, batch=True), lambda: Repeater(Near(), 2)])
def test_the_same_call_goes_on_exactly(make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = study(make())
    play(whole, 12)
    with study(make(), path=tmp_path / "study.jsonl") as one:
        play(one, 12)
    again = study(make(), path=tmp_path / "study.jsonl", seed=None)
    assert (again.seed, xs(again)) == (1, xs(whole))
    assert [trial.state for trial in again.trials] == [trial.state for trial in whole.trials]
    assert [trial.reports for trial in again.trials] == [trial.reports for trial in whole.trials]
    assert [trial.seed for trial in again.trials] == [trial.seed for trial in whole.trials]
    play(whole, 12)
    play(again, 12)
    assert xs(again) == xs(whole)
    assert not caplog.messages
    again.close()


def test_added_trials_are_in_it_too(tmp_path: Path) -> None:
    with study(Near(), path=tmp_path / "s") as one:
        one.add({"x": 0.25}, 1.0)
        expected = one.ask().config
    with study(Near(), path=tmp_path / "s") as again:
        assert (again.best_config, again.trials[1].config) == ({"x": 0.25}, expected)
        assert [each.trial for each in again.searcher.seen] == [-1]  # type: ignore[attr-defined]


def test_objects_among_the_options(tmp_path: Path) -> None:
    space = {"act": tune.choice([len, abs]), "x": tune.randint(0, 100)}
    with study(config=space, path=tmp_path / "s") as one:
        expected = [one.ask().config for _ in range(5)]
    with study(config=space, path=tmp_path / "s") as again:
        assert [trial.config for trial in again.trials] == expected


def test_saved_to_another_file(tmp_path: Path) -> None:
    one = study(Near())
    play(one, 9)
    one.save(tmp_path / "copy")
    with study(Near(), path=tmp_path / "copy") as again:
        assert xs(again) == xs(one)
        assert again.ask().config == one.ask().config
    with pytest.raises(StorageFull, match="cannot be saved"):
        one.save(tmp_path / "copy")


def test_cut_anywhere_it_goes_on(tmp_path: Path) -> None:
    """The process may have died at any byte: what was whole is kept."""
    path = tmp_path / "s"
    with study(Near(), path=path) as one:
        play(one, 8)
    content = path.read_bytes()
    whole = content.splitlines(keepends=True)
    for end in range(len(whole[0]), len(content), 37):
        path.write_bytes(content[:end])
        kept = [json.loads(line) for line in content[:end].split(b"\n")[:-1]]
        with study(Near(), path=path) as again:
            assert [trial.number for trial in again.trials] == [event["trial"] for event in kept if event["event"] == "ask"]
            assert path.read_bytes() == b"".join(whole[: len(kept)])
            again.ask()
        with study(Near(), path=path) as third:
            assert len(third.trials) == len(again.trials)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    one = study(path=tmp_path / "s")
    with pytest.raises(JournalLocked):
        study(path=tmp_path / "s")
    one.close()
    one.close()
    study(path=tmp_path / "s").close()
    assert sorted(os.listdir(tmp_path)) == ["s"]


def test_a_study_that_is_no_longer_used_lets_go_of_its_file(tmp_path: Path) -> None:
    one = study(path=tmp_path / "s")
    del one
    study(path=tmp_path / "s").close()


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"metric": "acc"}, "another metrics: .'loss'., and now it is .'acc'."),
        ({"mode": "max"}, "another modes"),
        ({"searcher": "random"}, "another searcher: 'Near', and now it is 'BasicVariantGenerator'"),
        ({"config": {"x": tune.uniform(0, 2)}}, "another space"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, other: dict[str, Any], what: str) -> None:
    study(Near(), path=tmp_path / "s").close()
    with pytest.raises(SpecError, match=what):
        study(**{"searcher": Near(), "path": tmp_path / "s", **other})
    study(Near(), path=tmp_path / "s").close()


def test_another_seed_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study(path=tmp_path / "s").close()
    with study(path=tmp_path / "s", seed=5) as again:
        assert again.seed == 1
    assert caplog.messages == ["the study began with seed=1 and goes on with it; seed=5 is not used."]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text('{"event":"study"}\nhello\n')
    with pytest.raises(JournalCorrupt, match="line 2: is no event of a study"):
        study(path=tmp_path / "s")
    with pytest.raises(StorageFull, match="cannot be opened"):
        study(path=tmp_path)


def test_a_searcher_that_does_not_repeat_itself_is_not_told_of_what_it_would_not_propose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Shifted(Counting):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            self.asked += 1
            return {"x": self.asked / 100 + self.shift}

    Shifted.shift = 0.0  # type: ignore[attr-defined]
    with study(Shifted(), path=tmp_path / "s") as one:
        one.tell(one.ask(), 1.0)
        one.ask()
    Shifted.shift = 0.5  # type: ignore[attr-defined]
    with study(Shifted(), path=tmp_path / "s") as again:
        assert len(caplog.messages) == 1
        assert "Shifted does not repeat itself: trial 0 has {'x': 0.01}, and now it proposes {'x': 0.51}" in caplog.messages[0]
        again.tell(1, 2.0)
        assert again.searcher.ended == 2  # type: ignore[attr-defined]
        assert [trial.state for trial in again.trials] == ["finished", "finished"]


def test_it_can_be_pickled_while_it_has_no_file() -> None:
    one = study(BasicVariantGenerator())
    one.tell(one.ask(), 1.0)
    again = pickle.loads(pickle.dumps(one))
    assert again.ask().config == one.ask().config


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "hyperopt", "nevergrad"])
def test_it_can_be_pickled_whoever_searches(name: str) -> None:
    one = study(name, metric="loss", mode="min", seed=3)
    for _ in range(3):
        one.tell(one.ask(), 1.0)
    pending = one.ask()
    again = pickle.loads(pickle.dumps(one))
    assert again.ask().config == one.ask().config
    again.tell(pending.number, 0.5)
    assert [trial.state for trial in again.trials] == ["finished"] * 4 + ["pending"]


def test_threads_take_turns() -> None:
    answers: list[StudyTrial] = []

    class Meanwhile(Searcher):
        """While it is asked for the first time, another thread asks, too."""

        other: threading.Thread | None = None

        def suggest(self, trial_id: str) -> dict[str, Any]:
            if self.other is None:
                self.other = threading.Thread(target=lambda: answers.append(one.ask()))
                self.other.start()
                self.other.join(0.02)
                assert self.other.is_alive(), "it did not wait"
            return {"x": 0.5}

    searcher = Meanwhile("loss", "min")
    one = study(searcher)
    answers.append(one.ask())
    assert searcher.other is not None
    searcher.other.join(10)
    assert sorted(trial.number for trial in answers) == [0, 1]


SCRIPT = """
import sys, tunesmith as tune
from tunesmith.study import Study
study = Study({"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=3, path=sys.argv[1])
while True:
    trial = study.ask()
    study.tell(trial, trial.config["x"])
    print(trial.number, flush=True)
"""


def test_killed_it_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(20):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    last = int(rest[-1]) if rest else last
    with study(path=tmp_path / "s", seed=3) as one:
        assert last >= 19
        assert len(one.trials) - last in (1, 2)
        assert all(trial.state == "finished" for trial in one.trials[: last + 1])
        fresh = study(seed=3)
        for asked in xs(one):
            trial = fresh.ask()
            assert trial.config["x"] == asked
            fresh.tell(trial, asked)

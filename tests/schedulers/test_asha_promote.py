"""ASHA in the form that promotes: who goes on is always one of the best, the highest rung goes first, and nobody waits for ever."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.settings import Settings
from tunesmith.schedulers.asha import AsyncHyperBandScheduler
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.pareto import ParetoRanking
from tunesmith.testing import SchedulerKit
from tunesmith.testing.scheduler_runs import METRIC, loss

# -- in whole experiments ------------------------------------------------------------------------------------------------


class Closing(SchedulerKit):
    """Its rounds close by themselves: the core never has to end a paused trial, or start a waiting one, to get on."""

    def _watch(self, loop: Any, record: Any, commands: Any) -> None:
        super()._watch(loop, record, commands)
        for decision in record.decisions:
            assert loop.controller.state.only or "was left" not in decision.reason, decision

    def test_paused_by_people_and_never_resumed_by_them(self) -> None:
        """The next session takes them up."""
        for seed in range(4):
            loop = self.loop(seed)
            loop.start()
            for _ in range(30):
                loop.step()
                for number in sorted(loop.controller.state.running)[:1]:
                    loop.feed(ev.UserAction("pause", number))
            loop.crash()
            loop.run()
            self._ended(loop)


class TestPromote(Closing):
    def make(self, metric: str, mode: str) -> Scheduler:
        return AsyncHyperBandScheduler(metric=metric, mode=mode, max_t=16, reduction_factor=2, form="promote")


class TestPromoteWithBrackets(Closing):
    def make(self, metric: str, mode: str) -> Scheduler:
        return AsyncHyperBandScheduler(metric=metric, mode=mode, max_t=16, reduction_factor=2, brackets=3, seed=7, form="promote")


class TestPromoteByTheClock(Closing):
    def make(self, metric: str, mode: str) -> Scheduler:
        return AsyncHyperBandScheduler("time_total_s", metric, mode, 12.5, 1.5, 2.5, stop_last_trials=False, form="promote")


class TestPromoteBySeveralMetrics(Closing):
    spec = {"metrics": [METRIC, "cost"]}  # noqa: RUF012 - as the kit declares it

    def make(self, metric: str, mode: str) -> Scheduler:
        return AsyncHyperBandScheduler(max_t=16, reduction_factor=2, form="promote")

    def loop(self, seed: int = 0, *, mode: str = "min", metrics: Any = loss, **options: Any) -> Any:
        def both(values: Any, iteration: int) -> dict[str, Any]:
            return {**metrics(values, iteration), "cost": round(values.get("x", 0.5) * 7.3 % 1, 1)}

        return super().loop(seed, mode=mode, metrics=both, **{"modes": [mode, "max"], **options})


# -- slots and trials, and nothing else ----------------------------------------------------------------------------------


@dataclass
class View:
    number: int
    iteration: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass
class Wait:
    """What could be started, as ``choose`` sees it."""

    views: dict[int, View]
    paused: tuple[int, ...]
    pending: tuple[View, ...] = ()

    def get(self, number: int) -> View | None:
        return self.views[number] if number in self.paused else None


@dataclass
class Field:
    """Carries out at once what a scheduler decides. Keeps a book of its own of who is on which rung, and holds each promotion against it.

    Args:
        curve: (trial, iteration) -> score or scores, larger is better.
        trials: to draw in all.
    """

    asha: AsyncHyperBandScheduler
    curve: Callable[[int, int], Any]
    trials: int
    slots: int
    factor: float
    rng: random.Random
    views: dict[int, View] = field(default_factory=dict)
    running: list[int] = field(default_factory=list)
    paused: dict[int, None] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    rungs: dict[tuple[int, float], dict[int, Any]] = field(default_factory=dict)
    promoted: dict[tuple[int, float], list[int]] = field(default_factory=dict)

    def run(self) -> None:
        while len(self.ended) < self.trials:
            self.fill()
            assert self.running, f"nothing runs; paused are {list(self.paused)}"
            self.report(self.running.pop(self.rng.randrange(len(self.running))))

    def fill(self) -> None:
        while len(self.running) < self.slots:
            view = self.asha.choose(Wait(self.views, tuple(self.paused)))
            if isinstance(view, Decision):
                number = view.trial
                assert number is not None
                assert "is among the best" in view.reason
                assert self.waits_highest(number)
                self.promote(number)
                del self.paused[number]
                self.running.append(number)
            else:
                assert not self.promotable(), f"{self.promotable()} could be promoted, and are not"
                if len(self.views) == self.trials:
                    return
                self.draw()

    def draw(self) -> None:
        view = View(len(self.views))
        self.views[view.number] = view
        self.running.append(view.number)
        self.asha.on_trial_add(view)
        if len(self.views) == self.trials:
            self.obey(self.asha.on_search_end(), -1)

    def report(self, number: int) -> None:
        view = self.views[number]
        view.iteration += 1
        score = self.curve(number, view.iteration)
        names = ("a", "b") if isinstance(score, tuple) else ("a",)
        view.metrics = {"training_iteration": view.iteration, **dict(zip(names, score if isinstance(score, tuple) else (score,)))}
        rung = self.rungs.setdefault(key, {}) if (key := self.rung_of(number)) is not None else {number: score}
        arrived = number not in rung and view.iteration < self.asha.max_t
        if arrived:
            rung[number] = score
        answer = self.asha.on_result(view, view.metrics)
        if self.obey(answer, number):
            return
        self.running.append(number)
        if arrived:
            self.promote(number)

    def rung_of(self, number: int) -> tuple[int, float] | None:
        """(bracket, milestone) that the trial has come to."""
        bracket = self.asha._live[number].bracket
        milestones = [stage.rung.milestone for stage in self.asha._ladders[bracket].stages]
        reached = [milestone for milestone in milestones if milestone <= self.views[number].iteration]
        return (bracket, reached[-1]) if reached else None

    def obey(self, answer: Any, number: int) -> bool:
        """True if the trial in hand does not go on."""
        gone = False
        decisions = [] if isinstance(answer, str) else answer if isinstance(answer, list) else [answer]
        for decision in decisions:
            trial = number if decision.trial is None else decision.trial
            assert decision.reason
            if decision.do == "pause":
                assert trial == number
                self.paused[trial] = None
            elif decision.do == "stop":
                assert trial == number or trial in self.paused
                self.paused.pop(trial, None)
                self.ended[trial] = decision.reason
                self.obey(self.asha.on_trial_end(self.views[trial], "stopped"), -1)
            else:
                assert (decision.do, trial) == ("continue", number)
                continue
            gone = gone or trial == number
        return gone

    # the rule

    def order(self, rung: dict[int, Any]) -> list[int]:
        if not isinstance(next(iter(rung.values())), tuple):
            return sorted(rung, key=lambda trial: (-rung[trial], trial))
        ranking = ParetoRanking()
        for trial, score in rung.items():
            ranking.add(trial, score)
        return ranking.best(len(rung))

    def best(self, key: tuple[int, float]) -> list[int]:
        rung = self.rungs[key]
        return self.order(rung)[: int(len(rung) / self.factor + 1e-9)]

    def promotable(self) -> list[int]:
        """All that wait and may go on; the last one should go first."""
        found: list[int] = []
        for key in sorted(self.rungs, key=lambda key: (key[1], -key[0])):
            best = self.best(key) if self.rungs[key] else []
            found += [trial for trial in reversed(best) if trial in self.paused and self.rung_of(trial) == key]
        return found

    def waits_highest(self, number: int) -> bool:
        return self.promotable()[-1:] == [number]

    def promote(self, number: int) -> None:
        key = self.rung_of(number)
        assert key is not None
        assert number in self.best(key), f"trial {number} is promoted and is not among {self.best(key)}"
        gone = self.promoted.setdefault(key, [])
        assert number not in gone
        gone.append(number)


def play(seed: int, *, trials: int, slots: int, factor: float = 2, brackets: int = 1, max_t: int = 16, several: bool = False) -> Field:
    rng = random.Random(seed)
    tops = [(rng.random(), rng.random()) for _ in range(trials)]
    digits = rng.choice((1, 6))
    noise = random.Random(seed + 1)

    def curve(trial: int, time: int) -> Any:
        one, other = (round(top - 0.5 / time + noise.gauss(0, 0.1), digits) for top in tops[trial])
        return (one, other) if several else one

    asha = AsyncHyperBandScheduler(max_t=max_t, reduction_factor=factor, brackets=brackets, form="promote", seed=seed)
    metrics = ("a", "b") if several else ("a",)
    asha.start(Settings(metrics=metrics, modes=("max",) * len(metrics)))
    field = Field(asha, curve, trials, slots, factor, rng)
    field.run()
    return field


@given(
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.sampled_from([1, 3, 50]),
    st.sampled_from([2, 3, 2.5]),
    st.sampled_from([1, 3]),
    st.booleans(),
)
def test_promoted_are_the_best_the_highest_first_and_all_end(
    seed: int, trials: int, slots: int, factor: float, brackets: int, several: bool
) -> None:
    """What :class:`Field` asserts; and in the end nobody of the best of a rung was left there."""
    played = play(seed, trials=trials, slots=slots, factor=factor, brackets=brackets, several=several)
    for key in filter(played.rungs.get, played.rungs):
        assert set(played.best(key)) <= set(played.promoted.get(key, [])), f"not all of the best of rung {key} were promoted"
    assert not played.paused
    assert not played.asha._live


def test_with_one_slot_it_is_successive_halving_at_the_end() -> None:
    """As many at each rung as the rule says: here curves never cross, and the best come first."""
    asha = AsyncHyperBandScheduler(max_t=64, reduction_factor=4, form="promote")
    asha.start(Settings(metrics=("a",), modes=("max",)))
    played = Field(asha, lambda trial, time: -trial, 64, 1, 4, random.Random(0))
    played.run()
    assert [len(played.rungs[0, milestone]) for milestone in (1, 4, 16)] == [64, 16, 4]
    assert [one for one, reason in played.ended.items() if "max_t=64" in reason] == [0]


def test_late_comers_that_are_better_go_on_too() -> None:
    """So more may be promoted than the best quarter there is at last; but each was among it when it was."""
    asha = AsyncHyperBandScheduler(max_t=64, reduction_factor=4, form="promote")
    asha.start(Settings(metrics=("a",), modes=("max",)))
    played = Field(asha, lambda trial, time: trial, 16, 1, 4, random.Random(0))
    played.run()
    assert played.promoted[0, 1] == list(range(3, 16)), "who comes fourth and is best of four goes on, and so do all better ones"


# -- one by one ----------------------------------------------------------------------------------------------------------


def begun(trials: int, **options: Any) -> Any:
    asha = AsyncHyperBandScheduler(**{"max_t": 100, "reduction_factor": 2, "form": "promote", **options})
    asha.start(Settings(seed=5, metrics=("score",), modes=("max",)))
    for number in range(trials):
        asha.on_trial_add(View(number))
    return asha


def report(asha: Any, trial: int, time: float, score: float) -> list[tuple[str, int, str]]:
    """(do, trial, reason) of its decisions; nothing: it goes on."""
    answer = asha.on_result(View(trial), {"training_iteration": time, "score": score})
    decisions = [] if answer == "CONTINUE" else answer if isinstance(answer, list) else [answer]
    return [(one.do, trial if one.trial is None else one.trial, one.reason) for one in decisions]


def end(asha: Any, trial: int, outcome: str = "finished", **metrics: Any) -> list[tuple[str, int, str]]:
    answer: list[Decision] = asha.on_trial_end(View(trial, metrics=metrics), outcome)
    return [(one.do, one.trial or 0, one.reason) for one in answer]


def choose(asha: Any, *paused: int, pending: tuple[int, ...] = ()) -> int | None:
    view = asha.choose(Wait({number: View(number) for number in paused}, paused, tuple(map(View, pending))))
    return view.trial if isinstance(view, Decision) else view.number if view is not None else None


def test_reasons() -> None:
    asha = begun(3)
    assert report(asha, 0, 1, 0.5) == [("pause", 0, "0.5 waits for others at training_iteration 1 (1st of 1, bracket 0)")]
    assert report(asha, 1, 1, 0.7) == [
        ("continue", 1, "0.7 is among the best 1 and goes on at training_iteration 1 (1st of 2, bracket 0)")
    ]
    assert report(asha, 2, 1, 0.6) == [
        ("pause", 2, "0.6 is below the cut of 0.7 at training_iteration 1 (2nd of 3, bracket 0)")
    ]
    assert report(asha, 1, 2, 0.7) == [("pause", 1, "0.7 waits for others at training_iteration 2 (1st of 1, bracket 0)")]
    assert [(one.do, one.trial) for one in asha.on_search_end()] == [("stop", 0), ("stop", 2), ("stop", 1)]


def test_who_is_left_is_told_that_nobody_can_come() -> None:
    asha = begun(3)
    report(asha, 0, 1, 0.5)
    report(asha, 1, 1, 0.7)
    assert not asha.on_search_end(), "trial 2 may come to this rung, and 0 be promoted then"
    last = report(asha, 2, 1, 0.4)
    assert [one[:2] for one in last] == [("stop", 0), ("stop", 2)], "trial 1 runs, but to the next rung"
    assert last[0][2] == "0.5 is below the cut of 0.7 at training_iteration 1 (2nd of 3, bracket 0), and nobody can come there any more"


def test_a_death_settles_a_rung_as_well() -> None:
    for outcome in ("user_error", "finished", "infeasible"):
        asha = begun(3)
        report(asha, 0, 1, 0.5)
        report(asha, 1, 1, 0.7)
        assert not asha.on_search_end()
        assert [one[:2] for one in end(asha, 2, outcome)] == [("stop", 0)]


def test_who_is_promotable_is_not_stopped_but_waits_for_a_slot() -> None:
    asha = begun(3)
    report(asha, 0, 1, 0.7)
    report(asha, 1, 1, 0.5)
    assert not asha.on_search_end()
    assert [one[:2] for one in end(asha, 2)] == [("stop", 1)]
    assert choose(asha, 0, 1) == 0
    assert [one[:2] for one in report(asha, 0, 2, 0.9)] == [("stop", 0)]


def test_when_more_are_drawn_after_all_they_wait_again() -> None:
    asha = begun(1)
    assert not asha.on_search_end()
    asha.on_trial_add(View(1))
    end(asha, 1, "infeasible")
    assert [one[0] for one in report(asha, 0, 1, 0.5)] == ["pause"]


def test_who_was_to_be_promoted_may_be_overtaken_by_one_that_is_drawn_after_all() -> None:
    asha = begun(2)
    report(asha, 0, 1, 0.7)
    report(asha, 1, 1, 0.5)
    assert [(one.do, one.trial) for one in asha.on_search_end()] == [("stop", 1)], "0 goes on as soon as there is a slot"
    asha.on_trial_add(View(2))
    assert [one[0] for one in report(asha, 2, 1, 0.9)] == ["continue"]
    assert choose(asha, 0) is None
    assert [(one.do, one.trial) for one in asha.on_search_end()] == [("stop", 0)]


def test_what_cannot_be_started_now_is_passed_over_and_not_forgotten() -> None:
    asha = begun(5)
    for trial in range(4):
        report(asha, trial, 1, 0.5 + trial / 10)
    report(asha, 4, 1, 0.1)
    assert choose(asha) is None
    assert choose(asha, 0, 1) is None, "they are not among the best"
    more = begun(5)
    for trial, score in enumerate((0.9, 0.8, 0.1, 0.2)):
        report(more, trial, 1, score)
    assert choose(more, 1, 2) == 1, "0 has been told to pause, and has not done so yet"
    assert choose(more, 0, 2) == 0
    assert choose(more, 2, 3, pending=(4,)) == 4


def test_a_trial_that_a_person_has_paused_is_taken_up_before_new_ones() -> None:
    """In a later session: nobody else would."""
    asha = begun(3)
    report(asha, 0, 1, 0.5)
    assert choose(asha, 0, 1, pending=(2,)) == 1
    assert choose(asha, 0, pending=(2,)) == 2


def test_a_trial_that_a_person_resumes_is_looked_at_again() -> None:
    asha = begun(3)
    report(asha, 0, 1, 0.5)
    report(asha, 1, 1, 0.4)
    assert [one[0] for one in report(asha, 0, 1.5, 0.9)] == ["continue"], "it has come to be the best one"
    assert [one[0] for one in report(asha, 1, 1.5, 0.9)] == ["pause"], "its score at the rung stands"
    assert asha._ladders[0].stages[0].rung.ranking.score(1) == 0.4
    assert choose(asha, 1) is None


def test_a_clock_that_is_behind_what_it_was_takes_nobody_down() -> None:
    """A trial that was paused runs again from the start, on a faster machine."""
    asha = begun(2, time_attr="seconds", grace_period=2)
    for time in (2.5, 1.5):
        [decision] = asha.on_result(View(0), {"seconds": time, "score": 0.5})
        assert decision.do == "pause"
    assert choose(asha, 0) is None


def test_jumps_over_rungs_leave_them_out() -> None:
    asha = begun(3)
    assert [one[0] for one in report(asha, 0, 5, 0.5)] == ["pause"]
    assert [one[0] for one in report(asha, 1, 6, 0.7)] == ["continue"]
    assert [stage.rung.ranking.best(9) for stage in asha._ladders[0].stages][:4] == [[], [], [1, 0], []]
    assert not report(asha, 1, 7, 0.7)
    assert [one[0] for one in report(asha, 1, 9, 0.7)] == ["pause"]


def test_a_raised_max_t_lets_only_the_best_of_those_that_had_reached_it_go_on() -> None:
    asha = begun(4, max_t=2)
    for trial, score in enumerate((0.5, 0.9, 0.7, 0.8)):
        report(asha, trial, 1, score)
    assert choose(asha, 0, 2) is None
    for trial in (1, 3):
        [(do, _, reason)] = report(asha, trial, 2, 0.5 + trial / 10)
        assert (do, reason) == ("stop", "training_iteration 2 is max_t=2 or beyond (bracket 0)")
        end(asha, trial, "stopped", training_iteration=2, score=0.5 + trial / 10)
    asha.change({"max_t": 8})
    for trial in (1, 3):
        asha.on_trial_reopen(View(trial))
    assert [one[0] for one in report(asha, 1, 3, 0.99)] == ["pause"]
    assert [one[0] for one in report(asha, 3, 3, 0.01)] == ["continue"]
    assert [one[0] for one in report(asha, 3, 4, 0.5)] == ["pause"]


def test_who_failed_on_the_way_goes_on_the_way() -> None:
    asha = begun(2)
    report(asha, 0, 1, 0.5)
    report(asha, 1, 1, 0.7)
    end(asha, 1, "user_error")
    asha.on_trial_reopen(View(1))
    assert [(one.do, one.trial) for one in asha.on_search_end()] == [("stop", 0)], "it cannot come to the first rung again"
    assert not report(asha, 1, 1.5, 0.1), "it had been promoted"
    assert [one[:2] for one in report(asha, 1, 2, 0.1)] == [("stop", 1)]


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_for_real(tmp_path: Any, executor: str) -> None:
    """A plain function that saves nothing."""
    from tunesmith import grid_search, report, run

    def train(config: dict[str, float]) -> None:
        for step in range(1, 10):
            report(loss=config["x"] + 1 / step)

    asha = AsyncHyperBandScheduler(max_t=9, reduction_factor=3, form="promote")
    space = {"x": grid_search([0.5, 0.2, 0.4, 0.1, 0.9, 0.6, 0.8, 0.7, 0.3])}
    found = run(train, config=space, metric="loss", mode="min", scheduler=asha, executor=executor, storage_path=str(tmp_path), verbose=0)
    trained = {trial.config["x"]: trial.iteration for trial in found}
    assert trained[0.1] == 9
    assert trained[0.9] == trained[0.8] == 1

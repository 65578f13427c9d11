"""Population-based training in whole experiments: who copies whom, and that weights and hyperparameters always belong together."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.invariants import check
from tunesmith.core.ports import Record
from tunesmith.core.settings import Settings as Spec
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.pbt import PopulationBasedTraining
from tunesmith.space import uniform
from tunesmith.testing import SchedulerKit
from tunesmith.testing.loop import Loop
from tunesmith.testing.scheduler_kit import METRIC
from tunesmith.testing.world import Fates, World

X = {"x": uniform(0.0, 1.0)}


def pbt(metric: str | None = METRIC, mode: str | None = "min", **options: Any) -> PopulationBasedTraining:
    given = {"perturbation_interval": 3, "hyperparam_mutations": X, **options}
    return PopulationBasedTraining("training_iteration", metric, mode, **given)


# -- the kit -------------------------------------------------------------------------------------------------------------


class Kit(SchedulerKit):
    takes_pending = False  # a new member, who is still to be drawn, goes before one that waits
    options: ClassVar[dict[str, Any]] = {}

    def make(self, metric: str, mode: str) -> Scheduler:
        return pbt(metric, mode, **self.options)


class TestAllAtOnce(Kit):
    spec: ClassVar[dict[str, Any]] = {}

    def loop(self, seed: int = 0, *, cpus: float = 100.0, **options: Any) -> Loop:
        return super().loop(seed, cpus=cpus, **options)

    def test_it_does_exploit(self) -> None:
        loop = self.loop(1, checkpoint=1.0, reports=(12, 20))
        loop.run()
        assert len(self._decisions(loop, "exploited")) > 5
        assert not self._decisions(loop, "pause"), "there was room for all"


class TestTakingTurns(Kit):
    """Four slots for twelve."""

    def test_it_does_exploit_and_pause(self) -> None:
        loop = self.loop(1, checkpoint=1.0, reports=(12, 20))
        loop.run()
        assert len(self._decisions(loop, "exploited")) > 5
        assert len(self._decisions(loop, "pause")) > 5

    def test_nobody_falls_behind(self) -> None:
        """Whoever has come least far runs next: those that live stay within some intervals of one another."""
        loop = self.loop(2, checkpoint=1.0, reports=(20, 20), warm_pause=True)
        loop.start()
        compared = 0
        while not loop.controller.state.finished:
            loop.step()
            at = [trial.iteration for trial in loop.controller.state.trials.values()]
            if len(at) == self.num_samples and min(at) >= 3:  # all have been there for a while
                assert max(at) - min(at) <= 3 * 3
                compared += 1
        assert compared > 100


class TestHeldWarm(Kit):
    spec: ClassVar[dict[str, Any]] = {"warm_pause": True}


class TestSynch(Kit):
    options: ClassVar[dict[str, Any]] = {"synch": True, "quantile_fraction": 0.5}

    def test_all_are_compared_at_equal_times(self) -> None:
        loop = self.loop(1, checkpoint=1.0)
        loop.run()
        exploits = [d for record in loop.records for d in record.decisions if d.do == "exploit"]
        assert len(exploits) > 5

    def test_it_closes_rounds_when_members_die(self) -> None:
        """The last that the others wait for ends, in whatever way; nobody is ended for want of somebody who resumes it."""
        for seed in range(6):
            loop = self.loop(seed, reports=(1, 12), failures={"user_error": 0.05, "worker_lost": 0.05}, checkpoint=1.0)
            loop.run()
            ends = [d.reason for record in loop.records for d in record.decisions if d.do == "end"]
            assert not any("nothing was left that could resume it" in reason for reason in ends), loop.story()


class TestSynchHeldWarm(Kit):
    options: ClassVar[dict[str, Any]] = {"synch": True}
    spec: ClassVar[dict[str, Any]] = {"warm_pause": True}

    def loop(self, seed: int = 0, *, can_save: bool = True, **options: Any) -> Loop:
        return super().loop(seed, can_save=can_save, **{"checkpoint": 0.0 if can_save else 1.0, **options})

    def test_the_best_save_when_they_are_resumed(self) -> None:
        loop = self.loop(3, reports=(12, 12))
        loop.run()
        assert len(self._decisions(loop, "exploited")) > 5
        given_up = [d.reason for record in loop.records for d in record.decisions if d.do == "skip"]
        assert not given_up, "somebody waited in vain for a donor that was paused"


class TestSynchByTheClock(Kit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return PopulationBasedTraining("time_total_s", metric, mode, 2.5, burn_in_period=6.0, hyperparam_mutations=X, synch=True)


class TestNotEverythingReported(Kit):
    options: ClassVar[dict[str, Any]] = {"require_attrs": False, "quantile_fraction": 0.4, "resample_probability": 1.0}


# -- weights and hyperparameters belong together ---------------------------------------------------------------------------


@dataclass
class Pairs:
    """A second book, kept from events and commands alone: which values each checkpoint may be gone on from with, as whose.

    A trial that saves, or goes on from a checkpoint, has its present values there. An exploit must copy both from the same source, and what
    is launched must be such a pair.
    """

    values: dict[int, dict[str, Any]] = field(default_factory=dict)
    pairs: set[tuple[str | None, int, str]] = field(default_factory=set)
    asked: dict[int, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    given: dict[int, dict[str, Any]] = field(default_factory=dict)
    exploited: int = 0

    def __call__(self, loop: Loop, record: Record, commands: list[cmd.Command]) -> None:
        check(loop.controller, shrunk=loop.world.shrunk, takes_pending=False)
        event = record.event
        if isinstance(event, ev.Suggested):
            self.values[event.trial] = event.values
            self._pair(None, event.trial)
        elif isinstance(event, ev.Reported | ev.CheckpointSaved) and event.checkpoint is not None:
            self._pair(event.checkpoint, event.trial)
        elif isinstance(event, ev.Explored):
            self.given[event.trial] = event.values
        for decision in record.decisions:
            self._decided(decision, loop)
        for command in commands:
            if isinstance(command, cmd.Explore):
                source, values = self.asked[command.trial]
                assert (command.source, command.values) == (source, values), "asked to mutate what the source did not have"
            elif isinstance(command, cmd.Launch):
                pair = (command.checkpoint, command.trial, repr(command.values))
                assert pair in self.pairs, f"{command} joins weights and values that do not belong together: {loop.story()}"

    def _decided(self, decision: Decision, loop: Loop) -> None:
        trial, data = decision.trial, decision.data
        if decision.do == "exploit":
            assert trial is not None
            self.asked[trial] = (data["source"], self.values[data["source"]])
            self.given.pop(trial, None)
            if "values" in data:
                self.given[trial] = data["values"]
        elif decision.do == "exploited":
            assert trial is not None
            source, values = self.asked.pop(trial)
            assert source == data["source"]
            assert (data["checkpoint"], source, repr(values)) in self.pairs, f"weights of one step, values of another: {loop.story()}"
            self.values[trial] = self.given.pop(trial)
            self._pair(data["checkpoint"], trial)
            self.exploited += 1

    def _pair(self, checkpoint: str | None, trial: int) -> None:
        self.pairs.add((checkpoint, trial, repr(self.values[trial])))


def story(seed: int, **options: Any) -> tuple[Loop, Pairs]:
    """A population in a hostile world; all follows from the seed."""
    pick = random.Random(seed)
    can_save = pick.random() < 0.5
    fates = Fates(
        reports=(4, 16), checkpoint=pick.choice((0.2, 1.0)) if not can_save or pick.random() < 0.3 else 0.0,
        failures=pick.choice(({}, {"user_error": 0.04, "worker_lost": 0.04})), ask_save=pick.choice((1.0, 1.0, 0.6)),
        no_room=pick.choice((0.0, 0.0, 0.1)), hostile=pick.choice((0.0, 0.2)), users=pick.choice((0.0, 0.05)),
        unstarted=pick.choice((0.0, 0.05)),
    )  # fmt: skip
    spec = {
        "num_samples": 10, "metrics": [METRIC], "modes": ["min"], "identical": None, "retries": {"user_error": 2},
        "warm_pause": pick.random() < 0.5, "warm_slots": pick.choice((2, 64)), "exploit_wait_s": pick.choice((0.2, 5.0)),
        "num_to_keep": pick.choice((None, 1)), "deterministic": pick.random() < 0.2, "max_checkpoint_bytes": pick.choice((None, 200)),
    }  # fmt: skip
    how = {"synch": pick.random() < 0.5, "perturbation_interval": pick.choice((1, 2, 3)), "quantile_fraction": pick.choice((0.25, 0.5))}
    pairs = Pairs()
    world = World(seed, fates, totals={"cpu": pick.choice((2.0, 4.0, 10.0))}, can_save=can_save)
    return Loop(lambda: pbt(**{**how, **options}), spec, world, watch=pairs), pairs


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_never_weights_of_one_step_with_hyperparameters_of_another(seed: int) -> None:
    loop, _ = story(seed)
    loop.start()
    rng = random.Random(seed)
    while not loop.controller.state.finished:
        for _ in range(rng.randrange(80)):
            if not loop.controller.state.finished:
                loop.step()
        if not loop.controller.state.finished and rng.random() < 0.5 and loop.controller.state.session < 4:
            loop.crash()
    assert not loop.controller.state.trials


@pytest.mark.slow
@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1))
def test_never_weights_of_one_step_in_many_worlds(seed: int) -> None:
    test_never_weights_of_one_step_with_hyperparameters_of_another.hypothesis.inner_test(seed)  # type: ignore[attr-defined]


def test_the_stories_have_everything() -> None:
    seen: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for seed in range(10):
        loop, _ = story(seed)
        loop.run()
        seen.update(d.do for record in loop.records for d in record.decisions)
        reasons.update(d.reason.partition(":")[2][:12] for record in loop.records for d in record.decisions if d.do == "skip")
    assert set(seen) >= {"launch", "pause", "save", "retry", "exploit", "exploited", "skip", "end"}
    assert seen["exploited"] > 40
    assert len(reasons) > 1


# -- the driver dies --------------------------------------------------------------------------------------------------------

POPULATIONS = pytest.mark.parametrize(("synch", "can_save"), [(False, True), (False, False), (True, True), (True, False)])


def population(synch: bool, can_save: bool) -> Loop:
    fates = Fates(reports=(6, 9), checkpoint=0.0 if can_save else 0.7, failures={"user_error": 0.02, "worker_lost": 0.02}, hostile=0.1)
    spec = {
        "num_samples": 8, "metrics": [METRIC], "modes": ["min"], "identical": None, "retries": {"user_error": 1}, "num_to_keep": 1,
        "warm_pause": True, "warm_slots": 2,
    }  # fmt: skip
    world = World(5, fates, totals={"cpu": 4.0}, can_save=can_save)
    return Loop(lambda: pbt(synch=synch, perturbation_interval=2, quantile_fraction=0.5), spec, world, watch=Pairs())


def die_at(points: range, synch: bool, can_save: bool, faults: Any) -> None:
    for at in points:
        loop = population(synch, can_save)
        loop.start()
        while len(loop.records) < at and not loop.controller.state.finished:
            loop.step()
        if loop.controller.state.finished:
            continue
        over = {number: code for number, code in enumerate(loop.controller.state.ended) if code}
        with faults.tried("the driver dies after an event of population-based training (simulated)") as results:
            loop.crash()
            loop.run()
            state = loop.controller.state
            assert all(state.ended[number] == code for number, code in over.items()), "what had ended did so again"
            ends = [decision.trial for record in loop.records for decision in record.decisions if decision.do == "end"]
            assert sorted(ends) == list(range(8)), "each ends once"
            results(8)


@POPULATIONS
def test_crashes_here_and_there(synch: bool, can_save: bool, faults: Any) -> None:
    whole = population(synch, can_save)
    whole.run()
    dos = Counter(decision.do for record in whole.records for decision in record.decisions)
    assert dos["exploited"] > 3
    assert set(dos) >= {"launch", "pause", "exploit", "retry"}
    die_at(range(3, len(whole.records), 23), synch, can_save, faults)


@pytest.mark.slow
@POPULATIONS
def test_crash_at_every_event(synch: bool, can_save: bool, faults: Any) -> None:
    whole = population(synch, can_save)
    whole.run()
    die_at(range(2, len(whole.records)), synch, can_save, faults)


# -- decisions, one by one -------------------------------------------------------------------------------------------------


@dataclass
class View:
    number: int
    checkpoint: str | None = "a"
    metrics: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, float] = field(default_factory=dict)
    status: str = "RUNNING"
    iteration: int = 0
    attempt: int = 0


class Waiting:
    """What could be started."""

    def __init__(self, *paused: int, pending: tuple[int, ...] = ()) -> None:
        self.paused = paused
        self.pending = [View(number) for number in pending]

    def get(self, number: int) -> View | None:
        return View(number) if number in self.paused or any(number == one.number for one in self.pending) else None


class Played:
    """A scheduler that is told what happens, without any core."""

    def __init__(self, count: int = 4, *, can_save: bool = False, warm: bool = True, drawn: bool = True, **options: Any) -> None:
        self.scheduler = pbt(**options)
        settings = {"metrics": [METRIC], "modes": ["min"], "can_save": can_save, "warm_pause": warm, "num_samples": count, "seed": 1}
        self.scheduler.start(Spec.parse(settings))
        self.saved: str | None = "a"
        for number in range(count):
            self.scheduler.on_trial_add(View(number))
        if drawn:
            assert not self.scheduler.on_search_end()
            self.begin(*range(count))

    def begin(self, *numbers: int) -> None:
        for number in numbers:
            assert self.scheduler.choose(Waiting(pending=(number,))).number == number

    def report(self, number: int, at: float, value: float | None = None, **result: Any) -> list[tuple[str, int | None]]:
        """(what, whom) of what it decides."""
        if value is not None:
            result[METRIC] = value
        answer = self.scheduler.on_result(View(number, self.saved), {"training_iteration": at, **result})
        self.decisions = [] if answer == "CONTINUE" else [answer] if isinstance(answer, Decision) else answer
        return [(decision.do, decision.data.get("source", decision.trial)) for decision in self.decisions]

    def reason(self) -> str:
        (decision,) = self.decisions
        return decision.reason


def test_the_worst_copies_one_of_the_best() -> None:
    run = Played(8, quantile_fraction=0.25)
    for number in (6, 5, 4, 3, 2, 7, 1, 0):
        run.report(number, 3, number / 10)
    ((what, source),) = run.report(7, 6, 0.9)
    assert what == "exploit"
    assert run.reason() == f"0.9, 8th of 8: exploits trial {source} ({['0, 1st', '0.1, 2nd'][source]} of 8)"
    donors = set()
    for at in range(9, 99, 3):
        run.scheduler.on_exploit_end(View(7), source, False)
        run.begin(7)
        ((_, source),) = run.report(7, at, 0.9)
        donors.add(source)
    assert donors == {0, 1}


def test_nothing_before_the_burn_in_and_between_the_intervals() -> None:
    run = Played(2, burn_in_period=5, quantile_fraction=0.5)
    assert run.report(0, 4, 0.1) == run.report(1, 4, 0.9) == []
    assert run.report(1, 5, 0.9) == []
    assert run.report(0, 5, 0.1) == []
    assert run.report(1, 7, 0.9) == []
    assert run.report(1, 8, 0.9) == [("exploit", 0)]


def test_results_that_jump_over_an_interval() -> None:
    run = Played(2, quantile_fraction=0.5)
    run.report(1, 17, 0.9)
    run.report(0, 17, 0.1)
    assert run.report(1, 100, 0.9) == [("exploit", 0)]


def test_of_equal_ones_the_smaller_number_is_better() -> None:
    """They copy one another all the same: with other hyperparameters they get apart."""
    run = Played(2, quantile_fraction=0.5)
    run.report(1, 3, 0.5)
    run.report(0, 3, 0.5)
    assert run.report(1, 6, 0.5) == [("exploit", 0)]


def test_nobody_copies_what_has_diverged() -> None:
    run = Played(2, quantile_fraction=0.5)
    run.report(1, 3, float("nan"))
    run.report(0, 3, float("nan"))
    assert run.report(1, 6, float("nan")) == []


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_no_quantile_no_exploit(fraction: float) -> None:
    """Of a lone trial, and of none."""
    run = Played(4, quantile_fraction=fraction)
    for number in range(1 if fraction else 4):
        assert run.report(number, 3, number / 10) == []


def test_nan_is_the_worst_and_copies() -> None:
    run = Played(4, quantile_fraction=0.25)
    for number in (2, 1, 0):
        run.report(number, 3, number / 10)
    assert run.report(3, 3, float("nan")) == [("exploit", 0)]


def test_the_best_are_asked_to_save_where_they_can() -> None:
    run = Played(2, can_save=True, quantile_fraction=0.5)
    run.saved = None
    assert run.report(1, 3, 0.9) == []  # a lone one is in no quantile
    assert run.report(0, 3, 0.1) == [("save", 0)]
    assert run.report(1, 6, 0.9) == [("exploit", 0)]


def test_one_that_was_not_among_the_best_when_it_was_looked_at_is_not_copied() -> None:
    """Its state of that time was not kept."""
    run = Played(4, quantile_fraction=0.25)
    for number, value in ((0, 0.5), (2, 0.1), (1, 0.4), (3, 0.9)):
        run.report(number, 3, value)
    run.scheduler.on_trial_end(View(2), "finished")  # the best has gone; the next best was second when it was looked at
    assert run.report(3, 6, 0.9) == []
    assert run.report(1, 6, 0.4) == []
    assert run.report(3, 9, 0.9) == [("exploit", 1)]


def test_without_checkpoints_it_says_so_once() -> None:
    run = Played(2, quantile_fraction=0.5)
    run.saved = None
    run.report(1, 3, 0.9)
    run.report(0, 3, 0.1)
    assert run.report(1, 6, 0.9) == [("continue", 1)]
    assert "have no checkpoints. Report them, as in tune.report(metrics, checkpoint=...)" in run.reason()
    assert run.decisions[0].data == {"notice": True}
    assert run.report(1, 9, 0.9) == []


def test_a_missing_metric_fails_the_trial() -> None:
    run = Played(2)
    assert run.report(0, 3) == [("stop", None)]
    assert run.decisions[0].data == {"outcome": "user_error"}
    assert f"PopulationBasedTraining needs a number for '{METRIC}' in every result" in run.reason()
    run.scheduler.on_result(View(0), {METRIC: 1.0})
    assert run.report(0, float("nan"), 1.0) == [("stop", None)]
    assert "'training_iteration'" in run.reason()
    assert Played(2, require_attrs=False).report(0, 3) == []


def test_an_exploit_that_is_given_up_leaves_the_trial_where_it_was() -> None:
    run = Played(2, quantile_fraction=0.5)
    run.report(1, 3, 0.9)
    run.report(0, 30, 0.1)
    assert run.report(1, 6, 0.9) == [("exploit", 0)]
    run.scheduler.on_exploit_end(View(1), 0, False)
    run.begin(1)
    assert run.report(1, 8, 0.9) == []
    assert run.report(1, 9, 0.9) == [("exploit", 0)]


def test_one_that_went_on_from_another_has_its_time() -> None:
    run = Played(2, quantile_fraction=0.5)
    run.report(1, 3, 0.9)
    run.report(0, 30, 0.1)
    run.report(1, 6, 0.9)
    run.scheduler.on_exploit_end(View(1), 0, True)
    run.begin(1)
    assert run.report(1, 31, 0.9) == []  # 25 since its own last one, but 1 since the source's
    assert run.report(1, 33, 0.9) == [("exploit", 0)]


# -- taking turns ------------------------------------------------------------------------------------------------------------


def test_a_trial_makes_room_for_whoever_has_come_less_far() -> None:
    run = Played(3, quantile_fraction=0.0)
    run.scheduler.on_trial_add(View(3))  # waits
    run.scheduler.on_search_end()
    assert run.report(0, 3, 0.1) == [("pause", 0)]
    assert run.reason() == "others wait for their turn at 3 training_iteration"
    assert run.scheduler.choose(Waiting(0, pending=(3,))).number == 3
    assert run.report(1, 4, 0.1) == [("pause", 1)]
    assert run.scheduler.choose(Waiting(1, 0)).number == 0
    assert run.report(2, 3, 0.1) == [], "the one that waits is further"


def test_of_those_who_came_equally_far_it_is_whose_turn_is_longest_ago() -> None:
    run = Played(3, quantile_fraction=0.0)
    for number in (2, 0, 1):
        run.begin(number)
        run.report(number, 3, 0.1)
    assert [run.scheduler.choose(Waiting(0, 1, 2)).number for _ in range(4)] == [2, 0, 1, 2]


@pytest.mark.parametrize("peak", [6, 20], ids=["at first all get worse", "the wrong mode"])
@pytest.mark.parametrize("synch", [False, True])
@pytest.mark.parametrize("members", [4, 8])
def test_members_who_get_worse_do_not_copy_for_ever(members: int, synch: bool, peak: int, tmp_path: Path) -> None:
    """Who copies goes back to where its donor stood: it must not be first again before the donor has gone on."""
    steps, order = 0, []

    def train(config: dict[str, Any]) -> None:
        nonlocal steps
        checkpoint = tune.get_checkpoint()
        for step in range(checkpoint.to_dict()["step"] + 1 if checkpoint else 1, 21):
            steps += 1
            if steps > 50 * members:  # 20 are needed: they copy and copy
                return
            order.append((tune.get_context().get_trial_name(), step))
            loss = config["x"] / 20 + (0.1 * step if step <= peak else 0.3 * peak - 0.2 * step)
            tune.report({METRIC: loss}, checkpoint=tune.Checkpoint.from_dict({"step": step}))

    found = tune.run(
        train, config=X, num_samples=members, metric=METRIC, mode="min", executor="inline", seed=1, verbose=0, storage_path=tmp_path,
        scheduler=pbt(perturbation_interval=2, synch=synch),
    )  # fmt: skip
    assert [trial.iteration for trial in found.trials] == [20] * members
    third = next(number for number, (_, step) in enumerate(order) if step == 3)
    assert len({name for name, _ in order[:third]}) == members, "some went on before all had begun"


def test_new_members_come_first() -> None:
    run = Played(2, drawn=False, quantile_fraction=0.0)
    assert run.report(0, 3, 0.1) == [("pause", 0)]
    assert run.scheduler.choose(Waiting(0)) is None, "one is still to be drawn"
    assert run.scheduler.choose(Waiting(0)).number == 0, "and does not come"


@pytest.mark.parametrize(("warm", "gpu", "saved", "paused"), [(True, 0, None, True), (True, 1, None, False), (False, 0, None, False),
                                                              (False, 0, "a", True), (True, 1, "a", True)])  # fmt: skip
def test_nobody_is_paused_who_would_have_to_begin_anew(warm: bool, gpu: float, saved: str | None, paused: bool) -> None:
    run = Played(2, drawn=False, warm=warm, quantile_fraction=0.0)
    view = View(0, saved, resources={"gpu": gpu})
    decisions = run.scheduler.on_result(view, {"training_iteration": 3, METRIC: 0.1})
    assert [decision.do for decision in decisions] == ["pause" if paused else "continue"]
    assert paused or "they would have to begin anew" in decisions[0].reason


# -- in step -----------------------------------------------------------------------------------------------------------------


def test_in_step_all_wait_for_the_last() -> None:
    run = Played(4, synch=True, quantile_fraction=0.25, can_save=True)
    for number in range(3):
        assert run.report(number, 3, 0.5 - number / 10) == [("pause", number)]
        assert run.scheduler.choose(Waiting(number)) is None, "it waits for the others"
    assert run.report(3, 3, 0.9) == [("save", 2), ("exploit", 2)]
    assert run.scheduler.choose(Waiting(0, 1, 2)).number == 2, "somebody waits for its checkpoint"
    assert run.scheduler.choose(Waiting(0, 1)).number == 0
    assert run.report(2, 5, 0.1) == []
    assert run.report(2, 6, 0.1) == [("pause", 2)]


def test_in_step_the_bad_copy_while_they_wait() -> None:
    run = Played(4, synch=True, quantile_fraction=0.25)
    for number, value in enumerate((0.9, 0.2, 0.1)):
        run.report(number, 3, value)
    assert run.report(3, 3, 0.5) == [("exploit", 2)]
    assert run.decisions[0].trial == 0


def test_in_step_a_round_is_not_closed_before_all_are_drawn() -> None:
    run = Played(2, synch=True, drawn=False, quantile_fraction=0.5)
    assert run.report(0, 3, 0.1) == [("pause", 0)]
    assert run.report(1, 3, 0.9) == [("pause", 1)]
    assert [(decision.do, decision.trial) for decision in run.scheduler.on_search_end()] == [("exploit", 1)]


def test_in_step_a_round_closes_when_the_last_one_ends() -> None:
    run = Played(3, synch=True, quantile_fraction=0.5)
    run.report(0, 3, 0.1)
    run.report(1, 3, 0.9)
    assert [(decision.do, decision.trial) for decision in run.scheduler.on_trial_end(View(2), "user_error")] == [("exploit", 1)]


def test_in_step_after_a_burn_in_that_is_longer_than_the_interval() -> None:
    """(There nobody would ever be resumed.)"""
    run = Played(2, synch=True, quantile_fraction=0.0, burn_in_period=20)
    assert run.report(0, 20, 0.1) == [("pause", 0)]
    assert run.report(1, 20, 0.9) == []
    assert run.scheduler.choose(Waiting(0)).number == 0
    assert run.report(0, 23, 0.1) == [("pause", 0)]


def test_in_step_with_results_that_are_further_apart_than_the_interval() -> None:
    run = Played(2, synch=True, quantile_fraction=0.0)
    assert run.report(0, 30, 0.1) == [("pause", 0)]
    assert run.report(1, 31, 0.9) == []
    assert run.scheduler.choose(Waiting(0)).number == 0, "it would wait for a round that nobody closes"


# -- arguments -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hyperparam_mutations": None}, "nothing could change"),
        ({"hyperparam_mutations": None, "custom_explore_fn": 3}, "custom_explore_fn must be a function"),
        ({"perturbation_interval": 0}, "perturbation_interval must be a number above 0"),
        ({"burn_in_period": -1}, "burn_in_period must be"),
        ({"quantile_fraction": 0.6}, "quantile_fraction must be .* at most 0.5"),
        ({"resample_probability": 2}, "resample_probability must be"),
        ({"perturbation_factors": ()}, "perturbation_factors must be a tuple of numbers"),
        ({"perturbation_factors": ("a",)}, "perturbation_factors must be"),
        ({"synch": 1}, "synch must be True or False"),
        ({"log_config": None}, "log_config must be True or False"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"hyperparam_mutations": {"a": 3}}, r"hyperparam_mutations\['a'\] must be"),
    ],
)
def test_arguments_that_are_wrong(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=f"PopulationBasedTraining: {text}"):
        pbt(**options)


def test_a_seed_of_its_own() -> None:
    def donors(seed: int | None, run_seed: int) -> list[int]:
        scheduler = pbt(seed=seed, quantile_fraction=0.5)
        scheduler.start(Spec.parse({"metrics": [METRIC], "modes": ["min"], "num_samples": 8, "seed": run_seed}))
        return [scheduler.rng.randrange(10**6) for _ in range(3)]

    assert donors(3, 1) == donors(3, 2) != donors(None, 1) != donors(None, 2)

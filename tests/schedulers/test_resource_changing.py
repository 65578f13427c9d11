"""Resources that change while trials run: who gets how much, and that the base scheduler's word stands."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.invariants import check
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.resources import PlacementGroupFactory
from tunesmith.schedulers.base import Scheduler, SchedulerCapabilities
from tunesmith.schedulers.resource_changing import (
    Allocations,
    DistributeResources,
    DistributeResourcesToTopJob,
    LiveTrial,
    ResourceChangingScheduler,
)
from tunesmith.testing import SchedulerKit
from tunesmith.testing.loop import Loop
from tunesmith.testing.world import Fates, World


class Rungs(Scheduler):
    """Stops whoever is above 0.9 at iteration 3, and pauses every third trial at iteration 2."""

    capabilities = SchedulerCapabilities(pauses=True, needs_metric=True)
    changeable = ("max_t",)

    def __init__(self, metric: Any = None, mode: Any = None, max_t: int = 18) -> None:
        super().__init__(metric, mode)
        self.max_t = max_t
        self.heard: list[str] = []

    def on_result(self, trial: Any, result: Any) -> Any:
        value = result.get("loss", 0.0) * (1 if self.mode == "min" else -1)
        if trial.iteration >= self.max_t:
            return self.stop("far enough", bound=("max_t", self.max_t))
        if trial.iteration == 3 and value > 0.9:
            return self.stop("too bad")
        if trial.iteration == 2 and trial.number % 3 == 0:
            return self.pause("rung 2")
        return self.CONTINUE


class TestEqualShares(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return ResourceChangingScheduler()


class TestWithAScheduler(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return ResourceChangingScheduler(Rungs(metric, mode), DistributeResources(increase_by={"cpu": 1.5}, increase_by_times=2))


class TestTopJob(SchedulerKit):
    spec: ClassVar[Mapping[str, Any]] = {"max_concurrent": 2}

    def make(self, metric: str, mode: str) -> Scheduler:
        return ResourceChangingScheduler(Rungs(metric, mode), DistributeResourcesToTopJob(reserve_resources={"cpu": 1}))


class TestGreedy(SchedulerKit):
    """Everybody wants everything now and then, whether it is there or not."""

    reports: ClassVar[tuple[int, int]] = (3, 20)

    def make(self, metric: str, mode: str) -> Scheduler:
        return ResourceChangingScheduler(None, lambda there, trial, result, scheduler: {"cpu": 1 + (trial.number + trial.iteration) % 6})


# -- equal shares --------------------------------------------------------------------------------------------------------


def there(*taken: float, total: float = 8.0, to_come: int | None = 0, limit: int | None = None, base: float = 1.0) -> Allocations:
    """Trials 0, 1 ... that run and take so many CPUs."""
    trials = tuple(LiveTrial(number, "RUNNING", {}, 1, {}, {"cpu": cpus}, {"cpu": base}) for number, cpus in enumerate(taken))
    return Allocations({"cpu": total}, {"cpu": total - sum(taken)}, limit, to_come, trials)


def cpus(function: DistributeResources, there: Allocations, number: int = 0) -> float:
    trial = there.trials[number]
    request = function(there, trial, {}, None)
    return trial.resources["cpu"] if request is None else request.required_resources["cpu"]


def everyone(function: DistributeResources, given: Allocations) -> list[float]:
    """What they take once each has been asked, again and again until nothing changes."""
    for _ in range(50):
        before = given
        for number in range(len(given.trials)):
            amount = cpus(function, given, number)
            trials = list(given.trials)
            trials[number] = replace(trials[number], resources={"cpu": amount})
            given = replace(given, trials=tuple(trials), free={"cpu": given.total["cpu"] - sum(one.resources["cpu"] for one in trials)})
        if before == given:
            return [one.resources["cpu"] for one in given.trials]
    raise AssertionError(f"it never comes to rest: {given}")


@pytest.mark.parametrize(
    ("options", "taken", "more", "shares"),
    [
        ({}, (1, 1), {}, [4, 4]),
        ({}, (1, 1, 1), {}, [3, 3, 2]),
        ({}, (4, 1), {}, [4, 4]),
        ({}, (6, 1, 1), {}, [3, 3, 2]),  # who has too much gives back
        ({}, (1,), {}, [8]),
        ({}, (1,), {"total": 1.0}, [1]),
        ({}, (2, 2), {"base": 2.0, "total": 3.0}, [2, 2]),  # the machine shrank: never less than in the beginning
        ({"increase_by": {"cpu": 2}}, (1, 1), {}, [5, 3]),
        ({"increase_by": {"cpu": 2}}, (1, 1, 1), {}, [3, 3, 1]),
        ({"increase_by": {"CPU": 2}, "increase_by_times": 1}, (1,), {}, [3]),
        ({"increase_by": {"cpu": 0.5}}, (1, 1, 1), {}, [3, 2.5, 2.5]),
        ({"add_bundles": True}, (2, 2), {"base": 2.0}, [4, 4]),
        ({"add_bundles": True}, (3, 3), {"base": 3.0}, [3, 3]),
        ({"reserve_resources": {"cpu": 2}}, (1, 1), {}, [3, 3]),
        ({}, (1, 1), {"to_come": None}, [1, 1]),  # others are about to be drawn, who take the rest
        ({}, (1, 1), {"to_come": 2}, [2, 2]),
        ({}, (2, 2), {"to_come": None, "base": 2.0, "total": 5.0}, [3, 2]),  # the fifth is of no use to them
        ({}, (1, 1), {"to_come": None, "limit": 2}, [4, 4]),  # but not at once
        ({}, (1, 1), {"to_come": 1, "limit": 4}, [3, 3]),
        ({}, (0, 0), {"base": 0.0}, [4, 4]),
        ({}, (0, 0), {"base": 0.0, "to_come": None}, [0, 0]),
    ],
)
def test_shares(options: dict[str, Any], taken: tuple[float, ...], more: dict[str, Any], shares: list[float]) -> None:
    assert everyone(DistributeResources(**options), there(*taken, **more)) == shares


def test_it_grows_into_what_is_free_and_waits_for_the_rest() -> None:
    """Its share is four, but the other one still has six of the eight."""
    assert cpus(DistributeResources(), there(1, 6)) == 2
    assert cpus(DistributeResources(), there(1, 7)) == 1
    assert cpus(DistributeResources(reserve_resources={"cpu": 1}), there(1, 5)) == 2


def test_what_it_has_it_keeps_if_it_is_to_have_more() -> None:
    """Somebody gave it two and a half; the next whole unit is not free."""
    assert cpus(DistributeResources(), there(2.5, 5.5)) == 2.5


def test_who_is_paused_has_a_share() -> None:
    one = there(1, 1, 1, 1, total=7.0)
    paused = (replace(one.trials[0], status="PAUSED"), *one.trials[1:])
    assert [cpus(DistributeResources(), replace(one, trials=paused), number) for number in (1, 2, 3)] == [2, 2, 2]
    paused = (*one.trials[:2], *(replace(trial, status="PAUSED") for trial in one.trials[2:]))
    assert [cpus(DistributeResources(), replace(one, trials=paused), number) for number in (0, 1)] == [2, 2]


def test_trials_may_begin_with_different_amounts() -> None:
    one = there(1, 4)
    different = (one.trials[0], replace(one.trials[1], base={"cpu": 4.0}))
    assert everyone(DistributeResources(), replace(one, trials=different)) == [3, 5]  # the three that are left are shared


@pytest.mark.parametrize(
    ("base", "options", "expected"),
    [
        ({"cpu": 4.0, "gpu": 1.0}, {}, {"cpu": 4.0, "gpu": 4.0}),
        ({"cpu": 4.0, "gpu": 1.0}, {"increase_by": {"gpu": 1, "cpu": 4}}, {"cpu": 16.0, "gpu": 4.0}),
        ({"cpu": 4.0, "gpu": 1.0}, {"increase_by": {"gpu": 1, "cpu": 6}}, {"cpu": 16.0, "gpu": 3.0}),
        ({"cpu": 0.0, "gpu": 0.5}, {}, {"cpu": 0.0, "gpu": 4.0}),
        ({"cpu": 0.0, "gpu": 0.5}, {"reserve_resources": {"gpu": 1.5}}, {"cpu": 0.0, "gpu": 2.0}),  # two and a half cannot be had
        ({"cpu": 1.0, "license": 1.0}, {"increase_by": {"license": 1}}, {"cpu": 1.0, "license": 3.0}),
    ],
)
def test_cards_and_other_things(base: dict[str, float], options: dict[str, Any], expected: dict[str, float]) -> None:
    total = {"cpu": 16.0, "gpu": 4.0, "license": 3.0}
    free = {name: amount - base.get(name, 0.0) for name, amount in total.items()}
    trial = LiveTrial(0, "RUNNING", {}, 1, {}, base, base)
    request = DistributeResources(**options)(Allocations(total, free, None, 0, (trial,)), trial, {}, None)
    assert request is not None
    assert request.required_resources == expected


def test_bundles_are_told_apart() -> None:
    request = DistributeResources(add_bundles=True)(there(2, base=2.0), there(2, base=2.0).trials[0], {}, None)
    assert request == PlacementGroupFactory([{"cpu": 2.0}] * 4)


@given(
    bases=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    extra=st.integers(0, 20),
    unit=st.sampled_from([0.5, 1, 2, 3]),
    times=st.sampled_from([-1, 1, 2]),
    reserve=st.integers(0, 3),
    to_come=st.sampled_from([0, 1, 5, None]),
    limit=st.sampled_from([None, 1, 3]),
    top=st.booleans(),
)
def test_nobody_takes_what_is_not_there(
    bases: list[int], extra: int, unit: float, times: int, reserve: int, to_come: int | None, limit: int | None, top: bool
) -> None:
    """Each in its turn takes no more than is free, nobody has less than in the beginning, and it all comes to rest."""
    options = {"increase_by": {"cpu": unit}, "increase_by_times": times, "reserve_resources": {"cpu": reserve}}
    function = DistributeResourcesToTopJob(**options, metric="loss", mode="min") if top else DistributeResources(**options)
    sizes = [{"cpu": float(base)} for base in bases]
    trials = tuple(LiveTrial(number, "RUNNING", {}, 1, {"loss": number}, size, size) for number, size in enumerate(sizes))
    total = float(sum(bases) + extra)
    given_out = everyone(function, Allocations({"cpu": total}, {"cpu": float(extra)}, limit, to_come, trials))
    assert all(amount >= base for amount, base in zip(given_out, bases, strict=True))
    assert sum(given_out) <= max(total - reserve, sum(bases))
    if times > 0:
        assert all(amount - base <= times * unit for amount, base in zip(given_out, bases, strict=True))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"add_bundles": 1}, "DistributeResources: add_bundles must be True or False, got 1"),
        ({"increase_by": {"cpu": 0}}, "increase_by must be a dict of amounts above 0 such as {'cpu': 2}, got {'cpu': 0}"),
        ({"increase_by": {}}, "increase_by must be a dict of amounts above 0"),
        ({"increase_by": 2}, "DistributeResources: increase_by must be a dict"),
        ({"increase_by_times": 2}, "increase_by_times=2 bounds increase_by, which is not given"),
        ({"increase_by_times": 1.5}, "increase_by_times must be a whole number"),
        ({"reserve_resources": {"cpu": -1}}, "reserve_resources['cpu'] must be a finite number >= 0, got -1"),
    ],
)
def test_bad_arguments(options: dict[str, Any], what: str) -> None:
    with pytest.raises(SpecError) as error:
        DistributeResources(**options)
    assert what in str(error.value)


@pytest.mark.parametrize(("metric", "mode"), [("loss", None), (None, "min"), ("loss", "lowest"), (3, "min")])
def test_bad_metrics(metric: Any, mode: Any) -> None:
    with pytest.raises(SpecError, match="DistributeResourcesToTopJob: "):
        DistributeResourcesToTopJob(metric=metric, mode=mode)


# -- all to the best -----------------------------------------------------------------------------------------------------


def ranked(*losses: Any, taken: tuple[float, ...] | None = None, **more: Any) -> Allocations:
    one = there(*(taken or (1.0,) * len(losses)), **more)
    trials = tuple(replace(trial, metrics={} if loss is None else {"loss": loss}) for trial, loss in zip(one.trials, losses, strict=True))
    return replace(one, trials=trials)


LEAST = DistributeResourcesToTopJob(metric="loss", mode="min")


@pytest.mark.parametrize(
    ("function", "losses", "expected"),
    [
        (LEAST, (3, 1, 2), [1, 6, 1]),
        (DistributeResourcesToTopJob(metric="loss", mode="max"), (3, 1, 2), [6, 1, 1]),
        (LEAST, (1, 1, 2), [6, 1, 1]),  # of equal ones the first
        (LEAST, (float("nan"), None, 2), [1, 1, 6]),
        (DistributeResourcesToTopJob(increase_by={"cpu": 2}, increase_by_times=1, metric="loss", mode="min"), (3, 1, 2), [1, 3, 3]),
        (DistributeResourcesToTopJob(reserve_resources={"cpu": 1.5}, metric="loss", mode="min"), (3, 1, 2), [1, 4, 1]),
    ],
)
def test_the_best_gets_all_that_is_free(function: Any, losses: tuple[Any, ...], expected: list[float]) -> None:
    assert everyone(function, ranked(*losses)) == expected


def test_who_was_the_best_keeps_what_it_got() -> None:
    assert everyone(LEAST, ranked(2, 1, taken=(4.0, 1.0))) == [4, 4]


def test_the_machine_shrank_so_whoever_is_asked_gives_back() -> None:
    assert cpus(LEAST, ranked(2, 1, taken=(4.0, 3.0), total=5.0)) == 2
    assert cpus(LEAST, ranked(2, 1, taken=(4.0, 3.0), total=1.0)) == 1


def test_what_trials_to_come_will_need_is_kept_back() -> None:
    assert everyone(LEAST, ranked(2, 1, to_come=None)) == [1, 1]
    assert everyone(LEAST, ranked(2, 1, to_come=3)) == [1, 4]
    assert everyone(LEAST, ranked(2, 1, to_come=None, limit=3)) == [1, 6]


def test_what_they_will_need_is_not_taken_from_who_has_it() -> None:
    assert everyone(LEAST, ranked(1, 2, taken=(6.0, 1.0), to_come=3)) == [6, 1]


def test_trials_that_begin_with_nothing() -> None:
    assert everyone(LEAST, ranked(1, 2, taken=(0.0, 0.0), base=0.0, to_come=None)) == [0, 0]
    assert everyone(LEAST, ranked(1, 2, taken=(0.0, 0.0), base=0.0)) == [8, 0]


def test_the_best_gets_whole_cards() -> None:
    half = {"cpu": 0.0, "gpu": 0.5}
    trials = tuple(LiveTrial(number, "RUNNING", {}, 1, {"loss": number}, half, half) for number in range(2))
    request = LEAST(Allocations({"gpu": 3.0}, {"gpu": 2.0}, None, 0, trials), trials[0], {}, None)
    assert request is not None
    assert request.required_resources == {"cpu": 0.0, "gpu": 2.0}


def test_by_the_runs_metric() -> None:
    scheduler = ResourceChangingScheduler(None, DistributeResourcesToTopJob())
    assert scheduler.capabilities.needs_metric
    assert not ResourceChangingScheduler(None, LEAST).capabilities.needs_metric
    scheduler.start(Settings(metrics=("acc", "loss"), modes=("max", "min")))
    best = DistributeResourcesToTopJob()
    shown = replace(ranked(2, 1), trials=tuple(replace(one, metrics={"acc": one.number}) for one in ranked(2, 1).trials))
    request = best(shown, shown.trials[1], {}, scheduler)
    assert request is not None
    assert request.required_resources == {"cpu": 7.0}


# -- the scheduler, hook by hook -----------------------------------------------------------------------------------------


@dataclass
class View:
    number: int
    status: str = "RUNNING"
    values: dict[str, Any] = field(default_factory=dict)
    iteration: int = 1
    metrics: dict[str, Any] = field(default_factory=dict)
    attempt: int = 0
    checkpoint: str | None = "0/a"
    resources: dict[str, float] = field(default_factory=lambda: {"cpu": 1.0})


class Says(Scheduler):
    """Answers what it was told to answer."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__()
        self.answer = answer
        self.heard: list[Any] = []

    def on_result(self, trial: Any, result: Any) -> Any:
        return self.answer


def begun(function: Any = None, *, base: Scheduler | None = None, trials: int = 2, cpus: float = 8.0, **settings: Any) -> Any:
    """A scheduler that has met its trials; they are in ``views``."""
    scheduler = ResourceChangingScheduler(base, function) if function is not None else ResourceChangingScheduler(base)
    scheduler.start(Settings(num_samples=trials, **settings))
    scheduler.on_capacity({"cpu": cpus})
    scheduler.views = [View(number) for number in range(trials)]
    for view in scheduler.views:
        scheduler.on_trial_add(view)
    scheduler.on_search_end()
    return scheduler


def test_a_decision_that_says_why() -> None:
    scheduler = begun()
    (decision,) = scheduler.on_result(scheduler.views[0], {})
    assert (decision.do, decision.trial, decision.data) == ("resize", 0, {"resources": {"cpu": 4.0}})
    assert decision.reason == "cpu 4 instead of cpu 1, says DistributeResources(): 2 trials are live, there is cpu 8"


def test_nothing_changes_for_who_has_its_share() -> None:
    scheduler = begun()
    for view in scheduler.views:
        view.resources = {"cpu": 4.0}
    assert scheduler.on_result(scheduler.views[0], {}) == []


def test_what_was_promised_is_not_free_any_more() -> None:
    """Trial 0 will have it in a moment: trial 1 must not count on it."""
    asked: list[Allocations] = []

    def all_of_it(there: Allocations, trial: LiveTrial, result: Any, scheduler: Any) -> Any:
        asked.append(there)
        return {"cpu": trial.resources["cpu"] + there.free["cpu"]}

    scheduler = begun(all_of_it)
    assert scheduler.on_result(scheduler.views[0], {})[0].data == {"resources": {"cpu": 7.0}}
    assert scheduler.on_result(scheduler.views[1], {}) == []
    assert (asked[1].free, asked[1].trials[0].resources) == ({"cpu": 0.0}, {"cpu": 7.0})
    scheduler.on_result(scheduler.views[0], {})  # it reports again, and has not got it
    assert asked[2].free == {"cpu": 6.0}


def test_who_is_paused_takes_nothing_now() -> None:
    scheduler = begun(trials=3)
    scheduler.views[1].status = "PAUSED"
    scheduler.views[2].status = "PENDING"
    assert scheduler._allocations().free == {"cpu": 6.0}


def test_who_ends_leaves_room() -> None:
    scheduler = begun(trials=3, cpus=6.0)
    assert scheduler.on_result(scheduler.views[0], {})[0].data == {"resources": {"cpu": 2.0}}
    scheduler.views[0].resources = {"cpu": 2.0}
    scheduler.on_trial_end(scheduler.views[1], "finished")
    assert scheduler.on_result(scheduler.views[0], {})[0].data == {"resources": {"cpu": 3.0}}


def test_nobody_gets_more_than_one_machine_has() -> None:
    """Of 12 CPUs in all, 4 are the most that are in one place."""
    for function in (DistributeResources(), DistributeResourcesToTopJob(metric="loss", mode="min")):
        scheduler = begun(function, trials=1)
        scheduler.on_capacity({"cpu": 12.0, "gpu": 1.0}, ({"cpu": 4.0, "gpu": 0.0}, {"cpu": 2.0, "gpu": 1.0}))
        scheduler.views[0].metrics = {"loss": 1.0}
        assert scheduler.on_result(scheduler.views[0], {})[0].data == {"resources": {"cpu": 4.0}}
    scheduler = begun(DistributeResources(increase_by={"cpu": 1, "gpu": 1}), trials=1)
    scheduler.on_capacity({"cpu": 12.0, "gpu": 1.0}, ({"cpu": 4.0, "gpu": 0.0}, {"cpu": 2.0, "gpu": 1.0}))
    assert scheduler.on_result(scheduler.views[0], {})[0].data == {"resources": {"cpu": 2.0, "gpu": 1.0}}


def test_a_function_that_asks_for_more_than_one_machine_has() -> None:
    scheduler = begun(lambda *_: {"cpu": 6.0}, trials=1)
    scheduler.on_capacity({"cpu": 12.0}, ({"cpu": 4.0},))
    (notice,) = scheduler.on_result(scheduler.views[0], {})
    assert notice.do == "continue"
    assert notice.reason.endswith("asks for cpu 6, and no machine of the cluster has more than cpu 4")
    assert scheduler.on_result(scheduler.views[0], {}) == []
    scheduler.on_capacity({"cpu": 14.0}, ({"cpu": 6.0},))
    assert scheduler.on_result(scheduler.views[0], {})[0].data == {"resources": {"cpu": 6.0}}


def test_only_what_is_left_of_those_to_come() -> None:
    scheduler = ResourceChangingScheduler()
    scheduler.start(Settings(num_samples=4))
    scheduler.on_capacity({"cpu": 8.0})
    first = View(0)
    scheduler.on_trial_add(first)
    assert scheduler.on_result(first, {})[0].data == {"resources": {"cpu": 2.0}}  # three more will come
    first.resources = {"cpu": 2.0}
    scheduler.on_search_end()
    assert scheduler.on_result(first, {})[0].data == {"resources": {"cpu": 8.0}}
    scheduler.on_trial_add(View(1))  # somebody came after all, and more may
    assert scheduler._allocations().to_come == 2


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (None, True),
        ("CONTINUE", True),
        ("NOOP", True),
        ([], True),
        ("STOP", False),
        ("PAUSE", False),
        (Scheduler.stop("worst"), False),
        (Scheduler.pause("rung", 0), False),
        (Scheduler.exploit(1, "better", trial=0), False),
        (Scheduler.resize({"cpu": 3}, "its own word", 0), False),
        (Scheduler.stop("worst", 1), True),
        ([Scheduler.save(0)], True),
        ((Scheduler.save(1), Scheduler.pause("rung")), False),
    ],
)
def test_the_base_schedulers_word_comes_first(answer: Any, asked: bool) -> None:
    scheduler = begun(base=Says(answer))
    decided = scheduler.on_result(scheduler.views[0], {})
    own = [answer] if isinstance(answer, Decision) else list(answer or ()) if not isinstance(answer, str) else []
    if isinstance(decided, str):
        assert (decided, asked) == (answer, False)
    else:
        assert [one for one in decided if one.data != {"resources": {"cpu": 4.0}}] == own
        assert any(one.data == {"resources": {"cpu": 4.0}} for one in decided) == asked


def test_a_function_without_checkpoints_is_told_once() -> None:
    scheduler = begun()
    view = scheduler.views[0]
    view.checkpoint = None
    assert scheduler.on_result(view, {})[0].do == "resize"  # it may have come with this very report, and not be there yet
    view.iteration = 2
    (notice,) = scheduler.on_result(view, {})
    assert (notice.do, notice.data) == ("continue", {"notice": True})
    assert "trial 0 keeps cpu 1: resources are changed only where a trial can go on from a checkpoint" in notice.reason
    assert scheduler.on_result(view, {}) == []
    assert begun(can_save=True).on_result(view, {})[0].do == "resize"


def test_what_is_not_there_is_told_once() -> None:
    scheduler = begun(lambda *_: {"cpu": 9})
    assert scheduler.on_result(scheduler.views[0], {})[0].reason.endswith("<lambda> asks for cpu 9, and there is cpu 8 in all")
    assert scheduler.on_result(scheduler.views[1], {}) == []


def test_a_wrong_answer_names_the_argument() -> None:
    scheduler = begun(lambda *_: "more")
    with pytest.raises(SpecError, match=r"resize\(\) must be a dict such as"):
        scheduler.on_result(scheduler.views[0], {})


def test_a_function_as_people_write_it_for_ray() -> None:
    """With their names of things, down to where they find the number of CPUs."""

    def shares(tune_controller: Any, trial: Any, result: Mapping[str, Any], scheduler: Any) -> Any:
        base = scheduler.base_trial_resources or PlacementGroupFactory([{"CPU": 1, "GPU": 0}])
        if result["training_iteration"] < 2:
            return None
        least = base.required_resources.get("CPU", 0)
        assert "CPU" in base.required_resources
        assert trial.placement_group_factory.required_resources["CPU"] == 2
        assert not trial.is_finished()
        assert (trial.trial_id, trial.last_result["a"]["b"]) == ("00000", 3)
        cpus = max(least, tune_controller._resource_updater.get_num_cpus() // len(tune_controller.get_live_trials()))
        return PlacementGroupFactory([{"CPU": cpus, "GPU": tune_controller._resource_updater.get_num_gpus()}])

    scheduler = ResourceChangingScheduler(resources_allocation_function=shares)
    assert scheduler.base_trial_resources is None
    scheduler.start(Settings(num_samples=2))
    scheduler.on_capacity({"cpu": 9.0})
    views = [View(number, resources={"cpu": 2.0}, metrics={"a/b": 3}) for number in range(2)]
    for view in views:
        scheduler.on_trial_add(view)
    assert scheduler.on_result(views[0], {"training_iteration": 1}) == []
    assert scheduler.on_result(views[0], {"training_iteration": 2})[0].data == {"resources": {"cpu": 4.0, "gpu": 0.0}}


def test_none_changes_nothing_and_says_so() -> None:
    with pytest.warns(UserWarning, match="resources_allocation_function=None changes no resources at any time"):
        scheduler = ResourceChangingScheduler(Says("CONTINUE"), None)
    assert not scheduler.capabilities.resizes
    scheduler.start(Settings())
    assert scheduler.on_result(View(0), {}) == "CONTINUE"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((3,), "base_scheduler must be a scheduler, got 3"),
        ((None, DistributeResources), "can be called, such as DistributeResources()"),
        ((None, 4), "got 4"),
    ],
)
def test_wrong_arguments(arguments: Any, what: str) -> None:
    with pytest.raises(SpecError) as error:
        ResourceChangingScheduler(*arguments)
    assert what in str(error.value)


def test_every_hook_is_the_base_schedulers_too() -> None:
    """Whatever a scheduler can override, this one passes on."""
    own = {"stream", "launch", "stop", "pause", "save", "resize", "exploit", "notice"}  # decisions, and what they are made with
    hooks = {name for name, value in vars(Scheduler).items() if inspect.isfunction(value) or isinstance(value, staticmethod)}
    hooks = {name for name in hooks if not name.startswith("_")} - own
    assert hooks <= set(vars(ResourceChangingScheduler)), hooks - set(vars(ResourceChangingScheduler))
    heard: list[str] = []

    class Listens(Scheduler):
        pass

    for name in hooks:
        setattr(Listens, name, lambda self, *args, name=name, **more: heard.append(name))
    scheduler = ResourceChangingScheduler(Listens())
    scheduler.start(Settings())
    heard.clear()
    view = View(0)
    calls: dict[str, tuple[Any, ...]] = {
        "on_trial_add": (view,), "on_result": (view, {}), "on_trial_end": (view, "finished"), "on_trial_reopen": (view,),
        "on_search_end": (), "on_capacity": ({"cpu": 1.0},), "choose": (None,), "set_search_properties": ("loss", "min"),
        "prepare_space": ({},), "on_exploit_end": (view, 1, True), "start": (Settings(),), "state": (),
    }  # fmt: skip
    for name in sorted(hooks - {"options", "change"}):
        getattr(scheduler, name)(*calls[name])
        assert heard[-1:] == [name], name
    scheduler.change({"max_t": 3})
    assert heard[-1] == "change"


def test_what_else_the_base_scheduler_has() -> None:
    base = Rungs("loss", "min", max_t=7)
    scheduler = ResourceChangingScheduler(base)
    assert (scheduler.metric, scheduler.mode, scheduler.max_t, scheduler.changeable) == ("loss", "min", 7, ("max_t",))
    assert scheduler.capabilities == SchedulerCapabilities(pauses=True, needs_metric=True, resizes=True)
    assert not hasattr(scheduler, "explore")
    scheduler.metric, scheduler.mode = "acc", "max"
    assert (base.metric, base.mode) == ("acc", "max")
    scheduler.change({"max_t": 9, "base_scheduler": "Rungs"})
    assert base.max_t == 9


def test_what_is_recorded_of_it() -> None:
    first = ResourceChangingScheduler(Rungs(), DistributeResourcesToTopJob(increase_by={"CPU": 2}, metric="acc", mode="max"))
    assert first.options() == {
        "max_t": 18, "base_scheduler": "Rungs",
        "resources_allocation_function": "DistributeResourcesToTopJob(increase_by={'cpu': 2.0}, metric='acc', mode='max')",
    }  # fmt: skip
    assert ResourceChangingScheduler(None, there).options()["resources_allocation_function"] == "there"

    class Mine:
        def __call__(self, *_: Any) -> None:
            return None

    assert " at 0x" not in ResourceChangingScheduler(None, Mine()).options()["resources_allocation_function"]
    assert repr(DistributeResourcesToTopJob()) == "DistributeResourcesToTopJob()"


def test_it_is_stored_with_the_experiment() -> None:
    scheduler = begun(base=Rungs("loss", "min"))
    again = pickle.loads(pickle.dumps(ResourceChangingScheduler(Rungs("loss", "min", max_t=4))))
    assert (again.max_t, again.metric) == (4, "loss")
    assert pickle.loads(pickle.dumps(scheduler)).max_t == 18


# -- in a world ----------------------------------------------------------------------------------------------------------


def grown(reports: Mapping[int, int], *, can_save: bool = True, checkpoint: float = 0.0) -> Loop:
    """An experiment on four CPUs in which each trial has so many reports, seen through to its end."""
    settings = {"num_samples": len(reports), "metrics": ["loss"], "modes": ["min"], "identical": None}
    world = World(3, Fates(reports=(30, 30), checkpoint=checkpoint), totals={"cpu": 4.0}, can_save=can_save)
    loop = Loop(ResourceChangingScheduler, settings, world, watch=lambda loop, *_: check(loop.controller))
    loop.start()
    while not loop.controller.state.finished:
        for number, trial in loop.controller.state.trials.items():
            if trial.iteration >= reports[number] and trial.status == "RUNNING" and not trial.then:
                loop.feed(ev.UserAction("stop", number))
        loop.step()
    return loop


def sizes(loop: Loop, number: int) -> list[float]:
    return [launch.resources["cpu"] for launch in loop.world.launches if launch.trial == number]


@pytest.mark.parametrize(("can_save", "checkpoint"), [(True, 0.0), (False, 1.0)])
def test_trials_grow_as_others_end(can_save: bool, checkpoint: float) -> None:
    loop = grown({0: 3, 1: 6, 2: 12, 3: 25}, can_save=can_save, checkpoint=checkpoint)
    assert sizes(loop, 3)[0] == 1
    assert sizes(loop, 3)[-1] == 4
    assert all(before < after for before, after in zip(sizes(loop, 3), sizes(loop, 3)[1:]))
    reports = [record.event.iteration for record in loop.records if isinstance(record.event, ev.Reported) and record.event.trial == 3]
    assert reports == sorted(set(reports)), "an iteration was done twice"


def test_without_any_checkpoint_nothing_is_begun_anew() -> None:
    loop = grown({0: 3, 1: 12}, can_save=False)
    assert [len(sizes(loop, number)) for number in (0, 1)] == [1, 1]
    notices = [decision for record in loop.records for decision in record.decisions if decision.data.get("notice")]
    assert len(notices) == 1


def test_no_trial_that_is_still_to_come_finds_its_place_taken() -> None:
    """While others come, nobody is begun anew for a CPU that is free for a moment."""
    loop = grown(dict.fromkeys(range(12), 4))
    first = [record for record in loop.records if isinstance(record.event, ev.Suggested)][-1].event.at
    early = [record for record in loop.records if record.event.at < first and any(one.do == "resize" for one in record.decisions)]
    assert early == []

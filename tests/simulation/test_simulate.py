"""``tune.simulate``: exact times, limits, pauses and faults as the core's rules have them, and what the result says of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.core.trial import PAUSED
from tunesmith.errors import ExecutorError, MetricError, SpecError
from tunesmith.schedulers import FIFOScheduler, Scheduler
from tunesmith.schedulers.base import SchedulerCapabilities
from tunesmith.search.base import Searcher, SearcherCapabilities
from tunesmith.simulation import Delays, Faults, Simulation, simulate
from tunesmith.stopper import MaximumIterationStopper, Stopper, TimeoutStopper

SPACE = {"x": tune.uniform(0, 1)}


def curve(config: dict[str, Any], iteration: int) -> dict[str, Any]:
    return {"loss": config.get("x", 0.5) + 1.0 / iteration}


def go(function: Callable[..., Any] = curve, **options: Any) -> Simulation:
    given = {"config": SPACE, "num_samples": 6, "workers": 2, "max_t": 4, "metric": "loss", "mode": "min", "seed": 1}
    return simulate(function, **{**given, **options})


def dos(sim: Simulation, *kinds: str) -> list[tuple[float, str, int]]:
    return [(one["at"], one["do"], one["trial"]) for one in sim.decisions() if one["do"] in kinds]


def values(sim: Simulation) -> dict[int, list[float]]:
    return {number: list(curve.values) for number, curve in sorted(sim.curves().items())}


class PausesAt(Scheduler):
    """Pauses each trial at one iteration, and resumes it when nothing else is to start."""

    capabilities = SchedulerCapabilities(pauses=True)

    def __init__(self, at: int = 2) -> None:
        super().__init__()
        self.at = at

    def on_result(self, trial: Any, result: Any) -> Any:
        return self.pause("a rest") if trial.iteration == self.at else self.CONTINUE


class StopsWorst(Scheduler):
    """Stops what is above a bound at its first report."""

    def on_result(self, trial: Any, result: Any) -> Any:
        return self.stop(f"{result['loss']:.2f} is too much") if result["loss"] > 1.5 else self.CONTINUE


# -- time ----------------------------------------------------------------------------------------------------------------


@given(
    trials=st.integers(1, 30), workers=st.integers(1, 8), steps=st.integers(1, 5), seconds=st.integers(0, 100),
    start=st.integers(0, 9), report=st.integers(0, 9), save=st.integers(0, 9), freq=st.sampled_from([0, 1, 2]),
)  # fmt: skip
def test_first_in_first_out_takes_exactly_as_long_as_it_must(
    trials: int, workers: int, steps: int, seconds: int, start: int, report: int, save: int, freq: int
) -> None:
    sim = go(
        lambda config, iteration: ({"loss": 1.0}, float(seconds)), num_samples=trials, workers=workers, max_t=steps, checkpoint_freq=freq,
        delays=Delays(start=start, report=report, save=save),
    )  # fmt: skip
    one = start + steps * (seconds + report) + (save * (steps // freq) if freq else 0)
    assert sim.seconds == math.ceil(trials / workers) * one
    assert sim.work_s == trials * steps * seconds
    assert sim.utilisation == pytest.approx(trials / (workers * math.ceil(trials / workers)) if one else 0.0)
    assert sim.counts["TERMINATED"] == trials


def test_the_result_says_how_good_it_was_when() -> None:
    losses = {0: [5, 4, 3], 1: [6, 2, 7], 2: [9, 9, 1]}

    def given(config: dict[str, Any], iteration: int) -> Any:
        return {"loss": losses[config["n"]][iteration - 1]}, 10.0

    sim = go(given, config={"n": tune.grid_search([0, 1, 2])}, num_samples=1, workers=1, max_t=3)
    assert sim.incumbents() == [(10, 5, 0), (20, 4, 0), (30, 3, 0), (50, 2, 1), (90, 1, 2)]
    assert sim.incumbents("last") == [(30, 3, 0), (90, 1, 2)]
    assert (sim.best_value, sim.best_trial.number, sim.best_config) == (1, 2, {"n": 2})
    assert sim.best() == (90, 1, 2)
    assert [sim.best_at(at) for at in (10, 49, 50, 1000)] == [5, 3, 2, 1]
    assert math.isnan(sim.best_at(9.9))
    assert [sim.time_to(value) for value in (5, 3.5, 2, 0.5)] == [10, 30, 50, math.inf]
    assert sim.regret(50, optimum=0.5) == 1.5
    assert (sim.seconds, sim.utilisation, sim.work_s) == (90, 1.0, 90)
    assert sim.curves()[1].values.tolist() == [6, 2, 7]
    assert [trial.last_result["loss"] for trial in sim.trials] == [3, 7, 1]
    assert sim.reason == "all 3 trials have ended"
    with pytest.raises(SpecError, match="give optimum"):
        sim.regret()
    with pytest.raises(SpecError, match="scope must be"):
        sim.incumbents("final")
    with pytest.raises(SpecError, match=r"name one of the simulation's objectives \(loss\)"):
        sim.incumbents(metric="acc")


def test_of_one_instant_only_the_best_is_an_incumbent() -> None:
    sim = go(lambda config, iteration: {"loss": 9.0 - config["n"]}, config={"n": tune.grid_search([0, 2, 1])}, num_samples=1, workers=3)
    assert sim.incumbents() == [(1.0, 7.0, 1)]
    assert sim.incumbents("last") == [(4.0, 7.0, 1)]


def test_the_largest_can_be_the_best() -> None:
    up = go(lambda config, iteration: {"loss": -curve(config, iteration)["loss"]}, mode="max")
    down = go()
    assert up.incumbents() == [(at, -value, trial) for at, value, trial in down.incumbents()]
    assert up.time_to(-1.0) == down.time_to(1.0)


def test_two_simulations_are_compared_by_when_they_are_as_good() -> None:
    slow = go(workers=1, num_samples=8)
    fast = go(workers=8, num_samples=8)
    end = slow.best("last")
    assert fast.speedup_over(slow) == end[0] / fast.time_to(end[1])
    assert slow.speedup_over(fast, value=slow.best_value) == fast.time_to(slow.best_value) / slow.time_to(slow.best_value)
    assert slow.speedup_over(fast, value=0.0) == 0.0


def test_equal_seeds_give_equal_simulations() -> None:
    def story(seed: int) -> Any:
        faults = Faults(lost_every_s=30, slow_share=0.3, slowdown=2, lost_messages=0.02, repeated_messages=0.1, down_s=3)
        sim = go(num_samples=30, workers=4, seed=seed, faults=faults, checkpoint_freq=1, delays=Delays(report=0.1))
        return sim.seconds, sim.decisions(), sim.incumbents(), [trial.config for trial in sim.trials]

    assert story(5) == story(5)
    assert story(5) != story(6)


def test_a_fresh_seed_is_told() -> None:
    sim = go(seed=None)
    again = go(seed=sim.seed)
    assert again.incumbents() == sim.incumbents()


def test_objects_serve_several_simulations_and_stay_as_they_were() -> None:
    scheduler, searcher = PausesAt(), tune.search.BasicVariantGenerator()
    before = repr(vars(scheduler))
    first = go(scheduler=scheduler, search_alg=searcher)
    assert repr(vars(scheduler)) == before
    assert go(scheduler=scheduler, search_alg=searcher).decisions() == first.decisions()


def test_workers_have_speeds() -> None:
    sim = go(num_samples=2, workers=2, worker_speeds=[1.0, 0.25], max_t=4)
    assert [trial.ended_at for trial in sim.trials] == [4.0, 16.0]
    assert sim.utilisation == 20 / 32


def test_decisions_come_with_their_reasons() -> None:
    sim = go(scheduler=StopsWorst())
    stops = [one for one in sim.decisions() if one["do"] == "stop"]
    assert stops
    assert all(one["reason"].endswith("is too much") for one in stops)
    assert {one["trial"] for one in stops} == {trial.number for trial in sim.trials if trial.outcome == "stopped"}
    assert len(dos(sim, "end")) == 6


def test_thousands_of_workers() -> None:
    sim = go(num_samples=3000, workers=3000, max_t=2)
    assert (sim.seconds, sim.utilisation, sim.counts["TERMINATED"]) == (2.0, 1.0, 3000)


def test_trials_hold_what_they_ask_for() -> None:
    sim = go(num_samples=4, workers=4, resources_per_trial={"cpu": 1, "gpu": 0.5}, resources={"gpu": 1}, max_t=1)
    assert sim.seconds == 2.0, "two at once share the card"
    with pytest.raises(SpecError, match="asks for"):
        go(resources_per_trial={"gpu": 1})
    with pytest.raises(SpecError, match="'cpu' is said by workers"):
        go(resources={"cpu": 3})
    assert go(num_samples=4, workers=4, max_concurrent_trials=1, max_t=1).seconds == 4.0


# -- limits ----------------------------------------------------------------------------------------------------------------


def test_a_trials_own_limit_is_virtual_time() -> None:
    sim = go(lambda config, iteration: ({"loss": 1.0}, 10.0), num_samples=1, max_t=9, max_trial_s=35.0)
    trial = sim.trials[0]
    assert (trial.outcome, trial.ended_at, trial.iteration) == ("timeout", 35.0, 3)
    assert sim.counts["ERROR"] == 1


def test_what_comes_in_time_counts() -> None:
    sim = go(lambda config, iteration: ({"loss": 1.0}, 10.0), num_samples=1, max_t=4, max_silence_s=10.0)
    assert sim.trials[0].outcome == "finished", "each report comes at the very moment"
    late = go(lambda config, iteration: ({"loss": 1.0}, 10.0), num_samples=1, max_t=4, max_trial_s=40.0)
    assert (late.trials[0].iteration, late.trials[0].outcome) == (4, "timeout"), "its last report counts, its end came no more"


def test_silence_is_virtual_too() -> None:
    sim = go(lambda config, iteration: ({"loss": 1.0}, 10.0 * iteration), num_samples=1, max_t=9, max_silence_s=25.0)
    assert (sim.trials[0].outcome, sim.trials[0].ended_at) == ("silent", 10 + 20 + 25)


def test_the_budget_of_the_whole_is_virtual_time() -> None:
    sim = go(lambda config, iteration: ({"loss": 1.0}, 10.0), num_samples=-1, workers=2, max_t=4, time_budget_s=105.0)
    assert sim.kind == "budget"
    assert sim.seconds == 110.0, "what runs is told to stop, and does so at its next report"
    assert len(sim.trials) == 6
    long = go(lambda config, iteration: ({"loss": 1.0}, 1e6), num_samples=1, time_budget_s=10.0)
    assert long.seconds == 40.0, "and those that report too late for that are killed"


def test_criteria_stop_trials_and_clocks_in_them_are_virtual() -> None:
    assert [trial.iteration for trial in go(max_t=None, stop={"training_iteration": 3}).trials] == [3] * 6
    assert go(stop=lambda trial_id, result: result["loss"] < 1.0).counts["TERMINATED"] == 6
    for stop in (TimeoutStopper(2.5), [TimeoutStopper(2.5), MaximumIterationStopper(50)]):
        sim = go(stop=stop, max_t=100)
        assert (sim.seconds, sim.kind) == (3.0, "stop")

    class Wall(Stopper):
        def __call__(self, trial_id: str, result: Any) -> bool:
            return False

        def remaining(self) -> float:
            return 1.0

    with pytest.raises(SpecError, match="Wall looks at the real clock"):
        go(stop=Wall())


def test_stop_criteria_see_the_configuration() -> None:
    sim = go(stop=lambda trial_id, result: result["config"]["x"] > 0.5)
    for trial in sim.trials:
        assert (trial.outcome == "stopped") == (trial.config["x"] > 0.5)


# -- pauses ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pauses", "seconds", "work", "attempts"),
    [
        ("warm", 5 + 4, 4, 0),  # it stays where it is
        ("cold", 5 + 2 + 2 + 1 + 5 + 3 + 2, 4, 1),  # saved, ended, started, loaded
        ("rerun", 5 + 2 + 1 + 5 + 4, 6, 1),  # ended, and from the beginning
    ],
)
def test_what_a_pause_costs(pauses: str, seconds: float, work: float, attempts: int) -> None:
    sim = go(num_samples=1, scheduler=PausesAt(), pauses=pauses, delays=Delays(start=5, save=2, load=3, stop=1))
    assert (sim.seconds, sim.work_s, sim.trials[0].attempt) == (seconds, work, attempts)
    assert sim.trials[0].iteration == 4
    assert sim.counts[PAUSED] == 0


def test_any_number_of_trials_can_be_held_warm() -> None:
    class HoldsAll(PausesAt):
        drawn = False

        def on_search_end(self) -> None:
            self.drawn = True

        def choose(self, runnable: Any) -> Any:
            return super().choose(runnable) if self.drawn or runnable.pending else None

    sim = go(num_samples=300, workers=5, scheduler=HoldsAll(), max_t=3)
    assert max(at for at, _, _ in dos(sim, "pause")) < min(trial.ended_at or 0.0 for trial in sim.trials)
    assert {trial.attempt for trial in sim.trials} == {0}
    assert (sim.work_s, sim.seconds) == (900, 180)


def test_exploits_copy_memory_and_values() -> None:
    class Copies(Scheduler):
        capabilities = SchedulerCapabilities(exploits=True)

        def on_result(self, trial: Any, result: Any) -> Any:
            if trial.number == 0 and trial.iteration == 2:
                return [self.save(0), self.exploit(0, "better", trial=1, values={"x": 2.0})]
            return self.CONTINUE

    def sums(config: dict[str, Any], iteration: int, memory: dict[str, Any]) -> Any:
        memory["sum"] = memory.get("sum", 0.0) + config["x"]
        return {"loss": memory["sum"]}

    values = {"x": tune.grid_search([1.0, 100.0])}
    sim = go(sums, config=values, num_samples=1, scheduler=Copies(), max_t=5, delays=Delays(save=0.5))
    assert sim.curves()[0].values.tolist() == [1, 2, 3, 4, 5]
    exploited = sim.curves()[1]
    assert exploited.iterations.tolist() == [1, 3, 4, 5], "its second report came when it had been told to go on as the other"
    assert exploited.values.tolist() == [100, 4, 6, 8], "the donor's 2 after two steps, and twos from there"
    assert sim.trials[1].config == {"x": 2.0}


# -- faults ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("freq", "seconds"), [(0, 3.5 + 8), (2, 3.5 + 6)])
def test_who_lost_its_worker_goes_on_from_its_checkpoint_or_begins_anew(freq: int, seconds: float) -> None:
    sim = go(num_samples=1, workers=1, max_t=8, faults=Faults(lost_at=[(3.5, 0)]), checkpoint_freq=freq)
    assert (sim.seconds, sim.counts["TERMINATED"], sim.trials[0].attempt) == (seconds, 1, 1)
    assert sim.work_s == 3 + 8 - freq


def test_losses_are_free_up_to_their_budget() -> None:
    faults = Faults(lost_at=[(0.5 + number, 0) for number in range(20)])
    sim = go(num_samples=1, workers=1, faults=faults)
    assert (sim.trials[0].outcome, sim.trials[0].attempt) == ("worker_lost", 5)
    assert sim.counts["ERROR"] == 1


def test_with_a_worker_less_it_takes_longer() -> None:
    faults = Faults(lost_at=[(0.0, 1)], down_s=math.inf)
    sim = go(num_samples=4, workers=2, faults=faults)
    assert sim.seconds == 16.0
    back = go(num_samples=4, workers=2, faults=Faults(lost_at=[(0.0, 1)], down_s=4.0))
    assert back.seconds == 4 + 8


def test_workers_that_all_are_lost_for_good_are_an_error() -> None:
    with pytest.raises(ExecutorError, match="workers 0, 1 were lost for good"):
        go(faults=Faults(lost_at=[(1.5, 0), (2.5, 1)], down_s=math.inf))


def test_a_lost_message_ends_by_silence_or_by_the_connection() -> None:
    lost = Faults(lost_messages=1.0, message_timeout_s=50.0)
    for limit, outcome, retries in ((20.0, "silent", {}), (None, "worker_lost", {"worker_lost": 0})):
        sim = go(num_samples=3, workers=3, faults=lost, max_silence_s=limit, max_failures=retries)
        assert {trial.outcome for trial in sim.trials} == {outcome}


def test_messages_that_are_lost_or_come_twice_change_no_results() -> None:
    calm = go(num_samples=40, workers=4, max_t=8)
    many: dict[str, Any] = {"num_samples": 40, "workers": 4, "max_t": 8, "checkpoint_freq": 2, "max_failures": {"worker_lost": -1}}
    for faults in (Faults(repeated_messages=0.5), Faults(lost_messages=0.05), Faults(lost_every_s=100)):
        sim = go(**many, faults=faults, delays=Delays(report=0.01))
        assert values(sim) == values(calm)
        assert sim.counts["TERMINATED"] == 40
    twice = go(num_samples=40, workers=4, max_t=8, faults=Faults(repeated_messages=0.5))
    assert twice.decisions() == calm.decisions()


def test_failures_of_the_function_are_the_trials_and_retried_as_in_a_run() -> None:
    def fails(config: dict[str, Any], iteration: int) -> Any:
        if iteration == 3:
            raise ValueError("so it goes")
        return curve(config, iteration)

    sim = go(fails, num_samples=3, max_failures=1)
    assert sim.counts["ERROR"] == 3
    assert [trial.num_failures for trial in sim.trials] == [2, 2, 2]
    assert "ValueError: so it goes" in sim.trials[0].reason
    assert "3 trials failed" in str(sim)


def test_the_breaker_trips_and_is_told() -> None:
    def fails(config: dict[str, Any], iteration: int) -> Any:
        raise ValueError("so it goes")

    sim = go(fails, num_samples=50)
    assert sim.kind == "breaker"
    assert "ended early" in str(sim)
    with pytest.raises(MetricError, match="The first failure: ValueError: so it goes"):
        _ = sim.best_value


def test_an_infeasible_trial_is_no_result() -> None:
    def says_no(config: dict[str, Any], iteration: int) -> Any:
        if config["x"] < 0.5 and iteration == 2:
            raise tune.Infeasible("too small")
        return {"loss": config["x"]}

    sim = go(says_no, num_samples=8)
    assert any(trial.outcome == "infeasible" for trial in sim.trials)
    assert sim.best_config["x"] >= 0.5
    assert sum(trial.outcome == "finished" for trial in sim.trials) == 8


# -- searchers ---------------------------------------------------------------------------------------------------------------


class Learns(Searcher):
    """Not cheap, so in a run it would have a thread; notes what it is told."""

    capabilities = SearcherCapabilities()

    def __init__(self) -> None:
        super().__init__()
        self.results: list[float] = []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"x": 1.0 / (1 + len(self.results))}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.results.append(result["loss"])


def test_searchers_with_a_thread_of_their_own_are_asked_in_the_loop() -> None:
    sim = go(search_alg=Learns(), num_samples=6, workers=2)
    assert [trial.config["x"] for trial in sim.trials] == [1.0, 1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]


def test_seconds_for_each_suggestion_delay_the_trials_one_after_the_other() -> None:
    sim = go(num_samples=3, workers=3, charge_search_time=1.5)
    assert [trial.started_at for trial in sim.trials] == [1.5, 3.0, 4.5]
    assert sim.seconds == 4.5 + 4
    serial = go(num_samples=4, workers=1, charge_search_time=0.5)
    assert serial.seconds == 4 * (4 + 0.5)


def test_trials_go_on_while_the_searcher_thinks() -> None:
    sim = go(num_samples=2, workers=2, charge_search_time=3.0, max_t=4)
    assert [trial.started_at for trial in sim.trials] == [3.0, 6.0]
    assert sim.seconds == 10.0
    assert sim.incumbents()[0][0] == 4.0


def test_what_it_really_takes_can_be_charged() -> None:
    class Busy(Searcher):
        def suggest(self, trial_id: str) -> dict[str, Any]:
            sum(range(20_000))
            return {"x": 0.5}

    sim = go(search_alg=Busy(), charge_search_time=True, num_samples=4, workers=1)
    starts = [trial.started_at or 0.0 for trial in sim.trials]
    assert 16.0 < sim.seconds < 16.0 + 10
    assert starts[0] > 0.0


# -- arguments ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be a whole number >= 1"),
        ({"pauses": "hot"}, "pauses must be one of warm, cold, rerun"),
        ({"lookup": "close"}, "lookup must be one of nearest, exact"),
        ({"lookup": "exact"}, "a function has a curve for every configuration"),
        ({"max_t": None}, "nothing ends the trials of 'curve'; give max_t="),
        ({"max_t": 0}, "max_t must be a whole number >= 1"),
        ({"worker_speeds": [1.0]}, "worker_speeds must be 2 numbers > 0"),
        ({"worker_speeds": [1.0, 0.0]}, "worker_speeds must be 2 numbers > 0"),
        ({"faults": Faults(lost_at=[(1.0, 2)])}, r"lost_at names worker 2 \(at 1 s\); there are 2, from 0"),
        ({"charge_search_time": -1}, "charge_search_time must be True, False or seconds"),
        ({"config": [1]}, "config must be a dict"),
        ({"mode": None}, "without a mode"),
        ({"resources_per_trial": lambda config: {"cpu": 1}}, "a function of the config is not simulated"),
        ({"max_failures": 1, "failure_config": tune.FailureConfig()}, "max_failures goes into it"),
        ({"search_alg": 3}, "search_alg"),
        ({"delays": 3.0}, "delays must be a tune.simulation.Delays"),
    ],
)
def test_wrong_arguments_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        go(**options)


def test_what_is_no_source_is_refused() -> None:
    def train(config: dict[str, Any]) -> None: ...

    with pytest.raises(SpecError, match="A training function can't be simulated"):
        go(train)
    with pytest.raises(SpecError, match="the source must be a function"):
        go(3)  # type: ignore[arg-type]
    with pytest.raises(tune.JournalError, match="no experiment"):
        simulate("/no/such/place")


def test_the_schedulers_length_is_the_trials_where_it_counts_iterations() -> None:
    class Bound(FIFOScheduler):
        time_attr, max_t = "training_iteration", 3

    assert [trial.iteration for trial in go(scheduler=Bound(), max_t=None).trials] == [3] * 6
    Bound.time_attr = "epochs"
    with pytest.raises(SpecError, match="nothing ends the trials"):
        go(scheduler=Bound(), max_t=None)


def test_a_metric_that_is_never_reported_is_an_error() -> None:
    with pytest.raises(MetricError, match=r"metric 'los' was never reported.*Did you mean 'loss'"):
        go(metric="los")


def test_a_metric_that_was_left_out_is_an_error_that_says_so() -> None:
    with pytest.raises(MetricError, match=r"simulate: metric= is missing.*this one reports cost, loss\. .* as in metric='cost'"):
        go(lambda config, iteration: {"loss": 1.0, "cost": 2.0}, metric=None)
    assert go(lambda config, iteration: 1.0 / iteration, metric=None).best_value == 0.25


def test_without_a_metric_there_is_no_best() -> None:
    sim = go(metric=None, mode=None)
    assert sim.counts["TERMINATED"] == 6
    with pytest.raises(SpecError, match=r"give simulate\(\) a metric and a mode"):
        _ = sim.best_value


def test_several_objectives_have_incumbents_each() -> None:
    sim = go(lambda config, iteration: {"loss": config["x"], "cost": -iteration}, metric=["loss", "cost"], mode=["min", "min"])
    assert sim.best(metric="cost")[:2] == (4.0, -4.0)
    assert sim.best(metric="loss")[1] == min(trial.config["x"] for trial in sim.trials)
    assert "best loss" in str(sim)
    assert "best cost" in str(sim)


def test_every_record_can_be_kept_and_analysed() -> None:
    sim = go(keep_records=True)
    analysis = sim.analysis()
    assert analysis.best_result["loss"] == sim.best("last")[1]
    assert analysis.get_best_config() == sim.trials[sim.best("last")[2]].config
    assert [entry["do"] for entry in analysis.decisions()] == [entry["do"] for entry in sim.decisions()]
    with pytest.raises(SpecError, match="keep_records=True"):
        go().analysis()

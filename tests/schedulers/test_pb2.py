"""PB2: what it observes in the fold, what it asks the model, what it makes of the answer, and that it passes the kit."""

from __future__ import annotations

import inspect
import math
import random
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Exploration, Mutated, Scheduler
from tunesmith.schedulers.pb2 import PB2
from tunesmith.search import pb2_model
from tunesmith.simulation import simulate
from tunesmith.space import Space, choice, loguniform, quniform, randint, require, uniform
from tunesmith.testing import SchedulerKit
from tunesmith.testing.loop import Loop
from tunesmith.testing.world import Fates, World


class _Kit(SchedulerKit):
    """It is about the fold; answers of the model are its business only in that they differ."""

    takes_pending = False

    @pytest.fixture(autouse=True)
    def model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pb2_model, "propose", lambda rows, time, score, pending, dims, seed, _: [random.Random(seed).random()] * dims)


class TestPB2(_Kit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return PB2("training_iteration", metric, mode, 2, {"x": [0, 1]}, 0.5)


class TestSynchronous(_Kit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return PB2("training_iteration", metric, mode, 3, {"x": loguniform(1e-9, 1)}, synch=True)


class TestWithTheModel(SchedulerKit):
    """With the real one: it has to stand nan, infinities, ties and gaps."""

    takes_pending = False
    num_samples = 6

    def make(self, metric: str, mode: str) -> Scheduler:
        return PB2("training_iteration", metric, mode, 4, {"x": [0, 1]}, 0.5)


def made(bounds: dict[str, Any], **options: Any) -> PB2:
    """One that has been started: intervals of 10, the more the better."""
    scheduler = PB2("t", "q", "max", 10.0, bounds, **options)
    scheduler.start(Settings.parse({"seed": 1, "metrics": ["q"], "modes": ["max"]}))
    return scheduler


def trial(number: int, **values: Any) -> Any:
    return SimpleNamespace(number=number, values=values)


def teach(scheduler: PB2, peak: float, name: str = "x", count: int = 40) -> None:
    """Members from 2 on gain most where the value is at the peak; those before stand at 0 with a score of 0."""
    for number in (0, 1):
        scheduler.on_scored(trial(number), 0.0, 0.0)
    for i in range(count):
        at = i / (count - 1)
        scheduler.on_scored(trial(2 + i, **{name: at}), 0.0, 0.0)
        scheduler.on_scored(trial(2 + i, **{name: at}), 10.0, 1 - (at - peak) ** 2)


def ask(scheduler: PB2, config: dict[str, Any], values: dict[str, Any], **more: Any) -> tuple[dict[str, Any], Mutated]:
    """Trial 0 copies trial 1, which has these values; the new config and the answer."""
    space = Space.parse(scheduler.prepare_space(config))
    answer = scheduler.explore(Exploration(0, 1, 1, values, scheduler.exploit_data(0, 1), space, 1, **more))
    return space.resolve(answer.values), answer


# -- what it observes ----------------------------------------------------------------------------------------------------


def expected(loop: Loop, interval: int) -> list[tuple[float, float, float, float]]:
    """(start, score, x, gain) of all stretches, told from the journal alone."""
    marks: dict[int, tuple[int, float]] = {}
    loans: dict[int, tuple[int, float]] = {}
    values: dict[int, float] = {}
    found = []
    for record in loop.records:
        event = record.event
        if isinstance(event, ev.Suggested):
            values[event.trial] = event.values["x"]
        if isinstance(event, ev.Reported) and event.iteration - marks.get(event.trial, (0,))[0] >= interval:
            mark = (event.iteration, event.metrics["q"])
            if (before := marks.get(event.trial)) is not None:
                gain = (mark[1] - before[1]) / (mark[0] - before[0])
                found.append((before[0] / interval, before[1], values[event.trial], gain))
            marks[event.trial] = mark
        if isinstance(event, ev.Explored):
            values[event.trial] = event.values["x"]
        for decision in record.decisions:
            if decision.do == "exploit":
                loans[decision.trial or 0] = marks[decision.data["source"]]
            if decision.do == "exploited":
                marks[decision.trial or 0] = loans[decision.trial or 0]
    return found


def test_the_model_is_shown_the_gains_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each member from look to look; after an exploit from the donor's time and score on, with the values that it was given."""
    shown: list[Any] = []

    def propose(rows: list[Any], time: float, score: float, *rest: Any) -> list[float]:
        shown.append(rows)
        return [(len(shown) % 10) / 10]

    monkeypatch.setattr(pb2_model, "propose", propose)
    fates = Fates(reports=(24, 24), checkpoint=1.0, metrics=lambda values, step: {"q": values["x"] * step + 0.01 * step**2})
    settings = {"num_samples": 6, "metrics": ["q"], "modes": ["max"]}
    loop = Loop(lambda: PB2("training_iteration", "q", "max", 3, {"x": [0, 1]}, 0.5), settings, World(3, fates, totals={"cpu": 6.0}))
    loop.run()
    assert len(shown) > 6
    told = [(start, before, point[0], gain) for start, before, point, gain in shown[-1]]
    assert len(told) > 15
    assert told == [pytest.approx(row) for row in expected(loop, 3)[: len(told)]]


def test_a_stretch_without_a_finite_beginning_is_no_observation() -> None:
    scheduler = made({"x": [0, 1]})
    for time, score in ((10.0, 1.0), (20.0, -math.inf), (30.0, 2.0), (30.0, 5.0), (40.0, 3.0)):
        scheduler.on_scored(trial(0, x=0.5), time, score)
    assert scheduler.exploit_data(1, 0)["rows"] == 2, "to -inf, and from 5 to 3: not from -inf, and not within no time"


def test_what_is_recorded_is_little() -> None:
    scheduler = made({"x": [0, 1]})
    teach(scheduler, 0.5)
    assert scheduler.exploit_data(0, 5) == {"rows": 40, "mark": [10.0, 1 - (3 / 39 - 0.5) ** 2]}


def test_only_so_much_is_kept() -> None:
    scheduler = made({"x": [0, 1]})
    for time in range(5001):
        scheduler.on_scored(trial(0, x=0.5), float(time), float(time))
    data = scheduler.exploit_data(1, 0)
    assert data["rows"] == 5000
    kept = scheduler._history.known(5000)
    assert (len(kept), kept[-1][0]) == (pb2_model.WINDOW, 4999.0)
    earlier = scheduler._history.known(4500)
    assert (len(earlier), earlier[-1][0]) == (pb2_model.WINDOW, 4499.0)
    assert len(scheduler._history.rows) < 3 * pb2_model.WINDOW
    assert scheduler._history.known(100) == []


def test_who_is_over_is_forgotten_and_its_gains_are_not() -> None:
    scheduler = made({"x": [0, 1]})
    teach(scheduler, 0.5)
    history = scheduler._history
    for number in range(42):
        scheduler.on_trial_add(trial(number))
    scheduler.exploit_data(0, 1)
    scheduler.on_exploit_end(trial(3, x=0.1), 1, True)
    for number in range(42):
        scheduler.on_trial_end(trial(number), "finished")
    assert (history.marks, history.loans, history.trying) == ({}, {}, {})
    assert len(history.rows) == 40


def test_an_exploit_that_was_given_up_leaves_the_member_where_it_was() -> None:
    scheduler = made({"x": [0, 1]})
    for number, score in ((0, 1.0), (1, 5.0)):
        scheduler.on_trial_add(trial(number))
        scheduler.on_scored(trial(number, x=0.5), 10.0, score)
    for done, gain in ((False, 0.2), (True, -0.2)):
        scheduler.exploit_data(0, 1)
        scheduler.on_exploit_end(trial(0, x=0.5), 1, done)
        scheduler.on_scored(trial(0, x=0.5), 20.0, 3.0)
        assert scheduler._history.rows[-1] == (10.0, 5.0 if done else 1.0, {"x": 0.5}, pytest.approx(gain))
        scheduler.on_scored(trial(0, x=0.5), 10.0, 1.0)


# -- what it asks, and what it makes of the answer -----------------------------------------------------------------------


def test_new_values_are_where_others_gained_most() -> None:
    for peak in (0.2, 0.7):
        scheduler = made({"x": [0, 1]})
        teach(scheduler, peak)
        config, answer = ask(scheduler, {"x": uniform(0, 1)}, {"x": 0.5})
        assert config["x"] == pytest.approx(peak, abs=0.1)
        assert answer.changes == {"x": [0.5, config["x"], "model of 40 gains"]}


def test_without_observations_they_are_drawn() -> None:
    scheduler = made({"x": [2, 3]})
    scheduler.on_scored(trial(1, x=2.5), 10.0, 1.0)
    config, answer = ask(scheduler, {"x": uniform(2, 3)}, {"x": 2.5})
    assert 2 <= config["x"] <= 3
    assert answer.changes["x"][2] == "drawn, nothing is known yet"


def test_equal_questions_get_equal_answers_whatever_was_seen_since() -> None:
    scheduler = made({"x": [0, 1]})
    teach(scheduler, 0.3)
    space = Space.parse({"x": uniform(0, 1)})
    asked = Exploration(0, 1, 1, {"x": 0.5}, scheduler.exploit_data(0, 1), space, 1)
    first = scheduler.explore(asked)
    for number in range(100, 160):
        scheduler.on_scored(trial(number, x=0.9), 0.0, 0.0)
        scheduler.on_scored(trial(number, x=0.9), 10.0, 50.0)
    assert scheduler.explore(asked) == first
    other = Exploration(0, 1, 2, {"x": 0.5}, scheduler.exploit_data(0, 1), space, 1)
    assert scheduler.explore(other).values["x"] == pytest.approx(0.9, abs=0.1), "and what was seen counts from the next question on"


def test_asking_changes_nothing_in_the_fold() -> None:
    scheduler = made({"x": [0, 1]})
    teach(scheduler, 0.3)
    data = scheduler.exploit_data(0, 1)
    before = repr(scheduler.state())
    scheduler.explore(Exploration(0, 1, 1, {"x": 0.5}, data, Space.parse({"x": uniform(0, 1)}), 1))
    assert repr(scheduler.state()) == before


def test_nobody_tries_what_another_one_is_trying() -> None:
    """Whether that one has just been given it, or has begun with it already."""
    for begun in (False, True):
        scheduler = made({"x": [0, 1], "y": [0, 1]})
        for number in (0, 1, 7):
            scheduler.on_trial_add(trial(number))
        for number in (0, 1):
            scheduler.on_scored(trial(number), 0.0, 0.0)
        for number, at in enumerate((0.3, 0.5, 0.6), 2):
            scheduler.on_scored(trial(number, x=at, y=at), 0.0, 0.0)
            scheduler.on_scored(trial(number, x=at, y=at), 10.0, at)
        space = {"x": uniform(0, 1), "y": uniform(0, 1)}
        alone, _ = ask(scheduler, space, {"x": 0.5, "y": 0.5})
        if begun:
            scheduler.on_exploit_end(trial(7, **alone), 1, True)
        second, _ = ask(scheduler, space, {"x": 0.5, "y": 0.5}, **({} if begun else {"others": (alone,)}))
        assert math.dist(alone.values(), second.values()) > 0.1
        if begun:  # it has shown something: now it is an observation, and no more a point that is tried
            scheduler.on_scored(trial(7, **alone), 10.0, 1.0)
            assert not scheduler._history.trying


def test_logarithmic_bounds_are_modelled_by_logarithms() -> None:
    scheduler = made({"lr": loguniform(1e-4, 1)})
    scheduler.on_scored(trial(1), 0.0, 0.0)
    for i in range(41):
        lr = 10 ** (-4 + i / 10)
        scheduler.on_scored(trial(2 + i, lr=lr), 0.0, 0.0)
        scheduler.on_scored(trial(2 + i, lr=lr), 10.0, -((math.log10(lr) + 2.5) ** 2))
    config, _ = ask(scheduler, {"lr": loguniform(1e-4, 1)}, {"lr": 0.5})
    assert math.log10(config["lr"]) == pytest.approx(-2.5, abs=0.4)


@pytest.mark.parametrize(
    ("bound", "start", "kind", "least", "most"),
    [
        ([0, 1], 0.5, float, 0, 1),
        ((2, 64), 8, int, 2, 64),
        ([0.5, 3.5], 2, int, 1, 3),
        (randint(1, 5), 3, int, 1, 4),
        (quniform(0, 1, 0.25), 0.5, float, 0, 1),
        (loguniform(1e-5, 1e-1), 1e-3, float, 1e-5, 1e-1),
        (loguniform(1, 1000), 10, int, 1, 1000),
    ],
)
def test_values_stay_inside_and_of_their_type(bound: Any, start: Any, kind: type, least: float, most: float) -> None:
    scheduler = made({"net": {"x": bound}})
    scheduler.on_scored(trial(1), 0.0, 0.0)
    seen = set()
    for number in range(1, 13):
        space = Space.parse(scheduler.prepare_space({"net": {"x": start, "y": 1}}))
        answer = scheduler.explore(Exploration(0, 1, number, {}, scheduler.exploit_data(0, 1), space, 1))
        value = space.resolve(answer.values)["net"]["x"]
        assert type(value) is kind
        assert least <= value <= most
        seen.add(value)
        scheduler.on_scored(trial(10 + number, **answer.values), 0.0, 0.0)
        scheduler.on_scored(trial(10 + number, **answer.values), 10.0, math.sin(number))
    assert len(seen) > 2


def test_constants_of_the_config_change_too_and_what_it_lacks_is_drawn() -> None:
    scheduler = made({"lr": [0.0, 1.0], "wd": [0.0, 0.1]})
    teach(scheduler, 0.3, "lr")
    config = scheduler.prepare_space({"lr": 0.9, "epochs": 3})
    values = Space.parse(config).draw(random.Random(1))
    assert 0 <= values["wd"] <= 0.1
    new, _ = ask(scheduler, {"lr": 0.9, "epochs": 3}, values)
    assert new["epochs"] == 3
    assert new["lr"] != 0.9


def test_rows_of_another_space_are_left_out() -> None:
    scheduler = made({"x": [0, 1]})
    teach(scheduler, 0.3)
    scheduler.on_scored(trial(90, y=1.0), 0.0, 0.0)
    scheduler.on_scored(trial(90, y=1.0), 10.0, 99.0)
    scheduler.on_scored(trial(91, x="big"), 0.0, 0.0)
    scheduler.on_scored(trial(91, x="big"), 10.0, 99.0)
    _, answer = ask(scheduler, {"x": choice([0.5, "big"])}, {"x": 0.5})
    assert answer.changes["x"][2] == "model of 40 gains"


def test_a_path_that_the_source_lacks_stays_out() -> None:
    scheduler = made({"opt": {"lr": [0, 1]}})
    space = {"opt": choice([{"lr": 0.5}, "none"])}
    values = Space.parse(scheduler.prepare_space(space)).values_from({"opt": "none"})
    for time in (0.0, 10.0, 20.0):
        scheduler.on_scored(trial(1, **values), time, time)
    config, answer = ask(scheduler, space, values)
    assert (config, answer.changes) == ({"opt": "none"}, {})


def test_constraints_hold_and_the_model_is_still_asked() -> None:
    scheduler = made({"x": [0, 1]})
    teach(scheduler, 0.7)
    space = {"x": uniform(0, 1), "no": require(lambda config: config["x"] < 0.6, "x < 0.6")}
    config, answer = ask(scheduler, space, {"x": 0.5})
    assert 0.5 < config["x"] < 0.6
    assert answer.changes["x"][2] == "model of 40 gains"


def test_constraints_see_values_as_they_will_be() -> None:
    scheduler = made({"n": [0, 20]})
    scheduler.on_scored(trial(1), 0.0, 0.0)
    for n in range(21):
        scheduler.on_scored(trial(2 + n, n=n), 0.0, 0.0)
        scheduler.on_scored(trial(2 + n, n=n), 10.0, -((n - 13) ** 2))
    config, answer = ask(scheduler, {"n": 4, "even": require(lambda config: config["n"] % 2 == 0, "even")}, {})
    assert config["n"] in (12, 14)
    assert answer.changes["n"] == [4, config["n"], "model of 21 gains"]


def test_what_a_function_of_the_users_breaks_is_drawn_anew() -> None:
    scheduler = made({"x": [0, 1]}, custom_explore_fn=lambda config: {**config, "x": config["x"] + 0.3})
    teach(scheduler, 0.9)
    space = {"x": uniform(0, 1), "no": require(lambda config: config["x"] < 0.9, "x < 0.9")}
    config, answer = ask(scheduler, space, {"x": 0.5})
    assert 0.3 <= config["x"] < 0.9
    assert answer.changes["x"][2] == "drawn, for the constraints, custom_explore_fn"


def test_what_diverged_is_kept_away_from() -> None:
    scheduler = made({"x": [0, 1]})
    scheduler.on_scored(trial(1), 0.0, 0.0)
    for i in range(20):
        scheduler.on_scored(trial(2 + i, x=i / 19), 0.0, 0.0)
        scheduler.on_scored(trial(2 + i, x=i / 19), 10.0, -math.inf if i > 9 else i / 9)
    config, _ = ask(scheduler, {"x": uniform(0, 1)}, {"x": 0.5})
    assert config["x"] < 0.6


# -- the rest ------------------------------------------------------------------------------------------------------------


def test_arguments_are_rays() -> None:
    parameters = inspect.signature(PB2.__init__).parameters
    assert list(parameters)[1:] == [
        "time_attr", "metric", "mode", "perturbation_interval", "hyperparam_bounds", "quantile_fraction", "log_config", "require_attrs",
        "synch", "custom_explore_fn", "seed",
    ]  # fmt: skip
    defaults = [parameter.default for parameter in parameters.values()][1:]
    assert defaults == ["time_total_s", None, None, 60.0, None, 0.25, True, True, False, None, None]


def test_arguments_arrive() -> None:
    given = {
        "time_attr": "t", "metric": "q", "mode": "max", "perturbation_interval": 7.0, "quantile_fraction": 0.125, "log_config": False,
        "require_attrs": False, "synch": True, "custom_explore_fn": dict, "seed": 3,
    }  # fmt: skip
    scheduler = PB2(hyperparam_bounds={"x": [0, 1]}, **given)
    assert {name: getattr(scheduler, name) for name in given} == given


@pytest.mark.parametrize("bound", [[1], [1, 0], [0, 0], "ab", [0, "1"], [0, math.nan], [False, True], 3, None, choice([1, 2]), lambda: 1])
def test_wrong_bounds_are_named(bound: Any) -> None:
    with pytest.raises(SpecError, match=r"PB2: hyperparam_bounds\['net/lr'\] must be \[lower, upper\]"):
        PB2(hyperparam_bounds={"net": {"lr": bound}})


@pytest.mark.parametrize("bounds", [None, {}, [("lr", [0, 1])]])
def test_bounds_are_needed(bounds: Any) -> None:
    with pytest.raises(SpecError, match="PB2: hyperparam_bounds must be a dict such as"):
        PB2(hyperparam_bounds=bounds)


def test_errors_speak_of_its_own_argument() -> None:
    with pytest.raises(SpecError, match=r"PB2: hyperparam_bounds\['net/lr'\] leads to nothing"):
        PB2(hyperparam_bounds={"net": {"lr": [0, 1]}}).prepare_space({"net": 3})
    with pytest.raises(SpecError, match=r"PB2: hyperparam_bounds\['net'\] is an empty dict"):
        PB2(hyperparam_bounds={"net": {}})


def test_numpy_is_not_loaded_before_it_is_asked() -> None:
    code = "import sys, tunesmith.schedulers.pb2; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("synch", [False, True])
def test_a_small_population_follows_a_moving_optimum(synch: bool) -> None:
    """What is best is 0.2 at first and 0.8 later; the distance costs."""

    def walk(config: dict[str, Any], step: int, memory: dict[str, Any]) -> dict[str, float]:
        memory["q"] = memory.get("q", 0.0) + 1 - abs(config["x"] - (0.2 if step <= 40 else 0.8))
        return {"q": memory["q"]}

    def run(scheduler: Any) -> float:
        options: dict[str, Any] = {"num_samples": 4, "workers": 4, "max_t": 80, "metric": "q", "mode": "max", "scheduler": scheduler}
        return sum(simulate(walk, config={"x": uniform(0, 1)}, seed=seed, **options).best_value for seed in range(2)) / 2

    assert run(PB2("training_iteration", "q", "max", 4, {"x": [0, 1]}, synch=synch)) > run(None) + 6

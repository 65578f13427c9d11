"""AxSearch. Its package takes seconds to import, and some for each model: few tests have one."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.errors import SpaceError, SpecError
from tunesmith.search.adapting import quiet
from tunesmith.search.ax import AxSearch
from tunesmith.search.base import Proposal, Searcher
from tunesmith.space import Space, choice, lograndint, loguniform, qloguniform, quniform, randint, randn, require, uniform
from tunesmith.testing.searcher_kit import SearcherKit
from tunesmith.testing.searcher_story import SearcherStory

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

XY = {"x": uniform(-1, 1), "y": uniform(-1, 1)}


class TestDesign(SearcherKit):
    """Without a model."""

    def make(self) -> AxSearch:
        return AxSearch(method="random_search")


def test_resumed_with_a_model_it_proposes_what_it_would_have() -> None:
    """As the kit's, with a model from the sixth trial of seven on, and at two moments: each model takes seconds."""
    space = Space.parse({"x": uniform(0, 1), "n": randint(0, 5), "o": choice([{"y": uniform(0, 1)}, None])})
    whole = SearcherStory(AxSearch, space, "loss", "min")
    moments = whole.play()
    for moment in (moments // 2, moments - 2):
        story = SearcherStory(AxSearch, space, "loss", "min")
        story.play(moment)
        story.resume()
        story.play()
        assert story.proposed() == whole.proposed(), f"resumed after moment {moment}, it proposed something else"


def bound(config: Mapping[str, Any], seed: int = 0, **options: Any) -> AxSearch:
    searcher = AxSearch(**{"initialization_budget": 3, **options})
    searcher.bind(Space.parse(config), "loss", "min", seed)
    return searcher


def ax() -> Any:
    """The package, imported as the searcher imports it: others of its imports warn."""
    return AxSearch().library


def step(searcher: Searcher, trial: int, loss: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """One trial whose result is ``loss(values)``, or whose loss is that, or that fails as it says."""
    answer = searcher.propose(trial, str(trial))
    assert isinstance(answer, Proposal)
    found = loss(answer.values)
    if isinstance(found, str):
        searcher.on_trial_failed(str(trial), found)
        searcher.on_trial_complete(str(trial), None, True)
    else:
        searcher.on_trial_complete(str(trial), found if isinstance(found, dict) else {"loss": found, "training_iteration": 1})
    return answer.values


def hill(values: Mapping[str, float]) -> float:
    return (values["x"] - 0.3) ** 2 + (values["y"] + 0.5) ** 2


def statuses(client: Any) -> list[str]:
    return [trial.status.name for trial in client._experiment.trials.values()]


def test_a_model_goes_on_after_the_design_exactly_also_from_a_state() -> None:
    searcher, again = bound(XY), bound(XY)
    values = [step(searcher, trial, hill) for trial in range(4)]
    searcher.propose(4, "4")
    assert values[0] == {"x": 0.0, "y": 0.0}
    again.set_state(searcher.get_state())
    assert again.propose(5, "5") == searcher.propose(5, "5")


def test_the_library_says_nothing(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    searcher = bound(XY)
    for trial in range(4):
        step(searcher, trial, hill if trial != 1 else lambda _: "user_error")
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("ax")] == []
    assert any(handler.__class__ is not logging.NullHandler for handler in logging.getLogger("ax").handlers)


def test_the_design_is_the_seeds_and_the_trials_number() -> None:
    first, second, other = bound(XY), bound(XY), bound(XY, seed=1)
    there = [first.propose(trial, str(trial)).values for trial in range(6)]
    assert [second.propose(trial, str(trial)).values for trial in reversed(range(6))] == there[::-1]
    assert other.propose(1, "1").values != there[1]


def test_without_a_center_it_begins_elsewhere() -> None:
    assert bound(XY, initialize_with_center=False).propose(0, "0").values != {"x": 0.0, "y": 0.0}


def test_failures_are_abandoned_and_lost_workers_may_be_tried_again() -> None:
    searcher = bound(XY, initialization_budget=9)
    for trial, outcome in enumerate([1.0, "user_error", math.nan, "worker_lost", math.inf]):
        step(searcher, trial, lambda _, outcome=outcome: outcome)
    assert statuses(searcher._client) == ["COMPLETED", "ABANDONED", "ABANDONED", "FAILED", "ABANDONED"]
    searcher.propose(5, "5")
    searcher.on_trial_complete("5")  # it never reported
    assert statuses(searcher._client)[-1] == "FAILED"


def test_domains_of_all_kinds_come_back_as_they_are() -> None:
    config = {
        "q": quniform(0, 1, 0.1), "ql": qloguniform(0.01, 10, 0.01), "n": lograndint(1, 1000), "g": randn(5, 2),
        "sizes": choice([8, 16, 64]), "act": choice(["a", None, True]), "only": choice([{"deep": uniform(0, 1)}]),
    }  # fmt: skip
    searcher, space = bound(config, initialization_budget=20), Space.parse(config)
    for trial in range(20):
        values = searcher.propose(trial, str(trial)).values
        assert space.values_from(space.resolve(values)) == values
    parameters = {searcher._axes[name].name: each for name, each in searcher._client._experiment.search_space.parameters.items()}
    assert parameters["sizes"].is_ordered
    assert not parameters["act"].is_ordered
    assert parameters["n"].log_scale
    assert "only" not in parameters


def test_options_that_are_not_taken_lie_in_the_middle() -> None:
    searcher = bound({"opt": choice([{"lr": uniform(0, 4)}, {"n": randint(1, 9)}])}, initialization_budget=12)
    for trial in range(8):
        values = step(searcher, trial, lambda _: 1.0)
        arm = searcher._client._experiment.trials[trial].arm.parameters
        there = {searcher._axes[name].name: value for name, value in arm.items()}
        assert there == {"opt/0/lr": 2.0, "opt/1/n": 4, **values}


def test_linear_constraints_between_parameters() -> None:
    config = {"net": {"a": uniform(0, 1)}, "b": quniform(0, 1, 0.25), "c": uniform(0, 1)}
    searcher = bound(config, parameter_constraints=["net/a + 2*b <= 1.0"], initialization_budget=30)
    for trial in range(12):
        values = searcher.propose(trial, str(trial)).values
        assert values["net/a"] + 2 * values["b"] <= 1.0 + 1e-9


@pytest.mark.parametrize(
    ("text", "message"), [("x + z <= 1", "'x \\+ z <= 1' has z.*There are: .*x"), ("lr <= 1", "log scale"), ("x >", "Ax refuses")]
)
def test_constraints_that_cannot_be_are_named(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        bound({"x": uniform(0, 1), "y": uniform(0, 1), "lr": loguniform(0.1, 1)}, parameter_constraints=[text])


def test_bounds_on_results_are_modelled() -> None:
    searcher = bound({"x": uniform(0, 1)}, outcome_constraints=["size <= 0.4"], initialization_budget=5)
    for trial in range(5):
        step(searcher, trial, lambda values: {"loss": -values["x"], "size": values["x"]})
    client = searcher._client
    frame = client._experiment.lookup_data().df
    sizes = dict(frame[frame.metric_name == "c0"][["trial_index", "mean"]].values.tolist())
    for index, trial in client._experiment.trials.items():
        assert sizes[index] == pytest.approx(trial.arm.parameters["p0"] - 0.4)
    assert step(searcher, 5, lambda values: -values["x"])["x"] < 0.6
    assert statuses(client)[5] == "ABANDONED"  # it has no size
    again = bound({"x": uniform(0, 1)}, outcome_constraints=["size <= 0.4"], initialization_budget=5)
    again.set_state(searcher.get_state())
    assert again._client._experiment.lookup_data().df["mean"].tolist() == frame["mean"].tolist()


def test_several_metrics() -> None:
    searcher = AxSearch(metric=["loss", "score"], mode=["min", "max"], initialization_budget=3)
    searcher.bind(Space.parse(XY), None, None, 0)
    for trial in range(3):
        step(searcher, trial, lambda values: {"loss": hill(values), "score": values["x"]})
    frame = searcher._client._experiment.lookup_data().df
    assert set(frame.metric_name) == {"m0", "m1"}
    objective = searcher._client._experiment.optimization_config.objective
    assert objective.is_multi_objective


def test_what_breaks_a_constraint_is_not_proposed() -> None:
    searcher = bound(XY | {"half": require(lambda config: config["x"] <= -0.2)})
    for trial in range(4):
        assert step(searcher, trial, hill)["x"] <= -0.2


def test_a_space_in_which_all_was_tried_goes_on() -> None:
    searcher = bound({"c": choice(["a", "b"])}, initialization_budget=2)
    assert {step(searcher, trial, lambda values: float(values["c"] == "a"))["c"] for trial in range(5)} == {"a", "b"}


def test_a_space_in_axs_words() -> None:
    configs = ax()
    space = [
        configs.RangeParameterConfig("x", (-1.0, 1.0), "float"),
        configs.RangeParameterConfig("n", (1, 64), "int", scaling="log"),
        configs.RangeParameterConfig("q", (0.0, 1.0), "float", step_size=0.25),
        configs.ChoiceParameterConfig("c", [1, 2, 4], "int", is_ordered=False),
        {"name": "old", "type": "range", "bounds": [1e-3, 1.0], "log_scale": True, "value_type": "float"},
        {"name": "word", "type": "choice", "values": ["a", "b"]},
        {"name": "fixed", "type": "fixed", "value": 7},
    ]
    searcher = AxSearch(space, initialization_budget=20)
    outer = Space.parse({"epochs": 3})
    searcher.bind(outer, "loss", "min", 0)
    config = outer.resolve(searcher.propose(0, "0").values)
    assert config.keys() == {"epochs", "x", "n", "q", "c", "old", "word", "fixed"}
    assert config["epochs"] == 3
    assert config["fixed"] == 7
    assert {axis.name: repr(axis.leaf.domain) for axis in searcher._axes.values()} == {
        "x": "uniform(-1.0, 1.0)", "n": "lograndint(1, 65)", "q": "quniform(0.0, 1.0, 0.25)", "c": "choice([1, 2, 4])",
        "old": "loguniform(0.001, 1.0)", "word": "choice(['a', 'b'])",
    }  # fmt: skip
    name = next(name for name, axis in searcher._axes.items() if axis.name == "c")
    assert not searcher._client._experiment.search_space.parameters[name].is_ordered


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": [3]}, "list of RangeParameterConfig"),
        ({"space": [{"name": "a", "type": "choice", "values": [1], "dependents": {1: ["b"]}}]}, "dependent parameters"),
        ({"metod": "fast"}, "Did you mean 'method'"),
        ({"outcome_constraints": "a <= 1"}, "list of texts"),
        ({"parameter_constraints": "a <= 1"}, "list of texts"),
        ({"outcome_constraints": ["a < 1"]}, "latency <= 20"),
        ({"ax_client": 3}, "after configure_experiment"),
        ({"ax_client": SimpleNamespace(create_experiment=None)}, "old interface"),
        ({"ax_client": 3, "space": []}, "of its own"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        AxSearch(**options)


def test_a_range_that_cannot_be_is_named() -> None:
    with pytest.raises(SpaceError, match="lower must be less than upper"):
        AxSearch([{"name": "x", "type": "range", "bounds": [1.0, 0.0]}])


# ---- a client of the user's


def client_of_mine(objective: str = "-loss", outcome_constraints: list[str] | None = None) -> Any:
    client = ax().Client(random_seed=3)
    parameters = [ax().RangeParameterConfig("x", (-1.0, 1.0), "float"), ax().ChoiceParameterConfig("c", ["a", "b"], "str", is_ordered=True)]
    with quiet("ax"):
        client.configure_experiment(parameters)
        client.configure_optimization(objective, outcome_constraints)
    return client


def with_client(client: Any, mode: str = "min") -> AxSearch:
    searcher = AxSearch(ax_client=client)
    searcher.bind(Space.parse({"epochs": 3}), "loss", mode, 0)
    return searcher


def test_a_client_of_mine_proposes_and_has_all_trials_afterwards() -> None:
    client = client_of_mine(outcome_constraints=["size <= 3"])
    searcher = with_client(client)
    for trial, outcome in enumerate([{"loss": 1.0, "size": 2.0}, "user_error", {"loss": 0.5, "size": 4.0}]):
        values = step(searcher, trial, lambda _, outcome=outcome: outcome)
        assert client._experiment.trials[trial].arm.parameters == {"x": values["x"], "c": values["c"]}
    assert statuses(client) == ["COMPLETED", "ABANDONED", "COMPLETED"]
    frame = client._experiment.lookup_data().df
    assert sorted(zip(frame.trial_index, frame.metric_name, frame["mean"])) == [
        (0, "loss", 1.0), (0, "size", 2.0), (2, "loss", 0.5), (2, "size", 4.0),
    ]  # fmt: skip
    searcher.set_state(searcher.get_state())
    assert statuses(client) == ["COMPLETED", "ABANDONED", "COMPLETED"]


def test_a_resume_fills_a_new_client_of_mine() -> None:
    first, again = with_client(client_of_mine()), client_of_mine()
    proposed = [first.propose(trial, str(trial)).values for trial in range(3)]
    searcher = with_client(again)
    for trial, values in enumerate(proposed):
        searcher.on_replayed(trial, str(trial), values)
    searcher.on_trial_complete("1", {"loss": 0.5})
    assert statuses(again) == ["RUNNING", "COMPLETED", "RUNNING"]
    assert [trial.arm.parameters["x"] for trial in again._experiment.trials.values()] == [values["x"] for values in proposed]


def test_a_client_of_mine_that_waits_for_results_is_waited_for() -> None:
    searcher = with_client(client_of_mine())
    asked = [searcher.propose(trial, str(trial)) for trial in range(7)]
    assert asked[0] is not None
    assert asked[-1] is None
    for trial in range(5):
        searcher.on_trial_complete(str(trial), {"loss": float(trial)})
    assert searcher.propose(7, "7") is not None


def test_a_client_of_mine_must_optimise_the_same() -> None:
    with pytest.raises(SpecError, match="ax_client optimises score, the experiment loss"):
        with_client(client_of_mine("score"))


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ax", None)
    with pytest.raises(SpecError, match=r'pip install "tunesmith\[ax\]"'):
        AxSearch()


def test_several_metrics_have_a_model() -> None:
    searcher = AxSearch(metric=["loss", "score"], mode=["min", "max"], initialization_budget=3)
    searcher.bind(Space.parse(XY), None, None, 0)
    for trial in range(4):
        step(searcher, trial, lambda values: {"loss": hill(values), "score": values["x"]})


def test_the_model_works_on_one_thread_and_torch_has_its_own_number_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "set_num_threads", lambda number, real=torch.set_num_threads: (during.append(number), real(number)))
    during: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        searcher = bound(XY, initialization_budget=2)
        for trial in range(3):
            during.clear()
            step(searcher, trial, hill)
        assert (during, torch.get_num_threads()) == ([1, 3], 3)
    finally:
        torch.set_num_threads(before)


def test_it_beats_random_search() -> None:
    """A valley in three dimensions: the median of 3 seeds, after 14 trials, is far below that of its own quasi-random design."""
    config = {"x": uniform(-5, 10), "y": uniform(0, 15), "z": uniform(-5, 5)}

    def valley(values: Mapping[str, Any]) -> float:
        return (values["x"] + 2) ** 2 + (values["y"] - 12) ** 2 + (values["z"] - 1) ** 2

    def median(**options: Any) -> float:
        bests = []
        for seed in range(3):
            searcher = bound(config, seed, **options)
            bests.append(min(valley(step(searcher, trial, valley)) for trial in range(14)))
        return sorted(bests)[1]

    assert median(initialization_budget=5) < 0.3 * median(method="random_search")


@pytest.mark.parametrize(
    ("domain", "lower", "upper"),
    [
        (randint(0, 2**32), 0, 2**32),
        (lograndint(1, 2**31), 1, 2**31),
        (randint(-(2**62), 2**62), -(2**62), 2**62),
        (quniform(0, 1, 1e-7), 0, 1),
    ],
)
def test_wide_ranges_of_whole_numbers_need_no_more_memory_than_others(domain: Any, lower: int, upper: int) -> None:
    searcher = bound({"n": domain, "x": uniform(0, 1)})
    space = searcher.problem.space
    for trial in range(5):  # the last two by the model
        values = step(searcher, trial, lambda values: values["x"])
        assert lower <= values["n"] <= upper
        assert space.values_from(space.resolve(values)) == values


def test_losses_that_cannot_be_squared_do_not_end_the_search() -> None:
    searcher = bound({"x": uniform(0, 1)})
    for trial in range(5):
        step(searcher, trial, lambda values: 1e308 if values["x"] > 0.5 else -1e308)
    assert isinstance(searcher.propose(5, "5"), Proposal)


def test_what_the_model_repeats_leaves_no_trace() -> None:
    """Here it wants the eighth trial to be one that was tried; Ax then goes on with a sequence that all searches of a process share."""
    tried = [
        (4, 0.5), (2, 0.13409429788589478), (7, 0.665432695299387), (5, 0.2854528892785311), (0, 0.7543753255158663), (0, 0.0),
        (0, 0.07693150169747956), (2, 0.6001628041267395), (0, 0.04864584146278347),
    ]  # fmt: skip

    def proposed(*asked: int) -> Any:
        searcher = AxSearch()
        searcher.bind(Space.parse({"x": uniform(0, 1), "n": randint(0, 9)}), "loss", "min", 1)
        for trial, (n, x) in enumerate(tried):
            if trial in asked:
                searcher.ask(trial, 0)
            searcher.on_replayed(trial, str(trial), {"n": n, "x": x})
            searcher.on_trial_complete(str(trial), {"loss": x + 0.1 * n, "training_iteration": 1})
        return searcher.ask(9, 0)

    assert proposed(7) == proposed()

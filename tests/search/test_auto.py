"""The searcher that chooses a searcher, and where it is what runs use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tunesmith as tune
from tunesmith.description import described
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.search import auto
from tunesmith.search.auto import AutoSearch, Plan, Stage, plan_for
from tunesmith.search.base import Proposal
from tunesmith.search.problem import Problem
from tunesmith.space import Space, choice, loguniform, randint, sample_from, uniform
from tunesmith.testing import SearcherKit
from tunesmith.testing.searcher_kit import FLAT

X = {"x": uniform(0, 1)}


class TestAuto(SearcherKit):
    flat: ClassVar = {name: FLAT[name] for name in ("steps", "one value", "categories", "computed")}

    def make(self) -> AutoSearch:
        return AutoSearch()


@pytest.mark.parametrize(
    ("config", "task", "stages", "reason"),
    [
        (X, {}, (("GP", 250), ("TPE", None)), "1 parameter, one objective"),
        (X, {"budget": 250}, (("GP", None),), "1 parameter, one objective"),
        (X, {"budget": 251}, (("GP", 250), ("TPE", None)), "1 parameter, one objective"),
        (X, {"concurrency": 51}, (("TPE", None),), "51 trials at once"),
        (X, {"metrics": ("a", "b"), "signs": (1.0, 1.0), "budget": 1000}, (("TPE", None),), "2 objectives"),
        (X, {"metrics": ("a", "b"), "signs": (1.0, 1.0)}, (("TPE", 1000), ("NSGA-II", None)), "2 objectives"),
        ({f"x{i}": uniform(0, 1) for i in range(51)}, {}, (("TPE", None),), "51 parameters"),
        ({"c": choice(list(range(60))), **X}, {}, (("GP", 250), ("TPE", None)), "2 parameters, one objective"),
        ({"o": choice([{"lr": uniform(0, 1)}, {"name": "none"}])}, {}, (("GP", 250), ("TPE", None)), "2 parameters, one objective"),
        ({"o": choice([[1, 2], {"k": 1}])}, {}, (("GP", 250), ("TPE", None)), "1 parameter, one objective"),
        ({**X, "y": sample_from(lambda config: config["x"])}, {}, (("GP", 250), ("TPE", None)), "1 parameter, one objective"),
    ],
)
def test_what_is_chosen_and_why(config: dict[str, Any], task: dict[str, Any], stages: Any, reason: str) -> None:
    plan = plan_for(Problem(Space.parse(config), **task))
    assert plan == Plan(tuple(Stage(*stage) for stage in stages), reason)


def test_a_plan_reads_as_a_sentence() -> None:
    assert str(plan_for(Problem(Space.parse(X)))) == "GP, TPE from trial 250 on: 1 parameter, one objective"


def searcher(config: Mapping[str, Any] = X, **task: Any) -> AutoSearch:
    made = AutoSearch("loss", "min")
    made.bind(Space.parse(config), seed=3, **task)
    return made


def step(made: AutoSearch, trial: int) -> Proposal:
    answer = made.propose(trial, str(trial))
    assert isinstance(answer, Proposal)
    made.on_trial_complete(str(trial), {"loss": (answer.values["x"] - 0.3) ** 2})
    return answer


def test_the_first_trial_is_the_middle() -> None:
    answer = searcher({"x": uniform(2, 4), "lr": loguniform(1e-4, 1), "n": randint(0, 11)}).propose(0, "0")
    assert answer.values == {"x": 3.0, "lr": pytest.approx(0.01), "n": 5}
    assert answer.source == "middle"


def test_start_points_come_before_the_middle() -> None:
    made = AutoSearch("loss", "min", points_to_evaluate=[{"x": 0.9}])
    made.bind(Space.parse(X), seed=3)
    assert made.propose(0, "0").values == {"x": 0.9}
    assert made.propose(1, "1").source != "middle"


def test_the_next_stage_knows_what_was_seen_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "GP_TRIALS", 20)
    made = searcher()
    sources = [step(made, trial).source for trial in range(40)]
    assert {*sources[:1]} == {"middle"}
    assert "gp" in sources[8:20]
    assert {*sources[20:]} == {"tpe"}
    best = min(abs(observation.values["x"] - 0.3) for observation in made.sampler._observations)
    late = [abs(observation.values["x"] - 0.3) for observation in made.sampler._observations[20:]]
    assert sorted(late)[len(late) // 2] < 0.15, "TPE begins where the process ended"
    assert best < 0.01


@pytest.mark.parametrize("stopped", [0, 5, 19, 21])
def test_resumed_in_any_stage_it_goes_on_alike(monkeypatch: pytest.MonkeyPatch, stopped: int) -> None:
    monkeypatch.setattr(auto, "GP_TRIALS", 20)
    whole, again = searcher(), searcher()
    for trial in range(stopped):
        values = step(whole, trial).values
        again.on_replayed(trial, str(trial), values)
        again.on_trial_complete(str(trial), {"loss": (values["x"] - 0.3) ** 2})
    assert [step(whole, trial).values for trial in range(stopped, 24)] == [step(again, trial).values for trial in range(stopped, 24)]


# ---- what runs use


def used(tmp_path: Path, **options: Any) -> str:
    def train(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": float(config["x"])}

    given = {"config": X, "metric": "loss", "mode": "min", "num_samples": 2, **options}
    analysis = tune.run(train, executor="inline", storage_path=tmp_path, verbose=0, seed=1, **given)
    with open_reader(Path(analysis.experiment_path) / JOURNAL_FILE) as journal:
        return str(described(journal.read())["searcher"])


@pytest.mark.parametrize(
    ("options", "searcher"),
    [
        ({}, "AutoSearch"),
        ({"search_alg": "auto"}, "AutoSearch"),
        ({"search_alg": "random"}, "BasicVariantGenerator"),
        ({"metric": None, "mode": None}, "BasicVariantGenerator"),
        ({"config": {"x": tune.grid_search([1, 2])}}, "BasicVariantGenerator"),
        ({"config": {"x": 1}}, "BasicVariantGenerator"),
        ({"config": {"x": tune.sample_from(lambda config: 1)}}, "BasicVariantGenerator"),
        ({"scheduler": "asha"}, "AutoSearch"),
    ],
)
def test_runs_learn_where_there_is_something_to_learn(tmp_path: Path, options: dict[str, Any], searcher: str) -> None:
    assert used(tmp_path, **options) == searcher


def test_populations_begin_at_random(tmp_path: Path) -> None:
    population = tune.PopulationBasedTraining("training_iteration", perturbation_interval=1, hyperparam_mutations={"x": tune.uniform(0, 1)})
    assert used(tmp_path, scheduler=population) == "BasicVariantGenerator"


def test_the_choice_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tune.run(
        lambda config: {"loss": config["x"]}, config=X, metric="loss", mode="min", num_samples=2, executor="inline", name="told",
        storage_path=tmp_path,
    )  # fmt: skip
    assert "told begins: 2 trials, AutoSearch (GP: 1 parameter, one objective), FIFOScheduler" in capsys.readouterr().out

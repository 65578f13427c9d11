"""The tasks that searchers are compared on are what their page says: their best is known, can be reached, and is well hidden."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = tuple(f"_search_{name}" for name in ("spaces", "learners", "tasks", "ours", "peers", "runs", "stats", "page"))
TABLES = ("tables hpobench kc1", "tables nasbench201 cifar100", "learners linear wine", "learners boosting diabetes", "conditional wine")
OPTIMUM = "._bbob_problem_best_parameter.txt"


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """The benchmark's modules, by name."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield SimpleNamespace(**{name.removeprefix("_search_"): import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def space(bench: Any) -> Any:
    """With every kind of parameter."""
    number, labels = bench.spaces.Number, bench.spaces.Labels
    kinds = (
        number("real", -5.0, 5.0), number("whole", 0, 9, whole=True), number("rate", 1e-4, 1.0, log=True), labels("label", ("a", "b", "c")),
        number("size", 1, 64, whole=True, log=True),
    )  # fmt: skip
    options = (("one", (number("depth", 1, 5, whole=True),)), ("two", (labels("kernel", ("x", "y")),)), ("three", ()))
    return (*kinds, bench.spaces.Fork("which", options))


# -- disguises -----------------------------------------------------------------------------------------------------------


@given(key=st.text(max_size=5), seed=st.integers(0, 1000))
def test_a_disguise_can_be_taken_off_and_put_on(bench: Any, space: Any, key: str, seed: int) -> None:
    disguise = bench.spaces.Disguise(space, key)
    config = bench.spaces.draw(disguise.space, random.Random(seed))
    true = disguise.back(config)
    again = disguise.forth(true)
    assert set(true) < {parameter.name for parameter in (*space, *bench.spaces.every(space))}
    assert not set(true) & set(config)
    assert again.keys() == config.keys()
    for name, value in config.items():
        assert again[name] == (value if isinstance(value, str) else pytest.approx(value, abs=1e-9))


def test_disguises_differ_by_key_only(bench: Any, space: Any) -> None:
    hidden = [bench.spaces.Disguise(space, key).space for key in ("a", "a", "b")]
    assert hidden[0] == hidden[1] != hidden[2]
    assert bench.spaces.load(json.loads(json.dumps(bench.spaces.dump(hidden[0])))) == hidden[0]


def test_every_direction_order_and_label_comes(bench: Any, space: Any) -> None:
    """Over many keys: a number runs backwards as often as not, any parameter is the first, any label stands for any other."""
    disguises = [bench.spaces.Disguise(space, str(key)) for key in range(200)]
    low = {"real": -5.0, "whole": 0, "rate": 1e-4, "label": "a", "size": 1, "which": "three"}
    shown = [disguise.forth(low) for disguise in disguises]
    turned = sum(5.0 in config.values() for config in shown)
    assert 70 < turned < 130
    names = [disguise.back({disguise.space[0].name: _any_value(disguise.space[0])}) for disguise in disguises]
    assert {next(iter(name)) for name in names} == {parameter.name for parameter in space}
    labels = [next(v for v in config.values() if v in ("v0", "v1", "v2")) for config in shown]
    assert set(labels) == {"v0", "v1", "v2"}


def _any_value(parameter: Any) -> Any:
    if hasattr(parameter, "options"):
        return parameter.options[0][0]
    return parameter.labels[0] if hasattr(parameter, "labels") else parameter.low


# -- tasks ---------------------------------------------------------------------------------------------------------------


def test_there_is_what_the_page_says(bench: Any) -> None:
    assert {suite: len(names) for suite, names in bench.tasks.SUITES.items()} == {
        "bbob": 33, "mixint": 33, "tables": 13, "learners": 18, "conditional": 3,
    }  # fmt: skip
    assert len(bench.tasks.SUBSET) == 12
    assert set(bench.tasks.SUBSET) < set(bench.tasks.names(list(bench.tasks.SUITES)))
    assert not [name for name in bench.tasks.SUITES["tables"] if name.endswith(("car", "vehicle"))]


@pytest.mark.parametrize("suite", ["bbob", "mixint"])
@pytest.mark.parametrize("seed", [0, 4, 17])
def test_the_best_of_a_function_is_where_coco_has_it(
    bench: Any, suite: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cocoex

    monkeypatch.chdir(tmp_path)  # coco writes the optimum to a file there
    whole, instance = {"bbob": "bbob", "mixint": "bbob-mixint"}[suite], 1 + seed % 15
    for function in bench.tasks.FUNCTIONS:
        task = bench.tasks.make(f"{suite} f{function} d5", seed)
        made = cocoex.Suite(whole, f"instances: {instance}", f"dimensions: 5 function_indices: {function}")
        made.get_problem_by_function_dimension_instance(function, 5, instance)._best_parameter("print")
        place = [float(text) for text in Path(OPTIMUM).read_text(encoding="utf-8").split()]
        config = task.disguise.forth({f"x{at}": value for at, value in enumerate(place)})
        assert task.true_loss(config) == pytest.approx(task.best, abs=1e-6), task.name
        assert task.left(config) == pytest.approx(0, abs=1e-9)
        assert _inside(task.space, config)
        assert task.median > task.best


def _inside(space: Any, config: dict[str, Any]) -> bool:
    for parameter in space:
        value = config[parameter.name]
        if hasattr(parameter, "labels"):
            if value not in parameter.labels:
                return False
        elif not parameter.low <= value <= parameter.high or (parameter.whole and value != int(value)):
            return False
    return True


def test_functions_move_their_optimum_with_the_seed(bench: Any) -> None:
    assert len({bench.tasks.make("bbob f3 d5", seed).best for seed in range(10)}) == 10


@pytest.mark.parametrize("name", TABLES)
def test_the_best_of_a_table_can_be_reached_and_beats_whatever_is_drawn(bench: Any, name: str) -> None:
    for seed in (0, 1):
        task = bench.tasks.make(name, seed)
        assert task.optimum is not None
        best = task.disguise.forth(task.optimum)
        assert task.left(best) == pytest.approx(0, abs=1e-9)
        rng = random.Random(seed)
        left = [task.left(bench.spaces.draw(task.space, rng)) for _ in range(300)]
        assert min(left) > 0
        assert 0.7 < np.median(left) < 1.3, "the median configuration leaves 1"


@pytest.mark.parametrize("name", TABLES)
def test_equal_evaluations_have_equal_losses(bench: Any, name: str) -> None:
    one, other = bench.tasks.make(name, 3), bench.tasks.make(name, 3)
    config = bench.spaces.draw(one.space, random.Random(1))
    losses = [one.evaluate(config, number) for number in range(30)]
    assert losses == [other.evaluate(config, number) for number in range(30)]
    assert (len(set(losses)) > 1) == one.noisy
    if not one.noisy:
        assert set(losses) == {one.true_loss(config)}


def test_between_the_values_of_a_table_losses_are_interpolated(bench: Any) -> None:
    learners = bench.learners
    rng = np.random.default_rng(0)
    losses = rng.random([len(learners.values("linear", parameter)) for parameter in learners.LEARNERS["linear"]])
    table = learners.Table("linear", losses)
    config = {"alpha": 1e-5, "l1_ratio": 1.0, "eta0": 0.1, "epochs": 8, "schedule": "invscaling", "scaler": "standard"}
    at = (1, 1, 2, 1, 1, 1)
    assert table.loss(config) == pytest.approx(losses[at])
    between = table.loss({**config, "alpha": 10**-4.5, "l1_ratio": 0.25})
    corners = losses[1:3, :, 2, 1, 1, 1]
    assert between == pytest.approx(0.5 * (0.25 * corners[:, 1] + 0.75 * corners[:, 0]).sum())
    assert table.loss(table.optimum()) == pytest.approx(table.best)


def test_normalised_regret(bench: Any) -> None:
    normalised = bench.tasks.normalised
    assert [normalised("bbob f3 d5", left) for left in (5.0, 1.0, 0.1, 1e-4, 0.0)] == pytest.approx([1, 1, 0.75, 0, 0])
    assert [normalised("tables hpobench kc1", left) for left in (5.0, 1.0, 0.1, 0.0)] == [1, 1, 0.1, 0]


# -- running and counting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["bbob f3 d5", "conditional wine"])
def test_ours_searches_just_the_space_of_the_task(bench: Any, task: str) -> None:
    made = bench.tasks.make(task, 1)
    ours = bench.ours.Ours("random", made.space, 1, 25)
    names = {parameter.name: parameter for parameter in made.space}
    for _ in range(20):
        config = ours.ask()
        for name, parameter in names.items():
            below = {each.name for each in parameter.below(config[name])} if hasattr(parameter, "options") else set()
            assert below | {name} <= set(config)
        assert made.disguise.forth(made.disguise.back(config)).keys() == config.keys()
        ours.tell(made.evaluate(config, 0))


def test_a_run_is_stored_and_not_run_again(bench: Any, tmp_path: Path) -> None:
    job = bench.runs.Job("random", "bbob f3 d5", 1, 50)
    run = bench.runs.play(job)
    assert run.left == bench.runs.play(job).left
    assert len(run.left) == 2
    assert run.left[1] <= run.left[0], "without noise nothing gets lost"
    results = bench.runs.Results(tmp_path / "results")
    other = bench.runs.Job("random", "bbob f3 d5", 2, 50)
    assert bench.runs.missing([job, other], results) == [job, other]
    results.add(run)
    assert results.all() == {job: run}
    assert bench.runs.missing([job, other], results) == [other]
    results.drop([job])
    assert results.all() == {}


def _runs(bench: Any, better: float) -> dict[Any, Any]:
    """Two searchers, of which "auto" leaves less by this factor, on two suites; a third one lacks runs."""
    found = {}
    for number, task in enumerate(("tables hpobench kc1", "learners linear wine", "learners linear iris")):
        for seed in range(5):
            rest = 0.1 * (number + 1) + 0.01 * seed
            for searcher, factor in (("auto", better), ("HyperOpt", 1.0), *((("Ax", 1.0),) if seed < 3 else ())):
                job = bench.runs.Job(searcher, task, seed, 50)
                found[job] = bench.runs.Run(job, (rest * factor, rest * factor / 2), 1.0, {"some": "1"})
    return found


def test_means_weigh_suites_equally_and_pair_by_seed(bench: Any) -> None:
    tasks = ("tables hpobench kc1", "learners linear wine", "learners linear iris")
    table = bench.stats.Table.of(_runs(bench, 0.9), tasks, 5, 50)
    assert table.partly == {"Ax": 9}
    assert table.budgets == (25, 50)
    by_hand = (0.12 + (0.22 + 0.32) / 2) / 2
    mean, low, high = table.mean("HyperOpt", 25)
    assert mean == pytest.approx(by_hand)
    assert low < mean < high
    assert table.mean("HyperOpt")[0] == pytest.approx(by_hand * 0.75)
    behind = table.behind("auto", "HyperOpt", 25)
    assert behind[0] == pytest.approx(-0.1 * by_hand)
    assert behind[2] < 0
    assert table.ranks() == {"HyperOpt": 2, "auto": 1}
    assert table.outcomes("auto", "HyperOpt") == (3, 0, 0)
    assert table.outcomes("HyperOpt", "auto") == (0, 0, 3)


def test_the_seeds_that_all_have_are_compared(bench: Any) -> None:
    tasks = ("tables hpobench kc1", "learners linear wine", "learners linear iris")
    runs = _runs(bench, 0.9)
    assert bench.stats.Table.seeds_there(runs, tasks, 10, 50) == 3, "Ax has no more"
    late = {job: run for job, run in runs.items() if job.searcher != "Ax" or job.seed != 0}
    assert bench.stats.Table.seeds_there(late, tasks, 10, 50) == 5, "who lacks the first keeps nobody from comparing"
    assert bench.stats.Table.seeds_there({}, tasks, 10, 50) == 10


def test_intervals_are_of_seeds_and_not_of_tasks(bench: Any) -> None:
    tasks = ("tables hpobench kc1", "tables hpobench segment")
    runs = {}
    for searcher, spread in (("same", 0.0), ("spread", 0.1)):
        for number, task in enumerate(tasks):
            for seed in range(10):
                job = bench.runs.Job(searcher, task, seed, 25)
                runs[job] = bench.runs.Run(job, (0.2 + 0.4 * number + spread * (-1) ** seed,), 1.0, {})
    table = bench.stats.Table.of(runs, tasks, 10, 25)
    assert table.mean("same") == pytest.approx((0.4, 0.4, 0.4))
    mean, low, high = table.mean("spread")
    assert mean == pytest.approx(0.4)
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / 20**0.5, rel=0.15)


def test_the_page_publishes_losses_too(bench: Any) -> None:
    tasks = ("tables hpobench kc1", "learners linear wine", "learners linear iris")
    page = bench.page.section(bench.stats.Table.of(_runs(bench, 1.5), tasks, 5, 50))
    assert "BEHIND" in page
    assert "0 / 0 / 3" in page
    assert "Ax (9 of 15 runs)" in page
    assert "BEHIND" not in bench.page.section(bench.stats.Table.of(_runs(bench, 0.9), tasks, 5, 50))


@pytest.mark.slow
@pytest.mark.parametrize("searcher", ["Optuna TPE", "HyperOpt", "Nevergrad"])
def test_peers_search_the_same_space(bench: Any, space: Any, searcher: str) -> None:
    player = bench.peers.PEERS[searcher][0](space, 1, 30)
    seen = []
    for number in range(12):
        config = player.ask()
        assert _inside([parameter for parameter in space if parameter.name != "which"], config)
        exist = {"one": {"depth"}, "two": {"kernel"}, "three": set()}[config["which"]]
        assert set(config) == {parameter.name for parameter in space} | exist
        player.tell(float(number))
        seen.append(json.dumps(config, sort_keys=True))
    assert len(set(seen)) > 6

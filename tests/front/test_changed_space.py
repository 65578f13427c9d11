"""A resume with another search space: what ran keeps its config, what is still to run has the new one."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.drive import Drive
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.progress.board import Board
from tunesmith.search import BasicVariantGenerator, Searcher
from tunesmith.space import Space
from tunesmith.specfile import FILE, load
from tunesmith.versions import Versions

Go = Callable[..., tune.ExperimentAnalysis]


@pytest.fixture
def go(tmp_path: Path) -> Go:
    def run(trainable: Any = None, **arguments: Any) -> tune.ExperimentAnalysis:
        given = {"storage_path": tmp_path, "name": "x", "verbose": 0, "executor": "inline", "loggers": (), "seed": 1, **arguments}
        return tune.run(trainable or train, **given)

    return run


def train(config: dict[str, Any]) -> None:
    tune.report(loss=1.0)


def configs(analysis: tune.ExperimentAnalysis, *names: str) -> list[Any]:
    shown = [tuple(trial.config.get(name) for name in names) for trial in analysis.trials]
    return [one[0] for one in shown] if len(names) == 1 else shown


def read(tmp_path: Path) -> tune.ExperimentAnalysis:
    """As somebody sees it who has the directory only."""
    return tune.ExperimentAnalysis(tmp_path / "x")


class Net:
    """An option that is no JSON."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Net({self.name})"


def waiting(seen: list[Any], name: str, at: int) -> Any:
    """A trainable that notes what it runs with, and asks for the end of the run at its trial number ``at``."""

    def train(config: dict[str, Any]) -> None:
        value = config[name]
        seen.append(getattr(value, "name", value))
        if len(seen) - 1 == at:
            os.kill(os.getpid(), 2)
        tune.report(loss=1.0)

    return train


# ---- what ran keeps its config


def test_options_in_another_order(go: Go, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    a, b = Net("a"), Net("b")
    first: list[str] = []
    before = go(waiting(first, "net", 1), config={"net": tune.choice([a, b])}, num_samples=4)
    drawn = [config.name for config in configs(before, "net")]
    second: list[str] = []
    after = go(waiting(second, "net", -1), config={"net": tune.choice([b, a])}, num_samples=4, resume=True)
    shown = [config.name for config in configs(after, "net")]
    assert shown[: len(drawn)] == drawn
    assert [first[0], *second] == shown, "what ran is what is shown, and the interrupted one went on as what it was"
    assert configs(read(tmp_path), "net") == [f"Net({name})" for name in shown]
    assert not [message for message in caplog.messages if "outside" in message]


def test_a_changed_constant(go: Go, tmp_path: Path) -> None:
    first: list[int] = []
    go(waiting(first, "n", 1), config={"n": 2, "x": tune.uniform(0, 1)}, num_samples=3)
    second: list[int] = []
    after = go(waiting(second, "n", -1), config={"n": 3, "x": tune.uniform(0, 1)}, num_samples=4, resume=True)
    assert (first, second) == ([2, 2], [2, 3, 3])
    assert configs(after, "n") == [2, 2, 3, 3]
    assert configs(read(tmp_path), "n") == [2, 2, 3, 3]
    assert [trial.experiment_tag.partition("_")[2][:2] for trial in after.trials] == ["x="] * 4
    third = go(config={"n": 4, "x": tune.uniform(0, 1)}, num_samples=5, resume=True)
    assert configs(third, "n") == [2, 2, 3, 3, 4]


def test_the_old_space_comes_back(go: Go) -> None:
    for n, total in ((2, 1), (3, 2), (2, 3)):
        analysis = go(config={"n": n}, num_samples=total, resume=total > 1)
    assert configs(analysis, "n") == [2, 3, 2]
    assert len(analysis.trials[0].experiment.spaces) == 3


def test_the_same_space_is_no_new_version(go: Go, tmp_path: Path) -> None:
    for total in (1, 2):
        go(config={"x": tune.uniform(0, 1), "net": tune.choice([Net("a")])}, num_samples=total, resume=total > 1)
    assert len(read(tmp_path).trials[0].experiment.spaces) == 1


def test_what_the_stop_criteria_and_callbacks_see(go: Go) -> None:
    seen: list[Any] = []

    class Watcher(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            seen.append((trial.trial_id[-1], trial.config["n"]))

    def stop(trial_id: str, result: Any) -> bool:
        seen.append((trial_id[-1], result["config"]["n"]))
        return False

    first: list[int] = []
    go(waiting(first, "n", 1), config={"n": 2}, num_samples=2)
    go(waiting([], "n", -1), config={"n": 3}, num_samples=3, resume=True, stop=stop, callbacks=[Watcher()])
    assert seen[0] == ("0", 2), "a report of the session before"
    assert set(seen) == {("0", 2), ("1", 2), ("2", 3)}


def test_what_the_console_shows(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    nets = [Net("a"), Net("b"), Net("c")]

    def train(config: dict[str, Any]) -> None:
        tune.report(loss="abc".index(config["net"].name))

    arguments: dict[str, Any] = {"verbose": 1, "metric": "loss", "mode": "min"}
    go(train, config={"net": tune.grid_search(nets[1:])}, **arguments)
    assert "best config: net=Net(b)" in capsys.readouterr().out
    go(train, config={"net": tune.grid_search(nets[::-1])}, resume=True, **arguments)
    out = capsys.readouterr().out
    assert "started: net=Net(a)" in out
    assert "best config: net=Net(a)" in out
    go(train, config={"net": tune.grid_search([nets[2], nets[0]])}, resume=True, **arguments)
    assert "best config: net=Net(a)" in capsys.readouterr().out, "it is of the version before"


@pytest.mark.parametrize("stored", [True, False])
def test_what_the_picture_shows(go: Go, tmp_path: Path, stored: bool) -> None:
    a, b = Net("a"), Net("b")
    go(config={"net": tune.grid_search([a, b])})
    go(config={"net": tune.grid_search([b])}, resume=True)
    with open_reader(tmp_path / "x" / JOURNAL_FILE) as reader:
        records, header = list(reader.read()), reader.header
    versions = Versions.of(records, load(str(tmp_path / "x")) if stored else None, Space.parse({"net": tune.grid_search([b])}))
    board = Board(header, lambda: 0.0, show=versions.labels)
    board.replay(records)
    assert sorted(row.values["net"] for row in board.picture().rows) == ["Net(a)", "Net(b)"]


def test_resources_and_names_of_new_trials_follow_the_new_space(go: Go) -> None:
    asked: list[int] = []

    def resources(config: dict[str, Any]) -> dict[str, float]:
        asked.append(config["n"])
        return {"cpu": 1}

    arguments: dict[str, Any] = {"resources_per_trial": resources, "trial_name_creator": lambda trial: f"n{trial.config['n']}"}
    go(config={"n": 2}, num_samples=1, **arguments)
    after = go(config={"n": 3}, num_samples=2, resume=True, **arguments)
    assert asked == [2, 3]
    assert [trial.trial_name for trial in after.trials] == ["n2", "n3"]


def test_rerun_takes_the_space_of_the_trial(go: Go, tmp_path: Path) -> None:
    from tunesmith.rerun import rerun

    def shows(config: dict[str, Any]) -> None:
        tune.report(n=config["n"], net=config["net"].name)

    a, b = Net("a"), Net("b")
    go(shows, config={"n": 2, "net": tune.choice([a, b])}, num_samples=2)
    after = go(shows, config={"n": 3, "net": tune.choice([b, a])}, num_samples=4, resume=True)
    for trial in after.trials:
        lines: list[str] = []
        rerun(str(tmp_path / "x"), trial.trial_id, lines.append)
        assert lines[0] == f"report 1: n={trial.config['n']!r}, net={trial.config['net'].name!r}"


@pytest.mark.parametrize("resume", ["LOCAL+ERRORED", "ERRORED_ONLY"])
def test_a_failed_trial_goes_on_as_what_it_was(go: Go, tmp_path: Path, resume: str) -> None:
    broken = "bc"
    seen: list[tuple[str, int]] = []

    def train(config: dict[str, Any]) -> None:
        seen.append((config["net"].name, config["n"]))
        if config["net"].name in broken:
            raise ValueError("not yet")
        tune.report(loss=1.0)

    a, b, c = Net("a"), Net("b"), Net("c")
    go(train, config={"net": tune.grid_search([a, b]), "n": 2}, raise_on_failed_trial=False)
    go(train, config={"net": tune.grid_search([c, b, a]), "n": 3}, raise_on_failed_trial=False, resume=True)
    go(train, config={"net": tune.grid_search([b, a, c]), "n": 4}, raise_on_failed_trial=False, resume=True)
    assert seen == [("a", 2), ("b", 2), ("c", 3)]
    broken = ""
    after = go(train, config={"net": tune.grid_search([b, a, c]), "n": 4}, resume=resume)
    assert seen[3:] == [("b", 2), ("c", 3)]
    assert [(net.name, n) for net, n in configs(after, "net", "n")] == [("a", 2), ("b", 2), ("c", 3)]
    assert configs(read(tmp_path), "n") == [2, 2, 3]


def test_on_the_local_executor(tmp_path: Path) -> None:
    def shows(config: dict[str, Any]) -> None:
        tune.report(n=config["n"], size=config["size"][0])

    def run(total: int, **arguments: Any) -> tune.ExperimentAnalysis:
        given = {"storage_path": tmp_path, "name": "x", "verbose": 0, "executor": "local", "loggers": (), "seed": 1, **arguments}
        return tune.run(shows, num_samples=total, **given)

    run(2, config={"n": 2, "size": tune.choice([[8], [16]])})
    after = run(4, config={"n": 3, "size": tune.choice([[32], [16], [8]])}, resume=True)
    assert configs(after, "n") == [2, 2, 3, 3]
    assert all(trial.last_result["size"] == trial.config["size"][0] for trial in after.trials)


# ---- what is still to run has the new one


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (tune.uniform(0, 1), tune.uniform(0, 100)),
        (tune.randint(0, 3), tune.randint(0, 100)),
        (tune.choice(["a"]), tune.choice(["a", "b", "c"])),
        (tune.choice([[1]]), tune.choice([[2], [1], [3]])),
    ],
)
def test_a_wider_space(go: Go, caplog: pytest.LogCaptureFixture, old: Any, new: Any) -> None:
    before = go(config={"x": old}, num_samples=3)
    kept = configs(before, "x")
    after = go(config={"x": new}, num_samples=12, resume=True)
    found = configs(after, "x")
    assert len(found) == 12
    assert found[:3] == kept
    assert any(not (old.is_valid(value)) for value in found[3:])
    assert not [message for message in caplog.messages if "outside" in message]


def test_a_category_that_is_gone(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        before = configs(go(config={"x": tune.choice(["a", "b"])}, num_samples=6), "x")
        after = configs(go(config={"x": tune.choice(["b", "c"])}, num_samples=12, resume=True), "x")
    assert after[:6] == before
    assert set(after[6:]) == {"b", "c"}
    said = [message for message in caplog.messages if "outside" in message]
    assert said == [f"{before.count('a')} of 6 earlier trials lie outside the new space and are not used by the search"]


def test_a_parameter_comes_and_goes(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    x, y = tune.uniform(0, 1), tune.uniform(5, 6)
    go(config={"x": x}, num_samples=2)
    with caplog.at_level(logging.WARNING):
        after = go(config={"x": x, "y": y}, num_samples=4, resume=True)
    assert [sorted(trial.config) for trial in after.trials] == [["x"], ["x"], ["x", "y"], ["x", "y"]]
    assert any("2 of 2 earlier trials lie outside" in message for message in caplog.messages)
    again = go(config={"y": y}, num_samples=5, resume=True)
    assert [sorted(trial.config) for trial in again.trials] == [["x"], ["x"], ["x", "y"], ["x", "y"], ["y"]]


def test_another_space_with_the_tuner(tmp_path: Path) -> None:
    def tuner() -> tune.Tuner:
        return tune.Tuner(
            train,
            param_space={"x": tune.grid_search([1, 2])},
            run_config=tune.RunConfig(name="x", storage_path=tmp_path, verbose=0, executor="inline"),
        )

    tuner().fit()
    restored = tune.Tuner.restore(tmp_path / "x", train, param_space={"x": tune.grid_search([1, 3]), "n": 7})
    assert [result.config for result in restored.get_results()] == [{"x": 1}, {"x": 2}]
    assert [result.config for result in restored.fit()] == [{"x": 1}, {"x": 2}, {"x": 3, "n": 7}]


# ---- grids


def values(analysis: tune.ExperimentAnalysis) -> list[Any]:
    return configs(analysis, "x")


def test_a_wider_grid_tries_what_is_new(go: Go) -> None:
    grid = tune.grid_search
    assert values(go(config={"x": grid([1, 2])})) == [1, 2]
    assert values(go(config={"x": grid([0, 1, 2])}, resume=True)) == [1, 2, 0]
    assert values(go(config={"x": grid([0, 1, 2])}, resume=True)) == [1, 2, 0], "and once only"
    assert values(go(config={"x": grid([0, 1, 2])}, resume=True, num_samples=2)) == [1, 2, 0, 0, 1, 2]
    assert values(go(config={"x": grid([2, 9, 0])}, resume=True, num_samples=2)) == [1, 2, 0, 0, 1, 2, 9, 9]


def test_a_grid_that_was_interrupted_and_changed(go: Go) -> None:
    grid = tune.grid_search
    seen: list[Any] = []
    go(waiting(seen, "x", 1), config={"x": grid([1, 2, 3])})
    assert seen == [1, 2]
    after = go(config={"x": grid([2, 3])}, resume=True)
    assert values(after) == [1, 2, 3]
    assert all(trial.status == "TERMINATED" for trial in after.trials)


def test_a_narrower_grid_has_nothing_left(go: Go) -> None:
    go(config={"x": tune.grid_search([1, 2, 3])})
    assert values(go(config={"x": tune.grid_search([2])}, resume=True)) == [1, 2, 3]


def test_a_grid_with_a_second_axis(go: Go) -> None:
    grid = tune.grid_search
    go(config={"x": grid([1, 2]), "y": "a"})
    after = go(config={"x": grid([1, 2]), "y": grid(["a", "b"])}, resume=True)
    assert configs(after, "x", "y") == [(1, "a"), (2, "a"), (1, "b"), (2, "b")]
    options = [{"kind": "p", "n": grid([1, 2])}, {"kind": "q"}]
    first = go(config={"x": grid(options)}, name="z")
    assert values(first) == [{"kind": "p", "n": 1}, {"kind": "p", "n": 2}, {"kind": "q"}]
    options = [{"kind": "q"}, {"kind": "p", "n": grid([3, 2, 1])}]
    assert values(go(config={"x": grid(options)}, name="z", resume=True))[3:] == [{"kind": "p", "n": 3}]


def test_a_grid_beside_random_values(go: Go) -> None:
    go(config={"x": tune.grid_search([1, 2]), "r": tune.uniform(0, 1)}, num_samples=2)
    after = go(config={"x": tune.grid_search([1, 2, 3]), "r": tune.uniform(0, 2)}, num_samples=2, resume=True)
    assert values(after) == [1, 2, 1, 2, 3, 3]
    assert len({trial.config["r"] for trial in after.trials}) == 6


def test_points_that_were_tried_are_not_tried_again(go: Go) -> None:
    def searcher() -> BasicVariantGenerator:
        return BasicVariantGenerator(points_to_evaluate=[{"x": 2}, {"x": 3}])

    space = {"x": tune.grid_search([1, 2, 3]), "r": tune.uniform(0, 1)}
    first: list[Any] = []
    go(waiting(first, "x", 0), config=space, search_alg=searcher(), num_samples=3)
    assert first == [2]
    after = go(config={**space, "x": tune.grid_search([1, 2, 3, 4])}, search_alg=searcher(), num_samples=3, resume=True)
    assert values(after) == [2, 3, 1, 2, 3, 4]


# ---- what is not there any more


def test_without_the_stored_spaces(go: Go, tmp_path: Path) -> None:
    first: list[int] = []
    go(waiting(first, "n", 1), config={"n": 2, "x": tune.grid_search([1, 2])})
    (tmp_path / "x" / FILE).unlink()
    second: list[int] = []
    after = go(waiting(second, "n", -1), config={"n": 3, "x": tune.grid_search([0, 1, 2])}, resume=True)
    assert second == [2, 3]
    assert configs(after, "n", "x") == [(2, 1), (2, 2), (3, 0)]


def test_a_trial_that_cannot_go_on_is_named(go: Go, tmp_path: Path) -> None:
    space = {"net": Net("deep"), "x": tune.grid_search([1, 2])}
    go(waiting([], "x", 1), config=space)
    (tmp_path / "x" / FILE).write_bytes(pickle.dumps("nonsense"))
    with pytest.raises(tune.SpecError, match=r"trial \w+_00001 cannot go on: .*spec\.pkl.* 'Net\(deep\)' in it.*Resume with the space"):
        go(config={**space, "x": tune.grid_search([1, 2, 3])}, resume=True)
    assert [trial.status for trial in go(config=space, resume=True).trials] == ["TERMINATED"] * 2, "the refusal has changed nothing"
    (tmp_path / "x" / FILE).unlink()
    after = go(config={**space, "x": tune.grid_search([1, 2, 3])}, resume=True)
    assert [getattr(net, "name", net) for net in configs(after, "net")] == ["Net(deep)", "Net(deep)", "deep"], "of ended ones labels do"


@pytest.mark.parametrize("stored", [True, False])
def test_secrets_of_an_earlier_space_come_from_the_new_one(go: Go, tmp_path: Path, stored: bool) -> None:
    seen: list[Any] = []

    def shows(config: dict[str, Any]) -> None:
        seen.append((config["n"], config["hub"]["password"], config["wandb"]))
        if len(seen) == 2:
            os.kill(os.getpid(), 2)
        tune.report(loss=1.0)

    def space(n: int) -> dict[str, Any]:
        return {"n": n, "hub": {"password": "hush"}, "wandb": {"project": "p"}}

    go(shows, config=space(2), num_samples=2)
    if not stored:
        (tmp_path / "x" / FILE).unlink()
    go(shows, config=space(3), num_samples=3, resume=True)
    assert seen == [(2, "hush", {"project": "p"})] * 2 + [(2, "hush", {"project": "p"}), (3, "hush", {"project": "p"})]


def test_killed_between_the_file_and_the_journal(go: Go, tmp_path: Path) -> None:
    """The file is ahead by a version that never came to be."""
    a, b, c = Net("a"), Net("b"), Net("c")
    go(waiting([], "net", 1), config={"net": tune.choice([a, b])}, num_samples=2)
    drawn = [trial.values["net"] for trial in read(tmp_path).trials]

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drive, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            go(config={"net": tune.choice([c, b, a])}, num_samples=2, resume=True)
    after = go(config={"net": tune.choice([b, a])}, num_samples=3, resume=True)
    assert [net.name for net in configs(after, "net")][:2] == ["ab"[index] for index in drawn]


# ---- searchers


class Notes(Searcher):
    """A native one that writes down what it is told of the past."""

    def __init__(self) -> None:
        super().__init__("loss", "min")
        self.told: list[Any] = []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {}

    def on_replayed(self, trial: int, trial_id: str, values: Any) -> None:
        self.told.append((trial, values))

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.told.append((int(trial_id[-1]), "end"))

    def begin_version(self, first: int, inside: Any) -> None:
        self.told.append((first, list(inside)))


def test_searchers_see_what_lies_inside(go: Go) -> None:
    before = go(config={"x": tune.choice([[1], [2]])}, search_alg=Notes(), num_samples=6)
    inside = [trial.number for trial in before.trials if trial.config["x"] == [2]]
    notes = Notes()
    go(config={"x": tune.choice([[9], [2]])}, search_alg=notes, num_samples=6, resume=True)
    assert notes.told[0] == (6, [{"x": 1}] * len(inside))
    assert notes.told[1:] == [told for number in inside for told in ((number, {"x": 1}), (number, "end"))]


def test_records_of_a_change(go: Go, tmp_path: Path) -> None:
    go(config={"x": tune.grid_search([1])})
    go(config={"x": tune.grid_search([1, 2])}, resume=True)
    with open_reader(tmp_path / "x" / JOURNAL_FILE) as reader:
        changes = [sorted(record.event.changes) for record in reader.read() if type(record.event).__name__ == "SpecChanged"]
    assert changes == [["num_samples", "space"]]

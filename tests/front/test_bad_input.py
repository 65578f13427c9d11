"""Bad input, all the way through ``run``: each is one paragraph that names the thing and says what to do, and nothing is lost."""

from __future__ import annotations

import errno
import math
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]


@pytest.fixture
def go(tmp_path: Path) -> Go:
    """``run`` with its results below ``tmp_path``, and a silent console."""

    def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
        return tune.run(trainable, **{"storage_path": tmp_path / "results", "verbose": 0, **arguments})

    return run


def quiet(config: Config) -> None:
    tune.report(loss=1.0)


def nothing_was_made(tmp_path: Path) -> bool:
    return not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def assert_one_paragraph(error: BaseException) -> None:
    assert "\n" not in str(error)
    assert str(error)


# -- the search space -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (lambda: {"act": tune.choice([])}, "choice"),
        (lambda: {"a": {"lr": tune.grid_search([])}}, "grid_search: the list of options is empty"),
        (lambda: {"a": {"lr": {"grid_search": []}}}, r"config\['a'\]\['lr'\]"),
        (lambda: {"lr": tune.loguniform(0, 1)}, "loguniform"),
        (lambda: {"lr": tune.uniform(2, 1)}, "uniform"),
        (lambda: {"lr": tune.grid_search(3)}, "grid_search"),
        (lambda: {"lr": {"grid_search": 3}}, r"config\['lr'\]"),
    ],
)
def test_a_space_that_makes_no_sense(go: Go, tmp_path: Path, config: Callable[[], Config], path: str) -> None:
    with pytest.raises(tune.SpecError, match=path) as caught:
        go(quiet, config=config())
    assert_one_paragraph(caught.value)
    assert nothing_was_made(tmp_path)


# -- the trainable ----------------------------------------------------------------------------------------------------------


def test_a_trainable_that_cannot_be_pickled_names_what_it_captured(go: Go, tmp_path: Path) -> None:
    lock = threading.Lock()

    def train(config: Config) -> None:
        with lock:
            tune.report(loss=1.0)

    with pytest.raises(tune.SerializationError, match=r"The trainable train .* 'lock' is a \S*lock \(\d+ \w+\)") as caught:
        go(train)
    assert_one_paragraph(caught.value)
    assert nothing_was_made(tmp_path)
    assert len(go(train, executor="inline")) == 1, "asked for by name, inline needs no pickle"


def test_a_second_parameter_without_with_parameters(go: Go, tmp_path: Path) -> None:
    def train(config: Config, data: list[int]) -> None:
        tune.report(loss=sum(data))

    with pytest.raises(tune.SpecError, match=r"data.*with_parameters") as caught:
        go(train)
    assert_one_paragraph(caught.value)
    assert nothing_was_made(tmp_path)
    assert go(tune.with_parameters(train, data=[1, 2])).trials[0].last_result["loss"] == 3


# -- reports ----------------------------------------------------------------------------------------------------------------


def test_a_metric_that_is_never_reported(go: Go, tmp_path: Path) -> None:
    def train(config: Config) -> None:
        tune.report(mean_loss=1.0, accuracy=0.5)

    with pytest.raises(tune.MetricError, match=r"'mean_los' was never reported; reported were: accuracy, mean_loss\.") as caught:
        go(train, metric="mean_los", mode="min", num_samples=3, name="x", max_concurrent_trials=1)
    assert "Did you mean 'mean_loss'?" in str(caught.value)
    assert_one_paragraph(caught.value)
    kept = tune.open_experiment(tmp_path / "results" / "x")
    assert kept.trials[0].last_result["mean_loss"] == 1.0


def test_a_metric_that_is_nan_ends_its_trial_and_no_other(go: Go) -> None:
    def train(config: Config) -> None:
        tune.report(loss=math.nan if config["x"] == 2 else config["x"])

    analysis = go(train, metric="loss", mode="min", config={"x": tune.grid_search([1, 2, 3])})
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]
    assert "nan" in str(analysis.trials[1].error_msg)
    assert analysis.best_config == {"x": 1}


@pytest.mark.parametrize("report", ["loss", [1.0], {1.0}, b"x"])
def test_a_report_that_is_no_dict(go: Go, report: Any) -> None:
    def train(config: Config) -> None:
        tune.report(report)

    with pytest.raises(tune.TrialsFailed, match=r"1 of 1 trials failed: .*report.*dict") as caught:
        go(train)
    assert_one_paragraph(caught.value)
    assert caught.value.trials[0].status == "ERROR"


# -- failing trials ---------------------------------------------------------------------------------------------------------


def failing(config: Config) -> None:
    tune.report(loss=1.0)
    if config["x"] > 1:
        raise KeyError("lr")


def test_failed_trials_are_told_once_with_the_users_line_and_how_to_run_one_again(go: Go, tmp_path: Path) -> None:
    with pytest.raises(tune.TrialsFailed) as caught:
        go(failing, name="x", config={"x": tune.grid_search([1, 2, 3])})
    text = str(caught.value)
    assert re.match(r"2 of 3 trials failed: KeyError: 'lr' at \S*test_bad_input\.py:\d+ \(2x: ", text)
    assert text.count("KeyError") == 1
    ids = [trial.trial_id for trial in caught.value.trials]
    assert f"python -m tunesmith rerun {tmp_path / 'results' / 'x'} {ids[0]}" in text
    assert_one_paragraph(caught.value)


def fails_beside_another(config: Config) -> None:
    tune.report(loss=1.0)
    if config["x"] == 0:
        raise KeyError("mine")
    threading.Event().wait()


def test_raise_gives_the_original_exception_whatever_else_runs(go: Go) -> None:
    space = {"x": tune.grid_search([0, 1])}
    with pytest.raises(KeyError, match="mine"):
        go(fails_beside_another, config=space, fail_fast="raise", executor="local", drain_s=0.1, grace_s=0.1, max_concurrent_trials=2)


def test_raise_gives_the_original_exception(go: Go) -> None:
    with pytest.raises(KeyError, match="lr") as caught:
        go(failing, config={"x": tune.grid_search([1, 2, 3])}, fail_fast="raise", executor="inline")
    assert caught.traceback[-1].name == "failing"
    with pytest.raises(KeyError, match="lr") as caught:
        go(failing, config={"x": tune.grid_search([1, 2, 3])}, fail_fast="raise")
    assert "in failing" in caught.value.__notes__[0], "from another process, its traceback comes as text"


def test_failed_trials_may_be_no_error(go: Go) -> None:
    analysis = go(failing, config={"x": tune.grid_search([1, 2, 3])}, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "ERROR"]


# -- user code around the trials --------------------------------------------------------------------------------------------


def test_a_stop_function_that_raises_ends_the_run_and_names_its_line(go: Go) -> None:
    def stop(trial_id: str, result: Config) -> bool:
        raise ValueError("oops")

    with pytest.raises(tune.UserCodeError, match=r"raised ValueError: oops at \S*test_bad_input\.py:\d+.*resume=True, name='x'"):
        go(quiet, stop=stop, name="x")


@pytest.mark.parametrize("creator", [lambda trial: 1 / 0, lambda trial: 3, lambda trial: "a/b"])
def test_name_creators(go: Go, creator: Any) -> None:
    with pytest.raises(tune.TuneError, match="trial_dirname_creator"):
        go(quiet, trial_dirname_creator=creator)


def test_a_request_that_can_never_be_placed(go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_NUM_CPUS", "2")
    with pytest.raises(tune.SpecError, match=r"each asks for cpu 64; there is cpu 2, .*set TUNESMITH_NUM_CPUS=64\.") as caught:
        go(quiet, resources_per_trial={"cpu": 64}, name="x")
    assert_one_paragraph(caught.value)
    assert nothing_was_made(tmp_path)
    go(quiet, resources_per_trial={"cpu": 2}, name="x")
    with pytest.raises(tune.SpecError, match="No trial could ever start"):  # what is on record stays as it is
        go(quiet, resources_per_trial={"cpu": 64}, name="x", resume=True, num_samples=2)
    go(quiet, resources_per_trial={"cpu": 64}, name="x", resume=True)  # nothing is left to run
    assert len(go(quiet, resources_per_trial={"cpu": 2}, name="x", resume=True, num_samples=2).trials) == 2


def test_a_request_of_one_configuration_costs_only_its_trial(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_NUM_CPUS", "2")
    with pytest.raises(tune.TrialsFailed, match=r"1 of 2 trials failed: .*asks for cpu 64; there is cpu 2"):
        go(quiet, resources_per_trial=lambda config: {"cpu": config["n"]}, config={"n": tune.grid_search([64, 1])})


# -- places -----------------------------------------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_written(go: Go, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(tune.StorageFull, match=r"cannot be written: .*\. Nothing was started") as caught:
        go(quiet, storage_path=tmp_path / "file")
    assert_one_paragraph(caught.value)


def test_two_runs_in_one_directory(go: Go, tmp_path: Path) -> None:
    """The second one is refused while the first lives, and names it; the first is not disturbed."""
    refusals: list[tune.TuneError] = []

    def train(config: Config) -> None:
        try:
            go(quiet, name="x", resume=True)
        except tune.TuneError as error:
            refusals.append(error)
        tune.report(loss=1.0)

    analysis = go(train, name="x", executor="inline")
    (refusal,) = refusals
    assert isinstance(refusal, tune.JournalLocked)
    assert_one_paragraph(refusal)
    assert analysis.trials[0].status == "TERMINATED"


def test_what_is_refused_late_leaves_no_directory(go: Go, tmp_path: Path) -> None:
    class Mine(tune.search.Searcher):
        def suggest(self, trial_id: str) -> Config:
            return {"x": 1}

    with pytest.raises(tune.SpecError, match="cannot walk through the grid_search"):
        go(quiet, name="x", search_alg=Mine(), config={"x": tune.grid_search([1])})
    assert nothing_was_made(tmp_path)


def test_a_full_disk_stops_the_run_and_keeps_what_is_there(go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.journal.sqlite import SqliteJournal

    commit = SqliteJournal.append
    full, room_ends = False, True

    def append(self: SqliteJournal, records: Any, **options: Any) -> int:
        if full:
            raise tune.StorageFull(f"the journal cannot be written: {errno.errorcode[errno.ENOSPC]}.")
        return commit(self, records, **options)

    monkeypatch.setattr(SqliteJournal, "append", append)

    def train(config: Config) -> None:
        nonlocal full
        tune.report(loss=config["x"])
        full = room_ends and config["x"] == 2
        tune.report(loss=config["x"])

    with pytest.raises(tune.StorageFull, match=r"resume=True"):
        go(train, name="x", config={"x": tune.grid_search([1, 2, 3])}, executor="inline")
    kept = tune.open_experiment(tmp_path / "results" / "x")
    assert [trial.last_result.get("loss") for trial in kept.trials] == [1, 2]
    full = room_ends = False
    analysis = go(train, name="x", config={"x": tune.grid_search([1, 2, 3])}, executor="inline", resume=True)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3

"""``resume=`` in all its forms, and the flags of ``Tuner.restore``: which trials go on, from where, and what is seen of it."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith import checks
from tunesmith.core.events import Reopened
from tunesmith.errors import SpecError
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.spec import ResumePlan

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]
BOTH = pytest.mark.parametrize("executor", ["inline", "local"])
SPACE = {"x": tune.grid_search([1, 2, 3])}


@pytest.mark.parametrize(
    ("given", "plan"),
    [
        (False, None),
        (None, None),
        (True, ResumePlan()),
        ("local", ResumePlan()),
        ("Auto", ResumePlan(must_exist=False)),
        ("LOCAL+ERRORED", ResumePlan(errored="resume")),
        ("auto+restart_errored", ResumePlan(must_exist=False, errored="restart")),
        ("LOCAL+ERRORED_ONLY", ResumePlan(unfinished=False, errored="resume")),
        ("AUTO+RESTART_ERRORED_ONLY", ResumePlan(must_exist=False, unfinished=False, errored="restart")),
        ("ERRORED_ONLY", ResumePlan(unfinished=False, errored="restart")),
    ],
)
def test_every_form(given: Any, plan: ResumePlan | None) -> None:
    assert checks.resume(given, "x") == plan


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("prompt", "resume='prompt' asks a person at a terminal"),
        ("REMOTE", "resume='REMOTE' needs a storage_path that is a URL"),
        ("AUTO+ERORED", r"is not known\. Did you mean 'AUTO\+ERRORED'\? It can be True or 'LOCAL'"),
        ("ERRORED", "is not known"),
        ("AUTO+ERRORED+RESTART_ERRORED", "is not known"),
        (3, "resume=3 is not known"),
    ],
)
def test_forms_that_are_none(given: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        checks.resume(given, "x")


class Place:
    """A folder with a marker and notes, seen by trials in whatever process they run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.break_it()

    def break_it(self) -> None:
        (self.path / "broken").touch()

    def mend(self) -> None:
        (self.path / "broken").unlink()
        (self.path / "notes").unlink(missing_ok=True)

    def steps(self, x: int) -> list[int]:
        """Steps that were made for ``x`` since it was mended."""
        lines = (self.path / "notes").read_text().split() if (self.path / "notes").exists() else []
        return [int(line.partition(":")[2]) for line in lines if line.startswith(f"{x}:")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


def train_in(place: Place, bad: int = 2, saves: bool = True) -> Callable[[Config], None]:
    """Four steps, each with a checkpoint; the third fails for ``bad`` while it is broken."""
    folder = str(place.path)

    def train(config: Config) -> None:
        from pathlib import Path

        import tunesmith as tune

        loaded = tune.get_checkpoint()
        for step in range(loaded.to_dict()["step"] if loaded else 0, 4):
            if step == 2 and config["x"] == bad and Path(folder, "broken").exists():
                raise RuntimeError("broken")
            with Path(folder, "notes").open("a") as notes:
                notes.write(f"{config['x']}:{step}\n")
            tune.report({"loss": config["x"] / (step + 1)}, checkpoint={"step": step + 1} if saves else None)

    return train


def statuses(analysis: tune.ExperimentAnalysis) -> list[str]:
    return [trial.status for trial in analysis.trials]


def table(trial: Any) -> list[int]:
    with Path(trial.path, "progress.csv").open(newline="") as file:
        return [int(row["training_iteration"]) for row in csv.DictReader(file)]


def broken_run(go: Go, place: Place, executor: str, **more: Any) -> Any:
    train = train_in(place, saves=more.pop("saves", True))
    analysis = go(train, name="x", config=SPACE, executor=executor, raise_on_failed_trial=False, loggers=None, **more)
    assert statuses(analysis) == ["TERMINATED", "ERROR", "TERMINATED"]
    place.mend()
    return train


@BOTH
def test_a_plain_resume_leaves_failed_trials_alone(go: Go, place: Place, executor: str) -> None:
    train = broken_run(go, place, executor)
    with pytest.raises(tune.TrialsFailed):
        go(train, name="x", config=SPACE, executor=executor, resume=True)
    assert place.steps(2) == []


@BOTH
@pytest.mark.parametrize("form", ["LOCAL+ERRORED", "auto+errored_only"])
def test_failed_trials_go_on_from_their_checkpoints(go: Go, place: Place, executor: str, form: str) -> None:
    train = broken_run(go, place, executor)
    analysis = go(train, name="x", config=SPACE, executor=executor, resume=form, loggers=None)
    assert statuses(analysis) == ["TERMINATED"] * 3
    assert [place.steps(x) for x in (1, 2, 3)] == [[], [2, 3], []]
    trial = analysis.trials[1]
    assert (trial.error, trial.attempt, trial.num_failures, trial.last_result["training_iteration"]) == (None, 1, 1, 4)
    assert Path(trial.path).name == trial.trial_id == analysis.trials[0].trial_id[:-1] + "1"
    assert table(trial) == [1, 2, 3, 4]
    assert list(analysis.trial_dataframes[trial.path].training_iteration) == [1, 2, 3, 4]


@BOTH
@pytest.mark.parametrize("form", ["LOCAL+RESTART_ERRORED", "ERRORED_ONLY"])
def test_failed_trials_begin_anew_under_their_old_number(go: Go, place: Place, executor: str, form: str) -> None:
    train = broken_run(go, place, executor)
    analysis = go(train, name="x", config=SPACE, executor=executor, resume=form, loggers=None)
    assert statuses(analysis) == ["TERMINATED"] * 3
    assert [place.steps(x) for x in (1, 2, 3)] == [[], [0, 1, 2, 3], []]
    assert table(analysis.trials[1]) == [1, 2, 3, 4], "the newest attempt's rows stand, each once"


def test_without_a_checkpoint_it_begins_anew(go: Go, place: Place) -> None:
    train = broken_run(go, place, "inline", saves=False)
    analysis = go(train, name="x", config=SPACE, resume="AUTO+ERRORED")
    assert place.steps(2) == [0, 1, 2, 3]
    assert statuses(analysis) == ["TERMINATED"] * 3


def test_budgets_of_failures_are_fresh(go: Go, place: Place) -> None:
    train = broken_run(go, place, "inline", max_failures=1)
    place.break_it()
    again = go(train, name="x", config=SPACE, max_failures=1, resume="AUTO+ERRORED", raise_on_failed_trial=False)
    assert statuses(again) == ["TERMINATED", "ERROR", "TERMINATED"]
    assert again.trials[1].num_failures == 4
    place.mend()
    assert statuses(go(train, name="x", config=SPACE, resume="AUTO+ERRORED")) == ["TERMINATED"] * 3


def test_what_is_counted_as_failed_is_what_still_is(go: Go, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    train = broken_run(go, place, "inline")
    go(train, name="x", config=SPACE, resume="AUTO+ERRORED")  # TrialsFailed would be raised
    place.break_it()
    with caplog.at_level(logging.WARNING, "tunesmith"):
        assert len(go(train, name="x", config=SPACE, resume="AUTO+ERRORED").trials) == 3, "nothing is left to go on"


def test_the_circuit_breaker_is_armed_anew(go: Go, place: Place) -> None:
    """All failed alike, and are mended: five failures of before count for nothing."""
    train = train_in(place, bad=1)
    arguments = {"name": "x", "config": {"x": 1}, "num_samples": 7}
    with pytest.raises(tune.TrialsFailed, match="5 trials all failed alike"):
        go(train, **arguments)
    place.mend()
    analysis = go(train, resume="AUTO+ERRORED", **arguments)
    assert statuses(analysis) == ["TERMINATED"] * 7


class Stops(tune.Callback):
    """Breaks the run off, as a second Ctrl-C does, when a trial with this ``x`` has made so many reports."""

    def __init__(self, x: int, iteration: int) -> None:
        self.x, self.iteration = x, iteration

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Config, **info: Any) -> None:
        if trial.config["x"] == self.x and result["training_iteration"] == self.iteration:
            raise KeyboardInterrupt


def broken_off(go: Go, place: Place, executor: str) -> Any:
    """The first trial is done, the second has failed, the third is in the middle, the fourth was never begun."""
    train = train_in(place)
    space = {"x": tune.grid_search([1, 2, 3, 4])}
    with pytest.raises(KeyboardInterrupt):
        go(train, name="x", config=space, executor=executor, callbacks=[Stops(3, 2)], max_concurrent_trials=1)
    place.mend()
    return train, space


@BOTH
def test_errored_only_leaves_the_others_for_another_session(go: Go, place: Place, executor: str) -> None:
    train, space = broken_off(go, place, executor)
    arguments = {"name": "x", "config": space, "executor": executor}
    analysis = go(train, resume="LOCAL+ERRORED_ONLY", **arguments)
    assert statuses(analysis) == ["TERMINATED", "TERMINATED", "PENDING"]
    assert [place.steps(x) for x in (1, 2, 3, 4)] == [[], [2, 3], [], []]
    analysis = go(train, resume=True, **arguments)
    assert statuses(analysis) == ["TERMINATED"] * 4
    assert place.steps(4) == [0, 1, 2, 3]
    assert place.steps(3)[-2:] == [2, 3], "it went on from its checkpoint"


def test_errored_only_of_an_experiment_without_failures(go: Go, place: Place) -> None:
    place.mend()
    train = train_in(place)
    with pytest.raises(KeyboardInterrupt):
        go(train, name="x", config=SPACE, callbacks=[Stops(2, 1)])
    assert statuses(go(train, name="x", config=SPACE, resume="ERRORED_ONLY")) == ["TERMINATED", "PENDING"]
    assert statuses(go(train, name="x", config=SPACE, resume=True)) == ["TERMINATED"] * 3


def test_a_stop_in_such_a_session_leaves_the_others_too(go: Go, place: Place) -> None:
    train, space = broken_off(go, place, "inline")

    class Enough(tune.Stopper):
        def __call__(self, trial_id: str, result: Any) -> bool:
            return False

        def stop_all(self) -> bool:
            return True

    analysis = go(train, name="x", config=space, resume="LOCAL+ERRORED_ONLY", stop=Enough())
    assert statuses(analysis) == ["TERMINATED", "TERMINATED", "PENDING"]
    assert statuses(go(train, name="x", config=space, resume=True)) == ["TERMINATED"] * 4


def test_auto_begins_what_is_not_there(go: Go, place: Place) -> None:
    place.mend()
    for form in ("AUTO+ERRORED_ONLY", "auto"):
        assert statuses(go(train_in(place), name=form, config=SPACE, resume=form)) == ["TERMINATED"] * 3
    with pytest.raises(SpecError, match="there is no experiment 'nothing'"):
        go(train_in(place), name="nothing", resume="LOCAL+ERRORED")


@BOTH
def test_the_flags_of_restore(go: Go, place: Place, executor: str, tmp_path: Path) -> None:
    train, _ = broken_off(go, place, executor)
    path = tmp_path / "x"
    results = tune.Tuner.restore(path, train, resume_unfinished=False, resume_errored=True).fit()
    assert [result.metrics["training_iteration"] for result in results][:2] == [4, 4]
    assert (results.num_errors, results.num_terminated) == (0, 2)
    restored = tune.Tuner.restore(path, train, restart_errored=True)
    results = restored.fit()
    assert (results.num_errors, results.num_terminated) == (0, 4)
    assert place.steps(2) == [2, 3], "nothing had failed any more"
    assert restored.fit().num_terminated == 4, "once more, and nothing is left to do"


def executor_of(tuner: tune.Tuner) -> str:
    spec = tuner._restored
    assert spec is not None
    assert spec.executor is not None
    return spec.executor.capabilities.name


def test_the_executor_is_as_before_and_may_be_another(go: Go, place: Place, tmp_path: Path) -> None:
    train = broken_run(go, place, "inline")
    tune.Tuner.restore(tmp_path / "x", train, restart_errored=True).fit()
    assert executor_of(tune.Tuner.restore(tmp_path / "x", train)) == "inline"
    assert executor_of(tune.Tuner.restore(tmp_path / "x", train, executor="local")) == "local"
    with pytest.raises(SpecError, match="executor='locl' is not known"):
        tune.Tuner.restore(tmp_path / "x", train, executor="locl")


class Listens(tune.Callback):
    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.told.append(("start", trial.number))

    def on_trial_restore(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.told.append(("restore", trial.number))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.told.append(("complete", trial.number))


def test_callbacks_see_it_go_on_and_end(go: Go, place: Place) -> None:
    train = broken_run(go, place, "inline")
    listens = Listens()
    go(train, name="x", config=SPACE, resume="AUTO+ERRORED", callbacks=[listens])
    assert listens.told == [("restore", 1), ("start", 1), ("complete", 1)]


class Learns(tune.search.Searcher):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, float | None, bool]] = []

    def suggest(self, trial_id: str) -> Config | None:
        return {"x": 1}

    def on_trial_complete(self, trial_id: str, result: Config | None = None, error: bool = False) -> None:
        self.told.append((int(trial_id[-5:]), result["loss"] if result else None, error))


def test_to_a_searcher_each_trial_ends_once(go: Go, place: Place) -> None:
    train = train_in(place, bad=1)
    searcher = Learns()
    go(train, name="x", config={"x": tune.choice([1])}, search_alg=searcher, num_samples=2, raise_on_failed_trial=False)
    assert [told[::2] for told in searcher.told] == [(0, True), (1, True)]
    place.mend()
    searcher = Learns()
    go(train, name="x", config={"x": tune.choice([1])}, search_alg=searcher, num_samples=2, resume="AUTO+ERRORED")
    assert searcher.told == [(0, 0.25, False), (1, 0.25, False)]
    searcher = Learns()
    go(train, name="x", config={"x": tune.choice([1])}, search_alg=searcher, num_samples=2, resume=True)
    assert searcher.told == [(0, 0.25, False), (1, 0.25, False)], "in the session after that, too"


def test_other_resources_for_those_that_had_the_default(go: Go, place: Place, tmp_path: Path) -> None:
    train = broken_run(go, place, "local")
    analysis = go(train, name="x", config=SPACE, executor="local", resume="AUTO+ERRORED", resources_per_trial={"cpu": 2})
    assert [trial.resources for trial in analysis.trials][1] == {"cpu": 2}
    with open_reader(tmp_path / "x" / JOURNAL_FILE) as reader:
        (reopened,) = [record.event for record in reader.read() if isinstance(record.event, Reopened)]
    assert (reopened.trial, reopened.why, reopened.attempt, reopened.resources) == (1, "errored", 1, None)


def test_the_console_says_who_goes_on(go: Go, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    train = broken_run(go, place, "inline")
    analysis = go(train, name="x", config=SPACE, resume="AUTO+ERRORED", verbose=1, loggers=())
    lines = capsys.readouterr().out.splitlines()
    assert f"trial {analysis.trials[1].trial_id} goes on after its failure" in lines
    assert any(line.endswith("(3 TERMINATED)") for line in lines)
    assert not any("ERROR" in line for line in lines)

"""What the callbacks for XGBoost and LightGBM share, without either: which metrics are reported, when there is a checkpoint."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.errors import SpecError, UserCodeError
from tunesmith.integration import boosting
from tunesmith.integration.boosting import Reports, Saving, model_in, start_from

FOUND = {"eval-logloss": 0.5, "eval-error": 0.25, "train-logloss": 0.125}
names = st.sampled_from(sorted(FOUND))


class Trial:
    """Stands for the running trial: keeps what is reported, and what is saved with it or after it."""

    def __init__(self):
        self.reports = []
        self.saved = {}  # number of the report it belongs to -> what was written
        self.late = set()  # those that came after their report

    def report(self, metrics, checkpoint=None):
        self.reports.append(metrics)
        if checkpoint is not None:
            self.saved[len(self.reports)] = Path(checkpoint, "model").read_text()

    @contextlib.contextmanager
    def checkpoint_dir(self, step):
        folder = Path(self.folder, f"late{len(self.late)}")
        folder.mkdir()
        yield str(folder)
        self.saved[len(self.reports)] = (folder / "model").read_text()
        self.late.add(len(self.reports))


@contextlib.contextmanager
def running(folder):
    trial = Trial()
    trial.folder = folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting, "report", trial.report)
        patch.setattr(boosting, "checkpoint_dir", trial.checkpoint_dir)
        patch.setattr(boosting, "is_session_enabled", lambda: True)
        yield trial


def writer(rounds):
    return lambda path: Path(path).write_text(f"{rounds} rounds")


@given(done=st.integers(0, 9), rounds=st.integers(1, 9), frequency=st.integers(0, 5), at_end=st.booleans(), known=st.booleans())
def test_one_report_a_round_and_checkpoints_where_they_are_due(tmp_path_factory, done, rounds, frequency, at_end, known):
    """``known``: the library tells which round is the last one, or only afterwards that it was."""
    reports = Reports("Callback", None, None, "")
    reports.saving = Saving("model", frequency, at_end).checked("Callback")
    with running(tmp_path_factory.mktemp("trial")) as trial:
        for again in range(2):  # the same callback for two trainings
            reports.begin()
            for number in range(done + 1, done + rounds + 1):
                reports.tell({"loss": number}, number, writer(number), last=known and number == done + rounds)
            if not known:
                reports.end(writer(done + rounds))
            due = {number for number in range(done + 1, done + rounds + 1) if frequency and number % frequency == 0}
            due |= {done + rounds} if at_end else set()
            offset = again * rounds
            assert trial.reports[offset:] == [{"loss": number} for number in range(done + 1, done + rounds + 1)]
            here = {number - offset + done: text for number, text in trial.saved.items() if number > offset}
            assert here == {number: f"{number} rounds" for number in due}


def test_nothing_is_saved_where_nothing_was_trained(tmp_path):
    reports = Reports("Callback", None, None, "")
    reports.saving = Saving("model", 1, True)
    with running(tmp_path) as trial:
        reports.begin()
        reports.end(writer(3), changed=True)
    assert not trial.saved


def test_a_second_training_of_no_rounds_saves_nothing(tmp_path):
    reports = Reports("Callback", None, None, "")
    reports.saving = Saving("model", 0, True)
    with running(tmp_path) as trial:
        for numbers in ([1, 2], []):
            reports.begin()
            for number in numbers:
                reports.tell({"loss": number}, number, writer(number))
            reports.end(writer(2))
    assert len(trial.late) == len(list(tmp_path.iterdir())) == 1


def test_the_model_that_training_ends_with_replaces_that_of_the_last_round(tmp_path):
    reports = Reports("Callback", None, None, "")
    reports.saving = Saving("model", 1, True)
    with running(tmp_path) as trial:
        reports.begin()
        for number in (1, 2, 3):
            reports.tell({"loss": number}, number, writer(number))
        reports.end(writer(2), changed=True)
    assert trial.saved == {1: "1 rounds", 2: "2 rounds", 3: "2 rounds"}
    assert trial.late == {3}


def reported(metrics, found, postprocess=None):
    reports = Reports("Callback", metrics, postprocess, "Give evals.")
    with pytest.MonkeyPatch.context() as patch:
        told = []
        patch.setattr(boosting, "report", told.append)
        reports.tell(found, 3, writer(3))
    (metrics,) = told
    return metrics


@given(st.one_of(st.none(), names, st.lists(names), st.lists(names).map(tuple), st.dictionaries(st.text(), names)))
def test_metrics_are_chosen_as_they_are_named(metrics):
    wanted = {metrics: metrics} if isinstance(metrics, str) else metrics
    wanted = wanted if isinstance(wanted, dict) else {name: name for name in wanted or ()}
    assert reported(metrics, FOUND) == ({key: FOUND[name] for key, name in wanted.items()} or FOUND)


def test_results_are_postprocessed_after_they_were_chosen():
    doubled = reported({"loss": "eval-logloss"}, FOUND, lambda chosen: {**chosen, "double": 2 * chosen["loss"]})
    assert doubled == {"loss": 0.5, "double": 1.0}
    assert reported(None, {}, lambda chosen: {"found": len(chosen)}) == {"found": 0}


def test_what_is_reported_is_no_part_of_what_the_library_keeps():
    found = dict(FOUND)
    reported(None, found, lambda chosen: chosen.clear() or {"loss": 1})
    assert found == FOUND


@pytest.mark.parametrize("metrics", ["eval-loglos", ["eval-error", "eval-loglos"], {"loss": "eval-loglos"}])
def test_a_metric_that_is_not_there_is_named_with_those_that_are(metrics):
    expected = (
        r"^Callback: there is no metric 'eval-loglos' in round 3. Evaluated were: eval-logloss, eval-error, train-logloss. "
        r"Did you mean 'eval-logloss'\?$"
    )
    with pytest.raises(UserCodeError, match=expected):
        reported(metrics, FOUND)


def test_where_nothing_is_evaluated_it_is_said_what_to_do():
    with pytest.raises(UserCodeError, match=r"^Callback: there is no metric 'eval-logloss' in round 3. Give evals.$"):
        reported("eval-logloss", {})
    with pytest.raises(UserCodeError, match=r"^Callback: there is nothing to report in round 3. Give evals.$"):
        reported(None, {})


def test_what_is_no_dict_is_no_result():
    with pytest.raises(UserCodeError, match=r"results_postprocessing_fn returned a NoneType in round 3; expected the dict of metrics"):
        reported(None, FOUND, lambda chosen: None)


@pytest.mark.parametrize("metrics", [1, [1], {"loss": 1}, {1: "loss"}, [["loss"]], {"loss"}, object()])
def test_metrics_of_the_wrong_kind(metrics):
    with pytest.raises(SpecError, match=r"^Callback: metrics must be the name of a metric, a list of names, or \{name to report"):
        Reports("Callback", metrics, None, "")


def test_postprocessing_by_something_that_can_not_be_called():
    with pytest.raises(SpecError, match=r"^Callback: results_postprocessing_fn must be a function of a dict of metrics, got 3"):
        Reports("Callback", None, 3, "")


@pytest.mark.parametrize(
    ("saving", "named"),
    [
        (Saving("", 0, True), "filename must be the name of a file"),
        (Saving("a/b", 0, True), "filename must be the name of a file, without a folder, such as 'model', got 'a/b'"),
        (Saving("..", 0, True), "filename"),
        (Saving(3, 0, True), "filename"),
        (Saving("model", -1, True), "frequency must be a number of rounds, or 0 for no checkpoints during training, got -1"),
        (Saving("model", 1.5, True), "frequency"),
        (Saving("model", True, True), "frequency"),
        (Saving("model", 0, 1), "checkpoint_at_end must be True or False, got 1"),
        (Saving("model", 5, lambda metrics: metrics), "checkpoint_at_end"),  # older order of arguments
    ],
)
def test_checkpoints_of_the_wrong_kind(saving, named):
    with pytest.raises(SpecError, match=f"^Callback: {named}"):
        saving.checked("Callback")


def load(path):
    return Path(path).name, int(Path(path).read_text().split()[0])


def ran(train, tmp_path, **arguments):
    return tune.run(train, executor="inline", verbose=0, storage_path=str(tmp_path), **arguments)


def test_a_new_trial_starts_anew_and_a_retried_one_goes_on(tmp_path):
    starts = []

    def train(config):
        start = start_from("resume()", 5, "model", load)
        starts.append(tuple(start))
        reports = Reports("Callback", None, None, "")
        reports.saving = Saving("model", 2, False)
        for number in range(start.done + 1, 6):
            reports.tell({"loss": number}, number, writer(number))
            if number == 3 and len(starts) == 1:
                raise OSError("it breaks")

    analysis = ran(train, tmp_path, max_failures=1)
    assert starts == [(None, 0, 5), ("model", 2, 3)]
    (frame,) = analysis.trial_dataframes.values()
    assert list(frame["loss"]) == list(frame["training_iteration"]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("done", "left"), [(3, 2), (5, 0), (7, 0)])
def test_rounds_that_are_left(tmp_path, done, left):
    starts = []

    def train(config):
        if not starts:
            starts.append(None)
            folder = tmp_path / "mine"
            folder.mkdir()
            writer(done)(folder / "model")
            tune.report(loss=1, checkpoint=str(folder))
            raise OSError("it breaks")
        starts.append(start_from("resume()", 5, "model", load))

    ran(train, tmp_path, max_failures=1)
    assert starts[1] == ("model", done, left)


@pytest.mark.parametrize("rounds", [0, -1, 2.5, True, "many", None])
def test_rounds_of_the_wrong_kind(rounds):
    with pytest.raises(SpecError, match=r"^resume\(\): rounds must be the number of boosting rounds in all, 1 or more, got "):
        start_from("resume()", rounds, "model", load)


def test_a_checkpoint_without_the_model_says_what_it_holds(tmp_path):
    (tmp_path / "other.ubj").touch()
    (tmp_path / ".hidden").touch()
    with pytest.raises(UserCodeError, match=r"^resume\(\): there is no 'model' in the checkpoint .*; it holds other.ubj. Pass the "):
        model_in("resume()", tmp_path, "model")
    with pytest.raises(UserCodeError, match=r"it holds nothing"):
        model_in("resume()", tune.Checkpoint.from_directory(_empty(tmp_path)), "model")
    assert model_in("resume()", str(tmp_path), "other.ubj") == str(tmp_path / "other.ubj")


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def late_model(tmp_path, after):
    """A trial whose library does not say that training is over, and what its code does then; the trial and its checkpoints."""

    def train(config):
        reports = Reports("Callback", None, None, "")
        reports.saving = Saving("model", 2, True)
        for number in (1, 2, 3):
            reports.tell({"loss": number}, number, writer(number))
            reports.end_with_trial(writer(number))
        after()

    analysis = ran(train, tmp_path, raise_on_failed_trial=False)
    (trial,) = analysis.trials
    saved = sorted(Path(trial.logdir).glob("checkpoint_*"))
    return trial, [(folder / "model").read_text() for folder in saved if (folder / "model").exists()]


def test_a_model_is_saved_when_the_function_returns(tmp_path):
    trial, saved = late_model(tmp_path, lambda: None)
    assert (trial.status, saved) == ("TERMINATED", ["2 rounds", "3 rounds"])
    assert trial.last_result["training_iteration"] == 3
    assert Path(trial.checkpoint.path, "model").read_text() == "3 rounds"


def test_what_was_reported_later_belongs_to_another_model(tmp_path):
    trial, saved = late_model(tmp_path, lambda: tune.report(loss=0))
    assert (trial.status, saved) == ("TERMINATED", ["2 rounds"])


def test_a_trial_that_fails_has_not_come_to_the_end_of_its_training(tmp_path):
    def fail():
        raise OSError("it breaks")

    trial, saved = late_model(tmp_path, fail)
    assert (trial.status, saved) == ("ERROR", ["2 rounds"])


@pytest.mark.parametrize(("frequency", "at_end", "saved"), [(0, True, ["2 rounds"]), (2, True, ["2 rounds"]), (0, False, [])])
def test_a_trial_that_is_told_to_stop_ends_with_its_model(tmp_path, frequency, at_end, saved):
    def train(config):
        reports = Reports("Callback", None, None, "")
        reports.saving = Saving("model", frequency, at_end)
        with contextlib.suppress(tune.TrialStopped):  # some libraries do
            for number in (1, 2, 3):
                reports.tell({"loss": number}, number, writer(number))
                reports.end_with_trial(writer(number))
        reports.end(writer(4))

    analysis = ran(train, tmp_path, stop={"training_iteration": 2})
    (trial,) = analysis.trials
    assert (trial.status, trial.last_result["training_iteration"]) == ("TERMINATED", 2)
    assert [(folder / "model").read_text() for folder in sorted(Path(trial.logdir).glob("checkpoint_*"))] == saved
    if saved:
        assert Path(trial.checkpoint.path, "model").read_text() == "2 rounds"


def test_a_pause_is_no_end(tmp_path):
    begun = []

    def train(config):
        start = start_from("resume()", 4, "model", load)
        begun.append((config["number"], start.done))
        reports = Reports("Callback", "loss", None, "")
        reports.saving = Saving("model", 0, True)
        for number in range(start.done + 1, 5):
            reports.tell({"loss": config["number"]}, number, writer(number))

    scheduler = tune.FixedCutScheduler(max_t=9, cut_at=2, keep=1)
    config = {"number": tune.grid_search([0, 1])}
    ran(train, tmp_path, config=config, scheduler=scheduler, metric="loss", mode="min")
    assert begun == [(0, 0), (1, 0), (0, 0)]


def test_outside_of_a_trial_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tunesmith.trainable.session._warned", ["said before"])
    reports = Reports("Callback", None, None, "")
    reports.saving = Saving("model", 1, True)
    reports.begin()
    reports.tell(FOUND, 1, writer(1))
    reports.tell(FOUND, 2, writer(2), last=True)
    reports.end(writer(2), changed=True)
    reports.end_with_trial(writer(2))
    assert not list(tmp_path.iterdir())

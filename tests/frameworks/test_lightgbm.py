"""LightGBM in trials: its callbacks report every round, save models, and training goes on from them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import lightgbm
import pytest
from sklearn.datasets import load_breast_cancer

import tunesmith as tune
from tunesmith.errors import TrialsFailed, UserCodeError
from tunesmith.integration.lightgbm import TuneReportCallback, TuneReportCheckpointCallback, resume
from tunesmith.testing import FrameworkKit

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

X, Y = load_breast_cancer(return_X_y=True)
TRAIN, TEST = (X[:400], Y[:400]), (X[400:], Y[400:])
PARAMS = {
    "objective": "binary", "metric": ["binary_logloss", "binary_error"], "num_leaves": 7, "num_threads": 1, "verbosity": -1,
    "deterministic": True, "force_row_wise": True,
}  # fmt: skip


def raw(model):
    """The bytes of the trees, without the parameters of the call that trained them."""
    return model.model_to_string(num_iteration=-1).partition("\nparameters:")[0].encode()


class Page:
    """Writes into the diary what LightGBM trains."""

    def __init__(self, diary):
        self.diary = diary

    def __call__(self, env):
        self.diary.trained(env.iteration + 1, raw(env.model))


class FirstPage(Page):
    """Writes into it what LightGBM begins with."""

    before_iteration = True

    def __call__(self, env):
        if env.iteration == env.begin_iteration:
            self.diary.begins(env.iteration, raw(env.model))


def train_natively(config):
    start, diary = resume(rounds=config["epochs"]), config["diary"]
    data = lightgbm.Dataset(*TRAIN)
    callbacks = [TuneReportCheckpointCallback({"loss": "eval-binary_logloss"}, frequency=1), Page(diary), FirstPage(diary)]
    lightgbm.train(
        {**PARAMS, "learning_rate": config["lr"]}, data, start.left, valid_sets=[data.create_valid(*TEST)], valid_names=["eval"],
        init_model=start.model, callbacks=callbacks,
    )  # fmt: skip


def train_estimator(config):
    start, diary = resume(rounds=config["epochs"]), config["diary"]
    model = lightgbm.LGBMClassifier(n_estimators=start.left, learning_rate=config["lr"], n_jobs=1, verbosity=-1)
    callbacks = [TuneReportCheckpointCallback({"loss": "valid_0-binary_logloss"}, frequency=1), Page(diary), FirstPage(diary)]
    model.fit(*TRAIN, eval_X=TEST[0], eval_y=TEST[1], init_model=start.model, callbacks=callbacks)


class TestTrain(FrameworkKit):
    train = staticmethod(train_natively)


class TestEstimator(FrameworkKit):
    train = staticmethod(train_estimator)


def boosted(callbacks, rounds=5, model=None, evaluated=None, **arguments):
    """What lightgbm.train() returns."""
    data = lightgbm.Dataset(*TRAIN)
    arguments = {"valid_sets": [data.create_valid(*TEST)], "valid_names": ["eval"], **arguments}
    record = [] if evaluated is None else [lightgbm.record_evaluation(evaluated)]
    return lightgbm.train(PARAMS, data, rounds, init_model=model, callbacks=[*callbacks, *record], **arguments)


def ran(train, tmp_path, **arguments):
    analysis = tune.run(train, executor="inline", verbose=0, storage_path=str(tmp_path), **arguments)
    (trial,) = analysis.trials
    return analysis, trial


def rows(analysis):
    (frame,) = analysis.trial_dataframes.values()
    return frame


def models(trial, name="model.txt"):
    """Rounds of the models in its checkpoints, in their order."""
    folders = sorted(Path(trial.logdir).glob("checkpoint_*"))
    return [lightgbm.Booster(model_file=str(folder / name)).current_iteration() for folder in folders]


def test_metrics_have_the_names_of_data_sets_and_metrics(tmp_path):
    evaluated = {}

    def train(config):
        data = lightgbm.Dataset(*TRAIN)
        record = lightgbm.record_evaluation(evaluated)
        sets = {"valid_sets": [data, data.create_valid(*TEST)], "valid_names": ["train", "eval"]}
        lightgbm.train(PARAMS, data, 5, callbacks=[record, TuneReportCallback()], **sets)

    analysis, trial = ran(train, tmp_path)
    table = rows(analysis)
    assert list(table["training_iteration"]) == [1, 2, 3, 4, 5]
    for data in ("train", "eval"):
        for metric in ("binary_error", "binary_logloss"):
            assert list(table[f"{data}-{metric}"]) == evaluated[data][metric]
    assert models(trial) == []


def test_a_metric_that_is_not_evaluated_fails_the_trial(tmp_path):
    def train(config):
        boosted([TuneReportCallback("eval-auc")])

    with pytest.raises(TrialsFailed, match=r"there is no metric 'eval-auc' in round 1 of trial \w+. Evaluated were: eval-binary_logloss, "):
        ran(train, tmp_path)


def test_without_valid_sets_it_is_said_what_to_do():
    with pytest.raises(UserCodeError, match=r"there is nothing to report in round 1. Nothing is evaluated: pass valid_sets="):
        boosted([TuneReportCallback()], valid_sets=None, valid_names=None)


@pytest.mark.parametrize(
    ("arguments", "saved"),
    [
        ({}, [7]), ({"frequency": 3}, [3, 6, 7]), ({"frequency": 7}, [7]),
        ({"frequency": 3, "checkpoint_at_end": False}, [3, 6]), ({"checkpoint_at_end": False}, []),
    ],
)  # fmt: skip
def test_checkpoints_hold_the_model_of_their_round(tmp_path, arguments, saved):
    def train(config):
        boosted([TuneReportCheckpointCallback("eval-binary_logloss", **arguments)], rounds=7)

    analysis, trial = ran(train, tmp_path)
    assert models(trial) == saved
    assert list(rows(analysis)["training_iteration"]) == list(range(1, 8)), "a checkpoint is no further report"
    if saved:
        assert TuneReportCheckpointCallback.get_model(trial.checkpoint).current_iteration() == saved[-1]


def test_the_model_of_the_last_round_comes_with_its_report(tmp_path):
    def train(config):
        boosted([TuneReportCheckpointCallback()], rounds=3)
        raise OSError("it breaks")

    _, trial = ran(train, tmp_path, raise_on_failed_trial=False)
    assert (trial.status, models(trial)) == ("ERROR", [3])


def test_rounds_are_counted_over_all_attempts(tmp_path):
    starts = []

    def train(config):
        start = resume(9 if starts else 3)
        starts.append(start.done)
        boosted([TuneReportCheckpointCallback(frequency=4)], rounds=start.left, model=start.model)
        if len(starts) == 1:
            raise OSError("it breaks")

    _, trial = ran(train, tmp_path, max_failures=1)
    assert starts == [0, 3]
    assert models(trial) == [3, 4, 8, 9]


def test_arguments_in_the_order_that_is_known():
    with pytest.raises(tune.SpecError, match="frequency must be a number of rounds"):
        TuneReportCheckpointCallback(None, "model.txt", "often")
    with pytest.raises(tune.SpecError, match="checkpoint_at_end must be True or False"):
        TuneReportCheckpointCallback(None, "model.txt", 5, lambda metrics: metrics)
    with pytest.raises(tune.SpecError, match="results_postprocessing_fn must be a function"):
        TuneReportCheckpointCallback(None, "model.txt", 5, True, 3)
    with pytest.raises(tune.SpecError, match=r"^TuneReportCheckpointCallback: filename must be"):
        TuneReportCheckpointCallback(filename="a/b")
    with pytest.raises(tune.SpecError, match=r"^TuneReportCallback: metrics must be"):
        TuneReportCallback(3)


def test_early_stopping_ends_with_a_checkpoint_of_the_best_model(tmp_path):
    returned = []

    def train(config):
        early = lightgbm.early_stopping(3, first_metric_only=True, verbose=False)
        returned.append(boosted([TuneReportCheckpointCallback("eval-binary_logloss"), early], rounds=500))

    analysis, trial = ran(train, tmp_path)
    table = rows(analysis)
    best = int(table["eval-binary_logloss"].to_numpy().argmin()) + 1
    assert returned[0].best_iteration == best
    assert len(table) == best + 3
    assert models(trial) == [best]
    assert raw(TuneReportCheckpointCallback.get_model(trial.checkpoint)) == raw(returned[0])


def test_training_after_a_resume_is_as_without(tmp_path):
    """Bit for bit, as nothing is drawn at random; and rounds are counted on."""
    starts, final = [], []

    def breaks(env):
        if env.iteration + 1 == 5 and len(starts) == 1:
            raise OSError("it breaks")

    def train(config):
        start = resume(9, filename="trees")
        starts.append((start.done, start.left))
        callback = TuneReportCheckpointCallback(filename="trees", frequency=4)
        final.append(boosted([callback, breaks], rounds=start.left, model=start.model))

    analysis, trial = ran(train, tmp_path, max_failures=1)
    assert starts == [(0, 9), (4, 5)]
    assert models(trial, "trees") == [4, 8, 9]
    table = rows(analysis)
    assert list(table["training_iteration"]) == list(range(1, 10))
    evaluated = {}
    uninterrupted = boosted([], rounds=9, evaluated=evaluated)
    assert raw(final[0]) == raw(uninterrupted)
    assert list(table["eval-binary_logloss"]) == evaluated["eval"]["binary_logloss"]


@pytest.mark.parametrize("rounds", [1, 3])
def test_with_nothing_left_the_last_round_is_repeated(tmp_path, rounds):
    trained = []

    def train(config):
        start = resume(rounds)
        trained.append((start.done, start.left, raw(boosted([TuneReportCheckpointCallback()], rounds=start.left, model=start.model))))
        if len(trained) == 1:
            raise OSError("it breaks")

    _, trial = ran(train, tmp_path, max_failures=1)
    assert [(done, left) for done, left, _ in trained] == [(0, rounds), (rounds - 1, 1)]
    assert trained[0][2] == trained[1][2]
    assert models(trial) == [rounds, rounds]


def test_a_model_of_more_rounds_keeps_its_trees(tmp_path):
    starts = []

    def train(config):
        start = resume(5 if not starts else 3)
        starts.append((start.done, start.left))
        boosted([TuneReportCheckpointCallback()], rounds=start.left, model=start.model)
        if len(starts) == 1:
            raise OSError("it breaks")

    _, trial = ran(train, tmp_path, max_failures=1)
    assert starts == [(0, 5), (4, 1)]
    assert models(trial) == [5, 5]


def test_a_stop_ends_training_in_its_round(tmp_path):
    seen = []

    def train(config):
        try:
            boosted([TuneReportCheckpointCallback(frequency=2), lambda env: seen.append(env.iteration + 1)])
        finally:
            seen.append("finally")

    _, trial = ran(train, tmp_path, stop={"training_iteration": 3})
    assert seen == [1, 2, "finally"]
    assert (trial.status, models(trial)) == ("TERMINATED", [2, 3])


def test_cross_validation(tmp_path):
    tables = []

    def train(config):
        callback = TuneReportCallback(["valid-binary_error-mean", "valid-binary_logloss-stdv"])
        tables.append(lightgbm.cv(PARAMS, lightgbm.Dataset(*TRAIN), 4, nfold=3, callbacks=[callback]))

    analysis, _ = ran(train, tmp_path)
    table = rows(analysis)
    assert list(table["valid-binary_error-mean"]) == tables[0]["valid binary_error-mean"]
    assert list(table["valid-binary_logloss-stdv"]) == tables[0]["valid binary_logloss-stdv"]
    assert "valid-binary_error-stdv" not in table


def test_cross_validation_of_older_versions_has_the_same_names(monkeypatch):
    told = []
    monkeypatch.setattr("tunesmith.integration.boosting.report", told.append)
    older = [("cv_agg", "valid binary_error", 0.25, False, 0.5), ("eval", "auc", 0.75, True)]
    env = SimpleNamespace(model=None, iteration=0, end_iteration=3, evaluation_result_list=older)
    TuneReportCallback()(env)
    assert told == [{"valid-binary_error-mean": 0.25, "valid-binary_error-stdv": 0.5, "eval-auc": 0.75}]


def test_cross_validation_has_no_model_to_save():
    with pytest.raises(UserCodeError, match=r"lightgbm.cv\(\) trains several models; none is the trial's. Use TuneReportCallback."):
        lightgbm.cv(PARAMS, lightgbm.Dataset(*TRAIN), 4, callbacks=[TuneReportCheckpointCallback()])


def train_anywhere():
    start = resume(3)
    return boosted([TuneReportCheckpointCallback(frequency=1)], rounds=start.left, model=start.model)


def test_outside_of_a_trial_it_trains_all_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tunesmith.trainable.session._warned", [])
    with pytest.warns(UserWarning, match=r"was called outside a tunesmith run") as said:
        model = train_anywhere()
    assert (model.current_iteration(), len(said)) == (3, 1)
    assert not list(tmp_path.iterdir())

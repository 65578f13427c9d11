"""XGBoost in trials: its callbacks report every round, save models, and training goes on from them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import xgboost
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer

import tunesmith as tune
from tunesmith.errors import TrialsFailed, UserCodeError
from tunesmith.integration.xgboost import TuneReportCallback, TuneReportCheckpointCallback, resume
from tunesmith.testing import FrameworkKit

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

X, Y = load_breast_cancer(return_X_y=True)
TRAIN, TEST = (X[:400], Y[:400]), (X[400:], Y[400:])
PARAMS = {"objective": "binary:logistic", "eval_metric": ["error", "logloss"], "max_depth": 3, "nthread": 1, "seed": 1}


class Page(xgboost.callback.TrainingCallback):
    """Writes into the diary what XGBoost trains, and what it begins with."""

    def __init__(self, diary, done):
        super().__init__()
        self.diary, self.done = diary, done

    def before_training(self, model):
        self.diary.begins(self.done, bytes(model.save_raw()))
        return model

    def after_iteration(self, model, epoch, evals_log):
        self.diary.trained(self.done + epoch + 1, bytes(model.save_raw()))
        return False


def train_natively(config):
    start = resume(rounds=config["epochs"])
    callbacks = [TuneReportCheckpointCallback({"loss": "eval-logloss"}, frequency=1), Page(config["diary"], start.done)]
    xgboost.train(
        {**PARAMS, "eta": config["lr"]}, xgboost.DMatrix(*TRAIN), start.left, evals=[(xgboost.DMatrix(*TEST), "eval")],
        xgb_model=start.model, callbacks=callbacks, verbose_eval=False,
    )  # fmt: skip


def train_estimator(config):
    start = resume(rounds=config["epochs"])
    callbacks = [TuneReportCheckpointCallback({"loss": "validation_0-logloss"}, frequency=1), Page(config["diary"], start.done)]
    model = xgboost.XGBClassifier(n_estimators=start.left, learning_rate=config["lr"], max_depth=3, n_jobs=1, callbacks=callbacks)
    model.fit(*TRAIN, eval_set=[TEST], xgb_model=start.model, verbose=False)


class TestTrain(FrameworkKit):
    train = staticmethod(train_natively)


class TestEstimator(FrameworkKit):
    train = staticmethod(train_estimator)


def boosted(callbacks, rounds=5, model=None, **arguments):
    """What xgboost.train() returns."""
    arguments = {"evals": [(xgboost.DMatrix(*TEST), "eval")], "verbose_eval": False, **arguments}
    return xgboost.train(PARAMS, xgboost.DMatrix(*TRAIN), rounds, xgb_model=model, callbacks=callbacks, **arguments)


def ran(train, tmp_path, **arguments):
    analysis = tune.run(train, executor="inline", verbose=0, storage_path=str(tmp_path), **arguments)
    (trial,) = analysis.trials
    return analysis, trial


def rows(analysis):
    (frame,) = analysis.trial_dataframes.values()
    return frame


def models(trial, name="model.ubj"):
    """Rounds of the models in its checkpoints, in their order."""
    folders = sorted(Path(trial.logdir).glob("checkpoint_*"))
    return [xgboost.Booster(model_file=str(folder / name)).num_boosted_rounds() for folder in folders]


def test_metrics_have_the_names_of_data_sets_and_metrics(tmp_path):
    evaluated = {}

    def train(config):
        evals = [(xgboost.DMatrix(*TRAIN), "train"), (xgboost.DMatrix(*TEST), "eval")]
        boosted([TuneReportCallback()], evals=evals, evals_result=evaluated)

    analysis, trial = ran(train, tmp_path)
    table = rows(analysis)
    assert list(table["training_iteration"]) == [1, 2, 3, 4, 5]
    for data in ("train", "eval"):
        for metric in ("error", "logloss"):
            assert list(table[f"{data}-{metric}"]) == evaluated[data][metric]
    assert models(trial) == []


def test_a_metric_that_is_not_evaluated_fails_the_trial(tmp_path):
    def train(config):
        boosted([TuneReportCallback("eval-auc")])

    with pytest.raises(TrialsFailed, match=r"there is no metric 'eval-auc' in round 1 of trial \w+. Evaluated were: eval-error, "):
        ran(train, tmp_path)


def test_without_evals_it_is_said_what_to_do():
    with pytest.raises(UserCodeError, match=r"there is nothing to report in round 1. Nothing is evaluated: pass evals="):
        boosted([TuneReportCallback()], evals=())


@pytest.mark.parametrize(
    ("arguments", "saved"),
    [
        ({}, [7]), ({"frequency": 3}, [3, 6, 7]), ({"frequency": 7}, [7]),
        ({"frequency": 3, "checkpoint_at_end": False}, [3, 6]), ({"checkpoint_at_end": False}, []),
    ],
)  # fmt: skip
def test_checkpoints_hold_the_model_of_their_round(tmp_path, arguments, saved):
    def train(config):
        boosted([TuneReportCheckpointCallback("eval-logloss", **arguments)], rounds=7)

    analysis, trial = ran(train, tmp_path)
    assert models(trial) == saved
    assert list(rows(analysis)["training_iteration"]) == list(range(1, 8)), "a checkpoint is no further report"
    if saved:
        assert TuneReportCheckpointCallback.get_model(trial.checkpoint).num_boosted_rounds() == saved[-1]


def test_arguments_in_the_order_that_is_known():
    with pytest.raises(tune.SpecError, match="frequency must be a number of rounds"):
        TuneReportCheckpointCallback(None, "model.ubj", "often")
    with pytest.raises(tune.SpecError, match="checkpoint_at_end must be True or False"):
        TuneReportCheckpointCallback(None, "model.ubj", 5, lambda metrics: metrics)
    with pytest.raises(tune.SpecError, match="results_postprocessing_fn must be a function"):
        TuneReportCheckpointCallback(None, "model.ubj", 5, True, 3)
    with pytest.raises(tune.SpecError, match=r"^TuneReportCheckpointCallback: filename must be"):
        TuneReportCheckpointCallback(filename="a/b")
    with pytest.raises(tune.SpecError, match=r"^TuneReportCallback: metrics must be"):
        TuneReportCallback(3)


def test_early_stopping_ends_with_a_checkpoint(tmp_path):
    returned = []

    def train(config):
        evals = [(xgboost.DMatrix(*TEST), "eval")]
        returned.append(boosted([TuneReportCheckpointCallback("eval-error")], rounds=200, evals=evals, early_stopping_rounds=3))

    analysis, trial = ran(train, tmp_path)
    rounds = len(rows(analysis))
    assert rounds < 200
    assert models(trial) == [rounds]
    assert TuneReportCheckpointCallback.get_model(trial.checkpoint).save_raw() == returned[0].save_raw()


def test_the_best_model_is_saved_at_the_end_if_training_ends_with_it(tmp_path):
    def train(config):
        early = xgboost.callback.EarlyStopping(rounds=3, metric_name="error", data_name="eval", save_best=True)
        boosted([early, TuneReportCheckpointCallback(frequency=1)], rounds=200)

    analysis, trial = ran(train, tmp_path)
    table = rows(analysis)
    best = int(table["eval-error"].to_numpy().argmin()) + 1
    assert models(trial)[-1] == best < len(table)


@pytest.mark.parametrize("name", ["model.ubj", "model.json", "checkpoint", "model.bin"])
def test_any_file_name_can_be_loaded(tmp_path, name, capfd):
    models = []

    def train(config):
        start = resume(4, filename=name)
        model = boosted([TuneReportCheckpointCallback(filename=name, frequency=2)], rounds=start.left, model=start.model)
        models.append(model.save_raw())
        if len(models) == 1:
            raise OSError("it breaks")

    _, trial = ran(train, tmp_path, max_failures=1)
    assert TuneReportCheckpointCallback.get_model(trial.checkpoint, name).save_raw() == models[0] == models[1]
    assert Path(trial.checkpoint.path, name).read_bytes().startswith(b'{"' if name == "model.json" else b"{L")
    assert "WARNING" not in capfd.readouterr().err


def test_a_checkpoint_of_another_name_is_said_to_be():
    with pytest.raises(UserCodeError, match=r"^TuneReportCheckpointCallback.get_model\(\): there is no 'model.ubj' in the checkpoint"):
        TuneReportCheckpointCallback.get_model(tune.Checkpoint.from_dict({"model": 1}))


def test_training_after_a_resume_is_as_without(tmp_path):
    """Bit for bit, as nothing is drawn at random; and rounds are counted on."""
    starts = []

    class Breaks(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            if model.num_boosted_rounds() == 5 and len(starts) == 1:
                raise OSError("it breaks")
            return False

    final = []

    def train(config):
        start = resume(9)
        starts.append((start.done, start.left))
        final.append(boosted([TuneReportCheckpointCallback(frequency=4), Breaks()], rounds=start.left, model=start.model))

    analysis, trial = ran(train, tmp_path, max_failures=1)
    assert starts == [(0, 9), (4, 5)]
    assert models(trial) == [4, 8, 9]
    table = rows(analysis)
    assert list(table["training_iteration"]) == list(range(1, 10))
    evaluated = {}
    uninterrupted = boosted([], rounds=9, evals_result=evaluated)
    assert final[0].save_raw() == uninterrupted.save_raw()
    assert list(table["eval-logloss"]) == evaluated["eval"]["logloss"]


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


def test_with_nothing_left_the_model_is_there_at_once(tmp_path):
    trained = []

    def train(config):
        start = resume(3)
        trained.append((start.left, boosted([TuneReportCheckpointCallback()], rounds=start.left, model=start.model).save_raw()))
        if len(trained) == 1:
            raise OSError("it breaks")

    analysis, trial = ran(train, tmp_path, max_failures=1)
    assert [left for left, _ in trained] == [3, 0]
    assert trained[0][1] == trained[1][1]
    assert (len(rows(analysis)), models(trial)) == (3, [3])


def test_new_parameters_hold_for_the_rounds_that_are_left(tmp_path):
    raw = []

    def train(config):
        start = resume(4)
        eta = 0.3 if start.model is None else 0.0
        callbacks = [TuneReportCheckpointCallback(frequency=2)]
        dtrain, dtest = xgboost.DMatrix(*TRAIN), xgboost.DMatrix(*TEST)
        rounds = 2 if start.model is None else start.left
        xgboost.train({**PARAMS, "eta": eta}, dtrain, rounds, evals=[(dtest, "eval")], xgb_model=start.model, callbacks=callbacks)
        raw.append(start)
        if start.model is None:
            raise OSError("it breaks")

    analysis, _ = ran(train, tmp_path, max_failures=1)
    losses = list(rows(analysis)["eval-logloss"])
    assert losses[0] > losses[1] == losses[2] == losses[3]


def test_an_estimator_with_nothing_left_is_fitted(tmp_path):
    predicted = []

    def train(config):
        start = resume(3)
        model = xgboost.XGBClassifier(n_estimators=start.left, n_jobs=1, callbacks=[TuneReportCheckpointCallback()])
        model.fit(*TRAIN, eval_set=[TEST], xgb_model=start.model, verbose=False)
        predicted.append((start.left, list(model.predict_proba(TEST[0])[:, 1])))
        if len(predicted) == 1:
            raise OSError("it breaks")

    ran(train, tmp_path, max_failures=1)
    assert [left for left, _ in predicted] == [3, 0]
    assert predicted[0][1] == predicted[1][1]


def test_a_stop_ends_training_in_its_round(tmp_path):
    seen = []

    class After(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            seen.append(epoch + 1)
            return False

    def train(config):
        try:
            boosted([TuneReportCheckpointCallback(frequency=2), After()])
        finally:
            seen.append("finally")

    _, trial = ran(train, tmp_path, stop={"training_iteration": 3})
    assert seen == [1, 2, "finally"]
    assert (trial.status, models(trial)) == ("TERMINATED", [2, 3])


def test_cross_validation(tmp_path):
    tables = []

    def train(config):
        callback = TuneReportCallback(["test-error-mean", "test-logloss-std"])
        tables.append(xgboost.cv(PARAMS, xgboost.DMatrix(*TRAIN), 4, nfold=3, callbacks=[callback]))

    analysis, _ = ran(train, tmp_path)
    for name in ("test-error-mean", "test-logloss-std"):
        assert list(rows(analysis)[name]) == list(tables[0][name])
    assert "train-error-mean" not in rows(analysis)


def test_cross_validation_has_no_model_to_save():
    with pytest.raises(UserCodeError, match=r"xgboost.cv\(\) trains several models and returns none. Use TuneReportCallback."):
        xgboost.cv(PARAMS, xgboost.DMatrix(*TRAIN), 4, callbacks=[TuneReportCheckpointCallback()])


def test_estimators_with_a_callback_are_cloned_and_pickled(tmp_path):
    loaded = []

    def train(config):
        model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1, callbacks=[TuneReportCheckpointCallback({"loss": "validation_0-logloss"})])
        model = clone(model)
        model.fit(*TRAIN, eval_set=[TEST], verbose=False)
        again = pickle.loads(pickle.dumps(model))
        loaded.append((again.predict(TEST[0]) == model.predict(TEST[0])).all())

    analysis, trial = ran(train, tmp_path)
    assert loaded == [True]
    assert (len(rows(analysis)), models(trial)) == (3, [3])


def train_anywhere():
    start = resume(np.int64(3))  # as a number of numpy's space may be
    assert type(start.left) is int
    return boosted([TuneReportCheckpointCallback(frequency=1)], rounds=start.left, model=start.model)


def test_outside_of_a_trial_it_trains_all_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tunesmith.trainable.session._warned", [])
    with pytest.warns(UserWarning, match=r"was called outside a tunesmith run") as said:
        model = train_anywhere()
    assert (model.num_boosted_rounds(), len(said)) == (3, 1)
    assert not list(tmp_path.iterdir())

"""XGBoost: callbacks that report each boosting round, with checkpoints, and going on from one. Needs ``pip install tunesmith[xgboost]``.

They go to ``xgboost.train(callbacks=[...])``, ``xgboost.cv`` (without checkpoints), and to the estimators:
``xgboost.XGBClassifier(callbacks=[...])``. Metrics are named ``<data set>-<metric>``: with ``evals=[(dtest, "eval")]`` there is
``"eval-logloss"``, with the estimators' ``eval_set`` ``"validation_0-logloss"``, in ``cv`` ``"test-logloss-mean"`` and
``"test-logloss-std"``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tunesmith.errors import UserCodeError
from tunesmith.integration.boosting import Metrics, Postprocess, Reports, Saving, Start, Wanted, model_in, start_from
from tunesmith.optional import load

__all__ = ["Start", "TuneReportCallback", "TuneReportCheckpointCallback", "resume"]

xgboost = load("tune.integration.xgboost", "xgboost", "xgboost")
_TrainingCallback: Any = xgboost.callback.TrainingCallback

_FILENAME = "model.ubj"
_ADVICE = 'Nothing is evaluated: pass evals=[(dtest, "eval")] to xgboost.train(), or eval_set=[(X, y)] to fit().'


class TuneReportCallback(_TrainingCallback):  # type: ignore[misc]
    """Reports metrics after each boosting round; writes no checkpoints. The trial may be stopped there.

    Args:
        metrics: what to report: None for all metrics that are evaluated, the name of one, a list of names, or
            {name in the report: name of the metric}.
        results_postprocessing_fn: is given the dict of these metrics and returns the one to report.

    Raises:
        SpecError: an argument is of the wrong kind; names it.
        UserCodeError: in training: a metric is not evaluated; names those that are.

    Differs from Ray Tune: in ``xgboost.cv`` each metric has two numbers, named as in its table, and no pair.

    Example::

        def train(config):
            report = TuneReportCallback({"loss": "eval-logloss"})
            xgboost.train({"objective": "binary:logistic", **config}, dtrain, 50, evals=[(dtest, "eval")], callbacks=[report])
    """

    def __init__(self, metrics: Wanted = None, results_postprocessing_fn: Postprocess = None) -> None:
        super().__init__()
        self._reports = Reports(type(self).__name__, metrics, results_postprocessing_fn, _ADVICE)
        self._before = 0  # rounds of the model that training began with
        self._rounds = 0  # of the model at the newest report

    def before_training(self, model: Any) -> Any:
        """Training begins, with a new booster or one that has been trained."""
        self._before = model.num_boosted_rounds() if isinstance(model, xgboost.Booster) else 0
        self._reports.begin()
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Any]]) -> bool:
        """Report. What stops the trial is raised."""
        self._report(model, self._before + epoch + 1, _newest(evals_log))
        return False

    def _report(self, model: Any, rounds: int, found: Metrics) -> None:
        self._reports.tell(found, rounds, lambda path: _save(model, path))


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports metrics after each boosting round, with the model every so many rounds. The trial may be stopped there.

    Args:
        metrics: what to report: None for all metrics that are evaluated, the name of one, a list of names, or
            {name in the report: name of the metric}.
        filename: of the model in the checkpoint; JSON if it ends so, else UBJSON.
        frequency: a checkpoint after so many rounds, counted over all attempts; 0: none during training. Retries, pauses and
            population-based training need some.
        checkpoint_at_end: also save the model that training ends with, be it by early stopping, or because the trial was told to stop (this
            not in programs of ``tune.command`` and in trials of several processes).
        results_postprocessing_fn: is given the dict of these metrics and returns the one to report.

    Raises:
        SpecError: an argument is of the wrong kind; names it.
        UserCodeError: in training: a metric is not evaluated; names those that are. Or this is ``xgboost.cv``, which has no model to save.

    Differs from Ray Tune: the checkpoint of the end belongs to the last report; there is no further one for it. Rounds are those of the
    model, so that after a resume checkpoints are written where they would have been.

    Example::

        def train(config):
            start = resume(rounds=50)
            xgboost.train(
                {"objective": "binary:logistic", **config}, dtrain, start.left, evals=[(dtest, "eval")], xgb_model=start.model,
                callbacks=[TuneReportCheckpointCallback({"loss": "eval-logloss"}, frequency=10)],
            )
    """

    def __init__(
        self,
        metrics: Wanted = None,
        filename: str = _FILENAME,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Postprocess = None,
    ) -> None:
        super().__init__(metrics, results_postprocessing_fn)
        self._reports.saving = Saving(filename, frequency, checkpoint_at_end).checked(type(self).__name__)

    def before_training(self, model: Any) -> Any:
        """As the base."""
        if not isinstance(model, xgboost.Booster):
            raise UserCodeError(f"{type(self).__name__}: xgboost.cv() trains several models and returns none. Use TuneReportCallback.")
        return super().before_training(model)

    def after_training(self, model: Any) -> Any:
        """Save what training ends with, if it has not been yet."""
        self._reports.end(lambda path: _save(model, path), changed=model.num_boosted_rounds() != self._rounds)
        return model

    def _report(self, model: Any, rounds: int, found: Metrics) -> None:
        self._rounds = model.num_boosted_rounds()
        super()._report(model, rounds, found)

    @classmethod
    def get_model(cls, checkpoint: Any, filename: str = _FILENAME) -> Any:
        """The booster in a checkpoint that this callback has written.

        Args:
            checkpoint: a :class:`~tunesmith.checkpoints.Checkpoint`, or the path of one.
            filename: as the callback was given.

        Raises:
            UserCodeError: there is no such file in it.

        Example::

            booster = TuneReportCheckpointCallback.get_model(analysis.best_checkpoint)
        """
        return _load(model_in(f"{cls.__name__}.get_model()", checkpoint, filename))[0]


def resume(rounds: int, filename: str = _FILENAME) -> Start:
    """Where the running trial's training begins: anew, or with the booster of its checkpoint and the rounds that are left.

    Trees that are there stay as they are. Parameters are not in a checkpoint: they are those of the new call, so a population's changes
    take effect. What XGBoost does not keep begins anew: the generator for ``subsample`` and ``colsample_*``, and the patience of early
    stopping.

    Args:
        rounds: boosting rounds in all, 1 or more.
        filename: as the callback was given.

    Returns:
        ``model`` (for ``xgb_model=``), ``done``, ``left`` (0 if all was trained before: ``xgboost.train`` returns the model at once then).

    Raises:
        SpecError: an argument is of the wrong kind; names it.
        UserCodeError: the trial's checkpoint has no such file.

    Example::

        def train(config):
            start = resume(rounds=100)
            model = xgboost.XGBClassifier(n_estimators=start.left, callbacks=[TuneReportCheckpointCallback(frequency=10)], **config)
            model.fit(X, y, eval_set=[(X_test, y_test)], xgb_model=start.model)
    """
    return start_from("resume()", rounds, filename, _load)


def _newest(evals_log: Mapping[str, Mapping[str, Any]]) -> Metrics:
    found: Metrics = {}
    for data, metrics in evals_log.items():
        for metric, history in metrics.items():
            if isinstance(history[-1], tuple):
                found[f"{data}-{metric}-mean"], found[f"{data}-{metric}-std"] = history[-1]
            else:
                found[f"{data}-{metric}"] = history[-1]
    return found


def _save(model: Any, path: str) -> None:
    # save_model() guesses the format of unusual names, with a line on the console each time
    with open(path, "wb") as file:
        file.write(model.save_raw("json" if os.path.splitext(path)[1] == ".json" else "ubj"))


def _load(path: str) -> tuple[Any, int]:
    with open(path, "rb") as file:
        booster = xgboost.Booster(model_file=bytearray(file.read()))
    return booster, booster.num_boosted_rounds()

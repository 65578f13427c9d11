"""LightGBM: callbacks that report each boosting round, with checkpoints, and going on from one. Needs ``pip install tunesmith[lightgbm]``.

They go to ``lightgbm.train(callbacks=[...])``, ``lightgbm.cv`` (without checkpoints), and to the estimators' ``fit(callbacks=[...])``.
Metrics are named ``<data set>-<metric>``: with ``valid_names=["eval"]`` there is ``"eval-binary_error"``, with the estimators' ``eval_X``
``"valid_0-binary_logloss"``, in ``cv`` ``"valid-binary_logloss-mean"`` and ``"valid-binary_logloss-stdv"``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tunesmith.errors import UserCodeError
from tunesmith.integration.boosting import Metrics, Postprocess, Reports, Saving, Start, Wanted, model_in, start_from
from tunesmith.optional import load

__all__ = ["Start", "TuneReportCallback", "TuneReportCheckpointCallback", "resume"]

lightgbm = load("tune.integration.lightgbm", "lightgbm", "lightgbm")

_FILENAME = "model.txt"
_ADVICE = "Nothing is evaluated: pass valid_sets=[...] to lightgbm.train(), or eval_X and eval_y to fit()."


class TuneReportCallback:
    """Reports metrics after each boosting round; writes no checkpoints. The trial may be stopped there.

    Args:
        metrics: what to report: None for all metrics that are evaluated, the name of one, a list of names, or
            {name in the report: name of the metric}.
        results_postprocessing_fn: is given the dict of these metrics and returns the one to report.

    Raises:
        SpecError: an argument is of the wrong kind; names it.
        UserCodeError: in training: a metric is not evaluated; names those that are.

    Example::

        def train(config):
            report = TuneReportCallback({"error": "eval-binary_error"})
            params = {"objective": "binary", "metric": ["binary_error"], **config}
            lightgbm.train(params, data, 50, valid_sets=[test], valid_names=["eval"], callbacks=[report])
    """

    def __init__(self, metrics: Wanted = None, results_postprocessing_fn: Postprocess = None) -> None:
        self._reports = Reports(type(self).__name__, metrics, results_postprocessing_fn, _ADVICE)

    def __call__(self, env: Any) -> None:
        """Report. What stops the trial is raised."""
        self._report(env, _found(env.evaluation_result_list or ()))

    def _report(self, env: Any, found: Metrics) -> None:
        self._reports.tell(found, env.iteration + 1, lambda path: _save(env.model, path), last=env.iteration + 1 == env.end_iteration)


class TuneReportCheckpointCallback(TuneReportCallback):
    """Reports metrics after each boosting round, with the model every so many rounds. The trial may be stopped there.

    Args:
        metrics: what to report: None for all metrics that are evaluated, the name of one, a list of names, or
            {name in the report: name of the metric}.
        filename: of the model, LightGBM's text, in the checkpoint.
        frequency: a checkpoint after so many rounds, counted over all attempts; 0: none during training. Retries, pauses and
            population-based training need some.
        checkpoint_at_end: also save the model that training ends with: that of the last round, or where early stopping or a stop of the
            trial ends it (these two not in programs of ``tune.command`` and in trials of several processes: use ``frequency`` there).
            LightGBM does not tell that it stops early, so then the best model is saved when the trial's function returns.
        results_postprocessing_fn: is given the dict of these metrics and returns the one to report.

    Raises:
        SpecError: an argument is of the wrong kind; names it.
        UserCodeError: in training: a metric is not evaluated; names those that are. Or this is ``lightgbm.cv``, which has no model to save.

    Example::

        def train(config):
            start = resume(rounds=50)
            lightgbm.train(
                {"objective": "binary", **config}, data, start.left, valid_sets=[test], valid_names=["eval"], init_model=start.model,
                callbacks=[TuneReportCheckpointCallback({"loss": "eval-binary_logloss"}, frequency=10)],
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

    def _report(self, env: Any, found: Metrics) -> None:
        if isinstance(env.model, lightgbm.CVBooster):
            raise UserCodeError(f"{type(self).__name__}: lightgbm.cv() trains several models; none is the trial's. Use TuneReportCallback.")
        super()._report(env, found)
        self._reports.end_with_trial(lambda path: _save(env.model, path))

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

    Trees that are there stay as they are. Parameters are those of the new call, so a population's changes take effect. What LightGBM does
    not keep begins anew: the generators for bagging and ``feature_fraction``, DART's weights of trees, and the patience of early stopping.

    Args:
        rounds: boosting rounds in all, 1 or more.
        filename: as the callback was given.

    Returns:
        ``model`` (for ``init_model=``), ``done``, ``left``: 1 or more, as LightGBM refuses to train no rounds. If all were trained before,
        as when the trial was killed at its very end or copies one that was ready, the last one is taken back, and left.

    Raises:
        SpecError: an argument is of the wrong kind; names it.
        UserCodeError: the trial's checkpoint has no such file.

    Example::

        def train(config):
            start = resume(rounds=100)
            model = lightgbm.LGBMClassifier(n_estimators=start.left, **config)
            callbacks = [TuneReportCheckpointCallback(frequency=10)]
            model.fit(X, y, eval_X=X_test, eval_y=y_test, init_model=start.model, callbacks=callbacks)
    """
    start = start_from("resume()", rounds, filename, _load)
    if start.left:
        return start
    done = start.done - 1
    model = lightgbm.Booster(model_str=start.model.model_to_string(num_iteration=done)) if done else None
    return Start(model, done, 1)


def _found(results: Iterable[Any]) -> Metrics:
    found: Metrics = {}
    for data, metric, value, _, *rest in results:
        if data == "cv_agg":  # cv() of older versions puts the data set's name before the metric's
            data, _, metric = metric.partition(" ")
        if rest and rest[0] is not None:
            found[f"{data}-{metric}-mean"], found[f"{data}-{metric}-stdv"] = value, rest[0]
        else:
            found[f"{data}-{metric}"] = value
    return found


def _save(model: Any, path: str) -> None:
    model.save_model(path)


def _load(path: str) -> tuple[Any, int]:
    booster = lightgbm.Booster(model_file=path)
    return booster, booster.current_iteration()

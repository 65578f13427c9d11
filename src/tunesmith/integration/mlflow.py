"""MLflow: a logger that writes one run per trial, and ``mlflow`` itself inside the trial.

Needs ``pip install "tunesmith[mlflow]"``, which is the client (``mlflow-skinny``): it speaks to a tracking server. For a database
file (``sqlite:///mlflow.db``, MLflow's own default) it needs SQLAlchemy and alembic, which all of ``mlflow`` brings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith import checks
from tunesmith.errors import SpecError
from tunesmith.integration.mlflow_runs import Options, TrialRuns
from tunesmith.integration.mlflow_store import Login, require, without_password
from tunesmith.integration.mlflow_trial import mlflow_mixin, setup_mlflow
from tunesmith.logger.base import LoggerCallback

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialInfo

__all__ = ["MLflowLoggerCallback", "mlflow_mixin", "setup_mlflow"]


class MLflowLoggerCallback(LoggerCallback):
    """Logs every trial as a run of MLflow. Give it to ``callbacks=[...]``.

    A run has the trial's name, its configuration as parameters (flat, "/"-joined, without secrets), every reported number as a metric
    (its step is ``training_iteration``, its time that of the report), and tags: ``trial_id``, ``trial_name``, ``tunesmith.experiment``
    (uuid), ``tunesmith.experiment_name``, at the end ``tunesmith.outcome``, ``.reason`` and ``.error``. Its status at the end is
    FINISHED (stopped early, too), FAILED, or KILLED: infeasible, or not over when the experiment was.

    A trial that is retried or resumed continues its run, and nothing is logged twice. One that goes on from an earlier checkpoint repeats
    steps: MLflow cannot take metrics back, so both values stand there, the later one last. MLflow never changes a parameter either: where a
    configuration changes (PBT), its parameters stay those of the beginning, numbers are metrics ``config/<name>`` from then on, and tags
    ``config/<name>`` hold the newest values. Strings, None and arrays are no metrics. Characters that MLflow refuses in names become
    ``_``; texts are cut at 6000 characters, 500 for servers that take no more. A database holds no infinities: it has the largest float.

    Args:
        tracking_uri: of the server or store, as in ``mlflow.set_tracking_uri``; None: as MLflow is set up (``MLFLOW_TRACKING_URI``).
        registry_uri: of the model registry, for ``MlflowClient``; None: the same.
        experiment_name: MLflow's experiment, made if there is none; None: ``MLFLOW_EXPERIMENT_NAME`` or ``_ID``, else the parent run's,
            else the name of the run.
        tags: for every run, name -> value.
        tracking_token: for the server; better in the environment as ``MLFLOW_TRACKING_TOKEN``. Neither this nor a password in
            ``tracking_uri`` is stored: who resumes from the stored experiment sets the environment.
        save_artifact: at its end, upload the trial's directory: files, logs, checkpoints.
        log_params_on_trial_end: log the parameters when the trial ends, as they are then, and not when it begins.
        parent_run_id: the run, already there, above those of the trials.
        parent_run: put the trials' runs below the run that is active where the experiment is started, else below one of its own, with
            the experiment's name.

    Raises:
        SpecError: MLflow is not installed, or arguments are wrong.

    Example:
        >>> callback = MLflowLoggerCallback("sqlite:///runs.db", experiment_name="digits", tags={"team": "vision"})
    """

    reads_only: ClassVar[bool] = True

    def __init__(
        self,
        tracking_uri: str | os.PathLike[str] | None = None,
        *,
        registry_uri: str | None = None,
        experiment_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        tracking_token: str | None = None,
        save_artifact: bool = False,
        log_params_on_trial_end: bool = False,
        parent_run_id: str | None = None,
        parent_run: bool = False,
    ) -> None:
        require(type(self).__name__)
        if tags is not None and not isinstance(tags, Mapping):
            raise SpecError(f"MLflowLoggerCallback: tags must be a dict, name -> value, got {tags!r}.")
        owner = "MLflowLoggerCallback"
        flags = {"save_artifact": save_artifact, "log_params_on_trial_end": log_params_on_trial_end, "parent_run": parent_run}
        for name, flag in flags.items():
            checks.flag(f"{owner}: {name}", flag)
        if tracking_uri is not None and not isinstance(tracking_uri, str | os.PathLike):
            raise SpecError(f"{owner}: tracking_uri must be a URI or a path, got {tracking_uri!r}.")
        texts = {"registry_uri": registry_uri, "experiment_name": experiment_name, "parent_run_id": parent_run_id}
        for name, text in {**texts, "tracking_token": tracking_token}.items():
            if text is not None and not isinstance(text, str):
                raise SpecError(f"{owner}: {name} must be a string, got a {type(text).__name__}.")
        if parent_run_id is not None and parent_run:
            raise SpecError("MLflowLoggerCallback: give parent_run_id (a run that is there) or parent_run=True (ours), not both.")
        self.tracking_uri = tracking_uri
        self.registry_uri = registry_uri
        self.experiment_name = experiment_name
        self.tags = dict(tags or {})
        self.save_artifact = save_artifact
        self.log_params_on_trial_end = log_params_on_trial_end
        self.parent_run_id = parent_run_id
        self.parent_run = parent_run
        self._token = tracking_token
        self._forgotten = ""
        self._active: str | None = None
        self._login = Login(None, None)
        self._runs: TrialRuns | None = None

    def setup(self, stop: Any = None, num_samples: int | None = None, total_num_samples: int | None = None, **info: Any) -> None:
        """Called where the experiment is started: a run may be active there."""
        self._runs = None
        fluent = sys.modules.get("mlflow")
        active = fluent.active_run() if self.parent_run and fluent is not None else None
        self._active = active.info.run_id if active is not None else None

    def log_trial_start(self, trial: TrialInfo) -> None:
        with self._guarded():
            self._of(trial).start(trial)

    def log_trial_result(self, iteration: int, trial: TrialInfo, result: dict[str, Any]) -> None:
        with self._guarded():
            self._of(trial).result(trial, result)

    def log_trial_end(self, trial: TrialInfo, failed: bool = False) -> None:
        with self._guarded():
            self._of(trial).end(trial, failed)

    def flush(self) -> None:
        if self._runs is not None:
            with self._guarded():
                self._runs.flush()

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        runs, self._runs = self._runs, None
        if runs is not None:
            with self._guarded():
                runs.close(trials)
            self._login.leave()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """An error shows no secrets, and is the last thing that happens here: a logger that raises is not called any more."""
        try:
            with self._login.hushed():
                yield
        except BaseException:
            self._login.leave()
            raise

    def _of(self, trial: TrialInfo) -> TrialRuns:
        """The runs of the trial's experiment; the first trial makes the connection, in the loggers' thread."""
        if self._runs is None or self._runs.uuid != trial.experiment.header.uuid:
            self._runs = self._connect(trial)
        return self._runs

    def _connect(self, trial: TrialInfo) -> TrialRuns:
        variable = "MLFLOW_TRACKING_URI" if self._forgotten == "tracking_uri" else "MLFLOW_TRACKING_TOKEN"
        if self._forgotten and not os.environ.get(variable):
            raise SpecError(
                f"MLflowLoggerCallback: {self._forgotten} is secret and was not stored. Set the environment variable {variable}, or give "
                f"callbacks=[MLflowLoggerCallback(...)] again."
            )
        self._login.leave()  # of another experiment's
        self._login = Login(self.tracking_uri, self._token)
        self._login.enter()
        options = Options(
            self._login.uri, self.registry_uri, self.experiment_name, self.tags, self.save_artifact, self.log_params_on_trial_end,
            self.parent_run_id, self.parent_run,
        )  # fmt: skip
        with self._login.hushed():
            return TrialRuns(options, trial, self._active)

    def __getstate__(self) -> dict[str, Any]:
        """What is stored with the experiment: no token, no password, no connection."""
        uri = without_password(self.tracking_uri)
        forgotten = "tracking_uri" if uri != self.tracking_uri else "tracking_token" if self._token else self._forgotten
        clean = {"tracking_uri": uri, "registry_uri": without_password(self.registry_uri), "_token": None, "_forgotten": forgotten}
        return {**self.__dict__, **clean, "_active": None, "_login": Login(None, None), "_runs": None}

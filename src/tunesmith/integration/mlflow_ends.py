"""The end of MLflow runs that were begun inside trials whose process was killed: what is left of them is ended from the driver."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith.integration.mlflow_store import Login, load, runs_with, settings_block
from tunesmith.logger.base import LoggerCallback

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialInfo

__all__ = ["InsideRuns"]


class InsideRuns(LoggerCallback):
    """Ends the run of each trial that is over and could not do so itself: FAILED, or KILLED if it was stopped.

    ``mlflow_mixin`` brings it.
    """

    reads_only: ClassVar[bool] = True

    def __init__(self) -> None:
        self._block: dict[str, Any] = {}

    def __check_config__(self, config: Mapping[str, Any]) -> None:
        """Where the runs are. Raises SpecError."""
        self._block = settings_block(config)

    def log_trial_end(self, trial: TrialInfo, failed: bool = False) -> None:
        login = Login(self._block.get("tracking_uri"), self._block.get("tracking_token"))
        login.enter()
        try:
            with login.hushed():
                client = load("mlflow_mixin").MlflowClient(login.uri)
                number = self._experiment(client, trial)
                for run in runs_with(client, number, trial_id=trial.trial_id, **{"`tunesmith.role`": "inside"}) if number else ():
                    if run.info.status == "RUNNING":
                        client.set_terminated(run.info.run_id, "FAILED" if failed else "KILLED")
        finally:
            login.leave()

    def _experiment(self, client: Any, trial: TrialInfo) -> str | None:
        """The id of MLflow's experiment; None: there is none, as no trial has begun a run."""
        name = self._block.get("experiment_name") or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        number = self._block.get("experiment_id") or (None if name else os.environ.get("MLFLOW_EXPERIMENT_ID"))
        if number is not None:
            return str(number)
        found = client.get_experiment_by_name(name or trial.experiment.header.name)
        return str(found.experiment_id) if found is not None else None

    def __getstate__(self) -> dict[str, Any]:
        """A token is not stored."""
        return {"_block": {}}

"""Early stopping of each trial by itself: it ends when it has not improved for a while."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.core.ports import TrialView
from tunesmith.core.settings import Settings
from tunesmith.schedulers.arguments import key, number
from tunesmith.schedulers.base import Answer, Scheduler, SchedulerCapabilities
from tunesmith.schedulers.ranking import Objective
from tunesmith.schedulers.rungs import time_of

__all__ = ["PatienceScheduler"]


@dataclass(slots=True)
class _Best:
    """A trial's best score, as far as it was an improvement, and when that was."""

    score: float
    at: float


class PatienceScheduler(Scheduler):
    """Stops a trial that has not improved by more than ``min_delta`` for ``patience``, as early stopping in training loops does.

    An improvement is a result that is better by more than ``min_delta`` than the one that was the last improvement; small steps that
    add up to more are one, too. No trial is compared with another, so use it where good trials are to train as long as it pays
    (and the budget is limited by ``num_samples``); to give up trials that are worse than others take another scheduler.

    Not to be mixed up with ``tune.stopper.TrialPlateauStopper``, which ends a trial when the standard deviation of its last few values is
    small: a trial that oscillates, or gets steadily worse, is on no plateau there, and out of patience here. As a scheduler it takes the
    run's metric and mode, its decisions are recorded with their reasons, and a resumed run goes on counting where it was.

    Differs from Optuna's ``PatientPruner``: that one waits until the best has got *worse* by ``min_delta`` for so long (a tolerance); here,
    as in Keras and Lightning, what does not get better by ``min_delta`` is no improvement. Ray Tune has no such scheduler.

    Args:
        time_attr: result key in whose units ``patience`` and ``grace_period`` are: with the default they count reports.
        metric, mode: what should improve; None: the run's. One metric only.
        patience: a trial stops at its first result this much or more after its last improvement; above 0.
        min_delta: how much better is better (strictly), in units of the metric, >= 0.
        grace_period: no trial is stopped before it, >= 0.

    nan is worse than everything. A result without metric or ``time_attr`` is passed over.

    Raises:
        SpecError: an argument is out of its range.

    Example:
        >>> import tempfile
        >>> from tunesmith import report, run
        >>> def train(config):
        ...     for loss in (0.9, 0.5, 0.49, 0.485, 0.3):
        ...         report(loss=loss)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = run(train, metric="loss", mode="min", scheduler=PatienceScheduler(patience=2, min_delta=0.05),
        ...                    executor="inline", storage_path=folder, verbose=0)
        ...     print(analysis.best_result["loss"], [step["reason"] for step in analysis.decisions() if step["do"] == "stop"])
        0.485 ['0.485 at training_iteration 4: not better by more than 0.05 than 0.5, which it had at 2']
    """

    capabilities = SchedulerCapabilities(needs_metric=True)

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        patience: float = 10,
        min_delta: float = 0.0,
        grace_period: float = 0,
    ) -> None:
        super().__init__(metric, mode)
        owner = type(self).__name__
        self.time_attr = key(owner, "time_attr", time_attr)
        self.patience = number(owner, "patience", patience, above=0)
        self.min_delta = number(owner, "min_delta", min_delta, least=0)
        self.grace_period = number(owner, "grace_period", grace_period, least=0)
        self._best: dict[int, _Best] = {}

    def start(self, settings: Settings) -> None:
        super().start(settings)
        self.objective = Objective.of(settings.metrics, settings.modes)

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Answer:
        time, score = time_of(result, self.time_attr), self.objective.score(result)
        if time is None or not isinstance(score, float):
            return self.CONTINUE
        best = self._best.get(trial.number)
        if best is None or score > best.score + self.min_delta:
            self._best[trial.number] = _Best(score, time)
            return self.CONTINUE
        if time < self.grace_period or time - best.at < self.patience:
            return self.CONTINUE
        least = f"by more than {self.min_delta:g} than" if self.min_delta else "than"
        then = self.objective.show(best.score) if best.score > -math.inf else "what it began with"
        now = f"{result[self.objective.metrics[0]]:.6g}"
        return self.stop(f"{now} at {self.time_attr} {time:g}: not better {least} {then}, which it had at {best.at:g}")

    def on_trial_end(self, trial: TrialView, outcome: str) -> Answer:
        self._best.pop(trial.number, None)
        return None

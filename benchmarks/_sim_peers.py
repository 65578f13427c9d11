"""The peers' schedulers behind the simulator's protocol: their own classes, driven as their own loops drive them.

Each gets rungs at 1, 3, 9, 27 and 81 iterations where it has rungs. What is not said is their default.

As a script, ``python _sim_peers.py JOB.json`` plays the searches that the job names and prints them as JSON, in whatever environment has
the peer; ``python _sim_peers.py --version NAME`` says which version that is, or fails.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from _simulator import CONTINUE, Curves, Limits, Peer, Run, rows, simulate

__all__ = ["PEERS", "play", "version"]

TOP, FACTOR = 81, 3
TIME, LOSS = "training_iteration", "loss"


class RayTune(Peer):
    """Ray Tune's scheduler classes, with a controller that has what they look at.

    Ray draws trials ahead (16, or a few more than it has CPUs), tells the scheduler of the end of a trial that the scheduler itself has
    stopped, and starts what ``choose_trial_to_run`` names before any other.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.ahead = 16
        self.trials: list[_RayTrial] = []
        self._dropped: list[int] = []

    def get_trials(self) -> list[_RayTrial]:
        return self.trials

    def get_live_trials(self) -> list[_RayTrial]:
        return [trial for trial in self.trials if trial.status != "TERMINATED"]

    def stop_trial(self, trial: _RayTrial) -> None:
        """What a scheduler asks for about a trial that is not the one in hand."""
        if trial.status in ("PENDING", "PAUSED"):
            self.scheduler.on_trial_remove(self, trial)
            trial.status = "TERMINATED"
            self._dropped.append(trial.number)

    def add(self, trial: int) -> None:
        self.trials.append(_RayTrial(trial))
        self.scheduler.on_trial_add(self, self.trials[-1])

    def choose(self) -> int | None:
        trial = self.scheduler.choose_trial_to_run(self)
        if trial is None:
            trial = next((one for one in self.trials if one.status == "PENDING"), None)
        if trial is None:
            return None
        trial.status = "RUNNING"
        return int(trial.number)

    def result(self, trial: int, iteration: int, loss: float) -> str:
        one = self.trials[trial]
        one.last_result = {TIME: iteration, LOSS: loss}
        decision = str(self.scheduler.on_trial_result(self, one, one.last_result))
        if decision == "PAUSE":
            one.status = "PAUSED"
        return decision

    def over(self, trial: int, iteration: int, loss: float) -> None:
        one = self.trials[trial]
        self.scheduler.on_trial_complete(self, one, {TIME: iteration, LOSS: loss})
        one.status = "TERMINATED"

    def dropped(self) -> list[int]:
        dropped, self._dropped = self._dropped, []
        return dropped


class _RayTrial:
    def __init__(self, number: int) -> None:
        self.number = number
        self.trial_id = f"{number:05d}"
        self.status = "PENDING"
        self.is_saving = False
        self.last_result: dict[str, float] = {}
        self.config: dict[str, Any] = {}


class Optuna(Peer):
    """Optuna's pruners, asked after each report of a trial of a study in memory."""

    def __init__(self, pruner: Any, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.RandomSampler(seed=seed)
        self.study = optuna.create_study(study_name=f"study {seed}", sampler=sampler, pruner=pruner)
        self.pruned, self.complete = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.COMPLETE
        self.trials: list[Any] = []
        self._stopped: set[int] = set()

    def add(self, trial: int) -> None:
        self.trials.append(self.study.ask())

    def result(self, trial: int, iteration: int, loss: float) -> str:
        self.trials[trial].report(loss, iteration)
        if iteration < TOP and self.trials[trial].should_prune():
            self._stopped.add(trial)
            return "STOP"
        return CONTINUE

    def over(self, trial: int, iteration: int, loss: float) -> None:
        if trial in self._stopped:
            self.study.tell(self.trials[trial], state=self.pruned)
        else:
            self.study.tell(self.trials[trial], loss)


class SyneTune(Peer):
    """Syne Tune's schedulers, asked for a suggestion whenever a slot is free: a trial to resume, or a new one."""

    def __init__(self, scheduler: Any) -> None:
        from syne_tune.backend.trial_status import Trial

        logging.disable(logging.CRITICAL)
        self.scheduler = scheduler
        self.trial = Trial
        self.trials: list[Any] = []
        self._config: dict[str, Any] = {}
        self._closed = False
        self._in_vain = 0

    def choose(self) -> int | None:
        self._in_vain += self._closed
        suggestion = self.scheduler.suggest(*self._arguments())
        if suggestion.spawn_new_trial_id:
            self._config = suggestion.config
            return None
        number = int(suggestion.checkpoint_trial_id)
        if suggestion.config is not None:
            self.trials[number].config = suggestion.config
        return number

    def _arguments(self) -> tuple[int, ...]:
        """Which number a new trial would have; once no more are drawn each answer that is a new one is passed over."""
        return (len(self.trials) + self._in_vain,)

    def add(self, trial: int) -> None:
        self.trials.append(self.trial(trial, self._config, datetime(2020, 1, 1, tzinfo=UTC)))
        self.scheduler.on_trial_add(self.trials[-1])

    def result(self, trial: int, iteration: int, loss: float) -> str:
        return str(self.scheduler.on_trial_result(self.trials[trial], {TIME: iteration, LOSS: loss}))

    def over(self, trial: int, iteration: int, loss: float) -> None:
        self.scheduler.on_trial_complete(self.trials[trial], {TIME: iteration, LOSS: loss})

    def closed(self) -> None:
        self._closed = True


class NewSyneTune(SyneTune):
    """Since 0.14: suggestions without a number."""

    def _arguments(self) -> tuple[int, ...]:
        return ()


def _ray(name: str, **options: Any) -> Callable[[int], Peer]:
    def make(seed: int) -> Peer:
        import numpy as np
        from ray.tune import schedulers

        logging.getLogger("ray").setLevel(logging.ERROR)
        np.random.seed(seed)  # noqa: NPY002 - Ray's schedulers draw from it
        return RayTune(getattr(schedulers, name)(time_attr=TIME, metric=LOSS, mode="min", **options))

    return make


def _optuna(name: str, **options: Any) -> Callable[[int], Peer]:
    def make(seed: int) -> Peer:
        from optuna import pruners

        return Optuna(getattr(pruners, name)(**options), seed)

    return make


def _space() -> dict[str, Any]:
    from syne_tune.config_space import uniform

    return {"x": uniform(0, 1)}


def _syne_hyperband(kind: str) -> Callable[[int], Peer]:
    def make(seed: int) -> Peer:
        from syne_tune.optimizer.schedulers.hyperband import HyperbandScheduler

        options = {"searcher": "random", "metric": LOSS, "mode": "min", "resource_attr": TIME, "max_resource_attr": "top"}
        space = {**_space(), "top": TOP}
        return SyneTune(HyperbandScheduler(space, type=kind, grace_period=1, reduction_factor=FACTOR, random_seed=seed, **options))

    return make


def _syne_synchronous(seed: int) -> Peer:
    from syne_tune.optimizer.schedulers.synchronous import SynchronousGeometricHyperbandScheduler

    options = {"searcher": "random", "metric": LOSS, "mode": "min", "resource_attr": TIME, "max_resource_level": TOP}
    return SyneTune(SynchronousGeometricHyperbandScheduler(_space(), grace_period=1, reduction_factor=FACTOR, random_seed=seed, **options))


def _syne_median(seed: int) -> Peer:
    from syne_tune.optimizer.schedulers.fifo import FIFOScheduler
    from syne_tune.optimizer.schedulers.median_stopping_rule import MedianStoppingRule

    random = FIFOScheduler(_space(), searcher="random", metric=LOSS, mode="min", random_seed=seed)
    return SyneTune(MedianStoppingRule(random, resource_attr=TIME))


def _new_syne_asha(seed: int) -> Peer:
    from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving

    asha = AsynchronousSuccessiveHalving(
        _space(), LOSS, time_attr=TIME, max_t=TOP, grace_period=1, reduction_factor=FACTOR, random_seed=seed
    )
    return NewSyneTune(asha)


PEERS: dict[str, tuple[str, str, Callable[[int], Peer]]] = {
    "Ray ASHA": ("ray", "", _ray("AsyncHyperBandScheduler", max_t=TOP, reduction_factor=FACTOR)),
    "Ray HyperBand": ("ray", "", _ray("HyperBandScheduler", max_t=TOP, reduction_factor=FACTOR)),
    "Ray median": ("ray", "", _ray("MedianStoppingRule", grace_period=1)),
    "Optuna successive halving": ("optuna", "", _optuna("SuccessiveHalvingPruner", min_resource=1, reduction_factor=FACTOR)),
    "Optuna Hyperband": ("optuna", "", _optuna("HyperbandPruner", min_resource=1, max_resource=TOP, reduction_factor=FACTOR)),
    "Optuna median": ("optuna", "", _optuna("MedianPruner")),
    "Syne Tune ASHA (stop)": ("syne-tune", "0.13", _syne_hyperband("stopping")),
    "Syne Tune ASHA (promote)": ("syne-tune", "0.13", _syne_hyperband("promotion")),
    "Syne Tune PASHA": ("syne-tune", "0.13", _syne_hyperband("pasha")),
    "Syne Tune HyperBand": ("syne-tune", "0.13", _syne_synchronous),
    "Syne Tune median": ("syne-tune", "0.13", _syne_median),
    "Syne Tune 0.16 ASHA (stop)": ("syne-tune", "0.16", _new_syne_asha),
}
"""Name -> package, how its version must begin, and what makes it, given a seed."""


def version(name: str) -> str | None:
    """Of the package that a peer is in; None: it is not here, or another version."""
    package, begin, _ = PEERS[name]
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
    return found if found.startswith(begin) else None


def play(job: dict[str, Any]) -> list[Run]:
    """One search for each seed.

    Args:
        job: "peer": a name in PEERS; "curves": a file; "searches": one [seed, limits] each, as :class:`Limits` has them.
    """
    curves = Curves.load(job["curves"])
    make = PEERS[job["peer"]][2]
    return [simulate(make(seed), curves, rows(seed, len(curves.loss)), Limits(**limits)) for seed, limits in job["searches"]]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1] == "--version":
        print(version(sys.argv[2]) or "")
        sys.exit(version(sys.argv[2]) is None)
    with open(sys.argv[1], encoding="utf-8") as file:
        found = play(json.load(file))
    print("\n" + json.dumps([asdict(run) for run in found]))

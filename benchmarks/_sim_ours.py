"""Our schedulers in simulated time: through ``tune.simulate``, with its real core, and as bare objects in the peers' simulator.

The second way is there to show that the two simulators agree. As a script: ``python _sim_ours.py JOB.json``, as with _sim_peers.py.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from _simulator import CONTINUE, PAUSE, STOP, Limits, Peer, Run, rows

import tunesmith as tune
from tunesmith.core.commands import Decision
from tunesmith.core.settings import Settings
from tunesmith.schedulers import Scheduler
from tunesmith.search.base import Proposal, Searcher, SearcherCapabilities
from tunesmith.simulation import CurveTable, simulate

__all__ = ["OURS", "Direct", "play", "simulated", "table"]

TOP, FACTOR = 81, 3
_UP_TO_TOP: dict[str, Any] = {"time_attr": "training_iteration", "max_t": TOP}
_RUNGS: dict[str, Any] = {**_UP_TO_TOP, "reduction_factor": FACTOR}

OURS: dict[str, Callable[[], Scheduler]] = {
    "random, fully trained": tune.schedulers.FIFOScheduler,
    "cut at 1": lambda: tune.schedulers.FixedCutScheduler(cut_at=1, keep=3, group=3 * TOP, **_UP_TO_TOP),
    "cut at 9": lambda: tune.schedulers.FixedCutScheduler(cut_at=9, keep=9, group=81, **_UP_TO_TOP),
    "successive halving": lambda: tune.schedulers.SuccessiveHalvingScheduler(**_RUNGS),
    "HyperBand": lambda: tune.schedulers.HyperBandScheduler(**_RUNGS),
    "HyperBand (BOHB's order)": lambda: tune.schedulers.HyperBandForBOHB(**_RUNGS),
    "ASHA (stop)": lambda: tune.schedulers.ASHAScheduler(**_RUNGS),
    "ASHA (promote)": lambda: tune.schedulers.ASHAScheduler(form="promote", **_RUNGS),
    "ASHA (5 brackets)": lambda: tune.schedulers.ASHAScheduler(brackets=5, **_RUNGS),
    "PASHA": lambda: tune.schedulers.PASHAScheduler(**_RUNGS),
    "median": lambda: tune.schedulers.MedianStoppingRule(time_attr="training_iteration", grace_period=1),
}
"""Name -> what makes it. Rungs are at 1, 3, 9, 27 and 81 iterations."""


class _Rows(Searcher):
    """The configurations that all others get, in the same order."""

    capabilities = SearcherCapabilities(batch=True, deterministic=True, cheap=True)

    def __init__(self, seed: int, total: int) -> None:
        super().__init__()
        self._draw = rows(seed, total)
        self._rows: list[int] = []

    def propose(self, trial: int, trial_id: str) -> Proposal:
        del trial_id
        while len(self._rows) <= trial:
            self._rows.append(next(self._draw))
        return Proposal({"row": self._rows[trial]}, "rows")

    def __deepcopy__(self, memo: dict[int, Any]) -> _Rows:
        return self  # it serves one simulation; what it draws from cannot be copied


def table(path: str) -> CurveTable:
    """A file of curves as a table."""
    with np.load(path) as file:
        return CurveTable.from_arrays({"number": range(len(file["loss"]))}, {"loss": file["loss"]}, file["seconds"])


def simulated(name: str, curves: CurveTable, seed: int, limits: Limits) -> Run:
    """One of ours, through ``tune.simulate``: until ``limits.least``, and if the target is not reached by then, once more to the end."""
    for horizon in sorted({min(limits.least, limits.horizon), limits.horizon}):
        run = _simulated(name, curves, seed, limits, horizon)
        if run.reached(limits.target) < math.inf:
            break
    return run


def _simulated(name: str, curves: CurveTable, seed: int, limits: Limits, horizon: float) -> Run:
    sim = simulate(
        curves,
        config=curves.space(),
        search_alg=_Rows(seed, len(curves)),
        scheduler=OURS[name](),
        num_samples=-1 if limits.samples is None else limits.samples,
        workers=limits.workers,
        metric="loss",
        mode="min",
        seed=seed,
        time_budget_s=None if horizon == math.inf else horizon,
    )
    best = [(seconds, loss) for seconds, loss, _ in sim.incumbents()]
    reports = sum(trial.iteration for trial in sim.trials)
    return Run(best, sim.seconds, sim.utilisation * sim.workers * sim.seconds, len(sim.trials), reports)


@dataclass(slots=True, eq=False)
class _View:
    """A trial, as schedulers see it."""

    number: int
    status: str = "PENDING"
    values: dict[str, Any] = field(default_factory=dict)
    iteration: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    attempt: int = 0
    checkpoint: None = None
    resources: dict[str, float] = field(default_factory=lambda: {"cpu": 1.0})


class Direct(Peer):
    """A scheduler of ours in the peers' simulator, without our core."""

    def __init__(self, scheduler: Any, seed: int, limits: Limits) -> None:
        self.scheduler = scheduler
        self.views: list[_View] = []
        self.paused: dict[int, None] = {}
        self._dropped: list[int] = []
        scheduler.start(Settings(seed=seed, metrics=("loss",), modes=("min",), num_samples=limits.samples))
        scheduler.on_capacity({"cpu": float(limits.workers)})

    def _runnable(self, pending: list[_View]) -> Any:
        def get(number: int) -> _View | None:
            view = self.views[number]
            return view if view.status in ("PENDING", "PAUSED") else None

        paused = list(self.paused)
        return SimpleNamespace(pending=pending, paused=paused, get=get, first_paused=lambda: get(paused[0]) if paused else None)

    def choose(self) -> int | None:
        chosen = self.scheduler.choose(self._runnable([]))
        if chosen is None:
            return None
        return self._start(self.views[chosen.trial] if isinstance(chosen, Decision) else chosen)

    def _start(self, view: _View) -> int:
        view.status = "RUNNING"
        self.paused.pop(view.number, None)
        return view.number

    def add(self, trial: int) -> None:
        self.views.append(_View(trial))
        self._obey(self.scheduler.on_trial_add(self.views[-1]), None)
        chosen = self.scheduler.choose(self._runnable([self.views[-1]]))
        assert chosen is self.views[-1], f"trial {trial} was drawn for a free slot, and {chosen} was chosen"
        self._start(chosen)

    def result(self, trial: int, iteration: int, loss: float) -> str:
        view = self.views[trial]
        view.iteration, view.metrics = iteration, {"loss": loss, "training_iteration": iteration}
        decision = self._obey(self.scheduler.on_result(view, view.metrics), trial)
        if decision == PAUSE:
            view.status = "PAUSED"
            self.paused[trial] = None
        return decision

    def over(self, trial: int, iteration: int, loss: float) -> None:
        self._end(trial, "stopped" if iteration < TOP else "finished")

    def closed(self) -> None:
        self._obey(self.scheduler.on_search_end(), None)

    def dropped(self) -> list[int]:
        dropped, self._dropped = self._dropped, []
        return dropped

    def _end(self, trial: int, outcome: str) -> None:
        self.views[trial].status = "TERMINATED"
        self.paused.pop(trial, None)
        self._obey(self.scheduler.on_trial_end(self.views[trial], outcome), None)

    def _obey(self, answer: Any, current: int | None) -> str:
        """What is wanted for the trial in hand; others are ended here."""
        if answer is None or isinstance(answer, str):
            return answer or CONTINUE
        mine = CONTINUE
        for decision in answer if isinstance(answer, (list, tuple)) else [answer]:
            trial = current if decision.trial is None else decision.trial
            if trial == current:
                mine = STOP if decision.do == "stop" else PAUSE if decision.do == "pause" else mine
            elif self.views[trial].status in ("PENDING", "PAUSED") and decision.do == "stop":
                self._dropped.append(trial)
                self._end(trial, "stopped")
            else:
                raise NotImplementedError(f"{decision} for a trial that is {self.views[trial].status}")
        return mine


def play(job: dict[str, Any]) -> list[Run]:
    """One search for each seed; see _sim_peers.play."""
    curves = table(job["curves"])
    return [simulated(job["peer"], curves, seed, Limits(**limits)) for seed, limits in job["searches"]]


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        found = play(json.load(file))
    print("\n" + json.dumps([asdict(run) for run in found]))

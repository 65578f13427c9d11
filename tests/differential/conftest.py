"""Ray Tune's own scheduler classes and ours, side by side: both are shown the same results, and what they decide is compared."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tunesmith.core.commands import Decision
from tunesmith.core.settings import Settings
from tunesmith.schedulers import Scheduler

METRIC = "score"


@pytest.fixture(scope="session")
def ray_schedulers() -> Iterator[Any]:
    """The module ``ray.tune.schedulers``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray.tune.schedulers as schedulers

        yield schedulers


@pytest.fixture(scope="session")
def pair(ray_schedulers: Any) -> Callable[..., Pair]:
    """``pair(ours, "TheirName", mode="max", **options)``: our scheduler class and the class of Ray's, made with the same options."""

    def make(ours: Callable[..., Scheduler], theirs: str, mode: str = "max", **options: Any) -> Pair:
        return Pair(Ours(ours(**options), mode), Rays(getattr(ray_schedulers, theirs)(metric=METRIC, mode=mode, **options)))

    return make


@pytest.fixture(scope="session")
def rising() -> Callable[..., list[list[float]]]:
    """``rising(seed, trials, length, ties=False)``: learning curves."""
    return _curves


# -- Ray's ---------------------------------------------------------------------------------------------------------------


class RayTrial:
    """What Ray's schedulers read of a trial."""

    def __init__(self, number: int, config: dict[str, Any]) -> None:
        self.number = number
        self.trial_id = f"{number:05d}"
        self.config = config
        self.evaluated_params = dict(config)
        self.status = "PENDING"
        self.last_result: dict[str, Any] = {}
        self.checkpoint = "checkpoint"
        self.is_saving = False
        self.experiment_tag = self.trial_id
        self.run_metadata = _Metadata()
        self.temporary_state = _Temporary()

    def is_finished(self) -> bool:
        return self.status in ("TERMINATED", "ERROR")

    def __repr__(self) -> str:
        return f"trial {self.number}"


class _Metadata:
    class checkpoint_manager:  # noqa: N801 - Ray's name
        class checkpoint_config:  # noqa: N801
            num_to_keep = None


class _Temporary:
    saving_to = None


@dataclass
class Rays:
    """One of Ray's schedulers with a controller that carries out what it asks for, at once."""

    scheduler: Any
    trials: dict[int, RayTrial] = field(default_factory=dict)
    search_alg: Any = None

    def add(self, number: int, config: Mapping[str, Any] = {}) -> None:
        trial = self.trials[number] = RayTrial(number, dict(config))
        self.scheduler.on_trial_add(self, trial)

    def report(self, number: int, result: dict[str, Any]) -> str:
        """Its answer; what the trial becomes by it."""
        trial = self.trials[number]
        trial.status = "RUNNING"
        answer: str = self.scheduler.on_trial_result(self, trial, result)
        trial.last_result = result
        if answer == "STOP":
            trial.status = "TERMINATED"
        elif answer == "PAUSE":
            trial.status = "PAUSED"
        return answer

    def begin(self) -> None:
        """All that wait are started."""
        for trial in self.trials.values():
            trial.status = "RUNNING" if trial.status == "PENDING" else trial.status

    def all_are_drawn(self) -> None:
        """It is not told."""

    def end(self, number: int, *, failed: bool = False) -> None:
        """The trial is over by itself."""
        trial = self.trials[number]
        trial.status = "ERROR" if failed else "TERMINATED"
        if failed:
            self.scheduler.on_trial_error(self, trial)
        else:
            self.scheduler.on_trial_complete(self, trial, trial.last_result)

    # what schedulers call

    def get_trials(self) -> list[RayTrial]:
        return list(self.trials.values())

    def get_live_trials(self) -> list[RayTrial]:
        return [trial for trial in self.trials.values() if not trial.is_finished()]

    def stop_trial(self, trial: RayTrial) -> None:
        trial.status = "TERMINATED"
        self.scheduler.on_trial_remove(self, trial)


# -- ours ----------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class View:
    """A trial as our schedulers see it."""

    number: int
    values: dict[str, Any] = field(default_factory=dict)
    status: str = "PENDING"
    iteration: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    attempt: int = 0
    checkpoint: str | None = "checkpoint"
    resources: dict[str, float] = field(default_factory=lambda: {"cpu": 1.0})


@dataclass
class Ours:
    """One of our schedulers; what it asks for is done at once, for trials other than the one in hand, too.

    Attributes:
        exploits: (trial, source) of all exploits, in order.
    """

    scheduler: Scheduler
    mode: str = "max"
    trials: dict[int, View] = field(default_factory=dict)
    exploits: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler.start(Settings.parse({"metrics": [METRIC], "modes": [self.mode], "seed": 1}))

    def add(self, number: int, values: Mapping[str, Any] = {}) -> None:
        view = self.trials[number] = View(number, dict(values))
        self.scheduler.on_trial_add(view)

    def report(self, number: int, result: dict[str, Any]) -> str:
        """Its answer for this trial, in Ray's words; others that it stops or pauses are marked so."""
        view = self.trials[number]
        view.status = "RUNNING"
        view.iteration += 1
        view.metrics = result
        answer = "CONTINUE"
        for decision in _decisions(self.scheduler.on_result(view, result), number):
            if decision.trial == number and decision.do in ("stop", "pause"):
                answer = decision.do.upper()
            self._mark(decision)
        return answer

    def begin(self) -> None:
        """All that wait are started."""
        while any(trial.status == "PENDING" for trial in self.trials.values()):
            chosen = self.choose()
            assert chosen is not None
            chosen.status = "RUNNING"

    def choose(self) -> View | None:
        """What is to be started or resumed next."""
        chosen = self.scheduler.choose(cast("Any", Waiting(self)))
        return self.trials[cast("int", chosen.trial)] if isinstance(chosen, Decision) else cast("View | None", chosen)

    def all_are_drawn(self) -> None:
        """No more will be added."""
        for decision in _decisions(self.scheduler.on_search_end(), -1):
            self._mark(decision)

    def end(self, number: int, *, failed: bool = False) -> None:
        """The trial is over by itself."""
        view = self.trials[number]
        view.status = "ERROR" if failed else "TERMINATED"
        for decision in _decisions(self.scheduler.on_trial_end(view, "user_error" if failed else "finished"), number):
            self._mark(decision)

    def _mark(self, decision: Decision) -> None:
        assert decision.trial is not None
        view = self.trials[decision.trial]
        if decision.do == "stop" and view.status not in ("TERMINATED", "ERROR"):
            view.status = "TERMINATED"
            for more in _decisions(self.scheduler.on_trial_end(view, "stopped"), view.number):
                self._mark(more)
        elif decision.do == "pause":
            view.status = "PAUSED"
        elif decision.do == "exploit":
            self.exploits.append((view.number, decision.data["source"]))
            view.iteration = self.trials[decision.data["source"]].iteration
            self.scheduler.on_exploit_end(view, decision.data["source"], True)


class Waiting:
    """What could be started, for our ``choose``."""

    def __init__(self, ours: Ours) -> None:
        self._ours = ours
        self.pending = [trial for trial in ours.trials.values() if trial.status == "PENDING"]
        self.paused = [number for number, trial in ours.trials.items() if trial.status == "PAUSED"]

    def get(self, number: int) -> View | None:
        trial = self._ours.trials[number]
        return trial if trial.status in ("PENDING", "PAUSED") else None

    def first_paused(self) -> View | None:
        return next((self.get(number) for number in self.paused), None)


@dataclass
class Pair:
    """Both, shown the same."""

    ours: Ours
    rays: Rays

    def add(self, number: int, config: Mapping[str, Any] = {}) -> None:
        self.ours.add(number, config)
        self.rays.add(number, config)

    def begin(self) -> None:
        """All that wait are started."""
        self.ours.begin()
        self.rays.begin()

    def report(self, number: int, at: float, value: float, time_attr: str = "training_iteration") -> str:
        """The answer that both give.

        Raises:
            AssertionError: they differ.
        """
        result = {METRIC: value, time_attr: at}
        mine, theirs = self.ours.report(number, result), self.rays.report(number, result)
        assert mine == theirs, f"trial {number} at {at} with {value}: ours {mine}, Ray's {theirs}"
        return mine


def _decisions(answer: Any, trial: int) -> list[Decision]:
    if answer is None or answer in ("CONTINUE", "NOOP"):
        return []
    if isinstance(answer, str):
        return [Decision(answer.lower(), trial)]
    if isinstance(answer, Decision):
        return [Decision(answer.do, trial if answer.trial is None else answer.trial, answer.reason, answer.data)]
    return [decision for one in answer for decision in _decisions(one, trial)]


def _curves(seed: int, trials: int, length: int, *, ties: bool = False) -> list[list[float]]:
    """Learning curves that rise, cross and, with ``ties``, meet."""
    rng = random.Random(seed)
    found = []
    for _ in range(trials):
        top, speed = rng.random(), rng.uniform(0.2, 3.0)
        curve = [top * step / (step + speed) + rng.gauss(0, 0.02) for step in range(1, length + 1)]
        found.append([round(8 * value) / 8 if ties else value for value in curve])  # eighths: their means and medians are exact
    return found

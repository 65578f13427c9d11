"""``deterministic=True`` through the loop: decisions do not depend on which trial was quicker."""

from __future__ import annotations

import random

import pytest

import tunesmith as tune
from tunesmith.core import events as ev
from tunesmith.executors.base import ExecutorCapabilities
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.schedulers import Scheduler


class Shuffled:
    """An executor of four slots without user code: each attempt reports its x three times; events come in random order and portions."""

    capabilities = ExecutorCapabilities(name="shuffled", slots=4)

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.ready = []
        self.configs = {}
        self.steps = {}

    def start(self, setup):
        return {"cpu": 4.0}

    def launch(self, assignment):
        key = (assignment.trial, assignment.attempt)
        self.configs[key], self.steps[key] = assignment.config, 0
        self.ready.append([ev.AttemptStarted(*key), self.report(key)])

    def report(self, key):
        self.steps[key] += 1
        return ev.Reported(*key, self.steps[key], {"loss": self.configs[key]["x"], "training_iteration": self.steps[key]})

    def answer(self, trial, attempt, action, *, mode="", save=False):
        key = (trial, attempt)
        if action == "continue" and self.steps[key] < 3:
            self.ready.append([self.report(key)])
        else:
            self.ready.append([ev.AttemptEnded(*key, "finished" if action == "continue" else "stopped")])

    def save(self, trial, attempt):
        raise AssertionError

    def kill(self, trial, attempt, outcome):
        raise AssertionError

    def poll(self, timeout):
        self.rng.shuffle(self.ready)
        count = self.rng.randint(0, len(self.ready))
        now, self.ready = self.ready[:count], self.ready[count:]
        return [event for events in now for event in events]

    def wake(self):
        pass

    def close(self):
        pass


class WorseThanTheLast(Scheduler):
    """Stops whoever reports a higher loss than the report before his: as order-dependent as can be."""

    def __init__(self):
        super().__init__()
        self.last = 1.0

    def on_result(self, trial, result):
        last, self.last = self.last, result["loss"]
        return self.stop(f"{self.last} > {last}") if self.last > last else self.CONTINUE


def story(path, seed, deterministic):
    tune.run(
        lambda config: None, config={"x": tune.uniform(0, 1)}, num_samples=12, seed=5, deterministic=deterministic, name=f"run{seed}",
        storage_path=path, verbose=0, loggers=(), executor=Shuffled(seed), scheduler=WorseThanTheLast(),
    )  # fmt: skip
    with open_reader(path / f"run{seed}" / JOURNAL_FILE) as reader:
        return [(type(record.event).__name__, getattr(record.event, "trial", None), record.decisions) for record in reader.read()]


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_arrival_does_not_matter(tmp_path, seed):
    assert story(tmp_path, seed, True) == story(tmp_path, 100 + seed, True)


def test_without_it_the_order_does_matter(tmp_path):
    assert len({str(story(tmp_path, seed, False)) for seed in range(4)}) > 1


class Slow(tune.suggest.Searcher):
    """Lives in a thread and answers "nothing now" while two trials are under way."""

    def __init__(self):
        super().__init__()
        self.live = set()
        self.count = 0

    def suggest(self, trial_id):
        if len(self.live) >= 2:
            return None
        self.live.add(trial_id)
        self.count += 1
        return {"x": 1 / self.count}

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.live.discard(trial_id)


def test_a_searcher_that_holds_back_does_not_hold_up_the_round(tmp_path):
    analysis = tune.run(
        lambda config: None, config={"x": tune.uniform(0, 1)}, num_samples=6, deterministic=True, name="run", storage_path=tmp_path,
        verbose=0, loggers=(), executor=Shuffled(1), search_alg=Slow(),
    )  # fmt: skip
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 6

"""The core decides without clock, chance, files, threads or sockets: a whole simulated experiment runs while all of them raise.

Run as a program, this file prints what one simulation decided; the last test compares that between processes.
"""

from __future__ import annotations

import builtins
import heapq
import io
import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.controller import Controller
from tunesmith.core.ports import TrialView
from tunesmith.core.rng import stream
from tunesmith.schedulers.base import Scheduler

SETTINGS = {
    "seed": 5,
    "num_samples": 60,
    "metrics": ["loss"],
    "modes": ["min"],
    "retries": {"user_error": 1},
    "num_to_keep": 1,
    "max_trial_s": 100.0,
    "max_silence_s": 50.0,
    "can_save": True,
    "warm_pause": True,
    "warm_slots": 1,
    "exploit_wait_s": 5.0,
}


class Fickle(Scheduler):
    """Uses every power that a scheduler has, at random: stop, pause, save and exploit."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[int] = []

    def on_trial_add(self, trial: TrialView) -> None:
        self.live.append(trial.number)

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Any:
        chance = self.rng.random()
        if chance < 0.05:
            return self.stop("unlucky")
        if chance < 0.15:
            return self.pause("resting")
        if chance < 0.25:
            return [self.save(trial.number, "just in case")]
        if chance < 0.35:
            source = self.rng.choice(self.live)
            return self.exploit(source, "better there") if source != trial.number else self.CONTINUE
        return self.CONTINUE

    def on_trial_end(self, trial: TrialView, outcome: str) -> None:
        self.live.remove(trial.number)


class World:
    """Everything outside the core, in virtual time: a searcher, workers that run, fail and save, timers."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.chance = random.Random(1)
        self.heap: list[tuple[float, int, ev.Event]] = []
        self.count = 0
        self.now = 0.0
        self.at_report: dict[tuple[int, int], int] = {}
        self.timers: dict[str, float] = {}
        self.finished = ""
        self.log: list[Any] = []

    def send(self, event: ev.Event, delay: float = 0.0) -> None:
        self.count += 1
        heapq.heappush(self.heap, (self.now + delay, self.count, event))

    def run(self) -> str:
        """The whole experiment; returns a digest of everything that was decided."""
        self.send(ev.ExperimentStarted(SETTINGS))
        self.send(ev.CapacityChanged({"cpu": 8.0}))
        while self.heap:
            self.now, _, event = heapq.heappop(self.heap)
            if isinstance(event, ev.TimerFired) and self.timers.get(event.timer) != self.now:
                continue
            event.at = self.now
            decisions, commands = self.controller.handle(event)
            self.log += [(decision.do, decision.trial, decision.reason) for decision in decisions]
            for command in commands:
                self.obey(command)
        return self.controller.digest()

    def report(self, trial: int, attempt: int, iteration: int) -> None:
        """The attempt works on, and then reports, ends or fails."""
        delay, fate = self.chance.uniform(0.5, 2.0), self.chance.random()
        if fate < 0.03:
            self.send(ev.AttemptEnded(trial, attempt, "user_error", {"type": "ValueError", "message": "bad luck"}), delay)
        elif iteration > 10:
            self.send(ev.AttemptEnded(trial, attempt, "finished"), delay)
        elif fate > 0.05:  # else it hangs, until a deadline ends it
            metrics = {"loss": self.chance.random(), "training_iteration": iteration, "time_total_s": self.now}
            saved = f"{trial}/checkpoint_{attempt}_{iteration}" if self.chance.random() < 0.2 else None
            self.at_report[trial, attempt] = iteration
            self.send(ev.Reported(trial, attempt, iteration, metrics, saved), delay)

    def obey(self, command: cmd.Command) -> None:
        match command:
            case cmd.Suggest(n, first):
                for number in range(first, first + n):
                    self.send(ev.Suggested(number, {"lr": stream(5, "search", number).random()}, "random"))
            case cmd.Launch(trial, attempt, _, _, iteration):
                self.send(ev.AttemptStarted(trial, attempt), 0.1)
                self.at_report[trial, attempt] = iteration
                self.report(trial, attempt, iteration + 1)
            case cmd.Continue(trial, attempt):
                self.report(trial, attempt, self.at_report[trial, attempt] + 1)
            case cmd.Pause(trial, attempt, "warm"):
                pass
            case cmd.Pause(trial, attempt, mode):
                if mode == "cold":
                    self.send(ev.CheckpointSaved(trial, attempt, self.at_report[trial, attempt], f"{trial}/pause_{attempt}"), 0.1)
                self.send(ev.AttemptEnded(trial, attempt, "stopped"), 0.2)
            case cmd.Stop(trial, attempt):
                self.send(ev.AttemptEnded(trial, attempt, "stopped"), 0.2)
            case cmd.Kill(trial, attempt, outcome):
                self.send(ev.AttemptEnded(trial, attempt, outcome), 0.2)
            case cmd.Save(trial, attempt):
                iteration = self.at_report[trial, attempt]
                self.send(ev.CheckpointSaved(trial, attempt, iteration, f"{trial}/asked_{attempt}_{iteration}"), 0.3)
            case cmd.Explore(trial, _, values, number=number):
                self.send(ev.Explored(trial, {"lr": values.get("lr", 0.1) * 1.2}, exploit=number), 0.1)
            case cmd.SetTimer(timer, None):
                self.timers.pop(timer, None)
            case cmd.SetTimer(timer, at):
                assert at is not None
                delay = max(at - self.now, 0.0)
                self.timers[timer] = self.now + delay
                self.send(ev.TimerFired(timer), delay)
            case cmd.Finish(reason):
                self.finished = reason
            case cmd.DeleteCheckpoint():
                pass


def simulate() -> World:
    world = World(Controller(Fickle()))
    world.log.append(world.run())
    return world


def test_the_simulation_is_worth_its_name() -> None:
    world = simulate()
    assert world.finished == "all 60 trials have ended"
    done = {entry[0] for entry in world.log[:-1]}
    assert done >= {"launch", "stop", "pause", "paused", "save", "exploit", "exploited", "retry", "kill", "end", "finish"}


POISONED: list[tuple[Any, str]] = [
    *((time, name) for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")),
    *((time, name) for name in ("process_time", "thread_time", "sleep", "localtime", "gmtime", "strftime")),
    *((random, name) for name in ("random", "uniform", "randint", "randrange", "choice", "choices", "shuffle", "sample", "gauss", "seed")),
    *((random, name) for name in ("getrandbits", "normalvariate", "betavariate", "expovariate", "SystemRandom")),
    *((os, name) for name in ("open", "urandom", "getpid", "fork", "stat", "listdir", "scandir", "mkdir", "remove", "replace", "getenv")),
    *((os, name) for name in ("system", "kill", "getcwd", "read", "write", "pipe")),
    *((builtins, name) for name in ("open", "print", "input")),
    (io, "open"),
    (threading.Thread, "start"),
    *((threading, name) for name in ("Lock", "RLock", "Condition", "Event", "Timer")),
    *((socket, name) for name in ("socket", "socketpair", "create_connection", "gethostname")),
    (subprocess, "Popen"),
    *((uuid, name) for name in ("uuid1", "uuid4")),
]


def poison(name: str, victim: int, original: Callable[..., Any]) -> Callable[..., Any]:
    """Raises on the test's own thread; others (the test runner's) go on undisturbed."""

    def raise_or_call(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == victim:
            raise AssertionError(f"the core called {name}")
        return original(*args, **kwargs)

    return raise_or_call


def test_a_whole_experiment_touches_nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = simulate().log
    with monkeypatch.context() as patch:
        for owner, name in POISONED:
            label = f"{getattr(owner, '__name__', owner)}.{name}"
            patch.setattr(owner, name, poison(label, threading.get_ident(), getattr(owner, name)))
        world = World(Controller(Fickle()))
        digest = world.run()
    assert [*world.log, digest] == expected


def test_the_poison_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that looks at the clock is found out."""

    class Impure(Fickle):
        def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Any:
            return self.stop("late") if time.time() > 0 else self.CONTINUE

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", poison("time.time", threading.get_ident(), time.time))
        with pytest.raises(AssertionError, match=r"the core called time\.time"):
            World(Controller(Impure())).run()


def test_decisions_do_not_depend_on_the_process() -> None:
    """Hash seeds differ between processes, and with them the order of sets: nothing that is decided may follow it."""
    outputs = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert "all 60 trials have ended" in outputs.pop()


if __name__ == "__main__":
    for line in (finished := simulate()).log:
        print(line)
    print(finished.finished)

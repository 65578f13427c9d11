"""What the executor kit is made of: a driver in a few lines, and trainables that leave traces."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tunesmith.core.events import AttemptEnded, Event, Reported
from tunesmith.errors import Infeasible
from tunesmith.executors.base import CONTINUE, Assignment, Executor, ExecutorSetup
from tunesmith.trainable.base import TrainableSpec
from tunesmith.trainable.class_api import Trainable
from tunesmith.trainable.session import get_checkpoint, get_context, report

__all__ = [
    "Reusable",
    "Rig",
    "Stepper",
    "checkpoints",
    "counts",
    "deaf",
    "draws",
    "ended_of",
    "hoards",
    "kinds",
    "knows_itself",
    "note",
    "notes_of",
    "odd_values",
    "raises",
    "returns",
    "silent",
    "speaks",
    "stubborn",
    "yields",
]

_PATIENCE_S = 60.0
"""How long nothing may happen before a test gives up."""


class Rig:
    """An executor with a driver that answers each report by ``decide``.

    Args:
        executor: not started yet.
        trainable: what all attempts run.
        folder: the experiment's directory.
        decide: from a report to the arguments of ``Executor.answer``: ``(action, mode, save)``, or None for no answer yet.
    """

    def __init__(
        self,
        executor: Executor,
        trainable: Any,
        folder: Path,
        decide: Callable[[Reported], tuple[str, str, bool] | None] | None = None,
        **setup: Any,
    ) -> None:
        self.executor = executor
        self.folder = folder
        self.events: list[Event] = []
        self.decide = decide or (lambda _: (CONTINUE, "", False))
        self.seen: Callable[[Event], None] = lambda _: None
        self._open: set[tuple[int, int]] = set()
        spec = TrainableSpec.of(trainable)
        for key in ("checkpoint_frequency", "checkpoint_at_end"):
            if key in setup:
                setattr(spec, key, setup.pop(key))
        self.totals = executor.start(ExecutorSetup(spec, self.handle, **setup))

    def handle(self, events: Sequence[Event]) -> None:
        """One turn of the loop."""
        for event in events:
            self.events.append(event)
            self.seen(event)
            if isinstance(event, AttemptEnded):
                self._open.discard((event.trial, event.attempt))
            if isinstance(event, Reported):
                answer = self.decide(event)
                if answer is not None:
                    self.executor.answer(event.trial, event.attempt, answer[0], mode=answer[1], save=answer[2])

    def launch(self, trial: int = 0, attempt: int = 0, config: dict[str, Any] | None = None, **given: Any) -> str:
        """Start an attempt; returns the trial's directory."""
        trial_dir = str(self.folder / f"trial_{trial}")
        self._open.add((trial, attempt))
        name = f"kit_{trial}"
        given = {"resources": {"cpu": 1.0}, "seed": 1000 + trial, **given}
        self.executor.launch(Assignment(trial, attempt, f"abcde_{trial:05d}", name, "kit", config or {}, trial_dir, **given))
        return trial_dir

    def run(self, trial: int = 0, attempt: int = 0, config: dict[str, Any] | None = None, **given: Any) -> list[Event]:
        """Launch and see all that is open through to the end; returns the events of this attempt."""
        self.launch(trial, attempt, config, **given)
        self.finish()
        return self.of(trial, attempt)

    def finish(self) -> None:
        """Poll until every launched attempt has ended."""
        self.until(lambda: not self._open)

    def until(self, reached: Callable[[], bool]) -> None:
        """Poll until ``reached``."""
        last = time.monotonic()
        while not reached():
            events = self.executor.poll(0.1)
            if events:
                last = time.monotonic()
            assert time.monotonic() - last < _PATIENCE_S, f"nothing happens any more; open: {sorted(self._open)}, seen: {self.events[-20:]}"
            self.handle(events)

    def of(self, trial: int, attempt: int = 0) -> list[Event]:
        """Events of an attempt, in the order in which they came."""
        return [e for e in self.events if getattr(e, "trial", None) == trial and getattr(e, "attempt", None) == attempt]

    def reports(self, trial: int = 0, attempt: int = 0) -> list[Reported]:
        """Reports of an attempt."""
        return [e for e in self.of(trial, attempt) if isinstance(e, Reported)]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def ended_of(events: list[Event]) -> AttemptEnded:
    assert isinstance(events[-1], AttemptEnded), events
    assert sum(isinstance(event, AttemptEnded) for event in events) == 1
    return events[-1]


def note(line: str) -> None:
    """Leave a trace in the trial's directory, which every executor shares with its trials."""
    with open(os.path.join(str(get_context().get_trial_dir()), "notes.txt"), "a") as file:
        file.write(line + "\n")


def notes_of(trial_dir: str) -> list[str]:
    path = Path(trial_dir, "notes.txt")
    return path.read_text().splitlines() if path.exists() else []


def counts(config: dict[str, Any]) -> None:
    try:
        for step in range(config.get("steps", 3)):
            report({"value": config.get("value", 0) + step})
        note("through")
    finally:
        note("finally")


def stubborn(_config: dict[str, Any]) -> None:
    for step in range(10):
        try:
            report(value=step)
        except Exception:
            note("swallowed")


def deaf(_config: dict[str, Any]) -> None:
    for step in range(5):
        with contextlib.suppress(BaseException):
            report(value=step)
    note("through")


def silent(_config: dict[str, Any]) -> None:
    note("through")


def returns(config: dict[str, Any]) -> Any:
    return config["result"]


def yields(_config: dict[str, Any]) -> Iterator[Any]:
    try:
        yield {"value": 1}
        yield 2
    finally:
        note("finally")


def raises(config: dict[str, Any]) -> None:
    for step in range(config.get("after", 0)):
        report(value=step)
    kind = config["kind"]
    if kind == "nothing":
        return
    if kind == "exit":
        sys.exit(3)
    raise {"infeasible": Infeasible, "memory": MemoryError, "value": ValueError}[kind]("so it goes")


def hoards(config: dict[str, Any]) -> None:
    """Takes memory, and holds it until it is told to end."""
    held = b"x" * config["bytes"]
    try:
        if config["holds"]:
            threading.Event().wait()
    finally:
        note(f"held {len(held)}")


def odd_values(_config: dict[str, Any]) -> None:
    report({"nested": {"a": 1, "b/c": None}, "list": [1, 2], "text": "x", "flag": True, "nothing": float("nan")})


def knows_itself(_config: dict[str, Any]) -> None:
    context = get_context()
    report(
        name=context.get_trial_name(), id=context.get_trial_id(), experiment=context.get_experiment_name(),
        dir=context.get_trial_dir(), cpu=(context.get_trial_resources() or {}).get("cpu"), seed=context.seed, cwd=os.getcwd(),
    )  # fmt: skip


def draws(_config: dict[str, Any]) -> None:
    report(draw=random.random())


def speaks(_config: dict[str, Any]) -> None:
    print("to out")
    report(value=1)
    print("to err", file=sys.stderr)


def checkpoints(config: dict[str, Any]) -> None:
    before = get_checkpoint()
    start = int(Path(before, "step.txt").read_text()) if before is not None else 0
    scratch = Path(str(get_context().get_trial_dir()), "scratch")
    scratch.mkdir(parents=True, exist_ok=True)
    for step in range(start + 1, config["steps"] + 1):
        (scratch / "step.txt").write_text(str(step))
        report({"step": step}, checkpoint=str(scratch))


class Stepper(Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.count = 0
        note("setup")

    def step(self) -> dict[str, Any]:
        self.count += 1
        return {"count": self.count, "done": self.count >= self.config.get("steps", 3)}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"count": self.count}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.count = checkpoint["count"]

    def cleanup(self) -> None:
        note("cleanup")


class Reusable(Stepper):
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.count = 0
        note("reset")
        return bool(new_config.get("agree", True))

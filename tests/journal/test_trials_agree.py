"""The views that people see agree with the controller that decides, through any history of pauses, exploits, resizes, failures and ends."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.controller import Controller
from tunesmith.core.ports import Header, Record
from tunesmith.core.trial import RUNNING
from tunesmith.journal.experiment import Experiment
from tunesmith.journal.memory import MemoryJournal
from tunesmith.journal.projections import Histories
from tunesmith.journal.trials import TrialBook
from tunesmith.resume import reopening
from tunesmith.schedulers import FIFOScheduler

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0)
SPEC = {"num_samples": 6, "metrics": ["loss"], "modes": ["min"], "retries": {"user_error": 1}, "can_save": True}


class Moody(FIFOScheduler):
    """Pauses, stops, resizes and exploits as a generator of random numbers tells it."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._dice = rng

    def on_result(self, trial: Any, result: dict[str, Any]) -> Any:
        word = self._dice.choice(["continue"] * 4 + ["pause", "stop", "exploit", "other", "resize", "resize"])
        if word == "exploit":
            values = self._dice.choice([None, {"lr": 0.5}])
            return [
                Decision("exploit", trial.number, "copy", {"source": self._dice.randrange(6), **({"values": values} if values else {})})
            ]
        if word == "resize":
            who = self._dice.choice([trial.number, self._dice.randrange(6)])
            return self.resize({"cpu": self._dice.choice([0.5, 1, 2])}, "another size", who)
        if word == "other":  # about another trial than the one that reports
            return [Decision("stop", self._dice.randrange(6), "not this one")]
        return [Decision(word, trial.number, word)]


class World:
    """Carries out commands in an order of its own, and tells of it in events."""

    def __init__(self, seed: int, *, warm: bool) -> None:
        self.rng = random.Random(seed)
        self.ended: dict[int, Any] = {}
        parted = lambda trial, _: self.ended.update({trial.number: trial})  # noqa: E731
        self.controller = Controller(Moody(random.Random(seed)), parted)
        self.journal = MemoryJournal(HEADER)
        self.alive: dict[tuple[int, int], dict[str, Any]] = {}
        self.todo: list[cmd.Command] = []
        self.saved = 0
        self.happens(ev.ExperimentStarted({**SPEC, "warm_pause": warm}))
        self.happens(ev.CapacityChanged({"cpu": 2.0}))

    def happens(self, event: Any) -> None:
        if self.controller.accepts(event):
            decisions, commands = self.controller.handle(event, accepted=True)
            self.journal.append([Record(event, decisions)])
            for command in commands:
                self.obey(command)

    def obey(self, command: cmd.Command) -> None:
        if isinstance(command, cmd.Launch):
            self.alive[command.trial, command.attempt] = {"started": False, "at": command.iteration, "order": ""}
        elif isinstance(command, (cmd.Continue, cmd.Pause, cmd.Stop, cmd.Kill)):
            attempt = self.alive.get((command.trial, command.attempt))
            if attempt is not None:
                attempt["order"] = "" if isinstance(command, cmd.Continue) else getattr(command, "mode", "stop")
        elif isinstance(command, (cmd.Suggest, cmd.Explore)):
            self.todo.append(command)

    def step(self) -> None:
        """One thing that could happen now."""
        rng, controller = self.rng, self.controller
        self.todo.append(cmd.Continue(-1, -1))  # do nothing of the pending ones
        command = self.todo.pop(rng.randrange(len(self.todo)))
        self.todo = [item for item in self.todo if not isinstance(item, cmd.Continue)]
        if isinstance(command, cmd.Suggest):
            for _ in range(command.n):  # numbers follow each other, whatever order requests are met in
                self.happens(ev.Suggested(controller.state.next_number, {"lr": 0.1}))
        elif isinstance(command, cmd.Explore):
            self.happens(ev.Explored(command.trial, {"lr": rng.random()}))
        elif rng.random() < 0.05 and controller.state.trials:
            self.happens(ev.UserAction(rng.choice(["pause", "resume", "stop"]), rng.choice(sorted(controller.state.trials))))
        elif rng.random() < 0.05:
            self.happens(ev.CapacityChanged({"cpu": rng.choice([1.0, 2.0, 3.0])}))
        elif rng.random() < 0.1 and self.ended:
            trial = self.ended.pop(rng.choice(sorted(self.ended)))
            self.happens(reopening(trial, rng.choice(["errored", "criterion"]), restart=rng.random() < 0.3))
        elif self.alive:
            self.attempt_acts(*rng.choice(sorted(self.alive)))

    def attempt_acts(self, trial: int, number: int) -> None:
        attempt = self.alive[trial, number]
        if attempt["order"] == "warm":
            return
        if not attempt["started"]:
            attempt["started"] = True
            self.happens(ev.AttemptStarted(trial, number, {"pid": trial}))
        elif attempt["order"]:
            if attempt["order"] == "cold":
                self.happens(ev.CheckpointSaved(trial, number, attempt["at"], self.checkpoint(trial)))
            del self.alive[trial, number]
            self.happens(ev.AttemptEnded(trial, number, "stopped"))
        elif self.rng.random() < 0.15:
            del self.alive[trial, number]
            self.happens(ev.AttemptEnded(trial, number, self.rng.choice(["finished", "user_error", "worker_lost", "infeasible"])))
        else:
            attempt["at"] += 1
            checkpoint = self.checkpoint(trial) if self.rng.random() < 0.5 else None
            self.happens(ev.Reported(trial, number, attempt["at"], {"loss": self.rng.random(), "time_total_s": 1.0}, checkpoint))

    def checkpoint(self, trial: int) -> str:
        self.saved += 1
        return f"{trial}/checkpoint_{self.saved:06d}"


@given(st.integers(0, 2**32), st.booleans())
def test_views_agree_with_the_controller(seed: int, warm: bool) -> None:
    world = World(seed, warm=warm)
    state = world.controller.state
    full = TrialBook(HEADER, reader=world.journal.read)
    lean = TrialBook(HEADER, reader=world.journal.read, keep_finished=False)
    for _ in range(80):
        world.step()
        for record in world.journal.read(full.cursor):
            full.apply(record)
            lean.apply(record)
        for number, trial in state.trials.items():
            view = full.trials[number]
            starting = trial.status == RUNNING and not trial.started
            assert view.status == ("PENDING" if starting else trial.status)
            assert (view.values, view.checkpoint_id, view.resources) == (trial.values, trial.checkpoint, trial.resources)
        assert len(full.trials) == len(lean.trials) == len(state.ended)
        assert full.counts == lean.counts
        for status in ("TERMINATED", "ERROR", "PAUSED"):
            assert full.counts[status] == state.counts[status]
    for left, right in zip(full.trials, lean.trials, strict=True):
        names = ("status", "values", "last_result", "outcome", "reason", "error", "num_failures", "checkpoint_id", "stopped", "attempt")
        assert [getattr(left, name) for name in names] == [getattr(right, name) for name in names]
    histories = Histories(Experiment(HEADER)).update(world.journal)
    for trial in full.trials:
        alone = Histories(trial.experiment).fold(trial.records())
        assert alone.rows.get(trial.number, {}) == histories.rows.get(trial.number, {})
        assert alone.checkpoints.get(trial.number, {}) == histories.checkpoints.get(trial.number, {})

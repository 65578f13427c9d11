"""Schedulers that do their worst, worlds of all kinds, and a second book of what is owed."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import strategies as st

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.invariants import check
from tunesmith.core.policy import RESUMABLE
from tunesmith.core.ports import Record
from tunesmith.core.transitions import MOVES, STARTING, TABLE
from tunesmith.core.trial import ERROR, PENDING, RUNNING, TERMINATED
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.fifo import FIFOScheduler
from tunesmith.testing.loop import Loop, fold
from tunesmith.testing.world import Fates, World


class Nasty(Scheduler):
    """Stops, pauses, saves and exploits at random, its own trial or any other, alive or not; chooses at random, or nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.met: list[int] = []

    def _wishes(self, number: int) -> list[Decision]:
        wishes = []
        for _ in range(self.rng.choice((0, 0, 1, 1, 2, 3))):
            who = self.rng.choice(self.met) if self.rng.random() < 0.5 else number
            power = self.rng.randrange(6)
            if power == 0:
                wishes.append(self.stop("unlucky", who))
            elif power in (1, 2):
                wishes.append(self.pause("tired", who))
            elif power == 3:
                wishes.append(self.save(who))
            else:
                values = {"x": self.rng.random()} if power == 4 else None
                wishes.append(self.exploit(self.rng.choice(self.met), "better", trial=who, values=values))
        return wishes

    def on_trial_add(self, trial: Any) -> Any:
        self.met = [*self.met[-9:], trial.number]
        return self._wishes(trial.number) if self.rng.random() < 0.1 else None

    def on_result(self, trial: Any, result: Any) -> Any:
        return self._wishes(trial.number) if self.rng.random() < 0.5 else self.CONTINUE

    def on_trial_end(self, trial: Any, outcome: str) -> Any:
        return self._wishes(self.met[-1]) if self.rng.random() < 0.2 else None

    def choose(self, runnable: Any) -> Any:
        options = [*runnable.pending, *(trial for number in runnable.paused if (trial := runnable.get(number)) is not None)]
        return self.rng.choice(options) if options and self.rng.random() < 0.8 else None


class Resizing(Nasty):
    """Besides, it changes what trials take at random, to what there is and to what there is not."""

    SIZES = (*({"cpu": amount} for amount in (0, 1, 2, 3, 4, 9)), {"gpu": 0.5}, {"gpu": 1}, {"gpu": 2, "cpu": 2}, {"gpu": 3})

    def _wishes(self, number: int) -> list[Decision]:
        wishes = super()._wishes(number) if self.rng.random() < 0.4 else []
        for _ in range(self.rng.choice((0, 1, 1, 2))):
            who = self.rng.choice(self.met) if self.rng.random() < 0.5 else number
            wishes.append(self.resize(self.rng.choice(self.SIZES), "fits better", who))
        return wishes


class Owed:
    """Commands that no event has confirmed, by a book of its own: it sees commands and events, never the state."""

    def __init__(self) -> None:
        self.attempts: dict[tuple[int, int], cmd.Command] = {}
        self.saves: set[tuple[int, int]] = set()
        self.explores: dict[int | None, cmd.Explore] = {}
        self.timers: dict[str, float] = {}
        self.asked = self.suggested = 0
        self.finish: list[cmd.Command] = []
        self.ending = False
        self.only: tuple[int, ...] | None = None

    def _attempt_over(self, key: tuple[int, int]) -> None:
        self.attempts.pop(key, None)
        self.saves.discard(key)

    def event(self, event: ev.Event) -> None:
        match event:
            case ev.ExperimentStarted():
                self.asked = 0
                self.finish.clear()
                self.ending = False
                self.only = event.only
            case ev.Suggested():
                self.asked -= 1
                self.suggested += 1
            case ev.SearchExhausted():
                self.asked = 0
            case ev.AttemptStarted(trial, attempt):
                if isinstance(self.attempts.get((trial, attempt)), cmd.Launch):
                    del self.attempts[trial, attempt]
            case ev.Reported(trial, attempt):
                self.attempts.pop((trial, attempt), None)
                if event.checkpoint is not None:
                    self.saves.discard((trial, attempt))
            case ev.CheckpointSaved(trial, attempt) | ev.SaveSkipped(trial, attempt):
                self.saves.discard((trial, attempt))
            case ev.AttemptEnded(trial, attempt):
                self._attempt_over((trial, attempt))
            case ev.Explored(trial):
                del self.explores[trial]  # it was owed, or it would have been late
            case ev.TimerFired(timer):
                del self.timers[timer]

    def decided(self, decision: Decision, commands: list[cmd.Command]) -> None:
        number = decision.trial
        if decision.do == "exploit" and "values" not in decision.data:
            self.explores[number] = [one for one in commands if isinstance(one, cmd.Explore) and one.trial == number][-1]
        elif decision.do in ("skip", "end"):
            self.explores.pop(number, None)
        elif decision.do == "halt":
            self.asked = 0
            self.ending = True

    def command(self, command: cmd.Command) -> None:
        match command:
            case cmd.Suggest(n):
                self.asked += n
            case cmd.Save(trial, attempt):
                self.saves.add((trial, attempt))
            case cmd.SetTimer(timer, at):
                self.timers.pop(timer, None)
                if at is not None:
                    self.timers[timer] = at
            case cmd.Finish():
                self.finish.append(command)
            case cmd.DeleteCheckpoint() | cmd.Explore():
                pass
            case _:
                self.attempts[command.trial, command.attempt] = command

    def all(self) -> list[cmd.Command]:
        owed = [*self.attempts.values(), *(cmd.Save(*key) for key in self.saves), *self.finish]
        owed += [cmd.SetTimer(timer, at) for timer, at in self.timers.items()]
        owed += [] if self.ending else [one for trial, one in self.explores.items() if self.only is None or trial in self.only]
        return owed + ([cmd.Suggest(self.asked, self.suggested)] if self.asked else [])


class Watch:
    """Checks after each event: the invariants, the owed commands, the ways that statuses go, what the scheduler is shown."""

    def __init__(self, *, takes_pending: bool) -> None:
        self.takes_pending = takes_pending
        self.owed = Owed()
        self.statuses: dict[int, str] = {}
        self.dos: set[str] = set()

    def __call__(self, loop: Loop, record: Record, commands: list[cmd.Command]) -> None:
        try:
            check(loop.controller, shrunk=loop.world.shrunk, takes_pending=self.takes_pending)
            self._owed(loop, record, commands)
            self._moves(loop, record)
        except Exception as error:
            error.add_note(loop.story())
            raise
        self.dos |= {decision.do for decision in record.decisions}

    def _owed(self, loop: Loop, record: Record, commands: list[cmd.Command]) -> None:
        self.owed.event(record.event)
        for decision in record.decisions:
            self.owed.decided(decision, commands)
        for command in commands:
            self.owed.command(command)
        assert sorted(map(repr, loop.controller.wanted())) == sorted(map(repr, self.owed.all()))

    def _moves(self, loop: Loop, record: Record) -> None:
        """Every change of a status is one that the table draws."""
        state = loop.controller.state
        now = {
            number: STARTING if trial.status == RUNNING and not trial.started else trial.status for number, trial in state.trials.items()
        }
        now |= {number: (TERMINATED, ERROR)[code - 1] for number, code in enumerate(state.ended) if code}
        for number, status in now.items():
            before = self.statuses.get(number, "NEW")
            own = getattr(record.event, "trial", None) == number
            reached = {before} if not own else {*TABLE[before, type(record.event)][1]}
            while more := {target for (source, target) in MOVES if source in reached} - reached:
                reached |= more
            assert status in reached, f"trial {number} went from {before} to {status} by {record.event!r}"
        self.statuses = now


def draw_settings(pick: random.Random) -> dict[str, Any]:
    return {
        "num_samples": pick.choice((6, 10)),
        "num_to_keep": pick.choice((None, 1, 2)),
        "keep_best": pick.choice((None, None, 1, 2)),
        "max_checkpoint_bytes": pick.choice((None, None, 50, 300)),
        "retries": {"user_error": pick.choice((0, 1, 2))},
        "identical": pick.choice((None, 5)),
        "growing": pick.random() < 0.5,
        "warm_pause": pick.random() < 0.5,
        "warm_slots": pick.choice((1, 64)),
        "max_concurrent": pick.choice((None, 2)),
        "exploit_wait_s": pick.choice((0.1, 5.0)),
        "max_trial_s": pick.choice((None, 3.0)),
        "max_silence_s": pick.choice((None, 1.0)),
        "time_budget_s": pick.choice((None, None, 8.0)),
        "drain_s": pick.choice((None, 0.0, 0.3, 5.0)),
        "save_at_end": pick.random() < 0.5,
        "metrics": ["loss"],
        "modes": ["min"],
        "fail_fast": pick.random() < 0.05,
    }


def draw_fates(pick: random.Random) -> Fates:
    resources = pick.choice(((), ({"cpu": 1}, {"cpu": 2}, {"gpu": 0.5, "cpu": 1}, {"gpu": 2})))
    return Fates(
        checkpoint=pick.choice((0.0, 0.3, 1.0)),
        failures=pick.choice(({}, {"user_error": 0.05, "worker_lost": 0.05, "oom_ram": 0.02, "infeasible": 0.02, "nan": 0.02})),
        unstarted=pick.choice((0.0, 0.05)),
        ask_save=pick.choice((0.3, 1.0)),
        hostile=pick.choice((0.0, 0.2)),
        users=pick.choice((0.0, 0.1)),
        capacity=pick.choice((0.0, 0.05)),
        exhausted_after=pick.choice((None, 7)),
        resources=resources,
        quarantine=pick.choice((0.0, 0.05)),
    )


def make_loop(seed: int, scheduler: type[Scheduler], **settings: Any) -> tuple[Loop, Watch]:
    """An experiment of which everything follows from the seed."""
    pick = random.Random(seed)
    fates = draw_fates(pick)
    drawn = {**draw_settings(pick), "config_resources": bool(fates.resources), **settings}
    if fates.capacity:
        drawn["growing"] = True
    world = World(seed, fates, totals={"cpu": 4.0, "gpu": 2.0}, slots=pick.choice((None, 1, 3)), can_save=pick.random() < 0.5)
    watch = Watch(takes_pending=scheduler is FIFOScheduler)
    loop = Loop(scheduler, drawn, world, watch=watch)
    if pick.random() < 0.3:
        world.send(ev.StopRequested("enough", drain=pick.random() < 0.5), pick.random() * 6)
    return loop, watch


def finish(loop: Loop, limit: int = 10_000) -> None:
    """Run to the end, over ends that leave something to be resumed too; nothing is left, and the journal folds into the same state."""
    loop.run(limit)
    state = loop.controller.state
    while state.trials and (state.kind in RESUMABLE or state.only):
        assert all(trial.status in (PENDING, "PAUSED") for trial in state.trials.values())
        loop.world.crash()
        loop.resume()
        loop.run(2 * limit)
        state = loop.controller.state
    assert not state.trials
    champion = state.shelf.champion
    assert state.pins == ({} if champion is None else {champion[1].id: 1})
    assert not state.timers
    assert not any(state.pool.used.values())
    folded = fold(loop.records, loop.scheduler())
    assert not folded.difference
    assert folded.digest() == loop.controller.digest()


class Tools:
    """What the tests of this folder share."""

    Nasty, Resizing, Watch, Owed = Nasty, Resizing, Watch, Owed
    make_loop = staticmethod(make_loop)
    finish = staticmethod(finish)
    seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="session")
def tools() -> type[Tools]:
    return Tools

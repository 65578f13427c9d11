"""The shell's loop without its edges: plays one experiment in a :class:`~tunesmith.testing.world.World`; it can crash and go on.

Example:
    >>> from tunesmith.schedulers import FIFOScheduler
    >>> loop = Loop(FIFOScheduler, {"num_samples": 3}, World(seed=1))
    >>> loop.run()
    'all 3 trials have ended'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.controller import Controller, SchedulerPort
from tunesmith.core.policy import FAILURES
from tunesmith.core.ports import Record
from tunesmith.core.rounds import Rounds
from tunesmith.core.trial import Trial
from tunesmith.resume import reopening
from tunesmith.testing.world import World, nudge

__all__ = ["Loop", "fold"]


class Loop:
    """The shell's loop without its edges: one experiment in a world.

    Args:
        scheduler: makes a fresh scheduler, the same each time.
        settings: the spec of ``ExperimentStarted``.
        watch: called after each handled event with the loop, the record and the commands.

    Attributes:
        controller: of the present session.
        records: everything handled so far, as a journal would hold it.
        events: how many events were offered, the ignored ones included.
        ended: the trials that are over, as they were just before.
    """

    def __init__(
        self,
        scheduler: Callable[[], SchedulerPort],
        settings: Mapping[str, Any],
        world: World,
        *,
        watch: Callable[[Loop, Record, list[cmd.Command]], None] | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.settings = {"seed": world.seed, "can_save": world.can_save, **settings}
        self.world = world
        self.watch = watch
        self.ended: dict[int, Trial] = {}
        self.controller = self._controller([])
        self.records: list[Record] = []
        self.events = 0
        self.rounds = Rounds() if self.settings.get("deterministic") else None

    def start(self) -> None:
        """Begin the first session."""
        self.feed(ev.ExperimentStarted(dict(self.settings)))
        self.feed(ev.CapacityChanged(self.world.totals, self.world.slots))

    def run(self, limit: int = 100_000) -> str:
        """Run until the controller has finished; the reason.

        Raises:
            AssertionError: it never does: nothing more happens, or ``limit`` events were not enough.
        """
        if not self.records:
            self.start()
        while not self.controller.state.finished:
            self.step()
            assert self.events <= limit, f"not finished after {limit} events: {self.story()}"
        return self.controller.state.finished

    def step(self) -> None:
        """Let the next thing happen."""
        released = self._released([])
        while not released:
            event = self.world.next()
            assert event is not None, f"nothing will ever happen, and it has not finished: {self.story()}"
            released = self._released([event])
        for event in released:
            self.feed(event)

    def feed(self, event: ev.Event) -> list[cmd.Command]:
        """Handle one event, and carry out what follows."""
        self.events += 1
        event.at = self.world.now
        if not self._news(event):
            return []
        decisions, commands = self.controller.handle(event)
        record = Record(event, decisions)
        self.records.append(record)
        for command in commands:
            self.world.obey(command)
        if self.watch is not None:
            self.watch(self, record, commands)
        return commands

    def crash(self, reopen: Collection[int] = (), only: Collection[int] | None = None, **changes: Any) -> None:
        """The driver dies here; another one folds the journal and goes on, as :meth:`resume` says.

        Raises:
            AssertionError: the fold gives another state than the one that died.
        """
        before = self.controller.digest()
        self.world.crash()
        ends = [record.event for record in self.records if isinstance(record.event, ev.AttemptEnded)]
        self.world.failed = Counter(event.trial for event in ends if event.outcome in FAILURES)  # of what the journal knows
        self.controller = self._controller(self.records)
        assert not self.controller.difference, self.controller.difference
        assert self.controller.digest() == before, "the fold of the journal gives another state"
        self.rounds = Rounds() if self.rounds is not None else None
        self.resume(reopen, only, **changes)

    def resume(self, reopen: Collection[int] = (), only: Collection[int] | None = None, *, restart: bool = False, **changes: Any) -> None:
        """Begin another session.

        Args:
            reopen: ended trials that go on; ``restart``: from scratch.
            only: the session is about these and the live ones among ``only``; None: about all.
            changes: settings that are others now.
        """
        lost = self.controller.alive()
        about = None if only is None else tuple(sorted({*only, *reopen}))
        self.feed(ev.ExperimentStarted({}, self.controller.state.session + 1, only=about))
        if changes:
            self.feed(ev.SpecChanged(changes))
        late = [trial for trial, _ in lost if self.rounds is not None and self.controller.state.trials[trial].then]
        for trial, attempt in lost:
            if trial not in late:
                self.feed(ev.AttemptEnded(trial, attempt, "driver_lost"))
        for number in sorted(reopen):
            self._reopen(number, restart)
        self.feed(ev.CapacityChanged(self.world.totals, self.world.slots))
        for trial, attempt in lost:
            if trial in late:  # told to end already: its end takes its turn in a round, as it would have
                self.world.send(ev.AttemptEnded(trial, attempt, "driver_lost"))

    def _reopen(self, number: int, restart: bool) -> None:
        state = self.controller.state
        why = "errored" if state.ended[number] == 2 else "criterion"
        self.feed(reopening(self.ended[number], why, self.world.deleted | state.doomed, restart=restart))

    def story(self, last: int = 12) -> str:
        """The end of it, for failing tests."""
        lines = [f"{record.event!r} -> {[(d.do, d.trial, d.reason) for d in record.decisions]}" for record in self.records[-last:]]
        return "\n".join(["", *lines, f"owed: {self.controller.wanted()}", *map(repr, self.controller.state.trials.values())])

    def _controller(self, records: list[Record]) -> Controller:
        scheduler = self.scheduler()
        self.world.explore = getattr(scheduler, "explore", None) or nudge
        return fold(records, scheduler, lambda trial, _: self.ended.update({trial.number: trial}))

    def _released(self, events: list[ev.Event]) -> list[ev.Event]:
        if self.rounds is None:
            return events
        state = self.controller.state
        news = [event for event in events if self._news(event)]
        return self.rounds.offer(news, self.controller.awaited(), state.asked, state.exploring())

    def _news(self, event: ev.Event) -> bool:
        if self.controller.accepts(event):
            return True
        self.controller.state.late += 1
        if self.rounds is not None and isinstance(event, ev.Reported) and self.rounds.holds(event.trial, event.attempt):
            return False
        if isinstance(event, ev.Reported) and (reply := self.controller.reply(event)) is not None:
            self.world.obey(reply)
        return False


def fold(
    records: Iterable[Record], scheduler: SchedulerPort, parted: Callable[[Trial, cmd.Decision], None] | None = None
) -> Controller:
    """A controller that has gone through the records again."""
    controller = Controller(scheduler, parted)
    for record in records:
        controller.handle(record.event, record.decisions)
    return controller

"""Rounds: the order of events that ``deterministic=True`` promises, whatever the timing.

Between two rounds the controller owes and is owed a fixed set of things: new suggestions, answers to explorations, and from every
attempt that runs its next word. They come in any order. They are let through in one only:

1. what was asked for, once all of it is there: ``Explored`` by trial number, then ``Suggested`` by trial number, then ``SearchExhausted``;
   this may launch attempts and ask for more, so it is repeated until nothing asked for is outstanding;
2. a round: from every running attempt, by trial number, what it sent up to and including its next ``Reported`` or ``AttemptEnded``; that
   attempts have started comes before all else, so that a wish about any of them finds it running.

So a decision never depends on which of two trials was quicker. Events that neither concern a running attempt nor were asked for (a
person's, the cluster's, late ones) pass at once: they are not of the run's own making, or the controller will drop them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from tunesmith.core import events as ev

__all__ = ["Rounds"]

Attempt = tuple[int, int]


class Rounds:
    """Holds events back until their round is complete.

    Example:
        >>> rounds = Rounds()
        >>> running = [(0, 0), (1, 0)]
        >>> rounds.offer([ev.AttemptStarted(1, 0), ev.Reported(1, 0, 1, {})], running)
        []
        >>> [(event.trial, type(event).__name__) for event in rounds.offer([ev.AttemptEnded(0, 0, "finished")], running)]
        [(1, 'AttemptStarted'), (0, 'AttemptEnded'), (1, 'Reported')]
    """

    def __init__(self) -> None:
        self._streams: dict[Attempt, deque[ev.Event]] = {}
        self._suggested: dict[int, ev.Event] = {}
        self._exhausted: ev.Event | None = None
        self._explored: dict[int, ev.Event] = {}

    def offer(
        self, events: Iterable[ev.Event], awaited: Collection[Attempt], asked: int = 0, exploring: Collection[int] = ()
    ) -> list[ev.Event]:
        """Take what came in; return what may be handled now, in the order in which it must be.

        Call it again with no events after each batch that it returned, until it returns none: only then is there anything to wait for.

        Args:
            events: in the order of their arrival (that of one attempt's events matters). Only those that the controller accepts
                now: a repeated report must not take its trial's turn. It is to be asked again when they are released.
            awaited: (trial, attempt) of every attempt that runs or unwinds: :meth:`tunesmith.core.controller.Controller.awaited`.
            asked: how many suggestions are on their way: asked for, and not held back by the searcher until a trial has ended.
            exploring: trials whose new values are on their way: ``State.exploring()``.
        """
        wanted = set(awaited)
        passed = [event for event in events if not self._hold(event, wanted, asked, exploring)]
        for key in [key for key in self._streams if key not in wanted]:
            passed += self._streams.pop(key)
        if passed:
            return passed
        if asked or exploring or self._suggested or self._explored or self._exhausted is not None:
            return self._answers(asked, exploring)
        return self._round(sorted(wanted))

    def holds(self, trial: int, attempt: int) -> bool:
        """Whether a report of this attempt waits for its round: an older one that repeats itself gets no answer meanwhile."""
        return any(isinstance(event, ev.Reported) for event in self._streams.get((trial, attempt), ()))

    def _hold(self, event: ev.Event, wanted: set[Attempt], asked: int, exploring: Collection[int]) -> bool:
        """Keep it for later, if its time will come."""
        if isinstance(event, (ev.AttemptStarted, ev.Reported, ev.CheckpointSaved, ev.SaveSkipped, ev.AttemptEnded)):
            key = (event.trial, event.attempt)
            if key not in wanted:
                return False
            stream = self._streams.setdefault(key, deque())
            if not isinstance(event, ev.Reported) or not _repeats(event, stream):
                stream.append(event)
            return True
        if isinstance(event, ev.Suggested):
            if asked:
                self._suggested[event.trial] = event
            return asked > 0
        if isinstance(event, ev.SearchExhausted):
            if asked:
                self._exhausted = event
            return asked > 0
        if isinstance(event, ev.Explored) and event.trial in exploring:
            self._explored[event.trial] = event
            return True
        return False

    def _answers(self, asked: int, exploring: Collection[int]) -> list[ev.Event]:
        if (len(self._suggested) < asked and self._exhausted is None) or not all(trial in self._explored for trial in exploring):
            return []
        released = [held[trial] for held in (self._explored, self._suggested) for trial in sorted(held)]
        if self._exhausted is not None:
            released.append(self._exhausted)
        self._explored.clear()
        self._suggested.clear()
        self._exhausted = None
        return released

    def _round(self, wanted: list[Attempt]) -> list[ev.Event]:
        if not wanted or not all(any(_closes(event) for event in self._streams.get(key, ())) for key in wanted):
            return []
        released = []
        for key in wanted:
            stream = self._streams[key]
            while True:
                event = stream.popleft()
                released.append(event)
                if _closes(event):
                    break
        released.sort(key=lambda event: not isinstance(event, ev.AttemptStarted))  # stable: otherwise in their order
        return released


def _closes(event: ev.Event) -> bool:
    return isinstance(event, (ev.Reported, ev.AttemptEnded))


def _repeats(event: ev.Reported, stream: deque[ev.Event]) -> bool:
    """Whether this report is there already; it is answered when that one is."""
    return any(isinstance(other, ev.Reported) and other.iteration >= event.iteration for other in stream)

"""A small experiment as a searcher lives through it, over any number of sessions; for :mod:`tunesmith.testing.searcher_kit`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from tunesmith.core.commands import Decision, Suggest
from tunesmith.core.events import AttemptEnded, Event, ExperimentStarted, Reported, SearchExhausted, Suggested
from tunesmith.core.ports import Record
from tunesmith.search.base import Searcher
from tunesmith.search.earlier import Earlier
from tunesmith.search.host import SearchHost
from tunesmith.space import Space

__all__ = ["SearcherStory"]

_WAIT_S = 60.0


class SearcherStory:
    """Seven trials, two at a time; each ends after two reports, every fourth in an error.

    Moments are each suggestion that is made, and each record; after any of them the driver may die, and what was suggested and is not
    on record is lost.

    Args:
        make: a new searcher.
        space: what it searches.
        metric, mode: what is reported, and optimised.
    """

    trials = 7

    def __init__(self, make: Callable[[], Searcher], space: Space, metric: str, mode: str) -> None:
        self._make, self._space, self._metric, self._mode = make, space, metric, mode
        self._records: list[tuple[Record, list[Suggest]]] = []
        self._host = self._begin()

    def resume(self) -> None:
        """The driver dies, and another one goes on."""
        self._host.close()
        self._host = self._begin()

    def _begin(self) -> SearchHost:
        earlier, session = Earlier(), -1
        for record, _ in self._records:
            if isinstance(record.event, ExperimentStarted):
                session = record.event.session
            elif isinstance(record.event, Suggested):
                earlier.values[record.event.trial], earlier.sessions[record.event.trial] = record.event.values, session
        self._answered = threading.Event()
        host = SearchHost(
            self._make(), self._space, seed=3, metrics=[self._metric], modes=[self._mode], trial_id=str, wake=self._answered.set,
            earlier=earlier,
        )  # fmt: skip
        for record, asked in self._records:
            host.replay(record, asked)
        self._happens(ExperimentStarted({}, session + 1), host=host)
        return host

    def play(self, moments: int = 1000) -> int:
        """Go on for so many moments, or to the end.

        Raises:
            AssertionError: the search ended, or no suggestion came.

        Returns:
            how many there were.
        """
        done = 0
        for step in self._steps():
            if done == moments:
                break
            step()
            done += 1
        if done < moments:
            self._host.close()
        return done

    def _steps(self) -> Iterator[Callable[[], Any]]:
        while True:
            proposed, live = len(self.proposed()), self._live()
            if proposed < self.trials and len(live) < 2:
                found: list[Suggested] = []
                yield lambda number=proposed, found=found: found.append(self._ask(number))  # type: ignore[misc]
                yield lambda found=found: self._happens(found[0])  # type: ignore[misc]
            elif live:
                reports = {number: self._reports(number) for number in live}
                number = min(live, key=lambda one: (reports[one], -one))  # the younger one first
                yield lambda number=number, count=reports[number]: self._next(number, count)  # type: ignore[misc]
            else:
                return

    def _ask(self, number: int) -> Suggested:
        self._records[-1][1].append(Suggest(1, number))
        self._host.request(1, number)
        while not (answers := self._host.poll()):
            assert self._answered.wait(_WAIT_S), f"no suggestion came within {_WAIT_S:g} s"
            self._answered.clear()
        assert not isinstance(answers[0], SearchExhausted), answers[0].reason
        return answers[0]

    def _next(self, number: int, count: int) -> None:
        if count < 2:
            loss = (number * 5 % 7) / (count + 1)
            self._happens(Reported(number, 0, count + 1, {self._metric: loss, "training_iteration": count + 1}))
        else:
            outcome = "user_error" if number % 4 == 3 else "finished"
            self._happens(AttemptEnded(number, 0, outcome), Decision("end", number, "", {"outcome": outcome}))

    def _happens(self, event: Event, *decisions: Decision, host: SearchHost | None = None) -> None:
        record = Record(event, list(decisions), seq=len(self._records) + 1)
        self._records.append((record, []))
        (host or self._host).observe(record)

    # ---- what has happened

    def proposed(self) -> list[dict[str, Any]]:
        """Values of all trials."""
        return [record.event.values for record, _ in self._records if isinstance(record.event, Suggested)]

    def _live(self) -> list[int]:
        over = {record.event.trial for record, _ in self._records if isinstance(record.event, AttemptEnded)}
        return [number for number in range(len(self.proposed())) if number not in over]

    def _reports(self, number: int) -> int:
        return sum(isinstance(record.event, Reported) and record.event.trial == number for record, _ in self._records)

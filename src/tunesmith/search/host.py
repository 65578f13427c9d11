"""Where a searcher runs: in the loop if it is cheap, else in one thread of its own, one call at a time."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any

from tunesmith.blame import describe_exception
from tunesmith.core.commands import Suggest
from tunesmith.core.events import AttemptEnded, ExperimentStarted, Reported, SearchExhausted, Suggested
from tunesmith.core.ports import Record
from tunesmith.errors import SpaceError, TuneError, UserCodeError
from tunesmith.search.base import Exhausted, Proposal, Searcher
from tunesmith.search.earlier import Earlier, given_by, repeats
from tunesmith.space import Space

__all__ = ["SearchHost"]

_log = logging.getLogger("tunesmith")

_MOVES = frozenset({"end", "launch", "pause", "paused"})
"""Decisions that searchers are not told of, but by which it is known who still reports."""
IDLE_ASKS = 100
"""So often a searcher may answer "nothing now" while no trial is under way, before it counts as exhausted."""

_GOOD_ENDS = frozenset({"finished", "stopped"})
_CLOSE_S = 1.0

Prepare = Callable[[int, dict[str, Any]], Mapping[str, Any]]


class SearchHost:
    """Asks a searcher for configurations, tells it results, and shields the experiment from it.

    An exception in the searcher becomes :class:`SearchExhausted` with a reason that names the searcher, the exception and the line.

    Args:
        searcher: bound to the space here.
        space: the experiment's.
        seed: the experiment's.
        metrics, modes: what is optimised, of equal length.
        trial_id: trial number -> id.
        prepare: called on the loop's thread for each suggestion with trial number and values; returns further fields of ``Suggested``
            (``resources``, ``name``, ``dirname``).
        wake: called from the searcher's thread when answers are ready for :meth:`poll`.
        earlier: of the sessions whose records :meth:`replay` is given.
        threaded: one that is not cheap has a thread of its own; false: it is called on the loop's, however long it takes.
        **task: what else the searcher may want to know: see :meth:`Searcher.bind`.

    Raises:
        SpecError: the searcher cannot work on this space.

    Example:
        >>> from tunesmith.search import BasicVariantGenerator
        >>> from tunesmith.space import choice
        >>> space = Space.parse({"x": choice([7])})
        >>> host = SearchHost(BasicVariantGenerator(), space, seed=1, trial_id=str)
        >>> host.request(2, first=0)
        >>> [(event.trial, event.values) for event in host.poll()]
        [(0, {'x': 7}), (1, {'x': 7})]
        >>> host.close()
    """

    def __init__(
        self,
        searcher: Searcher,
        space: Space,
        *,
        seed: int,
        metrics: Sequence[str] = (),
        modes: Sequence[str] = (),
        trial_id: Callable[[int], str],
        prepare: Prepare | None = None,
        wake: Callable[[], None] = lambda: None,
        earlier: Earlier | None = None,
        threaded: bool = True,
        **task: Any,
    ) -> None:
        searcher.bind(space, _one_or_list(metrics), _one_or_list(modes), seed, **task)
        self._earlier = earlier or Earlier()
        if self._earlier.first:
            searcher.begin_version(self._earlier.first, self._earlier.inside())
        self._searcher = searcher
        self._name = type(searcher).__name__
        self._trial_id = trial_id
        self._prepare = prepare
        self._wake = wake
        self._limit = searcher.max_concurrent or 0
        self._wants_results = searcher.overrides("on_trial_result")
        self._wants_ends = searcher.overrides("on_trial_complete") or searcher.overrides("on_trial_failed")
        # One that only suggests is asked again what it was asked, in the same places.
        self._asks_again = not (searcher.overrides("on_replayed") or searcher.overrides("propose"))
        # Nothing that happens to trials matters to a searcher without hooks whose answers are always there.
        hooks = self._wants_results or self._wants_ends or self._asks_again or searcher.overrides("on_replayed")
        self._follows = hooks or self._limit > 0 or not searcher.capabilities.cheap
        self._session = -1  # whose records are replayed
        # The next seven belong to the thread that calls the searcher.
        self._wanted: deque[int] = deque()
        self._again: dict[int, bool] = {}  # trials of earlier sessions that it was asked for again: whether it has answered
        self._differed = False
        self._live: dict[int, dict[str, Any] | None] = {}
        self._paused: set[int] = set()  # those of them that are held, and report nothing
        self._ended = ""
        self._idle = 0
        self._ready: deque[tuple[int, Proposal] | SearchExhausted] = deque()
        self._jobs: SimpleQueue[Callable[[], None] | None] | None = None
        self._given = self._done = 0  # jobs; each is counted by one thread only
        self._thread: threading.Thread | None = None
        if threaded and not searcher.capabilities.cheap:
            self._jobs = SimpleQueue()
            self._thread = threading.Thread(target=self._work, name=f"tunesmith-{self._name}", daemon=True)
            self._thread.start()

    # ---- called by the loop

    def total_samples(self, num_samples: int | None) -> int | None:
        """How many trials ``num_samples`` makes with this searcher and space; None: no end. Ask once, before the first request."""
        return self._searcher.total_samples(num_samples)

    def request(self, n: int, first: int) -> None:
        """Ask for ``n`` configurations, the first for trial number ``first``. Each is answered, sooner or later, through :meth:`poll`."""
        self._submit(lambda: self._request(n, first))

    def poll(self) -> list[Suggested | SearchExhausted]:
        """Answers that are ready, in the order of the trials.

        Raises:
            UserCodeError: ``prepare`` raised: a name creator or a function for resources.
        """
        events: list[Suggested | SearchExhausted] = []
        while self._ready:
            answer = self._ready.popleft()
            if isinstance(answer, SearchExhausted):
                events.append(answer)
            else:
                trial, proposal = answer
                events.append(Suggested(trial, proposal.values, proposal.source, **self._prepared(trial, proposal.values)))
        return events

    def observe(self, record: Record) -> None:
        """Tell the searcher what happened: results, and which trials are over (those with the decision "end").

        All records come through here in order, on a resume those of earlier sessions first (see :meth:`replay`).
        """
        if self._follows and record.handled and _matters(record):
            self._submit(lambda: self._observe(record))

    def replay(self, record: Record, asked: Iterable[Suggest] = ()) -> None:
        """As :meth:`observe`, for a record of an earlier session: from it the searcher learns what was proposed before it was made.

        Args:
            asked: the suggestions that were asked for because of it. Those that were lost with that session are asked for in a later one.
        """
        if isinstance(record.event, ExperimentStarted):
            self._session = record.event.session
        self.observe(record)
        if self._asks_again:
            sessions, now = self._earlier.sessions, self._session
            for command in asked:
                trials = [trial for trial in range(command.first, command.first + command.n) if sessions.get(trial) == now]
                if trials:
                    self._submit(lambda trials=trials: self._request_again(trials))  # type: ignore[misc]

    def held_back(self) -> int:
        """Configurations asked for that the searcher does not give before something happens to a trial; 0 while it is thinking."""
        return len(self._wanted) if self._given == self._done and not self._ready else 0

    def close(self) -> None:
        """Answers are no longer wanted. A call that is under way is left to end by itself. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None and self._jobs is not None:
            self._jobs.put(None)
            thread.join(_CLOSE_S)
        self._ready.clear()

    def _prepared(self, trial: int, values: dict[str, Any]) -> Mapping[str, Any]:
        if self._prepare is None:
            return {}
        try:
            return self._prepare(trial, values)
        except TuneError:
            raise
        except Exception as error:
            raise UserCodeError(
                f"Trial {self._trial_id(trial)} could not be set up: a function of yours that names trials or gives their resources "
                f"raised {describe_exception(error)}."
            ) from error

    # ---- called where the searcher is

    def _submit(self, job: Callable[[], None]) -> None:
        if self._jobs is None:
            job()
        else:
            self._given += 1
            self._jobs.put(job)

    def _work(self) -> None:
        assert self._jobs is not None
        while (job := self._jobs.get()) is not None:
            job()
            self._done += 1
            if self._ready or self._wanted:
                self._wake()

    def _request(self, n: int, first: int) -> None:
        self._wanted.extend(range(first, first + n))
        if self._ended and n:
            self._ready.append(SearchExhausted(self._ended))
        self._answer()

    def _request_again(self, trials: list[int]) -> None:
        self._wanted.extend(trials)
        self._again.update(dict.fromkeys(trials, False))
        self._answer()

    def _answer(self) -> None:
        """Ask the searcher until it has given all that is wanted, or has nothing now."""
        while self._wanted and not self._ended:
            if self._limit and len(self._live) - len(self._paused) >= self._limit:
                return
            trial = self._wanted[0]
            try:
                answer = self._propose(trial)
                if isinstance(answer, SpaceError) or (trial in self._again and answer is not None):
                    self._wanted.popleft()
                    self._compare(trial, answer)
                    continue
            except Exception as error:
                self._broken(error)
                return
            if isinstance(answer, Proposal):
                self._wanted.popleft()
                self._idle = 0
                if self._follows:
                    self._live[trial] = None
                self._ready.append((trial, answer))
            elif isinstance(answer, Exhausted):
                self._end(answer.reason)
            elif len(self._live) > len(self._paused) or trial in self._again:
                return
            else:
                self._idle += 1
                if self._idle >= IDLE_ASKS:
                    state = "all trials under way were paused" if self._live else "no trial was under way"
                    self._end(f"{self._name} had nothing to propose {IDLE_ASKS} times in a row while {state}")

    def _propose(self, trial: int) -> Proposal | Exhausted | SpaceError | None:
        """Ask it; what it proposes again may be outside of the space, if that has changed."""
        try:
            return self._searcher.propose(trial, self._trial_id(trial))
        except SpaceError as error:
            if trial not in self._again:
                raise
            return error

    def _observe(self, record: Record) -> None:
        try:
            self._tell(record)
        except Exception as error:
            self._broken(error)
        self._answer()

    def _tell(self, record: Record) -> None:
        event = record.event
        if isinstance(event, Suggested) and event.trial not in self._live:  # proposed by an earlier session
            self._replayed(event)
        elif isinstance(event, Reported) and event.trial in self._live and not self._ended:
            trial_id = self._trial_id(event.trial)
            result = self._live[event.trial] = {**event.metrics, "trial_id": trial_id}
            if self._wants_results:
                self._searcher.on_trial_result(trial_id, dict(result))
        for decision in record.decisions:
            trial = decision.trial
            if trial not in self._live:
                continue
            if decision.do == "paused" or (decision.do == "pause" and decision.data.get("mode") == "warm"):
                self._hold(trial)
            elif decision.do == "launch" and trial in self._paused:
                self._paused.discard(trial)
                if not self._ended:
                    self._searcher.on_unpause(self._trial_id(trial))
            elif decision.do == "end":
                self._paused.discard(trial)
                outcome = event.outcome if isinstance(event, AttemptEnded) and event.trial == trial else "stopped"
                self._complete(trial, decision.data.get("outcome", outcome))

    def _hold(self, trial: int) -> None:
        if trial not in self._paused:
            self._paused.add(trial)
            if not self._ended:
                self._searcher.on_pause(self._trial_id(trial))

    def _replayed(self, event: Suggested) -> None:
        trial, trial_id = event.trial, self._trial_id(event.trial)
        if self._ended:
            return
        if self._asks_again:
            if not self._again.pop(trial, False):  # it was asked somewhere else then, or has not answered where it did then
                if trial in self._wanted:
                    self._wanted.remove(trial)
                self._again[trial] = False
                self._compare(trial, self._propose(trial), event)
                del self._again[trial]
            return
        values = self._earlier.values.get(trial, event.values)
        if values is not None:
            self._live[trial] = None
            self._searcher.on_replayed(trial, trial_id, values)

    def _compare(self, trial: int, answer: Proposal | Exhausted | SpaceError | None, event: Suggested | None = None) -> None:
        """Take what it answers for a trial of an earlier session. Results of something else than it proposes now are not told to it."""
        self._again[trial] = True
        values = self._earlier.values.get(trial, event.values if event is not None else None)
        given = given_by(answer)
        if repeats(given, values):
            self._live[trial] = None
            return
        if isinstance(answer, Proposal | SpaceError):
            self._searcher.on_trial_complete(self._trial_id(trial), error=True)
        if values is not None and not self._differed:
            self._differed = True
            _log.warning(
                "%s does not repeat itself: trial %s has %s, and now it proposes %s. What became of such trials is not told to it. To go "
                "on exactly, it must depend on nothing but its seed and what it is told, or override on_replayed.",
                self._name, self._trial_id(trial), {name: values.get(name) for name in given or values}, given or answer,
            )  # fmt: skip

    def _complete(self, trial: int, outcome: str) -> None:
        result = self._live.pop(trial)
        if self._ended or not self._wants_ends:
            return
        trial_id, good = self._trial_id(trial), outcome in _GOOD_ENDS
        if not good:
            self._searcher.on_trial_failed(trial_id, outcome)
        self._searcher.on_trial_complete(trial_id, None if outcome == "infeasible" else result, not good)

    def _broken(self, error: Exception) -> None:
        if isinstance(error, TuneError):
            self._end(f"{self._name}: {error}")
        else:
            self._end(f"{self._name} raised {describe_exception(error)}")

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = reason
            self._ready.append(SearchExhausted(reason))


def _one_or_list(names: Sequence[str]) -> str | list[str] | None:
    if len(names) > 1:
        return list(names)
    return names[0] if names else None


def _matters(record: Record) -> bool:
    return isinstance(record.event, Reported | Suggested) or any(decision.do in _MOVES for decision in record.decisions)

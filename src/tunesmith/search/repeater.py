"""Each configuration several times: over random seeds, or over the folds of a cross-validation."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tunesmith.errors import SpaceError, SpecError
from tunesmith.search.base import Exhausted, Proposal, Searcher
from tunesmith.search.wrapper import SearcherWrapper
from tunesmith.space import Space

__all__ = ["TRIAL_INDEX", "Repeater"]

TRIAL_INDEX = "__trial_index__"
"""The entry of the config that says which of its repeats a trial is."""

_log = logging.getLogger("tunesmith")


@dataclass(slots=True)
class _Group:
    """The trials of one configuration.

    Args:
        number: what the searcher counts it as.
        trial_id: under which the searcher knows it: that of the first of them.
        proposal: None: the searcher was asked, and gave what the space does not have: ``refusal``.
        last: number of the last trial that can be in it.
        held: the searcher was told that it is.
        over: what came of its trials that are over, by number: the last result, and the class of the failure.
    """

    number: int
    trial_id: str
    proposal: Proposal | None
    last: int
    refusal: SpaceError | None = None
    size: int = 0
    live: dict[str, int] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    held: bool = False
    over: dict[int, tuple[dict[str, Any] | None, str | None]] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any] | None:
        """Without the index."""
        return None if self.proposal is None else self.proposal.values


class Repeater(SearcherWrapper):
    """Tries each configuration of another searcher ``repeat`` times, and tells it the mean.

    The trials of a group follow each other, and may run at once. When all of them are over, the searcher is told of one trial, with the
    id of the first: each number in its result is the mean over those that have it as one (nan does not count). Trials that failed have
    no part in it; if all of a group did, the trial failed, with the outcome of the first. What trials report before they are over is not
    passed on. A scheduler treats each trial by itself, and one that it stops counts with its last result.

    ``num_samples`` counts trials, so it should be a multiple of ``repeat``: of the last group there are fewer otherwise, and it is told
    when those are over. Of a grid each point is one configuration, and all are repeated.

    Args:
        searcher: any searcher. Its own ``max_concurrent`` counts groups, so there are at most ``repeat`` times as many trials.
        repeat: how often each configuration is tried, >= 1.
        set_index: ``config["__trial_index__"]`` is 0, 1, ... ``repeat - 1``. Without it trials of a group differ in their seed only
            (``get_context().seed``).

    Raises:
        SpecError: an argument is of the wrong kind; or (when a resume brings another space) the space has a grid.

    Example:
        >>> from tunesmith.search import BasicVariantGenerator
        >>> from tunesmith.space import Space, uniform
        >>> repeater = Repeater(BasicVariantGenerator(), repeat=2)
        >>> repeater.bind(Space.parse({"lr": uniform(0, 1)}), "loss", "min", seed=1)
        >>> values = [repeater.propose(number, str(number)).values for number in range(3)]
        >>> [one["__trial_index__"] for one in values], values[0]["lr"] == values[1]["lr"] != values[2]["lr"]
        ([0, 1, 0], True)
    """

    kept: ClassVar[tuple[str, ...]] = ("_groups", "_where", "_next", "_failed")

    def __init__(self, searcher: Searcher, repeat: int = 1, set_index: bool = True) -> None:
        super().__init__(searcher)
        if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
            raise SpecError(f"Repeater: repeat must be a whole number >= 1, got {repeat!r}.")
        if not isinstance(set_index, bool):
            raise SpecError(f"Repeater: set_index must be True or False, got {set_index!r}.")
        self.repeat = repeat
        self.max_concurrent = searcher.max_concurrent * repeat if searcher.max_concurrent else None
        self.set_index = set_index
        self._first = 0  # number of the first trial of the present space
        self._total: int | None = None
        self._grid = False
        self._groups: dict[int, _Group] = {}  # those with trials to come or under way, by number
        self._where: dict[str, int] = {}  # trial id -> number of its group
        self._failed: dict[str, str] = {}
        self._next = 0  # number of the next trial

    # ---- beginning

    def bind(
        self,
        space: Space,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        seed: int = 0,
        **task: Any,
    ) -> None:
        """See the base."""
        self._grid = space.has_grid
        for what in ("budget", "concurrency"):
            if task.get(what) is not None:
                task[what] = -(-task[what] // self.repeat)
        self.searcher.bind(space, metric, mode, seed, **task)

    def overrides(self, method: str) -> bool:
        """See the base."""
        if method == "on_trial_result":
            return False
        return method in ("on_trial_complete", "on_trial_failed") or self.searcher.overrides(method)

    def explain(self) -> str:
        """See the base."""
        return f"{self.searcher.explain() or type(self.searcher).__name__}, each configuration {self.repeat} times"

    def begin_version(self, first: int, inside: Sequence[Mapping[str, Any]]) -> None:
        """See the base: a group that was begun in another space is not continued in this one."""
        if self._grid:
            raise SpecError("Repeater: the space of an experiment cannot be changed where a grid is repeated; begin a new experiment.")
        self._first = first
        self.searcher.begin_version(first, list(self._once(inside)))

    def _once(self, inside: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
        """Each configuration once, whatever its repeats."""
        before, count = None, 0
        for values in inside:
            plain = _without_index(values)
            count = count + 1 if plain == before and count < self.repeat else 1
            before = plain
            if count == 1:
                yield plain

    def total_samples(self, num_samples: int | None) -> int | None:
        """How many trials ``num_samples`` makes: as many; but a grid's points, and start points, are all repeated."""
        self._total = self._trials(num_samples)
        rest = (self._total or 0) % self.repeat
        if rest and not self._first:
            _log.warning(
                "Repeater: %d trials are no multiple of repeat=%d; the last configuration is tried %d times only. num_samples=%d is one.",
                self._total, self.repeat, rest, (self._total or 0) - rest + self.repeat,
            )  # fmt: skip
        return self._total

    def _trials(self, num_samples: int | None) -> int | None:
        if num_samples is None:
            groups = self.searcher.total_samples(None)
            return None if groups is None else groups * self.repeat
        if self._first:
            points = max(0, (self.searcher.total_samples(0) or 0) - self._first)
            return max(num_samples, self._first + points * self.repeat)
        wanted = -(-num_samples // self.repeat)
        groups = self.searcher.total_samples(wanted)
        return num_samples if groups is None or groups <= wanted else groups * self.repeat

    # ---- proposing

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """See the base; trials are numbered in the order in which they are asked for."""
        number, place = self._place(self._next)
        group = self._groups.get(number)
        if group is None:
            config = self.searcher.suggest(trial_id)
            if not isinstance(config, dict):
                return config
            group = self._open(number, trial_id, Proposal(config), self._next - place)
        self._join(group, self._next, trial_id)
        assert group.values is not None
        return {**group.values, TRIAL_INDEX: place} if self.set_index else dict(group.values)

    def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted | None:
        """See the base."""
        self._sweep(trial)
        number, place = self._place(trial)
        group = self._groups.get(number)
        if group is None:
            bound = self.searcher.max_concurrent
            if bound and sum(len(one.live) > len(one.paused) for one in self._groups.values()) >= bound:
                return None
            answer: Proposal | Exhausted | SpaceError | None
            try:
                answer = self.searcher.propose(number, trial_id)
            except SpaceError as error:
                answer = error
            if answer is None or isinstance(answer, Exhausted):
                return answer
            group = self._open(number, trial_id, answer, trial - place)
        self._join(group, trial, trial_id)
        if group.proposal is None:
            assert group.refusal is not None
            raise group.refusal
        index = {TRIAL_INDEX: place} if self.set_index else {}
        return Proposal({**group.proposal.values, **index}, group.proposal.source, group.proposal.drawn)

    def _sweep(self, trial: int) -> None:
        """Tell of groups that wait for trials which did not come: those whose values another space does not have."""
        for group in [one for one in self._groups.values() if not one.live and one.last < trial]:
            del self._groups[group.number]
            self._tell(group)

    def _place(self, trial: int) -> tuple[int, int]:
        """Number of the group, and which of its repeats."""
        start = self._first if trial >= self._first else 0
        group, place = divmod(trial - start, self.repeat)
        return start + group, place

    def _open(self, number: int, trial_id: str, answer: Proposal | SpaceError, start: int) -> _Group:
        last = start + self.repeat - 1
        if start < self._first:
            last = min(last, self._first - 1)
        proposal, refusal = (answer, None) if isinstance(answer, Proposal) else (None, answer)
        group = self._groups[number] = _Group(number, trial_id, proposal, last, refusal)
        return group

    def _join(self, group: _Group, trial: int, trial_id: str) -> None:
        group.size += 1
        group.live[trial_id] = trial
        self._where[trial_id] = group.number
        self._next = max(self._next, trial + 1)
        self._hold(group)

    def on_replayed(self, trial: int, trial_id: str, values: Mapping[str, Any]) -> None:
        """See the base."""
        self._sweep(trial)
        number, place = self._place(trial)
        plain = _without_index(values)
        if trial < self._first:  # there may have been other spaces before, whose groups began elsewhere
            before = next((one for one in self._groups.values() if trial - 1 in one.live.values() or trial - 1 in one.over), None)
            if before is not None and before.size < self.repeat and before.values == plain:
                number = before.number
            else:
                place = 0
                while number in self._groups:
                    number += 1
        group = self._groups.get(number)
        if group is None:
            group = self._open(number, trial_id, Proposal(plain), trial - place)
            self.searcher.on_replayed(number, trial_id, plain)
        self._join(group, trial, trial_id)

    # ---- learning

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See the base. Nothing is passed on: what a group has is known when all of it are over."""

    def on_pause(self, trial_id: str) -> None:
        """See the base: a group is held while all of it that is under way is."""
        group = self._groups.get(self._where.get(trial_id, -1))
        if group is not None:
            group.paused.add(trial_id)
            self._hold(group)

    def on_unpause(self, trial_id: str) -> None:
        """See the base."""
        group = self._groups.get(self._where.get(trial_id, -1))
        if group is not None:
            group.paused.discard(trial_id)
            self._hold(group)

    def _hold(self, group: _Group) -> None:
        """Tell the searcher, if the group is held now and was not, or the other way round."""
        held = 0 < len(group.live) == len(group.paused)
        if held != group.held:
            group.held = held
            (self.searcher.on_pause if held else self.searcher.on_unpause)(group.trial_id)

    def on_trial_failed(self, trial_id: str, outcome: str) -> None:
        """See the base."""
        if trial_id in self._where:
            self._failed[trial_id] = outcome

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See the base. One that was never proposed, or is over already, is ignored."""
        number = self._where.pop(trial_id, None)
        if number is None:
            return
        group = self._groups[number]
        outcome = self._failed.pop(trial_id, "failed" if error else None)
        group.over[group.live.pop(trial_id)] = (result, outcome)
        group.paused.discard(trial_id)
        self._hold(group)
        all_asked = self._next > group.last or (self._total is not None and self._next >= self._total)
        if not group.live and (group.size >= self.repeat or all_asked):
            del self._groups[number]
            self._tell(group)

    def _tell(self, group: _Group) -> None:
        ends = [group.over[trial] for trial in sorted(group.over)]
        results = [result for result, outcome in ends if outcome is None and result is not None]
        failures = [outcome for _, outcome in ends if outcome is not None]
        if len(failures) == len(ends):
            if failures[0] != "failed":
                self.searcher.on_trial_failed(group.trial_id, failures[0])
            self.searcher.on_trial_complete(group.trial_id, error=True)
            return
        if not results:
            self.searcher.on_trial_complete(group.trial_id)
            return
        result = {**mean_result(results), "trial_id": group.trial_id}
        self.searcher.on_trial_result(group.trial_id, dict(result))
        self.searcher.on_trial_complete(group.trial_id, result)


def mean_result(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One result for several: the mean of each number, without those that are nan; of all else the first that there is.

    Example:
        >>> mean_result([{"loss": 1.0, "note": "a"}, {"loss": 2.0}, {"loss": float("nan")}])
        {'loss': 1.5, 'note': 'a'}
    """
    mean: dict[str, Any] = {}
    for key in dict.fromkeys(key for result in results for key in result):
        found = [result[key] for result in results if key in result]
        numbers = [float(value) for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
        known = [value for value in numbers if not math.isnan(value)]
        mean[key] = math.fsum(known) / len(known) if known and all(map(math.isfinite, known)) else sum(known) if known else found[0]
    return mean


def _without_index(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != TRIAL_INDEX}

"""What a study knows: its trials and its searcher, worked out from what was asked and told, now or in an earlier process."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.core.flat import ResultDict
from tunesmith.core.rng import trial_seed
from tunesmith.search.base import Proposal, Searcher
from tunesmith.search.earlier import given_by, repeats
from tunesmith.space import Space
from tunesmith.study.trial import COUNTED, OUTCOMES, StudyTrial

__all__ = ["Book"]

_log = logging.getLogger("tunesmith")


class Book:
    """The trials of a study.

    Args:
        searcher: bound to the space; told of everything, in order.
        space, metrics, modes, seed: the study's.

    Attributes:
        trials: those that were asked for, by number; ``added``: those that are known from elsewhere.
        signs: losses are metrics times these.
        asks_again: the searcher is one that is asked again what it was asked, where what was asked before is replayed.
    """

    def __init__(self, searcher: Searcher, space: Space, metrics: Sequence[str], modes: Sequence[str], seed: int) -> None:
        self._searcher = searcher
        self._space = space
        self._metrics = metrics
        self._seed = seed
        self.signs = [-1.0 if mode == "max" else 1.0 for mode in modes]
        self.trials: dict[int, StudyTrial] = {}
        self.added: list[StudyTrial] = []
        self._unknown: set[int] = set()  # trials that the searcher, asked again, would not propose
        self.asks_again = not (searcher.overrides("on_replayed") or searcher.overrides("propose"))

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in one event; "ask" and "nothing" only of an earlier process."""
        kind = event["event"]
        if kind == "ask":
            self._asked_before(event["trial"], event["values"], event["source"])
        elif kind == "report":
            self._reported(self.trials[event["trial"]], event["metrics"])
        elif kind == "tell":
            self._told(self.trials[event["trial"]], event["metrics"], event["state"])
        elif kind == "add":
            self._add(event["values"], event["metrics"], event["state"])
        else:
            for _ in range(event["asks"]):
                self._searcher.propose(len(self.trials), f"{len(self.trials):05d}")

    def started(self, number: int, values: dict[str, Any], source: str) -> StudyTrial:
        """The searcher has just proposed this."""
        trial = self.trials[number] = self._trial(number, values, source)
        return trial

    def _trial(self, number: int, values: dict[str, Any], source: str) -> StudyTrial:
        config, params = self._space.resolve(values), self._space.labels(values)
        return StudyTrial(number, config, params, trial_seed(self._seed, number), source)

    def _asked_before(self, number: int, values: dict[str, Any], source: str) -> None:
        trial = self.started(number, values, source)
        if not self.asks_again:
            self._searcher.on_replayed(number, trial.trial_id, values)
            return
        answer = self._searcher.propose(number, trial.trial_id)
        if repeats(given_by(answer), values):
            return
        if not self._unknown:
            _log.warning(
                "%s does not repeat itself: trial %d has %s, and now it proposes %s. What became of such trials is not told to it.",
                type(self._searcher).__name__, number, values, given_by(answer) or answer,
            )  # fmt: skip
        self._unknown.add(number)
        if isinstance(answer, Proposal):
            self._searcher.on_trial_complete(trial.trial_id, error=True)

    def _reported(self, trial: StudyTrial, result: Mapping[str, Any]) -> None:
        trial.reports.append(ResultDict(result))
        if trial.number not in self._unknown:
            self._searcher.on_trial_result(trial.trial_id, {**result, "trial_id": trial.trial_id})

    def _told(self, trial: StudyTrial, result: Mapping[str, Any] | None, state: str) -> None:
        if result is not None:
            self._reported(trial, result)
        trial.state = state
        if trial.number in self._unknown:
            return
        last = None if trial.result is None or state == "infeasible" else {**trial.result, "trial_id": trial.trial_id}
        if state not in COUNTED:
            self._searcher.on_trial_failed(trial.trial_id, OUTCOMES.get(state, state))
        self._searcher.on_trial_complete(trial.trial_id, last, state not in COUNTED)

    def _add(self, values: dict[str, Any], result: Mapping[str, Any] | None, state: str) -> None:
        trial = self._trial(-1 - len(self.added), values, "added")
        searcher = self._searcher
        if searcher.overrides("add_evaluated_point") or not searcher.capabilities.deterministic:  # one that never learns need not be told
            found = [None if result is None else result.get(metric) for metric in self._metrics]
            value = found[0] if len(found) == 1 else found
            searcher.add_evaluated_point(trial.config, value, error=state not in COUNTED, pruned=state == "stopped")
        trial.state = state
        if result is not None:
            trial.reports.append(ResultDict(result))
        self.added.append(trial)

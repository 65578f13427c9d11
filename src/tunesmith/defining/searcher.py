"""The searcher of a space that becomes known from trial to trial."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.core.rng import stream
from tunesmith.defining.distributions import Distribution, loaded
from tunesmith.defining.trial import DEFINED, PARAMS
from tunesmith.errors import SpecError
from tunesmith.search.base import Exhausted, Proposal, Searcher, SearcherCapabilities
from tunesmith.space import Space

__all__ = ["DefiningSearcher"]

_log = logging.getLogger("tunesmith")


@dataclass(slots=True)
class _Trial:
    """What is known of one: its parameters, proposed ones and those it had; its results; how it ended ((result, error), outcome)."""

    number: int
    trial_id: str
    params: dict[str, Any]
    results: list[dict[str, Any]] = field(default_factory=list)
    end: tuple[dict[str, Any] | None, bool] | None = None
    outcome: str | None = None
    told: dict[str, Any] | None = None


class DefiningSearcher(Searcher):
    """Lets another searcher work on what is known of the space.

    Trials tell with their results which parameters they asked for. Whenever one is new, or is asked for in a wider range, a new searcher
    is made on the space that is known then, and told all there was, in order; parameters that a trial did not ask for are drawn for it.
    What is proposed is so a function of what happened, in its order, and a resumed experiment goes on exactly.

    Args:
        inner: what to search with; it is copied, not used itself.

    Raises:
        SpecError: it cannot be told what another one proposed; or (when it is bound) the config has domains.
    """

    def __init__(self, inner: Searcher) -> None:
        super().__init__(inner.metric, inner.mode)
        if not (inner.overrides("propose") or inner.overrides("on_replayed")):
            raise SpecError(
                f"define_by_run: {type(inner).__name__} cannot be told what another searcher proposed, which is needed whenever the space "
                "grows. Override on_replayed(trial, trial_id, values), or use one of ours."
            )
        self._inner = inner
        self.max_concurrent = inner.max_concurrent
        self._reset({}, {})

    @property
    def capabilities(self) -> SearcherCapabilities:  # type: ignore[override]  # what is a class's own elsewhere depends on the one inside
        """What is left of those of the searcher inside."""
        own = self._inner.capabilities
        return SearcherCapabilities(multi_objective=own.multi_objective, batch=own.batch, fidelity=own.fidelity, cheap=own.cheap)

    def explain(self) -> str:
        """See the base."""
        return f"{type(self._inner).__name__} on what trials ask for"

    def bind(self, space: Space, metric: Any = None, mode: Any = None, seed: int = 0, **task: Any) -> None:
        """See the base. It can be bound again, and begins anew then."""
        if space.nodes:
            raise SpecError(
                f"define_by_run: the config has domains ({', '.join(sorted(space.nodes))}), and the objective asks for its parameters "
                "itself. Leave them out of the config; constants there decide parameters of their names."
            )
        super().bind(space, metric, mode, seed, **task)
        self._reset({"metric": self.metric, "mode": self.mode, "seed": seed, **task}, space.config)

    def _reset(self, task: dict[str, Any], config: Mapping[Any, Any]) -> None:
        self._task = task
        self._fixed = config
        self._known: dict[str, Distribution] = {}
        self._refused: set[str] = set()
        self._history: list[tuple[str, _Trial]] = []  # what happened: "start", "result", "end"
        self._trials: dict[str, _Trial] = {}  # those under way
        self._searcher: Searcher | None = None
        self._space = Space.parse({})
        self._stale = False

    # ---- proposing

    def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted | None:
        """See the base."""
        searcher = self._present()
        if searcher is None:
            self._begun(trial, trial_id, {})
            return Proposal({}, "drawn by the trial")
        answer = searcher.propose(trial, trial_id)
        if not isinstance(answer, Proposal):
            return answer
        params = {name: self._known[name].value(code) for name, code in answer.values.items()}
        self._begun(trial, trial_id, params).told = answer.values
        return Proposal(dict(params), answer.source)

    def on_replayed(self, trial: int, trial_id: str, values: Mapping[str, Any]) -> None:
        """See the base."""
        searcher = self._present()
        one = self._begun(trial, trial_id, dict(values))
        if searcher is not None:
            self._start(searcher, one)

    def _begun(self, number: int, trial_id: str, params: dict[str, Any]) -> _Trial:
        one = self._trials[trial_id] = _Trial(number, trial_id, params)
        self._history.append(("start", one))
        return one

    # ---- learning

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See the base."""
        one = self._trials.get(trial_id)
        if one is None:
            return
        if DEFINED in result:
            self._learn(one, result)
        one.results.append(self._short(result))
        self._history.append(("result", one))
        if one.told is not None and not self._stale and self._searcher is not None:
            self._searcher.on_trial_result(trial_id, dict(one.results[-1]))

    def _learn(self, one: _Trial, result: Mapping[str, Any]) -> None:
        for name, asked in loaded(result[DEFINED]).items():
            if name in self._fixed:
                continue
            value = one.params[name] = result[f"{PARAMS}/{name}"]
            before = self._known.get(name)
            if before is None and asked.single:
                continue
            now = asked if before is None else before if asked.single else before.joined(asked)
            if now is None:
                self._refuse(name, before, asked)
                now = before
            assert now is not None
            self._known[name] = now
            same = one.told is not None and name in one.told and now.contains(value) and now.code(value) == one.told[name]
            self._stale = self._stale or now != before or not same

    def _refuse(self, name: str, before: Any, asked: Any) -> None:
        if name not in self._refused:
            self._refused.add(name)
            _log.warning(
                "define_by_run: the parameter %r is asked for as %s, and was as %s. Where they differ in kind it is drawn at random; give "
                "it another name there.", name, asked, before,
            )  # fmt: skip

    def on_trial_failed(self, trial_id: str, outcome: str) -> None:
        """See the base."""
        if trial_id in self._trials:
            self._trials[trial_id].outcome = outcome

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See the base."""
        one = self._trials.pop(trial_id, None)
        if one is None:
            return
        one.end = (None if result is None else self._short(result), error)
        self._history.append(("end", one))
        if one.told is not None and not self._stale and self._searcher is not None:
            self._end(self._searcher, one)

    def _short(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Without what the searcher inside has no use for."""
        return {key: value for key, value in result.items() if key != DEFINED and not key.startswith(f"{PARAMS}/")}

    # ---- the searcher inside

    def _present(self) -> Searcher | None:
        """The one on what is known now; None: nothing is."""
        if self._stale:
            self._stale = False
            self._space = Space.parse({name: known.domain() for name, known in self._known.items()})
            self._searcher = copy.deepcopy(self._inner)
            task = dict(self._task)
            self._searcher.bind(self._space, task.pop("metric"), task.pop("mode"), task.pop("seed"), **task)
            self._tell_all(self._searcher)
        return self._searcher

    def _tell_all(self, searcher: Searcher) -> None:
        results: dict[int, int] = {}
        for what, one in self._history:
            if what == "start":
                self._start(searcher, one)
            elif one.told is None:
                continue
            elif what == "result":
                count = results[one.number] = results.get(one.number, 0) + 1
                searcher.on_trial_result(one.trial_id, dict(one.results[count - 1]))
            else:
                self._end(searcher, one)

    def _start(self, searcher: Searcher, one: _Trial) -> None:
        """One of which no parameter is known is not told."""
        given = {name: self._known[name].code(value) for name, value in one.params.items() if self._has(name, value)}
        if given:
            one.told = self._space.complete(given, stream(self._task["seed"], "complete", one.number))
            searcher.on_replayed(one.number, one.trial_id, one.told)

    def _has(self, name: str, value: Any) -> bool:
        return name in self._known and self._known[name].contains(value)

    def _end(self, searcher: Searcher, one: _Trial) -> None:
        assert one.end is not None
        if one.outcome is not None:
            searcher.on_trial_failed(one.trial_id, one.outcome)
        searcher.on_trial_complete(one.trial_id, *one.end)

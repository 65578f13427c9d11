"""A searcher around another one: what the limiter and the repeater share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.errors import SpecError
from tunesmith.search.base import Exhausted, Proposal, Searcher, SearcherCapabilities
from tunesmith.space import Space

__all__ = ["SearcherWrapper"]


class SearcherWrapper(Searcher):
    """Hands everything through to the searcher inside, so that a subclass overrides only what it changes.

    To whoever asks it can do what the searcher inside can, has its metric and mode, and is resumed as that is.

    Args:
        searcher: any searcher, another wrapper included.

    Raises:
        SpecError: it is none.
    """

    kept: ClassVar[tuple[str, ...]] = ()
    """Attributes that are part of the state."""

    def __init__(self, searcher: Searcher) -> None:
        owner = type(self).__name__
        if isinstance(searcher, type):
            raise SpecError(f"{owner}: got the class {searcher.__name__}; give an instance, as in {owner}({searcher.__name__}(), ...).")
        if not all(hasattr(searcher, method) for method in ("suggest", "bind", "overrides")):
            raise SpecError(f"{owner}: searcher must be a Searcher (derived from tune.search.Searcher), got {searcher!r}.")
        self.searcher = searcher

    @property
    def capabilities(self) -> SearcherCapabilities:  # type: ignore[override]  # what is a class's own elsewhere depends on the one inside
        """Those of the searcher inside."""
        return self.searcher.capabilities

    @property
    def metric(self) -> str | list[str] | None:
        """See the base."""
        return self.searcher.metric

    @property
    def mode(self) -> str | list[str] | None:
        """See the base."""
        return self.searcher.mode

    def overrides(self, method: str) -> bool:
        """See the base."""
        return self.searcher.overrides(method)

    @property
    def label(self) -> str:
        """See the base."""
        return f"{type(self).__name__}({self.searcher.label})"

    def explain(self) -> str:
        """See the base."""
        return self.searcher.explain()

    # ---- beginning

    @property
    def bound(self) -> bool:
        """See the base."""
        return self.searcher.bound

    def bind(
        self,
        space: Space,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        seed: int = 0,
        **task: Any,
    ) -> None:
        """See the base."""
        self.searcher.bind(space, metric, mode, seed, **task)

    def set_search_properties(
        self, metric: str | list[str] | None, mode: str | list[str] | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """See the base."""
        return self.searcher.set_search_properties(metric, mode, config, **spec)

    def begin_version(self, first: int, inside: Sequence[Mapping[str, Any]]) -> None:
        """See the base."""
        self.searcher.begin_version(first, inside)

    def total_samples(self, num_samples: int | None) -> int | None:
        """See the base."""
        return self.searcher.total_samples(num_samples)

    def add_evaluated_point(
        self,
        parameters: Mapping[str, Any],
        value: Any,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: Sequence[float] | None = None,
    ) -> None:
        """See the base."""
        self.searcher.add_evaluated_point(parameters, value, error, pruned, intermediate_values)

    def add_evaluated_trials(self, trials_or_analysis: Any, metric: str | Sequence[str] | None = None) -> None:
        """See the base."""
        self.searcher.add_evaluated_trials(trials_or_analysis, metric)

    # ---- proposing and learning

    def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted | None:
        """See the base."""
        return self.searcher.propose(trial, trial_id)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """See the base."""
        return self.searcher.suggest(trial_id)

    def on_replayed(self, trial: int, trial_id: str, values: Mapping[str, Any]) -> None:
        """See the base."""
        self.searcher.on_replayed(trial, trial_id, values)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See the base."""
        self.searcher.on_trial_result(trial_id, result)

    def on_pause(self, trial_id: str) -> None:
        """See the base."""
        self.searcher.on_pause(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        """See the base."""
        self.searcher.on_unpause(trial_id)

    def on_trial_failed(self, trial_id: str, outcome: str) -> None:
        """See the base."""
        self.searcher.on_trial_failed(trial_id, outcome)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See the base."""
        self.searcher.on_trial_complete(trial_id, result, error)

    # ---- state

    def get_state(self) -> dict[str, Any]:
        """What it keeps itself, and the state of the searcher inside."""
        return {**{name: getattr(self, name) for name in self.kept}, "searcher": self.searcher.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """See the base. What is kept here is of trials, and restored before there is an experiment there are none."""
        self.searcher.set_state(state["searcher"])
        if self.bound:
            vars(self).update({name: state[name] for name in self.kept})

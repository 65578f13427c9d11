"""At most so many trials of a searcher at once, and batches of them."""

from __future__ import annotations

from typing import Any, ClassVar

from tunesmith.errors import SpecError
from tunesmith.search.base import Exhausted, Proposal, Searcher
from tunesmith.search.wrapper import SearcherWrapper
from tunesmith.space import Space

__all__ = ["ConcurrencyLimiter"]


class ConcurrencyLimiter(SearcherWrapper):
    """Lets another searcher have at most ``max_concurrent`` trials at once, so that each suggestion knows more results.

    A trial counts from its suggestion to its end, but not while a scheduler holds it. Of several such bounds (the searcher's own, other
    limiters', ``max_concurrent_trials``) the smallest holds. Around a :class:`Repeater` it counts trials, inside of one groups of them.

    Args:
        searcher: any searcher.
        max_concurrent: at most so many trials at once, >= 1.
        batch: trials come in batches of ``max_concurrent``: no other is suggested until all of a batch are over; then the searcher is
            told of all of them, in the order in which they were suggested, whichever ended first. Trials that a scheduler holds do not
            keep a batch from being over; they are told with the batch in which they end.

    Raises:
        SpecError: an argument is of the wrong kind; names it.

    Example:
        >>> from tunesmith.search import Searcher
        >>> class Halving(Searcher):
        ...     lr = 1.0
        ...     def suggest(self, trial_id):
        ...         self.lr /= 2
        ...         return {"lr": self.lr}
        >>> limited = ConcurrencyLimiter(Halving("loss", "min"), max_concurrent=2)
        >>> limited.suggest("a"), limited.suggest("b"), limited.suggest("c")
        ({'lr': 0.5}, {'lr': 0.25}, None)
        >>> limited.on_trial_complete("a", {"loss": 1.0})
        >>> limited.suggest("c")
        {'lr': 0.125}
    """

    kept: ClassVar[tuple[str, ...]] = ("_live", "_paused", "_order", "_over", "_failed")

    def __init__(self, searcher: Searcher, max_concurrent: int, batch: bool = False) -> None:
        super().__init__(searcher)
        if isinstance(max_concurrent, bool) or not isinstance(max_concurrent, int) or max_concurrent < 1:
            raise SpecError(f"ConcurrencyLimiter: max_concurrent must be a whole number >= 1, got {max_concurrent!r}.")
        if not isinstance(batch, bool):
            raise SpecError(f"ConcurrencyLimiter: batch must be True or False, got {batch!r}.")
        self.max_concurrent = min(max_concurrent, searcher.max_concurrent or max_concurrent)
        self.batch = batch
        self._live: dict[str, None] = {}  # suggested and not over, in order
        self._paused: set[str] = set()  # of these
        self._order: list[str] = []  # of a batch: all that were suggested or carried over into it
        self._over: dict[str, tuple[dict[str, Any] | None, bool]] = {}  # of a batch: what the searcher is to be told
        self._failed: dict[str, str] = {}  # of a batch: the class of the failure

    def bind(
        self,
        space: Space,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        seed: int = 0,
        **task: Any,
    ) -> None:
        """See the base."""
        concurrency = min(self.max_concurrent or 1, task.get("concurrency") or self.max_concurrent or 1)
        self.searcher.bind(space, metric, mode, seed, **{**task, "concurrency": concurrency})

    def overrides(self, method: str) -> bool:
        """See the base."""
        return method == "on_trial_complete" or self.searcher.overrides(method)

    def explain(self) -> str:
        """See the base."""
        inside = self.searcher.explain() or type(self.searcher).__name__
        return f"{inside}, {'in batches of' if self.batch else 'at most'} {self.max_concurrent}{'' if self.batch else ' at once'}"

    # ---- proposing

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """See the base; None, too, while there are as many trials as there may be."""
        if self._full():
            return None
        answer = self.searcher.suggest(trial_id)
        if isinstance(answer, dict):
            self._begun(trial_id)
        return answer

    def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted | None:
        """See the base. ``max_concurrent`` is kept by whoever asks; None while the trials of a whole batch are not over."""
        if self.batch and self._full():
            return None
        answer = self.searcher.propose(trial, trial_id)
        if isinstance(answer, Proposal):
            self._begun(trial_id)
        return answer

    def on_replayed(self, trial: int, trial_id: str, values: Any) -> None:
        """See the base."""
        self.searcher.on_replayed(trial, trial_id, values)
        self._begun(trial_id)

    def _begun(self, trial_id: str) -> None:
        self._live[trial_id] = None
        if self.batch:
            self._order.append(trial_id)

    def _full(self) -> bool:
        return len(self._live) - len(self._paused) + len(self._over) >= (self.max_concurrent or 1)

    # ---- learning

    def on_pause(self, trial_id: str) -> None:
        """See the base."""
        super().on_pause(trial_id)
        if trial_id in self._live:
            self._paused.add(trial_id)
            self._tell()

    def on_unpause(self, trial_id: str) -> None:
        """See the base."""
        super().on_unpause(trial_id)
        self._paused.discard(trial_id)

    def on_trial_failed(self, trial_id: str, outcome: str) -> None:
        """See the base."""
        if self.batch and trial_id in self._live:
            self._failed[trial_id] = outcome
        else:
            super().on_trial_failed(trial_id, outcome)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See the base."""
        if trial_id not in self._live:
            super().on_trial_complete(trial_id, result, error)
            return
        del self._live[trial_id]
        self._paused.discard(trial_id)
        if not self.batch:
            super().on_trial_complete(trial_id, result, error)
            return
        self._over[trial_id] = (result, error)
        self._tell()

    def _tell(self) -> None:
        """If all of the batch are over (or held): tell of those that are over."""
        if len(self._live) > len(self._paused):
            return
        over, self._over = self._over, {}
        order, self._order = self._order, list(self._live)
        for trial_id in order:
            if trial_id in over:
                if trial_id in self._failed:
                    self.searcher.on_trial_failed(trial_id, self._failed.pop(trial_id))
                self.searcher.on_trial_complete(trial_id, *over[trial_id])

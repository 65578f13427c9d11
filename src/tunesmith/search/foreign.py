"""What the adapters to other search libraries share: their package, points and results, which trial is which, and resuming."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.core.rng import stream
from tunesmith.errors import SpaceError, SpecError
from tunesmith.optional import load
from tunesmith.search.base import Exhausted, Proposal, SearcherCapabilities
from tunesmith.search.foreign_parts import Guess, Live, Territory, codes_of, place_of, step_of
from tunesmith.search.posed import PosedSearcher
from tunesmith.search.problem import Observation, losses_of
from tunesmith.space import Space

__all__ = ["ForeignSearcher", "Guess", "codes_of", "place_of"]

_log = logging.getLogger("tunesmith")

ATTEMPTS = 20
"""So often a library is asked for one trial, before a configuration that keeps the constraints is drawn at random."""


class ForeignSearcher(PosedSearcher):
    """A searcher that hands everything to another library.

    A subclass gives :meth:`begin`, :meth:`ask`, :meth:`enter` and :meth:`tell`. Start points, points that users know already,
    constraints, failures, resuming and the state are done here, with these four: a resumed library is told of all configurations and
    results again, in the order in which they came. Draw all randomness from :meth:`seed_for`, and it goes on exactly as it would have.

    The library searches the experiment's space; or the one that its user gave as ``space``, in our domains or (``native``) in the
    library's own terms. Its suggestions are laid over the config then, which must have no domains of its own.

    Args:
        space: None: the experiment's. Else: what to search, instead of domains in the config.
        metric: name of the metric to optimise, or several where the library can; None: the experiment's.
        mode: "min" or "max", one for each metric; None: the experiment's.
        points_to_evaluate: configurations to try first, in this order; what is missing in one is drawn.
        evaluated_rewards: what the first of these points are known to have: as many values of the metric (of several metrics: tuples).
            Those points are not run again.
        outcome_constraints: bounds on what trials report, as in ["latency <= 20"], for libraries that can keep to them.
        max_concurrent: at most so many trials at once; None or 0: no bound of its own.
        seed: of this searcher; None: the experiment's.

    Raises:
        SpecError: the library is not installed, or an argument is of the wrong kind; names it.
        SpaceError: ``space`` is of our domains, and wrong.
    """

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(batch=True)
    package: ClassVar[str]
    """What to import, and the name of the extra that installs it."""
    follows_reports: ClassVar[bool] = False
    """Whether :meth:`report` is called."""
    asks_again: ClassVar[bool] = False
    """On a resume the library is asked again for what it proposed, and only told where its answer differs: for libraries that keep
    more in mind than configurations and results."""

    def __init__(
        self,
        space: Any = None,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        *,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        outcome_constraints: Sequence[str] = (),
        max_concurrent: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(metric, mode, points_to_evaluate, evaluated_rewards, outcome_constraints, max_concurrent, seed)
        load(type(self).__name__, self.package, self.package)
        ours = isinstance(space, Mapping) and bool(Space.parse(space).nodes)
        self._own = Space.parse(space) if ours else None
        self._given = None if ours else space
        self.native: Any = None
        self._known: list[tuple[Any, ...]] = []
        self._before: dict[str, Any] | None = None  # its attributes, when it was told what to search

    @property
    def library(self) -> Any:
        """The package's module."""
        return load(type(self).__name__, self.package, self.package)

    # ---- what an adapter gives

    @abstractmethod
    def begin(self) -> None:
        """Make the library's optimizer for :attr:`problem` (and :attr:`native`), forgetting any other.

        Raises:
            SpecError: it cannot work on this space; says why, and what can.
        """

    @abstractmethod
    def ask(self, trial: int, attempt: int) -> Guess | Exhausted | None:
        """The library's next suggestion for trial number ``trial``; None: nothing at this moment.

        ``attempt``: how many were refused already. :meth:`enter` or :meth:`refuse` follows.
        """

    @abstractmethod
    def enter(self, trial: int, point: Mapping[str, Any], token: Any) -> Any:
        """The configuration ``point`` is being tried; what is returned is handed to :meth:`tell`.

        Args:
            trial: its number; negative: known to the user, and told at once.
            point: as in :class:`Guess`, but complete; may hold computed values and entries that are no parameters.
            token: the guess's; None: the library did not suggest it (start points, what was proposed before a resume).

        Raises:
            SpaceError: the library's space does not have it.
        """

    @abstractmethod
    def tell(self, handle: Any, observation: Observation) -> None:
        """A trial is over. ``losses`` (smaller is better) is None if it has nothing that can be compared: it failed, or never reported."""

    def refuse(self, token: Any) -> None:
        """A suggestion breaks a constraint, and is not tried."""

    def report(self, handle: Any, step: float, losses: tuple[float, ...]) -> None:
        """A running trial had ``losses`` after ``step``; only called if :attr:`follows_reports`."""

    def native_in(self, config: Mapping[Any, Any]) -> Any:
        """The part of the config that is a space in the library's own terms; None: there is none."""
        del config

    def by_path(self, point: Mapping[str, Any]) -> Mapping[str, Any]:
        """A start point of a native space with the paths of its config as names, where the library has other names for parameters."""
        return point

    def native_point(self, trial: int, point: Mapping[str, Any]) -> Guess:
        """A start point of a native space, made whole. :meth:`enter` follows, with its token."""
        raise NotImplementedError(f"{type(self).__name__} has no spaces of its own")

    # ---- beginning

    def set_search_properties(
        self, metric: str | list[str] | None, mode: str | list[str] | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """See the base."""
        self._before = self._before or {**vars(self)}
        self._task = (metric, mode, config, spec)
        super().set_search_properties(metric, mode, config, **spec)
        owner = type(self).__name__
        space: Space = spec["space"]
        self.native = self._given
        if self.native is None and self._own is None:
            self.native = self.native_in(config)
        elsewhere = self._own is not None or self.native is not None
        if elsewhere and space.nodes:
            raise SpecError(
                f"{owner}: has a space of its own, but the config has domains, too: {', '.join(sorted(space.nodes))}. "
                "Give the whole space in one place, and of one kind."
            )
        self._problem = self.pose(self._own or space, spec)
        self._bound = space
        self._territory = Territory(space, self._own, self.native is not None, self.problem.seed)
        if self._kept:
            self._go_on_from(self._kept)
        else:
            self._start()
        return not elsewhere

    def _start(self) -> None:
        self._live: dict[str, Live] = {}
        self._failed: dict[str, str] = {}
        self._history: list[tuple[str, tuple[Any, ...]]] = []
        self._next = 0  # number of the first trial that has not been proposed
        self._shift = 0
        self._evaluated = 0
        self.begin()
        points = [self._checked(number, point) for number, point in enumerate(self._points)]
        self._open = points[len(self._rewards) :]
        for point, reward in zip(self._points, self._rewards):
            self._learn(point, reward)
        for known in self._known:
            self._learn(*known)

    def _checked(self, number: int, point: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self.problem.space.values_from(point) if self.native is None else self.by_path(point)
        except SpaceError as error:
            raise SpaceError(f"points_to_evaluate[{number}]: {error}") from None

    def seed_for(self, trial: int, attempt: int = 0) -> int:
        """A seed below 2**32 that depends on the search's seed and these two only."""
        return stream(self.problem.seed, f"{self.package} {attempt}", trial).getrandbits(32)

    # ---- proposing

    def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted | None:
        """See the base."""
        trial += self._shift
        if self._open:
            source, guess = "start point", self._start_point(trial, self._open.pop(0))
        else:
            found = self._from_library(trial)
            if not isinstance(found, Guess):
                return found
            source, guess = type(self).__name__, found
        values = self._territory.values(trial, guess.point)
        self._enter(trial, trial_id, values, guess)
        return Proposal(values, source)

    def _start_point(self, trial: int, point: Mapping[str, Any]) -> Guess:
        if self.native is not None:
            return self.native_point(trial, point)
        return Guess(self.problem.space.draw(stream(self.problem.seed, "search", trial), fixed=point))

    def _from_library(self, trial: int) -> Guess | Exhausted | None:
        """The first of its suggestions that keeps the constraints; if there is none, one at random that does."""
        for attempt in range(ATTEMPTS):
            guess = self.ask(trial, attempt)
            if not isinstance(guess, Guess):
                return guess
            guess.point = self._territory.whole(trial, guess.point)
            if self._territory.keeps(trial, guess.point):
                return guess
            self.refuse(guess.token)
        if self.native is not None:
            return Exhausted(f"{type(self).__name__}: {ATTEMPTS} suggestions in a row broke a constraint of the space")
        return Guess(self.problem.space.draw(stream(self.problem.seed, "search", trial)))

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """See the base; trials are numbered in the order in which they are asked for."""
        answer = self.propose(self._next - self._shift, trial_id)
        return self._bound.resolve(answer.values) if isinstance(answer, Proposal) else None

    # ---- learning

    def _enter(self, trial: int, trial_id: str, values: Mapping[str, Any], guess: Guess) -> None:
        self._live[trial_id] = Live(trial, guess.point, self.enter(trial, guess.point, guess.token))
        self._remember("on_replayed", trial, trial_id, dict(values))

    def _remember(self, method: str, *arguments: Any) -> None:
        self._history.append((method, arguments))
        if method == "on_replayed":
            self._next = max(self._next, arguments[0] + 1)

    def on_replayed(self, trial: int, trial_id: str, values: Mapping[str, Any]) -> None:
        """See the base. What cannot be brought back into the library's space is left out of what it learns; one line says so."""
        trial += self._shift
        guess = None
        if not self._close(values) and self.asks_again:
            found = self._from_library(trial)
            if isinstance(found, Guess):
                if self._territory.values(trial, found.point) == values:
                    guess = found
                else:
                    self.refuse(found.token)
        try:
            self._enter(trial, trial_id, values, guess or Guess(self._territory.point(values)))
        except SpaceError as error:
            _log.warning("%s does not learn from trial %s of an earlier session: %s", type(self).__name__, trial_id, error)
            self._live[trial_id] = Live(trial, {}, None, known=False)
            self._remember("on_replayed", trial, trial_id, dict(values))

    def begin_version(self, first: int, inside: Sequence[Mapping[str, Any]]) -> None:
        """See the base: points that were tried are not tried again."""
        for values in inside:
            self._close(values)

    def _close(self, values: Mapping[str, Any]) -> bool:
        """Whether this was a start point; it has been tried then."""
        for number, point in enumerate(self._open):
            if self._territory.begins_with(values, point):
                del self._open[number]
                return True
        return False

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See the base."""
        live = self._live.get(trial_id)
        if live is None or not live.known or not self.follows_reports or (losses := self._losses(result)) is None:
            return
        self.report(live.handle, step_of(result), losses)
        self._remember("on_trial_result", trial_id, self._brief(result))

    def on_trial_failed(self, trial_id: str, outcome: str) -> None:
        """See the base."""
        self._failed[trial_id] = outcome

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See the base. One that was never proposed, or is over already, is ignored."""
        outcome = self._failed.pop(trial_id, "failed" if error else "finished")
        live = self._live.pop(trial_id, None)
        if live is None:
            return
        losses = None if error else self._losses(result)
        if losses is None and not error and result is not None:
            outcome = "nan"
        excess = tuple(bound.excess(result or {}) for bound in self.problem.bounds) if losses is not None else ()
        if live.known:
            self.tell(live.handle, Observation(live.trial, live.point, losses, outcome, step_of(result or {}), excess))
        if error:
            self._remember("on_trial_failed", trial_id, outcome)
        self._remember("on_trial_complete", trial_id, None if result is None else self._brief(result), error)

    def _losses(self, result: Mapping[str, Any] | None) -> tuple[float, ...] | None:
        return losses_of(result, self.problem.metrics, self.problem.signs)

    def _brief(self, result: Mapping[str, Any]) -> dict[str, Any]:
        names = (*self.problem.metrics, *(bound.metric for bound in self.problem.bounds), "training_iteration")
        return {name: result[name] for name in names if name in result}

    # ---- what users know

    def add_evaluated_point(
        self,
        parameters: Mapping[str, Any],
        value: Any,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: Sequence[float] | None = None,
    ) -> None:
        """See the base. A value of nan, or none, counts as no result; outcome constraints count as kept."""
        self._known.append((parameters, value, error, pruned, intermediate_values))
        if self._problem is not None:
            self._learn(*self._known[-1])

    def _learn(
        self, parameters: Mapping[str, Any], value: Any, error: bool = False, pruned: bool = False, steps: Sequence[float] | None = None
    ) -> None:
        metrics = self.problem.metrics
        rewards = self.values_of(value, error)
        self._evaluated += 1
        trial = -self._evaluated
        if self.native is not None:
            guess = self.native_point(trial, self.by_path(parameters))
        else:
            guess = Guess(self.known_values(self.problem.space.values_from(parameters), trial))
        handle = self.enter(trial, guess.point, guess.token)
        losses = None if error else self._losses(dict(zip(metrics, rewards)))
        if self.follows_reports and len(metrics) == 1:
            for number, step in enumerate(steps or (), 1):
                if (reported := self._losses({metrics[0]: step})) is not None:
                    self.report(handle, float(number), reported)
        outcome = "failed" if error else "stopped" if pruned else "finished"
        excess = tuple(0.0 for _ in self.problem.bounds)
        self.tell(handle, Observation(trial, guess.point, losses, outcome, float(len(steps or ())), excess))

    # ---- state

    def get_state(self) -> dict[str, Any]:
        """What was proposed and what became of it, in order."""
        if self._problem is None:
            return {}
        return {"history": list(self._history), "known": list(self._known), "shift": self._shift}

    def set_state(self, state: dict[str, Any]) -> None:
        """See the base. The library is told everything again."""
        if self._problem is None:
            self._kept = state
            return
        self._known = list(state.get("known", self._known))
        self._start()
        for method, arguments in state.get("history", ()):
            getattr(self, method)(*arguments)
        self._shift = state.get("shift", 0)  # not before: numbers in the history have it in them

    def __getstate__(self) -> dict[str, Any]:
        """Without the library's objects, which cannot always be pickled: they are told everything again."""
        if self._before is None:
            return {"before": vars(self), "task": None, "found": None}
        return {"before": self._before, "task": self._task, "found": self.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state["before"])
        if state["task"] is not None:
            metric, mode, config, spec = state["task"]
            self.set_search_properties(metric, mode, config, **spec)
            self.set_state(state["found"])

    def _go_on_from(self, state: dict[str, Any]) -> None:
        """What an earlier experiment found is known here; trials that were not over there are forgotten."""
        over = {arguments[0] for method, arguments in state["history"] if method == "on_trial_complete"}
        history = [each for each in state["history"] if each[1][each[0] == "on_replayed"] in over]
        if self.native is None and self._own is None:
            for values in (arguments[2] for method, arguments in history if method == "on_replayed"):
                self.still_there(values)
        self.set_state({"history": history, "known": [*state["known"], *self._known]})
        self._shift = self._next

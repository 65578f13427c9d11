"""What a searcher is: the interface that users' own classes follow, and the richer one that native searchers override."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith.core.rng import stream
from tunesmith.errors import SpecError
from tunesmith.space import Space

if TYPE_CHECKING:
    from tunesmith.search.warm_start import Known

__all__ = ["FINISHED", "Exhausted", "Proposal", "Searcher", "SearcherCapabilities"]

FINISHED = "FINISHED"
"""What ``suggest`` returns when there is nothing more to propose."""

_REFUSALS = 100


@dataclass(frozen=True, slots=True)
class SearcherCapabilities:
    """What a searcher can do, as data.

    Args:
        conditional: knows that parameters of an option that was not taken do not exist.
        constraints: keeps to ``require`` by itself (others are asked again when a suggestion breaks one).
        multi_objective: takes several metrics.
        batch: many suggestions can be pending without being alike.
        fidelity: learns from intermediate results.
        deterministic: trial n's configuration depends on nothing but the seed and n.
        cheap: answers in microseconds, and so runs in the loop; all others have a thread of their own.
        grid: walks through ``grid_search`` entries.
    """

    conditional: bool = False
    constraints: bool = False
    multi_objective: bool = False
    batch: bool = False
    fidelity: bool = False
    deterministic: bool = False
    cheap: bool = False
    grid: bool = False


@dataclass(slots=True)
class Proposal:
    """A configuration to try.

    Args:
        values: by name, see :class:`tunesmith.space.Space`.
        source: who proposed it, for people ("random").
        drawn: names of values that the searcher had left open.
    """

    values: dict[str, Any]
    source: str = ""
    drawn: frozenset[str] = field(default=frozenset(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Exhausted:
    """There is nothing more to propose, and why; the reason is shown to the user."""

    reason: str


class Searcher:
    """Proposes configurations and learns from what became of them.

    A searcher of your own overrides :meth:`suggest` and :meth:`on_trial_complete`; that is enough. Calls never overlap. An exception in
    any method ends the search, not the experiment: running trials go on and the reason is shown.

    Args:
        metric: name of the metric to optimise, or several; None: the experiment's.
        mode: "min" or "max", one for each metric; None: the experiment's.

    Raises:
        SpecError: a mode is neither "min" nor "max".

    Example:
        >>> class Halving(Searcher):
        ...     lr = 1.0
        ...     def suggest(self, trial_id):
        ...         self.lr /= 2
        ...         return {"lr": self.lr}
        >>> Halving("loss", "min").suggest("a")
        {'lr': 0.5}
    """

    FINISHED: ClassVar[str] = FINISHED
    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities()
    max_concurrent: int | None = None
    """At most so many suggestions at once whose trials are not over; None or 0: no bound of its own."""

    # Set by bind, not __init__, which subclasses may forget to call; mangled, because subclasses have their own names for spaces.
    __space: Space | None = None
    __seed: int = 0
    __known: tuple[Known, ...] = ()  # of earlier trials, and not told yet

    def __init__(self, metric: str | list[str] | None = None, mode: str | list[str] | None = None) -> None:
        self._metric = metric
        self._mode = mode
        _check_modes(type(self).__name__, mode)

    @property
    def metric(self) -> str | list[str] | None:
        """What is optimised; a list if there are several."""
        return getattr(self, "_metric", None)

    @property
    def mode(self) -> str | list[str] | None:
        """ "min" or "max", or a list of them."""
        return getattr(self, "_mode", None)

    # ---- what users' own searchers override

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A configuration for a trial of this id.

        Returns:
            A config or the part of it that was chosen, nested or with "a/b" keys; parameters of the space that are missing in it are
            drawn at random. None: nothing at this moment, ask again after the next result. ``FINISHED``: nothing more.
        """
        raise NotImplementedError(f"{type(self).__name__} overrides neither suggest nor propose")

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A running trial reported ``result`` (flat, "a/b" keys)."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial is over. ``result``: its last one, None if it never reported or was not feasible. ``error``: it failed."""

    def on_pause(self, trial_id: str) -> None:
        """A trial is held by the scheduler: it is not over, but reports nothing until :meth:`on_unpause`."""

    def on_unpause(self, trial_id: str) -> None:
        """A trial that was held goes on."""

    def on_trial_failed(self, trial_id: str, outcome: str) -> None:
        """Called before ``on_trial_complete(error=True)`` with the class of the failure: "user_error", "nan", "infeasible" ..."""

    def set_search_properties(
        self, metric: str | list[str] | None, mode: str | list[str] | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Told once, before the first suggestion, what the experiment optimises and its search space as the user wrote it.

        Args:
            metric, mode: fill in what the searcher was not given itself.
            config: the user's config with its domains.
            **spec: more, by name: ``space`` (a :class:`Space`), ``seed`` (int), and, where they are known, ``budget`` (about how many
                trials there will be), ``concurrency`` (at most so many at once) and ``early`` (whether a scheduler stops trials early).

        Returns:
            Whether the searcher takes the space from here; False: it has one of its own.
        """
        del config, spec
        if self.metric is None:
            self._metric = metric
        if self.mode is None:
            self._mode = mode
        return True

    @property
    def label(self) -> str:
        """What it is called where experiments are described: an experiment goes on with a searcher of the same label."""
        return type(self).__name__

    def explain(self) -> str:
        """What it chose to do on this space, and why: shown as the run begins. Asked after :meth:`bind`; "": nothing to say."""
        return ""

    def add_evaluated_point(
        self,
        parameters: Mapping[str, Any],
        value: Any,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: Sequence[float] | None = None,
    ) -> None:
        """Tell what is known already of one configuration; it is not run. Call it before the experiment begins.

        Args:
            parameters: the config, nested or with "a/b" keys.
            value: what it had of the metric; of several metrics: one value for each.
            error: it failed; the value does not count.
            pruned: it was stopped early, and the value is the last one.
            intermediate_values: what it reported, one value for each iteration.

        Raises:
            SpecError: this searcher cannot be told.
            SpaceError: the configuration does not lie in the space; names the path.
        """
        raise SpecError(f"{type(self).__name__} cannot be told of points that were evaluated before; it learns from its own trials only.")

    def add_evaluated_trials(self, trials_or_analysis: Any, metric: str | Sequence[str] | None = None) -> None:
        """Tell what earlier experiments found: :meth:`add_evaluated_point` for each of their trials. Call it before the experiment begins.

        Trials that are not over, and those without a result, are left out; failed ones are told as such. So are those whose configuration
        the search space could not have drawn: one logged line says how many, and why the first of them.

        Args:
            trials_or_analysis: an ``ExperimentAnalysis`` or ``ResultGrid``, trials or results of such, or the path of an experiment's
                directory, also of one that Ray Tune has written: read are each trial's ``params.json`` and ``result.json``. These do not
                say which trials are over, or were infeasible in the end: ``open_experiment(path)`` does, of our own.
            metric: what they called it, one name for each of the searcher's metrics; None: as the searcher does.

        Raises:
            SpecError: there is nothing at that path, or it is nothing of these; or this searcher cannot be told.
        """
        from tunesmith.search.warm_start import evaluated

        if not self.overrides("add_evaluated_point"):
            self.add_evaluated_point({}, None)  # says that it cannot be told
        self.__known = (*self.__known, (evaluated(trials_or_analysis), metric))
        if self.__space is not None:
            self.__tell_known(self.__space)

    def __tell_known(self, space: Space) -> None:
        from tunesmith.search.warm_start import tell

        known, self.__known = self.__known, ()
        for trials, metric in known:
            tell(self, space, trials, self.metric if metric is None else metric)

    def overrides(self, method: str) -> bool:
        """Whether calling ``method`` does anything that this base class does not. A searcher around another asks that one, too."""
        return getattr(type(self), method) is not getattr(Searcher, method) or method in vars(self)

    # ---- what native searchers override

    def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted | None:
        """A configuration for trial number ``trial``; None: nothing at this moment. This one asks :meth:`suggest`.

        Raises:
            SpaceError: the suggestion does not fit the space; names the path.
        """
        if self.__space is None:
            raise SpecError(f"{type(self).__name__}: bind(space, ...) has to come before propose().")
        space, name = self.__space, type(self).__name__
        for attempt in range(_REFUSALS):
            config = self.suggest(trial_id)
            if config is None:
                return None
            if isinstance(config, str):
                if config == FINISHED:
                    return Exhausted(f"{name} has nothing more to propose (its suggest returned FINISHED)")
                raise SpecError(f"{name}.suggest: expected a dict, None or FINISHED, got {config!r}.")
            given = space.values_from(config, strict=False)
            values = space.complete(given, stream(self.__seed, f"complete {attempt}", trial))
            if space.broken_constraint(values) is None:
                return Proposal(values, name, frozenset(values) - frozenset(given))
            self.on_trial_complete(trial_id, error=True)
        return Exhausted(f"{name}: {_REFUSALS} suggestions in a row broke a constraint of the space")

    def on_replayed(self, trial: int, trial_id: str, values: Mapping[str, Any]) -> None:
        """After a resume: an earlier session proposed this. Remember it as if :meth:`propose` had just returned it; results follow.

        Override it if suggestions are costly, or depend on more than the seed and what the searcher is told. Until then :meth:`suggest` is
        called again, once for each trial and in the same order between the same results; where its answer is not what was tried, the
        trial is completed at once (``error=True``) and one line says so. A searcher that overrides :meth:`propose` is not asked again.
        """
        if type(self).propose is Searcher.propose:
            self.propose(trial, trial_id)

    def begin_version(self, first: int, inside: Sequence[Mapping[str, Any]]) -> None:
        """The experiment has had another space before: called after :meth:`bind`, at each resume since the change.

        Args:
            first: number of the first trial that is drawn from the present space; all before were drawn from others.
            inside: values of those before that the present space has, too, in order. They come through :meth:`on_replayed` as well; this is
                for searchers that count what has been tried.
        """

    def total_samples(self, num_samples: int | None) -> int | None:
        """How many trials ``num_samples`` makes; None: no end. Only searchers that walk a grid make more of them."""
        return num_samples

    # ---- for the host

    @property
    def bound(self) -> bool:
        """Whether the space is known."""
        return self.__space is not None

    def bind(
        self,
        space: Space,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        seed: int = 0,
        **task: Any,
    ) -> None:
        """Hand over the space; called once, by the host, before the first suggestion.

        Args:
            space, metric, mode, seed: the experiment's.
            **task: more of what :meth:`set_search_properties` is told: ``budget``, ``concurrency``, ``early``.

        Raises:
            SpecError: the space has a grid that this searcher cannot walk through, or it cannot take several metrics.
        """
        name, abilities = type(self).__name__, self.capabilities
        if space.has_grid and not abilities.grid:
            raise SpecError(
                f"{name}: cannot walk through the grid_search in the config. Use choice instead, or leave search_alg out: "
                "the default searcher combines grids with random values."
            )
        self.__space, self.__seed = space, seed
        spec = {"space": space, "seed": seed, **task}
        taken = inspect.signature(self.set_search_properties).parameters
        if not any(each.kind is each.VAR_KEYWORD for each in taken.values()):  # searchers of Ray 1 take metric, mode and config only
            spec = {name: value for name, value in spec.items() if name in taken}
        self.set_search_properties(metric, mode, dict(space.config), **spec)
        if isinstance(self.metric, list | tuple) and len(self.metric) > 1 and not abilities.multi_objective:
            raise SpecError(f"{name}: optimises one metric, but {len(self.metric)} were given: {', '.join(self.metric)}.")
        if self.__known:
            self.__tell_known(space)

    # ---- state

    def get_state(self) -> dict[str, Any]:
        """What :meth:`set_state` needs to go on from here; picklable."""
        ours = ("_Searcher__space", "_Searcher__seed", "_Searcher__known")
        return {name: value for name, value in vars(self).items() if name not in ours}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`get_state` returned."""
        vars(self).update(state)

    def save(self, checkpoint_path: str) -> None:
        """Write the state to a file, whole or not at all."""
        partial = f"{checkpoint_path}.partial"
        with open(partial, "wb") as file:
            pickle.dump({"searcher": self.label, "state": self.get_state()}, file)
        os.replace(partial, checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Read the state that :meth:`save` wrote. It is a pickle: only open files that you trust.

        Call it before ``run()``: the experiment goes on from what the earlier one found, on the same space. Trials that were not over when
        it was saved are forgotten. To go on with an experiment itself, use ``resume=True``: that needs no saved searcher.

        Raises:
            SpecError: the file was not written by :meth:`save` of a searcher like this one.
        """
        with open(checkpoint_path, "rb") as file:
            try:
                saved = pickle.load(file)
                label, state = saved["searcher"], saved["state"]
            except (pickle.UnpicklingError, EOFError, TypeError, KeyError, ValueError, IndexError) as error:
                raise SpecError(f"{self.label}.restore: {checkpoint_path} is no file that save() of a searcher has written.") from error
        if label != self.label:
            raise SpecError(f"{self.label}.restore: {checkpoint_path} is of {label}; restore it into one of that kind.")
        self.set_state(state)


def _check_modes(name: str, mode: Any) -> None:
    for each in mode if isinstance(mode, list | tuple) else [mode]:
        if each not in (None, "min", "max"):
            raise SpecError(f'{name}: mode must be "min" or "max", or a list of these, got {mode!r}.')

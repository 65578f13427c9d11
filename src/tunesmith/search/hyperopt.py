"""HyperOpt's tree-structured Parzen estimator as a searcher. Needs the package ``hyperopt``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.errors import SpecError
from tunesmith.search.base import SearcherCapabilities
from tunesmith.search.foreign import ForeignSearcher, Guess
from tunesmith.search.foreign_parts import nested_entries
from tunesmith.search.hyperopt_space import Converter, Inverse, expressions, listed, paths, plain, taken
from tunesmith.search.problem import Observation

__all__ = ["HyperOptSearch"]

_FIRST_TID = 1 << 20
"""Points that users know have numbers below it, trials from it on."""


class HyperOptSearch(ForeignSearcher):
    """Searches with HyperOpt's TPE: two density estimates, one of good and one of other configurations, for each parameter.

    Conditional spaces (a ``choice`` of dicts) become nested ``hp.choice``. Integers and steps are ordered for the model. A configuration
    whose failure may be its own doing counts as worse than all others; results that are no finite numbers count likewise.

    Args:
        space: instead of domains in the config: a space of ``hp`` expressions, or a dict of our domains. ``hp`` expressions may also stand
            in the config itself. What it gives is laid over the config; numbers, texts, and dicts and lists of these.
        metric: name of the metric to optimise; None: the experiment's.
        mode: "min" or "max"; None: the experiment's.
        points_to_evaluate: configurations to try first; what is missing in one is drawn at random. Parameters of an ``hp`` space may be
            given by label, too; options by value.
        n_initial_points: results that are waited for before the model is used; until then configurations are random. >= 1.
        random_state_seed: None: the experiment's seed.
        gamma: of n results the best ``gamma * sqrt(n)`` are the good ones; > 0.
        evaluated_rewards: values of the metric that the first of ``points_to_evaluate`` are known to have; these are not run.
        max_concurrent: at most so many trials at once; None or 0: no bound of its own.

    Raises:
        SpecError: hyperopt is not installed, or an argument is out of its range.

    Example:
        >>> from tunesmith.space import Space, loguniform
        >>> searcher = HyperOptSearch(metric="loss", mode="min", n_initial_points=5)
        >>> searcher.bind(Space.parse({"lr": loguniform(1e-4, 1)}), seed=1)
        >>> 1e-4 <= searcher.propose(0, "a").values["lr"] <= 1
        True
    """

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(conditional=True, batch=True)
    package = "hyperopt"

    def __init__(
        self,
        space: Any = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        n_initial_points: int = 20,
        random_state_seed: int | None = None,
        gamma: float = 0.25,
        *,
        evaluated_rewards: Sequence[float] | None = None,
        max_concurrent: int | None = None,
    ) -> None:
        super().__init__(
            space, metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards,
            max_concurrent=max_concurrent, seed=random_state_seed,
        )  # fmt: skip
        if isinstance(n_initial_points, bool) or not isinstance(n_initial_points, int) or n_initial_points < 1:
            raise SpecError(f"HyperOptSearch: n_initial_points must be a whole number >= 1, got {n_initial_points!r}.")
        if not isinstance(gamma, int | float) or not gamma > 0:
            raise SpecError(f"HyperOptSearch: gamma must be a number > 0, got {gamma!r}.")
        self.n_initial_points = n_initial_points
        self.gamma = float(gamma)

    # ---- the space

    def native_in(self, config: Mapping[Any, Any]) -> Any:
        """See the base: ``hp`` expressions in the config."""
        return expressions(config, self.library.pyll.Apply)

    def begin(self) -> None:
        """See the base."""
        hyperopt = self.library
        if self.native is None:
            self._converter = Converter(hyperopt.hp)
        space = self.native if self.native is not None else self._converter.group(self.problem.space.group)
        expression = hyperopt.pyll.as_apply(space)
        if not any(node.name == "hyperopt_param" for node in hyperopt.pyll.dfs(expression)):
            raise SpecError("HyperOptSearch: there is nothing to search; give a space with domains or hp expressions in it.")
        try:
            self._domain = hyperopt.Domain(_never_called, expression)
        except hyperopt.exceptions.DuplicateLabel as error:
            raise SpecError(f"HyperOptSearch: two hp expressions of the space have the label {error}; rename one.") from None
        self._trials = hyperopt.Trials()
        self._results = 0

    # ---- proposing

    def ask(self, trial: int, attempt: int) -> Guess:
        """See the base."""
        hyperopt, seed = self.library, self.seed_for(trial, attempt)
        if self._results < self.n_initial_points:
            docs = hyperopt.rand.suggest([trial + _FIRST_TID], self._domain, self._trials, seed)
        else:
            docs = hyperopt.tpe.suggest(
                [trial + _FIRST_TID], self._domain, self._trials, seed, n_startup_jobs=0, gamma=self.gamma, verbose=False
            )
        drawn = {label: vals[0] for label, vals in docs[0]["misc"]["vals"].items() if len(vals)}
        if self.native is not None:
            return Guess(self._config(drawn), drawn)
        return Guess(self._converter.values(drawn, self.problem.space.nodes))

    def by_path(self, point: Mapping[str, Any]) -> Mapping[str, Any]:
        """See the base: parameters may be given by label.

        Raises:
            SpaceError: it cannot be a point of the space; says why.
        """
        found = dict(paths(self._domain.expr, ()))
        by_path = {found.get(name, name): value for name, value in point.items()}
        self._parts(by_path)
        return by_path

    def native_point(self, trial: int, point: Mapping[str, Any]) -> Guess:
        """See the base."""
        # an option that the point takes may have labels that were not drawn: each is drawn for itself, too
        drawn = {**self._any_values(trial), **self.ask(trial, 0).token, **self._parts(point)}
        there = {label: drawn[label] for label in taken(self._domain.expr, drawn)}
        return Guess(self._config(there), there)

    def _parts(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """What a start point says of labels; it may name constants of the config, too."""
        inverse = Inverse(self.library, partial=True)
        inverse.match(self._domain.expr, nested_entries(point), self._bound.config)
        return inverse.found

    def _any_values(self, trial: int) -> dict[str, Any]:
        """A value for every label, whether it would exist or not."""
        pyll = self.library.pyll
        rng = self.library.base.np.random.default_rng(self.seed_for(trial, 1))
        return {label: pyll.stochastic.sample(node, rng=rng) for label, node in sorted(self._domain.params.items())}

    def _config(self, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        config = self.library.space_eval(self._domain.expr, drawn)
        if not isinstance(config, Mapping):
            raise SpecError(f"HyperOptSearch: the space must evaluate to a dict of named entries, but it gave {config!r}.")
        return listed(config)  # type: ignore[no-any-return]

    # ---- learning

    def enter(self, trial: int, point: Mapping[str, Any], token: Any) -> dict[str, Any]:
        """See the base."""
        hyperopt, tid = self.library, trial + _FIRST_TID
        if self.native is None:
            drawn = self._converter.drawn(point, self.problem.space.nodes)
        elif token is not None:
            drawn = token
        else:
            inverse = Inverse(hyperopt)
            inverse.match(self._domain.expr, point)
            drawn = inverse.found
        vals = {label: [plain(drawn[label])] if label in drawn else [] for label in self._domain.params}
        idxs = {label: [tid] if vals[label] else [] for label in vals}
        misc = {"tid": tid, "cmd": self._domain.cmd, "workdir": None, "idxs": idxs, "vals": vals}
        (doc,) = self._trials.new_trial_docs([tid], [None], [{"status": hyperopt.STATUS_NEW}], [misc])
        self._trials.insert_trial_docs([doc])
        self._trials.refresh()
        document: dict[str, Any] = self._trials.trials[-1]
        return document

    def tell(self, handle: dict[str, Any], observation: Observation) -> None:
        """See the base."""
        hyperopt = self.library
        handle["state"] = hyperopt.JOB_STATE_DONE
        if observation.losses is not None:
            handle["result"] = {"status": hyperopt.STATUS_OK, "loss": observation.loss}
            self._results += 1
        elif observation.feasible:  # nothing is known of it
            handle["state"] = hyperopt.JOB_STATE_ERROR
        else:
            handle["result"] = {"status": hyperopt.STATUS_FAIL}
        self._trials.refresh()


def _never_called(config: Any) -> None:
    """HyperOpt wants a function to minimise; the experiment is what runs it."""

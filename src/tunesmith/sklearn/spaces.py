"""What users of scikit-learn write as parameters to search, as something that a run can try: a list of candidates, or a search space."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tunesmith.errors import SpecError
from tunesmith.search.base import Exhausted, Proposal, Searcher, SearcherCapabilities
from tunesmith.space import choice, lograndint, loguniform, randint, randn, uniform
from tunesmith.space.domains import Domain, Float, Require
from tunesmith.space.nodes import SCALARS, label_of

__all__ = ["Candidates", "Listed", "Option", "Space", "is_plain"]

_EDGE = 1e-6
_LABEL = 80


class Option:
    """A value to choose that is no plain scalar: an estimator, a function, an array, a number of numpy's. It is never copied.

    Example:
        >>> import copy
        >>> option = Option([1, 2])
        >>> copy.deepcopy(option).value is option.value, option
        (True, [1, 2])
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Option:
        return self

    def __repr__(self) -> str:
        return str(_shown(self.value))


def _shown(value: Any) -> Any:
    """As a plain scalar: for people, and for the journal."""
    if isinstance(value, np.generic) and value.ndim == 0:
        value = value.item()
    if type(value) in SCALARS:
        return value
    text = " ".join(label_of(value).split())
    return text if len(text) <= _LABEL else text[: _LABEL - 3] + "..."


class Candidates:
    """Parameters that are known before the search begins: a grid, or a sample.

    Args:
        params: those of each candidate, as scikit-learn makes them.

    Example:
        >>> candidates = Candidates([{"C": 0.1}, {"C": 1.0}])
        >>> candidates.searcher().propose(1, "00001").values
        {'candidate': 1, 'C': 1.0}
        >>> candidates.params_of({"candidate": 1, "C": 1.0})
        {'C': 1.0}
    """

    config: ClassVar[dict[str, Any]] = {}

    def __init__(self, params: Sequence[dict[str, Any]]) -> None:
        self.params = list(params)

    def searcher(self) -> Searcher:
        """Proposes each of them once, in order."""
        return Listed([{"candidate": number} | {name: _shown(value) for name, value in one.items() if name != "candidate"}
                       for number, one in enumerate(self.params)])  # fmt: skip

    def params_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that a trial's configuration stands for: the very objects that were given."""
        number: int = config["candidate"]
        return self.params[number]


class Listed(Searcher):
    """Proposes given configurations, one after the other: trial n has number n.

    Args:
        configs: flat, scalars only.
    """

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(
        conditional=True, constraints=True, multi_objective=True, batch=True, deterministic=True, cheap=True
    )

    def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self._configs = configs

    def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted:
        if trial >= len(self._configs):
            return Exhausted("every candidate has been tried")
        return Proposal(dict(self._configs[trial]), "listed")

    def total_samples(self, num_samples: int | None) -> int | None:
        return len(self._configs)


class Space:
    """Parameters as a search space of the run's.

    Lists become choices; distributions of scipy's become domains, or the quantile of such a distribution, which any searcher can move;
    scikit-optimize's ``(low, high, "uniform")`` and ``(low, high, "log-uniform")`` become domains; domains stay. Of a list of dicts one is
    chosen.

    Args:
        distributions: a dict of name to what it may be, or a list of such dicts.
        known: names of the estimator's parameters. A dict under any other name holds parameters itself.

    Attributes:
        config: for the run.

    Raises:
        SpecError: names the parameter that is neither a list nor a distribution nor a domain.

    Example:
        >>> from scipy.stats import gamma, loguniform
        >>> space = Space({"C": loguniform(0.1, 10), "gamma": gamma(2), "degree": [2, 3]}, {"C", "gamma", "degree"})
        >>> space.config
        {'C': loguniform(0.1, 10.0), 'gamma quantile': uniform(0.0, 0.999999), 'degree': choice([2, 3])}
        >>> params = space.params_of({"C": 0.5, "gamma quantile": 0.5, "degree": 3})
        >>> params["C"], round(params["gamma"], 2), params["degree"]
        (0.5, 1.68, 3)
    """

    def __init__(self, distributions: Any, known: set[str]) -> None:
        self._known = known
        self._quantiles: dict[str, tuple[str, Any]] = {}
        if isinstance(distributions, Mapping):
            self.config = self._entries(distributions, "")
        elif isinstance(distributions, list | tuple) and distributions and all(isinstance(one, Mapping) for one in distributions):
            self.config = {"space": choice([self._entries(one, f" {number}") for number, one in enumerate(distributions)])}
        else:
            raise SpecError(f"param_distributions must be a dict of parameters, or a list of such dicts, got {distributions!r}.")

    def _entries(self, distributions: Mapping[str, Any], suffix: str) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for name, given in distributions.items():
            domain = _domain(name, given)
            if domain is None:
                name, domain = self._quantile(name, given, suffix)
            entries[name] = domain
        return entries

    def _quantile(self, name: str, distribution: Any, suffix: str) -> tuple[str, Domain]:
        entry = f"{name} quantile{suffix}"
        self._quantiles[entry] = (name, distribution)
        low, high = map(float, distribution.support())
        return entry, uniform(0.0 if math.isfinite(low) else _EDGE, 1.0 if math.isfinite(high) else 1.0 - _EDGE)

    def params_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The estimator's parameters that a trial's configuration stands for."""
        params: dict[str, Any] = {}
        for name, value in config.items():
            if name in self._quantiles:
                name, distribution = self._quantiles[name]
                params[name] = _at(distribution, value)
            elif isinstance(value, Option):
                params[name] = value.value
            elif isinstance(value, Mapping) and name not in self._known:
                params.update(self.params_of(value))
            else:
                params[name] = value
        return params


def is_plain(distributions: Any) -> bool:
    """Whether there are only lists and distributions, which scikit-learn itself can draw from, and no domains of ours."""
    every = [distributions] if isinstance(distributions, Mapping) else distributions
    return isinstance(every, list | tuple) and all(
        isinstance(one, Mapping)
        and not any(isinstance(value, Domain | Require | Mapping) or _is_dimension(value) for value in one.values())
        for one in every
    )


def _domain(name: str, given: Any) -> Any:
    """The domain of one parameter; None: a distribution that has to go by its quantiles."""
    if isinstance(given, Domain | Require) or (isinstance(given, Mapping) and set(given) == {"grid_search"}):
        return given
    if hasattr(given, "rvs"):
        return _translated(name, given)
    if _is_dimension(given):
        return _ranged(*given)
    if isinstance(given, np.ndarray) or (isinstance(given, Sequence) and not isinstance(given, str)):
        if len(given) == 0:
            raise SpecError(f"{name}: there is nothing to choose from, the list is empty.")
        return choice([one if _is_scalar(one) else Option(one) for one in given])
    raise SpecError(
        f"{name}: expected a list, a distribution (with rvs) or a domain such as tune.uniform(0, 1), got {given!r}. "
        f"One fixed value is a list of one: [{given!r}]."
    )


def _is_dimension(given: Any) -> bool:
    """Whether it is a range as tune-sklearn took them over from scikit-optimize: ``(low, high, "uniform" or "log-uniform")``."""
    if not isinstance(given, tuple) or len(given) != 3 or not all(isinstance(end, numbers.Real) for end in given[:2]):
        return False
    return isinstance(given[2], str) and given[2] in ("uniform", "log-uniform")


def _ranged(low: Any, high: Any, prior: str) -> Domain:
    """Of two whole numbers the whole numbers between them, the upper one included."""
    if isinstance(low, numbers.Integral) and isinstance(high, numbers.Integral):
        return (lograndint if prior == "log-uniform" else randint)(int(low), int(high) + 1)
    return (loguniform if prior == "log-uniform" else uniform)(float(low), float(high))


def _is_scalar(value: Any) -> bool:
    return type(value) in SCALARS and value == value  # nan is found by identity only


def _translated(name: str, distribution: Any) -> Domain | None:
    """The domain that draws as a distribution of scipy's does; None: there is none."""
    if not (hasattr(distribution, "ppf") and hasattr(distribution, "support")):
        raise SpecError(
            f"{name}: {distribution!r} can only be drawn from (it has rvs, but not ppf and support), so it needs "
            "search_optimization='random' and no domains beside it. Use a distribution of scipy.stats, or a domain: tune.uniform(0, 1)."
        )
    kind = getattr(getattr(distribution, "dist", None), "name", "")
    low, high = map(float, distribution.support())
    if kind == "uniform":
        return uniform(low, high)
    if kind in ("loguniform", "reciprocal") and math.isclose(distribution.ppf(0.5), math.sqrt(low * high), rel_tol=1e-9):
        return Float(low, high, log=True)
    if kind == "randint":
        return randint(int(low), int(high) + 1)
    if kind == "norm":
        return randn(float(distribution.mean()), float(distribution.std()))
    return None


def _at(distribution: Any, quantile: float) -> Any:
    value = distribution.ppf(quantile)
    if hasattr(distribution.dist, "pmf"):
        return int(max(value, distribution.support()[0]))
    return float(value)

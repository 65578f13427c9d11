"""Quasi-random search: points of a Sobol or Halton sequence, which leave smaller gaps than random ones."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tunesmith.core.rng import stream
from tunesmith.errors import SpecError
from tunesmith.search.base import Proposal, SearcherCapabilities
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Problem
from tunesmith.search.sampler import Asked, Sampler
from tunesmith.space.encode import Encoder

__all__ = ["QuasiRandomSampler", "QuasiRandomSearch"]

SOBOL_PARAMETERS = 21_201
"""Direction numbers are known for so many dimensions."""

_POINTS = 2**30
"""So many points a sequence has; as scipy makes them, Sobol's have 30 bits."""

_BLOCK = 64
"""Points are made so many at a time."""

_SKIPPED = 4096
"""At most so many are passed over in one go; Halton's are all made, and take room."""

_REFUSALS = 1000
"""After so many points in a row that break a constraint, what is left is drawn at random."""


class _Stream:
    """A scrambled sequence in the unit cube: point i depends on its arguments and i only, in whatever order points are asked for."""

    def __init__(self, sequence: str, dim: int, seed: int) -> None:
        from scipy.stats import qmc

        engine = qmc.Sobol if sequence == "sobol" else qmc.Halton
        # scipy's name for it since 1.15
        keyword = "rng" if "rng" in inspect.signature(engine.__init__).parameters else "seed"
        key = stream(seed, f"quasi-random {sequence}").getrandbits(64)
        self._engine = engine(d=dim, **{keyword: np.random.Generator(np.random.PCG64(key))})
        self._next = 0
        self._first = -_BLOCK
        self._block: npt.NDArray[np.float64] = np.empty((0, dim))

    def point(self, index: int) -> npt.NDArray[np.float64]:
        """A row of the cube. Cheap where the one before was asked for shortly before; else it takes time in proportion to ``index``."""
        first = index - index % _BLOCK
        if first != self._first:
            self._go_to(first)
            self._block = self._engine.random(_BLOCK)
            self._first, self._next = first, first + _BLOCK
        row: npt.NDArray[np.float64] = self._block[index - first]
        return row

    def _go_to(self, first: int) -> None:
        if first < self._next:
            self._engine.reset()
            self._next = 0
        while self._next < first:
            skipped = min(first - self._next, _SKIPPED)
            self._engine.fast_forward(skipped)
            self._next += skipped


class QuasiRandomSampler(Sampler):
    """See :class:`QuasiRandomSearch`.

    Args:
        problem: what is to be solved.
        sequence: "sobol" or "halton".
    """

    def __init__(self, problem: Problem, sequence: Literal["sobol", "halton"] = "sobol") -> None:
        super().__init__(problem)
        self.sequence = sequence
        self._encoder = Encoder(problem.space, one_hot=False)
        if sequence == "sobol" and self._encoder.dim > SOBOL_PARAMETERS:
            raise SpecError(
                f"QuasiRandomSearch: the space has {self._encoder.dim} parameters, and a Sobol sequence at most {SOBOL_PARAMETERS}; "
                'use sequence="halton".'
            )
        self._stream = _Stream(sequence, self._encoder.dim, problem.seed) if self._encoder.dim else None
        # With constraints: which points keep them, as far as that has been looked at. A function of space and seed.
        self._kept: list[int] = []
        self._looked_at = 0
        self._given_up = False

    def propose(self, asked: Asked) -> Proposal | None:
        """See the base. Trial n has point n; with constraints the n-th of those points that keep them."""
        if asked.attempt:
            return None
        index = self._nth(asked.trial) if self.problem.space.constraints else asked.trial
        return None if index is None or index >= _POINTS else Proposal(self._values(index), self.sequence)

    def _nth(self, trial: int) -> int | None:
        while len(self._kept) <= trial and not self._given_up:
            index = self._looked_at
            self._looked_at += 1
            if self.problem.space.broken_constraint(self._values(index)) is None:
                self._kept.append(index)
            self._given_up = index - (self._kept[-1] if self._kept else -1) >= _REFUSALS
        return self._kept[trial] if trial < len(self._kept) else None

    def _values(self, index: int) -> dict[str, Any]:
        decoded = self._encoder.decode(self._stream.point(index)) if self._stream is not None else {}
        return self.problem.space.complete(decoded, stream(self.problem.seed, "quasi-random", index))


class QuasiRandomSearch(NativeSearcher):
    """Covers the space evenly: configurations are the points of a scrambled low-discrepancy sequence.

    A better random search: it learns nothing, takes any number of workers, and leaves smaller gaps, most of all in projections on one or
    two parameters. Trial n's configuration depends on the seed and n only. Every parameter is a dimension, categorical and conditional
    ones included (what hangs on an option that is not taken is left out), so keep to spaces of some dozens of parameters; with more,
    first points of high dimensions are hardly more even than random ones. Equal parts of a dimension are equally likely under the
    space's own distribution. Constraints: trial n has the n-th point that keeps them. Small discrete spaces are gone through again
    and again: a configuration may come twice.

    Trials that try ``points_to_evaluate`` move nothing: trial n has point n, as it would have without them.

    Papers: Joe and Kuo, "Constructing Sobol sequences with better two-dimensional projections" (2008), scrambled by linear matrices and a
    digital shift (Matoušek, 1998); Owen, "A randomized Halton algorithm" (2017). Sequences are scipy's.

    Args:
        metric, mode: what the experiment optimises; nothing here depends on it.
        sequence: "sobol": at most 21,201 parameters; most even after 2, 4, 8, 16 ... trials. "halton": any number of parameters, and of
            trials; a little less even beyond ten parameters.
        points_to_evaluate: configurations to try first, in this order; what is missing in one is drawn at random.
        max_concurrent: at most so many trials at once; None or 0: no bound of its own.
        seed: of this searcher; None: the experiment's.

    Raises:
        SpecError: an argument is of the wrong kind, or (when bound to a space) there are too many parameters for Sobol.

    Example:
        >>> from tunesmith.space import Space, choice, uniform
        >>> searcher = QuasiRandomSearch("loss", "min")
        >>> searcher.bind(Space.parse({"lr": uniform(0, 1), "act": choice(["relu", "tanh"])}), seed=1)
        >>> seen = [searcher.propose(n, str(n)).values for n in range(8)]
        >>> sorted(int(values["lr"] * 8) for values in seen), sum(values["act"] == "relu" for values in seen)
        ([0, 1, 2, 3, 4, 5, 6, 7], 4)
    """

    capabilities = SearcherCapabilities(
        conditional=True, constraints=True, multi_objective=True, batch=True, deterministic=True, cheap=True
    )
    needs_metric = False

    def __init__(
        self,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        *,
        sequence: Literal["sobol", "halton"] = "sobol",
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        max_concurrent: int | None = None,
        seed: int | None = None,
    ) -> None:
        if sequence not in ("sobol", "halton"):
            raise SpecError(f'QuasiRandomSearch: sequence must be "sobol" or "halton", got {sequence!r}.')
        # whether a configuration came before depends on the order of requests, so it is not asked
        super().__init__(
            metric, mode, points_to_evaluate=points_to_evaluate, max_concurrent=max_concurrent, seed=seed, duplicates=True
        )  # fmt: skip
        self.sequence = sequence

    def make_sampler(self, problem: Problem) -> QuasiRandomSampler:
        """See the base."""
        return QuasiRandomSampler(problem, self.sequence)

"""The inside of a native searcher: from what was observed to the next configuration, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.search.base import Proposal
from tunesmith.search.problem import Observation, Problem

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Asked", "Sampler"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a sampler is asked with.

    Args:
        trial: number of the trial that the configuration is for.
        attempt: how many proposals for it were turned down already.
        rng: all randomness comes from here; its seed depends on the experiment's, ``trial`` and ``attempt`` only.
        pending: what other trials are trying now, by trial number, in the order in which they were proposed.
        refused: whether a configuration would be turned down, as it breaks a constraint of the space, or has been tried or is pending
            (and duplicates are not wanted). For samplers that compare many candidates: the others are just asked again.
    """

    trial: int
    attempt: int
    rng: np.random.Generator
    pending: Mapping[int, Mapping[str, Any]]
    refused: Callable[[Mapping[str, Any]], bool]


class Sampler(ABC):
    """Proposes configurations from what was observed.

    What it proposes must be a function of the problem, of the observations in their order, and of what it is asked with: a resumed
    experiment makes a new one and observes everything again. So there is no state but what observations leave behind, and no random
    generator of its own that goes on from question to question.

    Args:
        problem: what is to be solved.
    """

    follows_reports = False
    """Whether it wants to hear of reports of running trials, too."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @abstractmethod
    def propose(self, asked: Asked) -> Proposal | None:
        """The next configuration: values by name, see :class:`tunesmith.space.Space`.

        Parameters that are missing are drawn at random, those of options that are not taken are dropped. None: one at random.
        """

    def opening(self) -> Proposal | None:
        """The configuration of the first trial, if it needs no randomness; None: :meth:`propose` is asked."""
        return None

    def observe(self, observation: Observation) -> None:  # noqa: B027 - some learn nothing
        """A trial is over; each comes once. Also called for what users know already, before the first question."""

    def report(self, trial: int, values: Mapping[str, Any], step: float, losses: tuple[float, ...]) -> None:  # noqa: B027
        """A running trial had ``losses`` after ``step``; only called if :attr:`follows_reports`."""

"""What earlier sessions of an experiment proposed, for the searcher of this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.search.base import Proposal
from tunesmith.space.domains import same

__all__ = ["Earlier", "given_by", "repeats"]


@dataclass(slots=True)
class Earlier:
    """What earlier sessions proposed.

    Args:
        values: trial -> its values in the present space; None: it lies outside.
        sessions: trial -> number of the session that proposed it.
        first: number of the first trial of the present version of the space; 0: there has been no other.
    """

    values: dict[int, dict[str, Any] | None] = field(default_factory=dict)
    sessions: dict[int, int] = field(default_factory=dict)
    first: int = 0

    def inside(self) -> list[dict[str, Any]]:
        """Those from before :attr:`first` that the present space has, too."""
        return [values for trial in range(self.first) if (values := self.values[trial]) is not None]


def given_by(answer: object) -> dict[str, Any] | None:
    """What the searcher itself gave in a proposal, without what was drawn for it; None: the answer is no proposal."""
    return {name: value for name, value in answer.values.items() if name not in answer.drawn} if isinstance(answer, Proposal) else None


def repeats(given: Mapping[str, Any] | None, values: Mapping[str, Any] | None) -> bool:
    """Whether what a searcher gives now is what it gave for a trial with these values.

    Example:
        >>> repeats({"lr": 0.1}, {"lr": 0.1, "momentum": 0.9}), repeats({"lr": 0.2}, {"lr": 0.1}), repeats(None, {"lr": 0.1})
        (True, False, False)
    """
    if given is None or values is None:
        return False
    return all(name in values and same(values[name], value) for name, value in given.items())

"""Where a process stands among those that run one trial together."""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ["VARIABLES", "Place"]

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
"""By which torchrun and its like tell a process its place, the first four those of a :class:`Place`."""


class Place(NamedTuple):
    """Of a process among those that run one trial together: its rank, of how many, and the same among those of its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @classmethod
    def of_environment(cls) -> Place:
        """As the variables say that torchrun and its like set."""
        numbers = [os.environ.get(name, "") for name in VARIABLES[:4]]
        return cls(*(int(number) if number.isdecimal() else usual for number, usual in zip(numbers, cls(), strict=True)))

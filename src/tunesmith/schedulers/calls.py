"""Calling functions of the user's that draw something: seeded, so that what they draw depends on nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tunesmith.blame import describe_exception
from tunesmith.errors import UserCodeError
from tunesmith.space.compute import seed_globals, unchanged_globals

__all__ = ["called"]


def called(what: str, function: Callable[..., Any], rng: random.Random, *arguments: Any) -> Any:
    """A function of the user's, with ``random`` and numpy's global generator seeded from ``rng`` for the time of the call.

    Args:
        what: how to call it in messages.

    Raises:
        UserCodeError: it raised.
    """
    seed = rng.getrandbits(32)
    with unchanged_globals():
        seed_globals(seed)
        try:
            return function(*arguments)
        except Exception as error:
            raise UserCodeError(f"{what} raised {describe_exception(error)}") from error

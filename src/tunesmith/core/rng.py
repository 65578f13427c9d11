"""Keyed randomness: independent streams that depend on names, not on the order in which they are used.

A stream is keyed by the experiment's seed, what it is for, and a number (usually the trial's). Whoever draws first or last
gets the same numbers, so that model-free searchers give trial 17 the same configuration on one worker and on fifty.
"""

from __future__ import annotations

import hashlib
import random

__all__ = ["fresh_seed", "stream", "trial_seed"]


def _key(seed: int, purpose: str, number: int) -> int:
    digest = hashlib.blake2b(b"%d|%s|%d" % (seed, purpose.encode(), number), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def stream(seed: int, purpose: str, number: int = 0) -> random.Random:
    """A generator of its own for ``(seed, purpose, number)``.

    Args:
        seed: the experiment's seed, any integer.
        purpose: what it is for, e.g. "search" or "scheduler"; different purposes are independent.
        number: usually the trial's number.

    Example:
        >>> stream(1, "search", 7).random() == stream(1, "search", 7).random()
        True
        >>> stream(1, "search", 7).random() == stream(1, "search", 8).random()
        False
    """
    return random.Random(_key(seed, purpose, number))


def trial_seed(seed: int, trial: int) -> int:
    """The seed handed to trial number ``trial`` (``get_context().seed``): 32 bits, so that numpy and torch take it."""
    return _key(seed, "trial", trial) & 0xFFFFFFFF


def fresh_seed() -> int:
    """A seed for an experiment that was given none: 31 bits from the operating system; it is printed and journaled."""
    return random.Random().getrandbits(31)  # without a seed it takes one from the operating system

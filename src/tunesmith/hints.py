"""Help for people who mistype: the "did you mean" of every error message, and the refusal of unknown names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.errors import SpecError

__all__ = ["did_you_mean", "refuse_unknown"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` (with a leading blank) for the known name most like ``word``, or an empty string.

    Example:
        >>> did_you_mean("num_sample", ["num_samples", "name"])
        " Did you mean 'num_samples'?"
        >>> did_you_mean("banana", ["num_samples", "name"])
        ''
    """
    import difflib  # only on the way to an error: it is not cheap to import

    lowered = {name.lower(): name for name in sorted(known, reverse=True)}
    close = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return f" Did you mean {lowered[close[0]]!r}?" if close else ""


def refuse_unknown(owner: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ``SpecError`` for the first name in ``given`` that is not among ``known``; ``owner`` is who was called.

    Example:
        >>> refuse_unknown("run()", {"num_sample": 3}, ["num_samples", "name"])
        Traceback (most recent call last):
        ...
        tunesmith.errors.SpecError: run() has no argument 'num_sample'. Did you mean 'num_samples'?
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            hint = did_you_mean(name, names) or f" It knows: {', '.join(names)}."
            raise SpecError(f"{owner} has no argument {name!r}.{hint}")

"""One metric and mode for the whole run, from wherever users gave them: the front, the scheduler, the searcher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunesmith.core.events import DEFAULT_METRIC
from tunesmith.errors import SpecError

__all__ = ["agree"]

Names = tuple[str, ...] | None


def agree(metric: Any, mode: Any, scheduler: Any, searcher: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Fill what one of the three lacks from the others, and tell the scheduler (the searcher is told with the space, by its host).

    Args:
        metric, mode: the front's: None, a name, or a list of names of equal length.
        scheduler, searcher: may have attributes ``metric`` and ``mode``.

    Returns:
        Metrics and modes of equal length; both empty if nobody gave any. A mode without a metric is for ``_metric``.

    Raises:
        SpecError: two of them contradict each other (the message names both), a mode that is neither "min" nor "max",
            lists of different lengths, or a metric without a mode.

    Example:
        >>> agree("loss", "min", None, None)
        (('loss',), ('min',))
    """
    claims = {"this run": (_names("metric", metric), _modes("this run", mode))}
    for kind, part in (("scheduler", scheduler), ("searcher", searcher)):
        if part is not None:
            owner = f"the {kind} {type(part).__name__}"
            claims[owner] = (_names("metric", _attribute(part, "metric")), _modes(owner, _attribute(part, "mode")))
    metrics = _common("metric", {owner: claim[0] for owner, claim in claims.items()})
    modes = _common("mode", {owner: claim[1] for owner, claim in claims.items()})
    if metrics is None and modes is not None:
        metrics = (DEFAULT_METRIC,)
    if metrics is not None and modes is None:
        raise SpecError(f"metric={_show(metrics)} is given without a mode; say mode='min' or mode='max'.")
    if metrics is None or modes is None:
        return (), ()
    if len(metrics) != len(modes):
        raise SpecError(f"metric={_show(metrics)} and mode={_show(modes)} must be lists of equal length.")
    if scheduler is not None:
        _tell(scheduler, metrics, modes)
    return metrics, modes


def _tell(scheduler: Any, metrics: tuple[str, ...], modes: tuple[str, ...]) -> None:
    missing_metric = _plain(metrics) if _attribute(scheduler, "metric") is None else None
    missing_mode = _plain(modes) if _attribute(scheduler, "mode") is None else None
    if (missing_metric, missing_mode) == (None, None):
        return
    if scheduler.set_search_properties(missing_metric, missing_mode) is False:
        name = type(scheduler).__name__
        raise SpecError(f"the scheduler {name} does not take metric={_show(metrics)} and mode={_show(modes)}; give them when it is made.")


def _attribute(part: Any, name: str) -> Any:
    """Plug-ins written for Ray keep theirs under a leading underscore."""
    value = getattr(part, name, None)
    return value if value is not None else getattr(part, f"_{name}", None)


def _names(what: str, given: Any) -> Names:
    if given is None:
        return None
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) and name for name in names):
        raise SpecError(f"{what} must be a name or a list of names, got {given!r}.")
    if len(set(names)) != len(names) and what == "metric":
        raise SpecError(f"metric={given!r} names the same metric twice.")
    return tuple(names)


def _modes(owner: str, given: Any) -> Names:
    modes = _names("mode", given)
    if modes is not None and not set(modes) <= {"min", "max"}:
        raise SpecError(f"mode must be 'min' or 'max' (one per metric), got {given!r} in {owner}.")
    return modes


def _common(what: str, claims: dict[str, Names]) -> Names:
    found: tuple[str, tuple[str, ...]] | None = None
    for owner, claim in claims.items():
        if claim is None:
            continue
        if found is None:
            found = (owner, claim)
        elif found[1] != claim:
            raise SpecError(
                f"{what}={_show(found[1])} in {found[0]} contradicts {what}={_show(claim)} in {owner}: give it once, or the same in both."
            )
    return found[1] if found else None


def _plain(names: tuple[str, ...]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)


def _show(names: tuple[str, ...]) -> str:
    return repr(_plain(names))

"""What optimisers and learning rate schedulers were built with, so that a trial with another configuration keeps its own after a restore.

``load_state_dict`` brings back the learning rate, too, and with it that of the trial that the checkpoint came from. In population based
training this would undo each exploration: the trial goes on with the copied learning rate, and its new one is in its config only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["adopt_optimizer", "adopt_scheduler", "built_optimizer", "built_scheduler", "schedulers_in"]

_SCALARS = (bool, int, float, str)
_RATES = ("lr", "initial_lr", "max_lr", "min_lr")


def built_optimizer(optimizer: Any) -> list[dict[str, Any]]:
    """The hyperparameters of each parameter group, as scalars and lists of them: to be asked for before anything is trained or loaded."""
    return [_plain(group) for group in optimizer.param_groups]


def built_scheduler(scheduler: Any) -> list[dict[str, Any]]:
    """The settings of a learning rate scheduler, and of those in it, as scalars."""
    return [_plain(vars(inner)) for inner in schedulers_in(scheduler)]


def adopt_optimizer(optimizer: Any, schedulers: Iterable[Any], own: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """Undo the change of hyperparameters that came with a restored state.

    What was built alike stays as it was restored. What was not becomes the own one again; a learning rate is multiplied by the ratio of
    both, as a scheduler may have changed it since.

    Args:
        optimizer: its state was restored, and that of its schedulers.
        schedulers: of this optimiser.
        own: its :func:`built_optimizer`.
        other: that of the optimiser whose state it is.
    """
    if own == other or len(own) != len(other):
        return
    factors = [_adopt_group(group, mine, theirs) for group, mine, theirs in zip(optimizer.param_groups, own, other)]
    for scheduler in schedulers:
        for inner in schedulers_in(scheduler):
            for name in ("base_lrs", "max_lrs", "_last_lr"):
                rates = vars(inner).get(name)
                if rates is not None and len(rates) == len(factors):
                    setattr(inner, name, [rate * factor for rate, factor in zip(rates, factors)])


def adopt_scheduler(scheduler: Any, own: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """The same for a scheduler's own settings, such as ``gamma``; see :func:`adopt_optimizer`."""
    for inner, mine, theirs in zip(schedulers_in(scheduler), own, other):
        for name, value in mine.items():
            if name in theirs and theirs[name] != value:
                setattr(inner, name, value)


def schedulers_in(scheduler: Any) -> Iterator[Any]:
    """A scheduler and those that it is made of (``SequentialLR``, ``ChainedScheduler``)."""
    yield scheduler
    for inner in getattr(scheduler, "_schedulers", ()):
        yield from schedulers_in(inner)


def _adopt_group(group: dict[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Returns by how much the learning rate was multiplied."""
    for name, value in mine.items():
        if name not in _RATES and name in theirs and theirs[name] != value:
            _put(group, name, tuple(value) if isinstance(value, list) else value)
    ours, others = (one.get("initial_lr", one.get("lr", 0.0)) for one in (mine, theirs))
    if ours == others:
        return 1.0
    if not others:
        _put(group, "lr", ours)
        return 1.0
    factor = float(ours / others)
    for name in _RATES:
        if name in group:
            exact = name in mine and float(group[name]) == theirs.get(name)
            _put(group, name, mine[name] if exact else float(group[name]) * factor)
    return factor


def _put(group: dict[str, Any], name: str, value: Any) -> None:
    if hasattr(group.get(name), "fill_"):
        group[name].fill_(value)  # a compiled step holds on to the tensor
    else:
        group[name] = value


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == "params":
            continue
        if hasattr(value, "numel") and value.numel() == 1:
            value = value.item()
        if isinstance(value, _SCALARS):
            found[name] = value
        elif isinstance(value, tuple) and all(isinstance(one, _SCALARS) for one in value):
            found[name] = list(value)  # as JSON gives it back
    return found

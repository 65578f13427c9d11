"""Checkpoints of the whole experiment: the best one is held, losers' go at once, and all together keep to their budget. Pure.

What a trial needs while it lives is :mod:`tunesmith.core.retention`'s business (``num_to_keep``); here it is what may go beyond that.
Decisions to let checkpoints go are recorded (``drop``), each with its reason.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.core.commands import Decision
from tunesmith.core.retention import Saved
from tunesmith.core.settings import Settings

if TYPE_CHECKING:
    from tunesmith.core.state import State
    from tunesmith.core.trial import Trial

__all__ = ["Shelf", "admit", "drop", "drops", "forget", "objective", "put", "recount", "retired", "take_back"]


@dataclass(slots=True)
class Shelf:
    """Part of the state.

    Args:
        champion: trial and checkpoint with the best objective so far, pinned: a result asks for it, whatever retention says.
        ended: of trials that are over, the checkpoints that they still have; only with ``keep_best`` or ``max_checkpoint_bytes``.
        leader: the ended trial with the best last objective, and that value (greater is better).
        total: bytes of all checkpoints that were not let go.
        kept: id -> trial and checkpoint, and ``worst``: a heap of (rank, trial, iteration, id), stale entries included; only with
            ``max_checkpoint_bytes``.
        full: there are more bytes than there should be, and each is needed; ``freed``: since then some may not be any more.
    """

    champion: tuple[int, Saved] | None = None
    ended: dict[int, list[Saved]] = field(default_factory=dict)
    leader: tuple[int, float] | None = None
    total: int = 0
    kept: dict[str, tuple[int, Saved]] = field(default_factory=dict)
    worst: list[tuple[float, int, int, str]] = field(default_factory=list)
    full: bool = False
    freed: bool = False

    def digest(self) -> tuple[Any, ...]:
        """What of it decisions depend on."""
        return self.champion, sorted(self.ended.items()), self.leader, self.total, sorted(self.kept), self.full, self.freed


def objective(settings: Settings, metrics: dict[str, Any]) -> float | None:
    """The value of the one objective such that greater is better; None if there is none, or it is not a finite number."""
    if len(settings.metrics) != 1:
        return None
    value = metrics.get(settings.metrics[0])
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value) if settings.modes[0] == "max" else -float(value)


def _rank(settings: Settings, saved: Saved) -> float:
    """Greater is better; what nobody can rank is the worst."""
    if settings.score_attribute is None:
        return -math.inf if saved.value is None else saved.value
    score = saved.score
    if score is None or math.isnan(score):
        return -math.inf
    return score if settings.score_order == "max" else -score


# -- what comes ----------------------------------------------------------------------------------------------------------


def put(state: State, trial: Trial, saved: Saved) -> None:
    """A checkpoint has come; called before retention looks at the trial's others."""
    shelf = state.shelf
    admit(state, trial.number, saved)
    best = shelf.champion
    if saved.value is None:
        return
    if best is not None:
        assert best[1].value is not None
        if (saved.value, -trial.number) <= (best[1].value, -best[0]):
            return
        state.unpin(best[1].id)
    shelf.champion = trial.number, saved
    state.pin(saved.id)


def admit(state: State, number: int, saved: Saved) -> None:
    """A checkpoint counts from here on."""
    shelf = state.shelf
    shelf.total += saved.bytes
    if state.settings.max_checkpoint_bytes is not None:
        shelf.kept[saved.id] = number, saved
        heapq.heappush(shelf.worst, (_rank(state.settings, saved), number, saved.iteration, saved.id))


def recount(state: State) -> None:
    """The limit is another one. Checkpoints of trials that ended while there was none are not known any more, and do not count."""
    shelf = state.shelf
    shelf.total, shelf.kept, shelf.worst, shelf.full = 0, {}, [], False
    held = {**shelf.ended, **{number: trial.saved for number, trial in state.trials.items()}}
    for number in sorted(held):
        for one in held[number]:
            admit(state, number, one)


def drop(state: State, number: int, ids: list[str]) -> None:
    """Let these checkpoints of a trial go."""
    shelf = state.shelf
    trial = state.trials.get(number)
    held = trial.saved if trial is not None else shelf.ended.get(number, [])
    for one in [one for one in held if one.id in ids]:
        held.remove(one)
        if trial is not None and trial.base is not None and one.iteration == trial.base.iteration:
            trial.replaced += (one.id,)
        forget(state, one)
        state.doom(one.id)
    if trial is None and not held:
        shelf.ended.pop(number, None)


def forget(state: State, saved: Saved) -> None:
    """It is to be deleted, or nobody here knows of it any more."""
    state.shelf.total -= saved.bytes
    state.shelf.kept.pop(saved.id, None)


def retired(state: State, trial: Trial, outcome: str) -> None:
    """A trial ends: what it has saved is on the shelf from here on."""
    shelf, settings = state.shelf, state.settings
    if outcome == "infeasible" and shelf.champion is not None and shelf.champion[0] == trial.number:
        state.unpin(shelf.champion[1].id)  # it is no result
        shelf.champion = None
    if settings.keep_best is None and settings.max_checkpoint_bytes is None:
        return
    if trial.saved:
        shelf.ended[trial.number] = trial.saved
    value = None if outcome in ("infeasible", "nan") else objective(settings, trial.metrics)
    if value is not None and (shelf.leader is None or (value, -trial.number) > (shelf.leader[1], -shelf.leader[0])):
        shelf.leader = trial.number, value


def take_back(state: State, number: int) -> list[Saved]:
    """An ended trial goes on: its checkpoints are its own again."""
    shelf = state.shelf
    if shelf.leader is not None and shelf.leader[0] == number:
        shelf.leader = None
    return shelf.ended.pop(number, [])


# -- what goes -----------------------------------------------------------------------------------------------------------


def drops(state: State) -> Iterator[Decision]:
    """Decisions about what has to go now."""
    settings = state.settings
    if settings.keep_best is not None:
        yield from _losers(state, settings.keep_best)
    if settings.max_checkpoint_bytes is not None:
        yield from _surplus(state, settings.max_checkpoint_bytes)


def _losers(state: State, keep: int) -> Iterator[Decision]:
    shelf, settings = state.shelf, state.settings
    if not shelf.ended:
        return
    best = {number: max(held, key=lambda one: (_rank(settings, one), one.iteration)) for number, held in shelf.ended.items()}
    order = sorted(best, key=lambda number: (-_rank(settings, best[number]), number))
    for place, number in enumerate(order):
        held = shelf.ended[number]
        spared = {best[number].id} if place < keep else set()
        gone = [one.id for one in held if one.id not in spared and not _is_needed(state, number, one)]
        if gone:
            reason = f"not among the {keep} best of the trials that have ended" if place >= keep else "an ended trial keeps its best one"
            yield Decision("drop", None, f"keep_best={keep}: {reason}", {"trial": number, "checkpoints": gone})


def _surplus(state: State, limit: int) -> Iterator[Decision]:
    shelf = state.shelf
    needed = []
    while shelf.total > limit and shelf.worst:
        entry = heapq.heappop(shelf.worst)
        number, saved = shelf.kept.get(entry[3], (-1, None))
        if saved is None:
            continue
        if _is_needed(state, number, saved):
            needed.append(entry)
            continue
        reason = f"max_checkpoint_bytes={limit:,}: there are {shelf.total:,} bytes, and it is the worst that nobody needs"
        yield Decision("drop", None, reason, {"trial": number, "checkpoints": [saved.id]})
    for entry in needed:
        heapq.heappush(shelf.worst, entry)
    full, shelf.full, shelf.freed = shelf.full, shelf.total > limit, False
    if shelf.full and not full:
        reason = f"max_checkpoint_bytes={limit:,}: there are {shelf.total:,} bytes, and each checkpoint is the best one or is gone on from"
        yield Decision("drop", None, reason, {"checkpoints": []})


def _is_needed(state: State, number: int, saved: Saved) -> bool:
    """Somebody goes on from it, or it is what a result asks for."""
    if state.pins.get(saved.id):
        return True
    trial = state.trials.get(number)
    if trial is not None:
        return trial.base is not None and trial.base.id == saved.id
    leader = state.shelf.leader
    return leader is not None and leader[0] == number and saved is state.shelf.ended[number][-1]

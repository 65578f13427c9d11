"""What happens at the edge when a trial is to go on with other values: who is asked, with what, and what becomes of the answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tunesmith.blame import describe_exception
from tunesmith.core import commands as cmd
from tunesmith.core.events import Explored
from tunesmith.core.trial import Trial
from tunesmith.errors import SpaceError, TuneError, UserCodeError
from tunesmith.schedulers.base import Exploration, Mutated
from tunesmith.schedulers.calls import called
from tunesmith.schedulers.mutations import Mutations, Proposal
from tunesmith.space import Space
from tunesmith.space.mutable import ABSENT, at_path, copied, differences, place, recorded, unchanged
from tunesmith.space.nodes import SCALARS, label_of, plain

__all__ = ["Explorer", "mutated"]

_TRIES = 100
"""So often new values are asked for until they satisfy the space's constraints."""


class Explorer:
    """Answers ``Explore`` commands by the scheduler's own ``explore``.

    Args:
        scheduler: asked; it need not have that method as long as nothing is asked for.
        space: version -> space.
        seed: the run's.
    """

    def __init__(self, scheduler: Any, space: Callable[[int], Space], seed: int) -> None:
        self._scheduler = scheduler
        self._space = space
        self._seed = seed
        self._given: dict[int, tuple[int, dict[str, Any]]] = {}  # trial -> number of its exploit, and the answer

    def __call__(self, command: cmd.Explore, trials: Iterable[Trial] = ()) -> Explored:
        """The answer.

        Args:
            trials: the live ones: exploits of theirs that are under way are shown to the scheduler.

        Raises:
            TuneError: code of the user's failed, or there is none to ask; names the function.
        """
        name = type(self._scheduler).__name__
        explore = getattr(self._scheduler, "explore", None)
        if explore is None:
            raise UserCodeError(f"scheduler {name} asks for new values and has no explore() method")
        space, others = self._space(command.space), tuple(self._under_way(trials, command.trial))
        asked = Exploration(
            command.trial, command.source, command.number, dict(command.values), command.data, space, self._seed, others
        )
        try:
            answer = explore(asked)
            found = answer if isinstance(answer, Mutated) else Mutated(dict(answer))
        except TuneError:
            raise
        except Exception as error:
            raise UserCodeError(f"{name}.explore raised {describe_exception(error)}") from error
        self._given[command.trial] = (command.number, found.values)
        return Explored(command.trial, found.values, exploit=command.number, changes=found.changes)

    def _under_way(self, trials: Iterable[Trial], but: int) -> Iterable[dict[str, Any]]:
        """The values of other exploits that have been given some: also those that the fold has not been told yet."""
        given: dict[int, tuple[int, dict[str, Any]]] = {}
        for trial in trials:
            exploit = trial.exploit
            if exploit is None or trial.number == but:
                continue
            known = self._given.get(trial.number)
            if known is not None and known[0] == exploit.number:
                given[trial.number] = known
            if exploit.values is not None or trial.number in given:
                yield dict(exploit.values if exploit.values is not None else given[trial.number][1])
        self._given = given


def mutated(
    exploration: Exploration,
    mutations: Mutations,
    propose: Callable[[dict[str, Any]], Mapping[str, Proposal]],
    custom: Callable[[dict[Any, Any]], Any] | None,
    rng: random.Random,
) -> Mutated:
    """New values for an exploit: those of its source, changed.

    Args:
        propose: path -> present value of what may change; gives the new ones. Asked again if a constraint of the space is broken.
        custom: the user's own function of the config, called last.
        rng: for it.

    Raises:
        UserCodeError: a function of the user's raised, or made something that cannot be recorded; names it.
    """
    space, values = exploration.space, exploration.values
    before = space.resolve(values)
    now = {path: value for path in mutations.paths if (value := at_path(before, path)) is not ABSENT}
    for _ in range(_TRIES):
        after: Any = copied(before)
        done = {path: (mutations.fitted(path, value, now[path]), how) for path, (value, how) in propose(now).items()}
        for path, (value, _how) in done.items():
            place(after, path, value)
        if custom is not None:
            after = called("custom_explore_fn", custom, rng, after)
        try:
            if not isinstance(after, Mapping):
                raise UserCodeError(f"custom_explore_fn returned {after!r}; it must return the config, changed or not")
            found = recorded(space, values, before, after)
        except SpaceError as error:
            author = "custom_explore_fn" if custom is not None else f"hyperparam_mutations ({', '.join(done)})"
            raise UserCodeError(f"{author} made a config that cannot be recorded: {error}") from error
        if not space.constraints or space.broken_constraint(found) is None:
            return Mutated(found, _changes(before, after, done))
    return Mutated(dict(values), {path: [_text(value), _text(value), "kept, for the constraints"] for path, value in now.items()})


def _changes(before: Any, after: Any, done: Mapping[str, Proposal]) -> dict[str, list[Any]]:
    """For people: path -> [before, now, what was done]."""
    found: dict[str, list[Any]] = {}
    for path, (value, how) in done.items():
        final = at_path(after, path)
        found[path] = [_text(at_path(before, path)), _text(final), how if unchanged(final, value) else f"{how}, custom_explore_fn"]
    for path, (old, new) in differences(before, after).items():
        if not any(path == other or path.startswith(f"{other}/") for other in done):
            found[path] = [_text(old), _text(new), "custom_explore_fn"]
    return found


def _text(value: Any) -> Any:
    value = plain(value)
    return None if value is ABSENT else value if type(value) in SCALARS else label_of(value)

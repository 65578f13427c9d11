"""Replay of a schedule that population-based training has found: one configuration after another, each from its iteration on."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith.core.flat import flatten
from tunesmith.core.ports import TrialView
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.places import text_of
from tunesmith.schedulers.base import Scheduler, SchedulerCapabilities
from tunesmith.space import Categorical, Domain
from tunesmith.space.domains import Mutable
from tunesmith.space.match import place_among
from tunesmith.space.mutable import ABSENT, at_path, unchanged
from tunesmith.space.nodes import label_of
from tunesmith.space.parse import grid_options

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["PopulationBasedTrainingReplay"]

_log = logging.getLogger("tunesmith")

Step = tuple[int, dict[str, Any]]
"""From which iteration on, and the config."""


class PopulationBasedTrainingReplay(Scheduler):
    """Trains with a schedule that :class:`PopulationBasedTraining` has found: the winner's configurations, each from its iteration on.

    At each change the trial saves, and goes on from there with the next configuration: a class is asked for it; a function must report a
    checkpoint with that very iteration, as it did when the schedule was found, else the change waits for the next checkpoint. With
    ``num_samples`` above 1 every trial follows the schedule, each with its own seed.

    The schedule is put over the ``config`` of the run: what it names is replaced, everything else stays, such as secrets and data. Objects
    stand in a schedule by their labels; they are found again among what ``config`` has at the same place (the object, or a ``choice`` of
    them), so give the same space as in the search.

    Args:
        policy_file: what ``analysis.best_schedule()`` returned (a list of (iteration, config), the first at iteration 0); the path of a
            file that it was written to as JSON; or the path of a ``pbt_policy_<trial>.txt``, of ours or of Ray Tune's.

    Raises:
        SpecError: there is no such file, or no schedule in it.

    Differs from Ray Tune: the schedule is laid over the config instead of taking its place. Several changes of one iteration count as
    one. Iterations are those of the trial, whatever ``training_iteration`` it reports.

    Example:
        >>> replay = PopulationBasedTrainingReplay([(0, {"lr": 0.1}), (20, {"lr": 0.05})])
        >>> dict(replay.prepare_space({"epochs": 50}))["epochs"], replay.schedule[1]
        (50, (20, {'lr': 0.05}))
    """

    capabilities: ClassVar[SchedulerCapabilities] = SchedulerCapabilities(exploits=True)

    def __init__(self, policy_file: str | PathLike[str] | Sequence[Any]) -> None:
        super().__init__()
        self.policy_file = policy_file if isinstance(policy_file, str) else None
        self.schedule: list[Step] = _collapsed(_checked(policy_file))
        flat = [(at, flatten(config)) for at, config in self.schedule]
        self._changes: list[Step] = [
            (at, {path: value for path, value in now.items() if not (path in old and unchanged(old[path], value))})
            for (_, old), (at, now) in pairwise(flat)
        ]
        self._next: dict[int, int] = {}  # trial -> which change is next
        self._known: dict[int, str | None] = {}  # trial -> its newest checkpoint when it last reported
        self._asked: dict[int, int] = {}  # trial -> 1 if its newest report was answered with a change
        self._told = False
        self._can_save = False

    # -- before the run --------------------------------------------------------------------------------------------------

    def prepare_space(self, config: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """The config with the schedule's first configuration over it; what changes later is recorded for each trial."""
        changing = {path for _, changes in self._changes for path in changes}
        prepared: dict[Any, Any] = dict(config)
        replaced = []
        codes: dict[str, tuple[Any, ...]] = {}
        for path, value in flatten(self.schedule[0][1]).items():
            given = at_path(config, path)
            options = _objects(given)
            start = _found(options, value)
            if not (given is ABSENT or isinstance(given, Domain | Mutable) or unchanged(given, start)):
                replaced.append(path)
            codes[path] = options
            prepared = _with(prepared, path.split("/"), Mutable(start, options) if path in changing else start, path)
        if replaced:
            _log.warning("the schedule takes the place of config[%s].", "], config[".join(map(repr, replaced)))
        self._changes = [
            (at, {path: _code(codes.get(path, ()), value) for path, value in changes.items()}) for at, changes in self._changes
        ]
        return prepared

    def start(self, settings: Settings) -> None:
        """Take whether trials save when they are asked to."""
        super().start(settings)
        self._can_save = settings.can_save

    # -- the run ---------------------------------------------------------------------------------------------------------

    def on_trial_add(self, trial: TrialView) -> None:
        """It begins with the first configuration."""
        self._next[trial.number] = 0

    def on_trial_reopen(self, trial: TrialView) -> None:
        """It goes on where it was, with the configuration that it had."""
        self._next[trial.number] = sum(at <= trial.iteration for at, _ in self._changes)

    def on_trial_end(self, trial: TrialView, outcome: str) -> None:
        """Nothing is kept of it."""
        for kept in (self._next, self._known, self._asked):
            kept.pop(trial.number, None)

    def on_exploit_end(self, trial: TrialView, source: int, done: bool) -> None:
        """The change is made; or will be tried again."""
        self._asked.pop(trial.number, None)
        if done and trial.number in self._next:
            self._next[trial.number] = sum(at <= trial.iteration for at, _ in self._changes)

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Any:
        """Whether a change is due, and can be made without going back."""
        number = trial.number
        first = self._next.get(number, 0)
        saved, self._known[number] = trial.checkpoint != self._known.get(number), trial.checkpoint
        due = [change for change in self._changes[first:] if change[0] <= trial.iteration]
        if not due:
            return self.CONTINUE
        in_vain = self._asked.pop(number, 0)  # that checkpoint was of an older state
        if in_vain or not (self._can_save or (saved and trial.checkpoint is not None)):
            return self._late(trial, due[0][0])
        self._asked[number] = 1
        changes = {path: value for _, change in due for path, value in change.items()}
        shown = ", ".join(f"{path} {value:.6g}" if isinstance(value, float) else f"{path} {value}" for path, value in changes.items())
        reason = f"goes on by the schedule from iteration {due[-1][0]}: {shown}"
        return self.exploit(number, reason, trial=number, values={**trial.values, **changes})

    def _late(self, trial: TrialView, at: int) -> Any:
        if self._told:
            return self.CONTINUE
        self._told = True
        return self.notice(
            f"the schedule changes at iteration {at}, and no checkpoint came with iteration {trial.iteration}: the change waits for the "
            f"next one. Report checkpoints as often as the trial that the schedule is of did",
            trial.number,
        )


def _checked(given: Any) -> list[Step]:
    where = "policy_file"
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        where = str(given)
        given = _read(where)
    if not isinstance(given, Sequence) or not given:
        raise SpecError(f"PopulationBasedTrainingReplay: {where}: expected a list of (iteration, config), got {given!r}.")
    steps: list[Step] = []
    for entry in given:
        pair = isinstance(entry, Sequence) and len(entry) == 2 and isinstance(entry[0], int) and isinstance(entry[1], Mapping)
        if not pair or isinstance(entry[0], bool) or entry[0] < (steps[-1][0] if steps else 0):
            wanted = "pairs of an iteration, from 0 and ascending, and a config"
            raise SpecError(f"PopulationBasedTrainingReplay: {where}: expected {wanted}; got {entry!r}.")
        steps.append((entry[0], dict(entry[1])))
    if steps[0][0] != 0:
        raise SpecError(f"PopulationBasedTrainingReplay: {where}: it must say what to begin with, at iteration 0; got {steps[0]!r}.")
    return steps


def _read(path: str) -> Any:
    """A schedule from a file: a JSON list of pairs, or a policy file with one exploit per line."""
    try:
        text = text_of(path)
    except OSError as error:
        raise SpecError(f"PopulationBasedTrainingReplay: {path} cannot be read: {error.strerror or error}.") from error
    try:
        found = json.loads(text)
        if isinstance(found, list) and all(isinstance(entry, list) and len(entry) == 2 for entry in found):
            return found
    except ValueError:
        pass
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        if not rows:
            raise ValueError
        return _chained([(str(row[0]), str(row[1]), int(row[3]), dict(row[4]), dict(row[5])) for row in rows])
    except (ValueError, TypeError, LookupError):
        raise SpecError(
            f"PopulationBasedTrainingReplay: {path} is neither a schedule, [[iteration, config], ...], nor a pbt_policy_*.txt, whose lines "
            f"are [trial, source, iteration, source's iteration, source's config, config]."
        ) from None


def _chained(rows: list[tuple[str, str, int, dict[str, Any], dict[str, Any]]]) -> list[Step]:
    """Of the rows (trial, source, iteration, the source's config, the new one) those that led to the last one."""
    steps: list[Step] = []
    before: dict[str, Any] = {}
    source = ""
    for trial, copied, at, old, new in reversed(rows):
        if steps and trial != source:  # what its trial had been before was overwritten
            break
        source, before = copied, old
        steps.append((at, new))
    return [(0, before), *reversed(steps)]


def _collapsed(steps: list[Step]) -> list[Step]:
    """Without configurations that nothing was trained with: of equal iterations the last one counts."""
    return [step for step, after in zip(steps, [*steps[1:], None]) if after is None or after[0] != step[0]]


def _objects(given: Any) -> tuple[Any, ...]:
    """What JSON cannot hold of what the config has at a place."""
    if isinstance(given, Mutable):
        options = [given.start, *given.options]
    elif isinstance(given, Categorical):
        options = list(given.categories)
    else:
        options = grid_options(given) or [given]
    plain = (str, int, float, bool, type(None), list, tuple, dict, Domain)
    found = {id(option): option for option in options if option is not ABSENT and not isinstance(option, plain)}
    return tuple(found.values())


def _found(options: tuple[Any, ...], value: Any) -> Any:
    """The object that a label stands for; else the value."""
    labels = [label_of(option) for option in options]
    return options[labels.index(value)] if isinstance(value, str) and labels.count(value) == 1 else value


def _code(options: tuple[Any, ...], value: Any) -> Any:
    """How the value is recorded."""
    index = place_among(options, _found(options, value)) if options else None
    return value if index is None else {"$option": index}


def _with(level: Any, steps: list[str], value: Any, path: str) -> Any:
    """``level`` with ``value`` at ``steps`` below it, whatever was there."""
    if not steps:
        return value
    if isinstance(level, list | tuple) and steps[0].isdecimal() and int(steps[0]) < len(level):
        items = list(level)
        items[int(steps[0])] = _with(items[int(steps[0])], steps[1:], value, path)
        return items
    entries = dict(level) if isinstance(level, Mapping) else {}
    key = next((key for key in entries if str(key) == steps[0]), steps[0])
    entries[key] = _with(entries.get(key), steps[1:], value, path)
    return entries

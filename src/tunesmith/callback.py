"""Callbacks: hooks of the user's that follow the run, and the observer that calls each at its moment.

Hooks are called on the loop's thread after the commit of what they are told about, so a callback never sees anything that a crash
could take back. They read; what they change in a result reaches nobody else. One that raises is reported once and
dropped: the run and the other callbacks go on.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.blame import describe_exception
from tunesmith.core.commands import Decision
from tunesmith.core.events import AttemptStarted, CheckpointSaved, Event, Reported
from tunesmith.core.flat import ResultDict
from tunesmith.core.ports import Record
from tunesmith.core.trial import ERROR

if TYPE_CHECKING:
    from tunesmith.checkpoints.checkpoint import Checkpoint
    from tunesmith.journal.trials import TrialBook, TrialInfo

__all__ = ["HOOKS", "Callback", "CallbackObserver", "HookCaller"]

_log = logging.getLogger("tunesmith")
_TOLD = frozenset({AttemptStarted, CheckpointSaved, Reported})


class Callback:
    """Subclass it and define the hooks that you need; give instances to ``callbacks=[...]``.

    In all hooks ``iteration`` counts the turns of the driver's loop, ``trials`` is a lazy read-only sequence of all trials (of
    the finished ones only what is cheap to keep), ``trial`` is a read-only view with Ray's attribute names.

    Example:
        >>> class Best(Callback):
        ...     def on_trial_complete(self, iteration, trials, trial, **info):
        ...         print(trial.trial_id, trial.last_result.get("loss"))
    """

    def setup(self, stop: Any = None, num_samples: int | None = None, total_num_samples: int | None = None, **info: Any) -> None:
        """Once, before the first trial. ``total_num_samples``: trials in all, grid included; None: not known."""

    def on_step_begin(self, iteration: int, trials: Sequence[TrialInfo], **info: Any) -> None:
        """Before the hooks of one turn of the loop."""

    def on_step_end(self, iteration: int, trials: Sequence[TrialInfo], **info: Any) -> None:
        """After the hooks of one turn of the loop."""

    def on_trial_start(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        """An attempt of the trial runs: the first one, or a later one after a retry, a resume or an exploit."""

    def on_trial_restore(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        """The attempt that is about to start goes on from a checkpoint. Comes before its ``on_trial_start``."""

    def on_trial_save(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        """A checkpoint of the trial is safely stored."""

    def on_trial_result(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, result: dict[str, Any], **info: Any) -> None:
        """The trial reported. ``result`` is a copy for this callback alone; nested metrics by ``result["a"]["b"]`` or ``result["a/b"]``."""

    def on_trial_complete(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        """The trial ended TERMINATED: it finished or was stopped."""

    def on_trial_recover(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        """An attempt was lost and the trial will be tried again."""

    def on_trial_error(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        """The trial ended in ERROR: no retry is left. ``trial.error`` says why."""

    def on_checkpoint(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, checkpoint: Checkpoint, **info: Any) -> None:
        """The same moment as :meth:`on_trial_save`, with the checkpoint."""

    def on_experiment_end(self, trials: Sequence[TrialInfo], **info: Any) -> None:
        """The run is over."""

    def get_state(self) -> dict[str, Any] | None:
        """What :meth:`set_state` is to get after a resume (picklable); None: nothing. Asked when a trial ends, and at the end."""
        return None

    def set_state(self, state: dict[str, Any]) -> None:
        """After a resume, before ``setup``: what :meth:`get_state` last returned."""


HOOKS = (
    "setup",
    "on_step_begin",
    "on_step_end",
    "on_trial_start",
    "on_trial_restore",
    "on_trial_save",
    "on_trial_result",
    "on_trial_complete",
    "on_trial_recover",
    "on_trial_error",
    "on_checkpoint",
    "on_experiment_end",
)
"""Every hook, in the order in which a trial may meet them."""


class HookCaller:
    """Calls a hook of every callback that defines it; a callback that raises is reported once and dropped.

    A callback with a true ``reads_only`` attribute promises not to change results and is given the original ones.

    Args:
        callbacks: objects with some of the hooks; they need not be subclasses of :class:`Callback`.
        what: what to call them in messages.
        advice: a sentence to add to the message when one is dropped.
        failed: called with the callback and its exception when one is dropped.
    """

    def __init__(
        self,
        callbacks: Iterable[Any],
        what: str = "callback",
        advice: str = "",
        failed: Callable[[Any, Exception], None] | None = None,
    ) -> None:
        self.callbacks = list(callbacks)
        self._what, self._advice, self._failed = what, advice, failed
        self._table: dict[str, list[tuple[Any, Callable[..., Any]]]] = {}
        self._fill()

    def has(self, hook: str) -> bool:
        """Whether any callback defines ``hook``: what it would be given need not be made otherwise."""
        return bool(self._table[hook])

    def call(self, hook: str, /, **info: Any) -> None:
        """Call ``hook`` of all with ``info``."""
        for callback, method in self._table[hook]:
            try:
                method(**info)
            except Exception as error:
                self.drop(callback, hook, error, info.get("trial"))

    def result(self, trial: TrialInfo, row: ResultDict, iteration: int, trials: Sequence[TrialInfo]) -> None:
        """Call ``on_trial_result`` of all, each with its own copy of ``row``."""
        for callback, method in self._table["on_trial_result"]:
            own = row if getattr(callback, "reads_only", False) else _own(row)
            try:
                method(iteration=iteration, trials=trials, trial=trial, result=own)
            except Exception as error:
                self.drop(callback, "on_trial_result", error, trial)

    def one(self, callback: Any, method: Callable[..., Any], hook: str, about: TrialInfo | None, /, *args: Any, **kwargs: Any) -> Any:
        """Call one method, guarded; ``about`` is for the message."""
        try:
            return method(*args, **kwargs)
        except Exception as error:
            self.drop(callback, hook, error, about)
            return None

    def drop(self, callback: Any, hook: str, error: Exception, trial: TrialInfo | None = None) -> None:
        """Report ``error`` and never call this callback again."""
        if callback not in self.callbacks:
            return
        self.callbacks = [other for other in self.callbacks if other is not callback]
        self._fill()
        about = f" for trial {trial.trial_id}" if trial is not None else ""
        _log.warning(
            "%s %s.%s raised%s: %s. It is not called any more; the run goes on.%s",
            self._what, type(callback).__name__, hook, about, describe_exception(error), self._advice and f" {self._advice}",
            exc_info=(type(error), error, error.__traceback__) if _log.isEnabledFor(logging.DEBUG) else None,
        )  # fmt: skip
        if self._failed is not None:
            self._failed(callback, error)

    def _fill(self) -> None:
        self._table = {hook: [(one, getattr(one, hook)) for one in self.callbacks if _defines(one, hook)] for hook in HOOKS}


class CallbackObserver:
    """An :class:`~tunesmith.core.ports.Observer` that turns committed records into hook calls.

    Args:
        callbacks: in the order in which they are called.
        book: folds the records into trials; this observer's own, as it moves on record by record.
        what, advice, failed: as in :class:`HookCaller`.

    Example:
        >>> from tunesmith.journal.trials import TrialBook
        >>> from tunesmith.core.ports import Header
        >>> class Hello(Callback):
        ...     def setup(self, **info):
        ...         print("trials:", info["num_samples"])
        >>> observer = CallbackObserver([Hello()], TrialBook(Header(uuid="0" * 32, name="demo", created=0.0)))
        >>> observer.setup(num_samples=4)
        trials: 4
    """

    def __init__(
        self,
        callbacks: Iterable[Any],
        book: TrialBook,
        what: str = "callback",
        advice: str = "",
        failed: Callable[[Any, Exception], None] | None = None,
    ) -> None:
        self.hooks = HookCaller(callbacks, what, advice, failed)
        self.book = book
        self.iteration = 0

    def setup(self, states: Mapping[str, dict[str, Any]] | None = None, **info: Any) -> None:
        """Give callbacks back their ``states`` (from an earlier :meth:`states`) and call ``setup(**info)``."""
        for key, callback in self._keyed():
            if states and key in states and _defines(callback, "set_state"):
                self.hooks.one(callback, callback.set_state, "set_state", None, states[key])
        self.hooks.call("setup", **info)

    def has_states(self) -> bool:
        """Whether any callback defines ``get_state``."""
        return any(_defines(callback, "get_state") for callback in self.hooks.callbacks)

    def unstorable(self, key: str, error: Exception) -> None:
        """The state under ``key`` cannot be pickled: its callback is dropped, as if ``get_state`` had raised."""
        for other, callback in self._keyed():
            if other == key:
                self.hooks.drop(callback, "get_state", error)

    def states(self) -> dict[str, dict[str, Any]]:
        """What the callbacks want to be kept. Keyed by class (further ones of a class with "#2" ...): order may change."""
        found = {}
        for key, callback in self._keyed():
            if _defines(callback, "get_state"):
                state = self.hooks.one(callback, callback.get_state, "get_state", None)
                if state is not None:
                    found[key] = state
        return found

    def replay(self, records: Iterable[Record]) -> None:
        """Take in records of earlier sessions without calling any hook."""
        for record in records:
            self.book.apply(record)

    def committed(self, records: Sequence[Record]) -> None:
        """Call the hooks of one turn of the loop."""
        self.iteration += 1
        common: dict[str, Any] = {"iteration": self.iteration, "trials": self.book.trials}
        self.hooks.call("on_step_begin", **common)
        apply = self.book.apply
        for record in records:
            ended = self._ended(record.decisions) if record.decisions else ()
            trial = apply(record)
            if not record.handled:
                continue
            event = record.event
            if trial is not None and type(event) in _TOLD:
                self._event(event, trial, common)
            for decision, held in ended:
                view = held or trial
                if view is not None and view.number == decision.trial:
                    self.hooks.call(_end_hook(decision.do, view.status), trial=view, **common)
        self.hooks.call("on_step_end", **common)

    def close(self) -> None:
        """The run is over: ``on_experiment_end``."""
        self.hooks.call("on_experiment_end", trials=self.book.trials)

    def _ended(self, decisions: Iterable[Decision]) -> list[tuple[Decision, TrialInfo | None]]:
        """Decisions about attempts that are over, each with its trial: the book may forget it as it ends."""
        return [
            (decision, self.book.held(decision.trial))
            for decision in decisions
            if decision.trial is not None and (decision.do == "end" or _is_lost(decision))
        ]

    def _event(self, event: Event, trial: TrialInfo, common: dict[str, Any]) -> None:
        hooks = self.hooks
        if type(event) is Reported:
            if hooks.has("on_trial_result"):
                hooks.result(trial, trial.last_result, **common)
            if event.checkpoint is not None:
                self._saved(trial, common)
        elif type(event) is AttemptStarted:
            if event.attempt > 0 and trial.checkpoint_id is not None:
                hooks.call("on_trial_restore", trial=trial, **common)
            hooks.call("on_trial_start", trial=trial, **common)
        else:
            self._saved(trial, common)

    def _saved(self, trial: TrialInfo, common: dict[str, Any]) -> None:
        self.hooks.call("on_trial_save", trial=trial, **common)
        if self.hooks.has("on_checkpoint"):
            self.hooks.call("on_checkpoint", trial=trial, checkpoint=trial.checkpoint, **common)

    def _keyed(self) -> list[tuple[str, Any]]:
        counts: dict[str, int] = {}
        keyed = []
        for callback in self.hooks.callbacks:
            name = type(callback).__name__
            counts[name] = counts.get(name, 0) + 1
            keyed.append((name if counts[name] == 1 else f"{name}#{counts[name]}", callback))
        return keyed


def _is_lost(decision: Decision) -> bool:
    """Whether an attempt was lost and there will be another one; those that ended for an exploit were not."""
    if decision.do == "retry":
        return not decision.data.get("wait")
    return decision.do == "paused" and bool(decision.data.get("charge"))


def _end_hook(do: str, status: str) -> str:
    if do != "end":
        return "on_trial_recover"
    return "on_trial_error" if status == ERROR else "on_trial_complete"


def _defines(callback: Any, hook: str) -> bool:
    method = getattr(callback, hook, None)
    return callable(method) and getattr(method, "__func__", method) is not getattr(Callback, hook)


def _own(row: ResultDict) -> ResultDict:
    """A copy of a row that shares nothing mutable with it."""
    copied = row.copy()
    config = copied.get("config")
    if config is not None:
        copied["config"] = _copy(config)
    return copied


def _copy(value: Any) -> Any:
    """A deep copy of dicts and lists; other objects as they are where they cannot be copied."""
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copy(inner) for inner in value]
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:
        return value

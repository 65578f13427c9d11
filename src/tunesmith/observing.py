"""Who watches a run: the user's callbacks, the files, the console. Put together here, each independent of the others."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.blame import describe_exception
from tunesmith.core import events as ev
from tunesmith.core.ports import Clock, Header, Observer, Record
from tunesmith.spec import ExperimentSpec
from tunesmith.versions import Versions

if TYPE_CHECKING:
    from tunesmith.callback import CallbackObserver

__all__ = ["STATES", "RoomWatch", "StateKeeper", "observers"]

STATES = ".callbacks.pkl"
"""What callbacks want to find again after a resume. Nothing else reads it."""

_QUIET_S = 60.0
"""A disk that is now above its limit and now below it is not spoken of more often."""

_log = logging.getLogger("tunesmith")


def observers(
    spec: ExperimentSpec, header: Header, settings: dict[str, Any], past: Sequence[Record], clock: Clock, versions: Versions
) -> list[Observer]:
    """The observers of one session.

    Args:
        settings: the JSON description of the experiment.
        past: records of earlier sessions: they know of them, but do not tell them again.
        versions: of the search space.
    """
    from tunesmith.logger import loggers_from, split_callbacks

    hooks, own = split_callbacks(spec.callbacks)
    loggers = loggers_from(None, own) if spec.loggers is None else [*own, *spec.loggers]
    info = {"stop": spec.stop, "num_samples": spec.num_samples, "total_num_samples": settings["num_samples"]}
    found: list[Observer] = [RoomWatch(header, past)]
    if hooks:
        from tunesmith.callback import CallbackObserver

        observer = CallbackObserver(hooks, _book(spec, header, versions))
        observer.replay(past)
        keeper = StateKeeper(os.path.join(spec.path, STATES), observer)
        observer.setup(keeper.load() if past else None, **info)
        found += [observer, keeper] if observer.has_states() else [observer]
    if loggers:
        from tunesmith.journal import JOURNAL_FILE, open_reader
        from tunesmith.logger import LoggerHost

        host = LoggerHost(loggers, _book(spec, header, versions), lambda: open_reader(os.path.join(spec.path, JOURNAL_FILE)), spec.path)
        host.setup(**info)
        found.append(host)
    if spec.verbose:
        from tunesmith.progress import console

        found.append(console(spec, header, settings["num_samples"], _book(spec, header, versions), past, clock, versions.labels))
    return found


def _book(spec: ExperimentSpec, header: Header, versions: Versions) -> Any:
    """A fold of its own for each observer: they stand at different records at any one time."""
    from tunesmith.journal.trials import TrialBook

    return TrialBook(header, spec.path, spec.trainable.name, versions.shown, keep_finished=False)


class RoomWatch:
    """Says that nothing can be saved, for lack of room on the disk, and when it can again; and that checkpoints take more room than
    ``max_checkpoint_bytes`` because all are needed: one line each, whatever ``verbose`` is.

    Args:
        header: of the journal.
        past: records of earlier sessions.
    """

    def __init__(self, header: Header, past: Sequence[Record]) -> None:
        self._header = header
        self._saved: dict[int, int | None] = {}  # trial -> the iteration of its newest checkpoint; None: it is another trial's
        self._told = False
        self._quiet_until = 0.0
        for record in past:
            if record.handled:
                self._note(record)

    def committed(self, records: Sequence[Record]) -> None:
        """Look for saves that were skipped, and the first one that was not."""
        for record in records:
            event = record.event
            for decision in record.decisions:
                if decision.do == "drop" and not decision.data["checkpoints"]:
                    _log.warning("%s.", decision.reason)
            if isinstance(event, ev.SaveSkipped):
                if not self._told and event.at >= self._quiet_until:
                    self._told = True
                    self._tell(event)
            elif self._note(record) and self._told:
                self._told, self._quiet_until = False, event.at + _QUIET_S
                _log.warning("Checkpoints are saved again: there is room for them.")

    def close(self) -> None:
        """There is nothing to finish."""

    def _note(self, record: Record) -> bool:
        """Whether the record is of a checkpoint."""
        event = record.event
        saved = isinstance(event, (ev.Reported, ev.CheckpointSaved)) and event.checkpoint is not None
        if saved:
            self._saved[event.trial] = event.iteration  # type: ignore[union-attr]
        for decision in record.decisions:
            if decision.trial is not None:
                if decision.do == "exploited":
                    self._saved[decision.trial] = self._saved.get(decision.data["source"])
                elif decision.do == "end":
                    self._saved.pop(decision.trial, None)
        return saved

    def _tell(self, event: ev.SaveSkipped) -> None:
        from tunesmith.journal.experiment import trial_id_of

        trial, iteration = trial_id_of(self._header, event.trial), self._saved.get(event.trial, 0)
        start = "anew" if iteration == 0 else f"from {'its last checkpoint' if iteration is None else f'iteration {iteration}'}"
        _log.warning(
            "Nothing is saved: %s. Trials go on; a retry or resume of trial %s starts %s. Free some space, or keep fewer checkpoints "
            "(num_to_keep, keep_best).", event.reason, trial, start,
        )  # fmt: skip


class StateKeeper:
    """Stores what callbacks return from ``get_state`` whenever a trial ends or begins again, and at the end of the run.

    Args:
        path: of the file; it is replaced whole.
        observer: who calls the callbacks; it has seen the same records before.
    """

    def __init__(self, path: str, observer: CallbackObserver) -> None:
        self._path = path
        self._observer = observer
        self._kept: dict[str, bytes] = {}

    def load(self) -> dict[str, Any]:
        """The states of an earlier session; what cannot be read is named, and begins anew."""
        states: dict[str, Any] = {}
        try:
            with open(self._path, "rb") as file:
                self._kept = pickle.load(file)
            for key, blob in self._kept.items():
                states[key] = pickle.loads(blob)
        except FileNotFoundError:
            pass
        except Exception as error:
            _log.warning("%s cannot be read: %s. Callbacks begin without what they knew.", self._path, describe_exception(error))
        return states

    def committed(self, records: Sequence[Record]) -> None:
        """Store if one of these records ended an attempt."""
        if any(decision.do in ("end", "retry") for record in records for decision in record.decisions):
            self._store()

    def close(self) -> None:
        """Store what the end of the run left."""
        self._store()

    def _store(self) -> None:
        from tunesmith.logger.files import replace

        states: dict[str, bytes] = {}
        for key, state in self._observer.states().items():
            try:
                states[key] = pickle.dumps(state)
            except Exception as error:
                self._observer.unstorable(key, error)
        if states != self._kept:
            replace(self._path, pickle.dumps(states))
            self._kept = states

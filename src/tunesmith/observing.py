"""Who watches a run: the user's callbacks, the files, the console. Put together here, each independent of the others."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.awaited import AwaitedWatch
from tunesmith.blame import describe_exception
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Clock, Header, Observer, Record
from tunesmith.spec import ExperimentSpec
from tunesmith.versions import Versions

if TYPE_CHECKING:
    from tunesmith.callback import CallbackObserver

__all__ = ["STATES", "NoticeWatch", "RerunWatch", "RoomWatch", "StateKeeper", "observers"]

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
    found: list[Observer] = [RoomWatch(header, past), RerunWatch(spec, header, past), NoticeWatch(header, past)]
    found.append(AwaitedWatch(spec, header, past))
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
    if getattr(spec.scheduler, "log_config", False) and spec.scheduler.capabilities.exploits and spec.loggers != ():
        from tunesmith.logger.policies import PolicyFiles

        found.append(PolicyFiles(header, spec.path, versions.shown, past))
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


class RerunWatch:
    """Says once what it costs that a trainable writes no checkpoints: a trial that is paused begins anew; whatever ``verbose`` is.

    Args:
        spec: of the experiment.
        header: of the journal.
        past: records of earlier sessions.
    """

    def __init__(self, spec: ExperimentSpec, header: Header, past: Sequence[Record]) -> None:
        self._spec, self._header = spec, header
        self._done: dict[int, tuple[int, float]] = {}  # trial -> iterations and seconds up to its newest report
        self._warm: set[int] = set()
        self._told_so = False
        for record in past:
            if record.handled:
                self._note(record)

    def committed(self, records: Sequence[Record]) -> None:
        """Look for the first pause that throws work away."""
        for record in records:
            self._note(record)
            if not self._told_so:
                for decision in record.decisions:
                    if decision.do == "pause" and decision.data["mode"] == "rerun" and self._done.get(decision.trial or 0):
                        self._told_so = True
                        self._tell(decision)
                        break

    def close(self) -> None:
        """There is nothing to finish."""

    def _note(self, record: Record) -> None:
        event = record.event
        if isinstance(event, ev.Reported):
            seconds = event.metrics.get("time_total_s")
            self._done[event.trial] = event.iteration, seconds if isinstance(seconds, int | float) else 0.0
        for decision in record.decisions:
            number = decision.trial if decision.trial is not None else -1
            if decision.do == "pause" and decision.data["mode"] == "warm":
                self._warm.add(number)
            elif decision.do in ("launch", "paused", "retry"):
                self._warm.discard(number)
            elif decision.do == "end":
                self._done.pop(number, None)
                self._warm.discard(number)

    def _tell(self, decision: Decision) -> None:
        from tunesmith.journal.experiment import trial_id_of

        assert decision.trial is not None
        iterations, seconds = self._done[decision.trial]
        who = "A person" if decision.data.get("held") else type(self._spec.scheduler).__name__
        executor = self._spec.executor
        assert executor is not None, "the front chooses the executor"
        if not executor.capabilities.warm_pause:
            held = f"and executor={executor.capabilities.name!r} cannot hold it in memory"
        elif self._warm:
            held = f"and cannot be held in memory, where {len(self._warm)} are already"
        else:
            held = "and cannot be held in memory"
        _log.warning(
            "%s pauses trial %s, which has no checkpoint to go on from %s: it will begin anew, and repeat %d iteration%s (%.3g s so far). "
            "%s, and no work is done twice. (Said once.)",
            who, trial_id_of(self._header, decision.trial), held, iterations, "s" if iterations > 1 else "", seconds, self._advice(),
        )  # fmt: skip

    def _advice(self) -> str:
        if self._spec.trainable.kind == "class":
            return f"Define save_checkpoint() and load_checkpoint() in {self._spec.trainable.name}"
        return f"Let {self._spec.trainable.name} report its checkpoints, report(metrics, checkpoint=...), and begin at get_checkpoint()"


class NoticeWatch:
    """Says what schedulers want to be said, and the first exploit that came to nothing: one line each, whatever ``verbose`` is.

    Args:
        header: of the journal.
        past: records of earlier sessions.
    """

    def __init__(self, header: Header, past: Sequence[Record]) -> None:
        self._header = header
        self._told = any(_given_up(decision) for record in past if record.handled for decision in record.decisions)

    def committed(self, records: Sequence[Record]) -> None:
        """Look for them."""
        for record in records:
            for decision in record.decisions:
                if decision.do == "continue" and decision.data.get("notice"):
                    _log.warning("%s.", decision.reason)
                elif not self._told and _given_up(decision):
                    from tunesmith.journal.experiment import trial_id_of

                    self._told = True
                    trial = trial_id_of(self._header, decision.trial or 0)
                    _log.warning("trial %s: %s. It goes on as it was. (Said once; analysis.decisions() has all.)", trial, decision.reason)

    def close(self) -> None:
        """There is nothing to finish."""


def _given_up(decision: Decision) -> bool:
    return decision.do == "skip" and decision.reason.startswith("exploit given up")


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

"""What the callbacks for XGBoost and LightGBM share: which metrics they report, when a checkpoint goes along, how to go on from one."""

from __future__ import annotations

import numbers
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.errors import SpecError, TrialStopped, UserCodeError
from tunesmith.hints import did_you_mean
from tunesmith.trainable.session import checkpoint_dir, current, get_checkpoint, is_session_enabled, report
from tunesmith.trainable.worker import Session

__all__ = ["Metrics", "Postprocess", "Reports", "Saving", "Start", "Wanted", "model_in", "start_from"]

Metrics = dict[str, Any]
Wanted = str | Sequence[str] | Mapping[str, str] | None
Postprocess = Callable[[Metrics], Metrics] | None


class Start(NamedTuple):
    """Where a trial's training begins.

    Attributes:
        model: the booster of its newest checkpoint; None: there is none, it begins anew.
        done: rounds that the booster has been trained for.
        left: rounds that are left to train, 0 or more.
    """

    model: Any
    done: int
    left: int


class Saving(NamedTuple):
    """Which checkpoints a callback writes.

    Attributes:
        filename: of the model in them.
        frequency: rounds between two of them; 0: none during training.
        at_end: whether there is one of the last round, also where the trial was told to stop.
    """

    filename: str
    frequency: int
    at_end: bool

    def checked(self, owner: str) -> Saving:
        """Itself.

        Raises:
            SpecError: an argument of the callback is of the wrong kind; names it.
        """
        filename, frequency, at_end = self
        _check_filename(owner, filename)
        if isinstance(frequency, bool) or not isinstance(frequency, int) or frequency < 0:
            raise SpecError(f"{owner}: frequency must be a number of rounds, or 0 for no checkpoints during training, got {frequency!r}.")
        if not isinstance(at_end, bool):
            raise SpecError(f"{owner}: checkpoint_at_end must be True or False, got {at_end!r}.")
        return self


class Reports:
    """The reports of one callback.

    Args:
        owner: of the callback, for messages.
        metrics: which to report: None for all, a name, several, or {name in the report: name in the library}.
        postprocess: given the metrics of a report, returns those to report.
        advice: what to do where the library evaluates nothing.

    Attributes:
        saving: which checkpoints are written; none, until it is set.

    Raises:
        SpecError: an argument is of the wrong kind; names it.
    """

    def __init__(self, owner: str, metrics: Wanted, postprocess: Postprocess, advice: str) -> None:
        self._owner, self._advice = owner, advice
        self._wanted = _names(owner, metrics)
        if postprocess is not None and not callable(postprocess):
            raise SpecError(f"{owner}: results_postprocessing_fn must be a function of a dict of metrics, got {postprocess!r}.")
        self._postprocess = postprocess
        self.saving = Saving("", 0, False)
        self._told = self._saved = False  # whether there was a report of this training, and its model went along
        self._promised: Session | None = None  # which ends with a look at:
        self._pending: tuple[int, Callable[[str], None]] | None = None  # after which report there was what to save

    def tell(self, found: Metrics, rounds: int, write: Callable[[str], None], *, last: bool = False) -> None:
        """A round is over.

        Args:
            found: what was evaluated in it.
            rounds: how many the model has been trained for, this one included.
            write: writes the model to the path it is given.
            last: it is known that no more rounds follow.

        Raises:
            TrialStopped: the trial was told to stop.
            UserCodeError: a metric is not there, or there is none at all.
        """
        metrics = self._chosen(found, rounds)
        saving = self.saving
        self._saved = bool(saving.frequency and rounds % saving.frequency == 0) or (last and saving.at_end)
        if not self._saved or not is_session_enabled():
            try:
                report(metrics)
            except TrialStopped:
                self._stopped(write)
                raise
        else:
            with tempfile.TemporaryDirectory(prefix="tunesmith_checkpoint_") as folder:
                write(os.path.join(folder, saving.filename))
                report(metrics, checkpoint=folder)
        self._told = True

    def begin(self) -> None:
        """Training begins, perhaps not for the first time."""
        self._told = self._saved = False

    def end(self, write: Callable[[str], None], *, changed: bool = False) -> None:
        """Training is over: what was not saved is saved, as the state after the last report.

        Args:
            write: as in :meth:`tell`.
            changed: the model is no more the one of the last report.
        """
        if self.saving.at_end and self._told and (changed or not self._saved) and is_session_enabled():
            with checkpoint_dir(step=0) as folder:
                write(os.path.join(folder, self.saving.filename))

    def end_with_trial(self, write: Callable[[str], None]) -> None:
        """A report was made; if none follows, :meth:`end` when the trial's code returns. For training that ends without saying so."""
        session = current()
        self._pending = None
        if self.saving.at_end and not self._saved and type(session) is Session:
            self._pending = session.counters.iteration, write
            if self._promised is not session:
                self._promised = session
                session.at_end(self._keep_promise)

    def _stopped(self, write: Callable[[str], None]) -> None:
        session = current()
        answer = session.ended if type(session) is Session else None
        if answer is not None and answer.action == "stop" and answer.outcome in ("stopped", "finished"):  # else it must be gone at once
            self._told = True
            self.end(write)
        self._told = False

    def _keep_promise(self) -> None:
        session, pending = self._promised, self._pending
        self._promised = self._pending = None
        # What has failed did not come to its end; and after another report the model is not the newest.
        if session is not None and pending is not None and sys.exception() is None:
            reports, write = pending
            if session.counters.iteration == reports:
                self.end(write)

    def _chosen(self, found: Metrics, rounds: int) -> Metrics:
        session = current()
        where = f"round {rounds}" if session is None else f"round {rounds} of trial {session.assignment.trial_id}"
        chosen = dict(found)
        if self._wanted is not None:
            for name in self._wanted.values():
                if name not in found:
                    there = f"Evaluated were: {', '.join(found)}.{did_you_mean(name, list(found))}" if found else self._advice
                    raise UserCodeError(f"{self._owner}: there is no metric {name!r} in {where}. {there}")
            chosen = {key: found[name] for key, name in self._wanted.items()}
        if self._postprocess is not None:
            chosen = self._postprocess(chosen)
            if not isinstance(chosen, Mapping):
                raise UserCodeError(
                    f"{self._owner}: results_postprocessing_fn returned a {type(chosen).__name__} in {where}; expected the dict of "
                    f"metrics to report."
                )
        if not chosen:
            raise UserCodeError(f"{self._owner}: there is nothing to report in {where}. {self._advice}")
        return dict(chosen)


def start_from(owner: str, rounds: Any, filename: Any, load: Callable[[str], tuple[Any, int]]) -> Start:
    """Where training of ``rounds`` rounds in all begins; ``load`` gives the model in a file, and its rounds.

    Raises:
        SpecError: an argument is of the wrong kind; names it.
        UserCodeError: there is no such file in the trial's checkpoint.
    """
    if isinstance(rounds, bool) or not isinstance(rounds, numbers.Integral) or rounds < 1:
        raise SpecError(f"{owner}: rounds must be the number of boosting rounds in all, 1 or more, got {rounds!r}.")
    saved = get_checkpoint()
    if saved is None:
        return Start(None, 0, int(rounds))
    model, done = load(model_in(owner, saved, filename))
    return Start(model, done, max(0, int(rounds) - done))


def model_in(owner: str, checkpoint: Any, filename: Any) -> str:
    """The path of the model in a checkpoint.

    Raises:
        SpecError: ``filename`` is no name of a file.
        UserCodeError: there is no such file.
    """
    _check_filename(owner, filename)
    folder: str = os.fspath(checkpoint)
    path = os.path.join(folder, filename)
    if not os.path.isfile(path):
        there = ", ".join(sorted(name for name in os.listdir(folder) if not name.startswith("."))) or "nothing"
        raise UserCodeError(
            f"{owner}: there is no {filename!r} in the checkpoint {folder}; it holds {there}. Pass the filename that the callback was "
            "given."
        )
    return path


def _check_filename(owner: str, filename: Any) -> None:
    if not isinstance(filename, str) or filename in ("", ".", "..") or os.path.basename(filename) != filename:
        raise SpecError(f"{owner}: filename must be the name of a file, without a folder, such as 'model', got {filename!r}.")


def _names(owner: str, metrics: Any) -> dict[str, str] | None:
    """Name in the report -> name in the library; None: all."""
    if isinstance(metrics, str):
        metrics = [metrics]
    if metrics is None or (isinstance(metrics, list | tuple | Mapping) and not metrics):
        return None
    pairs = list(metrics.items()) if isinstance(metrics, Mapping) else [(name, name) for name in _listed(metrics)]
    if not pairs or not all(isinstance(name, str) for pair in pairs for name in pair):
        raise SpecError(
            f"{owner}: metrics must be the name of a metric, a list of names, or {{name to report: name of the metric}}, got {metrics!r}."
        )
    return dict(pairs)


def _listed(metrics: Any) -> Sequence[Any]:
    return metrics if isinstance(metrics, list | tuple) else ()

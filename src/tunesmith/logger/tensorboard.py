"""``events.out.tfevents.*`` in each trial's directory: what TensorBoard shows, while the run goes on and afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith.core.events import Reported
from tunesmith.core.flat import ResultDict
from tunesmith.core.trial import ERROR
from tunesmith.journal.trials import TrialBook
from tunesmith.logger.base import LoggerCallback
from tunesmith.logger.files import FilePool
from tunesmith.logger.params import drawn_paths
from tunesmith.logger.tffile import EventFile, remove_all

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialInfo

__all__ = ["TBXLoggerCallback"]


class TBXLoggerCallback(LoggerCallback):
    """Writes each trial's event file for TensorBoard: ``tensorboard --logdir <the experiment's directory>``.

    Scalars stand under their flat names ("val/acc"), at step ``timesteps_total`` if the trial reports that, else ``training_iteration``.
    Booleans are 0 or 1; strings are not shown. Arrays and lists of numbers are histograms; with three dimensions, of which the first or
    the last has 1, 3 or 4 entries, they are images: (channels, height, width), as tensorboardX takes them, or (height, width, channels);
    with one more in front, several images. Integers go from 0 to 255, floats from 0 to 1.

    The HParams tab knows a trial from its start on, with the numbers, booleans and strings of its configuration (other things as text,
    secrets left out). Where the configuration changes on the way (population-based training), what changes is also drawn as
    ``config/<name>``, and the tab has the configuration that the trial ended with once it is over.

    Results that a trial takes back (a retry, an exploit) are taken back in TensorBoard, too. After a resume the file is written anew from
    the journal; arrays and images, which the journal does not keep, come from the file that was there.

    Example:
        >>> from tunesmith.logger import DEFAULT_LOGGERS, TBXLoggerCallback, loggers_from
        >>> any(isinstance(logger, TBXLoggerCallback) for logger in loggers_from(DEFAULT_LOGGERS))
        True
    """

    reads_only: ClassVar[bool] = True

    def __init__(self) -> None:
        self._pool = FilePool()
        self._files: dict[int, tuple[EventFile, frozenset[str]]] = {}  # trial number -> its file, and what was drawn of its config
        self._dirty: dict[int, EventFile] = {}
        self._spent: list[str] = []

    def log_trial_start(self, trial: TrialInfo) -> None:
        known = self._files.get(trial.number)
        if known is not None:
            self._files[trial.number] = known[0], drawn_paths(trial)
        elif trial.attempt == 0:
            self._begin(trial, trial.config)
        else:
            self.rebuild(trial)

    def log_trial_result(self, iteration: int, trial: TrialInfo, result: dict[str, Any]) -> None:
        number = trial.number
        known = self._files.get(number)
        if known is None:
            self.rebuild(trial, result)
            return
        file, drawn = known
        assert trial.report is not None
        file.add(trial.experiment.wall(trial.report.at), trial.iteration, result, drawn)
        self._dirty[number] = file

    def log_trial_end(self, trial: TrialInfo, failed: bool = False) -> None:
        known = self._files.pop(trial.number, None)
        self._dirty.pop(trial.number, None)
        if known is not None:
            ended = trial.experiment.wall(trial.ended_at) if trial.ended_at is not None else _started(trial)
            known[0].end(ended, failed or trial.status == ERROR)

    def flush(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for file in dirty.values():
            file.flush()

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        for file, _ in self._files.values():
            file.close()
        self._files, self._dirty = {}, {}
        self._pool.close_all()
        remove_all(self._spent)

    def rebuild(self, trial: TrialInfo, newest: Mapping[str, Any] | None = None) -> None:
        """Make the trial's file hold exactly the results that the journal has of it, up to now.

        Args:
            newest: the last of them, with what the journal does not keep.
        """
        told: dict[int, tuple[float, ResultDict]] = {}
        for iteration, wall, row in _told(trial):
            while told and next(reversed(told)) >= iteration:
                told.popitem()
            told[iteration] = wall, row
        if newest is not None and trial.iteration in told:
            told[trial.iteration] = told[trial.iteration][0], ResultDict(newest)
        first = next(iter(told.values()), None)
        file, drawn = self._begin(trial, first[1]["config"] if first is not None else trial.config)
        for iteration, (wall, row) in told.items():
            file.add(wall, iteration, row, drawn)

    def _begin(self, trial: TrialInfo, config: Mapping[str, Any]) -> tuple[EventFile, frozenset[str]]:
        known = self._files.get(trial.number)
        drawn = drawn_paths(trial)
        if known is not None:
            file = known[0]
        else:
            file = EventFile(trial.path, trial.experiment.header.created, trial.trial_id, self._pool, self._spent)
        file.begin(_started(trial), config, drawn)
        self._files[trial.number] = file, drawn
        self._dirty[trial.number] = file
        return file, drawn


def _started(trial: TrialInfo) -> float:
    return trial.start_time or trial.experiment.header.created


def _told(trial: TrialInfo) -> Iterator[tuple[int, float, ResultDict]]:
    """Iteration, wall time and result of each of the trial's reports up to where its view is, read from the journal."""
    book = TrialBook.of(trial.experiment)
    for record in trial.records():
        view = book.apply(record)
        if view is not None and isinstance(record.event, Reported):
            yield view.iteration, trial.experiment.wall(record.event.at), view.last_result

"""``progress.csv`` and ``result.json``: one row per report."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Any, ClassVar, Generic, TypeVar

from tunesmith.core.events import Reported
from tunesmith.core.flat import ResultDict
from tunesmith.journal.trials import TrialBook, TrialInfo
from tunesmith.logger.base import LoggerCallback
from tunesmith.logger.files import CsvFile, FilePool, JsonLinesFile, RowFile
from tunesmith.logger.params import drawn_paths, write_params
from tunesmith.secrets import redact

__all__ = ["CSVLoggerCallback", "JsonLoggerCallback", "told_of"]

File = TypeVar("File", bound=RowFile)


class _RowLogger(LoggerCallback, Generic[File]):
    """One row file per trial, always equal to what the journal holds up to the rows that wait.

    A trial whose first attempt starts here gets a new file. If it rewinds (a retry, an exploit), the rows that it repeats are taken
    back, so that each iteration stands there once. A file that was there before (a resumed run) is rewritten from the journal.
    """

    reads_only: ClassVar[bool] = True
    file_name: ClassVar[str]

    def __init__(self) -> None:
        self._pool = FilePool()
        self._files: dict[int, tuple[File, array[int]]] = {}  # trial number -> its file, and the iterations of its rows
        self._dirty: dict[int, File] = {}

    def log_trial_start(self, trial: TrialInfo) -> None:
        if trial.number not in self._files:
            if trial.attempt == 0:
                self._files[trial.number] = (self._new(trial), array("q"))
            else:
                self.rebuild(trial)

    def log_trial_result(self, iteration: int, trial: TrialInfo, result: dict[str, Any]) -> None:
        number, at = trial.number, trial.iteration
        known = self._files.get(number)
        if known is None:
            self.rebuild(trial)
            return
        file, rows = known
        if rows and at <= rows[-1]:
            keep = bisect_left(rows, at)
            if not file.keep(keep):  # somebody else has been at the file
                self.rebuild(trial)
                return
            del rows[keep:]
        file.add(result)
        rows.append(at)
        self._dirty[number] = file

    def log_trial_end(self, trial: TrialInfo, failed: bool = False) -> None:
        known = self._files.pop(trial.number, None)
        self._dirty.pop(trial.number, None)
        if known is not None:
            known[0].close()

    def flush(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for file in dirty.values():
            file.flush()

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        for file, _ in self._files.values():
            file.close()
        self._files, self._dirty = {}, {}
        self._pool.close_all()

    def rebuild(self, trial: TrialInfo) -> None:
        """Make the trial's file hold exactly the results that the journal has of it, up to now."""
        known = self._files.get(trial.number)
        file = known[0] if known is not None else self._new(trial)
        told = told_of(trial)
        rows: dict[int, ResultDict] = {}
        for iteration, row in told:
            while rows and next(reversed(rows)) >= iteration:
                rows.popitem()
            rows[iteration] = row
        if told or known is not None:
            file.rewrite(rows.values(), [row for _, row in told])
        self._dirty.pop(trial.number, None)
        self._files[trial.number] = (file, array("q", rows))

    def _new(self, trial: TrialInfo) -> File:
        raise NotImplementedError


class CSVLoggerCallback(_RowLogger[CsvFile]):
    """Writes ``progress.csv``: flat ("/"-joined) columns, without the configuration. A column that comes up late widens the table."""

    file_name = "progress.csv"

    def _new(self, trial: TrialInfo) -> CsvFile:
        return CsvFile(f"{trial.path}/{self.file_name}", self._pool)


class JsonLoggerCallback(_RowLogger[JsonLinesFile]):
    """Writes ``result.json``, one JSON object per line, with the configuration in each, and ``params.json``.

    NaN and infinities are written as Python's ``json`` does. ``params.pkl`` comes beside ``params.json`` only where JSON cannot hold the
    configuration. Secrets (see :mod:`tunesmith.secrets`) are in none of them.

    Args:
        described: configurations come from the journal's description alone: ``params.pkl`` cannot be written, and is not replaced.
    """

    file_name = "result.json"

    def __init__(self, described: bool = False) -> None:
        super().__init__()
        self._described = described

    def log_trial_start(self, trial: TrialInfo) -> None:
        config = redact(trial.config, drawn_paths(trial))
        text = write_params(trial.path, config, self._described)
        super().log_trial_start(trial)
        self._files[trial.number][0].use(trial.config, text)

    def _new(self, trial: TrialInfo) -> JsonLinesFile:
        return JsonLinesFile(f"{trial.path}/{self.file_name}", self._pool, drawn_paths(trial))


def told_of(trial: TrialInfo) -> list[tuple[int, ResultDict]]:
    """Iteration and result of each of the trial's reports up to where its view is, read from the journal; repeated ones included."""
    book = TrialBook.of(trial.experiment)
    told = []
    for record in trial.records():
        view = book.apply(record)
        if view is not None and isinstance(record.event, Reported):
            told.append((view.iteration, view.last_result))
    return told

"""``progress.csv`` and ``result.json``: one row per report."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from tunesmith.core.events import Reported
from tunesmith.core.flat import ResultDict
from tunesmith.journal.trials import TrialBook, TrialInfo
from tunesmith.logger.base import LoggerCallback
from tunesmith.logger.files import CsvFile, FilePool, JsonLinesFile, RowFile
from tunesmith.logger.params import drawn_paths, write_params
from tunesmith.secrets import redact

__all__ = ["CSVLoggerCallback", "JsonLoggerCallback", "rows_of"]

File = TypeVar("File", bound=RowFile)


class _RowLogger(LoggerCallback, Generic[File]):
    """One row file per trial, always equal to what the journal holds up to the rows that wait.

    A trial whose first attempt starts here gets a new file. One that was there before (a resumed run), or that rewinds (a
    retry, an exploit), has its file rewritten from the journal, so that each iteration stands there once.
    """

    reads_only: ClassVar[bool] = True
    file_name: ClassVar[str]

    def __init__(self) -> None:
        self._pool = FilePool()
        self._files: dict[int, tuple[File, int]] = {}  # trial number -> its file, and the iteration of the last row
        self._dirty: dict[int, File] = {}

    def log_trial_start(self, trial: TrialInfo) -> None:
        if trial.number not in self._files:
            if trial.attempt == 0:
                self._files[trial.number] = (self._new(trial), 0)
            else:
                self.rebuild(trial)

    def log_trial_result(self, iteration: int, trial: TrialInfo, result: dict[str, Any]) -> None:
        number, at = trial.number, trial.iteration
        known = self._files.get(number)
        if known is None or at <= known[1]:
            self.rebuild(trial)
            return
        file = known[0]
        file.add(result)
        self._files[number] = (file, at)
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
        rows = rows_of(trial)
        if rows or known is not None:
            file.rewrite(rows)
        self._dirty.pop(trial.number, None)
        self._files[trial.number] = (file, trial.iteration)

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
    """

    file_name = "result.json"

    def log_trial_start(self, trial: TrialInfo) -> None:
        config = redact(trial.config, drawn_paths(trial))
        write_params(trial.path, config)
        super().log_trial_start(trial)
        self._files[trial.number][0].use(trial.config, config)

    def _new(self, trial: TrialInfo) -> JsonLinesFile:
        return JsonLinesFile(f"{trial.path}/{self.file_name}", self._pool, drawn_paths(trial))


def rows_of(trial: TrialInfo) -> list[ResultDict]:
    """All results of a trial up to where its view is, read from the journal; after a rewind the newest attempt's stand."""
    book = TrialBook.of(trial.experiment)
    rows: dict[int, ResultDict] = {}
    for record in trial.records():
        view = book.apply(record)
        if view is not None and isinstance(record.event, Reported):
            while rows and next(reversed(rows)) >= view.iteration:
                rows.popitem()
            rows[view.iteration] = view.last_result
    return list(rows.values())

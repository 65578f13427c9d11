"""The older interface: one :class:`Logger` object per trial, and what makes such classes work beside callbacks."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.core.flat import flatten
from tunesmith.core.trial import ERROR
from tunesmith.logger.base import Logger, LoggerCallback
from tunesmith.logger.files import CsvFile, FilePool, JsonLinesFile
from tunesmith.logger.params import drawn_paths, write_params
from tunesmith.logger.tffile import EventFile, remove_all
from tunesmith.secrets import redact

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialInfo

__all__ = ["CSVLogger", "JsonLogger", "LegacyLoggerCallback", "NoopLogger", "TBXLogger", "UnifiedLogger"]

_log = logging.getLogger("tunesmith")


class NoopLogger(Logger):
    """Writes nothing."""

    def on_result(self, result: dict[str, Any]) -> None:
        """Drop it."""


class CSVLogger(Logger):
    """Writes ``progress.csv`` into ``logdir``, or goes on with the one there; in ``loggers=`` it stands for ``CSVLoggerCallback``."""

    def _init(self) -> None:
        self._file = CsvFile(f"{self.logdir}/progress.csv", FilePool())
        if _goes_on(self.trial):
            self._file.go_on()

    def on_result(self, result: dict[str, Any]) -> None:
        self._file.add(_flat(result))

    def flush(self) -> None:
        self._file.close()  # not held open: there may be as many of these as trials

    def close(self) -> None:
        self._file.close()


class JsonLogger(Logger):
    """Writes ``result.json`` (or goes on with it) and ``params.json``; in ``loggers=`` it stands for ``JsonLoggerCallback``."""

    def _init(self) -> None:
        self._file = JsonLinesFile(f"{self.logdir}/result.json", FilePool(), _drawn(self.trial))
        if _goes_on(self.trial):
            self._file.go_on()
        self.update_config(self.config)

    def on_result(self, result: dict[str, Any]) -> None:
        self._file.add({**_flat(result), "config": self.config})

    def update_config(self, config: dict[str, Any]) -> None:
        self.config = config
        write_params(self.logdir, redact(config, _drawn(self.trial)))

    def flush(self) -> None:
        self._file.close()  # not held open: there may be as many of these as trials

    def close(self) -> None:
        self._file.close()


class TBXLogger(Logger):
    """Writes an event file for TensorBoard, beside those there; in ``loggers=`` it stands for ``TBXLoggerCallback``, which see."""

    def _init(self) -> None:
        created = time.time() if self.trial is None else self.trial.experiment.header.created
        name = os.path.basename(self.logdir) if self.trial is None else self.trial.trial_id
        self._count = 0
        self._spent: list[str] = []
        self._file = EventFile(self.logdir, created, name, FilePool(), self._spent)
        self._file.begin(time.time(), self.config, _drawn(self.trial), go_on=_goes_on(self.trial))

    def on_result(self, result: dict[str, Any]) -> None:
        self._count += 1
        self._file.add(time.time(), self._count, {**_flat(result), "config": self.config}, _drawn(self.trial))

    def flush(self) -> None:
        self._file.close()  # not held open: there may be as many of these as trials

    def close(self) -> None:
        if self.trial is None or self.trial.is_finished():
            self._file.end(time.time(), failed=self.trial is not None and self.trial.status == ERROR)
        self._file.close()
        remove_all(self._spent)


class UnifiedLogger(Logger):
    """Several loggers of one trial as one; a class that cannot be set up is reported and left out.

    Args:
        config, logdir, trial: as for :class:`Logger`.
        loggers: classes; None: :class:`JsonLogger`, :class:`CSVLogger` and :class:`TBXLogger`.
    """

    def __init__(
        self, config: dict[str, Any], logdir: str, trial: TrialInfo | None = None, loggers: Sequence[type[Logger]] | None = None
    ) -> None:
        self._classes = (JsonLogger, CSVLogger, TBXLogger) if loggers is None else tuple(loggers)
        super().__init__(config, logdir, trial)

    def _init(self) -> None:
        self._loggers: list[Logger] = []
        for cls in self._classes:
            try:
                self._loggers.append(cls(self.config, self.logdir, self.trial))
            except Exception as error:
                _log.warning("%s could not be set up and is left out: %s: %s", cls.__name__, type(error).__name__, error)

    def on_result(self, result: dict[str, Any]) -> None:
        for logger in self._loggers:
            logger.on_result(result)

    def update_config(self, config: dict[str, Any]) -> None:
        self.config = config
        for logger in self._loggers:
            logger.update_config(config)

    def flush(self) -> None:
        for logger in self._loggers:
            logger.flush()

    def close(self) -> None:
        for logger in self._loggers:
            logger.close()


class LegacyLoggerCallback(LoggerCallback):
    """Runs :class:`Logger` classes, one object of each per trial, as a callback.

    Args:
        logger_classes: classes whose constructor takes (config, logdir, trial).
    """

    def __init__(self, logger_classes: Sequence[type[Logger]]) -> None:
        self.logger_classes = tuple(logger_classes)
        self._loggers: dict[int, list[Logger]] = {}

    def __check_config__(self, config: Mapping[str, Any]) -> None:
        """Let the classes that want to judge the experiment's config, before anything runs. Raises SpecError."""
        for cls in self.logger_classes:
            judge = getattr(cls, "__check_config__", None)
            if judge is not None:
                judge(config)

    def log_trial_start(self, trial: TrialInfo) -> None:
        loggers = self._loggers.get(trial.number)
        if loggers is None:
            self._begin(trial)
        else:
            for logger in loggers:
                if logger.config != trial.config:
                    logger.update_config(trial.config)

    def log_trial_result(self, iteration: int, trial: TrialInfo, result: dict[str, Any]) -> None:
        for logger in self._loggers.get(trial.number) or self._begin(trial):
            logger.on_result(result)

    def log_trial_end(self, trial: TrialInfo, failed: bool = False) -> None:
        for logger in self._loggers.pop(trial.number, ()):
            logger.close()

    def flush(self) -> None:
        for loggers in self._loggers.values():
            for logger in loggers:
                logger.flush()

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        for loggers in self._loggers.values():
            for logger in loggers:
                logger.close()
        self._loggers = {}

    def _begin(self, trial: TrialInfo) -> list[Logger]:
        os.makedirs(trial.path, exist_ok=True)
        loggers = [cls(trial.config, trial.path, trial) for cls in self.logger_classes]
        self._loggers[trial.number] = loggers
        return loggers


def _goes_on(trial: TrialInfo | None) -> bool:
    """Whether there may be rows of an earlier session; by hand, without a trial, nobody knows."""
    return trial is None or trial.attempt > 0 or trial.report is not None


def _drawn(trial: TrialInfo | None) -> frozenset[str]:
    return frozenset() if trial is None else drawn_paths(trial)


def _flat(result: dict[str, Any]) -> dict[str, Any]:
    return flatten({key: value for key, value in result.items() if key != "config"})

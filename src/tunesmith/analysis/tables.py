"""What an analysis shows as tables: of newest results, of best ones, of all; and configurations by trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from tunesmith.analysis.frames import Frames, frame, frame_of
from tunesmith.analysis.objective import unranked
from tunesmith.analysis.pasts import Past, Pasts
from tunesmith.analysis.ray_views import book_of
from tunesmith.analysis.steps import history
from tunesmith.core.flat import ResultDict, flatten
from tunesmith.journal.projections import TrialTable

if TYPE_CHECKING:
    import pandas as pd

    from tunesmith.analysis.objective import Objectives
    from tunesmith.analysis.source import Source
    from tunesmith.journal.projections import Curves, Reader
    from tunesmith.journal.trials import TrialBook, TrialInfo

__all__ = ["ByTrial", "TableReadings"]

_Value = TypeVar("_Value")


class ByTrial(Mapping[str, _Value]):
    """Trial directory -> value, in order of trials. A trial's ``trial_id`` finds its value as well.

    Args:
        entries: directory -> value.
        ids: ``trial_id`` -> directory.
    """

    def __init__(self, entries: Mapping[str, _Value], ids: Mapping[str, str]) -> None:
        self._entries, self._ids = dict(entries), dict(ids)

    def __getitem__(self, key: str) -> _Value:
        return self._entries[self._ids.get(key, key)]

    def __contains__(self, key: object) -> bool:
        return key in self._entries or key in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(self._entries)


class TableReadings:
    """Part of :class:`~tunesmith.analysis.ExperimentAnalysis`."""

    if TYPE_CHECKING:
        _source: Source
        _pasts: Pasts | None
        _frames: Frames | None
        _table: TrialTable | None
        _resolve: Callable[[dict[str, Any], Mapping[str, Any] | None], dict[str, Any]] | None

        @property
        def _book(self) -> TrialBook: ...
        @property
        def _objectives(self) -> Objectives: ...
        @property
        def _views(self) -> Sequence[TrialInfo]: ...
        @property
        def best_trial(self) -> TrialInfo: ...
        @property
        def best_result(self) -> ResultDict: ...
        def _curves_of(self, metric: str) -> Curves: ...
        def _reader(self) -> AbstractContextManager[Reader]: ...

    def get_all_configs(self, prefix: bool = False) -> Mapping[str, dict[str, Any]]:
        """Trial directory -> configuration, found by ``trial_id`` as well; ``prefix``: flat, with ``config/`` before each key."""
        configs = {trial.path: flatten({"config": trial.config}) if prefix else trial.config for trial in self._views}
        return ByTrial(configs, {trial.trial_id: trial.path for trial in self._views})

    def dataframe(self, metric: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """One line per trial that reported: its newest result, or with both ``metric`` and ``mode`` its best one ever.

        Columns: the metrics, ``trial_id``, ``pid``, ``training_iteration``, ``time_total_s`` and the other automatic keys, ``logdir``
        (the trial's directory) and ``config/...``.

        Raises:
            SpecError: a mode without a metric, or an unknown one.
            MetricError: no trial reported the metric.
        """
        if mode is not None:
            metric, mode = self._objectives.complete("dataframe", metric, mode)
        rows = self._newest_rows() if metric is None else self._rows_by(metric, mode)
        return frame(rows.values(), logdirs=[self._views[number].path for number in rows])

    def _newest_rows(self) -> dict[int, ResultDict]:
        return {trial.number: row for trial in self._views if (row := trial.last_result)}

    def _rows_by(self, metric: str, mode: str | None) -> dict[int, ResultDict]:
        curves = self._curves_of(metric)
        if metric not in curves.names:
            raise unranked(metric, curves, self._views)
        if mode is None:
            return self._newest_rows()
        wanted = curves.steps(mode)
        if all(iteration == self._views[number].iteration for number, iteration in wanted.items()):
            return {number: self._views[number].last_result for number in wanted}
        pasts = self._past().by_trial
        return {number: pasts[number].row(at, self._book.experiment.wall) for number, at in wanted.items()}

    @property
    def results_df(self) -> pd.DataFrame:
        """The newest results, one line per trial that reported, indexed by ``trial_id``."""
        return frame(self._newest_rows().values(), index="trial_id")

    @property
    def history_df(self) -> pd.DataFrame:
        """All results of all trials in one dataframe: a line per report, by trial and iteration.

        The columns are those of :meth:`dataframe`. Of what a trial reported twice (it was retried from an older checkpoint) the newer
        report is there.
        """
        pasts = self._past_by_place()
        return frame_of(pasts.values(), self._book.experiment.wall, {past.trial_id: path for path, past in pasts.items()})

    @property
    def trial_dataframes(self) -> Mapping[str, pd.DataFrame]:
        """Trial directory -> all results of that trial, found by ``trial_id`` as well. What was reported is read once, and each
        dataframe is made when it is asked for."""
        if self._frames is None:
            self._frames = Frames(self._past_by_place(), self._book.experiment.wall)
        return self._frames

    def fetch_trial_dataframes(self) -> Mapping[str, pd.DataFrame]:
        """The same, read anew at each call."""
        self._pasts = self._frames = None
        return self.trial_dataframes

    def _past(self) -> Pasts:
        """What all trials reported, read once."""
        if self._pasts is None:
            with self._reader() as reader:
                if self._table is None:  # one pass for both
                    book = self._source.book(reader, self._resolve)
                    self._pasts = Pasts(book, whole=True).update(reader)
                    self._table = TrialTable(reader.header, book=book)
                    self._table.cursor = self._pasts.cursor
                else:
                    self._pasts = Pasts(book_of(self._table.book.experiment)).update(reader)
        return self._pasts

    def _past_by_place(self) -> dict[str, Past]:
        found = self._past().by_trial
        return {self._views[number].path: found[number] for number in sorted(found) if found[number]}

    @property
    def best_dataframe(self) -> pd.DataFrame:
        """All results of :attr:`best_trial`."""
        return frame(history(self.best_trial).values())

    @property
    def best_result_df(self) -> pd.DataFrame:
        """:attr:`best_result` as a dataframe of one line, indexed by ``trial_id``."""
        return frame([self.best_result], index="trial_id")

"""What a table of trials is to show. Filled by the reporters that users give, or left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["TableOptions"]


@dataclass(slots=True)
class TableOptions:
    """The options of ``CLIReporter``, checked.

    Args:
        metric_columns: reported key -> its header; None: iterations, seconds, the run's metrics, and up to ``infer_limit`` more numbers.
        parameter_columns: flat path of a parameter -> its header; None: all that was drawn.
        total_samples: trials in all, for the bar; None: as the run says.
        max_progress_rows: of the table; ``max_error_rows``: of the failed trials beneath it.
        max_column_length: characters of a header or a value.
        max_report_frequency: seconds between two pictures, at least; None: the display's own.
        infer_limit: see ``metric_columns``.
        tables: false: the table of trials is shown at the end only.
        metric, mode: what the best trial is measured by; None: as the run says.
        sort_by_metric: ended trials: the best ones, best first, instead of the newest.
    """

    metric_columns: Mapping[str, str] | None = None
    parameter_columns: Mapping[str, str] | None = None
    total_samples: int | None = None
    max_progress_rows: int = 20
    max_error_rows: int = 20
    max_column_length: int = 20
    max_report_frequency: float | None = None
    infer_limit: int = 3
    tables: bool = True
    metric: str | None = None
    mode: str | None = None
    sort_by_metric: bool = False

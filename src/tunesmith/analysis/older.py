"""The name that analyses had in older releases of Ray."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tunesmith.analysis.experiment import ExperimentAnalysis

__all__ = ["Analysis"]


class Analysis(ExperimentAnalysis):
    """An :class:`ExperimentAnalysis`, with the arguments of old.

    Args:
        experiment_dir: the experiment's directory.
        default_metric, default_mode: as there.
        file_type: "csv" or "json"; taken with one line in the log, see :meth:`ExperimentAnalysis.set_filetype`.

    Raises:
        JournalError: there is no experiment at that path.
        SpecError: as there; an unknown ``file_type``.
    """

    def __init__(
        self,
        experiment_dir: str | os.PathLike[str],
        default_metric: str | Sequence[str] | None = None,
        default_mode: str | Sequence[str] | None = None,
        file_type: str | None = None,
    ) -> None:
        super().__init__(experiment_dir, default_metric=default_metric, default_mode=default_mode)
        self.set_filetype(file_type)

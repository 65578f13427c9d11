"""What an experiment or a result is in a notebook, as a method of it."""

from __future__ import annotations

from typing import Any

__all__ = ["Shown"]


class Shown:
    """A mixin for :class:`ExperimentAnalysis`, :class:`ResultGrid` and :class:`Result`: notebooks show them as pages."""

    def _repr_html_(self) -> str:
        from tunesmith.analysis.html import experiment_page, result_page  # scripts end without

        own: Any = self
        if hasattr(own, "trial"):
            return result_page(own)
        return experiment_page(getattr(own, "_analysis", own))

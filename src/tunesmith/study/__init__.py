"""Ask and tell: a search without any executor, for loops that users run themselves."""

from __future__ import annotations

from tunesmith.study.study import Study
from tunesmith.study.trial import NoSuggestion, StudyTrial

__all__ = ["NoSuggestion", "Study", "StudyTrial"]

"""A journal in memory that tells a story, and hosts of loggers that follow it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.testing.logger_story import Story


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)

"""The programs on the page about MLflow, run one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "mlflow.md"


@pytest.mark.e2e
@pytest.mark.slow
def test_the_page_runs(tmp_path: Path) -> None:
    """Its blocks are marked ``py``: beside MLflow no run is free of warnings, which elsewhere are errors."""
    blocks = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "0.5" in done.stdout

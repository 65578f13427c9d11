"""Every ``python`` block of the documentation runs, page by page, in a directory and a home of its own.

The blocks of one page are one script. Blocks that are no programs are marked ``text`` or ``console``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(page for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if BLOCK.search(page.read_text(encoding="utf-8")))
FRAMEWORKS = ("boosting", "keras", "pytorch")
"""Pages about what `make test` does not install. Frameworks warn of much that is no concern of theirs."""


def _param(page: Path) -> Any:
    marks = [pytest.mark.slow, pytest.mark.heavy] if page.stem in FRAMEWORKS else []
    return pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=marks)


@pytest.mark.e2e
@pytest.mark.parametrize("page", [_param(page) for page in PAGES])
def test_code_blocks_run(page: Path, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n".join(BLOCK.findall(page.read_text(encoding="utf-8"))), encoding="utf-8")
    environment = {**os.environ, "HOME": str(tmp_path)}
    command = [sys.executable, *([] if page.stem in FRAMEWORKS else ["-W", "error"]), str(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)

"""Runs the tests that break things on purpose, and writes benchmarks/RELIABILITY.md: faults tried, faults survived, results lost.

Usage: python tools/reliability.py [--quick] [FILE]. The tests count themselves (the fixture ``faults`` in tests/conftest.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUICK = ["tests/stateful/test_crash_deterministic.py", "tests/crash"]
TESTS = ["tests/stateful", "tests/crash", "tests/journal/test_cut_anywhere.py"]
TESTS += [f"tests/e2e/test_break_{name}.py" for name in ("chain", "kill", "disk", "clock")]


def measure(tests: list[str], *options: str) -> tuple[dict[str, Counter[str]], int]:
    """What the tests have counted, by fault; and how many of those tests failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", f"--junitxml={report}", "-p", "no:cacheprovider", *options, *tests]
        subprocess.run(command, cwd=ROOT, check=False)
        return count(report.read_text(encoding="utf-8"))


def count(xml: str) -> tuple[dict[str, Counter[str]], int]:
    """The sums in a report of pytest."""
    found: dict[str, Counter[str]] = {}
    failed = 0
    for case in ET.fromstring(xml).iter("testcase"):
        counted = [prop.get("value", "{}") for prop in case.iter("property") if prop.get("name") == "faults"]
        failed += bool(counted) and (case.find("failure") is not None or case.find("error") is not None)
        for text in counted:
            for what, numbers in json.loads(text).items():
                found.setdefault(what, Counter()).update(numbers)
    return found, failed


def page(found: dict[str, Counter[str]], failed: int) -> str:
    """The table. A fault that was not survived is one after which results were missing, doubled or wrong."""
    lines = [
        "# Reliability",
        "",
        "Written by `make reliability`: what the tests break on purpose, how often, and what they find afterwards. Survived means: every",
        "result that was there before is there once, every trial ends once, and the rest is as in a run that nobody disturbed.",
        "",
        "| fault | tried | survived | results looked for afterwards | faults after which some were lost or doubled |",
        "|---|---|---|---|---|",
    ]
    total: Counter[str] = Counter()
    for what in sorted(found):
        numbers = found[what]
        total.update(numbers)
        lines.append(f"| {what} | {_cells(numbers)} |")
    lines += [f"| **all** | {_cells(total)} |", "", f"Tests that failed: {failed}."]
    return "\n".join(lines) + "\n"


def _cells(numbers: Counter[str]) -> str:
    lost = numbers["tried"] - numbers["survived"]
    return f"{numbers['tried']:,} | {numbers['survived']:,} | {numbers['results']:,} | {lost:,}"


if __name__ == "__main__":
    quick = "--quick" in sys.argv
    names = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    text = page(*(measure(QUICK, "-m", "not slow") if quick else measure(TESTS)))
    print(text)
    Path(names[0] if names else ROOT / "benchmarks" / "RELIABILITY.md").write_text(text, encoding="utf-8")

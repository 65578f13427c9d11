"""Runs every benchmark of this folder and writes benchmarks/RESULTS.md. Usage: python benchmarks/run_all.py [NAME ...]"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _common import Row, machine, number, workspace

HERE = Path(__file__).parent


def run(names: list[str]) -> list[tuple[str, Row]]:
    """The rows that the named benchmarks measure, in order, each with its script."""
    with tempfile.TemporaryDirectory() as folder, workspace():
        collected = Path(folder, "rows.jsonl")
        for name in names:
            print(f"== {name}", flush=True)
            environment = {**os.environ, "TUNESMITH_BENCH_ROWS": str(collected)}
            subprocess.run([sys.executable, str(HERE / f"{name}.py")], env=environment, check=True)
        lines = [json.loads(line) for line in collected.read_text(encoding="utf-8").splitlines()]
    return [(line.pop("script"), Row(**line)) for line in lines]


def markdown(rows: list[tuple[str, Row]]) -> str:
    """The page."""
    page = [
        "# Speed",
        "",
        "Written by `make bench`. Ours and the peer's are measured in the same run, in turn, each in a fresh process; medians.",
        "A ratio above 1 is in our favour.",
        "",
        "All files that are written stay until the last measurement: ext4 makes files 20 times slower for a minute after thousands were",
        "deleted, so that benchmarks that tidy up in between measure their own tidying.",
        "",
        f"Measured on: {machine()}.",
        "",
        "| what | ours | to reach | peer | theirs | ratio | command |",
        "|---|---|---|---|---|---|---|",
    ]
    for script, row in rows:
        target = "" if row.target is None else f"{'>=' if row.better == 'higher' else '<='} {number(row.target)}"
        target += "" if row.reached is not False else " (missed)"
        theirs = "" if row.peer_value is None else number(row.peer_value)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        page.append(f"| {row.what} | {number(row.value)} | {target} | {row.peer} | {theirs} | {ratio} | `python benchmarks/{script}` |")
    return "\n".join(page) + "\n"


if __name__ == "__main__":
    everything = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith(("_", "make_")) and path.stem != "run_all")
    text = markdown(run(sys.argv[1:] or everything))
    print(text)
    if not sys.argv[1:]:
        (HERE / "RESULTS.md").write_text(text, encoding="utf-8")

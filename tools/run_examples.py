"""Runs the examples in full, one after another, and says how long each took; ends with status 1 if one has failed.

Usage: python tools/run_examples.py [--smoke-test] [FILE ...]. Without files: all of examples/, the notebook included.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
LIMIT_S = 180
"""What an example may take on two cores."""


def command(path: Path, storage: str, smoke: bool) -> list[str]:
    """What runs the example; a notebook is always run in full."""
    if path.suffix == ".ipynb":  # it is run where it lies: a copy, which may leave its results there
        return [str(Path(sys.executable).with_name("jupyter-execute")), shutil.copy(path, storage)]
    return [sys.executable, "-u", str(path), "--storage-path", storage, *(["--smoke-test"] if smoke else [])]


def run(path: Path, smoke: bool) -> tuple[bool, float, str]:
    """Whether the example ended well, how many seconds it took, and its line about what was best. What it prints is passed on."""
    best, start = "", time.monotonic()
    with tempfile.TemporaryDirectory(prefix="example-") as folder:
        environment = {**os.environ, "TUNESMITH_RESULTS_DIR": folder}
        words = command(path, folder, smoke)
        with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                best = line.strip() if re.match(r"best\b", line, re.IGNORECASE) else best
        return process.returncode == 0, time.monotonic() - start, best


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--smoke-test", action="store_true", help="with a few short trials each")
    args = parser.parse_args()
    results = {}
    for path in args.files or sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")]):
        print(f"\n== {path.name}", flush=True)
        results[path.name] = run(path.absolute(), args.smoke_test)

    print("\n== all examples")
    for name, (good, seconds, best) in results.items():
        slow = f"  longer than {LIMIT_S} s" if seconds > LIMIT_S else ""
        print(f"{name:26} {seconds:6.1f} s  {'ok' if good else 'FAILED'}{slow}  {best[:100]}".rstrip())
    failed = [name for name, (good, *_) in results.items() if not good]
    print(f"{len(results) - len(failed)} ended well in {sum(seconds for _, seconds, _ in results.values()):.0f} s")
    if failed:
        print(f"{len(failed)} failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

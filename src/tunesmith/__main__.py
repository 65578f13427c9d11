"""``python -m tunesmith``: what is done from a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tunesmith.errors import TuneError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0 if all went well, 1 if the trial failed, 2 if the command could not be carried out."""
    parser = argparse.ArgumentParser(prog="python -m tunesmith", description="Tunesmith from the command line.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    rerun = commands.add_parser("rerun", help="run one recorded trial again in this process; nothing of it is recorded")
    rerun.add_argument("path", help="directory of the experiment")
    rerun.add_argument("trial_id", help="as in file names, e.g. 4f2a1_00003")
    rerun.add_argument("--pdb", action="store_true", help="open a post-mortem debugger where it fails")
    given = parser.parse_args(arguments)
    try:
        return _rerun(given.path, given.trial_id, given.pdb)
    except TuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _rerun(path: str, trial_id: str, debug: bool) -> int:
    from tunesmith.rerun import rerun

    ended, error = rerun(path, trial_id)
    if ended.error:
        print(ended.error.get("traceback", ""), file=sys.stderr)
    print(f"ended: {ended.outcome}")
    if error is None:
        return 0
    if debug:
        import pdb  # noqa: T100 - asked for with --pdb

        pdb.post_mortem(error.__traceback__)
    return 1


if __name__ == "__main__":
    sys.exit(main())

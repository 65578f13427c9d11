"""Seconds that ``import tunesmith`` takes in a fresh interpreter, beside ``import optuna``."""

from __future__ import annotations

import importlib

from _common import Medians, Row, main, peer, stopwatch


def import_one(name: str, attribute: str = "") -> dict[str, float]:
    with stopwatch() as elapsed:
        module = importlib.import_module(name)
        if attribute:
            getattr(module, attribute)
    return {"seconds": elapsed()}


def table(found: Medians) -> list[Row]:
    theirs = found["optuna"]["seconds"]
    return [
        Row("import, seconds", found["import"]["seconds"], target=0.1, better="lower", peer=peer("optuna"), peer_value=theirs),
        Row("import and first look at run, seconds", found["run"]["seconds"], better="lower", peer=peer("optuna"), peer_value=theirs),
    ]


CASES = {
    "import": lambda: import_one("tunesmith"),
    "run": lambda: import_one("tunesmith", "run"),  # names are loaded when first used: what a program really pays
    "optuna": lambda: import_one("optuna"),
}

if __name__ == "__main__":
    main(__file__, CASES, table, repeat=11)

"""``import tunesmith`` costs next to nothing: it loads no third-party module. Measured in a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

LIST_MODULES = """
import json, sys
before = set(sys.modules)
import tunesmith
{more}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded_by(more: str = "") -> list[str]:
    """Top-level names of the modules that ``import tunesmith`` (and then ``more``) brings in."""
    # -I: neither the environment nor the user's site directory has a say
    done = subprocess.run([sys.executable, "-I", "-c", LIST_MODULES.format(more=more)], capture_output=True, text=True, check=True)
    return sorted({name.split(".")[0] for name in json.loads(done.stdout)})


def third_parties(modules: list[str]) -> list[str]:
    return [name for name in modules if name not in sys.stdlib_module_names and name != "tunesmith"]


def test_import_loads_no_third_party_module() -> None:
    assert third_parties(loaded_by()) == []


def test_defining_a_space_loads_no_third_party_module() -> None:
    space = "tunesmith.grid_search([1, 2]); tunesmith.loguniform(1e-4, 1); tunesmith.choice(['a', 'b']); tunesmith.randint(1, 9)"
    assert third_parties(loaded_by(space)) == []


def test_import_leaves_the_heavy_corners_of_the_standard_library_alone() -> None:
    """Each of these costs milliseconds at start-up, and is needed by few programs."""
    heavy = {"asyncio", "concurrent", "http", "multiprocessing", "sqlite3", "ssl", "unittest", "urllib"}
    assert heavy.isdisjoint(loaded_by())

"""Equal seeds give equal searches, from one version to the next."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
GOLDEN: dict[str, Any] = json.loads((HERE / "searches_v1.json").read_text(encoding="utf-8"))


def maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_searches_v1", HERE / "make_searches_v1.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", GOLDEN)
def test_a_seed_gives_the_same_search(name: str) -> None:
    found = maker().proposed(name)
    assert len(found) == len(GOLDEN[name])
    for number, (now, then) in enumerate(zip(found, GOLDEN[name])):
        floats = {key: pytest.approx(value, rel=1e-3) if isinstance(value, float) else value for key, value in then.items()}
        assert now == floats, f"trial {number} of {name}"

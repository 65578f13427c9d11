"""The page about what was broken on purpose says what the tests have counted, and nothing better."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

XML = """<testsuites><testsuite>
<testcase name="a">
<properties><property name="faults" value='{"kill -9": {"tried": 3, "survived": 3, "results": 12}}'/></properties></testcase>
<testcase name="b"><properties><property name="faults" value='{"kill -9": {"tried": 2, "survived": 1, "results": 4}}'/></properties>
<failure message="one was lost"/></testcase>
<testcase name="c"/>
<testcase name="d"><failure message="it breaks nothing on purpose"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "reliability.py"
    spec = importlib.util.spec_from_file_location("reliability", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_was_not_survived_is_counted(tool: ModuleType) -> None:
    found, failed = tool.count(XML)
    assert (found, failed) == ({"kill -9": {"tried": 5, "survived": 4, "results": 16}}, 1)
    text = tool.page(found, failed)
    assert "| kill -9 | 5 | 4 | 16 | 1 |" in text
    assert "Tests that failed: 1." in text


@pytest.mark.slow
def test_it_runs(tool: ModuleType) -> None:
    found, failed = tool.measure(["tests/crash"], "-k", "any_turn")
    assert failed == 0
    assert sum(numbers["tried"] for numbers in found.values()) > 20
    assert all(numbers["tried"] == numbers["survived"] for numbers in found.values())

"""The Python process that is started before anybody needs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

import tunesmith as tune
from tunesmith.errors import ExecutorError, SpecError
from tunesmith.executors.interpreter import RUN, Interpreter, ahead


def test_the_one_that_was_started_ahead_is_taken() -> None:
    with ahead(None):
        found = Interpreter.take()
        other = Interpreter.take()
    try:
        assert found.pid != other.pid
        assert psutil.Process(found.pid).is_running()  # it belongs to whoever took it
        assert len({found.run, other.run}) == 2
        assert psutil.Process(found.pid).environ()[RUN] == found.run
    finally:
        for one in (found, other):
            one.kill()
            assert one.bury() < 0


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_one_that_nobody_takes_ends() -> None:
    before = children()
    with ahead("local"):
        assert len(children() - before) == 1
    assert children() == before


@pytest.mark.parametrize("executor", ["inline", object()])
def test_another_executor_needs_none(executor: object) -> None:
    before = children()
    with ahead(executor):
        assert children() == before


def test_the_environment_names_another_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_EXECUTOR", "inline")
    before = children()
    with ahead(None):
        assert children() == before


def test_a_run_that_is_refused_leaves_no_process(tmp_path: Path) -> None:
    before = children()
    with pytest.raises(SpecError):
        tune.run(print, num_samples=0, storage_path=tmp_path)
    assert children() == before


def test_one_that_cannot_start_is_told_by_whoever_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", os.devnull)
    with ahead("local"), pytest.raises(ExecutorError, match=r"sys\.executable"):
        Interpreter.take()

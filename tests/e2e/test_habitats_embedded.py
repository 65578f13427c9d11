"""Experiments inside of something else: threads, event loops, pytest."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.e2e

RunScript = Callable[..., str]


def test_in_threads_two_at_the_same_time(run_script: RunScript) -> None:
    assert run_script("""
        import sys, threading
        import tunesmith as tune

        class Model:
            def __init__(self, by):
                self.by = by

        def drive(by):
            def train(config):
                return {"loss": Model(by).by * config["x"]}
            barrier.wait(30)
            analysis = tune.run(train, config={"x": tune.grid_search([1, 2, 3])}, name=f"run{by}", storage_path=sys.argv[1], verbose=0)
            answers[by] = [trial.last_result["loss"] for trial in analysis.trials]

        answers = {}
        barrier = threading.Barrier(2)
        threads = [threading.Thread(target=drive, args=(by,)) for by in (1, 10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(answers[1], answers[10], threading.active_count())
    """, "-W", "error") == "[1, 2, 3] [10, 20, 30] 1\n"  # fmt: skip


def test_a_thread_that_ends_before_its_successor_goes_on(run_script: RunScript) -> None:
    """Workers die with their parent's *thread*; so that must not be the thread that has called run."""
    assert run_script("""
        import sys
        from concurrent.futures import ThreadPoolExecutor
        import tunesmith as tune
        def train(config):
            return {"loss": config["x"]}
        for _ in range(2):
            with ThreadPoolExecutor(1) as pool:
                analysis = pool.submit(
                    tune.run, train, config={"x": tune.grid_search([1, 2])}, storage_path=sys.argv[1], verbose=0, reuse_actors=False
                ).result()
            print([trial.last_result["loss"] for trial in analysis.trials])
    """, "-W", "error") == "[1, 2]\n" * 2  # fmt: skip


def test_under_a_running_event_loop(run_script: RunScript) -> None:
    assert run_script("""
        import asyncio, sys
        import tunesmith as tune

        async def half(x):
            await asyncio.sleep(0)
            return x / 2

        def train(config):
            return {"loss": asyncio.run(half(config["x"]))}

        def drive():
            analysis = tune.run(train, config={"x": tune.grid_search([2, 4])}, storage_path=sys.argv[1], verbose=0)
            return [trial.last_result["loss"] for trial in analysis.trials]

        async def main():
            print(drive())
            beside = asyncio.create_task(half(1))
            print(await asyncio.to_thread(drive), await beside)

        asyncio.run(main())
    """, "-W", "error") == "[1.0, 2.0]\n[1.0, 2.0] 0.5\n"  # fmt: skip


def test_a_driver_with_threads_and_locks_of_its_own(run_script: RunScript) -> None:
    """A worker is no fork of the driver: a lock that another thread holds is free there."""
    assert run_script("""
        import logging, sys, threading
        import tunesmith as tune

        def hold():
            with logging.getLogger("new").handlers[0].lock:
                held.set()
                over.wait()

        def train(config):
            logging.getLogger("new").warning("hello")
            return {"loss": threading.active_count()}

        logging.getLogger("new").addHandler(logging.StreamHandler())
        held, over = threading.Event(), threading.Event()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        try:
            analysis = tune.run(train, num_samples=2, storage_path=sys.argv[1], verbose=0, loggers=[])
        finally:
            over.set()
        print([trial.last_result["loss"] for trial in analysis.trials])
    """) == "[1, 1]\n"  # fmt: skip


TESTS = """
import enum, os, pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import tunesmith as tune
{imports}

SCALE = 2

@dataclass
class Model:
    weight: float

class Kind(enum.Enum):
    A = 1

def train(config):
    data = pickle.dumps([Model(config["x"]), Kind.A])
    Path(os.environ["WHERE"], "model.pkl").write_bytes(data)
    assert pickle.loads(data) == [Model(config["x"]), Kind.A]
    return {{"loss": SCALE * config["x"] {more}}}

class Steps(tune.Trainable):
    def step(self):
        return {{**train(self.config), "done": True}}

@pytest.fixture
def data():
    values = [1, 2, 3]
    def objective(config):
        return train({{"x": sum(values) * config["x"]}})
    return objective

@pytest.mark.parametrize("target", {targets})
def test_run(tmp_path, monkeypatch, data, target, capfd):
    monkeypatch.setenv("WHERE", str(tmp_path))
    monkeypatch.setitem(globals(), "SCALE", 3)
    trainable = {{"train": train, "Steps": Steps, "data": data}}[target]
    analysis = tune.run(trainable, config={{"x": tune.grid_search([1, 2])}}, storage_path=str(tmp_path / "results"), verbose=0)
    by = 6 if target == "data" else 1
    assert [trial.last_result["loss"] for trial in analysis.trials] == [3 * by, 6 * by]
    model, kind = pickle.loads((tmp_path / "model.pkl").read_bytes())
    assert type(model) is Model and kind is Kind.A

def test_a_report_cannot_be_seen_in_an_assertion_that_fails(tmp_path):
    def fails(config):
        numbers = [1, 2]
        assert numbers == [1, 3]
    analysis = tune.run(fails, storage_path=str(tmp_path), verbose=0, raise_on_failed_trial=False)
    text = Path(analysis.trials[0].error_file).read_text()
    assert "assert numbers == [1, 3]" in text and Path(__file__).name in text
"""


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_inside_pytest(program, mode: str) -> None:
    """Test modules that lie alone, that belong to a package, and that use a module on pytest's path."""
    helper = "def nothing():\n    return 0\n"
    program.write({
        "pyproject.toml": "[tool.pytest.ini_options]\nfilterwarnings = ['error']\npythonpath = ['lib']\n",
        "alone/test_alone.py": TESTS.format(imports="", more="", targets=["train", "Steps", "data"]),
        "package/__init__.py": "",
        "package/inner/__init__.py": "",
        "package/inner/helper.py": helper,
        "package/inner/test_package.py": TESTS.format(imports="from . import helper", more="+ helper.nothing()", targets=["train"]),
        "lib/library.py": helper,
        "tests/test_library.py": TESTS.format(imports="import library", more="+ library.nothing()", targets=["data"]),
    })  # fmt: skip
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = program.python("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--import-mode={mode}", check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout

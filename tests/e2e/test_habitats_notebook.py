"""Experiments in a Jupyter notebook, run by a real kernel, and in an IPython script."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


KERNEL = """
import json, os, sys, threading
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

manager = KernelManager(kernel_name="python3")
manager._kernel_spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python")
manager.start_kernel()
client = manager.client()
client.start_channels()
over = threading.Event()

def interrupt():
    while not os.path.exists("press") and not over.wait(0.05):
        pass
    if not over.is_set():
        manager.interrupt_kernel()

def show(message):
    content = message["content"]
    shown.append(content.get("text") or content.get("data", {}).get("text/plain") or "\\n".join(content.get("traceback", [])))

threading.Thread(target=interrupt).start()
answers = []
try:
    client.wait_for_ready(timeout=60)
    for cell in json.load(sys.stdin):
        shown = []
        client.execute_interactive(cell, timeout=100, output_hook=show, stop_on_error=False)
        answers.append("".join(shown))
finally:
    over.set()
    client.stop_channels()
    manager.shutdown_kernel(now=True)
print(json.dumps(answers))
"""
"""Runs cells in a kernel, and tells what each has shown. As soon as there is a file "press", it sends the kernel an interrupt."""


@pytest.fixture
def notebook(program) -> Callable[..., list[str]]:
    """Runs cells; what each has shown."""

    def run(*cells: str) -> list[str]:
        program.write({"kernel.py": KERNEL})
        names = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
        environment = {**os.environ, **{name: str(program.folder / name) for name in names}}
        done = program.python("kernel.py", input=json.dumps(cells), env=environment)
        return json.loads(done.stdout)

    return run


FIRST = """
import os, pickle
import tunesmith as tune
from dataclasses import dataclass

@dataclass
class Model:
    weight: float = 1.0

def train(config):
    print("in the trial")
    with open("model.pkl", "wb") as file:
        pickle.dump(Model(config["x"]), file)
    return {"loss": Model(config["x"]).weight + offset}

offset = 1
def go(**more):
    return tune.run(train, config={"x": tune.grid_search([2, 1])}, metric="loss", mode="min", storage_path="results", **more)
"""


def test_cells_that_are_changed_and_run_again(notebook) -> None:
    losses = "[trial.last_result['loss'] for trial in go(verbose=0).trials]"
    shown = notebook(
        FIRST,
        "analysis = go()\n[trial.last_result['loss'] for trial in analysis.trials]",
        "type(pickle.load(open('model.pkl', 'rb'))) is Model",
        "@dataclass\nclass Model:\n    weight: float = 1.0\n    def __post_init__(self):\n        self.weight *= 10\noffset = 5",
        losses,
        "def train(config):\n    return {'loss': helper(config['x'])}\ndef helper(x):\n    return -x",
        losses,
        "%time analysis = go(verbose=0)\nanalysis.best_config",
        "await __import__('asyncio').sleep(0)\ngo(verbose=2)\nprint('hello')",
    )
    assert shown[1].endswith("[3, 2]"), shown[1]
    assert "in the trial" not in shown[1]
    assert shown[2] == "True"
    assert shown[4] == "[25, 15]", "the new class, the new value"
    assert shown[6] == "[-2, -1]", "the new function"
    assert shown[7].endswith("{'x': 2}")
    assert shown[8].endswith("hello\n")


def test_the_traceback_of_a_trial_shows_the_cell(notebook) -> None:
    *_, text = notebook(
        "import tunesmith as tune\ndef train(config):\n    return deeper()\ndef deeper():\n    return 1 / 0",
        "analysis = tune.run(train, storage_path='results', verbose=0, raise_on_failed_trial=False)",
        "print(open(analysis.trials[0].error_file).read())",
    )
    assert "return deeper()" in text
    assert "return 1 / 0" in text
    assert "ZeroDivisionError" in text


def test_an_interrupt_of_the_kernel_drains(notebook) -> None:
    *_, shown, after = notebook(
        "import os, time\nimport tunesmith as tune\ndef train(config):\n    for step in range(10**6):\n        tune.report(loss=step)\n"
        "        open('press', 'w').close()\n        time.sleep(0.01)",
        "analysis = tune.run(train, num_samples=2, name='n', storage_path='results')\nprint([t.status for t in analysis.trials])",
        "1 + 1",
    )
    assert "unfinished trials can go on: resume=True, name='n'" in shown
    assert shown.endswith("['PENDING', 'PENDING']\n"), shown
    assert after == "2", "the kernel lives"


def test_an_ipython_script(program) -> None:
    program.write({"script.ipy": """
        import sys
        import tunesmith as tune
        %timeit -n1 -r1 1
        class Model:
            def __init__(self, x):
                self.x = x
        def train(config):
            import pickle
            return {"loss": pickle.loads(pickle.dumps(Model(config["x"]))).x}
        analysis = tune.run(train, config={"x": tune.grid_search([1, 2])}, storage_path="results", verbose=0)
        print([trial.last_result["loss"] for trial in analysis.trials])
    """})  # fmt: skip
    environment = {**os.environ, "IPYTHONDIR": str(program.folder / "ipython")}
    done = program.python("-m", "IPython", "script.ipy", env=environment)
    assert done.stdout.splitlines()[-1] == "[1, 2]", done.stderr

"""The example notebook, executed by a real kernel, and what its cells have shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def test_it_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)] == []


EXECUTE = """
import json, sys
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

manager = AsyncKernelManager(kernel_name="python3")
manager._kernel_spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python")
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, km=manager, timeout=240).execute()
print(json.dumps([cell.outputs for cell in notebook.cells if cell.cell_type == "code"]))
"""


@pytest.fixture
def shown(tmp_path: Path) -> list[list[dict[str, Any]]]:
    """The outputs of each code cell."""
    names = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    environment = {**os.environ, **{name: str(tmp_path / name) for name in names}}
    command = [sys.executable, "-c", EXECUTE, str(NOTEBOOK)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def text(outputs: list[dict[str, Any]]) -> str:
    return "".join(output["text"] if "text" in output else output["data"]["text/plain"] for output in outputs)


def pages(outputs: list[dict[str, Any]]) -> list[str]:
    return [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]


@pytest.mark.e2e
@pytest.mark.slow
def test_its_cells_show_what_it_says(shown: list[list[dict[str, Any]]]) -> None:
    _, _, run, analysis, table, decisions, best, model, more = shown

    (page,) = pages(run)
    assert "<table>" in page
    assert "12/12 ended" in page
    assert page.count("TERMINATED") == 13, "12 rows, and how many there are"
    assert "RUNNING" not in page, "the last picture stays"
    assert "digits: 12 trials in" in text(run)

    (page,) = pages(analysis)
    assert "12 TERMINATED" in page
    assert page.count("<tr") == 11, "a header and the ten best"
    accuracy = float(re.search(r"([\d.]+) with \{'lr'", text(table))[1])  # type: ignore[index]
    assert accuracy > 0.9
    assert f"accuracy={accuracy:.3f}"[:-1] in page
    assert "config/momentum" in pages(table)[0]
    assert len(text(decisions).splitlines()) == 3
    (page,) = pages(best)
    assert "parameter" in page
    assert "checkpoint of iteration" in page
    assert float(text(model).split()[0]) > 0.9
    assert text(more) == "12 trials before, 16 now\n"

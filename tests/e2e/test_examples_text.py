"""What a newcomer reads in the files of ``examples/``: what each shows, what to install for it, how long it takes."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples"
FILES = sorted(path.stem for path in FOLDER.glob("*.py"))

PROVIDERS = {
    "alembic": {"alembic", "mlflow"}, "mlflow": {"mlflow", "mlflow-skinny"}, "sklearn": {"scikit-learn"},
    "sqlalchemy": {"sqlalchemy", "mlflow"}, "tensorflow": {"tensorflow", "tensorflow-cpu"}, "torch": {"torch", "pytorch-lightning"},
    "xgboost": {"xgboost", "xgboost-cpu"},
}  # fmt: skip
"""What to install for an import, where it is called otherwise or has several names."""



def _text(name: str) -> str:
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FILES)
def test_the_first_three_lines_say_what_to_expect(name: str) -> None:
    """What it shows; what to install; how long it takes, in full, on two cores: less than three minutes."""
    docstring = ast.get_docstring(ast.parse(_text(name)))
    assert docstring is not None
    what, install, takes = [*docstring.splitlines(), "", ""][:3]
    assert len(what) > 30, "what it shows is said in the first line"
    assert what.endswith((".", "?")), "what it shows is said in the first line, and there only"
    assert install.startswith("Install: pip install "), "what to install is said in the second line"
    found = re.match(r"Takes: about (half a|a|two|\d+) (second|minute)s? on \d cores", takes)
    assert found, "how long it takes is said in the third line, as in `Takes: about 20 seconds on 2 cores.`"
    number, unit = found.groups()
    count = {"half a": 0.5, "a": 1, "two": 2}.get(number) or int(number)
    assert count * {"second": 1, "minute": 60}[unit] < 180


def _third_party(body: list[ast.stmt]) -> Iterator[str]:
    """Top-level packages that these statements import and that are neither Python's nor ours."""
    for node in ast.walk(ast.Module(body=body, type_ignores=[])):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from ({name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"tunesmith"})


def _distributions(requirements: list[str]) -> set[str]:
    """Names of distributions; our extras as what they stand for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[str] = set()
    for requirement in requirements:
        name, extras = re.match(r"([\w.-]+)(?:\[([^]]*)\])?", requirement).groups()  # type: ignore[union-attr]
        if name == "tunesmith":
            found |= _distributions(project["dependencies"])
            for extra in (extras or "").split(",") if extras else ():
                assert extra in project["optional-dependencies"], f"there is no extra {extra!r}"
                found |= _distributions(project["optional-dependencies"][extra])
        else:
            found.add(name.lower().replace("_", "-"))
    return found


def _to_install(text: str) -> set[str]:
    """What the first ``pip install ...`` in a text installs."""
    found = re.search(r"pip install ((?:[\w.\-\[\],]+|\"[^\"]+\"| (?! )(?!\())+)", text)
    assert found, f"no `pip install ...` in {text!r}"
    return _distributions(shlex.split(found[1]))


@pytest.mark.parametrize("name", FILES)
def test_what_it_says_to_install_is_what_it_imports(name: str) -> None:
    tree = ast.parse(_text(name))
    installed = _to_install(_text(name).splitlines()[1])
    for package in set(_third_party(tree.body)):
        assert installed & PROVIDERS.get(package, {package.replace("_", "-")}), f"{package} comes with nothing that `Install:` names"


WITHOUT = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[2:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.e2e
@pytest.mark.parametrize("name", [name for name in FILES if name != "command_line"])  # its trials import, not the script
def test_without_what_it_needs_it_says_what_to_install(name: str, tmp_path: Path) -> None:
    tried = [node for node in ast.parse(_text(name)).body if isinstance(node, ast.Try)]
    missing = {package for node in tried for package in _third_party(node.body)}
    assert missing, "its imports of what may not be there are to be tried"
    command = [sys.executable, "-c", WITHOUT, str(FOLDER / f"{name}.py"), *missing]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 1, run.stderr
    (message,) = run.stderr.splitlines()
    assert message.startswith("This example needs ")
    assert _to_install(message) == _to_install(_text(name).splitlines()[1])


@pytest.mark.parametrize("name", FILES)
def test_its_name_hides_no_library(name: str) -> None:
    """A script's own folder comes first where Python looks for modules, for all scripts in it."""
    assert name not in {package for other in FILES for package in _third_party(ast.parse(_text(other)).body)}
    assert name not in sys.stdlib_module_names


def test_the_readme_lists_them_all() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [path.name for path in FOLDER.iterdir() if path.suffix in {".py", ".ipynb"}]
    assert [name for name in sorted(names) if f"(examples/{name})" not in readme] == []

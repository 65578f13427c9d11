"""Rules that hold for every source file, read from the files themselves."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tunesmith"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in SOURCES}

# What the pure layers may import besides the standard library: each other, downwards (the order itself is import-linter's to check).
PURE = {
    "core": ("tunesmith.core", "tunesmith.errors"),
    "space": ("tunesmith.space", "tunesmith.errors", "tunesmith.secrets"),
    "spec.py": ("tunesmith.errors",),
    "errors.py": (),
}
# The one module of the values that works on arrays.
ARRAYS = {"space/encode.py": ("numpy",)}
# Modules that would let a pure layer see or change the world.
WORLD = {"asyncio", "concurrent", "multiprocessing", "os", "pathlib", "select", "selectors", "shutil", "signal", "socket", "sqlite3"}
WORLD |= {"subprocess", "tempfile", "threading", "time"}


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def guarded(tree: ast.Module) -> set[ast.AST]:
    """Nodes under ``if TYPE_CHECKING:``, which never run."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def imports(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, module) of each import that runs, those inside functions included."""
    skipped = guarded(tree)
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, node.module or ""))
    return found


def calls(tree: ast.Module, *names: str) -> list[int]:
    """Lines that call one of ``names`` (dotted, as written)."""
    plain = ast.Name | ast.Attribute
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, plain)]
    last = {name.rpartition(".")[2] for name in names}
    found = [node for node in found if getattr(node.func, "id", getattr(node.func, "attr", "")) in last]
    return [node.lineno for node in found if ast.unparse(node.func) in names]


def test_pure_layers_import_the_standard_library_and_each_other_only() -> None:
    wrong = []
    for path, tree in TREES.items():
        if layer(path) not in PURE:
            continue
        allowed = PURE[layer(path)] + ARRAYS.get(relative(path), ())
        for line, module in imports(tree):
            ours = any(module == name or module.startswith(f"{name}.") for name in allowed)
            if not ours and (module.split(".")[0] not in sys.stdlib_module_names):
                wrong.append(f"{relative(path)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_core_imports_nothing_that_reaches_the_world() -> None:
    wrong = [
        f"{relative(path)}:{line} imports {module}"
        for path, tree in TREES.items()
        if layer(path) == "core"
        for line, module in imports(tree)
        if module.split(".")[0] in WORLD
    ]
    assert not wrong, "\n".join(wrong)


def test_core_never_uses_the_global_random_generator() -> None:
    """``random.Random(seed)`` is a value; ``random.random()`` is a hidden input."""
    wrong = [
        f"{relative(path)}:{node.lineno} uses random.{node.attr}"
        for path, tree in TREES.items()
        if layer(path) in ("core", "schedulers")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random" and node.attr != "Random"
    ]
    assert not wrong, "\n".join(wrong)


def test_schedulers_are_pure_too() -> None:
    wrong = [
        f"{relative(path)}:{line} imports {module}"
        for path, tree in TREES.items()
        if layer(path) == "schedulers"
        for line, module in imports(tree)
        if module.split(".")[0] in WORLD
    ]
    assert not wrong, "\n".join(wrong)


def test_the_product_never_sleeps() -> None:
    wrong = [f"{relative(path)}:{line}" for path, tree in TREES.items() for line in calls(tree, "time.sleep", "sleep")]
    assert not wrong, f"waits are on events with deadlines, never sleeps: {wrong}"


def test_tests_never_sleep_nor_skip() -> None:
    """e2e tests drive whole programs, and may have to give them time; nothing may be skipped or expected to fail."""
    unwanted = {"pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail", "pytest.skip", "pytest.xfail", "pytest.importorskip"}
    wrong = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not any(word in text for word in ("sleep", "skip", "xfail")):
            continue
        tree = ast.parse(text)
        if path.parent.name not in ("e2e", "crash"):
            wrong += [f"{path.name}:{line} sleeps" for line in calls(tree, "time.sleep", "sleep")]
        wrong += [
            f"{path.name}:{node.lineno} has {ast.unparse(node)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node) in unwanted
        ]
    assert not wrong, "\n".join(wrong)


def test_test_files_have_unique_names() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_each_module_says_what_it_is_and_what_it_exports(path: Path) -> None:
    tree = TREES[path]
    doc = ast.get_docstring(tree)
    assert doc, "the module has no docstring"
    assert "TODO" not in doc
    exported = [
        node
        for node in tree.body
        if (isinstance(node, ast.Assign) and "__all__" in [ast.unparse(target) for target in node.targets])
        or (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "__all__")
    ]
    only_a_docstring = len(tree.body) == 1
    assert exported or only_a_docstring, "the module has no __all__"

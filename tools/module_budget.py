"""Fails when a module or function has grown past what one person reads in one sitting.

Budget: a module is 150-300 lines; over 400 it is named here as a warning, over 700 it fails unless ``MODULES`` gives a reason.
A function of more than 80 lines fails unless ``FUNCTIONS`` gives a reason. Usage: ``python tools/module_budget.py [ROOT]``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["functions", "main"]

MODULE_WARNS = 400
MODULE_FAILS = 700
FUNCTION_FAILS = 80

# path relative to the root -> why it may be longer. An entry that is no longer needed fails, too.
MODULES: dict[str, str] = {}
# "path:qualified name" -> why it may be longer.
FUNCTIONS: dict[str, str] = {}


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Qualified name and length in lines of each function in ``tree``.

    The docstring does not count: a keyword front with forty documented arguments is long to scroll through, not hard to read.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
            first = node.body[0].lineno if doc is None else (doc.end_lineno or doc.lineno) + 1
            yield f"{prefix}{node.name}", (node.end_lineno or node.lineno) - first + 1
        name = getattr(node, "name", None)
        yield from functions(node, f"{prefix}{name}." if isinstance(name, str) else prefix)


def main(root: Path) -> int:
    """Print what is over budget under ``root``; returns the exit status."""
    failures: list[str] = []
    warnings: list[str] = []
    long_modules: set[str] = set()
    long_functions: set[str] = set()
    count = 0
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        source = path.read_text(encoding="utf-8")
        lines = source.count("\n")
        count += 1
        if lines > MODULE_FAILS:
            long_modules.add(name)
            if name not in MODULES:
                failures.append(f"{name}: {lines} lines, more than {MODULE_FAILS}: split it by idea")
        elif lines > MODULE_WARNS:
            warnings.append(f"{name}: {lines} lines, more than {MODULE_WARNS}: one idea each?")
        for function, length in functions(ast.parse(source)):
            if length > FUNCTION_FAILS:
                key = f"{name}:{function}"
                long_functions.add(key)
                if key not in FUNCTIONS:
                    failures.append(f"{key}: {length} lines, more than {FUNCTION_FAILS}: split it by step")
    unneeded = (MODULES.keys() - long_modules) | (FUNCTIONS.keys() - long_functions)
    failures += [f"{entry}: listed as an exception but within its budget: take it off the list" for entry in sorted(unneeded)]
    for line in warnings:
        print(f"warning: {line}")
    for line in failures:
        print(f"error: {line}")
    print(f"module budget: {count} modules, {len(warnings)} warnings, {len(failures)} errors")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "src"))

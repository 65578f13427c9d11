"""Modules that a worker can't import, and what stands for them there.

The script, a notebook, a test module that pytest has loaded in its own way: what a trial needs of them travels by value. In the worker
each has a *home*, a module of the same name that holds what has come. All functions of one module share its home as their globals, as they
do in the driver, and what the trial pickles (``torch.save`` of a model) has the name by which the driver finds it.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tunesmith.blame import is_library

__all__ = ["Described", "by_value", "describe", "home", "main_module", "set_main"]

_MAINS = ("__main__", "__mp_main__")
Described = tuple[str, str, str, str]
"""Of a module: name, file, package, name in its spec ("" where there is none)."""
_lock = threading.Lock()
_cache: tuple[Any, list[types.ModuleType]] = (None, [])


def main_module() -> types.ModuleType:
    """The script."""
    return sys.modules["__main__"]


def describe(module: types.ModuleType) -> Described:
    """What :func:`home` needs to know."""
    file = getattr(module, "__file__", None)
    spec = getattr(module, "__spec__", None)
    package = getattr(module, "__package__", None)
    return module.__name__, os.path.abspath(file) if file else "", package or "", getattr(spec, "name", "")


def set_main(described: Described) -> None:
    """In a fresh worker: an empty ``__main__``. The script itself is not run here."""
    name = described[0] if described[0] in _MAINS else _MAINS[0]
    main = _empty(name, *described[1:])
    for alias in _MAINS:
        sys.modules[alias] = main


def home(described: Described) -> types.ModuleType:
    """The module that stands for one of the driver's, made if it's not there yet."""
    name = described[0]
    if name not in sys.modules:
        package = name.rpartition(".")[0]
        if package and not _imported(package):
            home((package, "", package, "")).__path__ = []
        sys.modules[name] = _empty(*described)
    return sys.modules[name]


@contextmanager
def by_value() -> Iterator[dict[str, types.ModuleType]]:
    """While it lasts, cloudpickle takes things of these modules by value: the script, and what a fresh process can't import."""
    import cloudpickle

    main = main_module()
    with _lock:
        homeless = _homeless_now()
        ours = [module for module in homeless if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
        for module in ours:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield {module.__name__: module for module in (*homeless, main)}
        finally:
            for module in ours:
                cloudpickle.unregister_pickle_by_value(module)


def _imported(name: str) -> bool:
    try:
        importlib.import_module(name)
    except Exception:  # the user's code, which may raise anything
        return False
    return True


def _empty(name: str, file: str, package: str, spec: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__package__ = package or None
    if file:
        module.__file__ = file
    if spec:
        module.__spec__ = importlib.machinery.ModuleSpec(spec, None, origin=file or None)
    return module


def _homeless_now() -> list[types.ModuleType]:
    """Looked for again only when something was imported, or the path has changed."""
    global _cache  # noqa: PLW0603
    key = (len(sys.modules), tuple(sys.path))
    if _cache[0] != key:
        _cache = (key, list(_homeless(dict(sys.modules))))
    return _cache[1]


def _homeless(modules: Mapping[str, Any]) -> Iterator[types.ModuleType]:
    for name, module in modules.items():
        if name == "__main__" or not isinstance(module, types.ModuleType) or module.__name__ != name:
            continue
        if name == "__mp_main__":
            yield module
        if name.partition(".")[0] in ("tunesmith", *_MAINS):
            continue
        spec = getattr(module, "__spec__", None)
        file = getattr(module, "__file__", None)
        if file is not None and is_library(file):
            continue
        if file is None and (spec is not None or name in sys.builtin_module_names):
            continue  # built in, or a namespace package
        if _is_pytests(getattr(spec, "loader", None)) or _begun(spec) or not _found(name, file):
            yield module


def _begun(spec: object) -> bool:
    """Whether the module is still being imported: it starts the experiment itself, and would again wherever it is imported."""
    return bool(getattr(spec, "_initializing", False))


def _found(name: str, file: str | None) -> bool:
    """Whether ``import name`` in a fresh process with our ``sys.path`` would load this very file."""
    package, _, _ = name.rpartition(".")
    path = getattr(sys.modules.get(package), "__path__", None) if package else None
    if package and (path is None or not _findable(package)):
        return False
    spec = _spec(name, path)
    return spec is not None and file is not None and _same(spec.origin, file)


def _findable(package: str) -> bool:
    parent, _, _ = package.rpartition(".")
    if parent and not (parent in sys.modules and _findable(parent)):
        return False
    return _spec(package, getattr(sys.modules.get(parent), "__path__", None) if parent else None) is not None


def _spec(name: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    for finder in sys.meta_path:
        if _is_pytests(finder):
            continue  # a fresh process has no such finder
        find = getattr(finder, "find_spec", None)
        try:
            found = find(name, path) if find is not None else None
        except Exception:
            continue  # a finder that can't say
        if found is not None:
            return found  # type: ignore[no-any-return]
    return None


def _is_pytests(loader: object) -> bool:
    """Test modules go by value even if they could be imported: fixtures may have changed their variables, and they import all of pytest."""
    return type(loader).__module__.startswith("_pytest.")


def _same(one: str | None, other: str) -> bool:
    if one is None:
        return False
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:
        return False

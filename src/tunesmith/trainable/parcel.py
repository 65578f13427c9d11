"""Trainables and configurations on their way to another process, such that they mean the same there.

* What the other process can't import by name goes by value: functions of the script, of a notebook, of test modules.
* Classes and functions of ``__main__`` are put into the worker's ``__main__`` too, so that what the trial pickles (``torch.save`` of a
  model) can be loaded by the script, and the other way round.
* Large arrays go beside the pickle, as they are: forked workers share their memory until one writes to them.
"""

from __future__ import annotations

import importlib.machinery
import io
import os
import pickle
import sys
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tunesmith.blame import is_library
from tunesmith.trainable.base import TrainableSpec
from tunesmith.trainable.serialize import blamed

__all__ = ["Parcel", "check_picklable", "pack_config", "pack_trainable", "unpack"]

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
_KNOWN = frozenset({"__main__", "__mp_main__", "tunesmith"})
_registering = threading.Lock()


@dataclass(slots=True)
class Parcel:
    """A pickled object (``data``), and the large buffers (C-contiguous memory) that it refers to."""

    data: bytes
    buffers: list[memoryview]


def pack_trainable(spec: TrainableSpec) -> Parcel:
    """``spec`` for :func:`unpack` in a worker.

    Raises:
        SerializationError: names the captured variable that can't be pickled, its type and its size.
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        data = _dump(spec, buffers)
    except Exception as error:
        raise blamed(spec, error) from error
    return Parcel(data, [buffer.raw() for buffer in buffers])


def check_picklable(spec: TrainableSpec) -> None:
    """Raise what :func:`pack_trainable` would raise."""
    pack_trainable(spec)


def pack_config(config: dict[str, Any]) -> bytes:
    """A configuration, for :func:`unpack`.

    Raises:
        Exception: whatever pickling an object in it raised.

    Example:
        >>> unpack(pack_config({"lr": 0.1, "layers": [64, 64]}))
        {'lr': 0.1, 'layers': [64, 64]}
    """
    return pickle.dumps((config, ()), 5) if _is_plain(config) else _dump(config, None)


def unpack(data: bytes | memoryview, buffers: Sequence[Any] = ()) -> Any:
    """What was packed; its classes and functions of ``__main__`` are in this process's ``__main__`` afterwards."""
    thing, mains = pickle.loads(data, buffers=buffers)
    main = sys.modules["__main__"]
    for one in mains:
        if getattr(main, one.__qualname__, None) is None:
            setattr(main, one.__qualname__, one)
    return thing


def _dump(thing: Any, buffers: list[pickle.PickleBuffer] | None) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Notes what it takes from ``__main__``."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, (type, types.FunctionType)) and obj.__module__ == "__main__" and obj.__qualname__.isidentifier():
                mains.append(obj)
            return super().reducer_override(obj)

    mains: list[Any] = []
    out = io.BytesIO()
    with _by_value():
        pickler = Pickler(out, protocol=5, buffer_callback=None if buffers is None else buffers.append)
        pickler.dump((thing, mains))  # the tuple's first part fills the second
    return out.getvalue()


def _is_plain(value: Any) -> bool:
    """Whether plain pickle does: nothing in it refers to a class or function."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is dict:
        return all(type(key) in _PLAIN and _is_plain(part) for key, part in value.items())
    return kind in (list, tuple) and all(map(_is_plain, value))


@contextmanager
def _by_value() -> Iterator[None]:
    """Modules that a fresh process can't import are taken along as far as they are needed."""
    import cloudpickle

    with _registering:
        ours = [module for module in _homeless(dict(sys.modules)) if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
        for module in ours:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in ours:
                cloudpickle.unregister_pickle_by_value(module)


def _homeless(modules: Mapping[str, Any]) -> Iterator[types.ModuleType]:
    for name, module in modules.items():
        if not isinstance(module, types.ModuleType) or module.__name__ != name or name.partition(".")[0] in _KNOWN:
            continue
        spec = getattr(module, "__spec__", None)
        file = getattr(module, "__file__", None)
        if file is not None and is_library(file):
            continue
        if file is None and (spec is not None or name in sys.builtin_module_names):
            continue  # built in, or a namespace package
        if not _found(name, file):
            yield module


def _found(name: str, file: str | None) -> bool:
    """Whether ``import name`` in a fresh process with our ``sys.path`` would load this very file."""
    package, _, _ = name.rpartition(".")
    path = getattr(sys.modules.get(package), "__path__", None) if package else None
    if package and (path is None or not _findable(package)):
        return False
    spec = _spec(name, path)
    return spec is not None and file is not None and _same(spec.origin, file)


def _findable(package: str) -> bool:
    module = sys.modules[package]
    parent, _, _ = package.rpartition(".")
    if parent and not (parent in sys.modules and _findable(parent)):
        return False
    return _spec(package, getattr(sys.modules.get(parent), "__path__", None) if parent else None) is not None and module is not None


def _spec(name: str, path: Any) -> importlib.machinery.ModuleSpec | None:
    for finder in sys.meta_path:
        if finder.__class__.__module__.startswith("_pytest"):
            continue  # a fresh process has no such finder
        find = getattr(finder, "find_spec", None)
        try:
            found = find(name, path) if find is not None else None
        except Exception:
            continue  # a finder that can't say
        if found is not None:
            return found  # type: ignore[no-any-return]
    return None


def _same(one: str | None, other: str) -> bool:
    if one is None:
        return False
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:
        return False

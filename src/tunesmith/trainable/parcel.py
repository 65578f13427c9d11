"""Trainables and configurations on their way to another process, such that they mean the same there.

* What the other process can't import by name goes by value, into the home that its module has there: functions of the script, of a
  notebook, of test modules.
* The script's classes that the trainable does not mention follow when they are asked for, so that a trial can load what the script has
  pickled.
* Large arrays go beside the pickle, as they are: forked workers share their memory until one writes to them.
"""

from __future__ import annotations

import functools
import io
import linecache
import os
import pickle
import struct
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import ExecutorError
from tunesmith.trainable.base import TrainableSpec
from tunesmith.trainable.homes import Described, by_value, describe, home, main_module
from tunesmith.trainable.serialize import blamed

__all__ = ["Parcel", "check_picklable", "pack_config", "pack_trainable", "refuse_unpacking", "unpack"]

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
_SIZE = struct.Struct("<Q")
_LIMIT = 1 << 20
"""A class that the trainable does not mention goes along only if it drags no more bytes with it."""
_unpacking: ContextVar[bool] = ContextVar("unpacking", default=False)


@dataclass(slots=True)
class Parcel:
    """A pickled object (``data``), the large buffers (C-contiguous memory) that it refers to, and names of modules that it needs."""

    data: bytes
    buffers: list[memoryview]
    modules: frozenset[str]


def pack_trainable(spec: TrainableSpec) -> Parcel:
    """``spec`` for :func:`unpack` in a worker.

    Raises:
        SerializationError: names the captured variable that can't be pickled, its type and its size.
    """
    with by_value() as homes:
        data, buffers, modules = _dump_trainable(spec, homes)
        classes = pickle.dumps(_classes(homes), 5)
    return Parcel(_joined(classes, data), [buffer.raw() for buffer in buffers], frozenset(modules))


def check_picklable(spec: TrainableSpec) -> None:
    """Raise what :func:`pack_trainable` would raise."""
    with by_value() as homes:
        _dump_trainable(spec, homes)


def pack_config(config: dict[str, Any]) -> bytes:
    """A configuration, for :func:`unpack`.

    Raises:
        Exception: whatever pickling an object in it raised.

    Example:
        >>> unpack(pack_config({"lr": 0.1, "layers": [64, 64]}))
        {'lr': 0.1, 'layers': [64, 64]}
    """
    if _is_plain(config):
        return _joined(b"", pickle.dumps((config, (), {}), 5))
    with by_value() as homes:
        return _joined(b"", _dump(config, homes, io.BytesIO(), None, set()))


def unpack(data: bytes | memoryview, buffers: Sequence[Any] = ()) -> Any:
    """What was packed; its classes and functions are in their homes afterwards."""
    view = memoryview(data)
    (size,) = _SIZE.unpack_from(view)
    outside = _unpacking.set(True)
    try:
        if size:
            _follow(main_module(), pickle.loads(view[_SIZE.size : _SIZE.size + size]))
        return _load(view[_SIZE.size + size :], buffers)
    finally:
        _unpacking.reset(outside)


def refuse_unpacking() -> None:
    """Refuse to begin an experiment in code that runs because :func:`unpack` imports the module that it is in.

    Raises:
        ExecutorError: that is so.
    """
    if _unpacking.get():
        raise ExecutorError(
            "an experiment was to start in the process of a trial, which imports your module because the trainable is in it. Put what must "
            "run only once, such as tune.run, under: if __name__ == '__main__':"
        )


def _joined(classes: bytes, data: bytes) -> bytes:
    return b"".join((_SIZE.pack(len(classes)), classes, data))


def _load(data: bytes | memoryview, buffers: Sequence[Any] = ()) -> Any:
    thing, named, sources = pickle.loads(data, buffers=buffers)
    for file, lines in sources.items():
        linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
    for described, name, one in named:
        one.__qualname__ = name  # classes inside of classes have lost it
        if "." not in name:
            vars(home(described)).setdefault(name, one)
    return thing


def _lookup(module: types.ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found


def _dump_trainable(spec: TrainableSpec, homes: Mapping[str, types.ModuleType]) -> tuple[bytes, list[pickle.PickleBuffer], set[str]]:
    buffers: list[pickle.PickleBuffer] = []
    modules: set[str] = set()
    try:
        return _dump(spec, homes, io.BytesIO(), buffers.append, modules), buffers, modules
    except Exception as error:
        raise blamed(spec, error) from error


def _dump(
    thing: Any, homes: Mapping[str, types.ModuleType], out: Any, beside: Callable[[pickle.PickleBuffer], Any] | None, modules: set[str]
) -> bytes:
    """``modules`` gets the names of those that things are taken from by name."""
    import cloudpickle

    described = {name: describe(module) for name, module in homes.items()}

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Puts functions into the homes of their modules, and notes what has a name there."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, (type, types.FunctionType)):
                module = homes.get(obj.__module__)
                if module is not None and _lookup(module, obj.__qualname__) is obj:
                    named.append((described[obj.__module__], obj.__qualname__, obj))
                if module is None:
                    modules.add(obj.__module__)
                elif isinstance(obj, types.FunctionType):
                    _add_source(sources, obj.__code__.co_filename)
            elif isinstance(obj, functools._lru_cache_wrapper) and (module := homes.get(obj.__module__)) is not None:
                # by itself it would go by its name
                if _lookup(module, obj.__qualname__) is obj:
                    named.append((described[obj.__module__], obj.__qualname__, obj))
                return _cache, tuple(obj.cache_parameters().values()), vars(obj), None, None, _fill_cache
            elif type(obj) is functools.cached_property:  # in Python 3.11 it has a lock
                return _property, (obj.func, obj.attrname)
            elif isinstance(obj, types.ModuleType):
                if homes.get(obj.__name__) is not obj:
                    modules.add(obj.__name__)
                elif obj.__name__ != "__main__":
                    return home, (described[obj.__name__],), {key: value for key, value in vars(obj).items() if key != "__builtins__"}
            return super().reducer_override(obj)

    named: list[tuple[Described, str, Any]] = []
    sources: dict[str, list[str]] = {}
    pickler = Pickler(out, protocol=5, buffer_callback=beside)
    pickler.globals_ref.update({id(vars(module)): _Globals(described[name]) for name, module in homes.items()})
    pickler.dump((thing, named, sources))  # the tuple's first part fills the others
    return out.getvalue()  # type: ignore[no-any-return]


class _Late:
    """A function that is known later: one that calls itself refers to its own cache."""

    function: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _cache(maxsize: int | None, typed: bool) -> Any:
    """What ``functools.cache`` and ``lru_cache`` make, empty."""
    late = _Late()
    cache = functools.lru_cache(maxsize, typed)(late)
    cache.__dict__["__wrapped__"] = late
    return cache


def _property(function: Callable[[Any], Any], name: str | None) -> functools.cached_property[Any]:
    made = functools.cached_property(function)
    made.attrname = name
    return made


def _fill_cache(cache: Any, attributes: dict[str, Any]) -> None:
    cache.__wrapped__.function = attributes["__wrapped__"]
    vars(cache).update(attributes)


def _add_source(sources: dict[str, list[str]], file: str) -> None:
    """Of code that is in no file (a notebook's cell), for tracebacks."""
    if file not in sources and file in linecache.cache and not os.path.exists(file):
        sources[file] = linecache.getlines(file)


class _Globals(dict[str, Any]):
    """Stands for the globals of functions while they are pickled: elsewhere they are those of the module's home."""

    def __init__(self, described: Described) -> None:
        super().__init__()
        self._described = described

    def __reduce__(self) -> tuple[Any, ...]:
        return _globals_of, (self._described,)


def _globals_of(described: Described) -> dict[str, Any]:
    return vars(home(described))


# -- classes that nobody has mentioned -----------------------------------------------------------------------------------------


class _Short(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() + memoryview(data).nbytes > _LIMIT:
            raise OverflowError
        return super().write(data)


def _classes(homes: Mapping[str, types.ModuleType]) -> dict[str, bytes]:
    """The script's classes, each pickled for itself: one that can't be is missed only if it's asked for."""
    main = main_module()
    classes = {}
    for name, value in list(vars(main).items()):
        if isinstance(value, type) and value.__module__ == main.__name__ and value.__qualname__ == name:
            with suppress(Exception):
                classes[name] = _dump(value, homes, _Short(), None, set())
    return classes


def _follow(main: types.ModuleType, classes: dict[str, bytes]) -> None:
    """Make ``main`` unpickle a class when it is first looked for."""

    def look(name: str) -> Any:
        if name not in classes:
            raise AttributeError(f"module {main.__name__!r} has no attribute {name!r}")
        return _load(classes.pop(name))

    main.__getattr__ = look  # type: ignore[method-assign]


def _is_plain(value: Any) -> bool:
    """Whether plain pickle does: nothing in it refers to a class or function."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is dict:
        return all(type(key) in _PLAIN and _is_plain(part) for key, part in value.items())
    return kind in (list, tuple) and all(map(_is_plain, value))

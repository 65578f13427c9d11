"""What travels with a trainable to another process, and, where that fails, the name of the captured variable that is to blame.

cloudpickle takes what can't be imported by name (the script's own functions, lambdas, closures) by value, with everything it
refers to. So a lock three attributes deep in a global can stop an experiment; the error says which.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import SerializationError
from tunesmith.trainable.base import TrainableSpec

__all__ = ["Captured", "blamed", "blamed_config", "captured_sizes"]

_DEPTH = 6
"""How far into a captured variable the culprit is looked for."""

_ATOMS = (type(None), bool, int, float, complex, str, bytes, types.ModuleType)


@dataclass(frozen=True, slots=True)
class Captured:
    """Something that travels with a trainable: how it is reached, its type, and its size in bytes (roughly)."""

    name: str
    type: str
    size: int


def captured_sizes(spec: TrainableSpec, at_least: int = 0) -> list[Captured]:
    """What travels with ``spec`` by value, the biggest first; only those of ``at_least`` so many bytes."""
    found = [Captured(name, _type_name(value), _size(value)) for name, value in _captured(spec)]
    return sorted((one for one in found if one.size >= at_least), key=lambda one: (-one.size, one.name))


def blamed(spec: TrainableSpec, error: Exception) -> SerializationError:
    """The error that says which of the things that travel with ``spec`` can't be pickled."""
    for name, value in _captured(spec):
        if not _picklable(value):
            path, culprit = _innermost(name, value, _DEPTH, set())
            return SerializationError(
                f"The trainable {spec.name} can't be sent to a worker: {path} is a {_type_name(culprit)} ({_human(_size(culprit))}), which "
                f"can't be pickled ({error}). Create it inside the function, or run with executor='inline'."
            )
    return SerializationError(f"The trainable {spec.name} can't be sent to a worker: {type(error).__name__}: {error}")


def blamed_config(config: Mapping[str, Any], error: Exception) -> SerializationError:
    """The error that says which value of a configuration can't be pickled."""
    for key, value in config.items():
        if not _picklable(value):
            path, culprit = _innermost(f"config[{key!r}]", value, _DEPTH, set())
            return SerializationError(
                f"The config can't be sent to a worker: {path} is a {_type_name(culprit)}, which can't be pickled ({error}). "
                "Create it inside the trainable."
            )
    return SerializationError(f"The config can't be sent to a worker: {type(error).__name__}: {error}")


def _captured(spec: TrainableSpec) -> Iterator[tuple[str, Any]]:
    for name, value in spec.parameters.items():
        yield f"the parameter {name!r} (tune.with_parameters)", value
    yield from _of(spec.target)


def _of(target: Any) -> Iterator[tuple[str, Any]]:
    """What a callable takes along, each with a name that its author will recognise."""
    if isinstance(target, functools.partial):
        for index, value in enumerate(target.args):
            yield f"argument {index} of the partial", value
        for name, value in target.keywords.items():
            yield f"argument {name!r} of the partial", value
        yield from _of(target.func)
    elif inspect.ismethod(target):
        for name, value in _inside(target.__self__):
            yield f"{name} of the bound {_type_name(target.__self__)}", value
        yield from _of(target.__func__)
    elif isinstance(target, types.FunctionType):
        yield from _of_function(target)
    elif isinstance(target, type):
        if _by_value(target):
            for name, value in vars(target).items():
                if isinstance(value, types.FunctionType):
                    yield from _of_function(value)
                elif not name.startswith("__") and name != "_tune_parameters":
                    yield f"the class attribute {name!r}", value
    elif not isinstance(target, types.BuiltinFunctionType):
        for name, value in _inside(target):
            yield f"{name} of the {_type_name(target)}", value
        call = type(target).__call__
        if isinstance(call, types.FunctionType):
            yield from _of_function(call)


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    if not _by_value(function):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not bound yet
            continue
        if value is not function:
            yield f"the captured variable {name!r}", value
    for value in function.__defaults__ or ():
        yield f"a default argument of {function.__name__}()", value
    for name in sorted(_names(function.__code__)):
        value = function.__globals__.get(name)
        if name in function.__globals__ and value is not function and not isinstance(value, types.ModuleType):
            yield f"the global variable {name!r}", value


def _names(code: types.CodeType) -> set[str]:
    """Global names that the code, and the functions written in it, refer to."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _by_value(thing: Any) -> bool:
    """Whether cloudpickle takes a function or class along as a whole: it can't be found by its name, or is the script's."""
    from cloudpickle import list_registry_pickle_by_value

    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    if module is None or module.__name__ == "__main__" or module.__name__ in list_registry_pickle_by_value():
        return True
    found: Any = module
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not thing


def _innermost(path: str, value: Any, depth: int, seen: set[int]) -> tuple[str, Any]:
    """Follow the part that can't be pickled down to the smallest thing to blame."""
    if depth and id(value) not in seen:
        seen.add(id(value))
        function = isinstance(value, types.FunctionType | types.MethodType | functools.partial)
        inner = _of(value) if function else _inside(value)
        for name, part in inner:
            if not _picklable(part):
                return _innermost(f"{name} of {path}", part, depth - 1, seen)
    return path, value


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"entry {key!r}", part
    elif isinstance(value, list | tuple | set | frozenset):
        for index, part in enumerate(value):
            yield f"item {index}", part
    else:
        for name in (*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())):
            if hasattr(value, name):
                yield f"attribute {name!r}", getattr(value, name)


def _picklable(value: Any) -> bool:
    import cloudpickle

    if isinstance(value, _ATOMS):
        return True
    try:
        cloudpickle.dumps(value)
    except Exception:
        return False
    return True


def _size(value: Any) -> int:
    """Bytes of an object and of what it holds; arrays and tensors by their own account."""
    total, todo = 0, [value]
    seen: set[int] = set()
    while todo and len(seen) < 100_000:
        one = todo.pop()
        if id(one) in seen or isinstance(one, types.ModuleType | type):
            continue
        seen.add(id(one))
        total += _own_size(one)
        if not isinstance(one, _ATOMS):
            todo += [part for _, part in _inside(one)]
    return total


def _own_size(value: Any) -> int:
    own = getattr(value, "nbytes", None)
    try:
        return max(own, sys.getsizeof(value)) if isinstance(own, int) else sys.getsizeof(value)
    except TypeError:
        return 0


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _human(size: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size //= 1000
    return f"{size} GB"

"""The tree behind a space: a config taken apart once, so that each trial's config is put together quickly.

A node knows how to ``build`` its part of a config from drawn values. Values are flat: a parameter's *name* is the path of its
entry ("optimizer/lr"); inside option ``i`` of a choice the option's number is part of it ("optimizer/0/lr"), so that equal keys of
different options are different parameters. ``keys`` is the path in the resolved config, where that number does not appear.
"""

from __future__ import annotations

import copy
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space.domains import Categorical, Domain, Function, Mutable

__all__ = [
    "SCALARS", "Branch", "Choice", "Computed", "Constant", "Items", "Keys", "Leaf", "Node", "Variable", "fresh", "label_of", "option_of",
    "plain", "show",
]  # fmt: skip

Keys = tuple[Any, ...]

SCALARS = (str, int, float, bool, type(None))
_NUMBERS = (int, float, bool)
_UNCHANGING = (*SCALARS, bytes, complex, type, range, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_START = object()


class Node:
    """Part of a config. ``keys``: where it is; ``computed``: whether a ``sample_from`` is in it (outside of options)."""

    __slots__ = ("computed", "keys")

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.computed = False

    def build(self, values: Mapping[str, Any]) -> Any:
        """This part of the config, sharing nothing that can change with the space or with other trials."""
        raise NotImplementedError


class Constant(Node):
    """An entry without any domain in it."""

    __slots__ = ("shared", "value")

    def __init__(self, keys: Keys, value: Any) -> None:
        super().__init__(keys)
        self.value = value
        self.shared = type(value) in _UNCHANGING

    def build(self, values: Mapping[str, Any]) -> Any:
        if self.shared:
            return self.value
        copied = fresh(self.value)
        self.shared = copied is self.value
        return copied


class Variable(Constant):
    """A constant that values may replace: by JSON, or by one of the options, which is recorded as ``{"$option": number}``."""

    __slots__ = ("name", "options")

    def __init__(self, keys: Keys, name: str, domain: Mutable) -> None:
        super().__init__(keys, domain.start)
        self.shared = False
        self.name = name
        self.options = domain.options

    def build(self, values: Mapping[str, Any]) -> Any:
        value = values.get(self.name, _START)
        if value is _START:
            return fresh(self.value)
        index = option_of(value)
        return fresh(value if index is None else self.options[index])


class Leaf(Node):
    """A parameter whose drawn value is the config's value."""

    __slots__ = ("domain", "draw", "name")

    def __init__(self, keys: Keys, name: str, domain: Domain) -> None:
        super().__init__(keys)
        self.name = name
        self.domain = domain
        self.draw = domain.sampler()

    def build(self, values: Mapping[str, Any]) -> Any:
        return values[self.name]


class Choice(Leaf):
    """A choice or grid of which at least one option is no JSON scalar.

    Such an option's value is its index. Where a number among the scalar options could be taken for an index, all are indices.
    """

    __slots__ = ("codes", "options")

    domain: Categorical

    def __init__(self, keys: Keys, name: str, domain: Categorical, options: Sequence[Node]) -> None:
        super().__init__(keys, name, domain)
        self.options = tuple(options)
        scalars = [type(option) in SCALARS for option in domain.categories]
        numbers = any(type(option) in _NUMBERS for option in domain.categories)
        self.codes = tuple(
            value if scalar and not numbers else index for index, (scalar, value) in enumerate(zip(scalars, domain.categories))
        )

    def index(self, code: Any) -> int | None:
        """Number of the option that ``code`` stands for; None: it is none of this choice's codes."""
        if type(code) is int:
            return code if 0 <= code < len(self.codes) and self.codes[code] == code else None
        return next((i for i, known in enumerate(self.codes) if type(known) is type(code) and known == code), None)

    def option(self, values: Mapping[str, Any]) -> Node:
        """The option that ``values`` has chosen."""
        code = values[self.name]
        index = self.index(code)
        if index is None:
            raise SpaceError(
                f"{show(self.keys)}: {code!r} stands for none of its {len(self.options)} options; "
                f"they are recorded by number, 0 to {len(self.options) - 1}."
            )
        return self.options[index]

    def build(self, values: Mapping[str, Any]) -> Any:
        return self.option(values).build(values)


class Computed(Leaf):
    """A ``sample_from``. ``recall(node, values)`` computes anew a result that could not be recorded."""

    __slots__ = ("recall",)

    domain: Function

    def __init__(self, keys: Keys, name: str, domain: Function) -> None:
        super().__init__(keys, name, domain)
        self.computed = True
        self.recall: Callable[[Computed, Mapping[str, Any]], Any]

    def build(self, values: Mapping[str, Any]) -> Any:
        value = values[self.name]
        if type(value) in SCALARS:
            return value
        if isinstance(value, dict) and "$opaque" in value:
            return fresh(self.recall(self, values))
        return fresh(value)


class Branch(Node):
    """A dict (or a subclass of it) with domains inside."""

    __slots__ = ("_base", "_copy", "_direct", "_indirect", "children")

    def __init__(self, keys: Keys, raw: dict[Any, Any], children: dict[Any, Node]) -> None:
        super().__init__(keys)
        self.children = children
        self.computed = any(child.computed for child in children.values())
        self._copy: Callable[[Any], Any] = dict.copy if type(raw) is dict else copy.copy
        self._base = self._copy(raw)
        self._direct: list[tuple[Any, str]] = []
        self._indirect: list[tuple[Any, Node]] = []
        for key, child in children.items():
            if type(child) is Leaf:
                self._direct.append((key, child.name))
            elif not (isinstance(child, Constant) and child.shared):
                self._indirect.append((key, child))
            # nothing of the user's that can change is held twice
            self._base[key] = child.value if isinstance(child, Constant) and child.shared else None

    def build(self, values: Mapping[str, Any]) -> dict[Any, Any]:
        config: dict[Any, Any] = self._copy(self._base)
        for key, name in self._direct:
            config[key] = values[name]
        for key, child in self._indirect:
            config[key] = child.build(values)
        return config


class Items(Node):
    """A list or tuple (or a subclass) with domains inside."""

    __slots__ = ("children", "kind")

    def __init__(self, keys: Keys, kind: type[Any], children: Sequence[Node]) -> None:
        super().__init__(keys)
        self.kind = kind
        self.children = tuple(children)
        self.computed = any(child.computed for child in children)

    def build(self, values: Mapping[str, Any]) -> Any:
        built = [child.build(values) for child in self.children]
        if self.kind is list:
            return built
        return self.kind(*built) if hasattr(self.kind, "_fields") else self.kind(built)


def option_of(recorded: Any) -> int | None:
    """Number of the option of a :class:`Variable` that a recorded value stands for; None: it is the value itself."""
    return recorded["$option"] if isinstance(recorded, dict) and recorded.keys() == {"$option"} else None


def fresh(value: Any) -> Any:
    """A deep copy; what cannot be copied (locks, sockets, generators) is handed on as it is."""
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def plain(value: Any) -> Any:
    """numpy's scalars as Python's; all else as it is."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item"):
        scalar = value.item()
        return scalar if type(scalar) in SCALARS else value
    return value


def show(keys: Keys) -> str:
    """A path as users write it: ``config['optimizer']['lr']``."""
    return "config" + "".join(f"[{key!r}]" for key in keys)


def label_of(value: Any) -> str:
    """A short text for an object: names for functions and classes, else ``repr`` without addresses, at most 200 characters."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if isinstance(name, str) and callable(value):
        return name[:200]
    try:
        text = _ADDRESS.sub("", repr(value))
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 200 else text[:197] + "..."

"""Values that the user's functions compute (``sample_from``): evaluated on demand, each once, after what they ask for.

A function's randomness is made a function of the trial: during each call ``random`` and ``numpy.random`` are seeded from a number
that is drawn with the trial's other values, and put back afterwards. So a result that cannot be recorded as JSON (an object) can be
computed again, in another process too: its record ``{"$opaque": label, "seed": ..., "pick": ...}`` holds all that is needed.
"""

from __future__ import annotations

import functools
import random
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tunesmith.errors import SpaceError, TuneError, UserCodeError
from tunesmith.space.domains import Grid
from tunesmith.space.nodes import SCALARS, Branch, Choice, Computed, Constant, Items, Node, label_of, plain, show
from tunesmith.space.parse import Group, grid_options, parse_tree

__all__ = ["Computation", "as_json", "seed_globals", "unchanged_globals"]

_NOT_JSON = object()


class Computation:
    """Evaluates the computed entries of one configuration.

    Args:
        root: the space's tree.
        values: drawn values, completed in place.
        seed: of the functions' randomness.
        choose: which element of a grid that a function returned, given its node and the length.
        keep: called with what cannot be recorded: node, record, object.
    """

    def __init__(
        self,
        root: Branch,
        values: dict[str, Any],
        seed: int,
        choose: Callable[[Computed, int], int],
        keep: Callable[[Computed, dict[str, Any], Any], None],
    ) -> None:
        self._root = root
        self._values = values
        self._seed = seed
        self._choose = choose
        self._keep = keep
        self._running: list[Computed] = []

    def run(self, todo: Sequence[Computed]) -> None:
        """Evaluate ``todo`` and what they need."""
        for node in todo:
            if node.name not in self._values:
                self._evaluate(node)

    def get(self, node: Node) -> Any:
        """The part of the config at ``node``, evaluating what is in it only when touched."""
        if isinstance(node, Choice):
            return self.get(node.option(self._values))
        if isinstance(node, Computed) and node.name not in self._values:
            return self._evaluate(node)
        if isinstance(node, Branch) and node.computed:
            return View(self, node)
        if isinstance(node, Items) and node.computed:
            return ItemsView(self, node)
        return _with_attributes(node.value if type(node) is Constant else node.build(self._values))

    def running(self, node: Node) -> bool:
        """Whether ``node`` is being evaluated right now."""
        return node in self._running

    def _evaluate(self, node: Computed) -> Any:
        if node in self._running:
            cycle = [*self._running[self._running.index(node) :], node]
            raise SpaceError(f"{show(node.keys)}: needs its own value: {' -> '.join(show(each.keys) for each in cycle)}.")
        seed = self._seed ^ zlib.crc32(node.name.encode())
        self._running.append(node)
        try:
            result, pick = self.call(node, seed)
        finally:
            self._running.pop()
        recorded = _as_json(result)
        if recorded is _NOT_JSON:
            recorded = {"$opaque": label_of(result), "seed": seed, "pick": pick}
            self._keep(node, recorded, result)
        self._values[node.name] = recorded
        return node.build(self._values)

    def call(self, node: Computed, seed: int, pick: int | None = None) -> tuple[Any, int | None]:
        """The function's result, with domains in it drawn, and which element of a returned grid it is."""
        seed_globals(seed)
        try:
            result = plain(node.domain(View(self, self._root, top=True)))
        except TuneError:
            raise
        except Exception as error:
            raise UserCodeError(f"{show(node.keys)}: its sample_from function raised {type(error).__name__}: {error}.") from error
        options = result.categories if isinstance(result, Grid) else grid_options(result)
        if options is not None:
            if not isinstance(options, list | tuple) or not options:
                raise SpaceError(f"{show(node.keys)}: its function returned a grid_search without a list of values: {options!r}.")
            if pick is None:
                pick = self._choose(node, len(options))
            result = plain(options[pick])
        tree = parse_tree(result, node.keys, node.name)
        if not isinstance(tree, Constant):
            result = self._draw(tree, seed)
        return result, pick

    def _draw(self, tree: Node, seed: int) -> Any:
        values: dict[str, Any] = {}
        todo: list[Computed] = []
        Group.of(tree).draw(random.Random(seed), values, {}, None, todo)
        if todo:
            raise SpaceError(f"{show(tree.keys)}: its function returned another sample_from; call that function directly instead.")
        return tree.build(values)


@contextmanager
def unchanged_globals() -> Iterator[None]:
    """Leave the global generators of ``random`` and numpy as they were found."""
    ours = random.getstate()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        # another engine behind the global functions: saving and loading the state of the present one takes ten times as long
        theirs = numpy.random.get_bit_generator()
        numpy.random.set_bit_generator(_engine())
    try:
        yield
    finally:
        random.setstate(ours)
        if numpy is not None:
            numpy.random.set_bit_generator(theirs)


@functools.cache
def _engine() -> Any:
    return sys.modules["numpy"].random.MT19937(0)


def seed_globals(seed: int) -> None:
    """Seed ``random`` and numpy's global generator; within :func:`unchanged_globals`."""
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed & 0xFFFFFFFF)


class View(Mapping[Any, Any]):
    """A dict of the config as a ``sample_from`` sees it: by item or attribute; ``config`` at the top is the config itself."""

    def __init__(self, computation: Computation, node: Branch, top: bool = False) -> None:
        self._computation = computation
        self._node = node
        self._top = top

    def __getitem__(self, key: Any) -> Any:
        child = self._node.children.get(key)
        if child is not None:
            return self._computation.get(child)
        if key == "config" and self._top:
            return View(self._computation, self._node)
        raise KeyError(key)

    def __getattr__(self, name: str) -> Any:
        if name in ("_node", "_computation", "_top"):  # copying looks before they are there
            raise AttributeError(name)
        if name == "config" and self._top:
            return View(self._computation, self._node)
        if name in self._node.children:
            return self[name]
        raise AttributeError(f"{show(self._node.keys)} has no entry {name!r}; it has {', '.join(map(str, self._node.children))}")

    def __iter__(self) -> Iterator[Any]:
        # an entry that is waiting for this very iteration cannot be in it
        return (key for key, child in self._node.children.items() if not self._computation.running(child))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<{show(self._node.keys)} with {', '.join(map(str, self._node.children))}>"


class ItemsView(Sequence[Any]):
    """A list of the config as a ``sample_from`` sees it, while some of its elements are not computed yet."""

    def __init__(self, computation: Computation, node: Items) -> None:
        self._computation = computation
        self._children = node.children

    def __getitem__(self, index: Any) -> Any:
        found = self._children[index]
        return [self._computation.get(each) for each in found] if isinstance(found, tuple) else self._computation.get(found)

    def __len__(self) -> int:
        return len(self._children)


class AttributeDict(dict[Any, Any]):
    """A plain dict of the config whose entries are attributes too."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return _with_attributes(self[name])
        raise AttributeError(f"no entry {name!r}; there are {', '.join(map(str, self))}")


def _with_attributes(value: Any) -> Any:
    return AttributeDict(value) if type(value) is dict else value


def as_json(value: Any) -> Any:
    """``value`` with numpy's scalars as Python's if it is nothing but JSON (tuples allowed); else None."""
    converted = _as_json(value)
    return None if converted is _NOT_JSON else converted


def _as_json(value: Any) -> Any:
    """``value`` with numpy's scalars as Python's if it is nothing but JSON (tuples allowed); else ``_NOT_JSON``."""
    value = plain(value)
    if type(value) in SCALARS:
        return value
    if type(value) in (list, tuple):
        items = [_as_json(item) for item in value]
        return _NOT_JSON if any(item is _NOT_JSON for item in items) else type(value)(items)
    if type(value) is dict and all(type(key) is str for key in value) and "$opaque" not in value:
        entries = {key: _as_json(entry) for key, entry in value.items()}
        return _NOT_JSON if any(entry is _NOT_JSON for entry in entries.values()) else entries
    if isinstance(value, AttributeDict):
        return _as_json(dict(value))
    return _NOT_JSON

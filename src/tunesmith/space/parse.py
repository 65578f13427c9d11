"""From a config to its tree of nodes, and from the tree to the list of what has to be drawn."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space.domains import Categorical, Domain, Function, Grid, Mutable, Require
from tunesmith.space.nodes import SCALARS, Branch, Choice, Computed, Constant, Items, Keys, Leaf, Node, Variable, plain, show

__all__ = ["Group", "grid_options", "parse_tree", "split_constraints", "variables"]


def split_constraints(config: Mapping[Any, Any]) -> tuple[dict[Any, Any], list[Require]]:
    """The config without its top-level ``require`` entries, and those."""
    entries = {key: value for key, value in config.items() if not isinstance(value, Require)}
    return entries, [value for value in config.values() if isinstance(value, Require)]


def grid_options(value: Any) -> Any:
    """What stands in ``{"grid_search": ...}``; None if ``value`` is no such marker."""
    return value["grid_search"] if isinstance(value, dict) and len(value) == 1 and "grid_search" in value else None


def parse_tree(value: Any, keys: Keys, name: str, inside: tuple[int, ...] = ()) -> Node:
    """The node of ``value``, which stands at ``keys`` and whose parameter, if it is one, is called ``name``.

    Raises:
        SpaceError: names the path of the entry that is wrong.
    """
    if isinstance(value, dict | list | tuple):
        if id(value) in inside:
            raise SpaceError(f"{show(keys)}: contains itself.")
        inside = (*inside, id(value))
    options = grid_options(value)
    if options is not None or (isinstance(value, dict) and value.keys() == {"grid_search"}):
        if not isinstance(options, list | tuple):
            raise SpaceError(f"{show(keys)}: grid_search takes a list of values, got {type(options).__name__} {options!r}.")
        value = Grid(tuple(options))
    if isinstance(value, Domain):
        return _parameter(value, keys, name, inside)
    if isinstance(value, Mutable):
        return Variable(keys, name, value)
    if isinstance(value, Require):
        raise SpaceError(f"{show(keys)}: a constraint (require) stands at the top level of the config, where it sees all of it.")
    if isinstance(value, dict):
        children = {key: parse_tree(entry, (*keys, key), f"{name}/{key}" if keys else str(key), inside) for key, entry in value.items()}
        return Constant(keys, value) if _all_constant(children.values()) else Branch(keys, value, children)
    if isinstance(value, list | tuple):
        items = [parse_tree(entry, (*keys, i), f"{name}/{i}" if keys else str(i), inside) for i, entry in enumerate(value)]
        return Constant(keys, value) if _all_constant(items) else Items(keys, type(value), items)
    return Constant(keys, value)


def _all_constant(nodes: Any) -> bool:
    return all(isinstance(node, Constant) and not isinstance(node, Variable) for node in nodes)


def _parameter(domain: Domain, keys: Keys, name: str, inside: tuple[int, ...]) -> Node:
    if isinstance(domain, Function):
        return Computed(keys, name, domain)
    if not isinstance(domain, Categorical):
        return Leaf(keys, name, domain)
    categories = tuple(map(plain, domain.categories))
    if not categories:
        raise SpaceError(f"{show(keys)}: {domain.describe()['type']} has no options to take one from.")
    if any(a is not b for a, b in zip(categories, domain.categories)):
        domain = type(domain)(categories)
    if all(type(option) in SCALARS for option in categories):
        return Leaf(keys, name, domain)
    return Choice(keys, name, domain, [parse_tree(option, keys, f"{name}/{i}", inside) for i, option in enumerate(categories)])


@dataclass(slots=True)
class Group:
    """What has to be drawn at one level: everything of a tree that does not hang on the option of a choice.

    In order of names, so that the order of a dict's entries changes nothing. ``below``: the groups of a choice's options.
    """

    leaves: list[Leaf] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    grids: list[Leaf] = field(default_factory=list)
    computed: list[Computed] = field(default_factory=list)
    below: dict[str, list[Group]] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Node) -> Group:
        group = cls()
        for found in sorted(_parameters(node), key=lambda each: each.name):
            if isinstance(found.domain, Grid):
                group.grids.append(found)
            elif isinstance(found, Computed):
                group.computed.append(found)
            elif isinstance(found, Choice):
                group.choices.append(found)
            else:
                group.leaves.append(found)
            if isinstance(found, Choice):
                group.below[found.name] = [cls.of(option) for option in found.options]
        return group

    def every(self) -> Iterator[Leaf]:
        """All parameters, those of all options included."""
        yield from (*self.leaves, *self.choices, *self.grids, *self.computed)
        for groups in self.below.values():
            for group in groups:
                yield from group.every()

    def grid_count(self, fixed: Mapping[str, Any]) -> int:
        """Points of the grid. A grid's option that holds a grid counts as often as that has points; what is fixed counts once."""
        count = 1
        for grid in self.grids:
            count *= sum(self._weights(grid, fixed))
        return count

    def _weights(self, grid: Leaf, fixed: Mapping[str, Any]) -> list[int]:
        """Points that each option of ``grid`` stands for; 0 for those that ``fixed`` rules out."""
        below = self.below.get(grid.name)
        weights = [group.grid_count(fixed) for group in below] if below else [1] * len(_codes(grid))
        if grid.name not in fixed:
            return weights
        chosen = _index(grid, fixed[grid.name])
        return [weight if i == chosen else 0 for i, weight in enumerate(weights)]

    def point(self, values: Mapping[str, Any], fixed: Mapping[str, Any]) -> int:
        """Which point of the grid ``values`` stand at, of those that are left by ``fixed``, with which they agree."""
        point, size = 0, 1
        for grid in self.grids:
            weights, index = self._weights(grid, fixed), _index(grid, values[grid.name])
            below = self.below.get(grid.name)
            point += size * (sum(weights[:index]) + (below[index].point(values, fixed) if below else 0))
            size *= sum(weights)
        return point

    def draw(self, rng: random.Random, values: dict[str, Any], fixed: Mapping[str, Any], point: int | None, todo: list[Computed]) -> None:
        """Put values of this level and of the options taken into ``values``; ``todo`` collects what must be computed afterwards.

        ``point``: which point of the grid; None: grids are drawn like choices.
        """
        for leaf in self.leaves:
            name = leaf.name
            values[name] = fixed[name] if name in fixed else leaf.draw(rng)
        todo += self.computed
        for choice in self.choices:
            index = _index(choice, fixed[choice.name]) if choice.name in fixed else int(rng.random() * len(choice.codes))
            values[choice.name] = choice.codes[index]
            self.below[choice.name][index].draw(rng, values, fixed, None, todo)
        for grid in self.grids:
            point = self._walk(grid, rng, values, fixed, point, todo)

    def _walk(
        self, grid: Leaf, rng: random.Random, values: dict[str, Any], fixed: Mapping[str, Any], point: int | None, todo: list[Computed]
    ) -> int | None:
        codes, rest, within = _codes(grid), None, None
        if point is not None:
            weights = self._weights(grid, fixed)
            rest, within = divmod(point, sum(weights))
            index = 0
            while within >= weights[index]:
                within -= weights[index]
                index += 1
        elif grid.name in fixed:
            index = _index(grid, fixed[grid.name])
        else:
            index = int(rng.random() * len(codes))
        values[grid.name] = codes[index]
        if grid.name in self.below:
            self.below[grid.name][index].draw(rng, values, fixed, within, todo)
        return rest


def _parameters(node: Node) -> Iterator[Leaf]:
    if isinstance(node, Leaf):
        yield node
    elif isinstance(node, Branch):
        for child in node.children.values():
            yield from _parameters(child)
    elif isinstance(node, Items):
        for child in node.children:
            yield from _parameters(child)


def variables(node: Node) -> Iterator[Variable]:
    """All of them, those in the options of choices included."""
    if isinstance(node, Variable):
        yield node
    elif isinstance(node, Branch):
        children: Any = node.children.values()
    elif isinstance(node, Items):
        children = node.children
    elif isinstance(node, Choice):
        children = node.options
    else:
        return
    if not isinstance(node, Variable):
        for child in children:
            yield from variables(child)


def _codes(grid: Leaf) -> tuple[Any, ...]:
    return grid.codes if isinstance(grid, Choice) else grid.domain.categories  # type: ignore[attr-defined]


def _index(leaf: Leaf, code: Any) -> int:
    codes = _codes(leaf)
    for same_type in (True, False):
        for index, known in enumerate(codes):
            if known == code and (type(known) is type(code) or not same_type):
                return index
    raise SpaceError(f"{show(leaf.keys)}: {code!r} stands for none of its {len(codes)} options.")

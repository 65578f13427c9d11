"""From one version of a space to the next: the new space's values of a configuration that was drawn from the old one.

An experiment that is resumed may be given another space. Its earlier trials keep the version that they were drawn from; a searcher on
the new one learns from those of them that lie inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith.errors import SpaceError, UserCodeError
from tunesmith.secrets import is_secret
from tunesmith.space.compute import as_json
from tunesmith.space.describe import describe
from tunesmith.space.domains import Categorical, same
from tunesmith.space.nodes import SCALARS, Branch, Choice, Computed, Constant, Items, Leaf, Node, label_of, plain
from tunesmith.space.parse import parse_tree
from tunesmith.space.space import Space

__all__ = ["Translator", "translate"]


def translate(old: Space, new: Space, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of ``new`` that stand for the configuration of ``values`` in ``old``; None: it lies outside.

    Inside is what the new space could have drawn. Constants are left out of it: whoever changes one knows what that does to the results.

    - A parameter keeps its value, if that belongs to the new domain. One that has become a constant must have had that value; what
      was a constant may have become a parameter that can have it; one without an entry in the other space lies outside.
    - The options of a choice match by what they are, wherever they stand now; copies of functions and objects, such as those that were
      stored, by their labels where these are unique. All that an option holds tells it from others, constants too.
    - Computed values are taken over as they were. Entries that a scheduler or a searcher added stay.
    - The new space's constraints must hold.

    Args:
        old: the space that the values were drawn from.
        new: the space to express them in.
        values: as drawn, and complete.

    Example:
        >>> from tunesmith.space import choice, uniform
        >>> old = Space.parse({"lr": uniform(0, 1), "size": choice([[8], [16]])})
        >>> new = Space.parse({"lr": uniform(0, 2), "size": choice([[32], [16], [8]])})
        >>> translate(old, new, {"lr": 0.5, "size": 0})
        {'lr': 0.5, 'size': 2}
        >>> translate(new, old, {"lr": 1.5, "size": 2}) is None
        True
    """
    return Translator(old, new)(values)


class Translator:
    """:func:`translate` for many configurations: what depends on the spaces alone is worked out once."""

    def __init__(self, old: Space, new: Space) -> None:
        self._old, self._new = old, new
        self._partners: dict[tuple[Choice, Choice], list[int | None]] = {}

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """The new space's values, or None."""
        added = {name: value for name, value in values.items() if name not in self._old.nodes}
        walk = _Walk(self, values, added)
        try:
            walk.carry(self._old.root, self._new.root, False)
            found = {**walk.found, **added}
            broken = self._new.broken_constraint(found) if self._new.constraints else None
        except (_Outside, SpaceError, UserCodeError):
            return None
        return None if broken is not None else found

    def partners(self, old: Choice, new: Choice) -> list[int | None]:
        """For each option of ``old`` the number of the same one of ``new``; None: it is not there, or cannot be told from others."""
        found = self._partners.get((old, new))
        if found is None:
            found = self._partners[old, new] = _partners(old.domain.categories, new.domain.categories)
        return found


class _Outside(Exception):
    """The configuration is none of the new space."""


class _Walk:
    """One configuration on its way: goes through the new tree and takes each parameter's value from the old one.

    Args:
        values: of the old space.
        added: those of them that are no parameters, by path; what becomes a parameter is taken out.
    """

    def __init__(self, spaces: Translator, values: Mapping[str, Any], added: dict[str, Any]) -> None:
        self.spaces = spaces
        self.values = values
        self.added = added
        self.found: dict[str, Any] = {}
        self.by_label = False

    def carry(self, old: Node | None, new: Node, chosen: bool) -> None:
        """Find the values of all parameters of ``new``.

        Args:
            old: what the old configuration has there; None: nothing.
            chosen: it is part of an option that was drawn, so that its constants count.

        Raises:
            _Outside: the new space cannot have it.
        """
        if self.added and (path := "/".join(map(str, new.keys))) in self.added:
            if isinstance(new, Constant):
                return
            old, chosen = Constant(new.keys, self.added.pop(path)), True
        if not isinstance(new, Choice):
            old, chosen = self._taken(old, chosen)
        if isinstance(new, Constant):
            self._agree(old, new, new.value, chosen)
        elif isinstance(new, Branch):
            self._branch(old, new, chosen)
        elif isinstance(new, Items):
            self._items(old, new, chosen)
        elif isinstance(new, Choice):
            self._choice(old, new)
        elif isinstance(new, Computed):
            self.found[new.name] = self._recorded(old)
        elif isinstance(new, Leaf):
            self.found[new.name] = _member(new, self._scalar(old))

    def _taken(self, old: Node | None, chosen: bool) -> tuple[Node | None, bool]:
        """The option in the place of a choice, the value in the place of a parameter."""
        while isinstance(old, Choice):
            old, chosen = old.option(self.values), True
        if isinstance(old, Leaf) and not isinstance(old, Computed):
            return Constant(old.keys, self.values[old.name]), True
        return old, chosen

    # ---- dicts and lists

    def _branch(self, old: Node | None, new: Branch, chosen: bool) -> None:
        entries = self._entries(old, Mapping, chosen)
        for key, child in new.children.items():
            self.carry(entries.pop(key, None), child, chosen)
        self._left(new, entries, chosen)

    def _items(self, old: Node | None, new: Items, chosen: bool) -> None:
        entries = self._entries(old, list | tuple, chosen)
        for index, child in enumerate(new.children):
            self.carry(entries.pop(index, None), child, chosen)
        self._left(new, entries, chosen)

    def _entries(self, old: Node | None, kind: Any, chosen: bool) -> dict[Any, Node]:
        """The children of a part of the old configuration, by key or number."""
        if isinstance(old, Branch if kind is Mapping else Items):
            return dict(_pairs(old.children))
        if old is None:
            return {}
        if not isinstance(old, Computed | Constant):
            raise _Outside
        value = old.value if isinstance(old, Constant) else self.values[old.name]
        if not isinstance(value, kind) or (isinstance(old, Computed) and _is_opaque(value)):
            raise _Outside
        return {key: Constant((*old.keys, key), entry) for key, entry in _pairs(value)}

    def _left(self, new: Node, entries: Mapping[Any, Node], chosen: bool) -> None:
        """What only the old configuration has."""
        for key, child in entries.items():
            if not isinstance(child, Constant) or (chosen and not _hidden((*new.keys, key), child.value)):
                raise _Outside

    # ---- constants

    def _agree(self, old: Node | None, new: Node, value: Any, chosen: bool) -> None:
        """What was drawn in ``old`` must be what the constant ``value`` at ``new`` has there."""
        old, chosen = self._taken(old, chosen)
        if old is None or isinstance(old, Constant):
            if chosen and not (_hidden(new.keys, value) if old is None else self._alike(old.value, value)):
                raise _Outside
        elif isinstance(old, Computed):
            recorded = self.values[old.name]
            if not (label_of(value) == recorded["$opaque"] if _is_opaque(recorded) else self._alike(recorded, value)):
                raise _Outside
        else:
            entries = self._entries(old, Mapping if isinstance(old, Branch) else list | tuple, chosen)
            if isinstance(old, Branch) != isinstance(value, Mapping) or not isinstance(value, Mapping | list | tuple):
                raise _Outside
            for key, entry in _pairs(value):
                child = entries.pop(key, None)
                if chosen or child is not None:
                    self._agree(child, Constant((*new.keys, key), entry), entry, chosen)
            self._left(new, entries, chosen)

    def _alike(self, a: Any, b: Any) -> bool:
        if _same(a, b):
            return True
        if type(plain(a)) in SCALARS or type(plain(b)) in SCALARS or _shape(a) != _shape(b):
            return False
        self.by_label = True
        return True

    # ---- parameters

    def _scalar(self, old: Node | None) -> Any:
        if isinstance(old, Computed):
            return self.values[old.name]
        if not isinstance(old, Constant):
            raise _Outside
        return plain(old.value)

    def _recorded(self, old: Node | None) -> Any:
        """As a computed entry would be recorded."""
        if old is None:
            raise _Outside
        if isinstance(old, Computed):
            return self.values[old.name]
        value = old.build(self.values)
        recorded = as_json(value)
        if recorded is None and value is not None:
            raise _Outside
        return recorded

    def _choice(self, old: Node | None, new: Choice) -> None:
        before, options = -1, ()
        if isinstance(old, Choice):
            options = old.domain.categories
            index = old.index(self.values[old.name])
            if index is None:
                raise _Outside
            before, partner = index, self.spaces.partners(old, new)[index]
            old = old.options[index]
            if partner is not None:  # the very same option: its constants need not be looked at
                self.found[new.name] = new.codes[partner]
                self.carry(old, new.options[partner], False)
                return
        if old is None:
            raise _Outside
        index, fit = self._fitting(old, new, before, options)
        self.found[new.name] = new.codes[index]
        self.found.update(fit.found)
        self.added.clear()
        self.added.update(fit.added)
        self.by_label |= fit.by_label

    def _fitting(self, old: Node, new: Choice, before: int, options: tuple[Any, ...]) -> tuple[int, _Walk]:
        """The option that holds what ``old`` (number ``before`` of ``options``) is: of the same number if that does, else the first."""
        exact: dict[int, _Walk] = {}
        labelled: dict[int, _Walk] = {}
        for index, option in enumerate(new.options):
            walk = _Walk(self.spaces, self.values, dict(self.added))
            try:
                walk.carry(old, option, True)
            except _Outside:
                continue
            (labelled if walk.by_label else exact)[index] = walk
        if exact:
            index = before if before in exact else min(exact, key=lambda at: (not isinstance(new.options[at], Constant), at))
            return index, exact[index]
        if len(labelled) != 1 or [_outline(option) for option in options].count(_outline(options[before]) if options else "") > 1:
            raise _Outside
        return labelled.popitem()


def _partners(old: tuple[Any, ...], new: tuple[Any, ...]) -> list[int | None]:
    mine, theirs = [_shape(option) for option in old], [_shape(option) for option in new]
    found: list[int | None] = []
    for index, option in enumerate(old):
        equal = [at for at, other in enumerate(new) if _same(option, other)]
        labelled = [at for at, shape in enumerate(theirs) if shape == mine[index]]
        if equal:
            found.append(index if index in equal else equal[0])
        elif (len(labelled) == 1 and mine.count(mine[index]) == 1) or mine == theirs:
            found.append(index if mine == theirs else labelled[0])
        else:
            found.append(None)
    return found


def _shape(option: Any) -> str:
    """What a description of the space says of an option, wherever it stands. The text tells 1, 1.0 and True apart."""
    return repr(describe(parse_tree(option, (), ""), (), is_secret)["tree"])


def _outline(option: Any) -> str:
    """The same without the domains of its parameters."""
    return repr(_without_domains(describe(parse_tree(option, (), ""), (), is_secret)["tree"]))


def _without_domains(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_domains(entry) for key, entry in node.items() if key != "domain"}
    return [_without_domains(entry) for entry in node] if isinstance(node, list) else node


def _member(leaf: Leaf, value: Any) -> Any:
    domain = leaf.domain
    if isinstance(domain, Categorical):
        found = [option for option in domain.categories if _same(option, value)]
        if not found:
            raise _Outside
        return next((option for option in found if type(option) is type(value)), found[0])
    if not domain.is_valid(value):
        raise _Outside
    return domain.cast(value)


def _same(a: Any, b: Any) -> bool:
    """Equality for which truth values are no numbers."""
    a, b = plain(a), plain(b)
    return isinstance(a, bool) == isinstance(b, bool) and same(a, b)


def _hidden(keys: tuple[Any, ...], value: Any) -> bool:
    """Whether a stored space would not have it."""
    return is_secret("/".join(map(str, keys)), value)


def _is_opaque(recorded: Any) -> bool:
    return isinstance(recorded, dict) and "$opaque" in recorded


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    return iter(value.items()) if isinstance(value, Mapping) else iter(enumerate(value))

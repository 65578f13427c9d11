"""Space: a config with domains in it, as something to draw from, to put configs together with, and to describe."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tunesmith.errors import SpaceError, UserCodeError
from tunesmith.secrets import redact
from tunesmith.space import describe as description
from tunesmith.space.compute import Computation, unchanged_globals
from tunesmith.space.domains import Domain, Require
from tunesmith.space.match import match
from tunesmith.space.nodes import Branch, Computed, Leaf, Variable, fresh, show
from tunesmith.space.parse import Group, parse_tree, split_constraints, variables

__all__ = ["Space"]

TRIES = 1000
_KEPT_OBJECTS = 1024
_NOTHING: dict[str, Any] = {}


class Space:
    """A search space. Make one with :meth:`parse`.

    Attributes:
        config: the user's config as given.
        parameters: name -> domain of all that can be drawn, walked through or computed; those of options that may not be taken included.
        variables: name -> constant that a scheduler may change.
        constraints: what configurations have to satisfy.
        computes: whether functions of the user's compute some of them (``sample_from``).

    Example:
        >>> from tunesmith.space import Space, uniform, choice
        >>> space = Space.parse({"lr": uniform(0, 1), "layers": [choice([8, 16]), 32], "epochs": 3})
        >>> values = space.draw(random.Random(1))
        >>> sorted(values)
        ['layers/0', 'lr']
        >>> space.resolve({"lr": 0.5, "layers/0": 8})
        {'lr': 0.5, 'layers': [8, 32], 'epochs': 3}
    """

    def __init__(self, config: Mapping[Any, Any], constraints: Iterable[Require] = ()) -> None:
        self.config = config
        entries, found = split_constraints(config)
        self.constraints = (*found, *constraints)
        # A config without domains is a branch too, so that overlays and computed entries have one kind of root.
        root = parse_tree(entries, (), "") if not _is_marker(entries) else None
        if root is None:
            raise SpaceError("config: is a grid_search itself; a config is a dict of named entries, so put it under a name.")
        self.root = root if isinstance(root, Branch) else Branch((), entries, {k: parse_tree(v, (k,), str(k)) for k, v in entries.items()})
        self.group = Group.of(self.root)
        self.nodes: dict[str, Leaf] = {}
        self.variables: dict[str, Variable] = {}
        named: dict[str, Leaf | Variable] = {}
        members: tuple[Leaf | Variable, ...] = (*self.group.every(), *variables(self.root))
        for node in members:
            other = named.setdefault(node.name, node)
            if other is not node:
                raise SpaceError(f"{show(node.keys)}: has the same flat name, {node.name!r}, as {show(other.keys)}; rename one.")
            if isinstance(node, Variable):
                self.variables[node.name] = node
            else:
                self.nodes[node.name] = node
        self.parameters: dict[str, Domain] = {name: node.domain for name, node in self.nodes.items()}
        self.computes = False
        for node in self.nodes.values():
            if isinstance(node, Computed):
                self.computes = True
                node.recall = self._recall
        group = self.group
        simple = not (group.choices or group.grids or self.computes or self.constraints)
        self._simple = [(leaf.name, leaf.draw) for leaf in group.leaves] if simple else None
        self._static_points = group.grid_count(_NOTHING)
        self._computed_grids: dict[str, int] = {}
        self._objects: OrderedDict[tuple[str, int], Any] = OrderedDict()

    @classmethod
    def parse(cls, config: Mapping[Any, Any], constraints: Iterable[Require] = ()) -> Space:
        """The space that ``config`` describes.

        Args:
            config: nested dicts, lists and tuples. Domains may stand anywhere, also in the options of a ``choice`` or ``grid_search``
                (a sub-space then); ``require`` entries at the top level. Everything else, functions included, is a constant.
            constraints: more constraints than those in the config.

        Raises:
            SpaceError: names the path of the entry that is wrong.
        """
        if not isinstance(config, Mapping):
            raise SpaceError(f"config: expected a dict of named entries, got {type(config).__name__} {config!r}.")
        return cls(config, constraints)

    def __reduce__(self) -> tuple[Any, ...]:
        # taken apart anew: a newer version may do it differently; without secrets: a searcher that is stored may hold its space
        return (Space, (redact(split_constraints(self.config)[0]), self.constraints))

    # ---- what it is

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to search."""
        return not self.nodes

    @property
    def is_grid_only(self) -> bool:
        """Whether nothing is drawn at random: a pass over the grid has tried everything."""
        return bool(self.group.grids) and all(_walked(self.group))

    @property
    def has_grid(self) -> bool:
        """Whether there is something to walk through."""
        return bool(self.group.grids or self._computed_grids)

    @property
    def grid_size(self) -> int:
        """Points of the grid, at least 1; see :meth:`grid_count`."""
        return self.grid_count()

    def grid_count(self, fixed: Mapping[str, Any] | None = None) -> int:
        """Points of the grid that is left when ``fixed`` (values by name) is given.

        A grid inside an option of another grid counts only for that option. A grid inside an option of a *random* choice is drawn
        like a choice and does not count: nobody can walk through what may not be there. A grid that a ``sample_from`` function
        returns is known, and multiplies the count, from the first draw on.
        """
        count = self.group.grid_count(fixed) if fixed else self._static_points
        for name, length in self._computed_grids.items():
            if not fixed or name not in fixed:
                count *= length
        return count

    def grid_point(self, values: Mapping[str, Any], fixed: Mapping[str, Any] | None = None) -> int | None:
        """Which point of the grid that ``fixed`` leaves ``values`` stand at, as :meth:`draw` counts them (``grid_index``).

        None: it cannot be told, as a function of the user's returned (part of) the grid, or the values differ from ``fixed``.
        """
        if self._computed_grids or (fixed and any(name not in values or values[name] != fixed[name] for name in fixed)):
            return None
        return self.group.point(values, fixed or _NOTHING)

    # ---- drawing

    def draw(self, rng: random.Random, grid_index: int | None = None, fixed: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Values of one configuration: those of all parameters that exist in it, and of no others.

        Args:
            rng: all randomness comes from here.
            grid_index: which point of the grid, from 0 to ``grid_count(fixed) - 1``: the first path in alphabetical order varies fastest,
                grids that functions return vary slowest. None: grids are drawn like choices.
            fixed: values by name that are given; names of parameters that do not exist in this configuration are ignored,
                names that are no parameters are kept.

        Raises:
            SpaceError: constraints were not satisfied in 1000 tries, or computed entries need each other.
            UserCodeError: a function of the user's raised.
        """
        if self._simple is not None and not fixed:
            return {name: draw(rng) for name, draw in self._simple}
        if not self.constraints:
            return self._draw(rng, grid_index, fixed or _NOTHING)
        state: Any = None
        tries = 0
        while tries < TRIES:
            tries += 1
            values = self._draw(rng, grid_index, fixed or _NOTHING)
            broken = self.broken_constraint(values)
            if broken is None:
                return values
            before, state = state, rng.getstate()
            if state == before:  # nothing is random here: another try would be the same
                break
        raise SpaceError(
            f"config: no configuration was found in {tries} tries that satisfies the constraint ({broken}); the last one had "
            f"{self.labels(values)}. Widen the space, loosen the constraint, or compute one parameter from the other with sample_from."
        )

    def complete(self, values: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
        """``values`` with what is missing drawn or computed, and without what does not exist beside them; constraints are not looked at."""
        return self._draw(rng, None, values)

    def _draw(self, rng: random.Random, grid_index: int | None, fixed: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        todo: list[Computed] = []
        # drawn first, so that it does not depend on which options are taken
        seed = rng.getrandbits(32) if self.computes else 0
        self.group.draw(rng, values, fixed, grid_index, todo)
        if fixed:
            values.update((name, value) for name, value in fixed.items() if name not in self.nodes)
            values.update((node.name, fixed[node.name]) for node in todo if node.name in fixed)
        if todo:
            self._compute(values, seed, todo, grid_index, fixed)
        return values

    def _compute(self, values: dict[str, Any], seed: int, todo: list[Computed], grid_index: int | None, fixed: Mapping[str, Any]) -> None:
        slow = None if grid_index is None else grid_index // (self.group.grid_count(fixed) if fixed else self._static_points)
        picker = random.Random(seed)

        def choose(node: Computed, length: int) -> int:
            nonlocal slow
            known = self._computed_grids.setdefault(node.name, length)
            if known != length:
                raise SpaceError(
                    f"{show(node.keys)}: its function returned a grid_search of {length} values, and of {known} before; the length must "
                    "always be the same. Let it return choice(...), or write the grid into the options of another grid_search."
                )
            if slow is None:
                return picker.randrange(length)
            slow, index = divmod(slow, length)
            return index

        with unchanged_globals():
            Computation(self.root, values, seed, choose, self._keep).run(todo)

    def _keep(self, node: Computed, record: dict[str, Any], value: Any) -> None:
        self._objects[node.name, record["seed"]] = value
        if len(self._objects) > _KEPT_OBJECTS:
            self._objects.popitem(last=False)

    def _recall(self, node: Computed, values: Mapping[str, Any]) -> Any:
        record = values[node.name]
        known = self._objects.get((node.name, record["seed"]), _NOTHING)
        if known is not _NOTHING:
            return known
        with unchanged_globals():
            again = Computation(self.root, dict(values), record["seed"], lambda _node, _length: 0, self._keep)
            result, _ = again.call(node, record["seed"], record["pick"])
        self._keep(node, record, result)
        return result

    def broken_constraint(self, values: Mapping[str, Any]) -> Require | None:
        """The first constraint that the configuration of ``values`` does not satisfy.

        Raises:
            UserCodeError: a predicate raised.
        """
        for constraint in self.constraints:
            config = self.resolve(values)
            try:
                satisfied = constraint.predicate(config)
            except Exception as error:
                raise UserCodeError(f"config: the constraint ({constraint}) raised {type(error).__name__}: {error}.") from error
            if not satisfied:
                return constraint
        return None

    # ---- values to configs and back

    def resolve(self, values: Mapping[str, Any]) -> dict[Any, Any]:
        """The config of these values: a copy of the trial's own, down to its constants (objects that cannot be copied are shared).

        Values whose names are no parameters replace or add entries at that path: a scheduler may mutate constants.

        Raises:
            SpaceError: a parameter of this configuration has no value, or one that it cannot have.
        """
        try:
            config: dict[Any, Any] = self.root.build(values)
        except KeyError as error:
            name = error.args[0] if error.args else None
            if name in self.nodes and name not in values:
                have = ", ".join(values) or "none"
                raise SpaceError(f"{show(self.nodes[name].keys)}: no value was given for it; there are values for: {have}.") from None
            raise
        nodes = self.nodes
        for name in values:
            if name not in nodes and name not in self.variables:
                _overlay(config, name, fresh(values[name]))
        return config

    def values_from(self, config: Mapping[Any, Any], *, strict: bool = True) -> dict[str, Any]:
        """The values behind a config, or behind part of one: the inverse of :meth:`resolve`.

        Args:
            config: nested like the space, or flat with ``"a/b"`` keys; options of choices by themselves, not by number; constants
                may be in it.
            strict: an entry that is not in the space, or that changes a constant, is an error. Else it is kept as an overlay.

        Raises:
            SpaceError: an entry is outside of its domain; the message begins with its path.
        """
        return match(self.root, config, strict)

    def labels(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What was drawn, or may be changed, for people and tables: flat path in the resolved config -> scalar, or a text."""
        return description.labels(self.root, values, {*self.nodes, *self.variables})

    def describe(self, redact: Callable[[str, Any], bool] | None = None) -> dict[str, Any]:
        """The space as JSON, from which :func:`config_from_description` shows configs without unpickling anything.

        Args:
            redact: called with path ("a/b") and value of each constant and each dict; what it answers true for is left out.
        """
        return description.describe(self.root, self.constraints, redact)


def _is_marker(entries: Mapping[Any, Any]) -> bool:
    return entries.keys() == {"grid_search"} and isinstance(entries["grid_search"], list)


def _walked(group: Group) -> Iterable[bool]:
    yield not (group.leaves or group.choices or group.computed)
    for groups in group.below.values():
        for below in groups:
            yield from _walked(below)


def _overlay(config: dict[Any, Any], name: str, value: Any) -> None:
    """Set the entry at the flat path ``name``; levels of dicts that are not there are made."""
    level: Any = config
    *above, last = [name] if name in config else name.split("/")
    try:
        for step in above:
            key = _key(level, step)
            if isinstance(level, dict) and not isinstance(level.get(key), dict | list):
                level[key] = {}
            level = level[key]
        level[_key(level, last)] = value
    except (IndexError, TypeError, ValueError):
        raise SpaceError(f"config: there is no entry {name!r} that could be set to {value!r}.") from None


def _key(level: Any, step: str) -> Any:
    """The key of ``level`` whose text is ``step``: keys need not be strings."""
    if not isinstance(level, dict):
        return int(step)
    return step if step in level else next((key for key in level if str(key) == step), step)

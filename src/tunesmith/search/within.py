"""Which configurations of an earlier experiment a space has, where nothing but the configurations is known of its space."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.core.rng import stream
from tunesmith.errors import SpaceError, UserCodeError
from tunesmith.search.repeater import TRIAL_INDEX
from tunesmith.space import Space
from tunesmith.space.domains import same
from tunesmith.space.nodes import SCALARS, Branch, Choice, Computed, Constant, Items, Keys, Node, label_of, show

__all__ = ["Within"]


class Within:
    """Finds what the space has of the trials' configurations.

    Constants are left out of it, as where a resume brings another space: whoever changes one knows what that does to the results. But
    what is a constant in this space (or none of its entries) and differs between the trials was a parameter.
    """

    def __init__(self, space: Space, configs: Sequence[Mapping[Any, Any]]) -> None:
        self.space = space
        self._computed = {name for name, node in space.nodes.items() if isinstance(node, Computed)}
        self.varied = _varied([_others(space.root, config) for config in configs])

    def config(self, given: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """The configuration of the space that this one is.

        Raises:
            SpaceError: it lies outside; says why.
        """
        space = self.space
        if not space.nodes:
            return given  # the searcher has a space of its own
        for keys, (value, constant) in _others(space.root, given).items():
            if keys in self.varied and constant is None:
                raise SpaceError(f"{show(keys)}: differs between the trials, and is no entry of the space")
            if keys in self.varied and constant is not None and not _alike(constant.value, value):
                raise SpaceError(f"{show(keys)}: is the constant {constant.value!r}, and {value!r} there")
        values = space.values_from(_pruned(space.root, given))
        whole = space.complete(values, stream(0, "warm start"))
        for name in whole:
            if name not in values and name not in self._computed:
                raise SpaceError(f"{show(space.nodes[name].keys)}: there is no value for it")
        try:
            broken = space.broken_constraint(whole) if space.constraints else None
        except UserCodeError as error:
            raise SpaceError(str(error)) from error
        if broken is not None:
            raise SpaceError(f"breaks the constraint ({broken})")
        return space.resolve(whole)


def _pruned(node: Node, given: Any) -> Any:
    """What ``given`` has of parameters, with options in the place of what files say of them."""
    if isinstance(node, Branch) and isinstance(given, Mapping):
        children = _by_text(node)
        return {
            key: _pruned(child, given[key])
            for key in given
            if (child := children.get(str(key))) is not None and not isinstance(child, Constant)
        }
    if isinstance(node, Items) and isinstance(given, list | tuple) and len(given) == len(node.children):
        pairs = enumerate(zip(node.children, given))
        return {str(index): _pruned(child, each) for index, (child, each) in pairs if not isinstance(child, Constant)}
    return _option(node, given) if isinstance(node, Choice) else given


def _others(node: Node, given: Any, keys: Keys = ()) -> dict[Keys, tuple[Any, Constant | None]]:
    """Where ``given`` has what is no parameter: what is there, and the constant of the space, if that is one."""
    if isinstance(node, Constant):
        return {keys: (given, node)}
    found: dict[Keys, tuple[Any, Constant | None]] = {}
    if isinstance(node, Branch) and isinstance(given, Mapping):
        children = _by_text(node)
        for key, value in given.items():
            if key == TRIAL_INDEX:
                continue  # a repeat of a configuration is as good as any
            child = children.get(str(key))
            found |= {(*keys, key): (value, None)} if child is None else _others(child, value, (*keys, key))
    elif isinstance(node, Items) and isinstance(given, list | tuple):
        for index, (child, value) in enumerate(zip(node.children, given)):
            found |= _others(child, value, (*keys, index))
    return found


def _varied(trials: Sequence[Mapping[Keys, tuple[Any, Any]]]) -> set[Keys]:
    """Where not all trials have the same."""
    first: dict[Keys, Any] = {}
    varied: set[Keys] = set()
    for trial in trials:
        for keys, (value, _) in trial.items():
            if keys not in first:
                first[keys] = value
            elif not _alike(first[keys], value):
                varied.add(keys)
    return varied | {keys for keys in first if not all(keys in trial for trial in trials)}


def _by_text(node: Branch) -> dict[str, Node]:
    return {str(key): child for key, child in node.children.items()}


def _option(node: Choice, given: Any) -> Any:
    """The option that a file means by its text; ``given`` itself, if it is an option, or the only one of that text cannot be told."""
    options = node.domain.categories
    if any(same(option, given) for option in options):
        return given
    text = _text(given)
    meant = [option for option in options if type(option) not in SCALARS and (_text(option) == text or given in _names(option))]
    return meant[0] if len(meant) == 1 else given


def _alike(one: Any, other: Any) -> bool:
    return same(one, other) or _text(one) == _text(other) or (isinstance(other, str) and other in _names(one))


def _names(value: Any) -> tuple[str, ...]:
    """What loggers write for what is no JSON."""
    return (label_of(value), str(value)) if type(value) not in SCALARS else ()


def _text(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, default=_plain)
    except (TypeError, ValueError):  # keys that are no strings, dicts that hold themselves
        return label_of(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{name}" if isinstance(name, str) and hasattr(value, "__module__") else str(value)

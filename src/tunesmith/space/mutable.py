"""Changing a configuration that was drawn: reading it by path, and recording what somebody made of it as values of the space.

A scheduler that mutates works on configs as users see them, constants included. What comes out is recorded like what was drawn: as the
value of its parameter where it is one, else under its path, from where :meth:`Space.resolve` puts it into the config again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space.domains import same
from tunesmith.space.match import as_recorded, code_of, match_choice, place_among
from tunesmith.space.nodes import SCALARS, Branch, Choice, Constant, Items, Keys, Leaf, Node, Variable, plain, show
from tunesmith.space.space import Space

__all__ = ["ABSENT", "at_path", "copied", "current", "differences", "place", "recorded", "unchanged"]

ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "ABSENT"})()
"""What :func:`at_path` returns where there is nothing."""


# ---- configs by path


def current(space: Space, values: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """What the configuration of ``values`` has at flat paths ("a/b"), constants included; paths that it does not have are left out.

    Example:
        >>> from tunesmith.space import uniform
        >>> space = Space.parse({"optimizer": {"lr": uniform(0, 1), "momentum": 0.9}})
        >>> current(space, {"optimizer/lr": 0.5}, ["optimizer/lr", "optimizer/momentum", "steps"])
        {'optimizer/lr': 0.5, 'optimizer/momentum': 0.9}
    """
    config = space.resolve(values)
    found = ((path, at_path(config, path)) for path in paths)
    return {path: value for path, value in found if value is not ABSENT}


def at_path(config: Any, path: str) -> Any:
    """What stands there; ``ABSENT`` if nothing does."""
    if isinstance(config, Mapping) and path in config:
        return config[path]
    for step in path.split("/"):
        key = _key(config, step)
        if key is ABSENT:
            return ABSENT
        config = config[key]
    return config


def place(config: Any, path: str, value: Any) -> None:
    """Put ``value`` there; all that is above it must be there."""
    *above, last = [path] if path in config else path.split("/")
    for step in above:
        config = config[_key(config, step)]
    key = _key(config, last)
    config[last if key is ABSENT else key] = value


def _key(level: Any, step: str) -> Any:
    """The key of a dict or list whose text is ``step``."""
    if isinstance(level, Mapping):
        return step if step in level else next((key for key in level if str(key) == step), ABSENT)
    if isinstance(level, list | tuple):
        return int(step) if step.isdecimal() and int(step) < len(level) else ABSENT
    return ABSENT


def copied(config: Any) -> Any:
    """The same dicts and lists anew, with the same objects in them."""
    if type(config) is dict:
        return {key: copied(entry) for key, entry in config.items()}
    return [copied(entry) for entry in config] if type(config) is list else config


def unchanged(before: Any, after: Any) -> bool:
    """Whether nothing was changed; 1, 1.0 and True are not the same."""
    if before is after:
        return True
    before, after = plain(before), plain(after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() == after.keys() and all(unchanged(before[key], after[key]) for key in before)
    if type(before) is not type(after):
        return False
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(unchanged, before, after))
    return before != before and after != after if before != before else same(before, after)  # nan is what it was


def differences(before: Any, after: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Flat path -> what was there and what is there now, for all that differs; ``ABSENT`` where there was nothing.

    Example:
        >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
        {'a/c': (2, 3), 'd': (ABSENT, 4)}
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found: dict[str, tuple[Any, Any]] = {}
        for key in dict.fromkeys((*before, *after)):
            below = f"{path}/{key}" if path else str(key)
            found.update(differences(before.get(key, ABSENT), after.get(key, ABSENT), below))
        return found
    return {} if unchanged(before, after) else {path: (before, after)}


# ---- configs to values


def recorded(space: Space, values: Mapping[str, Any], before: Mapping[Any, Any], after: Any) -> dict[str, Any]:
    """The values that stand for ``after``, a changed copy of ``before``, which ``values`` stand for.

    Parameters may have values outside of their domains. An option of a choice is found again by what it is; what was drawn inside of the
    option that was left goes. Changed constants and entries that are new are recorded under their paths.

    Raises:
        SpaceError: an entry was taken away, or has become something that can neither be recorded nor is an option; names it.

    Example:
        >>> from tunesmith.space import choice, uniform
        >>> space = Space.parse({"lr": uniform(0, 1), "act": choice([len, abs]), "epochs": 3})
        >>> values = {"lr": 0.5, "act": 0}
        >>> config = space.resolve(values)
        >>> found = recorded(space, values, config, {**config, "act": abs, "epochs": 4, "seed": 1})
        >>> found, space.resolve(found)
        ({'lr': 0.5, 'act': 1, 'epochs': 4, 'seed': 1}, {'lr': 0.5, 'act': <built-in function abs>, 'epochs': 4, 'seed': 1})
    """
    if not isinstance(after, Mapping):
        raise SpaceError(f"config: expected the changed config, a dict, got {type(after).__name__} {after!r}.")
    found = dict(values)
    _record(space.root, before, after, found)
    if unchanged(found, values):
        return found
    kept = _names(space.root, found)
    return {name: value for name, value in found.items() if name in kept or name not in space.nodes}


def _record(node: Node, before: Any, after: Any, found: dict[str, Any]) -> None:
    if unchanged(before, after):
        return
    if isinstance(node, Variable):
        _record_variable(node, before, after, found)
    elif isinstance(node, Constant):
        _record_entry(node.keys, before, after, found)
    elif isinstance(node, Branch):
        _record_branch(node, before, after, found)
    elif isinstance(node, Items):
        if not isinstance(after, list | tuple) or len(after) != len(node.children):
            raise SpaceError(f"{show(node.keys)}: expected a list of {len(node.children)} again, got {after!r}.")
        for child, old, new in zip(node.children, before, after):
            _record(child, old, new, found)
    elif isinstance(node, Choice):
        _record_choice(node, before, after, found)
    elif isinstance(node, Leaf):
        found[node.name] = as_recorded(node.keys, after)


def _record_branch(node: Branch, before: Any, after: Any, found: dict[str, Any]) -> None:
    _check_keys(node.keys, before, after)
    for key, entry in after.items():
        child = node.children.get(key)
        if child is None:
            _record_entry((*node.keys, key), before.get(key, ABSENT), entry, found)
        else:
            _record(child, before[key], entry, found)


def _check_keys(keys: Keys, before: Any, after: Any) -> None:
    if not isinstance(after, Mapping):
        raise SpaceError(f"{show(keys)}: expected a dict again, got {type(after).__name__} {after!r}.")
    gone = next((key for key in before if key not in after), ABSENT)
    if gone is not ABSENT:
        raise SpaceError(f"{show((*keys, gone))}: was taken away. Entries can be changed and added; set it to None instead.")


def _record_variable(node: Variable, before: Any, after: Any, found: dict[str, Any]) -> None:
    if isinstance(before, Mapping) and isinstance(after, Mapping) and place_among(node.options, after) is None:
        _check_keys(node.keys, before, after)
    if unchanged(node.value, after):
        found.pop(node.name, None)
    else:
        found[node.name] = code_of(node, after)


def _record_entry(keys: Keys, before: Any, after: Any, found: dict[str, Any]) -> None:
    """What is no parameter goes under its path; of dicts only what has changed."""
    if unchanged(before, after):
        return
    if isinstance(before, Mapping) and before and isinstance(after, Mapping):
        _check_keys(keys, before, after)
        for key, entry in after.items():
            _record_entry((*keys, key), before.get(key, ABSENT), entry, found)
        return
    name = "/".join(map(str, keys))
    for other in [other for other in found if other.startswith(f"{name}/")]:
        del found[other]
    found[name] = as_recorded(keys, after)


def _record_choice(node: Choice, before: Any, after: Any, found: dict[str, Any]) -> None:
    """Another option, or another value in the present one."""
    present = node.option(found)
    path = "/".join(map(str, node.keys))
    index = place_among(node.domain.categories, after)
    if index is not None and isinstance(node.options[index], Constant):
        _drop_below(path, found)
        found[node.name] = node.codes[index]
        return
    inside = dict(found)
    try:
        if not isinstance(present, Constant):
            _record_strictly(present, before, after, inside)
            found.clear()
            found.update(inside)
            return
    except SpaceError:
        pass
    chosen: dict[str, Any] = {}
    try:
        match_choice(node, after, chosen)
    except SpaceError:
        if type(plain(before)) in SCALARS or not isinstance(after, Mapping | list | tuple):
            raise
        _record(present, before, after, found)
    else:
        _drop_below(path, found)
        found.update(chosen)


def _record_strictly(present: Node, before: Any, after: Any, found: dict[str, Any]) -> None:
    """Record what is within the present option; its own constants tell it from others, so they must be as they were."""
    _record(present, before, after, found)
    if isinstance(present, Branch):
        for key, child in present.children.items():
            if type(child) is Constant and not unchanged(child.value, after[key]):
                raise SpaceError(f"{show(child.keys)}: is another option's.")


def _drop_below(path: str, found: dict[str, Any]) -> None:
    """What was put into the option that is left does not belong into the next one."""
    for name in [name for name in found if name.startswith(f"{path}/")]:
        del found[name]


def _names(node: Node, values: Mapping[str, Any]) -> set[str]:
    """Names of the parameters that exist in this configuration."""
    if isinstance(node, Branch):
        return set().union(*(_names(child, values) for child in node.children.values()))
    if isinstance(node, Items):
        return set().union(*(_names(child, values) for child in node.children))
    if isinstance(node, Choice):
        return {node.name} | _names(node.option(values), values)
    return {node.name} if isinstance(node, Leaf) else set()

"""A space and its values as JSON for readers, who show configs without unpickling anything; and as labels for people.

A description is a tree of nodes, one key each: ``{"const": value}``, ``{"repr": text}`` (a constant that is no JSON),
``{"dict": [[key, node], ...]}``, ``{"list": [node, ...]}``, ``{"param": name, "domain": {...}}``, and for choices with other than
scalar options also ``"options": [[code, node], ...]``; ``{"variable": name, "start": node, "options": [node, ...]}``.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from tunesmith.space.domains import Categorical, Require
from tunesmith.space.nodes import SCALARS, Branch, Choice, Computed, Constant, Items, Leaf, Node, Variable, label_of, option_of, plain

__all__ = ["config_from_description", "describe", "labels"]

FORMAT = 1

Redact = Callable[[str, Any], bool]


def describe(root: Node, constraints: Iterable[Require], redact: Redact | None) -> dict[str, Any]:
    """The whole space; see :meth:`Space.describe`."""
    return {"format": FORMAT, "tree": _node(root, "", redact), "constraints": [str(constraint) for constraint in constraints]}


def _node(node: Node, path: str, redact: Redact | None) -> dict[str, Any]:
    if isinstance(node, Variable):
        options = [_constant(option, path, redact) for option in node.options]
        return {"variable": node.name, "start": _constant(node.value, path, redact), "options": options}
    if isinstance(node, Constant):
        return _constant(node.value, path, redact)
    if isinstance(node, Branch):
        pairs = [(key, child, _join(path, key)) for key, child in node.children.items()]
        shown = [(key, child, at) for key, child, at in pairs if not _hidden(child, at, redact)]
        return {"dict": [[_key(key), _node(child, at, redact)] for key, child, at in shown]}
    if isinstance(node, Items):
        entries = [(child, _join(path, i)) for i, child in enumerate(node.children)]
        return {"list": [_node(child, at, redact) for child, at in entries if not _hidden(child, at, redact)]}
    assert isinstance(node, Leaf)
    about: dict[str, Any] = {"param": node.name, "domain": node.domain.describe()}
    if isinstance(node, Choice):
        about["options"] = [[code, _node(option, path, redact)] for code, option in zip(node.codes, node.options)]
    elif isinstance(node.domain, Categorical):
        about["domain"]["options"] = list(node.domain.categories)
    return about


def _constant(value: Any, path: str, redact: Redact | None) -> dict[str, Any]:
    value = plain(value)
    if type(value) in SCALARS:
        return {"const": value}
    if isinstance(value, dict):
        pairs = [(key, entry, _join(path, key)) for key, entry in value.items()]
        shown = [(key, entry, at) for key, entry, at in pairs if redact is None or not redact(at, entry)]
        return {"dict": [[_key(key), _constant(entry, at, redact)] for key, entry, at in shown]}
    if isinstance(value, list | tuple):
        items = [(item, _join(path, i)) for i, item in enumerate(value)]
        kept = [(item, at) for item, at in items if redact is None or not redact(at, item)]
        if all(type(item) in SCALARS for item, _ in kept):
            return {"const": [item for item, _ in kept]}
        return {"list": [_constant(item, at, redact) for item, at in kept]}
    return {"repr": label_of(value)}


def _hidden(node: Node, path: str, redact: Redact | None) -> bool:
    if redact is None:
        return False
    if isinstance(node, Constant):
        return redact(path, node.value)
    return isinstance(node, Branch) and redact(path, {})


def _join(path: str, key: Any) -> str:
    return f"{path}/{key}" if path else str(key)


def _key(key: Any) -> Any:
    return key if type(key) in SCALARS else label_of(key)


def config_from_description(description: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The config of these values as far as a description tells it: what is no JSON appears as its text.

    Args:
        description: from :meth:`Space.describe`, before or after a trip through JSON.
        values: as drawn; names that are no parameters set entries of their own.

    Example:
        >>> from tunesmith.space import Space, choice
        >>> space = Space.parse({"act": choice([len, abs]), "epochs": 3})
        >>> config_from_description(space.describe(), {"act": 1})
        {'act': 'abs', 'epochs': 3}
    """
    used: set[str] = set()
    config: dict[str, Any] = _show(description["tree"], values, used)
    names = _names(description["tree"])
    for name, value in values.items():
        if name not in used and name not in names:
            _set(config, name, _recorded(value))
    return config


def _show(node: Mapping[str, Any], values: Mapping[str, Any], used: set[str]) -> Any:
    if "const" in node:
        return list(node["const"]) if isinstance(node["const"], list | tuple) else node["const"]
    if "repr" in node:
        return node["repr"]
    if "dict" in node:
        return {key: _show(child, values, used) for key, child in node["dict"]}
    if "list" in node:
        return [_show(child, values, used) for child in node["list"]]
    if "variable" in node:
        return _show_variable(node, values, used)
    name = node["param"]
    used.add(name)
    value = values.get(name)
    for code, option in node.get("options", ()):
        if code == value and type(code) is type(value):
            return _show(option, values, used)
    return _recorded(value)


def _show_variable(node: Mapping[str, Any], values: Mapping[str, Any], used: set[str]) -> Any:
    name = node["variable"]
    used.add(name)
    if name not in values:
        return _show(node["start"], values, used)
    index = option_of(values[name])
    return values[name] if index is None else _show(node["options"][index], values, used)


def _recorded(value: Any) -> Any:
    return value["$opaque"] if isinstance(value, dict) and "$opaque" in value else value


def _names(node: Mapping[str, Any]) -> set[str]:
    """Names of all parameters below ``node``, those of options that were not taken included."""
    found = {node[kind] for kind in ("param", "variable") if kind in node}
    options = node.get("options", ()) if "param" in node else ()
    children = [child for _, child in node.get("dict", ())] + list(node.get("list", ())) + [child for _, child in options]
    return found.union(*map(_names, children))


def _set(config: dict[str, Any], name: str, value: Any) -> None:
    level: Any = config
    *above, last = [name] if name in config else name.split("/")
    for step in above:
        if isinstance(level, list):
            level = level[int(step)]
            continue
        if not isinstance(level.get(step), dict | list):
            level[step] = {}
        level = level[step]
    level[int(last) if isinstance(level, list) else last] = value


def labels(root: Node, values: Mapping[str, Any], nodes: Container[str]) -> dict[str, Any]:
    """What was drawn, by flat path in the resolved config; see :meth:`Space.labels`."""
    found: dict[str, Any] = {}
    _label(root, values, found)
    for name, value in values.items():
        if name not in nodes:
            found[name] = _text(_recorded(value))
    return found


def _label(node: Node, values: Mapping[str, Any], found: dict[str, Any]) -> None:
    if isinstance(node, Branch):
        for child in node.children.values():
            _label(child, values, found)
    elif isinstance(node, Items):
        for child in node.children:
            _label(child, values, found)
    elif isinstance(node, Variable):
        _label_option(Constant(node.keys, node.build(values)), "/".join(map(str, node.keys)), values, found)
    elif isinstance(node, Leaf) and node.name in values:
        path = "/".join(map(str, node.keys))
        if isinstance(node, Choice):
            _label_option(node.option(values), path, values, found)
        else:
            found[path] = _text(_recorded(values[node.name]) if isinstance(node, Computed) else values[node.name])


def _label_option(option: Node, path: str, values: Mapping[str, Any], found: dict[str, Any]) -> None:
    """An option's own parameters and scalar constants say which it is; only others need a text of their own."""
    if isinstance(option, Branch):
        for key, child in option.children.items():
            _label_option(child, _join(path, key), values, found)
    elif isinstance(option, Constant) and not isinstance(option, Variable):
        value = plain(option.value)
        if isinstance(value, dict) and value and all(type(entry) in SCALARS for entry in value.values()):
            found.update((_join(path, key), entry) for key, entry in value.items())
        else:
            found[path] = _text(value)
    else:
        _label(option, values, found)


def _text(value: Any) -> Any:
    return value if type(value) in SCALARS else label_of(value)

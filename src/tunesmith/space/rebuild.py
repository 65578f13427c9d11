"""A space from its description alone, where its config was lost: all that is JSON comes back, the rest as a label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space import api
from tunesmith.space.domains import Domain, Float, Function, Integer, Mutable, Normal
from tunesmith.space.space import Space

__all__ = ["Lost", "lost_in", "space_from_description"]


class Lost:
    """Stands for an object of which only the label is known."""

    def __init__(self, label: str) -> None:
        self.label = label

    def __repr__(self) -> str:
        return self.label


def space_from_description(description: Mapping[str, Any]) -> Space:
    """A space of which :meth:`Space.describe` says the same, but for constraints, which are functions.

    Args:
        description: from :meth:`Space.describe`, before or after a trip through JSON.

    Example:
        >>> from tunesmith.space import choice, uniform
        >>> space = Space.parse({"lr": uniform(0, 1), "act": choice([len, abs]), "epochs": 3})
        >>> again = space_from_description(space.describe())
        >>> again.resolve({"lr": 0.5, "act": 1})
        {'lr': 0.5, 'act': abs, 'epochs': 3}
        >>> lost_in(again.resolve({"lr": 0.5, "act": 1}))
        'abs'
    """
    return Space.parse(_value(description["tree"]))


def lost_in(config: Any) -> str | None:
    """The label of the first object in ``config`` that was not rebuilt; None: it is whole."""
    if isinstance(config, Lost):
        return config.label
    parts = config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ()
    return next((label for part in parts if (label := lost_in(part)) is not None), None)


def _value(node: Mapping[str, Any]) -> Any:
    if "const" in node:
        return list(node["const"]) if isinstance(node["const"], list | tuple) else node["const"]
    if "repr" in node:
        return Lost(node["repr"])
    if "dict" in node:
        return {key: _value(child) for key, child in node["dict"]}
    if "list" in node:
        return [_value(child) for child in node["list"]]
    if "variable" in node:
        return Mutable(_value(node["start"]), tuple(map(_value, node["options"])))
    return _domain(node)


def _domain(node: Mapping[str, Any]) -> Any:
    about = dict(node["domain"])
    kind = about.pop("type")
    if kind in ("choice", "grid_search"):
        options = [_value(option) for _, option in node["options"]] if "options" in node else list(about["options"])
        return api.choice(options) if kind == "choice" else api.grid_search(options)
    if kind == "sample_from":
        return Function(_lost_function(about["function"]), takes_config=True)
    plain = kind.removeprefix("q")
    make = _KINDS[plain.removeprefix("log")]
    return make(**about, log=True) if plain.startswith("log") else make(**about)


_KINDS: dict[str, Callable[..., Domain]] = {"uniform": Float, "randint": Integer, "randn": Normal}


def _lost_function(name: str) -> Callable[[Any], Any]:
    def function(_: Any) -> Any:
        raise SpaceError(f"the function {name!r} of a sample_from is not at hand: only its name is on record.")

    function.__name__ = name
    return function

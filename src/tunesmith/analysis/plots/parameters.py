"""The parameters of an experiment as columns: what was drawn for each trial, and on which axis it belongs.

Constants are none, and neither are secrets: where no space tells what was drawn, what is named like a secret is taken for one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.analysis.plots.theme import clipped, log_like, number
from tunesmith.journal.trials import TrialInfo
from tunesmith.secrets import is_secret
from tunesmith.space.nodes import SCALARS, label_of, option_of

__all__ = ["Parameter", "parameters"]


@dataclass(slots=True)
class Parameter:
    """One parameter, and its value in each trial.

    Args:
        name: as it was drawn; label: where it is in the configuration, as people read it.
        values: in the order of the trials: a number, or for categories the position in ``labels``; nan: the trial has no such parameter.
        labels: of categories; None: it is a number.
        log: it was drawn on a logarithmic scale, or looks like it.
        lower, upper: the domain's bounds; nan where it has none.
    """

    name: str
    label: str
    values: list[float]
    labels: list[str] | None = None
    log: bool = False
    lower: float = math.nan
    upper: float = math.nan

    @property
    def present(self) -> list[float]:
        """The values of the trials that have it."""
        return [value for value in self.values if not math.isnan(value)]

    @property
    def conditional(self) -> bool:
        """Some trials have no such parameter."""
        return any(map(math.isnan, self.values))

    @property
    def varies(self) -> bool:
        """Two trials differ in it."""
        return len(set(self.present)) > 1

    def text(self, trial: int) -> str:
        """Its value in the trial at that position, as people read it."""
        value = self.values[trial]
        if self.labels is not None:
            return self.labels[int(value)]
        return number(int(value) if value.is_integer() and abs(value) < 1e15 else value)


@dataclass(slots=True)
class _Described:
    """What the description of a space says of a parameter. ``options``: (code, text) of categories."""

    label: str
    domain: Mapping[str, Any]
    options: list[tuple[Any, str]] = field(default_factory=list)


def parameters(trials: Sequence[TrialInfo]) -> list[Parameter]:
    """The parameters of these trials in order of the space, then those that no space describes, in order of appearance."""
    described: dict[str, _Described] = {}
    if trials:
        for space in trials[0].experiment.spaces:
            for name, about in _walk(space.get("tree", {}), ""):
                described.setdefault(name, about)
    entries = (entry for trial in trials for entry in trial.values.items())
    drawn = dict.fromkeys(name for name, value in entries if name in described or not is_secret(name, value))
    names = [name for name in described if name in drawn] + [name for name in drawn if name not in described]
    found = [_column(name, described.get(name), [trial.values.get(name, _ABSENT) for trial in trials]) for name in names]
    _tell_apart(found)
    return found


_ABSENT = object()


def _column(name: str, about: _Described | None, raw: list[Any]) -> Parameter:
    label = about.label if about is not None else name
    if about is not None and about.options:
        return _categories(name, label, raw, about.options)
    present = [value for value in raw if value is not _ABSENT]
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present):
        return _categories(name, label, raw, [])
    values = [math.nan if value is _ABSENT else _float(value) for value in raw]
    domain = about.domain if about is not None else {}
    kind = domain.get("type", "")
    known = kind and kind != "sample_from"
    log = "log" in kind if known else log_like(value for value in values if not math.isnan(value))
    bounds = [float(domain[key]) if isinstance(domain.get(key), (int, float)) else math.nan for key in ("lower", "upper")]
    return Parameter(name, label, values, None, log and all(value > 0 for value in values if not math.isnan(value)), *bounds)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond all floats
        return math.inf if value > 0 else -math.inf


def _categories(name: str, label: str, raw: list[Any], options: list[tuple[Any, str]]) -> Parameter:
    """Positions in the space's order of options; what it does not know comes after them."""
    places: dict[Any, int] = {}
    labels: list[str] = []

    def place(value: Any, text: str | None = None) -> int:
        key = (type(value).__name__, repr(value))
        if key not in places:
            places[key] = len(labels)
            labels.append(text if text is not None else _text(value))
        return places[key]

    for code, text in options:
        place(code, text)
    return Parameter(name, label, [math.nan if value is _ABSENT else float(place(value)) for value in raw], labels)


def _text(value: Any) -> str:
    if isinstance(value, dict) and "$opaque" in value:
        value = value["$opaque"]
    index = option_of(value)
    if index is not None:
        return f"option {index}"
    return clipped(number(value if type(value) in SCALARS else label_of(value)), 60)


def _tell_apart(found: Iterable[Parameter]) -> None:
    """Parameters of different options may lie at the same place of the configuration: then they have their own names as labels."""
    places: dict[str, list[Parameter]] = {}
    for parameter in found:
        places.setdefault(parameter.label, []).append(parameter)
    for same in places.values():
        if len(same) > 1:
            for parameter in same:
                parameter.label = parameter.name


def _walk(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, _Described]]:
    """(name, what is said of it) of all parameters below a node of a description; ``path``: in the configuration."""
    for key, child in node.get("dict", ()):
        yield from _walk(child, f"{path}/{key}" if path else str(key))
    for index, child in enumerate(node.get("list", ())):
        yield from _walk(child, f"{path}/{index}" if path else str(index))
    if "variable" in node:
        options = [({"$option": index}, _option(option, path, index)) for index, option in enumerate(node.get("options", ()))]
        yield node["variable"], _Described(path or node["variable"], {}, options)
    if "param" in node:
        domain = node["domain"]
        given = domain.get("options")
        options = [(code, _option(option, path, index)) for index, (code, option) in enumerate(node.get("options", ()))]
        if not options and isinstance(given, list | tuple):
            options = [(value, _text(value)) for value in given]
        yield node["param"], _Described(path or node["param"], domain, options)
        for _, option in node.get("options", ()):
            yield from _walk(option, path)


def _option(node: Mapping[str, Any], path: str, index: int) -> str:
    """An option in a few words: its value, or the scalar constants in it."""
    if "const" in node:
        return _text(node["const"])
    if "repr" in node:
        return clipped(str(node["repr"]), 60)
    entries = [
        f"{key}={_text(child['const'])}"
        for key, child in node.get("dict", ())
        if "const" in child and not is_secret(f"{path}/{key}" if path else str(key), child["const"])
    ]
    return ", ".join(entries[:3]) if entries else f"option {index}"

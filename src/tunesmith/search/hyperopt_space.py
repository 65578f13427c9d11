"""A space of ours in HyperOpt's terms, and the way back from configs of HyperOpt's own spaces."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.search.foreign_parts import codes_of, place_of
from tunesmith.space import Categorical, Float, Integer, Normal
from tunesmith.space.nodes import Leaf
from tunesmith.space.parse import Group

__all__ = ["Converter", "Inverse", "expressions", "listed", "paths", "plain", "taken"]


class Converter:
    """A space of ours in HyperOpt's terms: the label of a parameter is its name."""

    def __init__(self, hp: Any) -> None:
        self._hp = hp

    def group(self, group: Group) -> dict[str, Any]:
        """The expression for all that exists at one level."""
        found = {leaf.name: self._leaf(leaf) for leaf in group.leaves}
        for choice in group.choices:
            options = [self.group(below) or index for index, below in enumerate(group.below[choice.name])]
            found[choice.name] = self._hp.choice(choice.name, options)
        return found

    def _leaf(self, leaf: Leaf) -> Any:
        hp, name, domain = self._hp, leaf.name, leaf.domain
        if isinstance(domain, Categorical):
            return hp.choice(name, list(range(len(domain.categories))))
        if isinstance(domain, Normal):
            return hp.normal(name, domain.mean, domain.sd) if domain.q is None else hp.qnormal(name, domain.mean, domain.sd, domain.q)
        assert isinstance(domain, Float | Integer)
        low, high, q = _limits(domain)
        if domain.log:
            low, high = math.log(low), math.log(high)
            return hp.loguniform(name, low, high) if q is None else hp.qloguniform(name, low, high, q)
        return hp.uniform(name, low, high) if q is None else hp.quniform(name, low, high, q)

    @staticmethod
    def values(drawn: Mapping[str, Any], nodes: Mapping[str, Leaf]) -> dict[str, Any]:
        """What was drawn as values of the space."""
        return {label: _value(nodes[label], value) for label, value in drawn.items()}

    @staticmethod
    def drawn(values: Mapping[str, Any], nodes: Mapping[str, Leaf]) -> dict[str, Any]:
        """The inverse; computed values and overlays are nothing to HyperOpt."""
        found: dict[str, Any] = {}
        for name, value in values.items():
            leaf = nodes.get(name)
            if leaf is not None and isinstance(leaf.domain, Categorical):
                found[name] = place_of(leaf, value)
            elif leaf is not None and isinstance(leaf.domain, Float | Integer | Normal):
                found[name] = float(value)
        return found


def _limits(domain: Float | Integer) -> tuple[float, float, float | None]:
    """Limits before rounding, and the step: half a step more than the domain on both sides, so that its ends are as likely as the rest."""
    q: float | None = domain.q if isinstance(domain, Float) else domain.q or 1
    last = domain.last if isinstance(domain, Integer) else domain.upper
    if q is None:
        return domain.lower, last, None
    # a logarithm needs a positive end; half of the lowest value is what is left of the step there
    low = max(domain.lower - q / 2, domain.lower / 2) if domain.log else domain.lower - q / 2
    return low, last + q / 2, q


def _value(leaf: Leaf, drawn: Any) -> Any:
    domain = leaf.domain
    if isinstance(domain, Categorical):
        return codes_of(leaf)[int(drawn)]
    if isinstance(domain, Integer):
        step = domain.q or 1
        return min(max(round(drawn / step) * step, domain.lower), domain.last)
    assert isinstance(domain, Float | Normal)
    value = float(drawn)
    if domain.q is not None:
        value = float(round(round(value / domain.q) * domain.q, 12 - math.floor(math.log10(domain.q))))
    return value if isinstance(domain, Normal) else min(max(value, domain.lower), domain.upper)


class Inverse:
    """From a config back to what was drawn for it: through dicts, lists, choices and plain parameters of an ``hp`` space.

    Args:
        library: the module hyperopt.
        partial: it is a user's point: entries may be missing, others than there are must be in ``around``, and numbers within bounds.

    Attributes:
        found: label -> value.
    """

    def __init__(self, library: Any, partial: bool = False) -> None:
        self._library = library
        self._partial = partial
        self.found: dict[str, Any] = {}

    def match(self, node: Any, given: Any, around: Any = None) -> None:
        """Find what ``given``, the value of the expression ``node``, was made of.

        Args:
            node, given: these two.
            around: what the config has at this place beside the space.

        Raises:
            SpaceError: it cannot be a value of it, or ``node`` is an expression that cannot be undone.
        """
        if isinstance(node, self._library.pyll.Literal):
            if not bool(node.obj == given):
                raise SpaceError(f"{given!r} was given where the space has {node.obj!r}.")
        elif node.name == "dict":
            self._entries(dict(node.named_args), given, Mapping, around)
        elif node.name == "pos_args":
            self._entries(dict(enumerate(node.pos_args)), given, (list, tuple), None)
        elif node.name == "switch":
            self._choose(node, given, around)
        elif node.name == "hyperopt_param":
            if self._partial:
                _check_number(node, given)
            self.found[node.arg["label"].obj] = given
        elif node.name in ("float", "int"):
            self.match(node.inputs()[0], given, around)
        else:
            raise SpaceError(f"{given!r} cannot be traced back through {node.name}().")

    def _entries(self, nodes: Mapping[Any, Any], given: Any, kind: Any, around: Any) -> None:
        entries = dict(enumerate(given)) if isinstance(given, list | tuple) else given
        if self._partial and isinstance(given, Mapping) and kind is not Mapping:  # from flat names: "layers/0"
            entries = {int(index) if index.isdecimal() else index: entry for index, entry in given.items()}
        elif not isinstance(given, kind) or (not self._partial and nodes.keys() - entries.keys()):
            raise SpaceError(f"{given!r} is not what the space has there.")
        beside = around if isinstance(around, Mapping) else {}
        for key in [key for key in entries if key not in nodes] if self._partial else ():
            if key not in beside:
                raise SpaceError(f"the space has no entry {key!r}; it has {', '.join(map(str, nodes))} there.")
            if not bool(beside[key] == entries[key]):
                raise SpaceError(f"{key!r} is the constant {beside[key]!r} of the config, but {entries[key]!r} was given.")
        for key, node in nodes.items():
            if key in entries:
                self.match(node, entries[key], beside.get(key))

    def _choose(self, node: Any, given: Any, around: Any) -> None:
        self.found[node.inputs()[0].arg["label"].obj] = self.option(node, given, around)

    def option(self, node: Any, given: Any, around: Any = None) -> int:
        """Which option of a choice ``given`` is; what is in it is found, too.

        Raises:
            SpaceError: it is none.
        """
        which, *options = node.inputs()
        for index, option in enumerate(options):
            inner = Inverse(self._library, self._partial)
            try:
                inner.match(option, given, around)
            except SpaceError:
                continue
            self.found.update(inner.found)
            return index
        raise SpaceError(f"{given!r} is none of the options of {which.arg['label'].obj!r}: {', '.join(map(self._shown, options))}.")

    def _shown(self, option: Any) -> str:
        """An option as it would be written, what is drawn in it left out."""
        if isinstance(option, self._library.pyll.Literal):
            return repr(option.obj)
        if option.name == "dict":
            return "{" + ", ".join(f"{key!r}: {self._shown(entry)}" for key, entry in option.named_args) + "}"
        return f"[{', '.join(map(self._shown, option.pos_args))}]" if option.name == "pos_args" else "..."


def _check_number(node: Any, given: Any) -> None:
    """Refuse what a plain parameter cannot be. Bounds that are expressions themselves are not looked at."""
    label, drawn = node.arg["label"].obj, node.inputs()[1]
    if isinstance(given, bool) or not isinstance(given, numbers.Real) or not math.isfinite(given):
        raise SpaceError(f"{given!r} is not a number, and {label!r} is drawn from {drawn.name}.")
    bounds: list[Any] = [getattr(drawn.arg.get(name), "obj", None) for name in ("low", "high", "q")]
    low, high, q = bounds
    if drawn.name == "randint" and low is not None:
        low, high = (0, low - 1) if high is None else (low, high - 1)
    if low is None or high is None:  # a normal one has none
        return
    if drawn.name in ("loguniform", "qloguniform"):
        low, high = math.exp(low), math.exp(high)
    slack = (q or 0) / 2 + 1e-9 * (abs(low) + abs(high))  # it is drawn, and then rounded
    if not low - slack <= given <= high + slack or (drawn.name == "randint" and given % 1):
        raise SpaceError(f"{given!r} cannot be drawn for {label!r}: {drawn.name} from {low:g} to {high:g}.")


def expressions(config: Mapping[Any, Any], kind: type) -> dict[Any, Any] | None:
    """The part of a config that has expressions in it; lists are taken whole. None: there are none."""
    found: dict[Any, Any] = {}
    for key, entry in config.items():
        if isinstance(entry, Mapping):
            inner = expressions(entry, kind)
            if inner is not None:
                found[key] = inner
        elif isinstance(entry, kind) or _holds(entry, kind):
            found[key] = entry
    return found or None


def _holds(entry: Any, kind: type) -> bool:
    if isinstance(entry, Mapping):
        return any(_holds(each, kind) for each in entry.values())
    if isinstance(entry, list | tuple):
        return any(_holds(each, kind) for each in entry)
    return isinstance(entry, kind)


def paths(node: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Label and path in the config of all parameters of an expression."""
    if node.name == "hyperopt_param":
        yield node.arg["label"].obj, "/".join(keys)
    elif node.name == "dict":
        for key, entry in node.named_args:
            yield from paths(entry, (*keys, str(key)))
    elif node.name == "pos_args":
        for index, entry in enumerate(node.pos_args):
            yield from paths(entry, (*keys, str(index)))
    else:
        for entry in node.inputs():
            yield from paths(entry, keys)


def taken(node: Any, drawn: Mapping[str, Any]) -> Iterator[str]:
    """Labels of the parameters that exist in the configuration of ``drawn``."""
    if node.name == "hyperopt_param":
        yield node.arg["label"].obj
    elif node.name == "switch":
        which, *options = node.inputs()
        yield from taken(which, drawn)
        yield from taken(options[int(drawn[which.arg["label"].obj])], drawn)
    else:
        for entry in node.inputs():
            yield from taken(entry, drawn)


def listed(value: Any) -> Any:
    """HyperOpt makes tuples of all lists; here they become lists again."""
    if isinstance(value, Mapping):
        return {key: listed(entry) for key, entry in value.items()}
    return [listed(entry) for entry in value] if isinstance(value, list | tuple) else value


def plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value

"""From configs, whole or partial, back to values: what searchers suggest, and the points that users want evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.errors import SpaceError
from tunesmith.space.compute import as_json
from tunesmith.space.domains import Domain, Float, same
from tunesmith.space.nodes import SCALARS, Branch, Choice, Computed, Constant, Items, Keys, Leaf, Node, Variable, label_of, plain, show

__all__ = ["as_recorded", "code_of", "match", "match_choice", "place_among"]


def match(root: Branch, config: Mapping[Any, Any], strict: bool) -> dict[str, Any]:
    """Values of the parameters that ``config`` gives; see :meth:`Space.values_from`."""
    if not isinstance(config, Mapping):
        raise SpaceError(f"config: expected a dict of parameters, got {type(config).__name__} {config!r}.")
    values: dict[str, Any] = {}
    nested: dict[Any, Any] = {}
    for key, given in config.items():
        if isinstance(key, str) and "/" in key and key not in root.children:
            _nest(nested, key.split("/"), given)
        else:
            nested[key] = given
    _match_branch(root, nested, values, strict)
    return values


def _nest(nested: dict[Any, Any], parts: list[str], given: Any) -> None:
    for part in parts[:-1]:
        inner = nested.get(part)
        nested[part] = dict(inner) if isinstance(inner, Mapping) else {}
        nested = nested[part]
    nested[parts[-1]] = given


def _match(node: Node, given: Any, values: dict[str, Any], strict: bool) -> None:
    if isinstance(node, Variable):
        if not same(node.value, given):
            values[node.name] = code_of(node, given)
    elif isinstance(node, Constant):
        _match_constant(node, given, values, strict)
    elif isinstance(node, Branch):
        if not isinstance(given, Mapping):
            raise SpaceError(f"{show(node.keys)}: expected a dict with entries of the space, got {type(given).__name__} {given!r}.")
        _match_branch(node, given, values, strict)
    elif isinstance(node, Items):
        _match_items(node, given, values, strict)
    elif isinstance(node, Choice):
        match_choice(node, given, values)
    elif isinstance(node, Computed):
        values[node.name] = as_recorded(node.keys, given)
    elif isinstance(node, Leaf):
        values[node.name] = _member(node, plain(given))


def _match_branch(node: Branch, given: Mapping[Any, Any], values: dict[str, Any], strict: bool) -> None:
    by_text = {str(key): child for key, child in node.children.items()}
    for key, entry in given.items():
        child = node.children.get(key) or by_text.get(str(key))
        if child is not None:
            _match(child, entry, values, strict)
        elif strict:
            import difflib  # only on the way to an error: it is not cheap to import

            close = difflib.get_close_matches(str(key), by_text, 1)
            hint = f'did you mean "{close[0]}"?' if close else f"it has {', '.join(by_text) or 'no entries'}."
            raise SpaceError(f"{show((*node.keys, key))}: the space has no such entry; {hint}")
        else:
            _extra((*node.keys, key), entry, values)


def _match_items(node: Items, given: Any, values: dict[str, Any], strict: bool) -> None:
    if isinstance(given, Mapping) and given and all(str(index).isdecimal() for index in given):  # from flat keys: "layers/0"
        pairs = [(int(index), entry) for index, entry in given.items()]
    elif isinstance(given, list | tuple):
        pairs = list(enumerate(given))
    else:
        raise SpaceError(f"{show(node.keys)}: expected a list of {len(node.children)}, got {type(given).__name__} {given!r}.")
    for index, entry in pairs:
        if index >= len(node.children):
            raise SpaceError(f"{show(node.keys)}: has {len(node.children)} elements, but a value for number {index} was given.")
        _match(node.children[index], entry, values, strict)


def _match_constant(node: Constant, given: Any, values: dict[str, Any], strict: bool) -> None:
    if same(node.value, given):
        return
    if strict:
        raise SpaceError(f"{show(node.keys)}: is the constant {node.value!r}, but {given!r} was given. Make it a choice to vary it.")
    _extra(node.keys, given, values)


def _extra(keys: Keys, given: Any, values: dict[str, Any]) -> None:
    if isinstance(given, Mapping) and given:
        for key, entry in given.items():
            _extra((*keys, key), entry, values)
    else:
        values["/".join(map(str, keys))] = as_recorded(keys, given)


def code_of(node: Variable, given: Any) -> Any:
    """How ``given`` is recorded as the value of a variable.

    Raises:
        SpaceError: it is neither JSON nor one of its options.
    """
    if (index := place_among(node.options, given)) is not None:
        return {"$option": index}
    return as_recorded(node.keys, given)


def place_among(options: Sequence[Any], given: Any) -> int | None:
    """Which of the options it is: the same, or of objects (such as were stored, and are copies now) the only one of that label."""
    given = plain(given)
    exact = [index for index, option in enumerate(options) if type(option) is type(given) and same(option, given)]
    if exact or type(given) in SCALARS:
        return exact[0] if exact else None
    labels = [label_of(option) for option in options]
    return labels.index(label_of(given)) if labels.count(label_of(given)) == 1 else None


def as_recorded(keys: Keys, given: Any) -> Any:
    """``given`` as JSON.

    Raises:
        SpaceError: it cannot be recorded; names the entry.
    """
    value = as_json(given)
    if value is None and given is not None:
        kind = type(given).__name__
        raise SpaceError(f"{show(keys)}: expected a number, a text, or lists and dicts of these as its value, got {kind} {given!r}.")
    return value


def _member(leaf: Leaf, given: Any) -> Any:
    """``given`` as a value of the leaf's domain."""
    domain = leaf.domain
    if hasattr(domain, "categories"):
        exact = [option for option in domain.categories if type(option) is type(given) and same(option, given)]
        found = exact or [option for option in domain.categories if same(option, given)]
        if found:
            return found[0]
        raise SpaceError(f"{show(leaf.keys)}: {given!r} is none of its options {list(domain.categories)!r}.")
    value = _into_bounds(domain, given)
    if not domain.is_valid(value):
        note = " (its upper bound is exclusive)" if value == getattr(domain, "upper", None) else ""
        raise SpaceError(f"{show(leaf.keys)}: {given!r} is not in {domain!r}{note}.")
    return domain.cast(value)


def _into_bounds(domain: Domain, value: Any) -> Any:
    """A float that misses a bound by a rounding error, as logarithms and inverses do, as that bound; what lies inside stays as it is."""
    if isinstance(domain, Float) and isinstance(value, float) and not domain.lower <= value <= domain.upper:
        for bound in (domain.lower, domain.upper):
            if math.isclose(value, bound, rel_tol=1e-12, abs_tol=0.0):
                return bound
    return value


def match_choice(node: Choice, given: Any, values: dict[str, Any]) -> None:
    """Put the code of the option that ``given`` is, and the values of what is drawn in that, into ``values``.

    Raises:
        SpaceError: it is none.
    """
    given = plain(given)
    for index, option in enumerate(node.domain.categories):
        if same(option, given) and (type(option) is type(given) or type(option) not in SCALARS):
            values[node.name] = node.codes[index]
            return
    misfits = []
    fits: list[tuple[bool, bool, int, dict[str, Any]]] = []
    for index, tree in enumerate(node.options):
        if isinstance(tree, Constant):
            continue
        found: dict[str, Any] = {}
        try:
            _match(tree, given, found, True)
        except SpaceError as error:
            misfits.append(str(error))
        else:
            rather_a_dict = isinstance(tree, Items) and isinstance(given, Mapping)
            fits.append((not _covers(tree, given), rather_a_dict, index, found))
    if not fits:
        why = f" ({misfits[0]})" if len(misfits) == 1 else ""
        raise SpaceError(f"{show(node.keys)}: {given!r} fits none of its {len(node.options)} options{why}.")
    *_, index, found = min(fits, key=lambda fit: fit[:3])  # the first that is given whole, else the first that is given in part
    values[node.name] = node.codes[index]
    values.update(found)


def _covers(node: Node, given: Any) -> bool:
    """Whether ``given``, which fits, leaves nothing of the node open."""
    if isinstance(node, Branch):
        texts = {str(key): entry for key, entry in given.items()}
        return all(str(key) in texts and _covers(child, texts[str(key)]) for key, child in node.children.items())
    if isinstance(node, Items):
        return len(given) == len(node.children) and (
            isinstance(given, Mapping) or all(_covers(child, entry) for child, entry in zip(node.children, given, strict=True))
        )
    if isinstance(node, Choice):
        return any(same(option, given) for option in node.domain.categories) or any(
            _covers(tree, given) for tree in node.options if not isinstance(tree, Constant) and _fits(tree, given)
        )
    return True


def _fits(node: Node, given: Any) -> bool:
    try:
        _match(node, given, {}, True)
    except SpaceError:
        return False
    return True

"""Resource requests: what one attempt of a trial holds while it runs, from any of the forms that users write."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tunesmith.core.placement import UNIT, Pool, request_of, worded
from tunesmith.errors import SpecError
from tunesmith.hints import did_you_mean

__all__ = [
    "Bundled", "PlacementGroupFactory", "amounts", "bundles_of", "refuse_impossible", "resource_request", "resources_from", "unasked_gpus",
    "whole_cards",
]  # fmt: skip

Sums = TypeVar("Sums", bound=dict[str, float])
_NAMES = {"CPU": "cpu", "GPU": "gpu", "extra_cpu": "cpu", "extra_gpu": "gpu"}
_NESTED = ("custom_resources", "extra_custom_resources")


class PlacementGroupFactory:
    """A request in bundles, as Ray users write it.

    The first bundle is for the trial's own process and may be empty; the others are for what it starts.
    On one machine a trial holds the sum of all bundles; ``strategy`` matters on clusters only.

    Args:
        bundles: at least one mapping of resource name to amount (>= 0), e.g. ``[{"cpu": 1}, {"cpu": 2, "gpu": 1}]``.
        strategy: ``PACK``, ``SPREAD``, ``STRICT_PACK`` or ``STRICT_SPREAD``.

    Raises:
        SpecError: no bundle, an unknown strategy, or an amount that is no number or negative.

    Example:
        >>> PlacementGroupFactory([{"CPU": 1}, {"CPU": 0.5, "GPU": 1}]).required_resources
        {'cpu': 1.5, 'gpu': 1.0}
    """

    def __init__(self, bundles: Sequence[Mapping[str, float]], strategy: str = "PACK") -> None:
        if isinstance(bundles, Mapping | str) or not isinstance(bundles, Sequence) or not bundles:
            raise SpecError(f"PlacementGroupFactory takes a list of at least one bundle such as [{{'cpu': 1}}], got {bundles!r}.")
        if strategy not in ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"):
            raise SpecError(f"PlacementGroupFactory: strategy must be PACK, SPREAD, STRICT_PACK or STRICT_SPREAD, got {strategy!r}.")
        self.bundles = [amounts(bundle, "a bundle of PlacementGroupFactory") for bundle in bundles]
        self.strategy = strategy

    @property
    def head_bundle_is_empty(self) -> bool:
        """Whether the trial's own process asks for nothing."""
        return not any(self.bundles[0].values())

    @property
    def head_cpus(self) -> float:
        """CPUs of the first bundle."""
        return self.bundles[0].get("cpu", 0.0)

    @property
    def required_resources(self) -> dict[str, float]:
        """The sum over all bundles."""
        total: dict[str, float] = {}
        for bundle in self.bundles:
            for name, amount in bundle.items():
                total[name] = total.get(name, 0.0) + amount
        return total

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlacementGroupFactory):
            return NotImplemented
        return self.bundles == other.bundles and self.strategy == other.strategy

    def __hash__(self) -> int:
        return hash((tuple(tuple(sorted(bundle.items())) for bundle in self.bundles), self.strategy))

    def __repr__(self) -> str:
        return f"PlacementGroupFactory({self.bundles!r}, strategy={self.strategy!r})"


class Bundled(dict[str, float]):
    """The sums of a request in bundles, which knows these, too.

    Args:
        request: with ``bundles`` and ``strategy``.

    Example:
        >>> request = Bundled(PlacementGroupFactory([{"cpu": 1}, {"cpu": 2}], strategy="SPREAD"))
        >>> request, request.bundles, request.strategy
        ({'cpu': 3.0}, ({'cpu': 1.0}, {'cpu': 2.0}), 'SPREAD')
    """

    def __init__(self, request: Any, owner: str = "resources_per_trial") -> None:
        self.bundles = tuple(amounts(bundle, f"a bundle of {owner}") for bundle in request.bundles)
        self.strategy = str(request.strategy)
        for bundle in self.bundles:
            for name, amount in whole_cards(bundle, f"a bundle of {owner}").items():
                self[name] = self.get(name, 0.0) + amount

    def __reduce__(self) -> Any:
        return Bundled, (PlacementGroupFactory(self.bundles, self.strategy),)


def bundles_of(request: Any, resources: Mapping[str, float]) -> tuple[tuple[dict[str, float], ...], str]:
    """The bundles and the strategy of a request, if it has any and sums up to ``resources``; else none: it is one bundle.

    Example:
        >>> bundles_of(Bundled(PlacementGroupFactory([{"cpu": 1}, {"cpu": 2}])), {"cpu": 3.0})
        (({'cpu': 1.0}, {'cpu': 2.0}), 'PACK')
        >>> bundles_of({"cpu": 3.0}, {"cpu": 3.0})
        ((), 'PACK')
    """
    if isinstance(request, Bundled) and len(request.bundles) > 1 and request_of(request) == request_of(resources):
        return request.bundles, request.strategy
    return (), "PACK"


def resources_from(request: Any, owner: str = "resources_per_trial") -> dict[str, float]:
    """The plain sums of one request: names ``cpu``, ``gpu``, ``memory`` (bytes) or any custom one, to amounts.

    A mapping that does not mention ``cpu`` takes one CPU, also beside a GPU; write ``"cpu": 0`` for none. In a
    ``PlacementGroupFactory`` nothing is added. ``extra_cpu``, ``extra_gpu`` add to ``cpu`` and ``gpu``;
    ``custom_resources`` holds further names.

    Args:
        request: None, a mapping, or a :class:`PlacementGroupFactory`.
        owner: what the message calls it.

    Raises:
        SpecError: another type; an amount that is no number, negative, infinite or nan; more than one GPU, but no whole number.

    Example:
        >>> resources_from({"gpu": 0.5, "license": 1})
        {'gpu': 0.5, 'license': 1.0, 'cpu': 1.0}
        >>> resources_from(None)
        {'cpu': 1.0}
    """
    if request is None:
        return {"cpu": 1.0}
    if hasattr(request, "bundles") and hasattr(request, "strategy"):
        return whole_cards(request if isinstance(request, Bundled) else Bundled(request, owner), f"the bundles of {owner} in all")
    total = whole_cards(amounts(request, owner), owner)
    total.setdefault("cpu", 1.0)
    return total


def resource_request(request: Any, owner: str = "resources_per_trial") -> dict[str, float] | Callable[[dict[str, Any]], dict[str, float]]:
    """As :func:`resources_from`, but a callable ``config -> request`` stays one, with its answers checked the same way."""
    if callable(request) and not hasattr(request, "bundles"):
        return PerConfig(request, owner)
    return resources_from(request, owner)


class PerConfig:
    """A resource request that depends on the trial's config (picklable if the user's function is)."""

    def __init__(self, function: Callable[[dict[str, Any]], Any], owner: str) -> None:
        self.function, self.owner = function, owner

    def __call__(self, config: dict[str, Any]) -> dict[str, float]:
        return resources_from(self.function(config), f"what the function given as {self.owner} returned")


def amounts(request: Any, owner: str) -> dict[str, float]:
    """A mapping of names to amounts with all names in their one form, and nothing added.

    Raises:
        SpecError: no mapping, or an amount that is no finite number >= 0.
    """
    if not isinstance(request, Mapping):
        raise SpecError(
            f"{owner} must be a dict such as {{'cpu': 2, 'gpu': 0.5}}, a PlacementGroupFactory or a function of the config "
            f"that returns one; got {type(request).__name__} {request!r}."
        )
    total: dict[str, float] = {}
    for name, amount in request.items():
        if name in _NESTED:
            for custom, value in amounts(amount or {}, f"{owner}[{name!r}]").items():
                total[custom] = total.get(custom, 0.0) + value
            continue
        if not isinstance(name, str) or isinstance(amount, bool) or not _is_amount(amount):
            raise SpecError(f"{owner}[{name!r}] must be a finite number >= 0, got {amount!r}.")
        key = _NAMES.get(name, name)
        total[key] = total.get(key, 0.0) + float(amount)
    return total


def whole_cards(total: Sums, owner: str) -> Sums:
    """``total``, if its GPUs can be given: a part of one card, or whole cards.

    Raises:
        SpecError: they cannot.
    """
    gpus = round(total.get("gpu", 0.0) * UNIT)
    if gpus > UNIT and gpus % UNIT:
        raise SpecError(
            f"{owner}: 'gpu' must be a part of one card (up to 1) or a whole number of cards, got {total['gpu']:g}. "
            f"Ask for {math.ceil(total['gpu'])}, or for a fraction."
        )
    return total


def refuse_impossible(request: Mapping[str, float], totals: Mapping[str, float]) -> None:
    """Refuse a request that every trial makes and that what there is can never meet.

    Args:
        request: of each trial.
        totals: all that the executor has.

    Raises:
        SpecError: names what is asked for, what there is, and how to say that there is more.

    Example:
        >>> refuse_impossible({"licence": 1.0}, {"license": 2.0})
        Traceback (most recent call last):
        ...
        tunesmith.errors.SpecError: No trial could ever start: each asks for licence 1; there is license 2 in all. Did you mean 'license'?
    """
    pool = Pool()
    pool.resize(totals)
    lacking = [name for name, amount in request_of(request) if not pool.possible(((name, amount),))]
    if not lacking:
        return
    advice = [_advice(name, request[name], totals) for name in lacking]
    raise SpecError(f"No trial could ever start: each asks for {worded(request)}; there is {pool.whole()}.{''.join(advice)}")


def unasked_gpus(request: Mapping[str, float], totals: Mapping[str, float]) -> str:
    """A word to those who have GPUs and no trial that asks for one; "" to all others.

    Example:
        >>> unasked_gpus({"cpu": 1.0, "gpu": 0.5}, {"cpu": 4.0, "gpu": 1.0})
        ''
    """
    count = totals.get("gpu", 0.0)
    if not count or request.get("gpu"):
        return ""
    there = "there is 1 GPU" if count == 1 else f"there are {count:g} GPUs"
    return (
        f"{there}, and trials do not see them, since they ask for none. To give each trial one: resources_per_trial={{'gpu': 1}}; "
        "to let two share one: {'gpu': 0.5}."
    )


def _advice(name: str, amount: float, totals: Mapping[str, float]) -> str:
    if name not in totals and (hint := did_you_mean(name, totals)):
        return hint
    variable = {"cpu": f"TUNESMITH_NUM_CPUS={amount:g}", "gpu": f"TUNESMITH_NUM_GPUS={amount:g}"}.get(name)
    say = "set " + (variable or f"TUNESMITH_RESOURCES='{json.dumps({name: amount})}'")
    if name == "gpu" and (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return f" CUDA_VISIBLE_DEVICES={visible!r} says which GPUs may be used; change or unset it if there are more."
    if not totals.get(name):
        return f" Leave {name!r} out, or, if there is some, {say}."
    return f" Ask for less of {name!r}, or, if there is more, {say}."


def _is_amount(value: Any) -> bool:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, str) and math.isfinite(number) and number >= 0

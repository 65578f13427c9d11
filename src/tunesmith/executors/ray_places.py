"""Where attempts run on a Ray cluster: requests in Ray's words, and placement groups that hold what they ask for.

A *place* is a placement group. It outlives the actor in it: where each attempt needs a process of its own, the next one's takes the place
of the last one's at once. What a trial asks for is held by the place; its actor takes from it only what it must (GPUs, to be told which).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from operator import ge
from typing import Any

from tunesmith.core.placement import UNIT, worded

__all__ = ["Key", "Place", "Places", "actor_options", "key_of", "lacking", "largest", "lends", "sums", "totals"]

_TO_RAY = {"cpu": "CPU", "gpu": "GPU"}
_FROM_RAY = {"CPU": "cpu", "GPU": "gpu"}
_WHOLE = ("memory", "object_store_memory")
_INTERNAL = re.compile(r"_group_([0-9]+_)?[0-9a-f]{20,}$|^node:__internal_head__$|^object_store_memory$")

Key = tuple[tuple[tuple[tuple[str, float], ...], ...], str]
"""Bundles (sorted pairs of Ray's name and amount) and strategy; equal requests have equal ones."""


def key_of(resources: Mapping[str, float], bundles: Sequence[Mapping[str, float]] = (), strategy: str = "PACK") -> Key:
    """What a request is to Ray.

    Args:
        resources: its sums, by our names.
        bundles: its parts; empty: it is one.

    Example:
        >>> key_of({"cpu": 2.0, "gpu": 0.5})
        (((('CPU', 2.0), ('GPU', 0.5)),), 'PACK')
    """
    named = []
    for bundle in bundles or (resources,):
        rounded = {_TO_RAY.get(name, name): round(amount * UNIT) / UNIT for name, amount in bundle.items()}
        named.append(tuple(sorted((name, amount) for name, amount in rounded.items() if amount > 0)))
    return tuple(named), strategy


def sums(key: Key) -> dict[str, float]:
    """All that a place of this kind holds, by our names."""
    total: dict[str, float] = {}
    for bundle in key[0]:
        for name, amount in bundle:
            name = _FROM_RAY.get(name, name)
            total[name] = total.get(name, 0.0) + amount
    return total


def totals(cluster: Mapping[str, float]) -> dict[str, float]:
    """What a cluster has, by our names; what Ray counts for itself is left out.

    Example:
        >>> totals({"CPU": 4.0, "node:10.0.0.1": 1.0, "CPU_group_0_8f9685c1dadeaefd13e099234acb01000000": 1.0, "object_store_memory": 1e9})
        {'cpu': 4.0, 'node:10.0.0.1': 1.0}
    """
    found = {_FROM_RAY.get(name, name): float(amount) for name, amount in cluster.items() if not _INTERNAL.search(name)}
    return {"cpu": 0.0, **found}


def largest(nodes: Iterable[Mapping[str, Any]], cluster: Mapping[str, float]) -> tuple[dict[str, float], ...]:
    """What single nodes have that are alive, without those that another one exceeds; memory and the nodes' own names left out.

    Args:
        nodes: as ``ray.nodes()`` tells of them.
        cluster: the totals, by our names.

    Example:
        >>> nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": True, "Resources": {"CPU": 2.0}}]
        >>> largest([*nodes, {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}}], {"cpu": 8.0, "gpu": 1.0})
        ({'cpu': 2.0, 'gpu': 1.0}, {'cpu': 4.0, 'gpu': 0.0})
    """
    names = sorted(name for name in cluster if name != "memory" and not name.startswith("node:"))
    kinds = {tuple(totals(node["Resources"]).get(name, 0.0) for name in names) for node in nodes if node["Alive"]}
    best = [one for one in kinds if not any(other != one and all(map(ge, other, one)) for other in kinds)]
    return tuple(dict(zip(names, one, strict=True)) for one in sorted(best))


def lends(key: Key) -> bool:
    """Whether another attempt can have the place of one that is held in memory: its actor takes nothing of it itself."""
    return len(key[0]) == 1 and "GPU" not in dict(key[0][0])


class Place:
    """Room for one attempt.

    Attributes:
        key: what it holds.
        group: the placement group; None: it holds nothing.
        taken: an attempt, or a worker that waits for one, has it; ``free_since``: the moment when it was last given back.
        heir: a worker that was made in it for whoever has it next; a ``Hand``.
        residents: how many actors live in it; ``leaving``: how many of them are about to end. They would die with the group.
    """

    def __init__(self, key: Key, group: Any) -> None:
        self.key = key
        self.group = group
        self.taken = True
        self.free_since = 0.0
        self.heir: Any = None
        self.residents = self.leaving = 0


class Places:
    """All places of one executor.

    Args:
        ray: the module.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._places: dict[Place, None] = {}  # in the order in which they were asked for

    def add(self, key: Key) -> Place:
        """A new one. Ray gives it its resources when it can."""
        bundles = [dict(bundle) for bundle in key[0] if bundle]
        group = None
        if bundles:
            from ray.util.placement_group import placement_group

            for bundle in bundles:
                bundle.update({name: int(amount) for name, amount in bundle.items() if name in _WHOLE})
            group = placement_group(bundles, strategy=key[1])
        place = Place(key, group)
        self._places[place] = None
        return place

    def free_one(self, key: Key) -> Place | None:
        """One of that kind that nobody is in; it is taken from here on."""
        for place in self._places:
            if place.key == key and not place.taken:
                place.taken = True
                return place
        return None

    def free(self, place: Place) -> None:
        """Nobody is in it any more."""
        place.taken = False
        place.free_since = time.monotonic()

    def remove(self, place: Place) -> None:
        """Give its resources back to Ray."""
        if place in self._places:
            del self._places[place]
            if place.group is not None:
                from ray.util.placement_group import remove_placement_group

                remove_placement_group(place.group)

    def is_there(self, place: Place) -> bool:
        """Whether Ray has given it what it is to hold."""
        if place.group is None:
            return True
        from ray.util.placement_group import placement_group_table

        return bool(placement_group_table(place.group).get("state") == "CREATED")

    def oldest(self) -> float | None:
        """Since when a place is free and could be given back."""
        return min((place.free_since for place in self._unused()), default=None)

    def heirs(self, since: float = math.inf) -> list[Any]:
        """Of places that nobody has had since then."""
        return [place.heir for place in self._places if place.heir is not None and not place.taken and place.free_since <= since]

    def tidy(self, since: float = math.inf) -> None:
        """Give back what nobody has had since then."""
        for place in self._unused():
            if not place.residents and place.free_since <= since:
                self.remove(place)

    def over(self, there: Mapping[str, float]) -> bool:
        """Whether they are to hold more than ``there`` is; those that are about to be given back do not count."""
        held: dict[str, float] = {}
        for place in self._places:
            if not place.taken and place.residents == place.leaving:
                continue
            for name, amount in sums(place.key).items():
                held[name] = held.get(name, 0.0) + amount
        return any(amount > there.get(name, 0.0) + 1e-6 for name, amount in held.items())

    def _unused(self) -> list[Place]:
        """Nobody has them, and nobody lives in them who was not made for the next."""
        return [place for place in self._places if not place.taken and place.residents == (place.heir is not None)]

    def close(self) -> None:
        """Give everything back."""
        for place in list(self._places):
            self.remove(place)


def actor_options(place: Place) -> dict[str, Any]:
    """Options of an actor that is to be in that place.

    A trial in one bundle takes no CPU of it: so it can be held in memory while another one runs in its place, and what it starts with Ray
    finds its CPUs elsewhere. One in several is in the first; what it starts is placed in the others.
    """
    bundles = place.key[0]
    several = len(bundles) > 1
    head = dict(bundles[0])
    options: dict[str, Any] = {"num_cpus": head.get("CPU", 0.0) if several else 0, "max_restarts": 0, "max_task_retries": 0}
    if head.get("GPU"):
        options["num_gpus"] = head["GPU"]
    if place.group is not None:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
            place.group, placement_group_bundle_index=0 if head else -1, placement_group_capture_child_tasks=several
        )
    return options


def lacking(key: Key, nodes: Iterable[Mapping[str, Any]], free: Mapping[str, float]) -> str:
    """Why there is no place of that kind yet, for people.

    Args:
        nodes: as ``ray.nodes()`` gives them.
        free: as ``ray.available_resources()`` gives it.

    Example:
        >>> node = {"Alive": True, "Resources": {"CPU": 2.0}}
        >>> lacking(key_of({"cpu": 4.0}), [node, node], {})
        'no node has cpu 4: the largest has 2'
        >>> lacking(key_of({"tpu": 1.0}), [node], {})
        'no node has tpu'
        >>> lacking(key_of({"cpu": 2.0}), [node], {"CPU": 1.0})
        'all that has cpu 2 is in use (free now: cpu 1)'
    """
    alive = [node["Resources"] for node in nodes if node.get("Alive")]
    for bundle in key[0]:
        if any(all(node.get(name, 0.0) >= amount for name, amount in bundle) for node in alive):
            continue
        for name, amount in bundle:
            ours, most = _FROM_RAY.get(name, name), max((node.get(name, 0.0) for node in alive), default=0.0)
            if not most:
                return f"no node has {ours}"
            if most < amount:
                return f"no node has {worded({ours: amount})}: the largest has {worded({ours: most}).removeprefix(ours).strip()}"
        return f"no single node has {worded({_FROM_RAY.get(name, name): amount for name, amount in bundle})}"
    wanted = sums(key)
    return f"all that has {worded(wanted)} is in use (free now: {worded({name: totals(free).get(name, 0.0) for name in wanted})})"

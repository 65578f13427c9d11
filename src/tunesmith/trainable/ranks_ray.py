"""Ranks of a trial that runs on a Ray cluster: in the bundles of its placement group, wherever these are.

Rank 0 is a process beside the trial's own, in the first bundle. Every other one is an actor. It sees the checkpoint that the trial begins
from where storage is shared; else that travels through Ray's object store.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

from tunesmith.checkpoints.checkpoint import Checkpoint
from tunesmith.errors import UserCodeError
from tunesmith.executors.parts import pack, unpack
from tunesmith.executors.ray_surroundings import together
from tunesmith.executors.surroundings import Surroundings
from tunesmith.trainable import session as session_module
from tunesmith.trainable.attendance import Attended
from tunesmith.trainable.homes import set_main
from tunesmith.trainable.place import Place
from tunesmith.trainable.rank import job_of, run_rank
from tunesmith.trainable.ranks import Plan, Start
from tunesmith.trainable.ranks_here import start_here
from tunesmith.trainable.worker import Answer

__all__ = ["OnRay", "on_ray"]

_LOST = -9
_NAMES = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


def on_ray(size: int) -> OnRay | None:
    """Where the ranks of the trial that runs here go; None: it is in no placement group with so many bundles."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    group = ray.util.get_current_placement_group()
    return OnRay(ray, group, size) if group is not None and len(group.bundle_specs) >= size else None


class OnRay:
    """A trial in a placement group.

    Args:
        ray: the module.
        group: the placement group; rank k goes into bundle k.
        size: how many ranks.

    Attributes:
        host: address at which the trial can be reached.
        places: of the ranks.

    Raises:
        UserCodeError: a rank is lost before it has begun. That is no failure of the trial's own.
    """

    def __init__(self, ray: Any, group: Any, size: int) -> None:
        self._ray = ray
        strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        actor = ray.remote(_Rank)
        self._actors = {
            rank: actor.options(
                **_options(group.bundle_specs[rank]), max_restarts=0,
                scheduling_strategy=strategy(group, placement_group_bundle_index=rank, placement_group_capture_child_tasks=True),
            ).remote()
            for rank in range(1, size)
        }  # fmt: skip
        self.host: str = ray.util.get_node_ip_address()
        here = ray.get_runtime_context().get_node_id()
        nodes = [here, *(self._said(rank, actor.node.remote()) for rank, actor in self._actors.items())]
        self.places = [Place(rank, size, nodes[:rank].count(node), nodes.count(node)) for rank, node in enumerate(nodes)]

    def starter(self, rank: int) -> Start:
        """What starts a rank."""
        return start_here if rank == 0 else self._start

    def _start(self, plan: Plan, rank: int) -> Attended:
        actor = self._actors[rank]
        checkpoint = plan.checkpoint
        parts = None
        if checkpoint is not None and not self._said(rank, actor.sees.remote(checkpoint)):
            parts = [self._ray.put(part) for part in pack(checkpoint)]
        surroundings = Surroundings.present().plain()
        return _Remote(self._ray, actor, actor.run.remote(plan.packed(), rank, parts, surroundings, socket.gethostname()))

    def _said(self, rank: int, call: Any) -> Any:
        """What the actor of a rank answers."""
        gone = self._ray.exceptions
        try:
            return self._ray.get(call)
        except (gone.RayActorError, gone.NodeDiedError, gone.WorkerCrashedError) as error:
            for actor in self._actors.values():
                self._ray.kill(actor, no_restart=True)
            if (session := session_module.current()) is not None:
                session.ended = Answer("stop", outcome="worker_lost")
            raise UserCodeError(f"rank {rank} of {len(self._actors) + 1} was lost before it began: {error}") from error


class _Rank:
    """The actor of a rank. Its method runs on the main thread of its process."""

    def node(self) -> str:
        """Where it is."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def sees(self, path: str) -> bool:
        """Whether the directory is there."""
        return os.path.isdir(path)

    def run(self, given: Mapping[str, Any], rank: int, parts: Any, surroundings: tuple[Any, ...], host: str) -> int:
        """Run the rank to its end.

        Args:
            surroundings: of the trial's own process, on the machine ``host``.
        """
        import ray

        together(Surroundings(*surroundings), Surroundings.present(), host == socket.gethostname()).apply({})
        sys.argv = given["argv"]
        set_main(given["main"])
        job = job_of(given, given["places"][rank])
        if parts is None:
            return run_rank(job)
        with tempfile.TemporaryDirectory(prefix="tunesmith_") as scratch:
            folder = os.path.join(scratch, "checkpoint")
            unpack((ray.get(part) for part in parts), folder)
            return run_rank(job, Checkpoint(folder))


class _Remote:
    """A rank in an actor, seen from the trial. It has no signals: what does not hear of a stop is killed."""

    def __init__(self, ray: Any, actor: Any, result: Any) -> None:
        self.is_over = False
        self._ray, self._actor = ray, actor
        self._code = _LOST
        self._closed = False
        self.end, self._told = os.pipe()
        self._thread = threading.Thread(target=self._wait, args=(result,), daemon=True)
        self._thread.start()

    def over(self) -> None:
        self.is_over = True

    def signal(self, number: int) -> None:
        pass

    def kill(self) -> int:
        if not self._closed:
            self._closed = True
            self._ray.kill(self._actor, no_restart=True)
            self._thread.join()
            os.close(self.end)
        return self._code

    def _wait(self, result: Any) -> None:
        """In a thread of its own."""
        try:
            self._code = self._ray.get(result)
        except Exception:
            pass  # its process is lost
        finally:
            os.close(self._told)


def _options(bundle: Mapping[str, float]) -> dict[str, Any]:
    """What an actor takes that fills the bundle."""
    known = {_NAMES[name]: amount for name, amount in bundle.items() if name in _NAMES}
    return {"num_cpus": 0, **known, "resources": {name: amount for name, amount in bundle.items() if name not in _NAMES}}

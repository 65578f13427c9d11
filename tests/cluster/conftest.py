"""A Ray cluster of three nodes on this machine, one for the whole session."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import tunesmith as tune

__all__: list[str] = []

NODES = {"left": 2, "middle": 2, "right": 1}
"""Each node has a custom resource of that name, to place things on it, and so many CPUs."""

_STORE = 100 << 20


class Nodes:
    """The cluster, and its nodes by name.

    Attributes:
        address: for ``ray.init``; this process is connected to it.
    """

    ALL = "all of it"

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address: str = cluster.address
        self._named: dict[str, Any] = {}

    def add(self, name: str, cpus: int = 1, **resources: float) -> None:
        """One more node, with ten of the custom resource ``name``. Returns when Ray knows it."""
        self._named[name] = self._cluster.add_node(
            num_cpus=cpus, num_gpus=resources.pop("gpu", 0), resources={name: 10, **resources}, object_store_memory=_STORE
        )
        self._cluster.wait_for_nodes()

    def all_free(self, seconds: float = 60.0) -> None:
        """Wait until nobody uses a CPU of the cluster: until all of them can be had at once."""
        import ray
        from ray.util import placement_group, remove_placement_group

        group = placement_group([{"CPU": 1}] * int(ray.cluster_resources()["CPU"]), name=self.ALL)
        try:
            ray.get(group.ready(), timeout=seconds)
        finally:
            remove_placement_group(group)

    def remove(self, name: str, *, graceful: bool = False) -> None:
        """Take a node away, with all that runs on it."""
        self._cluster.remove_node(self._named.pop(name), allow_graceful=graceful)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Nodes]:
    """Three nodes ("left", "middle", "right") that no test takes away; this process is connected to them."""
    import ray
    from ray.cluster_utils import Cluster

    home = tempfile.mkdtemp(prefix="ts", dir="/tmp")  # paths of sockets must be short
    # A node that is gone refuses at once, and is known to be after 3 s; one that is only slow, on a busy machine, has a minute.
    times = {"initial_delay_ms": 1000, "period_ms": 500, "timeout_ms": 10_000, "failure_threshold": 6}
    system = {f"health_check_{name}": value for name, value in times.items()}
    os.makedirs("/tmp/ray", exist_ok=True)  # where the cluster's address is left, and which nobody makes when temp_dir is given
    first, *others = NODES.items()
    cluster: Any = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": first[1], "resources": {first[0]: 10}, "object_store_memory": _STORE, "include_dashboard": False,
            "_system_config": system, "temp_dir": home,
        },
    )  # fmt: skip
    nodes = Nodes(cluster)
    try:
        for name, cpus in others:
            nodes.add(name, cpus)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.WARNING, configure_logging=True)
        yield nodes
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(home, ignore_errors=True)
        os.environ.pop("RAY_ADDRESS", None)


class AtStepThree(tune.Callback):
    """Acts once, in a thread of its own, when so many trials have reported their third step; then the gate opens.

    Args:
        trials: how many.
        act: called with trial id -> its result.
        gate: at which they wait.

    Attributes:
        failed: what ``act`` has raised.
    """

    def __init__(self, trials, act, gate):
        self.trials, self.act, self.gate = trials, act, gate
        self.results, self.failed = {}, []

    def on_trial_result(self, iteration, trials, trial, result, **info):
        if result["training_iteration"] == 3:
            self.results.setdefault(trial.trial_id, result)
            if len(self.results) == self.trials:
                self.trials = -1
                threading.Thread(target=self._do).start()

    def _do(self):
        try:
            self.act(self.results)
        except BaseException as error:
            self.failed.append(error)
        self.gate.open()


@pytest.fixture
def at_step_three():
    return AtStepThree

"""PyTorch: the state of a training loop in one call, and trials that train in several processes. Needs ``pip install torch``."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.integration.torch_state import TrainState
from tunesmith.optional import load
from tunesmith.resources import PlacementGroupFactory, amounts
from tunesmith.trainable.base import Bound, TrainableSpec
from tunesmith.trainable.outpost import Outpost
from tunesmith.trainable.ranks import Group
from tunesmith.trainable.ranks_ray import on_ray

__all__ = ["TrainState", "distributed", "prepare_data_loader", "prepare_model"]

_TIMEOUT_S = 1800.0


def distributed(
    train_fn: Any,
    num_workers: int = 2,
    *,
    backend: str | None = None,
    resources_per_worker: Mapping[str, float] | None = None,
    placement_strategy: str = "PACK",
    timeout_s: float | timedelta = _TIMEOUT_S,
    grace_s: float = 3.0,
) -> Any:
    """Make each trial of a function several processes ("ranks") that train together, with ``torch.distributed`` initialised in them.

    Every rank calls ``train_fn`` with the same configuration and the same seed. ``tune.get_context()`` tells it its ``get_world_rank()``,
    ``get_world_size()`` and ``get_local_rank()``. What rank 0 reports (or returns) counts, with its checkpoint. ``tune.report`` of the
    other ranks takes part: it waits for the decision on the same report of rank 0, so that all of them stop together. Either all ranks
    report equally often, or only rank 0 does. Ranks that at a stop wait for others are ended after ``grace_s``. ``tune.get_checkpoint()``
    is the same in all ranks.

    A rank that fails, or whose process is killed, fails the trial, which names it. A trial is over when all of its ranks are.

    The trial's own process only starts and hears the ranks. So it takes ``num_workers`` bundles of resources, the first of them for rank 0,
    and none for itself. On one machine their sum counts. On Ray the other ranks run in the other bundles of the trial's placement group.
    With GPUs the CUDA device of each rank has been set.

    Args:
        train_fn: a function of the configuration, in any of the forms that ``tune.run`` takes, also with
            parameters bound to it (not around the result).
        num_workers: ranks, >= 1.
        backend: of ``torch.distributed``: "gloo", "nccl"; None: "nccl" if each has a GPU, else "gloo".
        resources_per_worker: of each rank; None: one CPU. "cpu" is also how many threads it uses.
        placement_strategy: of the bundles on a cluster: "PACK", "SPREAD", "STRICT_PACK" or "STRICT_SPREAD".
        timeout_s: seconds, or a ``timedelta``, after which a collective operation of ``torch.distributed`` fails, > 0.
        grace_s: seconds from a stop to SIGTERM, and SIGKILL a second later, finite, >= 0.

    Returns:
        A trainable for :func:`tunesmith.run`, with its resources.

    Raises:
        SpecError: an argument is wrong, ``train_fn`` is no function, it has resources of its own, or torch is not installed.

    Example::

        def train(config):
            model = prepare_model(Net(config["width"]))
            loader = prepare_data_loader(DataLoader(dataset, batch_size=32, shuffle=True))
            for epoch in range(10):
                loss = one_epoch(model, loader, config["lr"])
                tune.report(loss=loss)

        tune.run(distributed(train, num_workers=2), config={"lr": tune.loguniform(1e-4, 1), "width": 64}, metric="loss", mode="min")
    """
    load("tune.integration.torch.distributed", "torch", "torch")
    spec = TrainableSpec.of(train_fn)
    if spec.kind != "function":
        raise SpecError(f"distributed({spec.name}): is a class; expected a function of the config.")
    if spec.resources is not None:
        raise SpecError(f"distributed({spec.name}): has resources of its own (with_resources). Give them as resources_per_worker.")
    if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 1:
        raise SpecError(f"distributed({spec.name}): num_workers must be a whole number >= 1, got {num_workers!r}.")
    each = amounts(resources_per_worker if resources_per_worker is not None else {"cpu": 1.0}, "resources_per_worker")
    gpus = each.get("gpu", 0.0)
    if backend is None:
        backend = "nccl" if gpus >= 1 else "gloo"
    if not isinstance(backend, str) or ("nccl" in backend and not gpus):
        raise SpecError(
            f"distributed({spec.name}): backend={backend!r} needs a GPU for each worker: resources_per_worker={{'cpu': 1, 'gpu': 1}}; "
            "or use backend='gloo'."
        )
    setup = _Torch(backend, gpus, _seconds(spec.name, "timeout_s", timeout_s, least=1e-3))
    threads = max(1, int(each.get("cpu", 1.0)))
    group = Group(spec, num_workers, setup, threads, _seconds(spec.name, "grace_s", grace_s, least=0.0), on_ray)
    return Bound(group, {}, PlacementGroupFactory([each] * num_workers, placement_strategy))


def prepare_model(model: Any, **arguments: Any) -> Any:
    """``model`` on this rank's device, and in ``DistributedDataParallel`` if there are several ranks: they begin with the weights of
    rank 0, and gradients are averaged.

    Args:
        model: a ``torch.nn.Module``.
        **arguments: more for ``DistributedDataParallel``.

    Returns:
        the module to train; the one in it is its attribute ``module``.
    """
    import torch
    from torch import distributed as dist

    device = _device(torch)
    model = model.to(device)
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return model
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return model  # DistributedDataParallel refuses such
    devices = [device.index] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(model, device_ids=devices, **arguments)


def prepare_data_loader(loader: Any) -> Any:
    """A loader of the part of the data that is this rank's; of all of it if there is one rank only.

    Parts are equally long, so a few samples may come twice. If ``loader`` shuffles, so does it, in another order in each epoch, the same
    way in all ranks: the parts never overlap otherwise.

    Args:
        loader: a ``torch.utils.data.DataLoader`` of a dataset with a length, and without a batch sampler of your own.

    Returns:
        one like it; ``batch_size`` is that of each rank.

    Raises:
        SpecError: its dataset has no length, or it has a sampler of its own: any but those that torch makes for ``shuffle``.
    """
    from torch import distributed as dist
    from torch.utils import data

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return loader
    if not _is_plain(loader, data):
        raise SpecError(
            "prepare_data_loader: the loader has a sampler of its own (one of torch's with replacement, num_samples or other data is one, "
            "too), or a dataset without a length. Give it a DistributedSampler yourself."
        )

    class Epochs(data.DistributedSampler):  # type: ignore[misc]
        """Shuffles in another way each time it is begun."""

        def __iter__(self) -> Any:
            indices = super().__iter__()
            self.set_epoch(self.epoch + 1)
            return indices

    shuffle = type(loader.sampler) is data.RandomSampler
    sampler = Epochs(loader.dataset, shuffle=shuffle, drop_last=loader.drop_last)
    same = ("batch_size", "num_workers", "collate_fn", "pin_memory", "drop_last", "timeout", "worker_init_fn", "multiprocessing_context")
    more = ("generator", "prefetch_factor", "persistent_workers", "pin_memory_device", "in_order")  # the last from torch 2.6 on
    return data.DataLoader(
        loader.dataset, sampler=sampler, **{name: getattr(loader, name) for name in (*same, *more) if hasattr(loader, name)}
    )


def _is_plain(loader: Any, data: Any) -> bool:
    """Whether its samplers are those that torch makes for ``shuffle`` and ``batch_size``: each sample once."""
    sampler, batches = loader.sampler, loader.batch_sampler
    if type(sampler) not in (data.RandomSampler, data.SequentialSampler) or type(batches) is not data.BatchSampler:
        return False
    whole = sampler.data_source is loader.dataset and len(sampler) == len(loader.dataset)
    return whole and not getattr(sampler, "replacement", False) and batches.sampler is sampler


class _Torch:
    """Lets ranks meet. Rank 0 serves a store on a port that the system chooses, and tells the others: nobody else can have taken it.

    Args:
        backend: of ``torch.distributed``.
        gpus: of each rank.
        timeout_s: of collective operations.
    """

    def __init__(self, backend: str, gpus: float, timeout_s: float) -> None:
        self.backend, self.gpus, self.timeout_s = backend, gpus, timeout_s

    def enter(self, outpost: Outpost) -> None:
        import torch

        dist: Any = torch.distributed
        place, limit = outpost.place, timedelta(seconds=self.timeout_s)
        alone = place.local_world_size == place.world_size
        if alone and "gloo" in self.backend and sys.platform.startswith("linux"):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else the host's name is looked up, which not every host has
        if place.rank == 0:
            host = outpost.address.rsplit(":", 2)[0]
            store = dist.TCPStore(host, 0, place.world_size, is_master=True, wait_for_workers=False, timeout=limit)
            host, port = outpost.exchange({"meeting": [host, store.port]})["meeting"]
        else:
            host, port = outpost.exchange({"meeting": None})["meeting"]
            store = dist.TCPStore(host, port, place.world_size, is_master=False, timeout=limit)
        os.environ.update(
            RANK=str(place.rank), WORLD_SIZE=str(place.world_size), LOCAL_RANK=str(place.local_rank),
            LOCAL_WORLD_SIZE=str(place.local_world_size), MASTER_ADDR=host, MASTER_PORT=str(port),
        )  # fmt: skip
        if self.gpus and torch.cuda.is_available():
            index = int(place.local_rank * self.gpus)
            torch.cuda.set_device(index if index < torch.cuda.device_count() else 0)  # on a cluster each sees its own only
        dist.init_process_group(self.backend, store=store, rank=place.rank, world_size=place.world_size, timeout=limit)

    def leave(self) -> None:
        from torch import distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def _device(torch: Any) -> Any:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _seconds(name: str, what: str, given: Any, least: float) -> float:
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not (math.isfinite(seconds) and seconds >= least):
        raise SpecError(f"distributed({name}): {what} must be a finite number of seconds >= {least:g}, got {given!r}.")
    return float(seconds)

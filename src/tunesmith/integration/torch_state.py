"""Plain PyTorch: all that a training loop must save and restore, in one call each."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from typing import Any

from tunesmith.checkpoints import Checkpoint
from tunesmith.errors import SpecError, UserCodeError
from tunesmith.integration.torch_built import adopt_optimizer, adopt_scheduler, built_optimizer, built_scheduler
from tunesmith.optional import load
from tunesmith.trainable.session import get_checkpoint

__all__ = ["TrainState", "rng_state", "set_rng_state"]

_REST = "_rest.pt"


class TrainState:
    """The state of a training loop: model, optimisers, schedulers, scalers, whatever has ``state_dict`` and ``load_state_dict``; and random
    numbers, those of Python, numpy, torch and CUDA. Make it before anything is trained.

    :meth:`checkpoint` is all of it, to be reported; :meth:`restore` brings it back, on whatever device the parts are now. Training then
    goes on as if it had never ended.

    **What is built from another configuration stays so.** If the trial was given another learning rate, weight decay or ``gamma`` than the
    one whose checkpoint it restores (population based training does that), it trains with its own. A learning rate that a scheduler had
    changed is multiplied by the ratio of both. ``load_state_dict`` by itself would bring back the other trial's.

    In a checkpoint each part is a file, ``<name>.pt``: ``torch.load(os.path.join(checkpoint, "model.pt"))`` is the model's state dict.
    Wrappers (``DistributedDataParallel``, ``DataParallel``, ``torch.compile``) are left out of it, so it fits the model with or without.

    Args:
        weights_only: states hold tensors, numbers, strings and containers of these only, so that reading a checkpoint cannot run code.
            False: anything that can be pickled; restore such only if you trust who wrote it.
        **parts: by the names that they shall have in checkpoints: ``model=model, optimizer=optimizer``.

    Raises:
        SpecError: there are no parts, one has no ``state_dict``, a name is no name of a file, or torch is not installed.

    Example::

        def train(config):
            model = torch.nn.Linear(64, 10)
            optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5)
            state = TrainState(model=model, optimizer=optimizer, scheduler=scheduler)
            start = state.restore().get("epoch", 0)  # 0 in a new trial
            for epoch in range(start, 20):
                loss = one_epoch(model, optimizer)
                scheduler.step()
                tune.report(loss=loss, checkpoint=state.checkpoint(epoch=epoch + 1))
    """

    def __init__(self, *, weights_only: bool = True, **parts: Any) -> None:
        self._torch = load("TrainState", "torch", "torch")
        if not parts:
            raise SpecError("TrainState: has no parts. Name what it shall save: TrainState(model=model, optimizer=optimizer).")
        for name, part in parts.items():
            _check_part(name, part)
        self._weights_only = weights_only
        self._parts = {name: self._bare(part) for name, part in parts.items()}
        self._built = {name: _built(part) for name, part in self._parts.items()}

    def checkpoint(self, **values: Any) -> Checkpoint:
        """Save all parts and the random numbers' state into a new checkpoint, to be given to ``tune.report``.

        Its files are temporary, and live as long as it: reporting it copies them.

        Args:
            **values: numbers, strings, tensors, and lists and dicts of these, that :meth:`restore` shall return: ``epoch=epoch + 1``.

        Raises:
            UserCodeError: a state or a value could not be read with ``weights_only``; names it, and what is in it.
        """
        folder = tempfile.mkdtemp(prefix="tunesmith_checkpoint_")
        try:
            self.save(folder, **values)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        checkpoint = Checkpoint(folder)
        weakref.finalize(checkpoint, shutil.rmtree, folder, ignore_errors=True)
        return checkpoint

    def save(self, folder: str | os.PathLike[str], **values: Any) -> None:
        """The same into a directory of yours, for more files beside: as in ``with tune.checkpoint_dir(step=epoch) as folder:``."""
        for name, part in self._parts.items():
            self._write(folder, f"{name}.pt", part.state_dict(), f"the state of {name}")
        plain = {name: _python(value) for name, value in values.items()}
        self._write(folder, _REST, {"values": plain, "rng": rng_state(), "built": self._built}, "a value")

    def restore(self, checkpoint: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Bring back what :meth:`checkpoint` has saved.

        Args:
            checkpoint: to restore; None: the running trial's, if it has one. A retried, resumed, promoted or exploiting trial has.

        Returns:
            the values that were saved beside the parts (tensors on the CPU); empty if there is no checkpoint, and then nothing is changed.

        Raises:
            UserCodeError: it was not saved by a ``TrainState`` with these parts; names what is there.
        """
        source = get_checkpoint() if checkpoint is None else checkpoint
        if source is None:
            return {}
        folder = os.fspath(source)
        missing = [name for name in (*(f"{part}.pt" for part in self._parts), _REST) if not os.path.exists(os.path.join(folder, name))]
        if missing:
            there = ", ".join(sorted(name for name in os.listdir(folder) if not name.startswith("."))) or "nothing"
            raise UserCodeError(
                f"TrainState: the checkpoint {folder} has no {', '.join(missing)}; it holds {there}. Restore it with the parts, and the "
                f"names, that it was saved with."
            )
        rest = self._read(folder, _REST)
        for name, part in self._parts.items():
            part.load_state_dict(self._read(folder, f"{name}.pt"))
        self._adopt(rest["built"])
        set_rng_state(rest["rng"])
        values: dict[str, Any] = rest["values"]
        return values

    def _adopt(self, other: Mapping[str, Any]) -> None:
        schedulers = [part for part in self._parts.values() if hasattr(part, "optimizer")]
        for name, part in self._parts.items():
            mine, theirs = self._built[name], other.get(name)
            if mine is None or theirs is None:
                continue
            if hasattr(part, "param_groups"):
                adopt_optimizer(part, [one for one in schedulers if one.optimizer is part], mine, theirs)
            else:
                adopt_scheduler(part, mine, theirs)

    def _write(self, folder: str | os.PathLike[str], name: str, state: Any, what: str) -> None:
        path = os.path.join(folder, name)
        self._torch.save(state, path)
        unsafe = self._torch.serialization.get_unsafe_globals_in_checkpoint(path) if self._weights_only else []
        if unsafe:
            raise UserCodeError(
                f"TrainState: {what} holds {', '.join(sorted(unsafe))}, which torch.load(weights_only=True) refuses. Expected tensors, "
                f"numbers, strings, and lists and dicts of these. Use torch.serialization.add_safe_globals if you trust it, or "
                f"TrainState(..., weights_only=False)."
            )

    def _read(self, folder: str, name: str) -> Any:
        return self._torch.load(os.path.join(folder, name), map_location="cpu", weights_only=self._weights_only)

    def _bare(self, part: Any) -> Any:
        parallel = (self._torch.nn.DataParallel, self._torch.nn.parallel.DistributedDataParallel)
        while isinstance(part, self._torch.nn.Module):
            if isinstance(part, parallel):
                part = part.module
            elif hasattr(part, "_orig_mod"):  # compiled
                part = part._orig_mod
            else:
                break
        return part


def rng_state() -> dict[str, Any]:
    """The state of the random numbers of Python, numpy, torch and CUDA, as tensors, numbers and tuples."""
    import numpy as np
    import torch

    legacy: Any = np.random.get_state()  # noqa: NPY002 - it is what `np.random.rand` and most datasets draw from
    kind, keys, *rest = legacy
    state = {"python": random.getstate(), "numpy": [kind, keys.tolist(), *rest], "torch": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Bring back what :func:`rng_state` was. GPUs that there are no more, or were not, are left as they are."""
    import numpy as np
    import torch

    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, one in zip(range(torch.cuda.device_count()), state.get("cuda", ())):
            torch.cuda.set_rng_state(one, device)


def _check_part(name: str, part: Any) -> None:
    if not (callable(getattr(part, "state_dict", None)) and callable(getattr(part, "load_state_dict", None))):
        raise SpecError(
            f"TrainState: {name} is a {type(part).__name__}, which has no state_dict() and load_state_dict(). Values go into the "
            f"checkpoint: state.checkpoint({name}=...)."
        )
    if not name.isidentifier() or f"{name}.pt" == _REST:
        raise SpecError(f"TrainState: {name!r} can't be the name of a part: it becomes that of a file. Use a plain one, such as 'model'.")


def _built(part: Any) -> list[dict[str, Any]] | None:
    """What an optimiser or a scheduler was built with; None for other parts."""
    if hasattr(part, "param_groups"):
        return built_optimizer(part)
    return built_scheduler(part) if hasattr(part, "optimizer") and hasattr(part, "step") else None


def _python(value: Any) -> Any:
    """Numbers of numpy as Python's: reading the former with ``weights_only`` is refused."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value

"""PyTorch Lightning: callbacks for a ``Trainer`` that report metrics and checkpoints of the running trial. Needs ``pip install lightning``
or ``pip install pytorch-lightning``; trainers of both can use them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunesmith.errors import SpecError, UserCodeError
from tunesmith.integration.metric_names import Wanted, chosen, wanted
from tunesmith.integration.torch_built import adopt_optimizer, adopt_scheduler, built_optimizer, built_scheduler
from tunesmith.integration.torch_state import rng_state, set_rng_state
from tunesmith.optional import load
from tunesmith.trainable.session import checkpoint_dir, get_checkpoint, is_session_enabled, report

__all__ = ["TuneCheckpointCallback", "TuneReportCallback", "TuneReportCheckpointCallback", "ckpt_path"]

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_KEY = "tunesmith"
"""Of what is ours in Lightning's checkpoints."""

_NO_MOMENT = ("on_exception", "on_save_checkpoint", "on_load_checkpoint")


def _bases() -> tuple[type, ...]:
    """The classes of callbacks of those packages that are there: each has its own, and users import the one or the other."""
    imported = [sys.modules[name] for name in _PACKAGES if hasattr(sys.modules.get(name), "Callback")]
    if not imported:
        try:
            imported = [load("", _PACKAGES[0], "lightning")]
        except SpecError:
            imported = [load("tune.integration.pytorch_lightning", _PACKAGES[1], "lightning")]
    return tuple(dict.fromkeys(package.Callback for package in imported))


_Callback: Any = type("_Callback", _bases(), {})
_HOOKS = frozenset(name for name in dir(_Callback) if name.startswith("on_")) - set(_NO_MOMENT)


class _TuneCallback(_Callback):  # type: ignore[misc]
    """Acts at the hooks that it was told; restores what Lightning's checkpoints lack."""

    def __init__(self, on: str | Sequence[str] = "validation_end") -> None:
        super().__init__()
        names = list(on) if isinstance(on, Iterable) and not isinstance(on, str) else [on]
        unknown = [name for name in names if f"on_{name}" not in _HOOKS]
        if unknown or not names:
            known = ", ".join(sorted(name.removeprefix("on_") for name in _HOOKS))
            wrong = f"there is no hook {unknown[0]!r}" if unknown else "it is empty"
            raise SpecError(f"{type(self).__name__}(on={on!r}): {wrong}. Expected one or several of {known}.")
        self._on = tuple(names)
        self._validated = False
        self._own: list[Any] = []
        self._restored: Mapping[str, Any] = {}
        for name in names:
            setattr(self, f"on_{name}", _Moment(self, f"on_{name}"))

    def _act(self, trainer: Any) -> None:
        raise NotImplementedError

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._own = _built(trainer)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint[_KEY] = {"rng": rng_state(), "built": self._own}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            self._restored = checkpoint.pop(_KEY, {})  # the first of our callbacks restores, the others find nothing

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._validated = False
        if self._restored:
            _adopt(trainer, self._own, self._restored["built"])
            set_rng_state(self._restored["rng"])

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if not self._restored:
            return
        # Between a checkpoint and the next epoch nothing draws in an uninterrupted training, but setting up again has.
        set_rng_state(self._restored["rng"])
        if getattr(trainer.fit_loop, "is_resuming", False) and trainer.current_epoch > 0:
            _draw_as_loaders_do(trainer)
        self._restored = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._restored = {}  # in the midst of an epoch

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._validated = self._validated or not trainer.sanity_checking


class _Moment:
    """A hook of one callback: what the class does in it, and then what was asked for."""

    def __init__(self, callback: _TuneCallback, name: str) -> None:
        self.callback, self.name = callback, name

    def __call__(self, trainer: Any, *arguments: Any, **named: Any) -> None:
        getattr(type(self.callback), self.name)(self.callback, trainer, *arguments, **named)
        if not trainer.sanity_checking:
            self.callback._act(trainer)


class TuneReportCallback(_TuneCallback):
    """Report metrics that were logged by ``self.log(...)`` in the ``LightningModule``.

    Args:
        metrics: the name of one, a list of names, or a dict from the names to report to Lightning's. None: all there are.
        on: when: the name of one of Lightning's hooks for callbacks without its ``on_``, or a list of them. At "validation_end" (the
            default) metrics of the validation are new, while means of the training epoch (``self.log(..., on_epoch=True)`` in
            ``training_step``) are there at "train_epoch_end" only. Not in the sanity check before training.

    Raises:
        SpecError: there is no such hook, or ``metrics`` is something else.
        UserCodeError: (in training) a metric is not there; names those that are. Before the first validation nothing is raised or reported.

    Example::

        trainer = pytorch_lightning.Trainer(max_epochs=10, callbacks=[TuneReportCallback({"loss": "val_loss"})])
    """

    def __init__(self, metrics: Wanted = None, on: str | Sequence[str] = "validation_end") -> None:
        super().__init__(on)
        self._metrics = wanted(type(self).__name__, metrics)
        self._silent = self._waited = False  # whether nothing was reported of this training; and whether that was for want of a validation

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self._silent = trainer.global_step == 0  # what goes on has reported before
        self._waited = any(name.startswith("validation_") for name in self._on)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if self._silent and self._waited and trainer.global_step > 0:
            warnings.warn(
                f"{type(self).__name__}: nothing was reported, because there was no validation before on={self._on}. Does fit() have "
                "validation data, the module a validation_step, and the trainer epochs enough for its check_val_every_n_epoch? Without "
                "validation give on='train_epoch_end'.",
                stacklevel=2,
            )
        self._silent = False

    def _act(self, trainer: Any) -> None:
        found = self._found(trainer)
        if found is not None:
            report(found)

    def _found(self, trainer: Any) -> dict[str, Any] | None:
        """The metrics to report; None if there is nothing yet."""
        there = trainer.callback_metrics
        waits = not self._validated and getattr(trainer, "enable_validation", False)
        if waits and (not there if self._metrics is None else not set(self._metrics.values()) <= set(there)):
            self._waited = True
            return None
        self._silent = False
        advice = (
            f"This was at on={self._on} after {trainer.global_step} steps. Log it with self.log(...) in the LightningModule; means of a "
            f"training epoch are there from 'train_epoch_end' on, those of a validation from 'validation_end' on."
        )
        found = chosen(type(self).__name__, self._metrics, there, advice)
        return {name: value.item() if hasattr(value, "item") else value for name, value in found.items()}


class TuneCheckpointCallback(_TuneCallback):
    """Save a checkpoint of the trainer (weights, optimisers, schedulers, epoch), as a checkpoint of the trial, without reporting.

    It belongs to the report beside it, by a :class:`TuneReportCallback` before or after it in the trainer's list.
    :class:`TuneReportCheckpointCallback` does both. Outside of a trial it does nothing.

    Args:
        filename: in the checkpoint's directory.
        on: see :class:`TuneReportCallback`.

    Raises:
        SpecError: there is no such hook, or ``filename`` is no plain name.
    """

    def __init__(self, filename: str = "checkpoint", on: str | Sequence[str] = "validation_end") -> None:
        super().__init__(on)
        self._filename = _plain_name(type(self).__name__, filename)

    def _act(self, trainer: Any) -> None:
        if not is_session_enabled():
            return
        with checkpoint_dir(step=trainer.global_step) as folder:
            trainer.save_checkpoint(os.path.join(folder, self._filename))


class TuneReportCheckpointCallback(TuneReportCallback):
    """Report metrics together with a checkpoint of the trainer, from which a retried, promoted or exploiting trial goes on.

    The checkpoint also holds the state of random numbers (Python, numpy, torch, CUDA): a trial that goes on with it (see :func:`ckpt_path`)
    trains exactly as if it had not been interrupted. A trial whose config differs from that of the checkpoint's trial (population based
    training) keeps its own learning rate, weight decay and so on; Lightning by itself would restore the other's.

    Args:
        metrics: see :class:`TuneReportCallback`.
        filename: of Lightning's checkpoint, in the trial's.
        save_checkpoints: False: report only.
        on: see :class:`TuneReportCallback`.

    Raises:
        SpecError: there is no such hook, or ``metrics`` or ``filename`` are something else.
        UserCodeError: (in training) a metric is not there.

    Example::

        def train(config):
            trainer = pytorch_lightning.Trainer(max_epochs=10, callbacks=[TuneReportCheckpointCallback({"loss": "val_loss"})])
            trainer.fit(Net(config), datamodule=digits, ckpt_path=ckpt_path())
    """

    def __init__(
        self,
        metrics: Wanted = None,
        filename: str = "checkpoint",
        save_checkpoints: bool = True,
        on: str | Sequence[str] = "validation_end",
    ) -> None:
        super().__init__(metrics, on)
        self._filename = _plain_name(type(self).__name__, filename)
        self._save = save_checkpoints

    def _act(self, trainer: Any) -> None:
        found = self._found(trainer)
        if found is None:
            return
        if not self._save or not is_session_enabled():
            report(found)
            return
        with tempfile.TemporaryDirectory(prefix="tunesmith_checkpoint_") as folder:
            trainer.save_checkpoint(os.path.join(folder, self._filename))
            report(found, checkpoint=folder)


def ckpt_path(filename: str = "checkpoint") -> str | None:
    """Where the running trial goes on from, for ``trainer.fit(model, ckpt_path=ckpt_path())``; None: from the beginning.

    Args:
        filename: as the callback was given.

    Raises:
        UserCodeError: the trial's checkpoint has no such file; names what it holds.
    """
    checkpoint = get_checkpoint()
    if checkpoint is None:
        return None
    path = os.path.join(checkpoint.path, filename)
    if not os.path.exists(path):
        there = ", ".join(sorted(name for name in os.listdir(checkpoint.path) if not name.startswith("."))) or "nothing"
        raise UserCodeError(
            f"ckpt_path({filename!r}): the checkpoint {checkpoint.path} has no such file; it holds {there}. Give the callback's filename."
        )
    return path


def _built(trainer: Any) -> list[Any]:
    """What each optimiser, and each scheduler, was built with."""
    return [
        [built_optimizer(one) for one in trainer.optimizers],
        [built_scheduler(one.scheduler) for one in trainer.lr_scheduler_configs],
    ]


def _adopt(trainer: Any, own: list[Any], other: list[Any]) -> None:
    if not own or not other:
        return
    schedulers = [one.scheduler for one in trainer.lr_scheduler_configs]
    for optimizer, mine, theirs in zip(trainer.optimizers, own[0], other[0]):
        adopt_optimizer(optimizer, [one for one in schedulers if one.optimizer is optimizer], mine, theirs)
    for scheduler, mine, theirs in zip(schedulers, own[1], other[1]):
        adopt_scheduler(scheduler, mine, theirs)


def _draw_as_loaders_do(trainer: Any) -> None:
    """A resumed trainer has begun its loaders already, at a time when they drew other numbers than at the beginning of this epoch."""
    import torch
    from torch.utils._pytree import tree_leaves
    from torch.utils.data import DataLoader

    for loader in tree_leaves(trainer.train_dataloader):
        if isinstance(loader, DataLoader) and loader.generator is None:
            torch.empty((), dtype=torch.int64).random_()


def _plain_name(owner: str, filename: Any) -> str:
    if not isinstance(filename, str) or not filename or os.path.basename(filename) != filename:
        raise SpecError(f"{owner}(filename={filename!r}): expected the name of a file, without folders.")
    return filename

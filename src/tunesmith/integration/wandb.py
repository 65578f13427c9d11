"""Weights & Biases: each trial is a run of W&B. Needs ``pip install tunesmith[wandb]``.

Two ways, for one experiment one of them:

* From outside, the trainable unchanged: :class:`WandbLoggerCallback` in ``callbacks=[...]``, or :class:`WandbLogger` in ``loggers=...``
  with its settings in ``config["wandb"]``. What is reported is logged.
* From inside the trial: :func:`wandb_mixin` around a function, :class:`WandbTrainableMixin` for a class, or :func:`setup_wandb`. The user's
  code calls ``wandb.log`` itself.

The API key reaches neither a file nor a process list, see :mod:`tunesmith.secrets`.
"""

from __future__ import annotations

from tunesmith.integration.wandb_loggers import WandbLogger, WandbLoggerCallback
from tunesmith.integration.wandb_trials import WandbTrainableMixin, setup_wandb, wandb_mixin

__all__ = ["WandbLogger", "WandbLoggerCallback", "WandbTrainableMixin", "setup_wandb", "wandb_mixin"]

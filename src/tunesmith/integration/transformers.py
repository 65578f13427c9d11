"""Hugging Face Transformers: callbacks for a ``Trainer`` that report metrics and checkpoints of the running trial. Needs
``pip install transformers accelerate torch``.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunesmith.errors import SpecError, UserCodeError
from tunesmith.integration.metric_names import Wanted, chosen, wanted
from tunesmith.integration.torch_built import adopt_optimizer, built_optimizer
from tunesmith.optional import load
from tunesmith.trainable.session import get_checkpoint, report

__all__ = ["TuneReportCallback", "TuneReportCheckpointCallback", "resume_from_checkpoint"]

_Base: Any = load("tune.integration.transformers", "transformers.trainer_callback", "transformers").TrainerCallback

_MOMENTS = ("evaluate", "log", "save")
_BUILT = "built.json"
"""Beside the trainer's files: what its optimiser was built with."""


class TuneReportCallback(_Base):  # type: ignore[misc]
    """Report metrics of a ``transformers.Trainer``: those of its newest evaluation and of its newest log, together.

    Only inside ``trainer.train()``, after at least one step: neither ``eval_on_start`` nor an evaluation of yours is reported. A report
    is made before the next step begins, so that several evaluation sets are in one.

    Args:
        metrics: the name of one, a list of names, or a dict from the names to report to the trainer's, such as
            ``{"accuracy": "eval_accuracy", "train_loss": "loss"}``. None: all there are.
        on: "evaluate": after each evaluation (``eval_strategy``); "log": after each log of the training loss (``logging_strategy``);
            "save": with each checkpoint that the trainer saves by itself (``save_strategy``). Or a list of them.

    Raises:
        SpecError: an argument is something else, or transformers is not installed.
        UserCodeError: (in training) a metric is not there; names those that are. Before the first evaluation nothing is raised or reported.

    Example::

        trainer = Trainer(model, arguments, ..., callbacks=[TuneReportCallback({"loss": "eval_loss"})])
    """

    def __init__(self, metrics: Wanted = None, on: str | Sequence[str] = "evaluate") -> None:
        moments = list(on) if isinstance(on, Iterable) and not isinstance(on, str) else [on]
        if not moments or not all(one in _MOMENTS for one in moments):
            raise SpecError(f"{type(self).__name__}(on={on!r}): expected one or several of {', '.join(_MOMENTS)}.")
        self._on = frozenset(moments)
        self._metrics = wanted(type(self).__name__, metrics)
        self._newest: dict[str, Any] = {}
        self._begun = 0
        self._training = self._evaluated = self._due = self._reported = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._newest, self._evaluated, self._reported = {}, False, False
        self._begun, self._training, self._due = state.global_step, True, False

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
        self._newest.update(logs)
        if "loss" in logs:  # neither an evaluation's log nor the summary at the end
            self._reached("log", state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **_: Any) -> None:
        self._newest.update(metrics)
        self._evaluated = True
        self._reached("evaluate", state, control)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._reached("save", state, control)
        self._flush(args, state)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._flush(args, state)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._flush(args, state)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._flush(args, state)
        self._training = False
        if not self._reported and self._begun == 0 < state.global_step:  # what goes on has reported before
            warnings.warn(
                f"{type(self).__name__}: nothing was reported in {state.global_step} steps of training, since there was no moment of "
                f"on={sorted(self._on)} with all metrics: eval_strategy={args.eval_strategy.value!r}, "
                f"logging_strategy={args.logging_strategy.value!r}, save_strategy={args.save_strategy.value!r}.",
                stacklevel=2,
            )

    def _reached(self, moment: str, state: Any, control: Any) -> None:
        if moment in self._on and self._training and state.global_step > self._begun:
            self._due = True

    def _flush(self, args: Any, state: Any, checkpoint: str | None = None) -> None:
        if not self._due:
            return
        self._due = False
        there = {name: value for name, value in self._newest.items() if isinstance(value, int | float)}
        if not self._evaluated and args.eval_strategy != "no" and self._metrics and not set(self._metrics.values()) <= set(there):
            return
        advice = (
            f"This was after {state.global_step} steps. Names of an evaluation begin with 'eval_'. The training's 'loss' is there from the "
            f"first log on: logging_strategy={args.logging_strategy.value!r}, logging_steps={args.logging_steps}."
        )
        self._reported = True
        report(chosen(type(self).__name__, self._metrics, there, advice), checkpoint=checkpoint)


class TuneReportCheckpointCallback(TuneReportCallback):
    """Report metrics together with a checkpoint of the trainer, from which a retried, promoted or exploiting trial goes on.

    The trainer is told to save whenever a report is due, so ``save_strategy`` may be "no". Its own copy stays in ``output_dir``:
    ``save_total_limit=1`` keeps that small. With ``save_strategy="best"`` only the evaluations that are better than all before have one.

    A trial whose config differs from that of the checkpoint's trial (population based training) keeps its own ``learning_rate``,
    ``weight_decay``, betas and epsilon; the trainer by itself would restore the other's.

    Args:
        metrics: see :class:`TuneReportCallback`.
        on: see :class:`TuneReportCallback`.

    Raises:
        SpecError: an argument is something else, or transformers is not installed.
        UserCodeError: (in training) a metric is not there.

    Example::

        def train(config):
            arguments = TrainingArguments(
                output_dir=os.path.join(tune.get_trial_dir(), "trainer"), learning_rate=config["lr"], num_train_epochs=10,
                eval_strategy="epoch", save_strategy="no", save_total_limit=1,
            )
            trainer = Trainer(model, arguments, ..., callbacks=[TuneReportCheckpointCallback({"loss": "eval_loss"})])
            trainer.train(resume_from_checkpoint=resume_from_checkpoint())
    """

    def __init__(self, metrics: Wanted = None, on: str | Sequence[str] = "evaluate") -> None:
        super().__init__(metrics, on)
        self._given: list[dict[str, Any]] | None = None
        self._built: dict[str, Any] = {}

    def on_init_end(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        if optimizer is not None:  # the user's own; else the trainer builds one from its arguments
            self._given = built_optimizer(optimizer)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, lr_scheduler: Any = None, **others: Any
    ) -> None:
        super().on_train_begin(args, state, control, **others)
        told = {"lr": args.learning_rate, "weight_decay": args.weight_decay, "betas": [args.adam_beta1, args.adam_beta2]}
        told["eps"] = args.adam_epsilon
        groups = self._given if self._given is not None else built_optimizer(optimizer)
        checkpoint = get_checkpoint() if state.global_step > 0 else None
        path = os.path.join(checkpoint.path, _BUILT) if checkpoint is not None else ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                other = json.load(file)
            if self._given is None:
                groups = [_as_told(group, told, other["told"]) for group in other["groups"]]
            adopt_optimizer(optimizer, [lr_scheduler], groups, other["groups"])
        self._built = {"told": told, "groups": groups}

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        super()._reached("save", state, control)
        folder = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
        if self._due and state.is_world_process_zero:
            with open(os.path.join(folder, _BUILT), "w", encoding="utf-8") as file:
                json.dump(self._built, file)
        self._flush(args, state, folder)

    def _reached(self, moment: str, state: Any, control: Any) -> None:
        super()._reached(moment, state, control)
        control.should_save = control.should_save or self._due


def resume_from_checkpoint() -> str | None:
    """Where the running trial goes on from, for ``trainer.train(resume_from_checkpoint=resume_from_checkpoint())``; None: from the start.

    The trainer then restores weights, optimiser, schedule, random numbers, and how far it was.

    Raises:
        UserCodeError: the trial's checkpoint is no trainer's; names what it holds.
    """
    checkpoint = get_checkpoint()
    if checkpoint is None:
        return None
    if not os.path.exists(os.path.join(checkpoint.path, "trainer_state.json")):
        there = ", ".join(sorted(name for name in os.listdir(checkpoint.path) if not name.startswith("."))) or "nothing"
        raise UserCodeError(
            f"resume_from_checkpoint(): the checkpoint {checkpoint.path} was not saved by a trainer; it holds {there}. Report it with "
            f"TuneReportCheckpointCallback."
        )
    return checkpoint.path


def _as_told(group: Mapping[str, Any], told: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What a group would have been built with by these arguments of the trainer, if those before have made it ``group``."""
    new = {name: told[name] if value == before.get(name) else value for name, value in group.items() if name in told}
    ratio = told["lr"] / before["lr"] if before["lr"] else 1.0
    rates = {name: group[name] * ratio for name in ("lr", "initial_lr") if name in group}
    exact = {name: told["lr"] for name in rates if group[name] == before["lr"]}
    return {**group, **new, **rates, **exact}

"""Keras 3: callbacks that report and save what ``fit`` does, and :func:`resume`, which goes on from there.

Needs ``pip install keras`` and a back end to run it: TensorFlow, PyTorch (with ``KERAS_BACKEND=torch``) or JAX.
"""

from __future__ import annotations

import os
from typing import Any

from tunesmith.checkpoints.checkpoint import DICT_FILE, Checkpoint
from tunesmith.errors import SpecError
from tunesmith.session import get_checkpoint

try:
    import keras  # noqa: F401 - what is imported below does
except ImportError as missing:
    raise SpecError(
        f"tune.integration.keras needs Keras 3, and TensorFlow, PyTorch or JAX to run it ({missing}). "
        'Install them: pip install "tunesmith[keras]" tensorflow; or torch, with KERAS_BACKEND=torch in the environment.'
    ) from missing

from tunesmith.integration.keras_reporter import EVENTS, OLD_NAMES, Reporter, events_in, filename_in, frequencies_in
from tunesmith.integration.keras_state import learning_rate, optimizers, seeds, set_random_state

__all__ = ["ReportCheckpointCallback", "TuneReportCallback", "TuneReportCheckpointCallback", "resume"]


class TuneReportCallback(Reporter):
    """Reports the metrics of ``model.fit`` (or ``evaluate``, ``predict``) at its events; saves nothing.

    A stop that is decided on then unwinds ``fit`` at once: nothing is trained on, and ``on_train_end`` of other callbacks is not called.

    Args:
        metrics: what to report: a metric's name in Keras (``"val_accuracy"``), a list of them, or a dict ``{name in the report: name in
            Keras}``; None: all that Keras has at the event. Metrics of a validation that has not been yet are left out.
        on: when: the name of a Keras hook without its ``on_`` (``"epoch_end"``, ``"train_batch_end"``, ``"test_end"`` ...), or a list.

    Raises:
        SpecError: an argument is wrong.
        UserCodeError: during training: Keras has no such metric; names those there are.

    Example::

        def train(config):
            model = build_model(config)
            model.fit(x, y, epochs=10, validation_data=validation, callbacks=[TuneReportCallback({"accuracy": "val_accuracy"})])
    """

    def __init__(self, metrics: Any = None, on: Any = "epoch_end") -> None:
        super().__init__(metrics, events_in("TuneReportCallback", "on", on), {})


class TuneReportCheckpointCallback(Reporter):
    """Reports metrics as :class:`TuneReportCallback` does, with a checkpoint, from which :func:`resume` goes on.

    A checkpoint holds the model in ``filename``, with the optimizer's state, and beside it the epoch, the seeds of layers such as
    ``Dropout``, and the states of ``random``, ``numpy.random`` and torch. ``checkpoint.to_dict()["epoch"]`` is how many epochs it has
    been trained. Put it last among the callbacks: then what others change at the end of an epoch (a learning rate) is in it, too.

    Args:
        metrics: see :class:`TuneReportCallback`.
        filename: of the model. ``*.keras``: the whole model, for ``keras.models.load_model``; ``*.weights.h5``: weights and the
            optimizer's state only, which is quicker, and enough for :func:`resume`.
        frequency: a checkpoint at every so many-th event, >= 1; or a list, one for each event in ``on``. There is a report at each.
        on: when to report and save, see :class:`TuneReportCallback`; None: ``"epoch_end"``.
        checkpoint_on, report_metrics_on: the same apart (what has no checkpoint is still reported). Instead of ``on``.

    Raises:
        SpecError: an argument is wrong.
        UserCodeError: during training: Keras has no such metric, or cannot save the whole model.

    Example::

        def train(config):
            model = build_model(config)
            first = resume(model)  # 0 for a new trial
            model.fit(x, y, initial_epoch=first, epochs=10, callbacks=[TuneReportCheckpointCallback()])
    """

    def __init__(
        self,
        metrics: Any = None,
        filename: str = "model.keras",
        frequency: int | list[int] = 1,
        on: Any = None,
        *,
        checkpoint_on: Any = None,
        report_metrics_on: Any = None,
    ) -> None:
        owner = type(self).__name__
        if on is not None and (checkpoint_on is not None or report_metrics_on is not None):
            raise SpecError(f"{owner}: on={on!r} stands for checkpoint_on and report_metrics_on together. Give it, or these.")
        named = [metrics] if isinstance(metrics, str) else metrics
        if isinstance(named, list | tuple) and any(name in (*EVENTS, *OLD_NAMES) for name in named):
            raise SpecError(f"{owner}: metrics={metrics!r} is when, not what, to report. Give it by its name: checkpoint_on={metrics!r}.")
        default = "epoch_end" if on is None else on
        saved = events_in(owner, "on" if on is not None else "checkpoint_on", default if checkpoint_on is None else checkpoint_on)
        reported = events_in(owner, "report_metrics_on", default if report_metrics_on is None else report_metrics_on)
        super().__init__(metrics, reported, frequencies_in(owner, saved, frequency), filename_in(owner, filename))


class ReportCheckpointCallback(TuneReportCheckpointCallback):
    """:class:`TuneReportCheckpointCallback` with its arguments in another order, under the name that it has in Ray Train.

    Args:
        checkpoint_on, report_metrics_on: when, see there.
        metrics, filename, frequency: see there.

    Raises:
        SpecError: an argument is wrong.

    Example::

        model.fit(x, y, initial_epoch=resume(model), epochs=10, callbacks=[ReportCheckpointCallback(metrics=["loss"])])
    """

    def __init__(
        self,
        checkpoint_on: Any = "epoch_end",
        report_metrics_on: Any = "epoch_end",
        metrics: Any = None,
        *,
        filename: str = "model.keras",
        frequency: int | list[int] = 1,
    ) -> None:
        super().__init__(metrics, filename, frequency, checkpoint_on=checkpoint_on, report_metrics_on=report_metrics_on)


def resume(model: Any, checkpoint: Checkpoint | None = None) -> int:
    """Give ``model`` the state in the trial's checkpoint, if there is one; returns the epoch to go on with.

    Restored are weights, the optimizer's state and the seeds of layers at once, and the states of random number generators when
    ``fit`` begins, if one of these callbacks is among its own. The learning rate comes back as it was (a callback may have
    lowered it), unless the model is compiled with another one than it was then, as population-based training does: then it has that one.

    What is not in a checkpoint: the states of other callbacks (the patience of ``EarlyStopping``), and on TensorFlow the order in which
    ``fit(shuffle=True)`` takes samples. An epoch that was not trained to its end begins anew.

    Args:
        model: compiled and built, of the same layers as the saved one.
        checkpoint: one that :class:`TuneReportCheckpointCallback` has made; None: the trial's own.

    Returns:
        the number of epochs that the model has been trained, for ``model.fit(initial_epoch=...)``; 0 without a checkpoint.

    Raises:
        SpecError: the model is not compiled or not built, or the checkpoint is none of Keras, or of another model.

    Example::

        model.fit(x, y, initial_epoch=resume(model), epochs=10, callbacks=[TuneReportCheckpointCallback()])
    """
    optimizer = getattr(model, "optimizer", None)  # in a new trial, too: not only its retry is to say what is missing
    if optimizer is None:
        raise SpecError("resume(): the model is not compiled yet. Call model.compile() first: the optimizer's state is restored, too.")
    if not model.built:
        raise SpecError("resume(): the model has no weights yet. Begin it with keras.Input(shape), or call model.build(shape) before.")
    saved = get_checkpoint() if checkpoint is None else checkpoint
    if saved is None:
        return 0
    state = saved.to_dict() if DICT_FILE in os.listdir(saved.path) else {}
    if not {"epoch", "file", "learning_rate", "seeds", "random"} <= state.keys():
        raise SpecError(f"resume(): {saved} was not made by a callback of tune.integration.keras, so it is not known how to go on from it.")
    compiled = learning_rate(optimizer)
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    with saved.as_directory() as folder:
        try:
            model.load_weights(os.path.join(folder, state["file"]))
        except ValueError as error:
            raise SpecError(
                f"resume(): {saved} is of a model with other layers than {model.name!r}, so its weights don't fit. What changes the layers "
                f"must not change in the course of a trial, by population-based training for instance. Keras says: {error}"
            ) from error
    if compiled is not None and compiled != state["learning_rate"]:
        optimizer.learning_rate = compiled
    for seed, value in zip(seeds(model), state["seeds"]):
        seed.assign(value)
    optimizers.resumed(optimizer, compiled, lambda: set_random_state(state["random"]))
    return int(state["epoch"])

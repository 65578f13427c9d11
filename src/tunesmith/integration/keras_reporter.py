"""The callback that reports and saves at Keras's events: what those that users see have in common."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import keras

from tunesmith.checkpoints.checkpoint import write_dict
from tunesmith.errors import SpecError, UserCodeError
from tunesmith.hints import did_you_mean
from tunesmith.integration.keras_state import optimizers, random_state, seeds
from tunesmith.session import get_trial_id, is_session_enabled, report

__all__ = ["EVENTS", "OLD_NAMES", "Reporter", "events_in", "filename_in", "frequencies_in"]

EVENTS = (
    "epoch_begin", "epoch_end", "train_begin", "train_end", "train_batch_begin", "train_batch_end", "test_begin", "test_end",
    "test_batch_begin", "test_batch_end", "predict_begin", "predict_end", "predict_batch_begin", "predict_batch_end",
)  # fmt: skip
OLD_NAMES = {"batch_begin": "train_batch_begin", "batch_end": "train_batch_end"}
_ENDINGS = (".keras", ".weights.h5")


class Reporter(keras.callbacks.Callback):  # type: ignore[misc]
    """What the callbacks below share.

    Args:
        metrics: as the user gave it.
        reports: the events at which there is a report.
        saves: the events at which there is one with a checkpoint: every how many times.
        filename: of the model in the checkpoint.
    """

    def __init__(self, metrics: Any, reports: list[str], saves: Mapping[str, int], filename: str = "") -> None:
        super().__init__()
        self._owner = type(self).__name__
        self._metrics = _metrics(self._owner, metrics)
        self._reports, self._saves, self._filename = frozenset(reports), dict(saves), filename
        self._calls: Counter[str] = Counter()
        self._epoch = self._epochs = 0  # the present one, from 0 on; how many have been trained to their end
        self._training = self._validated = False
        self._left_out: set[str] = set()  # metrics of a validation that had not been yet
        self._seen: set[str] = set()
        # Keras may call it for batches from another thread, behind the training, as long as nothing happens there.
        self.async_safe = not any("_batch_" in event for event in (*reports, *saves))

    def on_train_begin(self, logs: Any = None) -> None:
        self._training = True
        optimizers.begins(self.model.optimizer)
        self._at("train_begin", logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = self._epochs = epoch
        self._validated = False
        self._at("epoch_begin", logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._epochs = epoch + 1
        self._at("epoch_end", logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._training = False
        never = sorted(self._left_out - self._seen)
        if never:
            warnings.warn(
                f"{self._owner}: there was no {', '.join(never)}, because fit() has validated nothing. Does it have validation_data or "
                "validation_split, and epochs enough for its validation_freq?",
                stacklevel=2,
            )
        self._at("train_end", logs)

    def on_test_begin(self, logs: Any = None) -> None:
        if self._training:
            self._epochs = self._epoch + 1  # fit() validates when an epoch's training is over
        self._at("test_begin", logs)

    def on_test_end(self, logs: Any = None) -> None:
        self._validated = True
        self._at("test_end", logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._at("train_batch_begin", logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._at("train_batch_end", logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._at("test_batch_begin", logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._at("test_batch_end", logs)

    def on_predict_begin(self, logs: Any = None) -> None:
        self._at("predict_begin", logs)

    def on_predict_end(self, logs: Any = None) -> None:
        self._at("predict_end", logs)

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._at("predict_batch_begin", logs)

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self._at("predict_batch_end", logs)

    def _at(self, event: str, logs: Mapping[str, Any] | None) -> None:
        saving = False
        if event in self._saves:
            self._calls[event] += 1
            saving = self._calls[event] % self._saves[event] == 0
        if not saving and event not in self._reports:
            return
        metrics = self._chosen(event, logs or {})
        if not saving or not is_session_enabled():
            report(metrics)
            return
        with tempfile.TemporaryDirectory(prefix="tunesmith_checkpoint_") as folder:
            self._save(folder)
            report(metrics, checkpoint=folder)

    def _chosen(self, event: str, logs: Mapping[str, Any]) -> dict[str, Any]:
        """The metrics to report, under the user's names."""
        if self._metrics is None:
            return dict(logs)
        self._seen.update(logs)
        missing = {name for name in self._metrics.values() if name not in logs}
        if not self._validated:
            self._left_out |= {name for name in missing if name.startswith("val_")}
            missing -= self._left_out
        if missing:
            name = min(missing)
            raise UserCodeError(
                f"{self._owner} of trial {get_trial_id()}: Keras has no metric {name!r} at {event}, but {', '.join(logs) or 'none at all'}."
                f"{did_you_mean(name, logs)} Metrics are named in model.compile(metrics=[...]); those of a validation begin with val_."
            )
        return {own: logs[name] for own, name in self._metrics.items() if name in logs}

    def _save(self, folder: str) -> None:
        model, path = self.model, os.path.join(folder, self._filename)
        if path.endswith(".keras"):
            try:
                model.save(path)
            except (NotImplementedError, TypeError, ValueError) as error:
                raise UserCodeError(
                    f"{self._owner} of trial {get_trial_id()}: the whole model can't be saved. With filename='model.weights.h5' its "
                    f"weights and its optimizer's state are, which is all that resume() needs. Keras says: {error}"
                ) from error
        else:
            model.save_weights(path)
        state = {"epoch": self._epochs, "file": self._filename, "learning_rate": optimizers.compiled(getattr(model, "optimizer", None))}
        values = [keras.ops.convert_to_numpy(seed) for seed in seeds(model)]
        write_dict(folder, {**state, "seeds": values, "random": random_state()})


def _metrics(owner: str, given: Any) -> dict[str, str] | None:
    """Names in the report -> names in Keras; None: all there are."""
    if given is None:
        return None
    named = [given] if isinstance(given, str) else given
    if isinstance(named, list | tuple):
        pairs = [(name, name) for name in named]
    else:
        pairs = list(named.items()) if isinstance(named, Mapping) else []
    if not pairs or not all(isinstance(name, str) for pair in pairs for name in pair):
        raise SpecError(
            f"{owner}: metrics must be the name of a metric in Keras, a list of them, a dict {{name in the report: name in Keras}}, or "
            f"None for all; got {given!r}."
        )
    return dict(pairs)


def events_in(owner: str, argument: str, given: Any) -> list[str]:
    named = [given] if isinstance(given, str) else given
    if not isinstance(named, list | tuple) or not named:
        raise SpecError(f"{owner}: {argument} must be the name of an event of Keras, or a list of them; got {given!r}.")
    events = [OLD_NAMES.get(name, name) if isinstance(name, str) else name for name in named]
    for event in events:
        if event not in EVENTS:
            hint = did_you_mean(str(event), EVENTS)
            raise SpecError(f"{owner}: {argument}={event!r} is no event of Keras.{hint} There are: {', '.join(EVENTS)}.")
    return events


def frequencies_in(owner: str, events: list[str], given: Any) -> dict[str, int]:
    each = given if isinstance(given, list | tuple) else [given] * len(events)
    if len(each) != len(events) or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in each):
        raise SpecError(
            f"{owner}: frequency must be a whole number >= 1 (a checkpoint at every so many-th event), or a list of {len(events)}, one for "
            f"each of {', '.join(events)}; got {given!r}."
        )
    return dict(zip(events, each))


def filename_in(owner: str, given: Any) -> str:
    if not isinstance(given, str) or not given.endswith(_ENDINGS) or os.path.basename(given) != given:
        raise SpecError(
            f"{owner}: filename must be the name of a file that Keras 3 can write: '*.keras' for the whole model, '*.weights.h5' for its "
            f"weights and its optimizer's state; got {given!r}."
        )
    return given

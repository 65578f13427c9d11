"""What a Keras training depends on beside the weights: learning rates, and everything that is drawn at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

__all__ = ["Optimizers", "learning_rate", "optimizers", "random_state", "seeds", "set_random_state"]


class Optimizers:
    """What is known of the optimizers of this process."""

    def __init__(self) -> None:
        self._compiled: WeakKeyDictionary[Any, float | None] = WeakKeyDictionary()
        self._pending: WeakKeyDictionary[Any, Callable[[], None]] = WeakKeyDictionary()

    def resumed(self, optimizer: Any, compiled: float | None, then: Callable[[], None]) -> None:
        """It has the state of another one now. ``compiled`` was its own learning rate; ``then`` is done when training begins."""
        self._compiled[optimizer] = compiled
        self._pending[optimizer] = then

    def begins(self, optimizer: Any) -> None:
        """It begins to train, or does so again: its learning rate was still as compiled the first time."""
        if optimizer is None:
            return
        self._compiled.setdefault(optimizer, learning_rate(optimizer))
        then = self._pending.pop(optimizer, None)
        if then is not None:
            then()

    def compiled(self, optimizer: Any) -> float | None:
        """The learning rate that it was compiled with; None if that is no number."""
        if optimizer is None:
            return None
        return self._compiled[optimizer] if optimizer in self._compiled else learning_rate(optimizer)


optimizers = Optimizers()


def learning_rate(optimizer: Any) -> float | None:
    """Its learning rate; None if it follows a schedule."""
    rate = optimizer.learning_rate
    return float(keras.ops.convert_to_numpy(rate)) if isinstance(rate, keras.Variable) else None


def seeds(model: Any) -> list[Any]:
    """The variables that layers such as ``Dropout`` draw from, in a fixed order. Keras does not save them with the weights."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def random_state() -> dict[str, Any]:
    """The states of the generators of Python, of numpy, and of torch where it is the back end."""
    state: dict[str, Any] = {"python": random.getstate(), "numpy": np.random.get_state(legacy=False)}  # noqa: NPY002 - users draw from it
    if keras.backend.backend() == "torch":
        import torch

        state["torch"] = torch.get_rng_state().numpy()
        if torch.cuda.is_available():
            state["cuda"] = [each.numpy() for each in torch.cuda.get_rng_state_all()]
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put them back. Those of another back end, or of another number of GPUs, have no use here."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002 - users draw from it
    if keras.backend.backend() == "torch":
        import torch

        if "torch" in state:
            torch.set_rng_state(torch.from_numpy(state["torch"]))
        if len(state.get("cuda", ())) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([torch.from_numpy(each) for each in state.get("cuda", ())])

"""Trials of an experiment that Ray Tune ran, as the same views as our own: with Ray's ids and configurations."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.flat import unflatten
from tunesmith.core.ports import Header
from tunesmith.journal.experiment import Experiment, Read
from tunesmith.journal.trials import TrialBook, TrialInfo

__all__ = ["RayBook", "RayExperiment", "book_of"]


class RayExperiment(Experiment):
    """What all trials of a folder of Ray's share.

    Args:
        header, path, trainable_name, read: as for :class:`~tunesmith.journal.experiment.Experiment`; ``read`` None: the folder is read when
            records are asked for.
        ids: Ray's trial ids, by number.
        constants: entries that all trials have alike: flat path -> value.
        order: flat paths of all entries of configurations, in their order.
    """

    __slots__ = ("constants", "ids", "order")

    def __init__(
        self,
        header: Header,
        path: str,
        trainable_name: str | None = None,
        read: Read | None = None,
        ids: tuple[str, ...] = (),
        constants: dict[str, Any] | None = None,
        order: tuple[str, ...] = (),
    ) -> None:
        super().__init__(header, path, trainable_name, None, read)
        self.ids = ids
        self.constants = constants or {}
        self.order = order

    def shown(self, values: dict[str, Any], version: int) -> dict[str, Any]:
        every = {**self.constants, **values}
        return unflatten({name: copy.deepcopy(every[name]) for name in (*self.order, *every) if name in every})

    @contextmanager
    def opened(self) -> Iterator[Read]:
        if self._read is None:  # a copy that was pickled
            from tunesmith.analysis.ray_folder import read_folder

            self._read = read_folder(self.path)[0].read
        yield self._read

    def detached(self) -> Experiment:
        if self._detached is None:
            self._detached = RayExperiment(self.header, self.path, self.trainable_name, None, self.ids, self.constants, self.order)
        self._detached.spec = self.spec
        return self._detached

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.header, self.path, self.trainable_name, None, self.ids, self.constants, self.order)
        return RayExperiment, arguments, (None, {"spec": self.spec})


class RayBook(TrialBook):
    """Folds records of a folder of Ray's into views."""

    def _suggested(self, event: ev.Suggested, seq: int) -> TrialInfo:
        trial = super()._suggested(event, seq)
        assert isinstance(self.experiment, RayExperiment)
        trial.trial_id = self.experiment.ids[event.trial]
        return trial


def book_of(experiment: Experiment) -> TrialBook:
    """An empty book over the same experiment."""
    return RayBook.of(experiment) if isinstance(experiment, RayExperiment) else TrialBook.of(experiment)

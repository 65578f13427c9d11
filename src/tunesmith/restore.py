"""From an experiment's directory back to the spec that goes on with it (``Tuner.restore``)."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from tunesmith.build import executor_from, trainable_from
from tunesmith.core.events import ExperimentStarted
from tunesmith.core.ports import Header
from tunesmith.errors import JournalCorrupt, JournalError, SpecError
from tunesmith.places import JOURNAL
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec
from tunesmith.specfile import Stored, load

__all__ = ["recorded", "restored"]

_CAN_DO_WITHOUT = {"callbacks": (), "loggers": None, "progress_reporter": None}


def restored(path: str, trainable: Any, param_space: Mapping[str, Any] | None = None) -> ExperimentSpec:
    """The spec of the experiment at ``path``, to be resumed with ``trainable``.

    Args:
        path: its absolute directory; it may have been moved.
        trainable: of the same name as before.
        param_space: the space, as it was or another one; None: the newest that is stored, its secrets from the environment.

    Raises:
        SpecError: the trainable has another name, or a secret is missing.
        JournalError: what is needed is not there or cannot be loaded.
    """
    header, description = recorded(path)
    stored = load(path)
    what = trainable_from(trainable)
    if what.name != description["trainable_name"]:
        before = description["trainable_name"]
        raise SpecError(f"the experiment in {path} was run with the trainable {before!r}, this one is {what.name!r}. Give the same.")
    parts = {name: _part(stored, name) for name in (*stored.parts, *stored.failed) if name != "trainable"}
    space = Space.parse(stored.space_config(param_space))
    spec = ExperimentSpec(**parts, trainable=what, space=space, name=header.name, path=path, executor=executor_from(None), resume=True)
    spec.failure.raise_on_failed_trial = False
    return spec


def recorded(path: str) -> tuple[Header, dict[str, Any]]:
    """The header of the journal in ``path``, and the experiment's description in its first record.

    Raises:
        JournalCorrupt: there is no record.
    """
    from tunesmith.journal import open_reader

    file = os.path.join(path, JOURNAL)
    with closing(open_reader(file)) as reader:
        for record in reader.read():
            if isinstance(record.event, ExperimentStarted):
                return reader.header, record.event.spec
    raise JournalCorrupt(f"{file} has no records: the experiment never began. Run it under another name.")


def _part(stored: Stored, name: str) -> Any:
    try:
        return stored.get(name)
    except JournalError as error:
        if name not in _CAN_DO_WITHOUT:
            raise JournalError(f"{error} Resume from the original script instead, with run(..., resume=True).") from error
        logging.getLogger("tunesmith").warning("%s The run goes on without.", error)
        return _CAN_DO_WITHOUT[name]

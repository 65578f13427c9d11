"""From an experiment's directory back to the spec that goes on with it (``Tuner.restore``)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunesmith import checks
from tunesmith.build import executor_from, resources_of, scheduler_from, trainable_from, verify
from tunesmith.core.codec import DESCRIBING
from tunesmith.core.ports import Header
from tunesmith.create import EXECUTORS
from tunesmith.description import described
from tunesmith.errors import JournalCorrupt, JournalError, SpecError
from tunesmith.objectives import agree
from tunesmith.places import JOURNAL, is_url
from tunesmith.space import Space
from tunesmith.spec import ExperimentSpec, ResumePlan
from tunesmith.specfile import Stored, load
from tunesmith.stopper import stopper_from

if TYPE_CHECKING:
    from tunesmith.executors.base import Executor

__all__ = ["recorded", "restored", "restored_from"]

_CAN_DO_WITHOUT = {"callbacks": (), "loggers": None, "progress_reporter": None}


def restored_from(place: Any, filesystem: Any, trainable: Any, *arguments: Any, **given: Any) -> ExperimentSpec:
    """As :func:`restored`, for an experiment at a path or a URL.

    Args:
        place: path or URL.
        filesystem: in which it is a path, or None.
    """
    if filesystem is None and not is_url(place):
        return restored(os.path.abspath(os.path.expanduser(place)), trainable, *arguments, **given)
    from tunesmith.storage.arrive import arrive
    from tunesmith.storage.remote import remote_from

    remote = remote_from(place, filesystem)
    assert remote is not None, "a URL names a place"
    spec = restored(arrive(remote), trainable, *arguments, **given)
    spec.remote = remote
    return spec


def restored(
    path: str, trainable: Any, param_space: Mapping[str, Any] | None = None, plan: ResumePlan | None = None, **given: Any
) -> ExperimentSpec:
    """The spec of the experiment at ``path``, to be resumed with ``trainable``.

    Args:
        path: its absolute directory; it may have been moved.
        trainable: of the same name as before.
        param_space: the space, as it was or another one; None: the newest that is stored, its secrets from the environment.
        plan: what is taken up; None: what is unfinished.
        given: what takes the place of what is stored: ``num_samples``, ``stop``, ``time_budget_s``, ``max_concurrent_trials``,
            ``scheduler``, ``executor``; each as for :func:`tunesmith.run`.

    Raises:
        SpecError: the trainable has another name, an argument is wrong, or a secret is missing.
        JournalError: what is needed is not there or cannot be loaded.
    """
    header, description = recorded(path)
    stored = load(path)
    what = trainable_from(trainable)
    if what.name != description["trainable_name"]:
        before = description["trainable_name"]
        raise SpecError(f"the experiment in {path} was run with the trainable {before!r}, this one is {what.name!r}. Give the same.")
    values = _checked(given)
    parts = {name: _part(stored, name) for name in (*stored.parts, *stored.failed) if name != "trainable" and name not in values}
    parts.update(values)
    if "scheduler" in values:
        agree(parts["metrics"] or None, parts["modes"] or None, parts["scheduler"], parts["searcher"])
    policy = parts["checkpoint"]
    prepare = getattr(parts["scheduler"], "prepare_space", None)
    config = stored.space_config(param_space)
    spec = ExperimentSpec(
        **parts,
        trainable=replace(what, checkpoint_frequency=policy.frequency, checkpoint_at_end=bool(policy.at_end)),
        space=Space.parse(config if prepare is None else prepare(config)),
        name=_name_in(path, header.name),
        path=path,
        executor=_executor(given, description),
        resume=True,
        plan=plan or ResumePlan(),
    )
    if what.resources is not None:
        spec.resources = resources_of(what)
    spec.failure.raise_on_failed_trial = False
    verify(spec)
    return spec


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the spec that are given anew."""
    known: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "num_samples": ("num_samples", checks.num_samples),
        "stop": ("stop", stopper_from),
        "time_budget_s": ("time_budget_s", lambda value: checks.seconds("time_budget_s", value)),
        "max_concurrent_trials": ("max_concurrent", lambda value: checks.whole("max_concurrent_trials", value, least=1)),
        "scheduler": ("scheduler", scheduler_from),
    }
    return {field: check(given[name]) for name, (field, check) in known.items() if name in given}


def _executor(given: Mapping[str, Any], description: Mapping[str, Any]) -> Executor:
    """The given one, else the one that it ran with; "local" is what runs where nothing else is said."""
    if "executor" in given:
        return executor_from(given["executor"])
    before = description.get("executor")
    return executor_from(before if before in EXECUTORS and before != "local" else None)


def _name_in(path: str, name: str) -> str:
    """The experiment's name as it lies now: that of its directory, or as before if it still lies so ("group/digits")."""
    return name if os.path.normpath(path).endswith(os.path.join(os.sep, *name.split("/"))) else os.path.basename(os.path.normpath(path))


def recorded(path: str) -> tuple[Header, dict[str, Any]]:
    """The header of the journal in ``path``, and the experiment's description with all that later sessions have changed of it.

    Raises:
        JournalCorrupt: there is no record.
    """
    from tunesmith.journal import open_reader

    file = os.path.join(path, JOURNAL)
    with closing(open_reader(file)) as reader:
        description = described(reader.read_kinds(*DESCRIBING))
        if not description:
            raise JournalCorrupt(f"{file} has no records: the experiment never began. Run it under another name.")
        return reader.header, description


def _part(stored: Stored, name: str) -> Any:
    try:
        return stored.get(name)
    except JournalError as error:
        if name not in _CAN_DO_WITHOUT:
            raise JournalError(f"{error} Resume from the original script instead, with run(..., resume=True).") from error
        logging.getLogger("tunesmith").warning("%s The run goes on without.", error)
        return _CAN_DO_WITHOUT[name]

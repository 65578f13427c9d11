"""What earlier experiments found, for a searcher that begins: read from views or from files, and told as far as the space has it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.core.flat import flatten
from tunesmith.errors import SpaceError, SpecError
from tunesmith.hints import did_you_mean
from tunesmith.search.ray_files import json_rows, newest_state
from tunesmith.search.within import Within
from tunesmith.space import Space

if TYPE_CHECKING:
    from tunesmith.search.base import Searcher

__all__ = ["Evaluated", "Known", "evaluated", "tell"]

_log = logging.getLogger("tunesmith")

_OVER = {"TERMINATED": "finished", "ERROR": "failed"}


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A trial of an earlier experiment.

    Args:
        name: for messages.
        config: nested.
        result: its last one, flat; None: it never reported.
        state: "finished", "stopped" (early), "failed", or why it does not count.
        reports: all its results, flat, as far as they are at hand.
    """

    name: str
    config: Mapping[Any, Any]
    result: Mapping[str, Any] | None
    state: str
    reports: Sequence[Mapping[str, Any]] = ()


Known = tuple[list[Evaluated], Any]
"""Trials of one experiment, and what they call the metric."""


# ---- reading


def evaluated(source: Any) -> list[Evaluated]:
    """The trials of ``source``; see :meth:`Searcher.add_evaluated_trials`.

    Raises:
        SpecError: there is nothing at that path, or it is nothing that has trials.
    """
    if isinstance(source, str | os.PathLike):
        return _from_folder(os.path.abspath(os.path.expanduser(os.fspath(source))))
    trials = getattr(source, "trials", source)
    if isinstance(trials, Mapping) or not isinstance(trials, Iterable):
        raise SpecError(f"add_evaluated_trials: expected an analysis, a list of trials or results, or a path; got {source!r}.")
    found: list[Evaluated] = []
    for trial in trials:
        if isinstance(trial, str | os.PathLike):
            found += evaluated(trial)
        else:
            found.append(_from_view(trial))
    return found


def _from_view(view: Any) -> Evaluated:
    """From a trial as readers see it, or one of its results."""
    trial = getattr(view, "trial", view)
    result = view.last_result if hasattr(view, "last_result") else getattr(view, "metrics", None)
    config = getattr(view, "config", None)
    if not isinstance(config, Mapping) or not isinstance(result, Mapping | None):
        raise SpecError(f"add_evaluated_trials: {view!r} is no trial and no result: it has no config, or no last_result or metrics.")
    status = getattr(trial, "status", None)
    if status is None:
        state = "failed" if getattr(view, "error", None) is not None else "finished"
    else:
        state = _OVER.get(status, f"is not over ({status})")
    outcome = getattr(trial, "outcome", None)
    if state == "finished" and outcome in ("stopped", "infeasible"):
        state = "stopped" if outcome == "stopped" else "failed"
    flat = _without_config(result) if result else None
    return Evaluated(str(getattr(trial, "trial_id", "a result")), config, flat, state, _reports(trial, flat))


def _reports(trial: Any, last: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """All reports of one of our trials, by iteration; those that were made again after a restart count once."""
    if last is None or last.get("training_iteration") == 1 or not hasattr(trial, "records"):
        return [] if last is None else [last]
    events = (record.event for record in trial.records() if record.handled)
    by_iteration = {event.iteration: event.metrics for event in events if type(event).__name__ == "Reported"}
    return [by_iteration[iteration] for iteration in sorted(by_iteration)]


def _from_folder(path: str) -> list[Evaluated]:
    if not os.path.isdir(path):
        raise SpecError(f"add_evaluated_trials: there is no directory {path}.")
    folders = [path, *sorted(entry.path for entry in os.scandir(path) if entry.is_dir())]
    folders = [folder for folder in folders if os.path.isfile(os.path.join(folder, "params.json"))]
    if not folders:
        raise SpecError(f"add_evaluated_trials: {path} is no experiment's directory: none of its directories has a params.json.")
    top = os.path.dirname(path) if folders[0] == path else path
    state = newest_state(top)
    statuses = {} if state is None else {trial["trial_id"]: trial["status"] for trial in state.trials}
    return [_from_trial_folder(folder, statuses) for folder in folders]


def _from_trial_folder(folder: str, statuses: Mapping[str, str]) -> Evaluated:
    with open(os.path.join(folder, "params.json"), encoding="utf-8") as file:
        try:
            config = json.load(file)
        except ValueError as error:
            raise SpecError(f"add_evaluated_trials: {folder}/params.json is no JSON: {error}.") from error
    rows = [_without_config(row) for row in json_rows(os.path.join(folder, "result.json"))]
    last = rows[-1] if rows else {}
    status = statuses.get(last.get("trial_id", ""))
    if status is not None:
        state = _OVER.get(status, f"is not over ({status})")
    elif os.path.exists(os.path.join(folder, "error.txt")) and not last.get("done"):
        state = "failed"
    else:
        state = "finished"  # nothing says so of functions that return
    return Evaluated(os.path.basename(folder), config, last or None, state, rows)


def _without_config(result: Mapping[str, Any]) -> dict[str, Any]:
    return flatten({key: value for key, value in result.items() if key != "config"})


# ---- telling


def tell(searcher: Searcher, space: Space, trials: Sequence[Evaluated], metric: Any) -> None:
    """Tell a searcher that is bound to ``space`` of the trials that it has; one logged line tells of the others.

    Raises:
        SpecError: no trial has the metric; or there are several, and as many names were not given.
    """
    names = [metric] if isinstance(metric, str) else list(metric or ())
    own = searcher.metric if isinstance(searcher.metric, list | tuple) else [searcher.metric]
    if len(names) != len(own):
        have = ", ".join(map(str, own))
        raise SpecError(f"add_evaluated_trials: metric={metric!r} must be as many names as the searcher has metrics: {have}.")
    _check_metric(names, trials)
    inside, refusals = Within(space, [trial.config for trial in trials]), []
    for trial in trials:
        try:
            _tell(searcher, trial, inside.config(trial.config), names)
        except SpaceError as error:
            refusals.append(f"{trial.name}: {error}")
    if refusals:
        _log.warning("%d of %d earlier trials are not used by the search; the first is %s", len(refusals), len(trials), refusals[0])


def _check_metric(names: Sequence[str], trials: Sequence[Evaluated]) -> None:
    results = [trial.result for trial in trials if trial.result is not None]
    for name in names:
        if results and not any(name in result for result in results):
            known = sorted({key for result in results for key in result})
            raise SpecError(
                f"add_evaluated_trials: none of the {len(results)} trials with results has {name!r}.{did_you_mean(name, known)} "
                f"Give metric=... if it was called otherwise; they have: {', '.join(known)}."
            )


def _tell(searcher: Searcher, trial: Evaluated, config: Mapping[Any, Any], names: Sequence[str]) -> None:
    if trial.state not in ("finished", "stopped", "failed"):
        raise SpaceError(trial.state)
    result = trial.result or {}
    failed = trial.state == "failed"
    missing = [name for name in names if name not in result]
    if missing and not failed:
        raise SpaceError(f"has no result with {missing[0]!r}")
    values = [result.get(name) for name in names]
    curve = [row[names[0]] for row in trial.reports if isinstance(row.get(names[0]), int | float)] if len(names) == 1 else []
    searcher.add_evaluated_point(
        config, values[0] if len(values) == 1 else values, error=failed, pruned=trial.state == "stopped", intermediate_values=curve or None
    )

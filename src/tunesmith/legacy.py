"""Arguments of Ray Tune's fronts, of any release, that are none of ours: one table that says what becomes of each.

No argument is ignored in silence. One that asks for nothing passes; one that asks for what is always so here is accepted with one
logged line; one that is not built raises and names itself; an unknown one raises with a "did you mean".
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.hints import refuse_unknown

__all__ = ["RULES", "Rule", "settle"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of one argument.

    Args:
        idle: values that ask for nothing, and pass without a word.
        why: ends the sentence: for an accepted one what holds here, for a refused one what to do.
        accepted: with one line; else refused.
    """

    idle: tuple[Any, ...]
    why: str
    accepted: bool = False


def _always(*idle: Any, why: str) -> Rule:
    return Rule(idle, why, accepted=True)


def _missing(*idle: Any, why: str = "remove it") -> Rule:
    return Rule((None, *idle), why)


RULES: Mapping[str, Rule] = {
    "queue_trials": _always(None, False, why="trials that do not fit yet always wait"),
    "ray_auto_init": _always(None, True, why="there is nothing to initialise"),
    "global_checkpoint_period": _always(None, 10, why="every event is recorded as it happens"),
    "sync_on_checkpoint": _always(None, True, why="checkpoints are written where they stay"),
    "sync_to_driver": _always(None, True, False, why="trials write where the driver reads"),
    "_remote": _always(None, False, why="there is no second driver process"),
    "concurrent": _always(None, False, why="experiments run one after another, each with its trials in parallel"),
    "export_formats": _missing([], why="save what you need in a checkpoint instead"),
    "repeat": _missing(why="use num_samples"),
    "restore": _missing(why="load the checkpoint in the trainable, or resume a whole experiment with resume=True"),
    "resume_config": _missing(why="use resume=True, or a form of it such as resume='AUTO+ERRORED'"),
    "run_errored_only": _missing(False, why="use resume='ERRORED_ONLY'"),
    "return_trials": _missing(False, why="use the .trials of what run() returns"),
    "server_port": _missing(4321),
    "with_server": _missing(False),
    "sync_function": _missing(why="give a directory or a URL as storage_path"),
    "sync_to_cloud": _missing(why="give the URL as storage_path"),
    "trial_executor": _missing(why="use executor='inline'"),
    "local_mode": _missing(False, why="use executor='inline', with which trials run in this process"),
    "trial_resources": _missing(why="use resources_per_trial"),
    "upload_dir": _missing(why="give the URL as storage_path"),
    "_experiment_checkpoint_dir": _missing(why="use storage_path and name"),
}


ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "param_space": ("config", "the search space is its argument config"),
    "config": ("param_space", "the search space is its argument param_space"),
    "tune_config": ("num_samples", "what is in a TuneConfig are arguments of its own, as in run(metric=..., num_samples=...)"),
    "run_config": ("storage_path", "what is in a RunConfig are arguments of its own, as in run(name=..., stop=...)"),
    "resources_per_trial": ("param_space", "use tune.with_resources(trainable, {...})"),
    **dict.fromkeys(
        ("metric", "mode", "num_samples", "scheduler", "search_alg"), ("tune_config", "give it in tune_config=TuneConfig(...)")
    ),
    **dict.fromkeys(
        ("name", "stop", "storage_path", "local_dir", "verbose", "callbacks"), ("run_config", "give it in run_config=RunConfig(...)")
    ),
}
"""Argument of the other front -> an argument by which a front is known that has it elsewhere, and where."""


def settle(owner: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Judge the arguments that ``owner`` was given and does not have itself.

    Args:
        owner: who was called, as the message names it, e.g. ``run()``.
        given: the arguments to judge.
        known: the owner's own argument names, for the "did you mean".

    Raises:
        SpecError: one is not built, or unknown.
    """
    for name, value in given.items():
        rule = RULES.get(name)
        mark, place = ELSEWHERE.get(name, ("", ""))
        if rule is None and mark in known:
            raise SpecError(f"{owner} has no argument {name!r}; {place}.")
        if rule is None:
            refuse_unknown(owner, {name: value}, known)
        elif any(value is idle or (type(value) is type(idle) and value == idle) for idle in rule.idle):
            continue
        elif rule.accepted:
            logging.getLogger("tunesmith").warning("%s: argument %s=%r is accepted, and needless: %s.", owner, name, value, rule.why)
        else:
            raise SpecError(f"{owner}: argument {name!r} is not supported yet; {rule.why}.")

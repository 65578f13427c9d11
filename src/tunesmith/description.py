"""What is recorded of an experiment as JSON: made of its spec, folded from its records, compared when it goes on."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.ports import Record
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.secrets import is_secret, redact
from tunesmith.spec import ExperimentSpec

__all__ = ["changed", "changes", "describe", "described"]

_FIXED = {
    "metrics": "results before and after could not be compared",
    "modes": "results before and after could not be compared",
    "trainable_name": "its trials are those of that one",
    "searcher": "what the one has learned would be lost, and the other would propose what was tried",
    "scheduler": "what was decided before would mean nothing to another one",
}
_CALLED = {"trainable_name": "the trainable"}
_USUAL = {"BasicVariantGenerator": ", with search_alg='random'", "AutoSearch": ", with search_alg='auto'"}
"""Those who give no searcher have one of these, and have not heard of it."""


def describe(spec: ExperimentSpec, seed: int, num_samples: int | None, drain_s: float | None) -> dict[str, Any]:
    """What the core decides by, and what readers show. Taken before the run: schedulers and stoppers tell what they were given.

    Args:
        seed: the experiment's; num_samples: trials in all, None: until a limit; drain_s: None: as long as it takes.
    """
    from tunesmith.trainable.class_api import can_save

    failure, checkpoint, executor = spec.failure, spec.checkpoint, spec.executor
    assert executor is not None, "the front chooses the executor"
    fixed = spec.resources if spec.resources is not None and not callable(spec.resources) else {"cpu": 1.0}
    return {
        "seed": seed,
        "metrics": list(spec.metrics),
        "modes": list(spec.modes),
        "num_samples": num_samples,
        "stop": spec.stop.describe() if spec.stop is not None else None,
        "max_concurrent": spec.max_concurrent,
        "resources": dict(fixed),
        "config_resources": callable(spec.resources),
        "deterministic": spec.deterministic,
        "time_budget_s": spec.time_budget_s,
        "max_trial_s": spec.max_trial_s,
        "max_silence_s": spec.max_silence_s,
        "drain_s": drain_s,
        "max_ram": spec.max_ram,
        "retries": dict(failure.retries),
        "identical": failure.identical,
        "nan_policy": failure.nan_policy,
        "fail_fast": bool(failure.fail_fast),
        "growing": executor.capabilities.growing,
        "warm_pause": executor.capabilities.warm_pause,
        "can_save": spec.trainable.kind == "class" and can_save(spec.trainable.target),
        "num_to_keep": checkpoint.num_to_keep,
        "score_attribute": checkpoint.score_attribute,
        "score_order": checkpoint.score_order,
        "keep_best": checkpoint.keep_best,
        "max_checkpoint_bytes": checkpoint.max_bytes,
        "save_at_end": bool(checkpoint.at_end),
        "name": spec.name,
        "trainable_name": spec.trainable.name,
        "searcher": spec.searcher.label,
        "search": spec.searcher.explain(),
        "scheduler": type(spec.scheduler).__name__,
        "scheduler_options": redact(spec.scheduler.options()),
        "executor": executor.capabilities.name,
        **({"executor_why": spec.executor_why} if spec.executor_why else {}),
        "space": spec.space.describe(redact=is_secret),
    }


def described(records: Iterable[Record]) -> dict[str, Any]:
    """The experiment's description as it stands after these records: as it began, with all that was changed since.

    Example:
        >>> began = Record(ev.ExperimentStarted({"num_samples": 2, "seed": 7}))
        >>> described([began, Record(ev.SpecChanged({"num_samples": 5}))])
        {'num_samples': 5, 'seed': 7}
    """
    spec: dict[str, Any] = {}
    for record in records:
        if record.handled:
            spec = changed(spec, record.event)
    return spec


def changed(spec: dict[str, Any], event: ev.Event) -> dict[str, Any]:
    """The description after one more event."""
    if type(event) is ev.ExperimentStarted:
        return {**spec, **event.spec} if event.spec else spec
    return {**spec, **event.changes} if type(event) is ev.SpecChanged else spec


def changes(path: str, before: Mapping[str, Any], now: Mapping[str, Any], changeable: Container[str] = ()) -> dict[str, Any]:
    """What a session gives another value than the experiment has, to be recorded. The seed stays; of the space others take care.

    Args:
        path: of the experiment, for messages.
        before, now: descriptions, see :func:`described`.
        changeable: options of the scheduler that may differ.

    Raises:
        SpecError: something differs that cannot; names both values.

    Example:
        >>> changes("/runs/x", {"num_samples": 2, "metrics": ["loss"]}, {"num_samples": 5, "metrics": ["loss"]})
        {'num_samples': 5}
        >>> changes("/runs/x", {"metrics": ["loss"]}, {"metrics": ["acc"]})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        tunesmith.errors.SpecError: resume of /runs/x: metrics were ['loss'] and are now ['acc']; ...
    """
    old, new = ({**spec, **asdict(Settings.parse(spec))} for spec in (before, now))
    told_only = ("seed", "space", "search", "executor_why")
    differing = {key: value for key, value in new.items() if old.get(key) != value and key not in told_only}
    for key, why in _FIXED.items():
        if key in differing and key in before:
            what, one = _differs(key, before[key], now.get(key))
            name = _USUAL.get(str(before[key]), "") if key == "searcher" else ""
            raise SpecError(f"resume of {path}: {what}; {why}. Give the old {one}{name}, or begin a new experiment.")
    if "scheduler_options" in differing and before.get("scheduler_options") is not None:
        _check_options(path, now["scheduler"], before["scheduler_options"], now["scheduler_options"], changeable)
    return {key: now.get(key, value) for key, value in differing.items()}


def _differs(key: str, before: Any, now: Any) -> tuple[str, str]:
    if isinstance(before, list | tuple):
        return f"{key} were {list(before)} and are now {list(now or ())}", "ones"
    return f"{_CALLED.get(key, f'the {key}')} was {before!r} and is now {now!r}", "one"


def _check_options(path: str, scheduler: str, old: Mapping[str, Any], new: Mapping[str, Any], changeable: Container[str]) -> None:
    for name in old.keys() & new.keys():
        if old[name] != new[name] and name not in changeable:
            raise SpecError(
                f"resume of {path}: {scheduler}'s {name} was {old[name]!r} and is now {new[name]!r}; what it decided before would have "
                f"been decided otherwise. Give the old value, or begin a new experiment."
            )

"""What the core decides by: the JSON part of an experiment's description, parsed once.

Anything else in the dict (the space's description, names, versions) is for readers and is ignored here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["Settings"]


@dataclass(slots=True)
class Settings:
    """Settings of one experiment.

    Args:
        seed: of all streams.
        metrics, modes: objectives, of equal length; modes are "min" or "max".
        num_samples: trials to run in all; None: until a limit.
        max_concurrent: attempts at once; None: as many as fit.
        resources: what an attempt takes by default.
        config_resources: resources depend on the configuration, so it must be drawn before it is known whether it fits.
        pending_cap: with ``config_resources``: how many drawn trials may wait for resources.
        deterministic: the order of events is independent of timing; no timers.
        time_budget_s: seconds of the experiment's clock after which everything is stopped.
        max_trial_s: seconds that one attempt may run, pauses not counted.
        max_silence_s: seconds that an attempt may go without a report.
        drain_s: seconds that attempts have to end once the experiment does; then they are killed. None: as long as it takes (always
            so with ``deterministic``).
        retries: outcome class -> retries per trial (-1: without end), over the defaults of :mod:`tunesmith.core.policy`.
        identical: circuit breaker; None: off.
        fail_fast: the first trial that ends in ERROR ends the experiment.
        nan_policy: "fail": an objective that is nan ends the trial with outcome nan; "continue": it is a value like others.
        growing: the executor's capacity may grow, so what does not fit waits.
        warm_pause: paused attempts may stay blocked in ``report``; ``warm_slots``: at most so many, until the executor knows how many have
            room in memory, and always with ``deterministic``.
        can_save: the trainable writes a checkpoint when asked (class API).
        num_to_keep, score_attribute, score_order: retention per trial.
        keep_best: of the ended trials so many keep a checkpoint, one each; max_checkpoint_bytes: of all checkpoints together; None: all.
        save_at_end: ask for a checkpoint when a trial is stopped.
        exploit_wait_s: how long an exploit may wait for its source's checkpoint.
    """

    seed: int = 0
    metrics: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    num_samples: int | None = 1
    max_concurrent: int | None = None
    resources: dict[str, float] = field(default_factory=lambda: {"cpu": 1.0})
    config_resources: bool = False
    pending_cap: int = 16
    deterministic: bool = False
    time_budget_s: float | None = None
    max_trial_s: float | None = None
    max_silence_s: float | None = None
    drain_s: float | None = None
    retries: dict[str, int] = field(default_factory=dict)
    identical: int | None = 5
    fail_fast: bool = False
    nan_policy: str = "fail"
    growing: bool = False
    warm_pause: bool = False
    warm_slots: int = 64
    can_save: bool = False
    num_to_keep: int | None = None
    score_attribute: str | None = None
    score_order: str = "max"
    keep_best: int | None = None
    max_checkpoint_bytes: int | None = None
    save_at_end: bool = False
    exploit_wait_s: float = 60.0

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> Settings:
        """The settings in a spec; keys that are not ours are ignored, missing ones have their defaults."""
        names = {f.name for f in fields(cls)}
        settings = cls(**{key: value for key, value in spec.items() if key in names})
        settings.metrics = tuple(settings.metrics)
        settings.modes = tuple(settings.modes)
        return settings

    def change(self, changes: Mapping[str, Any]) -> None:
        """Apply a ``SpecChanged``."""
        names = {f.name for f in fields(self)}
        for key, value in changes.items():
            if key in names:
                setattr(self, key, tuple(value) if key in ("metrics", "modes") else value)

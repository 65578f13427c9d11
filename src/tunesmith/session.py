"""``tune.session``: what a running trial can ask and tell, for scripts that say ``session.report(...)``."""

from __future__ import annotations

from tunesmith.trainable.session import (
    TuneContext,
    checkpoint_dir,
    get_checkpoint,
    get_context,
    get_experiment_name,
    get_trial_dir,
    get_trial_id,
    get_trial_name,
    get_trial_resources,
    is_session_enabled,
    report,
)

__all__ = [
    "TuneContext",
    "checkpoint_dir",
    "get_checkpoint",
    "get_context",
    "get_experiment_name",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_name",
    "get_trial_resources",
    "is_session_enabled",
    "report",
]

"""``tune.track``: how functions reported in the first releases of Ray Tune, as in ``track.log(loss=0.1)``."""

from __future__ import annotations

from tunesmith.trainable.track import init, log, shutdown, trial_dir

__all__ = ["init", "log", "shutdown", "trial_dir"]

"""``params.json``, and ``params.pkl`` where JSON cannot hold the configuration."""

from __future__ import annotations

import logging
import os
from typing import Any

from tunesmith.logger.encode import config_text, json_holds
from tunesmith.logger.files import replace, write_new

__all__ = ["write_params"]

_log = logging.getLogger("tunesmith")


def write_params(directory: str, config: dict[str, Any]) -> None:
    """Write ``config`` (without secrets) into a trial's directory, which is made if needed."""
    write_new(f"{directory}/params.json", config_text(config).encode("utf-8", "backslashreplace"))
    if json_holds(config):
        return
    import cloudpickle

    try:
        pickled = cloudpickle.dumps(config)
    except Exception as error:
        _log.warning(
            "params.pkl is not written for trial directory %s: its configuration cannot be pickled (%s: %s). params.json has it as text.",
            os.path.basename(directory), type(error).__name__, error,
        )  # fmt: skip
        return
    replace(f"{directory}/params.pkl", pickled)

"""``params.json``, and ``params.pkl`` where JSON cannot hold the configuration; and which parts of that were drawn."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from tunesmith.journal.tags import is_scalar
from tunesmith.logger.encode import SCALARS, by_line, entries, json_holds, one_line
from tunesmith.logger.files import replace, write_new

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialInfo

__all__ = ["drawn_paths", "write_params"]

_log = logging.getLogger("tunesmith")


def drawn_paths(trial: TrialInfo) -> frozenset[str]:
    """Where drawn values lie in the trial's configuration: what :func:`tunesmith.secrets.redact` is to leave alone.

    An option that is a dict or a list is not among them: it was chosen as a whole, and constants in it may be secrets.
    """
    drawn = trial.evaluated_params
    if SCALARS.issuperset(map(type, drawn.values())):
        return frozenset(drawn)
    return frozenset([path for path, value in drawn.items() if is_scalar(value)])


def write_params(directory: str, config: dict[str, Any], described: bool = False) -> str:
    """Write ``config`` (without secrets) into a trial's directory, which is made if needed.

    Args:
        described: the config is the journal's description, with names in place of what JSON cannot hold. It gives way to files that
            were written from the real one.

    Returns:
        The config as JSON on one line.
    """
    if described and os.path.exists(f"{directory}/params.pkl"):
        return one_line(config)
    texts = entries(config)
    write_new(f"{directory}/params.json", by_line(texts).encode("utf-8", "backslashreplace"))
    if json_holds(config):
        return f"{{{', '.join(texts)}}}"
    if not described:
        _pickle(directory, config)
    return one_line(config)


def _pickle(directory: str, config: dict[str, Any]) -> None:
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

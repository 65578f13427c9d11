"""What W&B is shown: of a configuration all but secrets, of a result numbers, text, arrays, images, figures and its own objects."""

from __future__ import annotations

import json
import logging
from collections.abc import Container, Mapping
from typing import Any

from tunesmith.core.flat import flatten
from tunesmith.integration.wandb_settings import BLOCK
from tunesmith.logger.encode import one_line
from tunesmith.secrets import redact

__all__ = ["config_shown", "metrics_shown", "pictures"]

_log = logging.getLogger("tunesmith")

_NOT_SHOWN = frozenset(
    {"config", "trial_id", "experiment_tag", "node_ip", "hostname", "pid", "date", "done", "should_checkpoint", "checkpoint_dir_name"}
)
_SCALARS = (int, float, str)
_AS_THEY_ARE = ("wandb", "plotly", "matplotlib")


def config_shown(config: Mapping[str, Any], drawn: Container[str] = ()) -> dict[str, Any]:
    """A configuration for W&B: nested as it is, as JSON has it, without the block of W&B's settings and without secrets.

    Example:
        >>> config_shown({"lr": 0.1, "act": len, "max_tokens": 9, "hub": {"token": "x"}, "wandb": {"project": "p"}})
        {'lr': 0.1, 'act': 'builtins.len', 'max_tokens': 9, 'hub': {}}
    """
    shown: dict[str, Any] = json.loads(one_line(redact(_plain(config), drawn)))
    shown.pop(BLOCK, None)
    return shown


def metrics_shown(result: Mapping[str, Any], config: Mapping[str, Any] | None, excludes: tuple[str, ...]) -> dict[str, Any]:
    """The numbers and strings of a result, flat, and those of ``config`` under "config/".

    Example:
        >>> metrics_shown({"loss": 0.5, "val/acc": 1, "val/n": 3, "pid": 7}, {"opt": {"lr": 0.1}}, ("val/n",))
        {'loss': 0.5, 'val/acc': 1, 'config/opt/lr': 0.1}
    """
    row = {name: value for name, value in result.items() if name not in _NOT_SHOWN}
    if config is not None:
        row.update(flatten({"config": config}))
    return {name: value for name, value in row.items() if isinstance(value, _SCALARS) and not _excluded(name, excludes)}


def pictures(wandb: Any, result: Mapping[str, Any], excludes: tuple[str, ...]) -> dict[str, Any]:
    """What of a result is neither number nor text, as W&B can show it. What cannot be shown is left out.

    Arrays and lists of numbers of one or two dimensions become histograms; three: an image (height, width, channels), four: images,
    five: a video (as ``wandb.Video`` wants it). Pillow's images, Plotly's and Matplotlib's figures and objects of W&B are shown.
    """
    found = {}
    for name, value in result.items():
        if name in _NOT_SHOWN or value is None or isinstance(value, _SCALARS) or _excluded(name, excludes):
            continue
        shown = _picture(wandb, value)
        if shown is not None:
            found[name] = shown
    return found


def _picture(wandb: Any, value: Any) -> Any:
    home = type(value).__module__.partition(".")[0]
    if home in _AS_THEY_ARE:
        return value
    if home == "PIL":
        return wandb.Image(value)
    if isinstance(value, list | tuple) and value and all(type(one).__module__.partition(".")[0] in ("wandb", "PIL") for one in value):
        return [_picture(wandb, one) for one in value]
    array = _array(value)
    if array is None:
        return None
    try:
        if array.ndim <= 2:
            return wandb.Histogram(array.ravel())
        if array.ndim == 3:
            return wandb.Image(array)
        return [wandb.Image(one) for one in array] if array.ndim == 4 else wandb.Video(array)
    except Exception as error:
        _log.warning("W&B cannot show an array of shape %s: %s: %s", array.shape, type(error).__name__, error)
        return None


def _array(value: Any) -> Any:
    """``value`` as an array of numbers with 1 to 5 dimensions; None: it is none."""
    import numpy as np  # the client itself needs it

    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except Exception:
        return None
    return array if array.dtype.kind in "biuf" and 1 <= array.ndim <= 5 and array.size else None


def _excluded(name: str, excludes: tuple[str, ...]) -> bool:
    return any(name == one or name.startswith(f"{one}/") for one in excludes)


def _plain(config: Any) -> Any:
    """Dicts of any kind as plain ones. The values are taken past the dict's own methods: one that notes what the trial reads of it should
    not take this for reading."""
    if isinstance(config, dict):
        return {key: _plain(value) for key, value in dict.items(config)}
    return config

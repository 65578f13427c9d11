"""What TensorBoard shows beside scalars: histograms, images, and the hyperparameters of a trial (its HParams tab)."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from typing import Any

from tunesmith.core.flat import flatten
from tunesmith.logger.encode import one_line
from tunesmith.logger.tfevents import Form, chunk, double, varint
from tunesmith.secrets import redact

__all__ = ["Hparam", "hparams_of", "png", "rich_summary", "session_end", "session_start"]

Hparam = bool | float | str
_LONGEST = 500
_MOST = 1000
_SUCCESS, _FAILURE = 1, 2


def _text(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _value(tag: str, content: bytes) -> bytes:
    """A ``Summary`` with one value."""
    return chunk(1, chunk(1, _text(tag)) + content)


# -- hyperparameters ----------------------------------------------------------------------------------------------------------


def hparams_of(config: Mapping[str, Any], drawn: Container[str] = ()) -> dict[str, Hparam]:
    """What the HParams tab can show of a config: numbers, booleans and strings under flat names; all else as text, secrets and
    empty blocks left out.

    Args:
        config: of the trial.
        drawn: paths of the configuration that were drawn: what lies there is no secret.

    Example:
        >>> hparams_of({"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}, "decay": None, "api_key": "x"})
        {'lr': 0.1, 'opt/name': 'adam', 'opt/betas': '[0.9, 0.99]', 'decay': 'None'}
    """
    return {name: _hparam(value) for name, value in flatten(redact(config, drawn)).items() if type(value) is not dict}


def _hparam(value: Any) -> Hparam:
    if isinstance(value, (bool, str)):
        return value[:_LONGEST] if isinstance(value, str) else value
    if not isinstance(value, (int, float)) and getattr(value, "shape", None) == ():  # numpy's numbers, tensors without dimensions
        value = value.item()
    if isinstance(value, (bool, int, float)):
        try:
            number = value if isinstance(value, bool) else float(value)
        except OverflowError:
            return str(value)[:_LONGEST]
        return number if math.isfinite(number) else str(number)  # TensorBoard hides others
    if _count(value) > _MOST:
        return f"{type(value).__name__} of {_count(value)}"
    return "None" if value is None else one_line(value)[:_LONGEST].strip('"')


def _count(value: Any) -> int:
    """How many elements it has, as far as can be told without going through them."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return math.prod(shape)
    return len(value) if isinstance(value, (list, tuple, set, frozenset, dict, bytes)) else 0


def session_start(hparams: Mapping[str, Hparam], name: str, started: float, wall: float) -> bytes:
    """The record from which the HParams tab knows a trial.

    Args:
        name: shown as the trial's id.
        started: when, seconds since the epoch.
        wall: of the record.
    """
    known = [(key, value if isinstance(value, str) else type(value)) for key, value in hparams.items()]
    numbers = [value for value in hparams.values() if not isinstance(value, str)]
    trial = _text(name)
    return _start_form(tuple(known), len(trial)).records([(wall, *numbers, trial, started)])


@lru_cache(maxsize=256)
def _start_form(hparams: tuple[tuple[str, str | type], ...], size: int) -> Form:
    """With gaps for the wall time, the hyperparameters that are no text, the trial's name of ``size`` bytes, and when it started."""
    parts: list[tuple[bytes, str]] = []  # each may end in a gap
    for key, value in hparams:
        held, code = (chunk(3, _text(value)), "") if isinstance(value, str) else _HELD[value]
        parts.append((chunk(1, chunk(1, _text(key)) + chunk(2, held)), code))
    parts += [(chunk(4, bytes(size)), f"{size}s"), (double(5, 0.0), "d")]
    content = b"".join([part for part, _ in parts])
    data = double(1, 0.0) + _hparams_event("_hparams_/session_start_info", chunk(3, content))
    gaps, at = [(1, "d")], len(data) - len(_NO_TENSOR) - len(content)
    for part, code in parts:
        at += len(part)
        if code:
            gaps.append((at - struct.calcsize(f"<{code}"), code))
    return Form(data, gaps)


_HELD: dict[Any, tuple[bytes, str]] = {float: (double(2, 0.0), "d"), bool: (b"\x20\x00", "?")}


def session_end(failed: bool, wall: float) -> bytes:
    """The record that says how the trial ended, and when."""
    return _end_form(failed).records([(wall, wall)])


@lru_cache(maxsize=2)
def _end_form(failed: bool) -> Form:
    ended = chunk(4, b"\x08" + varint(_FAILURE if failed else _SUCCESS) + double(2, 0.0))
    data = double(1, 0.0) + _hparams_event("_hparams_/session_end_info", ended)
    return Form(data, [(1, "d"), (len(data) - len(_NO_TENSOR) - 8, "d")])


_NO_TENSOR = chunk(8, b"\x08\x01" + chunk(2, chunk(2, b"\x08\x01")) + chunk(5, bytes(4)))
"""The plugin's data is in the metadata; the value itself is a vector of one zero."""


def _hparams_event(tag: str, content: bytes) -> bytes:
    return chunk(5, _value(tag, chunk(9, chunk(1, chunk(1, b"hparams") + chunk(2, content))) + _NO_TENSOR))


# -- arrays -------------------------------------------------------------------------------------------------------------------


def rich_summary(values: Iterable[tuple[str, Any]]) -> bytes:
    """A ``Summary`` with those of the named values that can be shown; empty if none can.

    Arrays (numpy's, tensors, lists of numbers) of three dimensions of which the first or the last has 1, 3 or 4 entries are an image, as
    (channels, height, width) or (height, width, channels): the former if both would do. With a dimension more in front they are several
    images, laid out as one. Integers go from 0 to 255, floats from 0 to 1. PIL's images are images. All others are histograms of their
    finite elements.
    """
    return b"".join([_rich(name, value) for name, value in values])


def _rich(name: str, value: Any) -> bytes:
    try:
        array = _array(value)
        if array is None:
            return b""
        pixels = _pixels(array, pictured=type(value).__module__.partition(".")[0] == "PIL")
        content = _histogram(array) if pixels is None else _image(pixels)
    except Exception:  # whatever a foreign object does when it is asked for its elements: it cannot be shown
        return b""
    return _value(name, content) if content else b""


def _array(value: Any) -> Any:
    """``value`` as an array of numbers; None: it is none."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
    array = np.asarray(value)
    return array if array.size and array.dtype.kind in "biuf" else None


def _histogram(array: Any) -> bytes:
    import numpy as np

    data = array.astype(np.float64).ravel()
    data = data[np.isfinite(data)]
    if not data.size:
        return b""
    low, high = float(data.min()), float(data.max())
    if low == high or not math.isfinite(high - low):
        counts, limits = [float(data.size)], [high]
    else:
        found, edges = np.histogram(data, bins=64)
        counts, limits = found.tolist(), edges[1:].tolist()
    with np.errstate(over="ignore"):
        total, squares = float(data.sum()), float(np.dot(data, data))
    numbers = b"".join([double(field, number) for field, number in enumerate((low, high, data.size, total, squares), 1)])
    packed = struct.Struct(f"<{len(limits)}d")
    return chunk(5, numbers + chunk(6, packed.pack(*limits)) + chunk(7, packed.pack(*counts)))


def _pixels(array: Any, pictured: bool) -> Any:
    """Height, width, channels; bytes. None: it is no image."""
    import numpy as np

    if pictured and array.ndim == 2:
        array = array[:, :, None]
    if array.ndim not in (3, 4):
        return None
    if array.shape[-3] in (1, 3, 4) and not pictured:
        array = np.moveaxis(array, -3, -1)
    elif array.shape[-1] not in (1, 3, 4):
        return None
    if array.ndim == 4:
        array = _side_by_side(array)
    if array.dtype.kind in "fb":
        array = np.nan_to_num(array.astype(np.float32), nan=0.0) * 255 + 0.5
    return array.clip(0, 255).astype(np.uint8)


def _side_by_side(images: Any) -> Any:
    """Several images as one, in rows that are as many as they are long."""
    import numpy as np

    count, height, width, channels = images.shape
    columns = math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    grid = np.zeros((rows * columns, height, width, channels), images.dtype)
    grid[:count] = images
    return grid.reshape(rows, columns, height, width, channels).swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def _image(pixels: Any) -> bytes:
    height, width, channels = pixels.shape
    numbers = b"".join([bytes((field << 3,)) + varint(number) for field, number in enumerate((height, width, channels), 1)])
    return chunk(4, numbers + chunk(4, png(pixels)))


def png(pixels: Any) -> bytes:
    """An array of bytes (height, width, channels: 1, 3 or 4) as a PNG file."""
    import numpy as np

    height, width, channels = pixels.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with 0: no filter
    lines[:, 1:] = pixels.reshape(height, width * channels)
    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    )

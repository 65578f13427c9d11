"""TensorBoard's event files, written and read without TensorFlow, tensorboardX or protobuf: loading those takes longer than many a run.

A file is a sequence of records: length, its checksum, data, its checksum. The data is an ``Event`` message: wall time, step, and what
happened. Checksums are CRC-32C, which Python does not have. A loop over bytes would cost more than all else together; but checksums are
linear, so those of events that differ in a few bytes only are made of one table per such byte (:class:`Form`).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import chain
from operator import getitem, xor
from typing import Any

__all__ = [
    "EventRecord", "Form", "chunk", "crc32c", "double", "event", "layout_of", "narrow", "read_events", "restart", "varint", "version",
]  # fmt: skip

_LOW = 0xFFFFFFFF
_MASK = 0xA282EAD8
_FRAME = struct.Struct("<QI")
_NUMBER = struct.Struct("<I")
_DOUBLE = struct.Struct("<d")
_MANY = 20  # rows from which on it is quicker to take them by columns
_LARGEST = 3.4028234663852886e38  # of 32-bit floats


_TABLE = list(range(256))
for _ in range(8):
    _TABLE = [register >> 1 ^ (0x82F63B78 if register & 1 else 0) for register in _TABLE]


def crc32c(data: bytes) -> int:
    """The CRC-32C of ``data``.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    register = _LOW
    for byte in data:
        register = _TABLE[(register ^ byte) & 255] ^ register >> 8
    return register ^ _LOW


def _masked(crc: int) -> int:  # as checksums stand in files
    return ((crc >> 15 | crc << 17) + _MASK) & _LOW


@lru_cache(maxsize=256)
def _head(length: int) -> bytes:
    """What a record of that many bytes of data begins with."""
    return _FRAME.pack(length, _masked(crc32c(length.to_bytes(8, "little"))))


# -- messages -----------------------------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    """``number`` in as few bytes as it takes, seven bits each; a negative one as its 64-bit complement."""
    number &= 0xFFFFFFFFFFFFFFFF
    if number < 128:
        return bytes((number,))
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def chunk(field: int, data: bytes) -> bytes:
    """Text, bytes or a message as that field of another message (at most 15)."""
    return bytes((field << 3 | 2,)) + varint(len(data)) + data


def double(field: int, number: float) -> bytes:
    """A 64-bit float as that field of a message (at most 15)."""
    return bytes((field << 3 | 1,)) + _DOUBLE.pack(number)


def event(wall: float, step: int | None, body: bytes) -> bytes:
    """A record.

    Args:
        wall: seconds since the epoch.
        step: None: it belongs to none.
        body: what happened, with the field's number (``chunk(5, summary)``, say).
    """
    data = double(1, wall) + (b"" if step is None else b"\x10" + varint(step)) + body
    return _head(len(data)) + data + _NUMBER.pack(_masked(crc32c(data)))


# -- records that are alike -------------------------------------------------------------------------------------------------


class Form:
    """Records that differ in a few places only: all that they have in common is worked out once.

    Args:
        data: of such a record, with zeros where they differ.
        gaps: these places, in order: where each begins, and the ``struct`` character of what stands there.

    Example:
        >>> form = Form(double(1, 0.0) + chunk(3, b"brain.Event:2"), [(1, "d")])
        >>> form.records([(1.5,), (2.5,)]) == version(1.5) + version(2.5)
        True
    """

    __slots__ = ("_base", "_places", "_planes", "_spread", "_tables", "_template", "_varying", "size")

    def __init__(self, data: bytes, gaps: Sequence[tuple[int, str]]) -> None:
        head = _head(len(data))
        spread, varying, end = f"<{len(head)}x", "<", 0
        places: list[int] = []
        for at, code in gaps:
            spread += f"{at - end}x{code}"
            varying += code
            end = at + struct.calcsize(f"<{code}")
            places += range(at, end)
        self._spread = struct.Struct(f"{spread}{len(data) - end}xI")
        self._varying = struct.Struct(varying)
        self.size = self._spread.size
        self._template = head + data + bytes(4)
        self._base = crc32c(data)
        self._tables = _tables([len(data) - 1 - place for place in places])
        self._places = [len(head) + place for place in places]
        self._planes: list[list[bytes]] = []

    def records(self, rows: Sequence[tuple[Any, ...]]) -> bytes:
        """One after the other, each given by what stands at its gaps.

        Raises:
            OverflowError: a number does not fit.
        """
        return self._few(rows) if len(rows) < _MANY else self._many(rows)

    def _few(self, rows: Sequence[tuple[Any, ...]]) -> bytes:
        spread = b""
        for row in rows:
            crc = reduce(xor, map(getitem, self._tables, self._varying.pack(*row)), self._base)
            spread += self._spread.pack(*row, _masked(crc))
        return _either(spread, self._template * len(rows))

    def _many(self, rows: Sequence[tuple[Any, ...]]) -> bytes:
        """The same, all rows at once: what a byte adds to each of the four of a checksum is looked up for its whole column."""
        count, size = len(rows), self.size
        if not self._planes:
            packed = [struct.pack("<256I", *table) for table in self._tables]
            self._planes = [[table[byte::4] for byte in range(4)] for table in packed]
        spread = b"".join([self._spread.pack(*row, 0) for row in rows])
        sums = [int.from_bytes(bytes((byte,)) * count, "little") for byte in _NUMBER.pack(self._base)]
        for place, planes in zip(self._places, self._planes, strict=True):
            column = spread[place::size]
            for byte, plane in enumerate(planes):
                sums[byte] ^= int.from_bytes(column.translate(plane), "little")
        columns = [one.to_bytes(count, "little") for one in sums]
        masked = struct.pack(f"<{count}I", *[_masked(crc) for (crc,) in _NUMBER.iter_unpack(bytes(chain(*zip(*columns, strict=True))))])
        block = bytearray(_either(spread, self._template * count))
        for byte in range(4):
            block[size - 4 + byte :: size] = masked[byte::4]
        return bytes(block)


def _either(one: bytes, other: bytes) -> bytes:
    """Both, where at least one of them has a zero at each place."""
    return (int.from_bytes(one, "little") | int.from_bytes(other, "little")).to_bytes(len(one), "little")


_known: dict[int, array[int]] = {}


def _tables(wanted: Sequence[int]) -> list[array[int]]:
    """For each number of bytes that stand behind one in some data: what that one adds to the checksum, compared with a zero there."""
    missing = set(wanted).difference(_known)
    bits = [_TABLE[1 << bit] for bit in range(8)]
    for behind in range(max(missing, default=-1) + 1):
        if behind in missing:
            table = [0]
            for bit in bits:
                table += [bit ^ known for known in table]
            _known[behind] = array("I", table)
        bits = [_TABLE[bit & 255] ^ bit >> 8 for bit in bits]
    return [_known[behind] for behind in wanted]


def version(wall: float) -> bytes:
    """The first record of a file."""
    return _said(b"", chunk(3, b"brain.Event:2")).records([(wall,)])


def restart(wall: float, step: int) -> bytes:
    """A record that takes back all that stands before it at ``step`` and later."""
    return _said(b"\x10" + varint(step), chunk(7, b"\x08\x01")).records([(wall,)])


@lru_cache(maxsize=16)
def _said(step: bytes, body: bytes) -> Form:
    return Form(double(1, 0.0) + step + body, [(1, "d")])


@lru_cache(maxsize=128)
def layout_of(tags: tuple[str, ...], width: int) -> Form:
    """Events with scalars under these tags: gaps are the wall time, the step (as :func:`varint`, ``width`` bytes), a number for each tag.

    Example:
        >>> record = layout_of(("loss",), 1).records([(1.5, varint(7), 0.25)])
        >>> record == event(1.5, 7, chunk(5, chunk(1, chunk(1, b"loss") + b"\\x15" + struct.pack("<f", 0.25))))
        True
    """
    values = [chunk(1, chunk(1, tag.encode("utf-8", "backslashreplace")) + b"\x15" + bytes(4)) for tag in tags]
    data = double(1, 0.0) + b"\x10" + bytes(width) + chunk(5, b"".join(values))
    gaps, at = [(1, "d"), (10, f"{width}s")], len(data) - sum(map(len, values))
    for value in values:
        at += len(value)
        gaps.append((at - 4, "f"))
    return Form(data, gaps)


def narrow(value: float) -> float:
    """The nearest that a 32-bit float can hold, which may be infinite."""
    if -_LARGEST <= value <= _LARGEST or value != value:
        return value
    return float("inf") if value > 0 else float("-inf")


# -- reading ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A record that was read.

    Args:
        raw: all of it.
        wall: its wall time.
        step: None: it belongs to none.
        kind: "scalars", "rich" (images, histograms), "restart", or "" for what is said once, of the file or of the trial.
    """

    raw: bytes
    wall: float
    step: int | None
    kind: str

    def whole(self) -> bool:
        """Whether the checksum agrees."""
        return self.raw[-4:] == _NUMBER.pack(_masked(crc32c(self.raw[12:-4])))


def read_events(data: bytes) -> Iterator[EventRecord]:
    """What an event file of ours holds, up to the first record that is cut off or cannot be read."""
    at = 0
    while at + 16 <= len(data):
        length, _ = _FRAME.unpack_from(data, at)
        end = at + 16 + length
        if end > len(data) or data[at : at + 12] != _head(length):
            return
        try:
            yield _parsed(data[at:end])
        except (IndexError, ValueError, struct.error):
            return
        at = end


def _parsed(raw: bytes) -> EventRecord:
    wall, step, kind = 0.0, None, ""
    for field, value in _fields(raw[12:-4]):
        if field == 1:
            wall = _DOUBLE.unpack(value)[0]
        elif field == 2:
            step = value - (value >> 63 << 64)
        elif field == 7:
            kind = "restart"
        elif field == 5 and step is not None:
            inner = {name for _, one in _fields(value) for name, _ in _fields(one)}
            kind = "scalars" if 2 in inner else "rich"
    return EventRecord(raw, wall, step, kind)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        if key & 7 == 0:
            value, at = _number(message, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(key & 7, 0)
        if key & 7 == 2:
            size, at = _number(message, at)
        if (not size and key & 7 != 2) or at + size > len(message):
            raise ValueError("this is no message")
        yield key >> 3, message[at : at + size]
        at += size


def _number(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7

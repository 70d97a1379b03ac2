"""AVIF: coded frames of one picture. Those before the one that is shown are decoded too."""

import struct
from collections.abc import Iterator
from itertools import product
from typing import Final

from assay.image.complexity.bounds import TooComplex
from assay.image.complexity.tiff import check_embedded

_BOXES: Final = 10_000
_FRAMES: Final = 8
"""Coded frames of an item or of a sequence's first sample; layered pictures have up to four."""
_FRAME_UNITS: Final = {3, 6}
"""Kinds of AV1 units: a frame's header, a frame."""
_ITEMS: Final = 4_096
_TABLES: Final = 32
"""Tables of samples; a track has two, and a sequence with alpha two tracks."""
_PIECES: Final = 16_384
_UNITS: Final = 100_000
"""AV1 units of all items: a picture has some, and one for each group of tiles at most."""
_TIMES: Final = 4
"""How many times the length of the file all items may have: they may all name the same bytes."""
_CONTAINERS: Final = {b"meta": 4, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}
_DEPTH: Final = 8


def check(data: bytes) -> None:
    """Count boxes, items and the coded frames of each item.

    Raises:
        TooComplex: there are too many.

    Source: ISO/IEC 14496-12 (2022), 8.11.3 and 8.7; AV1 bitstream specification (2019), 5.3.
    """
    check_embedded(data)
    boxes = list(_boxes(data))
    budget = _Budget(len(data))
    inside = next((start for kind, start, _ in boxes if kind == b"idat"), 0)
    for kind, start, end in boxes:
        if kind == b"iloc":
            for extents in _items(data, start, end, inside, budget):
                _count_frames(data, extents, budget)
    _check_samples(data, boxes, budget)


class _Budget:
    """What counting may cost in all, as tables may name the same bytes over and over."""

    def __init__(self, size: int) -> None:
        self._most = {
            "items": _ITEMS,
            "pieces of items": _PIECES,
            "bytes of items": _TIMES * size,
            "AV1 units": _UNITS,
            "tables of samples": _TABLES,
        }
        self._spent = dict.fromkeys(self._most, 0)

    def spend(self, what: str, amount: int = 1) -> None:
        """Count something.

        Raises:
            TooComplex: there is too much of it.
        """
        self._spent[what] += amount
        if self._spent[what] > self._most[what]:
            raise TooComplex(what, self._spent[what], self._most[what])


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Give kind, start and end of the content of all boxes, those inside the known containers too."""
    waiting, seen = [(0, len(data), 0)], 0
    while waiting:
        place, end, depth = waiting.pop()
        while place + 8 <= end:
            seen += 1
            if seen > _BOXES:
                raise TooComplex("boxes", seen, _BOXES)
            length, kind = struct.unpack_from(">I4s", data, place)
            head = 8
            if length == 1 and place + 16 <= end:
                length, head = struct.unpack_from(">Q", data, place + 8)[0], 16
            last = min(end, place + length) if length else end
            if last < place + head:
                break
            yield kind, place + head, last
            if kind in _CONTAINERS and depth < _DEPTH:
                waiting.append((place + head + _CONTAINERS[kind], last, depth + 1))
            place = last


def _items(
    data: bytes, place: int, end: int, inside: int, budget: _Budget
) -> Iterator[list[tuple[int, int]]]:
    """Give start and length of the pieces of each item; `inside` is where those in the table's box start."""
    if place + 8 > end:
        return
    version, (sizes,) = data[place], struct.unpack_from(">H", data, place + 4)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    reader = _Fields(data, place + 6, end)
    for _ in range(reader.take(wide)):
        if reader.place >= end:
            return
        budget.spend("items")
        reader.take(wide)
        method = reader.take(2) & 15 if version else 0
        reader.take(2)
        base = reader.take(base_size) + (inside if method == 1 else 0)
        extents = []
        for _ in range(reader.take(2)):
            budget.spend("pieces of items")
            reader.take(index_size)
            offset, length = reader.take(offset_size), reader.take(length_size)
            extents.append((base + offset, length or len(data)))
            if reader.place > end:
                return
        yield extents


class _Fields:
    """Numbers of given lengths, one after the other."""

    def __init__(self, data: bytes, place: int, end: int) -> None:
        self.data, self.place, self.end = data, place, end

    def take(self, size: int) -> int:
        """Return the next number; beyond the end all are 0."""
        start, self.place = self.place, self.place + size
        return int.from_bytes(self.data[start : self.place], "big") if self.place <= self.end else 0


def _check_samples(data: bytes, boxes: list[tuple[bytes, int, int]], budget: _Budget) -> None:
    """Count the frames of each track's first sample: where it lies, and how long it is."""
    places, lengths = [], []
    for kind, start, _ in boxes:
        if kind not in {b"stsz", b"stco", b"co64"}:
            continue
        budget.spend("tables of samples")
        if kind == b"stsz":
            lengths.append(_field(data, start + 4) or _field(data, start + 12))
        else:
            places.append(_field(data, start + 8, 8 if kind == b"co64" else 4))
    for place, length in product(places, lengths):
        _count_frames(data, [(place, length)], budget)


def _field(data: bytes, place: int, size: int = 4) -> int:
    return int.from_bytes(data[place : place + size], "big")


def _count_frames(data: bytes, extents: list[tuple[int, int]], budget: _Budget) -> None:
    for start, length in extents:
        budget.spend("bytes of items", max(0, min(length, len(data) - start)))
    stream = b"".join(data[start : start + length] for start, length in extents)
    place, frames = 0, 0
    while place < len(stream):
        budget.spend("AV1 units")
        head = stream[place]
        place += 2 if head & 4 else 1
        if head >> 3 & 15 in _FRAME_UNITS:
            frames += 1
            if frames > _FRAMES:
                raise TooComplex("coded frames of one picture", frames, _FRAMES)
        if head & 0x82 != 2:
            return  # no length: the last unit; or no unit at all
        size = shift = 0
        while place < len(stream) and shift < 56:
            byte = stream[place]
            place += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        place += size

"""Complexity limits of AVIF (coded frames, items) and JPEG 2000 (tiles, precincts, code blocks, packets)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from assay.image.complexity.bounded_stream import ComplexityLimitExceeded
from assay.image.complexity.tiff_exif import check_embedded_exif

_MAX_AVIF_BOXES: Final = 10_000
_MAX_FRAMES: Final = 8
"""Coded frames of an item or of a sequence's first sample; layered images have up to four. Frames before the one
that is shown are decoded too."""
_FRAME_UNITS: Final = {3, 6}
"""Types of AV1 units that contain a frame: frame header, frame."""
_MAX_ITEMS: Final = 4_096
_MAX_TABLES: Final = 32
"""Sample tables; a track has two, and a sequence with alpha has two tracks."""
_MAX_EXTENTS: Final = 16_384
_MAX_UNITS: Final = 100_000
"""AV1 units of all items: an image has a few, and at most one per tile group."""
_MAX_REREADS: Final = 4
"""Total length of all items as a multiple of the file's: items may share the same bytes."""
_CONTAINERS: Final = {b"meta": 4, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}
_MAX_DEPTH: Final = 8


def check_avif(data: bytes) -> None:
    """Check the number of boxes, items and coded frames of an AVIF file; raises `ComplexityLimitExceeded`.

    Source: ISO/IEC 14496-12 (2022), 8.11.3 and 8.7; AV1 bitstream specification (2019), 5.3.
    """
    check_embedded_exif(data)
    boxes = list(_boxes(data))
    budget = _Budget(len(data))
    inside = next((start for kind, start, _ in boxes if kind == b"idat"), 0)
    for kind, start, end in boxes:
        if kind == b"iloc":
            for extents in _items(data, start, end, inside, budget):
                _count_frames(data, extents, budget)
    _check_samples(data, boxes, budget)


class _Budget:
    """Limits on the checks themselves: tables may refer to the same bytes over and over."""

    def __init__(self, size: int) -> None:
        self._most = {
            "items": _MAX_ITEMS,
            "pieces of items": _MAX_EXTENTS,
            "bytes of items": _MAX_REREADS * size,
            "AV1 units": _MAX_UNITS,
            "tables of samples": _MAX_TABLES,
        }
        self._spent = dict.fromkeys(self._most, 0)

    def spend(self, what: str, amount: int = 1) -> None:
        """Add to a count; `ComplexityLimitExceeded` above its limit."""
        self._spent[what] += amount
        if self._spent[what] > self._most[what]:
            raise ComplexityLimitExceeded(what, self._spent[what], self._most[what])


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of all boxes, also of those in known containers."""
    waiting, seen = [(0, len(data), 0)], 0
    while waiting:
        position, end, depth = waiting.pop()
        while position + 8 <= end:
            seen += 1
            if seen > _MAX_AVIF_BOXES:
                raise ComplexityLimitExceeded("boxes", seen, _MAX_AVIF_BOXES)
            length, kind = struct.unpack_from(">I4s", data, position)
            head = 8
            if length == 1 and position + 16 <= end:
                length, head = struct.unpack_from(">Q", data, position + 8)[0], 16
            last = min(end, position + length) if length else end
            if last < position + head:
                break
            yield kind, position + head, last
            if kind in _CONTAINERS and depth < _MAX_DEPTH:
                waiting.append((position + head + _CONTAINERS[kind], last, depth + 1))
            position = last


def _items(data: bytes, position: int, end: int, inside: int, budget: _Budget) -> Iterator[list[tuple[int, int]]]:
    """Yield the extents (start, length) of each item; `inside` is the start of the `idat` box."""
    if position + 8 > end:
        return
    version, (sizes,) = data[position], struct.unpack_from(">H", data, position + 4)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    reader = _FieldReader(data, position + 6, end)
    for _ in range(reader.take(wide)):
        if reader.position >= end:
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
            if reader.position > end:
                return
        yield extents


class _FieldReader:
    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.data, self.position, self.end = data, position, end

    def take(self, size: int) -> int:
        """Return the next integer; 0 beyond the end."""
        start, self.position = self.position, self.position + size
        return int.from_bytes(self.data[start : self.position], "big") if self.position <= self.end else 0


def _check_samples(data: bytes, boxes: list[tuple[bytes, int, int]], budget: _Budget) -> None:
    places, lengths = [], []
    for kind, start, _ in boxes:
        if kind not in {b"stsz", b"stco", b"co64"}:
            continue
        budget.spend("tables of samples")
        if kind == b"stsz":
            lengths.append(_read_field(data, start + 4) or _read_field(data, start + 12))
        else:
            places.append(_read_field(data, start + 8, 8 if kind == b"co64" else 4))
    for position, length in product(places, lengths):
        _count_frames(data, [(position, length)], budget)


def _read_field(data: bytes, position: int, size: int = 4) -> int:
    return int.from_bytes(data[position : position + size], "big")


def _count_frames(data: bytes, extents: list[tuple[int, int]], budget: _Budget) -> None:
    for start, length in extents:
        budget.spend("bytes of items", max(0, min(length, len(data) - start)))
    stream = b"".join(data[start : start + length] for start, length in extents)
    position, frames = 0, 0
    while position < len(stream):
        budget.spend("AV1 units")
        head = stream[position]
        position += 2 if head & 4 else 1
        if head >> 3 & 15 in _FRAME_UNITS:
            frames += 1
            if frames > _MAX_FRAMES:
                raise ComplexityLimitExceeded("coded frames of one picture", frames, _MAX_FRAMES)
        if head & 0x82 != 2:
            return  # the last unit, without a length; or not a unit
        size = shift = 0
        while position < len(stream) and shift < 56:
            byte = stream[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        position += size


_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_MAX_JP2_BOXES: Final = 1_000
_MAX_SEGMENTS: Final = 10_000
_MAX_TILES: Final = 16_384
_MAX_BLOCKS: Final = 2**18
"""Code blocks: OpenJPEG takes 1 µs to set up each. Blocks of 8 x 8 samples are always allowed."""
_MAX_PRECINCTS: Final = 2**16
"""Precincts: OpenJPEG takes 4 µs to set up each."""
_MAX_PACKETS: Final = 2**20
_COD, _COC, _SOT, _SOD, _EOC = 0x52, 0x53, 0x90, 0x93, 0xD9


@dataclass(frozen=True, slots=True)
class _ImageSize:
    """Size of the image and its tiles, in samples of the reference grid."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    components: int

    @property
    def tiles(self) -> int:
        return _ceil_div(self.width, self.tile_width) * _ceil_div(self.height, self.tile_height)


def check_jpeg2000(data: bytes) -> None:
    """Check the tiles, code blocks, precincts and packets that a JPEG 2000 declares; raises `ComplexityLimitExceeded`.

    Source: ISO/IEC 15444-1 (2019), Annexes A and B.
    """
    start = _codestream(data)
    if start is None or not data.startswith(_SOC_SIZ, start) or len(data) < start + 42:
        return
    values = struct.unpack_from(">8IH", data, start + 8)
    size = _ImageSize(
        values[0] - values[2],
        values[1] - values[3],
        max(1, min(values[4], values[0])),
        max(1, min(values[5], values[1])),
        values[8],
    )
    samples = max(0, size.width * size.height) * size.components
    _check_limit("tiles", size.tiles, max(_MAX_TILES, samples // 1024))
    for coding, style, layers in _codings(data, start + 2, size.components):
        _check_coding(coding, style, layers, size, samples)


def _codestream(data: bytes) -> int | None:
    """Return the offset of the codestream, which may be in a JP2 file."""
    if data.startswith(_SOC_SIZ):
        return 0
    position = 0
    for _ in range(_MAX_JP2_BOXES):
        if position + 16 > len(data):
            return None
        length, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, position + 8)[0], 16
        if kind == b"jp2c":
            return position + head
        if length < head:
            return None
        position += length
    raise ComplexityLimitExceeded("boxes", _MAX_JP2_BOXES + 1, _MAX_JP2_BOXES)


def _codings(data: bytes, position: int, components: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the coding styles of main and tile headers: parameters, whether precincts are defined, layers."""
    layers, tile_end = 1, 0
    segments = 0
    while position + 4 <= len(data):
        segments += 1
        if segments > _MAX_SEGMENTS + _MAX_TILES:
            raise ComplexityLimitExceeded("segments", segments, _MAX_SEGMENTS + _MAX_TILES)
        marker = data[position + 1]
        if data[position] != 0xFF or marker == _EOC:
            return
        if marker == _SOD:
            if tile_end <= position:
                return
            position = tile_end
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : position + 2 + length]
        if marker == _SOT and len(body) >= 8:
            part = int.from_bytes(body[2:6], "big")
            tile_end = position + part if part else 0
        elif marker == _COD and len(body) >= 10:
            layers = int.from_bytes(body[2:4], "big")
            yield body[5:], body[0] & 1, layers
        elif marker == _COC:
            skip = 1 if components < 257 else 2
            if len(body) >= skip + 6:
                yield body[skip + 1 :], body[skip] & 1, layers
        position += 2 + length


def _check_coding(coding: bytes, style: int, layers: int, size: _ImageSize, samples: int) -> None:
    levels, across, down = coding[0] & 31, (coding[1] & 15) + 2, (coding[2] & 15) + 2
    blocks = precincts = 0
    for resolution in range(levels + 1):
        shift = levels - resolution
        width, height = _ceil_div(size.tile_width, 1 << shift), _ceil_div(size.tile_height, 1 << shift)
        exponents = coding[5 + resolution] if style and len(coding) > 5 + resolution else 0xFF
        wide, high = exponents & 15, exponents >> 4
        # Above the lowest resolution, a precinct covers subbands of half its side.
        lower = 1 if resolution else 0
        block_wide, block_high = min(across, max(0, wide - lower)), min(down, max(0, high - lower))
        blocks += _ceil_div(width, 1 << block_wide) * _ceil_div(height, 1 << block_high)
        precincts += _ceil_div(width, 1 << wide) * _ceil_div(height, 1 << high)
    parts = size.tiles * size.components
    _check_limit("code blocks", blocks * parts, max(_MAX_BLOCKS, samples // 48))
    _check_limit("precincts", precincts * parts, max(_MAX_PRECINCTS, samples // 1024) + 33 * parts)
    _check_limit("packets", precincts * parts * layers, max(_MAX_PACKETS, samples // 64))


def _ceil_div(length: int, part: int) -> int:
    return -(-length // part)


def _check_limit(what: str, found: int, most: int) -> None:
    if found > most:
        raise ComplexityLimitExceeded(what, found, most)

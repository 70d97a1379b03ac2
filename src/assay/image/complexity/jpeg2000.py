"""JPEG 2000: tiles, precincts, code blocks and packets, as the headers declare them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from assay.image.complexity.bounds import TooComplex

_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_BOXES: Final = 1_000
_SEGMENTS: Final = 10_000
_TILES: Final = 16_384
_BLOCKS: Final = 2**18
"""Code blocks: OpenJPEG takes a microsecond to set up each. At least 8 x 8 samples a block are allowed."""
_PRECINCTS: Final = 2**16
"""OpenJPEG takes four microseconds to set up each."""
_PACKETS: Final = 2**20
_COD, _COC, _SOT, _SOD, _EOC = 0x52, 0x53, 0x90, 0x93, 0xD9


@dataclass(frozen=True, slots=True)
class _Size:
    """Of the picture and its tiles, in samples of the reference grid."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    components: int

    @property
    def tiles(self) -> int:
        return _ceil(self.width, self.tile_width) * _ceil(self.height, self.tile_height)


def check(data: bytes) -> None:
    """Add up what the headers declare.

    Raises:
        TooComplex: it is too much.

    Source: ISO/IEC 15444-1 (2019), Annexes A and B.
    """
    start = _codestream(data)
    if start is None or not data.startswith(_SOC_SIZ, start) or len(data) < start + 42:
        return
    values = struct.unpack_from(">8IH", data, start + 8)
    size = _Size(
        values[0] - values[2],
        values[1] - values[3],
        max(1, min(values[4], values[0])),
        max(1, min(values[5], values[1])),
        values[8],
    )
    samples = max(0, size.width * size.height) * size.components
    _most("tiles", size.tiles, max(_TILES, samples // 1024))
    for coding, style, layers in _codings(data, start + 2, size.components):
        _check_coding(coding, style, layers, size, samples)


def _codestream(data: bytes) -> int | None:
    """Find the codestream, in a JP2 file too."""
    if data.startswith(_SOC_SIZ):
        return 0
    place = 0
    for _ in range(_BOXES):
        if place + 16 > len(data):
            return None
        length, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, place + 8)[0], 16
        if kind == b"jp2c":
            return place + head
        if length < head:
            return None
        place += length
    raise TooComplex("boxes", _BOXES + 1, _BOXES)


def _codings(data: bytes, place: int, components: int) -> Iterator[tuple[bytes, int, int]]:
    """Give the coding styles of main and tile headers: their parameters, whether with precincts, layers."""
    layers, tile_end = 1, 0
    segments = 0
    while place + 4 <= len(data):
        segments += 1
        if segments > _SEGMENTS + _TILES:
            raise TooComplex("segments", segments, _SEGMENTS + _TILES)
        marker = data[place + 1]
        if data[place] != 0xFF or marker == _EOC:
            return
        if marker == _SOD:
            if tile_end <= place:
                return
            place = tile_end
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : place + 2 + length]
        if marker == _SOT and len(body) >= 8:
            part = int.from_bytes(body[2:6], "big")
            tile_end = place + part if part else 0
        elif marker == _COD and len(body) >= 10:
            layers = int.from_bytes(body[2:4], "big")
            yield body[5:], body[0] & 1, layers
        elif marker == _COC:
            skip = 1 if components < 257 else 2
            if len(body) >= skip + 6:
                yield body[skip + 1 :], body[skip] & 1, layers
        place += 2 + length


def _check_coding(coding: bytes, style: int, layers: int, size: _Size, samples: int) -> None:
    levels, across, down = coding[0] & 31, (coding[1] & 15) + 2, (coding[2] & 15) + 2
    blocks = precincts = 0
    for resolution in range(levels + 1):
        shift = levels - resolution
        width, height = _ceil(size.tile_width, 1 << shift), _ceil(size.tile_height, 1 << shift)
        told = coding[5 + resolution] if style and len(coding) > 5 + resolution else 0xFF
        wide, high = told & 15, told >> 4
        # Above the lowest resolution a precinct holds parts of bands that are half its side.
        lower = 1 if resolution else 0
        block_wide, block_high = min(across, max(0, wide - lower)), min(down, max(0, high - lower))
        blocks += _ceil(width, 1 << block_wide) * _ceil(height, 1 << block_high)
        precincts += _ceil(width, 1 << wide) * _ceil(height, 1 << high)
    parts = size.tiles * size.components
    _most("code blocks", blocks * parts, max(_BLOCKS, samples // 48))
    _most("precincts", precincts * parts, max(_PRECINCTS, samples // 1024) + 33 * parts)
    _most("packets", precincts * parts * layers, max(_PACKETS, samples // 64))


def _ceil(length: int, part: int) -> int:
    return -(-length // part)


def _most(what: str, found: int, most: int) -> None:
    if found > most:
        raise TooComplex(what, found, most)

"""Less work for the same pixels: which scale a JPEG needs, and a JPEG that ends below the rows needed.

Knows the layout of a JPEG file; pixels, regions and libraries that decode are not its business.
"""

import struct
from typing import Final

SCALES: Final = (8, 4, 2, 1)
"""Factors by which a JPEG can be scaled down while it is decoded, largest first."""

_FRAMES: Final = range(0xC0, 0xC3)
"""Markers of baseline, extended and progressive Huffman-coded frames, which contain the height."""

_SCAN: Final = 0xDA
_BARE: Final = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length: TEM, restarts, start of image."""

_END: Final = b"\xff\xd9"

_MARGIN: Final = 32
"""Rows decoded below the last necessary one: smoothing between blocks depends on at most 16 rows below."""

_BLOCK: Final = 32
"""Height of the tallest coding unit (MCU) in rows: four blocks of eight with 4:1 subsampling."""


def scale_for(width: int, height: int, side: int) -> int:
    """Return the largest factor of `SCALES` at which the shorter side has at least `side` pixels, or 1."""
    return next(scale for scale in SCALES if scale <= max(min(width, height) // max(side, 1), 1))


def first_rows(data: bytes, rows: int, height: int) -> bytes | None:
    """Copy a JPEG with a reduced height in its header, so that decoding ends early.

    A decoder reads the blocks from top to bottom, in every scan of a progressive file too. With a reduced
    height it decodes only those rows, to the same pixels, and skips the rest at the speed of a search for the
    next marker.

    Args:
        data: the whole file.
        rows: number of necessary rows from the top, as stored, at full size.
        height: of the stored image.

    Returns:
        The copy, usually 32 to 64 rows higher than `rows`; None if it would save next to nothing, or if the
        file has no end marker: a truncated file must be decoded in full for its truncation to be detected.

    Source: ITU-T T.81 (1992), Annex B; the height is that of a frame header (B.2.2).
    """
    lowered = -(-(rows + _MARGIN) // _BLOCK) * _BLOCK
    if lowered >= height:
        return None
    place = _height_field(data)
    if place is None:
        return None
    return data[:place] + struct.pack(">H", lowered) + data[place + 2 :]


def _height_field(data: bytes) -> int | None:
    """Return the offset of the frame's height in a complete file: one frame, a scan, and an end after it."""
    found, place = None, 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or marker in _BARE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN:
            return found if data.rfind(_END, place) >= 0 else None
        if marker in _FRAMES:
            if found is not None:
                return None
            found = place + 5
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None

"""Less work for the same pixels: which scale a JPEG needs, and a JPEG that ends below the rows needed.

Knows the layout of a JPEG file; pixels, regions and libraries that decode are not its business.
"""

import struct
from typing import Final

SCALES: Final = (8, 4, 2, 1)
"""The whole factors by which a JPEG can be made smaller as it is decoded, largest first."""

_FRAMES: Final = range(0xC0, 0xC3)
"""Markers of baseline, extended and progressive frames, Huffman coded: where the height stands."""

_SCAN: Final = 0xDA
_BARE: Final = {0x01, *range(0xD0, 0xD9)}
"""Markers that carry no length: TEM, the restarts, and a start of image."""

_END: Final = b"\xff\xd9"

_MARGIN: Final = 32
"""Rows decoded below the last one needed: smoothing between blocks looks at most 16 rows down."""

_BLOCK: Final = 32
"""The tallest unit of coding, in rows: four blocks of eight where a channel is sampled at a quarter."""


def scale_for(width: int, height: int, side: int) -> int:
    """Return the largest factor of `SCALES` at which the shorter side keeps `side` pixels; 1 if none does."""
    return next(scale for scale in SCALES if scale <= max(min(width, height) // max(side, 1), 1))


def first_rows(data: bytes, rows: int, height: int) -> bytes | None:
    """Copy a JPEG with the height in its header lowered, so that a decoder stops early.

    A decoder reads the blocks from top to bottom, in every scan of a progressive file too. Told of a lower
    height it decodes just those rows, to the very same pixels, and passes over what is left at the speed of
    a search for the next marker.

    Args:
        data: the whole file.
        rows: how many rows from the top must come out right, as stored, at full size.
        height: of the picture as stored.

    Returns:
        The copy, at least `rows` and usually some 32 to 64 rows more high; None where it would save next to
        nothing or the file has no end: one that was cut off must be decoded in full, and so be found out.

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
    """Find the frame's height in a file that is all there: frame, scan and, behind it, an end."""
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

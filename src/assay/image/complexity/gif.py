"""GIF: comments, which Pillow joins at a cost that grows with the square of their length."""

import re
from typing import Final

from assay.image.complexity.bounds import TooComplex

_COMMENTS: Final = 2**20
"""Bytes of all comments of a file."""
_SMALL: Final = 2**18
"""Bytes of a file that may all be comments without costing a tenth of a second."""
_BLOCKS: Final = 100_000
_BYTES_A_BLOCK: Final = 64
"""So many sub-blocks are looked at besides full ones, and one more for each of so many bytes of the file;
Pillow takes two reads for each, and is refused half as many."""
_LONGEST: Final = 255
_HEAD: Final = 13
_BLOCK: Final = re.compile(rb"[!,;]")
_FULL: Final = re.compile(rb"(?:\xff.{255})*+", re.DOTALL)
"""Sub-blocks of the greatest length, as all but the last of a row usually are."""
_EXTENSION, _PICTURE, _COMMENT = 0x21, 0x2C, 0xFE


def check(data: bytes) -> None:
    """Add up the comments of a GIF file.

    Raises:
        TooComplex: they are too long.

    Source: GIF89a specification (CompuServe, 1990), sections 15 to 24.
    """
    if len(data) < _SMALL:
        return
    place, total = _HEAD + _palette(data[10]), 0
    most, blocks = _BLOCKS + len(data) // _BYTES_A_BLOCK, 0
    while blocks <= most:
        # Readers pass over what is no block.
        found = _BLOCK.search(data, place)
        if found is None or found.end() + 10 > len(data):
            return
        place, block = found.start(), data[found.start()]
        if block == _EXTENSION:
            start, comment = place + 2, data[place + 1] == _COMMENT
        elif block == _PICTURE:
            start, comment = place + 11 + _palette(data[place + 9]), False
        else:
            return
        place, count = _behind(data, start, most)
        blocks += count
        if comment:
            total += place - start
            if total > _COMMENTS:
                raise TooComplex("bytes of comments", total, _COMMENTS)


def _palette(flags: int) -> int:
    """Return the length of a palette."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind(data: bytes, place: int, most: int) -> tuple[int, int]:
    """Return where a row of sub-blocks ends, or `most` are passed, and how many of them are not full."""
    count = 0
    while place < len(data):
        if data[place] == _LONGEST and (found := _FULL.match(data, place)):
            place = found.end()
        length = data[place] if place < len(data) else 0
        place += 1 + length
        count += 1
        if not length or count > most:
            break
    return place, count

"""The chunks of a PNG file: what is passed over before a reader sees it, whatever its size.

Pillow refuses a PNG with a text or a colour profile of more than 1 MB, and keeps all texts in memory. A photo
needs none of its texts but the two that may hold its orientation.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

_SIGNATURE: Final = 8
_FRAME: Final = 12
"""Bytes of a chunk without its content: length, name, checksum."""

_MOST_TEXT: Final = 1 << 20
"""Bytes of a text that are searched for the orientation; Pillow's own limit for a text."""

MAX_PROFILE: Final = 8 << 20
"""Largest colour profile in bytes; those of printing presses have up to about 3 MB."""

_TEXTS: Final = {b"tEXt", b"zTXt", b"iTXt"}
_XMP: Final = b"XML:com.adobe.xmp"
_RAW_EXIF: Final = b"Raw profile type exif"
_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def without_ballast(data: bytes) -> tuple[bytes, bytes | None]:
    """Remove metadata from a PNG that its pixels do not need and that Pillow may refuse or keep in memory.

    Pillow refuses a PNG with a text or a colour profile of more than 1 MB. All texts are removed, except an
    Exif block written as text and the orientation in an XMP text. A colour profile of more than 1 MB is
    returned separately. A file without such chunks is returned unchanged.

    Args:
        data: the whole file, possibly damaged.

    Returns:
        The file to decode, and the colour profile if it was removed and is at most `MAX_PROFILE`.

    Source: PNG Specification, third edition (W3C, 2025), 5.3 and 11.3.
    """
    pieces: list[bytes | memoryview] = []
    view, copied = memoryview(data), 0
    profile: bytes | None = None
    kept: set[bytes] = set()
    for name, start, end in chunks(data):
        instead: bytes | None = None
        if name in _TEXTS:
            keyword = data[start + 8 : start + 88].partition(b"\0")[0]
            if keyword not in kept and keyword in (_XMP, _RAW_EXIF):
                kept.add(keyword)
                instead = _essence(keyword, name, data[start + 8 : end - 4])
        elif name == b"iCCP":
            packed = data[start + 8 : end - 4].partition(b"\0")[2]
            profile = _unpacked(packed[1:], MAX_PROFILE) if packed[:1] == b"\0" else None
            if profile is not None and len(profile) <= _MOST_TEXT:
                profile = None
                continue
        else:
            continue
        if start > copied:
            pieces.append(view[copied:start])
        if instead:
            pieces.append(instead)
        copied = end
    if not copied:
        return data, profile
    pieces.append(view[copied:])
    return b"".join(pieces), profile


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of every complete chunk before IEND."""
    place = _SIGNATURE
    while place + _FRAME <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + _FRAME + length
        if end > len(data) or name == b"IEND":
            return
        yield name, place, end
        place = end


def _essence(keyword: bytes, name: bytes, content: bytes) -> bytes | None:
    """Return the small chunk that replaces a text: the Exif block, or the orientation from XMP."""
    value = _text_of(name, content.partition(b"\0")[2])
    if value is None:
        return None
    if keyword == _RAW_EXIF:
        return _chunk(b"tEXt", keyword + b"\0" + value)
    found = _ORIENTATION.search(value)
    return _chunk(b"iTXt", keyword + bytes(5) + found[0]) if found else None


def _text_of(name: bytes, rest: bytes) -> bytes | None:
    """Return the text after the keyword, up to `_MOST_TEXT` bytes."""
    packed = name == b"zTXt"
    if packed:
        rest = rest[1:]
    elif name == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _unpacked(rest, _MOST_TEXT, whole=False) if packed else rest[:_MOST_TEXT]


def _unpacked(packed: bytes, most: int, *, whole: bool = True) -> bytes | None:
    """Decompress zlib data up to a size; None if they are damaged, or larger while `whole` is required."""
    unpacker = zlib.decompressobj()
    try:
        value = unpacker.decompress(packed, most + 1)
    except zlib.error:
        return None
    return None if whole and len(value) > most else value[:most]


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

"""JPEG and PNG files as bytes: the decoding scale of a JPEG, cutting its height, and removing metadata of a PNG."""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

JPEG_SCALES: Final = (8, 4, 2, 1)
"""Factors by which a JPEG can be scaled down while it is decoded, largest first."""

_FRAMES: Final = range(0xC0, 0xC3)
"""Markers of baseline, extended and progressive Huffman-coded frames, which contain the height."""

_SCAN: Final = 0xDA
_BARE: Final = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length: TEM, restarts, start of image."""

_END_OF_IMAGE: Final = b"\xff\xd9"

_MARGIN_ROWS: Final = 32
"""Rows decoded below the last necessary one: smoothing between blocks depends on at most 16 rows below."""

_BLOCK_ROWS: Final = 32
"""Height of the tallest coding unit (MCU) in rows: four blocks of eight with 4:1 subsampling."""


def jpeg_scale(width: int, height: int, side: int) -> int:
    """Return the largest factor of `JPEG_SCALES` at which the shorter side has at least `side` pixels, or 1."""
    return next(scale for scale in JPEG_SCALES if scale <= max(min(width, height) // max(side, 1), 1))


def cut_jpeg_height(data: bytes, rows: int, height: int) -> bytes | None:
    """Copy a JPEG with a reduced height in its header, so that decoding ends early.

    A decoder reads the blocks from top to bottom, in every scan of a progressive file too. With a reduced
    height it decodes only those rows, to the same pixels, and skips the rest at the speed of a search for the
    next marker.

    Args:
        data: the whole file.
        rows: number of necessary rows from the top, as stored, at full size.
        height: height of the stored image.

    Returns:
        The copy, usually 32 to 64 rows higher than `rows`; None if it would save almost nothing, or if the
        file has no end marker: a truncated file must be decoded in full for its truncation to be detected.

    Source: ITU-T T.81 (1992), Annex B; the height is that of a frame header (B.2.2).
    """
    lowered = -(-(rows + _MARGIN_ROWS) // _BLOCK_ROWS) * _BLOCK_ROWS
    if lowered >= height:
        return None
    position = _jpeg_height_field(data)
    if position is None:
        return None
    return data[:position] + struct.pack(">H", lowered) + data[position + 2 :]


def _jpeg_height_field(data: bytes) -> int | None:
    """Return the offset of the frame's height in a complete file: one frame, a scan, and an end after it."""
    found, position = None, 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in _BARE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN:
            return found if data.rfind(_END_OF_IMAGE, position) >= 0 else None
        if marker in _FRAMES:
            if found is not None:
                return None
            found = position + 5
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


_SIGNATURE_BYTES: Final = 8
_CHUNK_OVERHEAD: Final = 12
"""Bytes of a chunk without its content: length, name, checksum."""

_MAX_TEXT: Final = 1 << 20
"""Bytes of a text that are searched for the orientation; Pillow's own limit for a text."""

MAX_PROFILE: Final = 8 << 20
"""Largest colour profile in bytes; those of printing presses have up to about 3 MB."""

_TEXTS: Final = {b"tEXt", b"zTXt", b"iTXt"}
_XMP: Final = b"XML:com.adobe.xmp"
_RAW_EXIF: Final = b"Raw profile type exif"
_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def strip_png_metadata(data: bytes) -> tuple[bytes, bytes | None]:
    """Remove metadata from a PNG that its pixels do not need and that Pillow may refuse or keep in memory.

    Pillow refuses a PNG with a text or a colour profile of more than 1 MB. All texts are removed, except an
    Exif block written as text and the orientation in an XMP text. A file without such chunks is unchanged. A colour
    profile of more than 1 MB and at most `MAX_PROFILE` is returned separately. The file may be damaged.

    Source: PNG Specification, third edition (W3C, 2025), 5.3 and 11.3.
    """
    pieces: list[bytes | memoryview] = []
    view, copied = memoryview(data), 0
    profile: bytes | None = None
    kept: set[bytes] = set()
    for name, start, end in png_chunks(data):
        instead: bytes | None = None
        if name in _TEXTS:
            keyword = data[start + 8 : start + 88].partition(b"\0")[0]
            if keyword not in kept and keyword in (_XMP, _RAW_EXIF):
                kept.add(keyword)
                instead = _reduced_text_chunk(keyword, name, data[start + 8 : end - 4])
        elif name == b"iCCP":
            packed = data[start + 8 : end - 4].partition(b"\0")[2]
            profile = _decompress(packed[1:], MAX_PROFILE) if packed[:1] == b"\0" else None
            if profile is not None and len(profile) <= _MAX_TEXT:
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


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of every complete chunk before IEND."""
    position = _SIGNATURE_BYTES
    while position + _CHUNK_OVERHEAD <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + _CHUNK_OVERHEAD + length
        if end > len(data) or name == b"IEND":
            return
        yield name, position, end
        position = end


def _reduced_text_chunk(keyword: bytes, name: bytes, content: bytes) -> bytes | None:
    """Return the small chunk that replaces a text: the Exif block, or the orientation from XMP."""
    value = _chunk_text(name, content.partition(b"\0")[2])
    if value is None:
        return None
    if keyword == _RAW_EXIF:
        return _chunk(b"tEXt", keyword + b"\0" + value)
    found = _ORIENTATION.search(value)
    return _chunk(b"iTXt", keyword + bytes(5) + found[0]) if found else None


def _chunk_text(name: bytes, rest: bytes) -> bytes | None:
    packed = name == b"zTXt"
    if packed:
        rest = rest[1:]
    elif name == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _decompress(rest, _MAX_TEXT, whole=False) if packed else rest[:_MAX_TEXT]


def _decompress(packed: bytes, most: int, *, whole: bool = True) -> bytes | None:
    """Decompress zlib data up to a size; None if they are damaged, or larger while `whole` is required."""
    unpacker = zlib.decompressobj()
    try:
        value = unpacker.decompress(packed, most + 1)
    except zlib.error:
        return None
    return None if whole and len(value) > most else value[:most]


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

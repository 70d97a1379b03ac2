"""Complexity limits of TIFF files (strips, tiles, directories) and of Exif data in files of other formats."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from assay.image.complexity.bounded_stream import ComplexityLimitExceeded, max_total_bytes

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a value by type; Pillow skips other types."""
_MAX_REREADS: Final = 4
"""Total length of Exif values as a multiple of the data's: entries may share the same bytes."""
_SMALL_EXIF: Final = 4_096
_MAX_EXIF_ENTRIES: Final = 10_000
"""Entries of Exif data; cameras write hundreds. Directories may be shared."""
_OFFSETS: Final = {273, 324}
"""Tags whose values are the offsets of strips or tiles."""
_MAX_PARTS: Final = 65_536
"""Strips or tiles; a higher image may have four per row."""
_LENGTHS: Final = {279, 325}
"""Tags whose values are the compressed lengths of strips or tiles."""
_NUMBERS: Final = {3: "u2", 4: "u4", 16: "u8"}
_MAX_TAGS: Final = 10_000
"""Entries of an image's directory; usual ones have dozens."""
_MAX_PICTURES: Final = 100_000
_HEIGHT: Final = 257
_DIRECTORY_TAGS: Final = {0x8769, 0x8825, 0xA005}
"""Tags whose value is the offset of another directory: Exif, GPS, interoperability."""
_MAX_DIRECTORIES: Final = 8
_EXIF_STARTS: Final = (b"II*\0", b"MM\0*")
_MAX_STARTS: Final = 16


def check_tiff(data: bytes) -> None:
    """Check the number and bytes of strips or tiles of a TIFF's first image; raises `ComplexityLimitExceeded`.

    All strips may share the same bytes, each of which is decompressed anew. Other directories are read
    through a bounded stream.

    Source: TIFF, revision 6.0 (1992), section 2; BigTIFF design of libtiff.
    """
    height, parts = 0, 0
    most_bytes = max_total_bytes(len(data))
    for number, (tag, kind, count, value) in enumerate(_entries(data), 1):
        if number > _MAX_TAGS:
            raise ComplexityLimitExceeded("tags", number, _MAX_TAGS)
        if tag == _HEIGHT:
            height = value
        elif tag in _LENGTHS and (total := _sum(data, kind, count, value)) > most_bytes:
            raise ComplexityLimitExceeded("bytes of strips or tiles", total, most_bytes)
        elif tag in _OFFSETS:
            parts = max(parts, count)
    # An impossible height is refused later.
    most = max(_MAX_PARTS, 4 * min(height, 2**20))
    if parts > most:
        raise ComplexityLimitExceeded("strips or tiles", parts, most)


def _sum(data: bytes, kind: int, count: int, position: int) -> int:
    """Return the sum of an entry's values, each at most the length of the file; 0 if they are incomplete."""
    size = _SIZES.get(kind, 0)
    if kind not in _NUMBERS or count * size <= 8 or position + count * size > len(data):
        return 0
    order = "<" if data.startswith(b"II") else ">"
    values = np.frombuffer(data, order + _NUMBERS[kind], count, position).astype(np.float64)
    return int(np.minimum(values, len(data)).sum())


def check_embedded_exif(data: bytes) -> None:
    """Check Exif data anywhere in a file; `ComplexityLimitExceeded` if its values are many times longer than it."""
    for start in _EXIF_STARTS:
        position = data.find(start)
        for _ in range(_MAX_STARTS):
            if position < 0:
                break
            check_exif_values(data[position:])
            position = data.find(start, position + 4)


def check_exif_values(exif: bytes) -> None:
    """Check the memory that the values of Exif data, starting at their TIFF header, take.

    Pillow copies all of them: 5,000 entries that share the same 60 kB take 300 MB. Raises `ComplexityLimitExceeded` if
    they are many times longer than the data, or too many.
    """
    layout = _layout(exif)
    if layout is None or len(exif) < _SMALL_EXIF:
        return
    most, total, entries = _MAX_REREADS * len(exif), 0, 0
    waiting: list[int] = [layout.offset.unpack_from(exif, layout.first)[0]]
    for start in waiting:
        for tag, kind, count, value in _entries(exif, start):
            entries += 1
            if entries > _MAX_EXIF_ENTRIES:
                raise ComplexityLimitExceeded("entries of Exif data", entries, _MAX_EXIF_ENTRIES)
            size = count * _SIZES.get(kind, 0)
            if tag in _DIRECTORY_TAGS and len(waiting) < _MAX_DIRECTORIES:
                waiting.append(value)
            if size > layout.offset.size:
                if value + size > len(exif):
                    break  # Pillow stops here
                total += size
                if total > most:
                    raise ComplexityLimitExceeded("bytes of Exif values", total, most)


def count_directories(data: bytes) -> int:
    """Count the images of a TIFF file, at least 1; Pillow would parse each of them twice for that.

    Raises `ComplexityLimitExceeded` if there are too many.

    Source: TIFF, revision 6.0 (1992), section 2; BigTIFF design of libtiff.
    """
    layout = _layout(data)
    if layout is None:
        return 1
    offset, head, entry = layout.offset, layout.head, layout.entry
    seen: set[int] = set()
    (position,) = offset.unpack_from(data, layout.first)
    while position not in seen and 0 < position <= len(data) - head.size:
        seen.add(position)
        if len(seen) > _MAX_PICTURES:
            raise ComplexityLimitExceeded("pictures", len(seen), _MAX_PICTURES)
        link = position + head.size + head.unpack_from(data, position)[0] * entry.size
        if link + offset.size > len(data):
            break
        (position,) = offset.unpack_from(data, link)
    return max(1, len(seen))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Binary formats of a TIFF's offsets, entry counts and entries, and the position of its first offset."""

    offset: struct.Struct
    head: struct.Struct
    entry: struct.Struct
    first: int


def _layout(data: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return None
    big = 43 in data[2:4]
    offset, head, entry, first = ("Q", "Q", "HHQQ", 8) if big else ("I", "H", "HHII", 4)
    offset, head, entry = order + offset, order + head, order + entry
    return _Layout(struct.Struct(offset), struct.Struct(head), struct.Struct(entry), first)


def _entries(data: bytes, start: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, type, count, and value or offset of a directory's entries; by default of the first one."""
    layout = _layout(data)
    if layout is None:
        return
    head, reader = layout.head, layout.entry
    if start is None:
        (start,) = layout.offset.unpack_from(data, layout.first)
    if start + head.size > len(data):
        return
    (count,) = head.unpack_from(data, start)
    first, width = start + head.size, layout.offset.size
    for position in range(first, min(first + count * reader.size, len(data) - reader.size + 1), reader.size):
        tag, kind, number, value = reader.unpack_from(data, position)
        # A 16-bit value is in the upper half of a big-endian field.
        short = data.startswith(b"MM") and number == 1 and _SIZES.get(kind, 0) == 2
        yield tag, kind, number, value >> 8 * (width - 2) if short else value

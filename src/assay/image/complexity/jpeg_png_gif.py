"""Complexity limits of JPEG (scans, segments), PNG (chunks, profiles) and GIF (comments)."""

import re
from typing import Final

import numpy as np

from assay.image import jpeg_png_trimming
from assay.image.complexity.bounded_stream import ComplexityLimitExceeded
from assay.image.complexity.tiff_exif import check_exif_values

_MAX_COMMENT_BYTES: Final = 2**20
"""Bytes of all comments of a GIF; Pillow joins them at a quadratic cost."""
_GIF_SMALL: Final = 2**18
"""Files of fewer bytes cost less than 0.1 s even if they consist of comments."""
_MAX_BLOCKS: Final = 100_000
_BYTES_PER_BLOCK: Final = 64
"""Sub-blocks that are checked in addition to full ones, and bytes of the file for one more; Pillow takes two
reads for each and is stopped at half as many."""
_MAX_SUB_BLOCK: Final = 255
_GIF_HEADER: Final = 13
_BLOCK: Final = re.compile(rb"[!,;]")
_FULL_SUB_BLOCKS: Final = re.compile(rb"(?:\xff.{255})*+", re.DOTALL)
"""Sub-blocks of the maximum length, as all but the last of a sequence usually are."""
_EXTENSION, _PICTURE, _COMMENT = 0x21, 0x2C, 0xFE


def check_gif(data: bytes) -> None:
    """Check the total length of the comments of a GIF file; raises `ComplexityLimitExceeded`.

    Source: GIF89a specification (CompuServe, 1990), sections 15 to 24.
    """
    if len(data) < _GIF_SMALL:
        return
    position, total = _GIF_HEADER + _palette_length(data[10]), 0
    most, blocks = _MAX_BLOCKS + len(data) // _BYTES_PER_BLOCK, 0
    while blocks <= most:
        # Readers skip bytes between blocks.
        found = _BLOCK.search(data, position)
        if found is None or found.end() + 10 > len(data):
            return
        position, block = found.start(), data[found.start()]
        if block == _EXTENSION:
            start, comment = position + 2, data[position + 1] == _COMMENT
        elif block == _PICTURE:
            start, comment = position + 11 + _palette_length(data[position + 9]), False
        else:
            return
        position, count = _skip_sub_blocks(data, start, most)
        blocks += count
        if comment:
            total += position - start
            if total > _MAX_COMMENT_BYTES:
                raise ComplexityLimitExceeded("bytes of comments", total, _MAX_COMMENT_BYTES)


def _palette_length(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_sub_blocks(data: bytes, position: int, most: int) -> tuple[int, int]:
    """Skip up to `most` sub-blocks; return the offset after them and how many of them are not full."""
    count = 0
    while position < len(data):
        if data[position] == _MAX_SUB_BLOCK and (found := _FULL_SUB_BLOCKS.match(data, position)):
            position = found.end()
        length = data[position] if position < len(data) else 0
        position += 1 + length
        count += 1
        if not length or count > most:
            break
    return position, count


_MAX_CHUNKS: Final = 20_000
"""Chunks allowed in any PNG; Pillow takes up to 10 µs for each."""
_BYTES_PER_CHUNK: Final = 1024
"""One more chunk is allowed per this many bytes of the file; usual encoders write 8 kB or more per chunk."""
_PNG_SMALL: Final = 16_384
"""Chunks and profiles of smaller files cost less than 0.1 s."""
_MAX_PROFILES: Final = 4
"""Colour profiles: each may decompress to megabytes, and a valid file has one."""
_MAX_EXIF_BLOCKS: Final = 4
"""Blocks of Exif data: each may have thousands of entries, and a valid file has one."""


def check_png(data: bytes) -> None:
    """Check the number of chunks, colour profiles and Exif blocks of a PNG file; raises `ComplexityLimitExceeded`.

    Source: PNG Specification, third edition (W3C, 2025), section 5.
    """
    if len(data) < _PNG_SMALL:
        return
    most = _MAX_CHUNKS + len(data) // _BYTES_PER_CHUNK
    profiles = exifs = 0
    for count, (name, start, end) in enumerate(jpeg_png_trimming.png_chunks(data), 1):
        if count > most:
            raise ComplexityLimitExceeded("chunks", count, most)
        if name == b"iCCP":
            profiles += 1
            if profiles > _MAX_PROFILES:
                raise ComplexityLimitExceeded("colour profiles", profiles, _MAX_PROFILES)
        elif name == b"eXIf":
            exifs += 1
            if exifs > _MAX_EXIF_BLOCKS:
                raise ComplexityLimitExceeded("blocks of Exif data", exifs, _MAX_EXIF_BLOCKS)
            check_exif_values(data[start + 8 : end - 4])


_SOS: Final = re.compile(rb"\xff\xda")
_SOS_NUMBER: Final = 0xDAFF
_JPEG_SMALL: Final = 32_768
"""In smaller files only scans can be expensive."""
_FEW_SCANS: Final = 16
"""Scans that are always allowed: with four components each they make fewer than `_MAX_PASSES` passes."""
_MAX_PASSES: Final = 64
"""Passes over a component allowed for any image; usual progressive files have 14."""
_MAX_PIXEL_PASSES: Final = 2**30
"""Pixels × passes that are also allowed, so that small images may have more passes. A pass over 16 megapixels
takes 10 ms."""
_MAX_SEGMENTS: Final = 2_000
"""Segments of a JPEG: metadata of 64 kB each, and tables before every scan. Pillow joins some of them at a
quadratic cost."""

_MAX_RESOURCES: Final = 10_000
"""Photoshop resources, which Pillow parses in Python; Photoshop writes dozens."""

_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_IN_SCAN: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_BARE: Final = {0x01, *range(0xD0, 0xD8)}
"""Markers without a length."""
_ENDS: Final = {0xD8, 0xD9}
_SCAN: Final = 0xDA
_FRAMES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE: Final = {0xC2, 0xC6, 0xCA, 0xCE}
_APP1: Final = 0xE1
_APP13: Final = 0xED
_EXIF: Final = b"Exif\0\0"
_RESOURCE: Final = b"8BIM"


def check_jpeg(data: bytes) -> None:
    """Check the number of scans, segments and Photoshop resources of a JPEG; raises `ComplexityLimitExceeded`.

    Source: ITU-T T.81 (1992), Annex B.
    """
    if len(data) < _JPEG_SMALL and len(_SOS.findall(data)) <= _FEW_SCANS:
        return
    _JpegWalker(data).run()


def _count_scan_markers(data: bytes) -> int:
    """Count the bytes of a scan's marker anywhere in the file; ten times as fast as `bytes.count`."""
    even, odd = (np.frombuffer(data, "<u2", (len(data) - start) // 2, start) for start in (0, 1))
    return int(np.count_nonzero(even == _SOS_NUMBER) + np.count_nonzero(odd == _SOS_NUMBER))


class _JpegWalker:
    """Visits the markers of a file as libjpeg and Pillow do; both skip the bytes between them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pixels = self.passes = self.segments = self.components = self.resources = 0
        self.several = False
        self.exif: list[bytes] = []

    def run(self) -> None:
        """Visit all markers up to the point where a decoder stops."""
        position, pattern = 2, _MARKER
        while found := pattern.search(self.data, position):
            position, marker = found.end(), self.data[found.end() - 1]
            if marker in _BARE:
                self._count()
                continue
            length = int.from_bytes(self.data[position : position + 2], "big")
            if marker in _ENDS or length < 2:
                break
            if marker != _SCAN:
                self._segment(marker, position, length, first=pattern is _MARKER)
            elif pattern is _MARKER and self._only_one_scan(position):
                break
            else:
                pattern = _IN_SCAN
                self._scan(position)
            position += length
        if self.exif:
            check_exif_values(self.exif[0] if len(self.exif) == 1 else b"".join(self.exif))

    def _segment(self, marker: int, position: int, length: int, *, first: bool) -> None:
        self._count()
        if marker in _FRAMES:
            self._frame(marker, position)
        elif first and marker == _APP1 and self.data.startswith(_EXIF, position + 2):
            self.exif.append(self.data[position + 8 : position + length])
        elif first and marker == _APP13:
            self.resources += self.data.count(_RESOURCE, position, position + length)
            if self.resources > _MAX_RESOURCES:
                raise ComplexityLimitExceeded("Photoshop resources", self.resources, _MAX_RESOURCES)

    def _count(self) -> None:
        self.segments += 1
        if self.segments > _MAX_SEGMENTS:
            raise ComplexityLimitExceeded("segments", self.segments, _MAX_SEGMENTS)

    def _frame(self, marker: int, position: int) -> None:
        height, width = (int.from_bytes(self.data[at : at + 2], "big") for at in (position + 3, position + 5))
        self.pixels = max(self.pixels, width * height)
        self.components = self.data[position + 7] if position + 7 < len(self.data) else 0
        self.several = marker in _PROGRESSIVE

    def _only_one_scan(self, position: int) -> bool:
        """Return whether a decoder stops after this first scan (sequential, all components) or a few more."""
        whole = not self.several and self.data[position + 2 : position + 3] == bytes([self.components])
        return whole or _count_scan_markers(self.data) <= _FEW_SCANS

    def _scan(self, position: int) -> None:
        self.passes += min(4, self.data[position + 2]) if position + 2 < len(self.data) else 1
        most = max(_MAX_PASSES, _MAX_PIXEL_PASSES // max(1, self.pixels))
        if self.passes > most:
            raise ComplexityLimitExceeded("passes over a component", self.passes, most)

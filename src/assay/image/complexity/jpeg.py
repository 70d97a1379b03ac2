"""JPEG: scans over all coefficients, and segments before the first of them."""

import re
from typing import Final

import numpy as np

from assay.image.complexity.bounds import TooComplex
from assay.image.complexity.tiff import check_values

_SOS: Final = re.compile(rb"\xff\xda")
_SOS_NUMBER: Final = 0xDAFF
_SMALL: Final = 32_768
"""Bytes below which only scans can cost anything."""
_FEW_SCANS: Final = 16
"""Scans that are always allowed: of four components each they are still fewer than `_SCANS`."""
_SCANS: Final = 64
"""Passes over a component that any picture may ask for; usual progressive files have 14."""
_SCANNED_PIXELS: Final = 2**30
"""Pixels times passes that are allowed as well: small pictures may have more. A pass over 16 megapixels takes
10 ms."""
_SEGMENTS: Final = 2_000
"""Segments of a file: metadata of 64 kB each, and tables before every scan. Pillow joins some of them, at a
cost that grows with the square of their number."""

_RESOURCES: Final = 10_000
"""Photoshop resources, each of which Pillow parses in Python; Photoshop writes some dozens."""

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


def check(data: bytes) -> None:
    """Count scans, segments and Photoshop resources of a JPEG file.

    Raises:
        TooComplex: there are too many.

    Source: ITU-T T.81 (1992), Annex B.
    """
    if len(data) < _SMALL and len(_SOS.findall(data)) <= _FEW_SCANS:
        return
    _Walk(data).run()


def _most_scans(data: bytes) -> int:
    """Count a scan's marker wherever it stands, also where it is none; ten times as fast as `bytes.count`."""
    even, odd = (np.frombuffer(data, "<u2", (len(data) - start) // 2, start) for start in (0, 1))
    return int(np.count_nonzero(even == _SOS_NUMBER) + np.count_nonzero(odd == _SOS_NUMBER))


class _Walk:
    """One pass over the markers of a file, as libjpeg and Pillow see them; both skip what is between."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pixels = self.passes = self.segments = self.components = self.resources = 0
        self.several = False
        self.exif: list[bytes] = []

    def run(self) -> None:
        """Go from marker to marker until a decoder would stop."""
        place, pattern = 2, _MARKER
        while found := pattern.search(self.data, place):
            place, marker = found.end(), self.data[found.end() - 1]
            if marker in _BARE:
                self._count()
                continue
            length = int.from_bytes(self.data[place : place + 2], "big")
            if marker in _ENDS or length < 2:
                break
            if marker != _SCAN:
                self._segment(marker, place, length, first=pattern is _MARKER)
            elif pattern is _MARKER and self._only_one_scan(place):
                break
            else:
                pattern = _IN_SCAN
                self._scan(place)
            place += length
        if self.exif:
            check_values(self.exif[0] if len(self.exif) == 1 else b"".join(self.exif))

    def _segment(self, marker: int, place: int, length: int, *, first: bool) -> None:
        self._count()
        if marker in _FRAMES:
            self._frame(marker, place)
        elif first and marker == _APP1 and self.data.startswith(_EXIF, place + 2):
            self.exif.append(self.data[place + 8 : place + length])
        elif first and marker == _APP13:
            self.resources += self.data.count(_RESOURCE, place, place + length)
            if self.resources > _RESOURCES:
                raise TooComplex("Photoshop resources", self.resources, _RESOURCES)

    def _count(self) -> None:
        self.segments += 1
        if self.segments > _SEGMENTS:
            raise TooComplex("segments", self.segments, _SEGMENTS)

    def _frame(self, marker: int, place: int) -> None:
        height, width = (int.from_bytes(self.data[at : at + 2], "big") for at in (place + 3, place + 5))
        self.pixels = max(self.pixels, width * height)
        self.components = self.data[place + 7] if place + 7 < len(self.data) else 0
        self.several = marker in _PROGRESSIVE

    def _only_one_scan(self, place: int) -> bool:
        """Tell whether a decoder stops after the first scan, a sequential one of all components, or soon."""
        whole = not self.several and self.data[place + 2 : place + 3] == bytes([self.components])
        return whole or _most_scans(self.data) <= _FEW_SCANS

    def _scan(self, place: int) -> None:
        self.passes += min(4, self.data[place + 2]) if place + 2 < len(self.data) else 1
        most = max(_SCANS, _SCANNED_PIXELS // max(1, self.pixels))
        if self.passes > most:
            raise TooComplex("passes over a component", self.passes, most)

"""PNG: chunks, each of which is read in Python, and metadata that unfold."""

from typing import Final

from assay.image import png
from assay.image.complexity.bounds import TooComplex
from assay.image.complexity.tiff import check_values

_CHUNKS: Final = 20_000
"""Chunks that any file may have; Pillow takes up to 10 microseconds for each."""
_BYTES_A_CHUNK: Final = 1024
"""For each of so many bytes of the file one more is allowed; usual encoders write 8 kB or more in each."""
_SMALL: Final = 16_384
"""Bytes below which chunks and profiles cannot cost a tenth of a second."""
_PROFILES: Final = 4
"""Colour profiles: each unfolds to megabytes, and a sound file has one."""
_EXIFS: Final = 4
"""Blocks of Exif data: each may have thousands of entries, and a sound file has one."""


def check(data: bytes) -> None:
    """Count the chunks, profiles and blocks of Exif data of a PNG file.

    Raises:
        TooComplex: there are too many.

    Source: PNG Specification, third edition (W3C, 2025), section 5.
    """
    if len(data) < _SMALL:
        return
    most = _CHUNKS + len(data) // _BYTES_A_CHUNK
    profiles = exifs = 0
    for count, (name, start, end) in enumerate(png.chunks(data), 1):
        if count > most:
            raise TooComplex("chunks", count, most)
        if name == b"iCCP":
            profiles += 1
            if profiles > _PROFILES:
                raise TooComplex("colour profiles", profiles, _PROFILES)
        elif name == b"eXIf":
            exifs += 1
            if exifs > _EXIFS:
                raise TooComplex("blocks of Exif data", exifs, _EXIFS)
            check_values(data[start + 8 : end - 4])

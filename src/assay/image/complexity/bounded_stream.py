"""The error of all complexity checks.

A stream that stops Pillow's parsers when they read too often or too much.
"""

import io
from typing import Final

_MAX_READS: Final = 100_000
"""Reads and seeks that any file may cost; Pillow's parsers take up to 4 microseconds for each."""
_BYTES_PER_READ: Final = 64
"""For each of so many bytes of the file one more read is allowed: a GIF takes two for 256 bytes."""
_MAX_REREADS: Final = 4
"""How many times its own length may be read from a file; entries of a TIFF may all name the same bytes."""
_EXTRA_BYTES: Final = 2**26
"""Bytes that may be read besides: Pillow reads 64 kB for the last strip however short it is."""
_UNBOUNDED_BYTES: Final = 32_768
"""Files of fewer bytes cannot keep a parser busy, and are read without counting."""


class ComplexityLimitExceeded(Exception):  # noqa: N818 - made a DecodeError by whoever opens the file
    """A file that asks for too much work; not an error that Pillow takes for damage and passes over."""

    def __init__(self, what: str, found: int, most: int) -> None:
        """Name what is too much.

        Args:
            what: in the plural: "scans".
            found: how many there are, or how many were counted until it was too much.
            most: how many are allowed.
        """
        super().__init__(f"{found:,} {what}, at most {most:,} for a file of this size")


def max_total_bytes(size: int) -> int:
    """Return how many bytes may be read in all from a file of a size."""
    return _EXTRA_BYTES + _MAX_REREADS * size


class BoundedStream(io.BytesIO):
    """A file in memory that may be read only so often, and only so much in all.

    Pillow's parsers are loops in Python over what is read, a byte at a time in places, and hold the
    interpreter's lock. Counting ends them at the same place on every machine, which a clock would not.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._most = self._reads_left = _MAX_READS + len(data) // _BYTES_PER_READ
        self._most_bytes = self._bytes_left = max_total_bytes(len(data))

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `io.BytesIO` does.

        Raises:
            TooComplex: the file was read too often.
        """
        data = super().read(size)
        self._reads_left -= 1
        self._bytes_left -= len(data)
        if self._reads_left < 0 or self._bytes_left < 0:
            self._refuse()
        return data

    def seek(self, place: int, whence: int = 0, /) -> int:
        """Seek as `io.BytesIO` does.

        Raises:
            TooComplex: the file was read too often.
        """
        self._reads_left -= 1
        if self._reads_left < 0:
            self._refuse()
        return super().seek(place, whence)

    def _refuse(self) -> None:
        if self._reads_left < 0:
            raise ComplexityLimitExceeded("parts to read", self._most - self._reads_left, self._most)
        raise ComplexityLimitExceeded("bytes to read", self._most_bytes - self._bytes_left, self._most_bytes)


def bounded_stream(data: bytes) -> io.BytesIO:
    """Open a file in memory, bounded unless it is small."""
    return io.BytesIO(data) if len(data) < _UNBOUNDED_BYTES else BoundedStream(data)

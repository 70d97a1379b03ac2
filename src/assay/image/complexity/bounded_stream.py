"""A stream that stops Pillow's parsers when they read too often or too much, and the error of all limits."""

import io
from typing import Final

_MAX_READS: Final = 100_000
"""Reads and seeks allowed for any file; Pillow's parsers take up to 4 µs for each."""
_BYTES_PER_READ: Final = 64
"""One more read is allowed per this many bytes of the file: a GIF takes two for 256 bytes."""
_MAX_REREADS: Final = 4
"""Multiple of its own length that may be read from a file: entries of a TIFF may share the same bytes."""
_EXTRA_BYTES: Final = 2**26
"""Bytes that may be read in addition: Pillow reads 64 kB for the last strip even if it is shorter."""
_UNBOUNDED_BYTES: Final = 32_768
"""Smaller files cannot keep a parser busy and are read without counting."""


class ComplexityLimitExceeded(Exception):  # noqa: N818 - callers convert it to a DecodeError
    """Decoding a file would take too much work. Pillow does not treat this type as damage.

    `what` names the counted things in the plural ("scans"), `found` is the number counted so far, `most` the limit.
    """

    def __init__(self, what: str, found: int, most: int) -> None:
        super().__init__(f"{found:,} {what}, at most {most:,} for a file of this size")


def max_total_bytes(size: int) -> int:
    """Return how many bytes may be read in total from a file of this size."""
    return _EXTRA_BYTES + _MAX_REREADS * size


class BoundedStream(io.BytesIO):
    """A file in memory with a limit on the number of reads and on the bytes read in total.

    Pillow's parsers are Python loops, in places over single bytes, and hold the interpreter's lock. Unlike a
    timeout, a limit on reads stops them at the same point on every machine.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._most = self._reads_left = _MAX_READS + len(data) // _BYTES_PER_READ
        self._most_bytes = self._bytes_left = max_total_bytes(len(data))

    def read(self, size: int | None = -1, /) -> bytes:
        """Read like `io.BytesIO`; `ComplexityLimitExceeded` if the file was read too often or too much."""
        data = super().read(size)
        self._reads_left -= 1
        self._bytes_left -= len(data)
        if self._reads_left < 0 or self._bytes_left < 0:
            self._refuse()
        return data

    def seek(self, position: int, whence: int = 0, /) -> int:
        """Seek like `io.BytesIO`; `ComplexityLimitExceeded` if the file was read too often."""
        self._reads_left -= 1
        if self._reads_left < 0:
            self._refuse()
        return super().seek(position, whence)

    def _refuse(self) -> None:
        if self._reads_left < 0:
            raise ComplexityLimitExceeded("parts to read", self._most - self._reads_left, self._most)
        raise ComplexityLimitExceeded("bytes to read", self._most_bytes - self._bytes_left, self._most_bytes)


def bounded_stream(data: bytes) -> io.BytesIO:
    """Return a stream of a file in memory, with limits unless the file is small."""
    return io.BytesIO(data) if len(data) < _UNBOUNDED_BYTES else BoundedStream(data)

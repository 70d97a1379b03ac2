"""One file of equal slots for arrays (pixels, embeddings), filled in any order by any number of processes.

Every slot has the digest of its photo, and a record with a checksum, written after its array and compared on
each reading: what was interrupted is not there. Two processes that fill one slot write the same bytes, so
slots need no lock. Knows nothing of where the file lies, when it goes, and how arrays are made. Linux and
macOS.
"""

import logging
import math
import mmap
import os
import sys
import weakref
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from assay.files import replacing

if sys.platform != "win32":
    import fcntl

_LOG = logging.getLogger("assay.data.cache")

_PAGE: Final = 4096
_RECORD: Final = 8
_NAME: Final = 32
"""Bytes of a SHA-256."""
_PRESENT: Final = 1 << 32
"""Set beside the CRC-32 in a slot's record; a hole in the file reads as 0: absent."""


class Slots:
    """One array for each photo, by the digest of its content. Works across fork and pickling."""

    def __init__(
        self,
        path: Path,
        places: Mapping[str, int],
        count: int,
        shape: tuple[int, ...],
        dtype: np.typing.DTypeLike = np.uint8,
        *,
        elders: Sequence["Slots"] = (),
    ) -> None:
        """Hold the names; `opened` opens the file, or else its first use.

        Args:
            path: a file that `make_slots` made.
            places: slot of every digest.
            count: number of slots in the file.
            shape: of every array.
            dtype: of every array.
            elders: files of other sets of photos that may hold what is missing here.
        """
        self._path = path
        self._elders = tuple(elders)
        self._places = dict(places)
        self._count = count
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._bytes = math.prod(shape) * self._dtype.itemsize
        self._full = False
        self._file: int | None = None
        self._map: mmap.mmap | None = None
        self._closer: Callable[[], object] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_map": None, "_closer": None}

    def __contains__(self, digest: object) -> bool:
        """Say whether a photo has a slot, filled or not."""
        return digest in self._places

    def get(self, digest: str) -> np.ndarray | None:
        """Return a photo's array, read-only; None if neither this file nor an elder has it whole."""
        found = self._own(digest)
        for elder in self._elders if found is None else ():
            found = elder.get(digest)
            if found is not None:
                self.put(digest, found)
                break
        return found

    def _own(self, digest: str) -> np.ndarray | None:
        slot = self._places.get(digest)
        if slot is None or not self._usable() or self._map is None:
            return None
        record = int.from_bytes(self._map[slot * _RECORD : (slot + 1) * _RECORD], "little")
        start = self._start(slot)
        content = memoryview(self._map)[start : start + self._bytes]
        if record != _PRESENT | zlib.crc32(content):
            return None
        return np.frombuffer(content, dtype=self._dtype).reshape(self._shape)

    def put(self, digest: str, array: np.ndarray) -> None:
        """Keep a photo's array; nothing happens without a slot or once the disk is full."""
        slot = self._places.get(digest)
        if slot is None or self._full or not self._usable() or self._file is None:
            return
        data = array.astype(self._dtype, copy=False).tobytes()
        record = _PRESENT | zlib.crc32(data)
        try:
            # Written, not mapped: a full disk is an error here, where a mapping would end the process.
            _write(self._file, data, self._start(slot))
            _write(self._file, record.to_bytes(_RECORD, "little"), slot * _RECORD)
        except OSError as error:
            _LOG.warning("nothing more is kept in %s: %s", self._path.parent, error.strerror or error)
            self._full = True

    def opened(self) -> "Slots":
        """Open the file in this process, and mark it as in use until it is closed.

        Raises:
            OSError: it has gone, or somebody is removing it.
            ValueError: it is shorter than its slots.
        """
        if self._map is None and self._places:
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            self._closer = weakref.finalize(self, os.close, self._file)
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            self._map = mmap.mmap(self._file, slots_size(self._count, self._bytes), access=mmap.ACCESS_READ)
        return self

    def close(self) -> None:
        """Let go of the files; arrays handed out stay valid, and as long as they live theirs is in use."""
        for elder in self._elders:
            elder.close()
        self._map = self._file = None
        if self._closer is not None:
            self._closer()
            self._closer = None

    def _usable(self) -> bool:
        try:
            self.opened()
        except (OSError, ValueError) as error:
            _LOG.warning("what is kept in %s is not used: %s", self._path.parent, error)
            self.close()
            self._places = {}
        return self._map is not None

    def _start(self, slot: int) -> int:
        return _data_start(self._count) + slot * self._bytes


def make_slots(path: Path, digests: Sequence[str], slot_bytes: int) -> None:
    """Make a file of empty slots for photos; it takes disk only as they are filled.

    Raises:
        OSError: the disk does not allow it.
    """
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.truncate(slots_size(len(digests), slot_bytes))
        stream.seek(len(digests) * _RECORD)
        stream.write(b"".join(map(bytes.fromhex, digests)))


def read_places(path: Path, count: int) -> dict[str, int]:
    """Return the slot of every digest in a file of so many slots.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        stream.seek(count * _RECORD)
        names = stream.read(count * _NAME)
    return {names[_NAME * slot : _NAME * (slot + 1)].hex(): slot for slot in range(count)}


def slots_size(count: int, slot_bytes: int) -> int:
    """Return the length of a file of slots, in bytes."""
    return _data_start(count) + count * slot_bytes


def slots_within(size: int, slot_bytes: int) -> int:
    """Return how many slots a file of at most `size` bytes can have."""
    return max(0, size - _PAGE) // (slot_bytes + _RECORD + _NAME)


def slots_in(path: Path, slot_bytes: int) -> int:
    """Return how many slots a file has, or 0 if its length is that of no such file."""
    size = path.stat().st_size
    likely = slots_within(size, slot_bytes)
    # Padding to whole pages leaves it open by as many slots as fit into a page.
    for count in range(likely, likely + 2 + _PAGE // slot_bytes):
        if slots_size(count, slot_bytes) == size:
            return count
    return 0


def in_use(path: Path) -> bool:
    """Say whether a process, this one included, has the file open as `Slots`."""
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _write(file: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, memoryview(data)[done:], offset + done)


def _data_start(count: int) -> int:
    """Return where the arrays begin: after a record and a digest for every slot, at a whole page."""
    return -(-count * (_RECORD + _NAME) // _PAGE) * _PAGE

"""A file of equally sized arrays keyed by image digest, shared by processes without locks."""

import errno
import logging
import math
import mmap
import os
import weakref
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from assay.core.files import atomic_write
from assay.core.locks import try_lock

_LOG = logging.getLogger("assay.data.array_cache")

_PAGE_BYTES: Final = 4096
_RECORD_BYTES: Final = 8
_DIGEST_BYTES: Final = 32
_PRESENT_FLAG: Final = 1 << 32
"""Set next to the CRC-32 in a slot's record; a hole in the file reads as 0, which means absent."""


class ArrayStore:
    """One array per image, keyed by the SHA-256 of its content. Works across fork and pickling."""

    def __init__(
        self,
        path: Path,
        places: Mapping[str, int],
        count: int,
        shape: tuple[int, ...],
        dtype: np.typing.DTypeLike = np.uint8,
        *,
        fallbacks: Sequence["ArrayStore"] = (),
    ) -> None:
        """Store the index; the file is opened by `opened` or at its first use.

        `path` was made by `create_store_file`; `places` maps digests to slots, of which the file has `count`.
        `fallbacks` are files of other data sets that are searched for missing arrays.
        """
        self._path = path
        self._fallbacks = tuple(fallbacks)
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
        return digest in self._places

    def get(self, digest: str) -> np.ndarray | None:
        """Return an image's array, read-only; None if neither this file nor a fallback has it intact."""
        found = self._own(digest)
        for fallback in self._fallbacks if found is None else ():
            found = fallback.get(digest)
            if found is not None:
                self.put(digest, found)
                break
        return found

    def _own(self, digest: str) -> np.ndarray | None:
        slot = self._places.get(digest)
        if slot is None or not self._usable() or self._map is None:
            return None
        record = int.from_bytes(self._map[slot * _RECORD_BYTES : (slot + 1) * _RECORD_BYTES], "little")
        start = self._start(slot)
        content = memoryview(self._map)[start : start + self._bytes]
        if record != _PRESENT_FLAG | zlib.crc32(content):
            return None
        return np.frombuffer(content, dtype=self._dtype).reshape(self._shape)

    def put(self, digest: str, array: np.ndarray) -> None:
        """Store an image's array; does nothing if it has no slot or the disk is full."""
        slot = self._places.get(digest)
        if slot is None or self._full or not self._usable() or self._file is None:
            return
        data = array.astype(self._dtype, copy=False).tobytes()
        record = _PRESENT_FLAG | zlib.crc32(data)
        try:
            # Written, not mapped: a full disk is an error here, where a mapping would end the process.
            _pwrite_all(self._file, data, self._start(slot))
            _pwrite_all(self._file, record.to_bytes(_RECORD_BYTES, "little"), slot * _RECORD_BYTES)
        except OSError as error:
            _LOG.warning("nothing more is kept in %s: %s", self._path.parent, error.strerror or error)
            self._full = True

    def opened(self) -> "ArrayStore":
        """Open the file in this process and mark it as in use until it is closed.

        Raises:
            OSError: it does not exist, or another process is removing it.
            ValueError: it is shorter than its slots.
        """
        if self._map is None and self._places:
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            self._closer = weakref.finalize(self, os.close, self._file)
            if not try_lock(self._file, shared=True):
                raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(self._path))
            self._map = mmap.mmap(self._file, store_file_size(self._count, self._bytes), access=mmap.ACCESS_READ)
        return self

    def close(self) -> None:
        """Close the files. Arrays that were returned stay valid and keep their file marked as in use."""
        for fallback in self._fallbacks:
            fallback.close()
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


def create_store_file(path: Path, digests: Sequence[str], slot_bytes: int) -> None:
    """Create a file of empty slots; they take disk space only once filled. Raises `OSError`."""
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        stream.truncate(store_file_size(len(digests), slot_bytes))
        stream.seek(len(digests) * _RECORD_BYTES)
        stream.write(b"".join(map(bytes.fromhex, digests)))


def read_slot_index(path: Path, count: int) -> dict[str, int]:
    """Return the slot of every digest in a file of `count` slots. Raises `OSError`."""
    with path.open("rb") as stream:
        stream.seek(count * _RECORD_BYTES)
        names = stream.read(count * _DIGEST_BYTES)
    return {names[_DIGEST_BYTES * slot : _DIGEST_BYTES * (slot + 1)].hex(): slot for slot in range(count)}


def store_file_size(count: int, slot_bytes: int) -> int:
    """Return the length in bytes of a file of slots."""
    return _data_start(count) + count * slot_bytes


def slots_that_fit(size: int, slot_bytes: int) -> int:
    """Return how many slots fit into `size` bytes."""
    return max(0, size - _PAGE_BYTES) // (slot_bytes + _RECORD_BYTES + _DIGEST_BYTES)


def count_slots(path: Path, slot_bytes: int) -> int:
    """Return the number of slots of a file, or 0 if its length is invalid."""
    size = path.stat().st_size
    likely = slots_that_fit(size, slot_bytes)
    # Padding to whole pages makes the count ambiguous by the number of slots per page.
    for count in range(likely, likely + 2 + _PAGE_BYTES // slot_bytes):
        if store_file_size(count, slot_bytes) == size:
            return count
    return 0


def is_in_use(path: Path) -> bool:
    """Return whether any process, including this one, has the file open as an `ArrayStore`."""
    with path.open("rb") as stream:
        try:
            return not try_lock(stream)
        except OSError:
            return True


def _pwrite_all(file: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, memoryview(data)[done:], offset + done)


def _data_start(count: int) -> int:
    return -(-count * (_RECORD_BYTES + _DIGEST_BYTES) // _PAGE_BYTES) * _PAGE_BYTES

"""Thumbnails of photos: those that a page waits for first, then those that follow in the grid; kept in files."""

import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from assay.core.errors import AssayError
from assay.core.files import open_file, temporary_file
from assay.image.thumbnail import jpeg_thumbnail

SIDE: Final = 192
"""Longer side in pixels."""
PREVIEW_SIDE: Final = 1280
MAX_FILE_BYTES: Final = 256 << 20
"""Larger files are not opened."""
_THREADS: Final = 2
_PAUSE_SECONDS: Final = 0.01
_NICENESS: Final = 10


class ThumbnailCache:
    """Makes thumbnails on request, and in the background those of all photos.

    The background goes on behind the photo that was requested last, since the page shows what follows next, and
    pauses while a page waits for thumbnails. A thumbnail is made once, even if several ask for it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="thumbnails")
        self._background = ThreadPoolExecutor(1, thread_name_prefix="thumbnails ahead", initializer=_lower_priority)
        self._lock = threading.Lock()
        self._making: dict[str, Future[bytes]] = {}
        self._requested = 0
        self._places: dict[str, int] = {}
        self._cursor: int | None = None
        self._closed = False

    def get(self, photo: Path, key: str) -> bytes:
        """Return the thumbnail of a photo as JPEG.

        Args:
            photo: the file.
            key: changes with the content of the file.

        Raises:
            AssayError: the photo cannot be read.
        """
        stored = self._path(key)
        with suppress(OSError):
            return stored.read_bytes()
        data = read_jpeg(photo, SIDE)
        with suppress(OSError):  # a full disk: it is made again next time
            stored.parent.mkdir(parents=True, exist_ok=True)
            with temporary_file(stored) as temporary:
                temporary.write_bytes(data)
                temporary.replace(stored)
        return data

    def request(self, photo: Path, key: str) -> "Future[bytes]":
        """Make a thumbnail in a thread."""
        with self._lock:
            self._cursor = self._places.get(key, self._cursor)
            found = self._making.get(key)
            if found is not None:
                return found
            self._requested += 1
            future = self._making[key] = self._pool.submit(self.get, photo, key)
        future.add_done_callback(lambda _: self._end_request(key))
        return future

    def cached(self, key: str) -> bytes | None:
        """Return a thumbnail that exists already."""
        with suppress(OSError):
            return self._path(key).read_bytes()
        return None

    def prepare(self, photos: Sequence[tuple[Path, str]]) -> None:
        """Make the thumbnails of photos in the background; an earlier list is given up."""
        with self._lock:
            self._places = {key: place for place, (_, key) in enumerate(photos)}
            self._cursor = None
        self._background.submit(self._prepare, photos, self._places)

    def close(self) -> None:
        """Stop the threads after the thumbnail that they make now."""
        self._closed = True
        for pool in (self._pool, self._background):
            pool.shutdown(wait=False, cancel_futures=True)

    def _end_request(self, key: str) -> None:
        with self._lock:
            self._requested -= 1
            self._making.pop(key, None)

    def _prepare(self, photos: Sequence[tuple[Path, str]], places: dict[str, int]) -> None:
        waiting = dict(enumerate(photos))
        place = 0
        while waiting and not self._closed and self._places is places:
            if self._requested:
                threading.Event().wait(_PAUSE_SECONDS)
                continue
            with self._lock:
                if self._cursor is not None:
                    place, self._cursor = self._cursor, None
            while place not in waiting:
                place = (place + 1) % len(photos)
            photo, key = waiting.pop(place)
            if not self._path(key).exists():
                self._make_ahead(photo, key)

    def _make_ahead(self, photo: Path, key: str) -> None:
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()  # one of several that wait cannot cancel it
        with self._lock:
            if key in self._making:
                return
            self._making[key] = future
        try:
            future.set_result(self.get(photo, key))
        except Exception as error:  # noqa: BLE001 - for those that wait
            future.set_exception(error)
        finally:
            with self._lock:
                self._making.pop(key, None)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.jpg"


def _lower_priority() -> None:
    # On Linux a thread has a priority of its own; elsewhere this would concern the whole process.
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def read_jpeg(photo: Path, side: int) -> bytes:
    """Return a photo as an upright JPEG whose longer side has at most `side` pixels.

    Raises:
        AssayError: it cannot be read.
    """
    try:
        with open_file(photo) as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise AssayError("the file is missing") from None
    except OSError as error:
        raise AssayError(f"the file cannot be opened: {error.strerror or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise AssayError("the file is too large to be shown")
    return jpeg_thumbnail(data, side, side).data

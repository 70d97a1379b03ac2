"""Thumbnails of photos: made by a few threads, kept in files of the project's hidden folder."""

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


class ThumbnailCache:
    """Makes thumbnails on request, and those of all photos in the background."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="thumbnails")
        self._background = ThreadPoolExecutor(1, thread_name_prefix="thumbnails ahead")
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
        return self._pool.submit(self.get, photo, key)

    def cached(self, key: str) -> bytes | None:
        """Return a thumbnail that exists already."""
        try:
            return self._path(key).read_bytes()
        except OSError:
            return None

    def prepare(self, photos: list[tuple[Path, str]]) -> None:
        """Make the thumbnails of photos in the background, in their order."""
        self._background.submit(self._prepare, photos)

    def close(self) -> None:
        """Stop the threads after the thumbnail that they make now."""
        self._closed = True
        for pool in (self._pool, self._background):
            pool.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, photos: list[tuple[Path, str]]) -> None:
        for photo, key in photos:
            if self._closed:
                return
            if not self._path(key).exists():
                with suppress(AssayError):
                    self.get(photo, key)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.jpg"


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

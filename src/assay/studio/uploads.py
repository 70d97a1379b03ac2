"""Photos that a browser sends: bounded, decoded once, and written under a safe name that is not in use."""

import asyncio
import os
import re
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from assay.core.errors import UsageError
from assay.core.files import file_sha256, temporary_file
from assay.core.printable_text import strip_invisible
from assay.image import decode
from assay.image.formats import sniff
from assay.image.ignore_rules import skip_reason
from assay.image.image_files import IMAGE_SUFFIXES

MAX_PHOTO_BYTES: Final = 64 << 20
MAX_VIDEO_BYTES: Final = 4 << 30
VIDEO_SUFFIXES: Final = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mjpeg", ".3gp"})
_MAX_NAME: Final = 100
_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f]+')
_CHECK_SIDE: Final = 64
_SUFFIXES: Final = {"jpeg": ".jpg", "tiff": ".tif", "jpeg2000": ".jp2"}


async def read_limited(stream: AsyncIterator[bytes], limit: int) -> bytes:
    """Return a body of at most `limit` bytes.

    Raises:
        UsageError: it is longer.
    """
    parts, size = [], 0
    async for part in stream:
        size += len(part)
        if size > limit:
            raise UsageError(f"The file is larger than {limit >> 20} MB")
        parts.append(part)
    return b"".join(parts)


async def save_video(stream: AsyncIterator[bytes], folder: Path, name: str) -> Path:
    """Write a video into an existing folder and return its path; the same video is not kept twice under one name.

    Raises:
        UsageError: it has another suffix or is too large.
    """
    path = folder / safe_name(name)
    if path.suffix.casefold() not in VIDEO_SUFFIXES:
        raise UsageError(f"{path.name} is no video: give one of {', '.join(sorted(VIDEO_SUFFIXES))}")
    size = 0
    with temporary_file(path) as temporary:
        with temporary.open("wb") as target:
            async for part in stream:
                size += len(part)
                if size > MAX_VIDEO_BYTES:
                    raise UsageError(f"The video is larger than {MAX_VIDEO_BYTES >> 30} GB")
                target.write(part)
        return await asyncio.to_thread(_keep, temporary, path)


def save_photo(data: bytes, folder: Path, name: str) -> tuple[Path, bool]:
    """Write an image file, unchanged, into a folder.

    Args:
        data: the file.
        folder: is created if it is missing.
        name: as the browser gives it; it may be hostile.

    Returns:
        Its path, and whether it is new: the same file is not written twice under one name.

    Raises:
        AssayError: it is no image, is damaged, or would take too long to decode.
    """
    kind = sniff(data)
    decode(data, min_side=_CHECK_SIDE, value_range="minmax")
    safe = Path(safe_name(name))
    if safe.suffix.casefold() not in IMAGE_SUFFIXES:
        safe = safe.with_name(safe.name + _SUFFIXES.get(str(kind), f".{kind}"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / safe
    with temporary_file(path) as temporary:
        temporary.write_bytes(data)
        kept = _keep(temporary, path)
        return kept, not temporary.exists()


def _keep(temporary: Path, path: Path) -> Path:
    """Rename a file to `path`, or to `name-2` and so on where another file has that name; return the new path.

    If one of these files has the same content, `temporary` stays and the path of that file is returned.
    """
    size, digest, number = temporary.stat().st_size, file_sha256(temporary), 1
    place = path
    with temporary.open("rb+") as written:
        os.fsync(written.fileno())
    while not _claim(place):
        if place.is_file() and place.stat().st_size == size and file_sha256(place) == digest:
            return place
        number += 1
        place = path.with_name(f"{path.stem}-{number}{path.suffix}")
    temporary.replace(place)
    return place


def _claim(path: Path) -> bool:
    """Create an empty file; False if there is something of this name, which another upload may have just written."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def safe_name(name: str) -> str:
    """Return the last part of a path as a name for a visible file on any system."""
    last = re.split(r"[/\\]", name)[-1].encode("utf-8", "ignore").decode()
    text = _UNSAFE.sub("_", unicodedata.normalize("NFC", strip_invisible(last))).strip().strip(".").strip()
    stem, suffix = Path(text).stem[:_MAX_NAME], Path(text).suffix[:10]
    safe = f"{stem}{suffix}".lstrip(".-") or "photo"
    return f"_{safe}" if skip_reason(safe, folder=False) else safe

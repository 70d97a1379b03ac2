"""Thumbnails: images scaled down to fit a box, as square pixel arrays or as JPEG files."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from assay.image.decode import decode
from assay.image.decode_errors import DecodeError

BACKGROUND = (238, 240, 242)
"""RGB colour of the padding, and of placeholders."""

_JPEG_QUALITY = 75


class SquareThumbnail(NamedTuple):
    """An image fitted into a square."""

    pixels: npt.NDArray[np.uint8]
    """uint8 [S, S, 3], RGB: the whole image, upright, with its aspect ratio."""
    problem: str | None
    """Why the image is missing, or None."""


class JpegThumbnail(NamedTuple):
    """An image scaled down, as a JPEG file."""

    data: bytes
    width: int
    height: int


def jpeg_thumbnail(data: bytes, max_width: int, max_height: int) -> JpegThumbnail:
    """Scale an image file down to fit a box, without enlarging it; `DecodeError` if it cannot be read."""
    image = Image.fromarray(decode(data, min_side=min(max_width, max_height), value_range="minmax"))
    scale = min(1.0, max_width / image.width, max_height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    stream = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return JpegThumbnail(stream.getvalue(), *size)


def square_thumbnail(path: str | Path, size: int, read: Callable[[], bytes] | None = None) -> SquareThumbnail:
    """Read an image and fit it into a square of `size` pixels a side; an unreadable one gives a placeholder.

    `read` returns the image's bytes if they may be in memory already; None: read from `path`.
    """
    try:
        data = Path(path).read_bytes() if read is None else read()
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        return _placeholder(size, "file is missing" if isinstance(error, FileNotFoundError) else "cannot be opened")
    try:
        return SquareThumbnail(letterbox(decode(data, min_side=size, value_range="minmax"), size), None)
    except DecodeError as error:
        return _placeholder(size, str(error))


def letterbox(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Fit pixels [H, W, 3] into a square [size, size, 3], keeping the aspect ratio."""
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    small = Image.fromarray(pixels).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BICUBIC
    )
    square = Image.new("RGB", (size, size), BACKGROUND)
    square.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return np.asarray(square)


def _placeholder(size: int, problem: str) -> SquareThumbnail:
    return SquareThumbnail(np.full((size, size, 3), BACKGROUND, dtype=np.uint8), problem)

"""A photo made small enough to stand beside others; an unreadable one becomes a tile with the reason."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from assay.image import DecodeError, decode

BACKGROUND = (238, 240, 242)
"""RGB colour beside photos that are not square, and of tiles without a photo."""


class Thumbnail(NamedTuple):
    """A square picture of a photo."""

    pixels: npt.NDArray[np.uint8]
    """Array [S, S, 3], RGB: the whole photo, upright, in its own proportions."""
    problem: str | None
    """Why there is no photo in it, or none."""


def thumbnail(path: str | Path, size: int) -> Thumbnail:
    """Read a photo and fit it into a square of `size` pixels a side. Never fails on a bad photo."""
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        return _blank(size, "file is missing" if isinstance(error, FileNotFoundError) else "cannot be opened")
    try:
        return Thumbnail(letterbox(decode(data, min_side=size, value_range="stretch"), size), None)
    except DecodeError as error:
        return _blank(size, str(error))


def letterbox(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Fit pixels [H, W, 3] into a square [size, size, 3] without changing their proportions."""
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    small = Image.fromarray(pixels).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BICUBIC
    )
    square = Image.new("RGB", (size, size), BACKGROUND)
    square.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return np.asarray(square)


def _blank(size: int, problem: str) -> Thumbnail:
    return Thumbnail(np.full((size, size, 3), BACKGROUND, dtype=np.uint8), problem)

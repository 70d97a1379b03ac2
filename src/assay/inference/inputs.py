"""The forms in which a photo may be handed over, and the one way from each to the network's pixels.

Also to a picture that people look at. Knows nothing of models.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from assay.files import open_file
from assay.image import HEAD_BYTES, DecodeError, Preprocess, decode, inspect, sniff
from assay.image.colour import srgb_of_image
from assay.image.rgb import to_rgb, upright
from assay.image.values import ValueRange, resolved, values_of
from assay.inference.prediction import Failure

File = str | Path | bytes | bytearray | memoryview
"""A file's path, or a file's bytes."""

Photo = File | Image.Image | np.ndarray
"""A file's path, a file's bytes, a Pillow image, or pixels: uint8 [H, W, 3], RGB, upright."""

FORMS = "a path, bytes, a Pillow image or an array"
"""The same in words."""

_ORIENTATION = 0x0112

_Result = TypeVar("_Result")


class Picture(NamedTuple):
    """A photo to be looked at."""

    pixels: np.ndarray
    """uint8 [h, w, 3], RGB, upright; perhaps smaller than the photo."""
    width: int
    """Of the photo itself, upright, in pixels."""
    height: int
    """Of the photo itself, upright, in pixels."""


def source_of(photo: Photo) -> str | None:
    """Return the path of a photo that is a file, as it was given."""
    return str(photo) if isinstance(photo, str | Path) else None


def read_photo(photo: Photo, preprocess: Preprocess, place: int = 0) -> np.ndarray | Failure:
    """Read one photo, in whatever form it comes, for the network.

    A file and its bytes give the same pixels. A Pillow image is used at full size, where a large JPEG file
    would be decoded at a fraction of it: the pixels then differ by little (see `Preprocess.read`).

    Args:
        photo: see `Photo`.
        preprocess: from a decoded photo to the network's pixels.
        place: the photo's index among several, to name one that has no path.

    Returns:
        uint8 array of shape [S, S, 3]; or why the photo cannot be read, as data, so that one bad file among
        thousands does no harm.
    """
    return _guarded(photo, lambda: _read(photo, preprocess), place)


def read_picture(photo: Photo, side: int) -> Picture | Failure:
    """Read one photo to be looked at: all of it, upright, made smaller where it is large.

    Args:
        photo: see `Photo`.
        side: the most pixels that the longer side may keep.
    """
    return _guarded(photo, lambda: _picture(photo, side), 0)


def _guarded(photo: Photo, read: Callable[[], _Result], place: int) -> _Result | Failure:
    """Turn what a bad photo raises into data."""
    try:
        return read()
    except DecodeError as error:
        why = str(error)
    except IsADirectoryError:
        why = "it is a folder: give the files in it"
    except (OSError, ValueError) as error:
        # ValueError: a path with a zero byte.
        why = getattr(error, "strerror", None) or str(error)
        why = why[:1].lower() + why[1:]
    return Failure(source_of(photo) or f"photo {place + 1}", why)


def _read(photo: Photo, preprocess: Preprocess) -> np.ndarray:
    if isinstance(photo, File):
        return preprocess.read(_bytes(photo))
    value_range = preprocess.spec.value_range
    return preprocess(_pixels(photo, value_range) if isinstance(photo, Image.Image) else _checked(photo))


def _picture(photo: Photo, side: int) -> Picture:
    if isinstance(photo, File):
        data = _bytes(photo)
        told = inspect(data)
        width, height = told.width, told.height
        shorter = min(width, height) * min(1.0, side / max(width, height))
        pixels = decode(data, min_side=math.ceil(shorter), value_range="stretch")
    else:
        pixels = _pixels(photo, "stretch") if isinstance(photo, Image.Image) else _checked(photo)
        height, width = pixels.shape[:2]
    scale = side / max(pixels.shape[:2])
    if scale < 1:
        size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
        pixels = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return Picture(pixels, width, height)


def _bytes(photo: File) -> bytes:
    return bytes(photo) if isinstance(photo, bytes | bytearray | memoryview) else _content(Path(photo))


def _content(path: Path) -> bytes:
    """Read a file, but only its head if that is no image's: the file may be a video of many gigabytes."""
    with open_file(path) as stream:
        head = stream.read(HEAD_BYTES)
        return head if sniff(head) is None else head + stream.read()


def _pixels(image: Image.Image, value_range: ValueRange) -> np.ndarray:
    """Do for a Pillow image what `decode` does for a file: upright, transparency over white, 8-bit RGB."""
    try:
        kind = (image.format or "").lower()
        values = resolved(values_of(image, kind), value_range)
        image.load()
        orientation = image.getexif().get(_ORIENTATION, 1)
        pixels = to_rgb(image, kind, srgb_of_image(image), values, stretch=value_range == "stretch")
        return upright(pixels, orientation)
    except (UnidentifiedImageError, SyntaxError, ValueError, EOFError) as error:
        raise DecodeError(f"damaged: the Pillow image cannot be loaded ({error})") from None


def _checked(pixels: object) -> np.ndarray:
    if not isinstance(pixels, np.ndarray):
        raise DecodeError(f"a photo must be {FORMS}, not {type(pixels).__name__}")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise DecodeError(
            f"an array must be uint8 [H, W, 3] in RGB order, not {pixels.dtype} {list(pixels.shape)}"
        )
    return pixels

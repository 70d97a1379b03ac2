"""Read images in every accepted form (path, bytes, Pillow, array).

Prefetch batches of them with threads.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from assay.core.cpu import cpu_count
from assay.core.files import open_file
from assay.image import HEAD_BYTES, DecodeError, Preprocess, decode, inspect, sniff
from assay.image.color_management import srgb_transform_of_image
from assay.image.pixel_conversion import ValueRange, apply_orientation, resolve_value_range, to_rgb, value_encoding
from assay.inference.prediction import Failure

ImageFile = str | Path | bytes | bytearray | memoryview
"""A file's path, or a file's bytes."""

ImageInput = ImageFile | Image.Image | np.ndarray
"""A file's path, a file's bytes, a Pillow image, or pixels: uint8 [H, W, 3], RGB, upright."""

INPUT_FORMS = "a path, bytes, a Pillow image or an array"
"""The same in words."""

_ORIENTATION = 0x0112

_Result = TypeVar("_Result")


class Thumbnail(NamedTuple):
    """A photo to be looked at."""

    pixels: np.ndarray
    """uint8 [h, w, 3], RGB, upright; perhaps smaller than the photo."""
    width: int
    """Of the photo itself, upright, in pixels."""
    height: int
    """Of the photo itself, upright, in pixels."""


def input_path(photo: ImageInput) -> str | None:
    """Return the path of a photo that is a file, as it was given."""
    return str(photo) if isinstance(photo, str | Path) else None


def read_input(photo: ImageInput, preprocess: Preprocess, place: int = 0) -> np.ndarray | Failure:
    """Read one photo, in whatever form it comes, for the network.

    A file and its bytes give the same pixels. A Pillow image is used at full size, where a large JPEG file
    would be decoded at a fraction of it: the pixels then differ by little (see `Preprocess.read`).

    Args:
        photo: see `ImageInput`.
        preprocess: from a decoded photo to the network's pixels.
        place: the photo's index among several, to name one that has no path.

    Returns:
        uint8 array of shape [S, S, 3]; or why the photo cannot be read, as data, so that one bad file among
        thousands does no harm.
    """
    return _read_or_failure(photo, lambda: _network_input(photo, preprocess), place)


def read_thumbnail(photo: ImageInput, side: int) -> Thumbnail | Failure:
    """Read one photo to be looked at: all of it, upright, made smaller where it is large.

    Args:
        photo: see `ImageInput`.
        side: the most pixels that the longer side may keep.
    """
    return _read_or_failure(photo, lambda: _thumbnail(photo, side), 0)


def _read_or_failure(photo: ImageInput, read: Callable[[], _Result], place: int) -> _Result | Failure:
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
    return Failure(input_path(photo) or f"photo {place + 1}", why)


def _network_input(photo: ImageInput, preprocess: Preprocess) -> np.ndarray:
    if isinstance(photo, ImageFile):
        return preprocess.read(_bytes(photo))
    value_range = preprocess.spec.value_range
    return preprocess(_pillow_pixels(photo, value_range) if isinstance(photo, Image.Image) else _checked_array(photo))


def _thumbnail(photo: ImageInput, side: int) -> Thumbnail:
    if isinstance(photo, ImageFile):
        data = _bytes(photo)
        told = inspect(data)
        width, height = told.width, told.height
        shorter = min(width, height) * min(1.0, side / max(width, height))
        pixels = decode(data, min_side=math.ceil(shorter), value_range="minmax")
    else:
        pixels = _pillow_pixels(photo, "minmax") if isinstance(photo, Image.Image) else _checked_array(photo)
        height, width = pixels.shape[:2]
    scale = side / max(pixels.shape[:2])
    if scale < 1:
        size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
        pixels = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return Thumbnail(pixels, width, height)


def _bytes(photo: ImageFile) -> bytes:
    return bytes(photo) if isinstance(photo, bytes | bytearray | memoryview) else _read_image_file(Path(photo))


def _read_image_file(path: Path) -> bytes:
    """Read a file, but only its head if that is no image's: the file may be a video of many gigabytes."""
    with open_file(path) as stream:
        head = stream.read(HEAD_BYTES)
        return head if sniff(head) is None else head + stream.read()


def _pillow_pixels(image: Image.Image, value_range: ValueRange) -> np.ndarray:
    """Do for a Pillow image what `decode` does for a file: upright, transparency over white, 8-bit RGB."""
    try:
        kind = (image.format or "").lower()
        values = resolve_value_range(value_encoding(image, kind), value_range)
        image.load()
        orientation = image.getexif().get(_ORIENTATION, 1)
        pixels = to_rgb(image, kind, srgb_transform_of_image(image), values, minmax=value_range == "minmax")
        return apply_orientation(pixels, orientation)
    except (UnidentifiedImageError, SyntaxError, ValueError, EOFError) as error:
        raise DecodeError(f"damaged: the Pillow image cannot be loaded ({error})") from None


def _checked_array(pixels: object) -> np.ndarray:
    if not isinstance(pixels, np.ndarray):
        raise DecodeError(f"a photo must be {INPUT_FORMS}, not {type(pixels).__name__}")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise DecodeError(f"an array must be uint8 [H, W, 3] in RGB order, not {pixels.dtype} {list(pixels.shape)}")
    return pixels


PreparedImage = tuple[str | None, np.ndarray | Failure]
"""A photo's path, if it has one, and its pixels, uint8 [S, S, 3], or why there are none."""


def prefetch(photos: Iterable[ImageInput], preprocess: Preprocess, batch_size: int) -> Iterator[list[PreparedImage]]:
    """Read photos in parallel and give them in batches, in their order.

    At most two batches lie ready or in work besides the one that was given last, so memory does not grow with
    the number of photos. Threads suffice: decoding leaves the interpreter free.

    Args:
        photos: read in the caller's thread, as far ahead as photos are decoded.
        preprocess: from a decoded photo to the network's pixels.
        batch_size: photos a batch; the last may be smaller.

    Yields:
        Lists of 1 to `batch_size` photos.
    """
    numbered = enumerate(photos)
    pending: deque[tuple[str | None, Future[np.ndarray | Failure]]] = deque()
    pool = ThreadPoolExecutor(cpu_count(), thread_name_prefix="assay-read")

    def submit(count: int) -> None:
        for place, photo in islice(numbered, count):
            pending.append((input_path(photo), pool.submit(read_input, photo, preprocess, place)))

    try:
        submit(2 * batch_size)
        while pending:
            batch = [pending.popleft() for _ in range(min(batch_size, len(pending)))]
            submit(len(batch))
            yield [(source, future.result()) for source, future in batch]
    finally:
        pool.shutdown(cancel_futures=True)

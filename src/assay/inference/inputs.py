"""Read images in every accepted form (path, bytes, Pillow, array) and process batches of them in threads."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from assay.core.errors import AssayError
from assay.core.files import is_storage_error, open_file
from assay.image import HEAD_BYTES, DecodeError, Preprocess, decode, inspect, sniff
from assay.image.color_management import srgb_transform_of_image
from assay.image.pixel_conversion import ValueRange, apply_orientation, resolve_value_range, to_rgb, value_encoding
from assay.inference.prediction import Failure

ImageFile = str | Path | bytes | bytearray | memoryview
"""Path or bytes of an image file."""

ImageInput = ImageFile | Image.Image | np.ndarray
"""Path or bytes of an image file, a Pillow image, or pixels: uint8 [H, W, 3], RGB, upright."""

INPUT_FORMS = "a path, bytes, a Pillow image or an array"
"""`ImageInput` in words, for messages."""

_ORIENTATION = 0x0112

_Result = TypeVar("_Result")


class Thumbnail(NamedTuple):
    """An image for display, possibly downscaled."""

    pixels: np.ndarray
    """uint8 [h, w, 3], RGB, upright."""
    width: int
    """Width of the original image, upright, in pixels."""
    height: int
    """Height of the original image, upright, in pixels."""


def input_path(photo: ImageInput) -> str | None:
    """Return the path of an image as given; None for bytes or pixels."""
    return str(photo) if isinstance(photo, str | Path) else None


def read_input(photo: ImageInput, preprocess: Preprocess, index: int = 0) -> np.ndarray | Failure:
    """Read and preprocess an image to uint8 [S, S, 3], or return the failure to read it.

    A file and its bytes give the same pixels. A Pillow image is used at full size, while a large JPEG file is decoded
    at a reduced size, so that the pixels differ slightly (see `Preprocess.read`). `index` identifies an image without
    a path in messages.
    """
    return _read_or_failure(photo, lambda: _network_input(photo, preprocess), index)


def require_final(failure: Failure) -> None:
    """Raise AssayError if reading a photo failed for a reason that may pass, which no file of results should keep."""
    if failure.temporary:
        raise AssayError(
            f"{failure.source} cannot be read ({failure.reason}): repeat the command to resume; "
            "if that does not help, delete this file first"
        )


def read_thumbnail(photo: ImageInput, side: int) -> Thumbnail | Failure:
    """Read a whole image for display, upright, the longer side at most `side` pixels."""
    return _read_or_failure(photo, lambda: _thumbnail(photo, side), 0)


def _read_or_failure(photo: ImageInput, read: Callable[[], _Result], index: int) -> _Result | Failure:
    try:
        return read()
    except DecodeError as error:
        reason = str(error)
    except IsADirectoryError:
        reason = "it is a folder: give the files in it"
    except (OSError, ValueError) as error:
        # ValueError: the path contains a null byte.
        reason = getattr(error, "strerror", None) or str(error)
        reason = reason[:1].lower() + reason[1:]
        temporary = isinstance(error, OSError) and error.errno is not None and is_storage_error(error)
        return Failure(input_path(photo) or f"photo {index + 1}", reason, temporary)
    return Failure(input_path(photo) or f"photo {index + 1}", reason)


def _network_input(photo: ImageInput, preprocess: Preprocess) -> np.ndarray:
    if isinstance(photo, ImageFile):
        return preprocess.read(_bytes(photo))
    value_range = preprocess.spec.value_range
    return preprocess(_pillow_pixels(photo, value_range) if isinstance(photo, Image.Image) else _checked_array(photo))


def _thumbnail(photo: ImageInput, side: int) -> Thumbnail:
    if isinstance(photo, ImageFile):
        data = _bytes(photo)
        header = inspect(data)
        width, height = header.width, header.height
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
    """Read a file, but only its head unless it is an image: it may be a video of many gigabytes."""
    with open_file(path) as stream:
        head = stream.read(HEAD_BYTES)
        return head if sniff(head) is None else head + stream.read()


def _pillow_pixels(image: Image.Image, value_range: ValueRange) -> np.ndarray:
    """Convert a Pillow image like `decode` a file: upright, transparency over white, 8-bit RGB."""
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
"""Path of an image, if it has one, and its pixels, uint8 [S, S, 3], or the failure to read it."""

_Photo = TypeVar("_Photo")


def prefetch(
    photos: Iterable[_Photo], prepare: Callable[[_Photo, int], PreparedImage], batch_size: int, pool: Executor
) -> Iterator[list[PreparedImage]]:
    """Read and preprocess images in threads, and yield them in batches in order.

    At most two batches are prefetched, so memory is constant. Threads suffice, since decoding releases the GIL.
    `photos` is consumed in the caller's thread.

    Args:
        photos: images in any form that `prepare` accepts.
        prepare: reads and preprocesses an image, given with its index, in one of the threads.
        batch_size: images per batch.
        pool: the threads.
    """
    numbered = enumerate(photos)
    pending: deque[Future[PreparedImage]] = deque()

    def submit(count: int) -> None:
        for index, photo in islice(numbered, count):
            pending.append(pool.submit(prepare, photo, index))

    try:
        submit(2 * batch_size)
        while pending:
            batch = [pending.popleft() for _ in range(min(batch_size, len(pending)))]
            submit(len(batch))
            yield [future.result() for future in batch]
    finally:
        for future in pending:
            future.cancel()


def run_streams(
    work: Callable[[list[PreparedImage]], _Result], batches: Iterable[list[PreparedImage]], streams: int, pool: Executor
) -> Iterator[_Result]:
    """Call `work` with batches in threads of `pool`, at most `streams` at a time, and yield the results in order."""
    left = iter(batches)
    working: deque[Future[_Result]] = deque()
    try:
        while True:
            if len(working) == streams:
                yield working.popleft().result()
            batch = next(left, None)
            if batch is None:
                break
            working.append(pool.submit(work, batch))
        while working:
            yield working.popleft().result()
    finally:
        for future in working:
            future.cancel()

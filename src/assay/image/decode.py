"""Decoding of a file's bytes to an upright RGB array; all image files are decoded here. Thread-safe."""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from assay.image import decode_errors, jpeg_png_trimming
from assay.image.color_management import SrgbTransform, srgb_transform
from assay.image.complexity import ComplexityLimitExceeded, bounded_stream, check_complexity
from assay.image.complexity.tiff_exif import count_directories
from assay.image.decode_errors import DecodeError, TooComplexError, TooLargeError
from assay.image.formats import HEAD_BYTES, read_header, sniff
from assay.image.pixel_conversion import (
    UINT8,
    ValueEncoding,
    ValueRange,
    apply_orientation,
    resolve_value_range,
    to_rgb,
    value_encoding,
)


class _ThreadLocalPattern(threading.local):
    """Replaces the compiled message pattern of a warnings filter; the interpreter calls only `match`.

    `warnings.catch_warnings` is not thread-safe: it replaces the filters of the whole process. This one
    filter stays installed and matches only in threads that are inside the context manager. Libraries that
    copy the filters to their worker threads (scikit-learn) read `pattern`, which matches nothing.
    """

    active = False
    pattern = "(?!)"

    def match(self, text: str) -> bool:
        del text
        return self.active


_PATTERN = _ThreadLocalPattern()
_FILTER = ("ignore", _PATTERN, Warning, None, 0)


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Ignore the warnings of this thread inside the block (Pillow warns about damaged metadata).

    Warnings are ignored even where the process turns them into errors, so that whether a file is decoded
    does not depend on the calling program.
    """
    _install_filter()
    before = _PATTERN.active
    _PATTERN.active = True
    try:
        yield
    finally:
        _PATTERN.active = before


def _install_filter() -> None:
    """Make this filter the first one, since others may have been inserted, or an older list restored."""
    filters = cast("list[object]", warnings.filters)
    if filters and filters[0] is _FILTER:
        return
    filters[:] = [_FILTER, *(entry for entry in filters if entry is not _FILTER)]


Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""

PIXELS_VERSION: Final = 3
"""Increment it when the same bytes decode to different pixels, to invalidate caches."""

MAX_PIXELS: Final = 178_956_970
"""Largest width × height that is decoded: half a gigabyte of RGB."""

_ORIENTATION: Final = 0x0112
_TILE_WIDTH: Final = 322
_TILE_LENGTH: Final = 323

# What Pillow's readers raise for damaged files, as observed or by their source.
_DECODER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The header of an image file.

    Attributes:
        format: as named by `sniff`.
        width: of the upright image, in pixels.
        height: of the upright image, in pixels.
        mode: Pillow mode of the stored pixels: "RGB", "L", "P", "CMYK", "I;16".
        orientation: Exif orientation 1 to 8; 1 if the file has none.
        frames: number of images in the file; `decode` returns the first.
        values: type of the pixel values, and those of black and white.
    """

    format: str
    width: int
    height: int
    mode: str
    orientation: int
    frames: int
    values: ValueEncoding = UINT8


def inspect(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Read the header of an image file without decoding pixels; the rest of the file may be damaged.

    Raises:
        TooLargeError: the image has more than `max_pixels` pixels.
        DecodeError: not an image, an unsupported format, or a damaged header.
    """
    with _open_image(data, max_pixels) as (image, kind):
        values = value_encoding(image, kind)
        # Pillow's PNG reader decodes all pixels to find Exif data after them: allow it only if there are any.
        orientation = _orientation(image, early=kind != "png" or b"eXIf" not in data)
        width, height = _upright_size(image, kind, orientation)
        frames = _frames(image, kind, data)
        return ImageInfo(kind, width, height, image.mode, orientation, frames, values)


def decode(
    data: bytes,
    *,
    min_side: int | Callable[[int, int], int] | None = None,
    box: Callable[[int, int], Box] | None = None,
    value_range: ValueRange = None,
) -> np.ndarray:
    """Decode the first image of a file to 8-bit sRGB, upright and with transparency over white.

    A truncated JPEG is always refused. Damage below `box`, or damage that keeps the length valid, may go unnoticed.

    Args:
        data: the whole file, in any format that `sniff` recognizes.
        min_side: allows decoding a JPEG at 1/2, 1/4 or 1/8 of its size, which is much faster, as long as the
            shorter side has at least this many pixels; or a function of the upright width and height that
            returns it. None decodes at full size. Other formats are always decoded at full size.
        box: returns the region of interest for an upright width and height, as decoded. A JPEG is then decoded
            only down to the lowest row (as stored) of that region; the rest is black. None decodes all.
        value_range: values of black and white in images of more than 8 bits; see `ValueRange`.

    Returns:
        uint8 array of shape [H, W, 3], writable and contiguous; deterministic.

    Raises:
        DecodeError: not an image, an unsupported format, damaged, truncated, more than `MAX_PIXELS` pixels
            (by its header, before anything is decoded), or values without a range.
    """
    with _open_image(data) as (image, kind):
        if kind == "jpeg":
            return _decode_jpeg(image, data, min_side, box)
        values = resolve_value_range(value_encoding(image, kind), value_range)
        image.load()
        minmax = value_range == "minmax"
        pixels = to_rgb(image, kind, srgb_transform(image, kind, data), values, minmax=minmax)
        return pixels if kind == "tiff" else apply_orientation(pixels, _orientation(image))


def _decode_jpeg(
    image: ImageFile,
    data: bytes,
    min_side: int | Callable[[int, int], int] | None,
    box: Callable[[int, int], Box] | None,
) -> np.ndarray:
    """Decode at the smallest sufficient scale and down to the last necessary row."""
    orientation, (width, height) = _orientation(image), image.size
    scale = 1
    if min_side is not None:
        side = min_side(*_upright_size(image, "jpeg", orientation)) if callable(min_side) else min_side
        scale = jpeg_png_trimming.jpeg_scale(width, height, side)
    _configure_jpeg(image, data, scale)
    srgb = srgb_transform(image, "jpeg", data)
    if box is not None:
        rows = _needed_rows(box(*_upright_size(image, "jpeg", orientation)), image.size, orientation)
        less = jpeg_png_trimming.cut_jpeg_height(data, rows * scale, height)
        top = None if less is None else _decode_top_rows(less, scale, image.size, srgb)
        if top is not None:
            return apply_orientation(top, orientation)
    image.load()
    return apply_orientation(to_rgb(image, "jpeg", srgb), orientation)


def _decode_top_rows(data: bytes, scale: int, size: tuple[int, int], srgb: SrgbTransform | None) -> np.ndarray | None:
    """Decode a JPEG of reduced height into the top of a black image of `size` (width, height).

    None if that fails: decoding the whole file then shows whether it is damaged.
    """
    try:
        with read_header(io.BytesIO(data), "jpeg") as image:
            _configure_jpeg(image, data, scale)
            image.load()
            rows = to_rgb(image, "jpeg", srgb)
    except _DECODER_ERRORS:
        return None
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    # The lowest rows are smoothed as at a border of the image; they are below the box.
    pixels[: len(rows)] = rows
    return pixels


def _configure_jpeg(image: ImageFile, data: bytes, scale: int) -> None:
    """Set a JPEG up to be decoded at 1/`scale` of its size and in one piece.

    Otherwise Pillow would reacquire the GIL every 64 KiB.
    """
    image.decodermaxblock = max(image.decodermaxblock, len(data))
    if scale > 1:
        image.draft(None, (image.size[0] // scale, image.size[1] // scale))


def _needed_rows(box: Box, size: tuple[int, int], orientation: int) -> int:
    """Return how many rows of the stored image, from its top, contain a box of the upright image."""
    left, top, right, bottom = box
    height = size[1]
    # By the side of the upright image at which the stored top is: bottom, left, right; otherwise top.
    reach = {3: height - top, 4: height - top, 5: right, 8: right, 6: height - left, 7: height - left}
    return reach.get(orientation, bottom)


@contextmanager
def _open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[ImageFile, str]]:
    """Yield the image with its header parsed and its size checked; convert errors inside to DecodeError."""
    kind = sniff(data[:HEAD_BYTES])
    if kind is None:
        raise DecodeError(decode_errors.unrecognized_reason(data))
    if reason := decode_errors.unsupported_format_reason(kind):
        raise DecodeError(reason)
    try:
        check_complexity(data, kind)
        with suppress_warnings(), _read_header(data, kind) as image:
            _check_size(image, max_pixels)
            if reason := decode_errors.unsupported_header_reason(image, kind):
                raise DecodeError(reason)
            yield image, kind
    except Image.DecompressionBombError:
        raise _too_large(max_pixels) from None
    except ComplexityLimitExceeded as error:
        raise TooComplexError(f"too complex: {error}") from None
    except MemoryError:
        raise DecodeError("too large for the available memory") from None
    except _DECODER_ERRORS as error:
        raise DecodeError(decode_errors.decode_failure_reason(error, data, kind)) from None


def _read_header(data: bytes, kind: str) -> ImageFile:
    if kind != "png":
        return read_header(bounded_stream(data), kind)
    lean, profile = jpeg_png_trimming.strip_png_metadata(data)
    image = read_header(bounded_stream(lean), kind)
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _frames(image: ImageFile, kind: str, data: bytes) -> int:
    return count_directories(data) if kind == "tiff" else int(getattr(image, "n_frames", 1))


def _check_size(image: ImageFile, max_pixels: int) -> None:
    width, height = image.size
    tags = getattr(image, "tag_v2", {})
    # A TIFF tile is decoded as a whole, even if the image uses little of it.
    tile = int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))
    if max(width * height, tile) > max_pixels:
        raise _too_large(max_pixels)


def _too_large(max_pixels: int) -> TooLargeError:
    return TooLargeError(f"more than {max_pixels // 1_000_000} million pixels")


def _upright_size(image: ImageFile, kind: str, orientation: int) -> tuple[int, int]:
    width, height = image.size
    # Pillow's TIFF reader applies the orientation to the image and its size.
    return (height, width) if orientation >= 5 and kind != "tiff" else (width, height)


def _orientation(image: ImageFile, *, early: bool = False) -> int:
    """Return the Exif orientation; damaged metadata are ignored, as the pixels may be intact.

    With `early`, only metadata before the pixels are read.
    """
    try:
        exif = Image.Image.getexif(image) if early else image.getexif()
    except _DECODER_ERRORS:
        return 1
    value = exif.get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1

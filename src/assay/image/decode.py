"""From the bytes of a file to an upright RGB picture, or one short reason why not.

The only place where files become pixels: training, the command line and the server share it. It knows nothing
of paths, regions or sizes, holds no state, and may be called from many threads.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from assay.image import jpeg, png, reasons
from assay.image.colour import ToSrgb, to_srgb
from assay.image.complexity import TooComplex, bounded, check_complexity
from assay.image.complexity.tiff import count_directories
from assay.image.errors import DecodeError, TooComplexError, TooLargeError
from assay.image.formats import HEAD_BYTES, read_header, sniff
from assay.image.quiet import quiet
from assay.image.rgb import to_rgb, upright
from assay.image.values import UINT8, ValueRange, Values, resolved, values_of

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are the first that are left out."""

PIXELS_VERSION: Final = 3
"""Raise it when the same bytes come to give other pixels: what was kept of them is then not used any more."""

MAX_PIXELS: Final = 178_956_970
"""Largest width times height that is decoded: half a gigabyte of RGB."""

_ORIENTATION: Final = 0x0112
_TILE_WIDTH: Final = 322
_TILE_LENGTH: Final = 323

# What Pillow's readers were seen to raise, or say in their source that they raise, for damaged files.
_DAMAGE: Final = (
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
    """What a file's header says.

    Attributes:
        format: as `sniff` names it.
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.
        mode: Pillow's name of the stored pixels: "RGB", "L", "P", "CMYK", "I;16".
        orientation: 1 to 8, as in Exif; 1 when the file says nothing.
        frames: pictures in the file; `decode` gives the first.
        values: which numbers the pixels are, and which of them are black and white.
    """

    format: str
    width: int
    height: int
    mode: str
    orientation: int
    frames: int
    values: Values = UINT8


def inspect(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Read a header without decoding pixels; a file that passes may still be damaged further on.

    Args:
        data: the whole file.
        max_pixels: largest width times height; a file that has more is not looked into any further.

    Raises:
        TooLargeError: too many pixels.
        DecodeError: no image, a format Assay does not read, or a damaged header.
    """
    with _opened(data, max_pixels) as (image, kind):
        values = values_of(image, kind)
        # PNG's reader decodes all pixels to find Exif data behind them: let it only where there are any.
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
    """Decode a file's first picture as the eye sees it: upright, transparency over white, 8-bit sRGB.

    Colours are converted to sRGB where the file says that they are in another space (`assay.image.colour`).

    A JPEG file that is cut off is refused wherever the cut lies. Bytes damaged below the part that is looked
    at may go unnoticed, as damage without a wrong length always may.

    Args:
        data: the whole file, in any format that `sniff` recognises.
        min_side: lets JPEG files be decoded at 1/2, 1/4 or 1/8 of their size, which is far quicker, as long
            as the shorter side keeps at least this many pixels; or a function that tells it for an upright
            width and height. None decodes at full size, as other formats always are.
        box: tells for an upright width and height, as decoded, which part is looked at. JPEG files are then
            decoded only as far down (as stored) as the part reaches; what is left out is black, all inside
            the box is what it would be without. None decodes all.
        value_range: the values that are black and white in photos of more than 8 bits; see `ValueRange`.

    Returns:
        uint8 array of shape [H, W, 3], writable and contiguous; the same bytes always give the same pixels.

    Raises:
        DecodeError: no image, a format Assay does not read, damaged, truncated, more than `MAX_PIXELS` pixels
            (told from the header, before anything is decoded), or values without a range.
    """
    with _opened(data) as (image, kind):
        if kind == "jpeg":
            return _decode_jpeg(image, data, min_side, box)
        values = resolved(values_of(image, kind), value_range)
        image.load()
        stretch = value_range == "stretch"
        pixels = to_rgb(image, kind, to_srgb(image, kind, data), values, stretch=stretch)
        return pixels if kind == "tiff" else upright(pixels, _orientation(image))


def _decode_jpeg(
    image: ImageFile,
    data: bytes,
    min_side: int | Callable[[int, int], int] | None,
    box: Callable[[int, int], Box] | None,
) -> np.ndarray:
    """Decode at the scale, and down to the row, that will do."""
    orientation, (width, height) = _orientation(image), image.size
    scale = 1
    if min_side is not None:
        side = min_side(*_upright_size(image, "jpeg", orientation)) if callable(min_side) else min_side
        scale = jpeg.scale_for(width, height, side)
    _prepare(image, data, scale)
    srgb = to_srgb(image, "jpeg", data)
    if box is not None:
        rows = _rows(box(*_upright_size(image, "jpeg", orientation)), image.size, orientation)
        less = jpeg.first_rows(data, rows * scale, height)
        top = None if less is None else _top(less, scale, image.size, srgb)
        if top is not None:
            return upright(top, orientation)
    image.load()
    return upright(to_rgb(image, "jpeg", srgb), orientation)


def _top(data: bytes, scale: int, size: tuple[int, int], srgb: ToSrgb | None) -> np.ndarray | None:
    """Decode a JPEG of less height into the top of a black picture of `size`, width by height.

    None where that fails: whether a damaged file is read is decided by decoding all of it.
    """
    try:
        with read_header(io.BytesIO(data), "jpeg") as image:
            _prepare(image, data, scale)
            image.load()
            rows = to_rgb(image, "jpeg", srgb)
    except _DAMAGE:
        return None
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    # The lowest rows were smoothed towards a lower edge that is none; nobody asked for them.
    pixels[: len(rows)] = rows
    return pixels


def _prepare(image: ImageFile, data: bytes, scale: int) -> None:
    """Have a JPEG decoded at 1/`scale` of its size, and at one go.

    Pillow would take the interpreter's lock again for every 64 KiB.
    """
    image.decodermaxblock = max(image.decodermaxblock, len(data))
    if scale > 1:
        image.draft(None, (image.size[0] // scale, image.size[1] // scale))


def _rows(box: Box, size: tuple[int, int], orientation: int) -> int:
    """Tell how many rows of the picture as stored, from its top, hold a box of the upright one."""
    left, top, right, bottom = box
    height = size[1]
    # Exif's orientations by where the stored top lies: above, below, to the left, to the right.
    reach = {3: height - top, 4: height - top, 5: right, 8: right, 6: height - left, 7: height - left}
    return reach.get(orientation, bottom)


@contextmanager
def _opened(data: bytes, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[ImageFile, str]]:
    """Give the image, its header read and its size checked; what goes wrong inside becomes a DecodeError."""
    kind = sniff(data[:HEAD_BYTES])
    if kind is None:
        raise DecodeError(reasons.unrecognised(data))
    if why := reasons.unreadable(kind):
        raise DecodeError(why)
    try:
        check_complexity(data, kind)
        with quiet(), _read_header(data, kind) as image:
            _check_size(image, max_pixels)
            if why := reasons.unsupported_header(image, kind):
                raise DecodeError(why)
            yield image, kind
    except Image.DecompressionBombError:
        raise _too_large(max_pixels) from None
    except TooComplex as error:
        raise TooComplexError(f"too complex: {error}") from None
    except MemoryError:
        raise DecodeError("too large for the memory that is free") from None
    except _DAMAGE as error:
        raise DecodeError(reasons.failure(error, data, kind)) from None


def _read_header(data: bytes, kind: str) -> ImageFile:
    if kind != "png":
        return read_header(bounded(data), kind)
    lean, profile = png.without_ballast(data)
    image = read_header(bounded(lean), kind)
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _frames(image: ImageFile, kind: str, data: bytes) -> int:
    return count_directories(data) if kind == "tiff" else int(getattr(image, "n_frames", 1))


def _check_size(image: ImageFile, max_pixels: int) -> None:
    width, height = image.size
    tags = getattr(image, "tag_v2", {})
    # A TIFF tile is decoded whole, however little of it the picture uses.
    tile = int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))
    if max(width * height, tile) > max_pixels:
        raise _too_large(max_pixels)


def _too_large(max_pixels: int) -> TooLargeError:
    return TooLargeError(f"more than {max_pixels // 1_000_000} million pixels")


def _upright_size(image: ImageFile, kind: str, orientation: int) -> tuple[int, int]:
    width, height = image.size
    # The TIFF reader turns the picture, and its size, itself.
    return (height, width) if orientation >= 5 and kind != "tiff" else (width, height)


def _orientation(image: ImageFile, *, early: bool = False) -> int:
    """Read the Exif orientation; damaged metadata count as none, the picture itself may be sound.

    With `early`, only what stands before the pixels is looked at.
    """
    try:
        exif = Image.Image.getexif(image) if early else image.getexif()
    except _DAMAGE:
        return 1
    value = exif.get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1

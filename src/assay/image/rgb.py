"""From whatever a file holds (gray, palette, alpha, CMYK, 16 or 32 bits) to 8-bit sRGB, and upright."""

import numpy as np
from PIL import Image, ImageChops

from assay.image.colour import ToSrgb
from assay.image.values import UINT8, Values, levels_of

Array = np.ndarray

_STRIP = 2**20
"""Pixels that are converted at a time."""


def to_rgb(
    image: Image.Image,
    kind: str,
    srgb: ToSrgb | None = None,
    values: Values = UINT8,
    *,
    stretch: bool = False,
) -> Array:
    """Convert a loaded Pillow image to RGB.

    Transparent parts show white. Values of more than 8 bits are scaled by `values`, never by what a
    photo happens to contain, so that equal values stay equal between photos; 16-bit colour already lost its
    low byte in the reader.

    Args:
        image: a loaded image in any mode.
        kind: the format's name as `sniff` gives it; it decides how some modes are to be read.
        srgb: how its colours become sRGB, before they are mixed with white; None: they are.
        values: what its values are, as `assay.image.values.resolved` gives it.
        stretch: see `assay.image.values.levels_of`.

    Returns:
        uint8 array of shape [H, W, 3], writable.

    Raises:
        DecodeError: values lie outside the range that the file declares.
    """
    if values.type != "uint8" and values.reader_range is None:
        return _gray(levels_of(np.asarray(image), values, stretch=stretch), srgb)
    width, height = image.size
    rows = max(1, _STRIP // max(1, width))
    if height <= rows:
        return _convert(image, kind, srgb)
    # Strip by strip: whole, a photo would be held up to four times on the way.
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        pixels[top:bottom] = _convert(image.crop((0, top, width, bottom)), kind, srgb)
    return pixels


def _convert(image: Image.Image, kind: str, srgb: ToSrgb | None) -> Array:
    """Convert what needs no look at other pixels."""
    if image.has_transparency_data:
        return np.array(_over_white(image, srgb))
    if image.mode == "CMYK" and kind == "jpeg" and "adobe" not in image.info:
        # Adobe stores ink inverted, and Pillow turns every CMYK JPEG over; without Adobe's marker it is not.
        image = ImageChops.invert(image)
    return np.array(_coloured(image, srgb))


def _coloured(image: Image.Image, srgb: ToSrgb | None) -> Image.Image:
    if srgb is not None:
        return srgb(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def upright(pixels: Array, orientation: int) -> Array:
    """Undo how the camera was held.

    Args:
        pixels: array of shape [H, W, 3].
        orientation: 1 to 8; anything else counts as 1.

    Returns:
        A contiguous array, [W, H, 3] for orientations 5 to 8; `pixels` itself for 1.

    Source: CIPA DC-008 (Exif 2.32, 2019), tag 0x0112.
    """
    if orientation not in range(2, 9):
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    # What is left to do after the transposition: mirror left to right, top to bottom.
    mirrored, flipped = {
        2: (True, False),
        3: (True, True),
        4: (False, True),
        5: (False, False),
        6: (True, False),
        7: (True, True),
        8: (False, True),
    }[orientation]
    return np.ascontiguousarray(pixels[:: -1 if flipped else 1, :: -1 if mirrored else 1])


def _over_white(image: Image.Image, srgb: ToSrgb | None) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(_coloured(image, srgb), mask=image.getchannel("A"))
    return white


def _gray(levels: Array, srgb: ToSrgb | None) -> Array:
    """Make three channels of one of 8 bits."""
    if srgb is not None:
        return np.array(srgb(Image.fromarray(levels)))
    return np.repeat(levels[:, :, None], 3, axis=2)

"""Conversion of decoded pixels (gray, palette, alpha, CMYK, 16 or 32 bits) to upright 8-bit sRGB.

Values of more than 8 bits are scaled by their type and declared range, never by an image's content.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from PIL import Image, ImageChops
from PIL.ImageFile import ImageFile

from assay.image.color_management import SrgbTransform
from assay.image.decode_errors import DecodeError

Array = np.ndarray

ValueRange = tuple[float, float] | Literal["minmax"] | None
"""Values of black and white in all images of more than 8 bits; "minmax": if none are declared, the image's own
minimum and maximum, for display only; None: as declared by the file."""

_BITS: Final = 258
_PHOTOMETRIC: Final = 262
_FORMAT: Final = 339
_SMALLEST: Final = 340
_LARGEST: Final = 341
_LEVELS: Final = 255
_ROWS: Final = 64
_UINT16_RANGE: Final = (0, 65535)
_OUTSIDE: Final = 0.01
"""Share of a declared range by which values may be outside it."""

_ADVICE: Final = "set preprocess.value_range: [black, white] or convert it to 8 or 16 bits unsigned"
_TYPES: Final = {1: "uint", 2: "int", 3: "float"}
_STORED: Final = {"int8": np.int8, "uint32": np.uint32}
"""Types that Pillow returns as others of the same size."""


@dataclass(frozen=True, slots=True)
class ValueEncoding:
    """Type and range of the pixel values of a file.

    Attributes:
        type: of one channel: "uint8", "uint12", "uint16", "int16", "float32", ...
        range: values of black and white; None if they are not declared.
        declared: the file itself declares the range, not only its type.
        inverted: the smallest value is white.
        reader_range: range that Pillow's reader has already scaled to 0-255, as for all 16-bit colour; None if
            values are unchanged.
        factor: ratio of the file's values to the reader's.
    """

    type: str = "uint8"
    range: tuple[float, float] | None = (0, _LEVELS)
    declared: bool = False
    inverted: bool = False
    reader_range: tuple[float, float] | None = None
    factor: float = 1.0

    def __str__(self) -> str:
        """Return type and range as text: "float32, 0 to 1"."""
        if self.range is None:
            return f"{self.type} without a declared range"
        return f"{self.type}, {self.range[0]:g} to {self.range[1]:g}"


UINT8: Final = ValueEncoding()


def value_encoding(image: Image.Image, kind: str) -> ValueEncoding:
    """Return type and range of an image's values from its header, without decoding pixels.

    TIFF: type and bits from its tags, the range from SMinSampleValue and SMaxSampleValue (MinSampleValue and
    MaxSampleValue are only statistics of the content). PNG: the full range of its bits; sBIT is ignored,
    because writers scale to the full range. PGM and PPM: 0 to maxval. PFM: 0 to the factor in its header. `kind` is a
    format of `sniff`, or "" for an image in memory.

    Source: TIFF 6.0 (1992), sections 8 and 19; PNG, third edition (W3C, 2025), 12.4 and 13.12; Netpbm's
        descriptions of PGM and PFM.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    if tags:
        return _tiff_encoding(image, tags)
    if image.mode == "F":
        scale = image.info.get("scale") if kind == "ppm" else None
        return ValueEncoding("float32", None if scale is None else (0, scale), declared=scale is not None)
    tile = image.tile[0] if isinstance(image, ImageFile) and image.tile else None
    if kind == "ppm" and tile is not None and tile.codec_name.removeprefix("assay_") in {"ppm", "ppm_plain"}:
        return _maxval_encoding(image.mode, tile.args)
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "ppm"):
        return ValueEncoding("uint16", _UINT16_RANGE)
    if image.mode == "I":
        return ValueEncoding("int32", None)
    deep = kind == "png" and tile is not None and str(tile.args).endswith(";16B")
    return ValueEncoding("uint16", _UINT16_RANGE, reader_range=_UINT16_RANGE) if deep else UINT8


def resolve_value_range(values: ValueEncoding, value_range: ValueRange) -> ValueEncoding:
    """Return `values` with the range that the caller sets; it may be None only for "minmax".

    Raises:
        DecodeError: there is no range, or the one that is set does not fit the type.
    """
    if values.type == "uint8":
        return values
    if isinstance(value_range, tuple):
        low, high = value_range
        if not values.type.startswith("float") and high - low < _LEVELS:
            raise DecodeError(
                f"unsupported: {values.type} values, while preprocess.value_range [{low:g}, {high:g}] is "
                "made for floating-point ones; convert all photos to one type"
            )
        values = replace(values, range=value_range, declared=False)
    elif values.range is None and value_range is None:
        raise DecodeError(f"unsupported: {values}; {_ADVICE}")
    if values.reader_range is None or values.range == values.reader_range:
        return values
    if value_range == "minmax":
        return replace(values, range=values.reader_range)
    raise DecodeError(f"unsupported: colour of {values}; convert it to 8 bits a channel")


def scale_to_uint8(stored: Array, values: ValueEncoding, *, minmax: bool = False) -> Array:
    """Scale the values of a gray image [H, W] to uint8; NaN is black, values outside the range are black or white.

    With `minmax`, values without a range, or outside the declared one, are scaled by their own minimum and maximum.

    Raises:
        DecodeError: values are outside the range that the file itself declares.
    """
    if values.type in _STORED:
        stored = stored.view(_STORED[values.type])
    low, high = values.range or _extremes(stored, values.factor)
    if values.declared:
        least, most = _extremes(stored, values.factor)
        if max(low - least, most - high) > _OUTSIDE * (high - low):
            if not minmax:
                raise DecodeError(
                    f"unsupported: {values.type} values from {least:g} to {most:g}, while the file declares "
                    f"{low:g} to {high:g}; {_ADVICE}"
                )
            low, high = least, most
    scale = _LinearScale(low, high, values)
    if stored.dtype.kind == "u" and stored.dtype.itemsize == 2:
        return np.asarray(scale(np.arange(65536))[stored])
    levels = np.empty(stored.shape, np.uint8)
    for top in range(0, len(stored), _ROWS):
        levels[top : top + _ROWS] = scale(stored[top : top + _ROWS])
    return levels


@dataclass(frozen=True, slots=True)
class _LinearScale:
    low: float
    high: float
    values: ValueEncoding

    def __call__(self, stored: Array) -> Array:
        part = stored.astype(np.float64) * self.values.factor - self.low
        part *= _LEVELS / (self.high - self.low) if self.high > self.low else 0.0
        part = np.nan_to_num(part, nan=0.0, posinf=_LEVELS, neginf=0.0).clip(0, _LEVELS)
        return np.rint(_LEVELS - part if self.values.inverted else part).astype(np.uint8)


def _extremes(stored: Array, factor: float) -> tuple[float, float]:
    finite = stored[np.isfinite(stored)] if stored.dtype.kind == "f" else stored
    return (float(finite.min()) * factor, float(finite.max()) * factor) if finite.size else (0.0, 0.0)


def _tiff_encoding(image: Image.Image, tags: Mapping[int, Any]) -> ValueEncoding:
    bits, number = max(_tag_numbers(tags, _BITS, 1)), max(_tag_numbers(tags, _FORMAT, 1))
    name = f"{_TYPES.get(int(number), 'uint')}{int(bits)}"
    if bits <= 8 and number == 1:
        return UINT8
    inverted = image.mode[0] in "IF" and tags.get(_PHOTOMETRIC) == 0
    reader_range = None if image.mode[0] in "IFL" else _UINT16_RANGE
    low, high = min(_tag_numbers(tags, _SMALLEST, math.nan)), max(_tag_numbers(tags, _LARGEST, math.nan))
    if number == 1 and bits <= 16 and math.isnan(low):
        low = 0.0
    if math.isfinite(low) and math.isfinite(high) and low < high:
        whole = number == 1 and (low, high) == (0, 2**bits - 1)
        return ValueEncoding(name, (low, high), declared=not whole, inverted=inverted, reader_range=reader_range)
    by_type = (0, 2 ** int(bits) - 1) if number == 1 and bits <= 16 else None
    return ValueEncoding(name, by_type, inverted=inverted, reader_range=reader_range)


def _maxval_encoding(mode: str, args: Any) -> ValueEncoding:
    """Return the encoding of a PGM or PPM, whose values Pillow's reader scales to 16 bits, or colours to 8."""
    maxval = args[-1] if isinstance(args, tuple) else args
    if not isinstance(maxval, int) or maxval <= _LEVELS:
        return UINT8
    declared = maxval != _UINT16_RANGE[1]
    if mode != "I":
        return ValueEncoding("uint16", (0, maxval), declared, reader_range=(0, maxval))
    return ValueEncoding("uint16", (0, maxval), declared, factor=maxval / _UINT16_RANGE[1])


def _tag_numbers(tags: Mapping[int, Any], tag: int, default: float) -> tuple[float, ...]:
    value = tags.get(tag, default)
    numbers = value if isinstance(value, tuple) else (value,)
    try:
        return tuple(float(number) for number in numbers) or (default,)
    except (TypeError, ValueError, ZeroDivisionError):
        return (default,)


_STRIP_PIXELS = 2**20
"""Pixels converted at a time."""


def to_rgb(
    image: Image.Image,
    kind: str,
    srgb: SrgbTransform | None = None,
    values: ValueEncoding = UINT8,
    *,
    minmax: bool = False,
) -> Array:
    """Convert a loaded Pillow image in any mode to 8-bit RGB, [H, W, 3], with transparent parts over white.

    Values of more than 8 bits are scaled by `values`, never by the image's content, so that equal values stay
    equal between images; 16-bit colour has already lost its low byte in the reader.

    Args:
        image: the image.
        kind: format as named by `sniff`; some modes are interpreted differently by format.
        srgb: transform of its colours to sRGB, applied before blending with white; None: they are sRGB.
        values: result of `resolve_value_range`.
        minmax: see `scale_to_uint8`.

    Raises:
        DecodeError: values are outside the range that the file declares.
    """
    if values.type != "uint8" and values.reader_range is None:
        return _gray_to_rgb(scale_to_uint8(np.asarray(image), values, minmax=minmax), srgb)
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // max(1, width))
    if height <= rows:
        return _convert(image, kind, srgb)
    # In strips: converted as a whole, an image would be in memory up to four times.
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        pixels[top:bottom] = _convert(image.crop((0, top, width, bottom)), kind, srgb)
    return pixels


def _convert(image: Image.Image, kind: str, srgb: SrgbTransform | None) -> Array:
    """Convert an image whose pixels are independent of each other."""
    if image.has_transparency_data:
        return np.array(_composite_on_white(image, srgb))
    if image.mode == "CMYK" and kind == "jpeg" and "adobe" not in image.info:
        # Adobe stores inverted CMYK, and Pillow inverts every CMYK JPEG; without Adobe's marker, undo that.
        image = ImageChops.invert(image)
    return np.array(_to_srgb(image, srgb))


def _to_srgb(image: Image.Image, srgb: SrgbTransform | None) -> Image.Image:
    if srgb is not None:
        return srgb(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def apply_orientation(pixels: Array, orientation: int) -> Array:
    """Apply the Exif orientation, 1 to 8, to an array [H, W, 3]; any other value counts as 1.

    Returns a contiguous array, [W, H, 3] for orientations 5 to 8; `pixels` itself for 1.

    Source: CIPA DC-008 (Exif 2.32, 2019), tag 0x0112.
    """
    if orientation not in range(2, 9):
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    # To mirror left to right and top to bottom after the transposition.
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


def _composite_on_white(image: Image.Image, srgb: SrgbTransform | None) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(_to_srgb(image, srgb), mask=image.getchannel("A"))
    return white


def _gray_to_rgb(levels: Array, srgb: SrgbTransform | None) -> Array:
    if srgb is not None:
        return np.array(srgb(Image.fromarray(levels)))
    return np.repeat(levels[:, :, None], 3, axis=2)

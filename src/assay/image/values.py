"""Which of a photo's values are black and white: by type and declared range, never by its content.

Equal values must look equal in all photos of a data set. Where neither the type nor the file says what the
range is, the photo is refused unless the caller sets one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from assay.image.errors import DecodeError

Array = np.ndarray

ValueRange = tuple[float, float] | Literal["stretch"] | None
"""The values that are black and white in all photos of more than 8 bits; "stretch": where nothing says, a
photo's own smallest and largest, for pictures that only people look at; None: nothing is set."""

_BITS: Final = 258
_PHOTOMETRIC: Final = 262
_FORMAT: Final = 339
_SMALLEST: Final = 340
_LARGEST: Final = 341
_LEVELS: Final = 255
_ROWS: Final = 64
_WHOLE: Final = (0, 65535)
_OUTSIDE: Final = 0.01
"""Share of a declared range by which values may lie outside it."""

_ADVICE: Final = "set preprocess.value_range: [black, white] or convert it to 8 or 16 bits unsigned"
_TYPES: Final = {1: "uint", 2: "int", 3: "float"}
_STORED: Final = {"int8": np.int8, "uint32": np.uint32}
"""Types that Pillow hands over as others of the same size."""


@dataclass(frozen=True, slots=True)
class Values:
    """What the values of a file are.

    Attributes:
        type: "uint8", "uint12", "uint16", "int16", "float32", ...; that of one channel.
        range: black and white; None: nothing says which they are.
        declared: the file itself states the range, beyond its type.
        inverted: the smallest value is white.
        reader_range: what Pillow's reader has made 0 to 255 of already, as of all 16-bit colour; None: values
            come as they are.
        factor: by which values of the reader are multiplied to be those of the file.
    """

    type: str = "uint8"
    range: tuple[float, float] | None = (0, _LEVELS)
    declared: bool = False
    inverted: bool = False
    reader_range: tuple[float, float] | None = None
    factor: float = 1.0

    def __str__(self) -> str:
        """Return type and range for people: "float32, 0 to 1"."""
        if self.range is None:
            return f"{self.type} without a declared range"
        return f"{self.type}, {self.range[0]:g} to {self.range[1]:g}"


UINT8: Final = Values()


def values_of(image: Image.Image, kind: str) -> Values:
    """Read from a header what a photo's values are; pixels need not be loaded.

    TIFF: type and bits are those of its tags, a range is what SMinSampleValue and SMaxSampleValue declare.
    MinSampleValue and MaxSampleValue are mere statistics of the content. PNG: the whole range of its bits;
    sBIT changes nothing, since writers scale to it. PGM and PPM: 0 to maxval. PFM: 0 to the factor in its
    header.

    Args:
        image: its header read; or an image in memory.
        kind: the format's name as `sniff` gives it, "" for an image in memory.

    Source: TIFF 6.0 (1992), sections 8 and 19; PNG, third edition (W3C, 2025), 12.4 and 13.12; Netpbm's
        descriptions of PGM and PFM.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    if tags:
        return _of_tiff(image, tags)
    if image.mode == "F":
        scale = image.info.get("scale") if kind == "ppm" else None
        return Values("float32", None if scale is None else (0, scale), declared=scale is not None)
    tile = image.tile[0] if isinstance(image, ImageFile) and image.tile else None
    if kind == "ppm" and tile is not None and tile.codec_name.removeprefix("assay_") in {"ppm", "ppm_plain"}:
        return _of_maxval(image.mode, tile.args)
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "ppm"):
        return Values("uint16", _WHOLE)
    if image.mode == "I":
        return Values("int32", None)
    deep = kind == "png" and tile is not None and str(tile.args).endswith(";16B")
    return Values("uint16", _WHOLE, reader_range=_WHOLE) if deep else UINT8


def resolved(values: Values, value_range: ValueRange) -> Values:
    """Apply the range that a caller sets to what a file says.

    Returns:
        `values`, perhaps with another range; None stays only where it is to be stretched.

    Raises:
        DecodeError: there is no range, or the one that is set makes no sense for the type.
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
    if value_range == "stretch":
        return replace(values, range=values.reader_range)
    raise DecodeError(f"unsupported: colour of {values}; convert it to 8 bits a channel")


def levels_of(stored: Array, values: Values, *, stretch: bool = False) -> Array:
    """Scale the values of a gray photo to levels.

    Args:
        stored: array [H, W] as the reader gives it.
        values: what they are, resolved.
        stretch: values without a range, or beyond the one declared, are stretched by their own.

    Returns:
        uint8 array [H, W]; what is not a number is black, what lies outside the range black or white.

    Raises:
        DecodeError: values lie outside the range that the file itself declares.
    """
    if values.type in _STORED:
        stored = stored.view(_STORED[values.type])
    low, high = values.range or _extremes(stored, values.factor)
    if values.declared:
        least, most = _extremes(stored, values.factor)
        if max(low - least, most - high) > _OUTSIDE * (high - low):
            if not stretch:
                raise DecodeError(
                    f"unsupported: {values.type} values from {least:g} to {most:g}, while the file declares "
                    f"{low:g} to {high:g}; {_ADVICE}"
                )
            low, high = least, most
    scale = _Scale(low, high, values)
    if stored.dtype.kind == "u" and stored.dtype.itemsize == 2:
        return np.asarray(scale(np.arange(65536))[stored])
    levels = np.empty(stored.shape, np.uint8)
    for top in range(0, len(stored), _ROWS):
        levels[top : top + _ROWS] = scale(stored[top : top + _ROWS])
    return levels


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to levels; what is not a number is black."""

    low: float
    high: float
    values: Values

    def __call__(self, stored: Array) -> Array:
        part = stored.astype(np.float64) * self.values.factor - self.low
        part *= _LEVELS / (self.high - self.low) if self.high > self.low else 0.0
        part = np.nan_to_num(part, nan=0.0, posinf=_LEVELS, neginf=0.0).clip(0, _LEVELS)
        return np.rint(_LEVELS - part if self.values.inverted else part).astype(np.uint8)


def _extremes(stored: Array, factor: float) -> tuple[float, float]:
    finite = stored[np.isfinite(stored)] if stored.dtype.kind == "f" else stored
    return (float(finite.min()) * factor, float(finite.max()) * factor) if finite.size else (0.0, 0.0)


def _of_tiff(image: Image.Image, tags: Mapping[int, Any]) -> Values:
    bits, number = max(_numbers(tags, _BITS, 1)), max(_numbers(tags, _FORMAT, 1))
    name = f"{_TYPES.get(int(number), 'uint')}{int(bits)}"
    if bits <= 8 and number == 1:
        return UINT8
    inverted = image.mode[0] in "IF" and tags.get(_PHOTOMETRIC) == 0
    reader_range = None if image.mode[0] in "IFL" else _WHOLE
    low, high = min(_numbers(tags, _SMALLEST, math.nan)), max(_numbers(tags, _LARGEST, math.nan))
    if number == 1 and bits <= 16 and math.isnan(low):
        low = 0.0
    if math.isfinite(low) and math.isfinite(high) and low < high:
        whole = number == 1 and (low, high) == (0, 2**bits - 1)
        return Values(name, (low, high), declared=not whole, inverted=inverted, reader_range=reader_range)
    by_type = (0, 2 ** int(bits) - 1) if number == 1 and bits <= 16 else None
    return Values(name, by_type, inverted=inverted, reader_range=reader_range)


def _of_maxval(mode: str, args: Any) -> Values:
    """What a PGM or PPM holds whose values Pillow's reader stretches to 16 bits, or colours to 8."""
    maxval = args[-1] if isinstance(args, tuple) else args
    if not isinstance(maxval, int) or maxval <= _LEVELS:
        return UINT8
    declared = maxval != _WHOLE[1]
    if mode != "I":
        return Values("uint16", (0, maxval), declared, reader_range=(0, maxval))
    return Values("uint16", (0, maxval), declared, factor=maxval / _WHOLE[1])


def _numbers(tags: Mapping[int, Any], tag: int, default: float) -> tuple[float, ...]:
    value = tags.get(tag, default)
    numbers = value if isinstance(value, tuple) else (value,)
    try:
        return tuple(float(number) for number in numbers) or (default,)
    except (TypeError, ValueError, ZeroDivisionError):
        return (default,)

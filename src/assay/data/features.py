"""Features of one image, measured in one decoding: size, brightness, sharpness, thumbnails and capture time."""

import hashlib
import re
import struct
from calendar import timegm
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final, NamedTuple

import cv2
import numpy as np
from PIL import Image

from assay.data.image_registration import SMALL_THUMBNAIL_SIDE, THUMBNAIL_SIDE, blur_matrix
from assay.data.near_duplicate_candidates import COLOUR_THUMBNAIL_SIDE
from assay.image import decode, inspect
from assay.image.decode import suppress_warnings
from assay.image.pixel_conversion import ValueEncoding

_HEAD_LIMIT: Final = 1 << 17
_EXIF_LIMIT: Final = 1 << 16
_EXIF_IFD: Final = 0x8769
_TIME_ORIGINAL: Final = 0x9003
_SUBSECONDS_ORIGINAL: Final = 0x9291
_EXIF_ERRORS: Final = (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, struct.error)

_EPOCH: Final = re.compile(r"(?<!\d)(1\d{9})(\d{3})?(?!\d)")
_CALENDAR: Final = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[-_.T ]{0,3}"
    r"(\d\d)[-_.:h]?(\d\d)[-_.:m]?(\d\d)[-_.]?(\d{3})?(?!\d)"
)
_FRAME: Final = re.compile(r"(.*(?:frame|frm|video|vid|clip|burst|seq).*?)(\d{1,9})$", re.IGNORECASE)


class FramePosition(NamedTuple):
    """A place in a video or a burst.

    Attributes:
        sequence: folder and name without the number: what counts its own frames.
        number: of the frame.
    """

    sequence: str
    number: int


def exif_time(data: bytes) -> float | None:
    """Return the time of exposure that a JPEG, PNG or WebP file states, or None; damaged Exif states none.

    Args:
        data: the whole file.

    Source: CIPA DC-008 (Exif 2.32, 2019), tags DateTimeOriginal and SubSecTimeOriginal.
    """
    start = data.find(b"Exif\0\0", 0, _HEAD_LIMIT)
    if start < 0:
        marker = max(data.rfind(b"EXIF", -_EXIF_LIMIT), data.find(b"eXIf", 0, _HEAD_LIMIT))
        if marker < 0:
            return None
        start = marker + (8 if data[marker : marker + 4] == b"EXIF" else 4)
    try:
        with suppress_warnings():
            exif = Image.Exif()
            exif.load(data[start : start + _EXIF_LIMIT])
            tags = exif.get_ifd(_EXIF_IFD)
            text, part = tags.get(_TIME_ORIGINAL), tags.get(_SUBSECONDS_ORIGINAL, "")
            whole = datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 (no zone in it)
    except _EXIF_ERRORS:
        return None
    digits = str(part).strip("\0 ")
    return timegm(whole.timetuple()) + (float(f"0.{digits}") if digits.isdecimal() else 0.0)


def filename_time(name: str) -> float | None:
    """Return the time in a file name: seconds or milliseconds since 1970, or year to second; None without.

    Args:
        name: `1715279745553.jpg`, `IMG_20240101_120102.jpg`, `2024-01-01 12.01.02.png`.
    """
    stem = PurePosixPath(name).stem
    if found := _CALENDAR.search(stem):
        year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
        if 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61:
            thousandths = int(found.group(7) or 0)
            return timegm((year, month, day, hour, minute, second)) + thousandths / 1000
    if found := _EPOCH.search(stem):
        return int(found.group(1)) + int(found.group(2) or 0) / 1000
    return None


def parse_frame(name: str) -> FramePosition | None:
    """Return the film and the number in names such as `frame_000123.jpg`; None for names that merely count.

    `cell0001.png` and `IMG_0001.jpg` say nothing of time: the next number may be the next product.
    """
    path = PurePosixPath(name)
    found = _FRAME.match(path.stem)
    return FramePosition(f"{path.parent}/{found.group(1)}", int(found.group(2))) if found else None


Array = np.ndarray

FEATURES_VERSION: Final = 4
"""Raise it when the same bytes come to give other features: kept ones are then not used any more."""

_MEASURED_SIDE: Final = 256
"""Shorter side, in pixels, that JPEG files are decoded to at least."""


@dataclass(frozen=True, slots=True)
class Features:
    """Measurements of one image. Gray values are 0-255."""

    digest: str
    """SHA-256 of the file's bytes, 64 hexadecimal digits."""
    format: str
    """By content, as `assay.image.sniff` names it."""
    width: int
    """Upright, in pixels."""
    height: int
    mode: str
    """Pillow's name of the stored pixels."""
    orientation: int
    """Exif orientation, 1 to 8."""
    frames: int
    value_type: str
    """Of one channel: uint8, uint16, float32, ..."""
    low: float | None
    """The value that is black, by type or declaration; None: nothing says."""
    high: float | None
    """The value that is white."""
    capture_time: float | None
    """Exif time of exposure, in seconds since 1970 by the camera's own clock."""
    brightness: float
    """Mean gray value."""
    dark: float
    """5th percentile of gray."""
    bright: float
    """95th percentile of gray."""
    contrast: float
    """Largest standard deviation of any of the three colours."""
    sharpness: float
    """Deviation of the Laplacian over the deviation of gray; lower is more blurred."""
    detail: float
    """Standard deviation, in gray values, of what is left when shading is taken away: see `measure_detail`."""
    colour_thumbnail: Array
    """uint8 [16, 16, 3]: colour, stretched."""
    gray_thumbnail: Array
    """uint8 [64, 64], or [32, 32] for photos whose shorter side is below 64: gray, stretched."""

    @property
    def values(self) -> ValueEncoding:
        """Type and range of the photo's values."""
        return ValueEncoding(self.value_type, None if self.low is None or self.high is None else (self.low, self.high))


def extract_features(data: bytes) -> Features:
    """Decode a file once, small where its format allows, and measure it.

    Raises:
        DecodeError: the bytes are no photo that can be read to its end.
    """
    info = inspect(data)
    pixels = decode(data, min_side=_MEASURED_SIDE, value_range="minmax")
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    dark, bright = _quantiles(gray, 0.05, 0.95)
    thumbnail = resize_to_square(
        gray, THUMBNAIL_SIDE if min(info.width, info.height) >= THUMBNAIL_SIDE else SMALL_THUMBNAIL_SIDE
    )
    return Features(
        digest=hashlib.sha256(data).hexdigest(),
        format=info.format,
        width=info.width,
        height=info.height,
        mode=info.mode,
        orientation=info.orientation,
        frames=info.frames,
        value_type=info.values.type,
        low=None if info.values.range is None else info.values.range[0],
        high=None if info.values.range is None else info.values.range[1],
        capture_time=exif_time(data),
        brightness=cv2.mean(gray)[0],
        dark=dark,
        bright=bright,
        contrast=_deviation(pixels),
        sharpness=measure_sharpness(gray),
        detail=measure_detail(thumbnail),
        colour_thumbnail=resize_to_square(pixels, COLOUR_THUMBNAIL_SIDE),
        gray_thumbnail=thumbnail,
    )


def remeasure(features: Features, pixels: Array) -> Features:
    """Replace the brightness, contrast and sharpness of a photo by those of other pixels.

    What tells copies (detail, thumbnails) stays.

    Args:
        features: of the photo as its file alone says it is read.
        pixels: uint8 array of shape [H, W, 3]: the photo as a recipe has it read.
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    dark, bright = _quantiles(gray, 0.05, 0.95)
    return replace(features, dark=dark, bright=bright, contrast=_deviation(pixels), sharpness=measure_sharpness(gray))


def resize_to_square(pixels: Array, side: int) -> Array:
    """Return a picture stretched to `side` x `side`: averaged, or interpolated if it is smaller."""
    smaller = min(pixels.shape[:2]) >= side
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=method))


def measure_sharpness(gray: Array) -> float:
    """Return the deviation of the smoothed Laplacian over that of gray, seen at 256 pixels at most.

    Args:
        gray: uint8 [H, W].

    Returns:
        About 0.05 to 0.2 for photos in focus at this size, below 0.02 for others; 0 for blank ones.
    """
    height, width = gray.shape
    scale = _MEASURED_SIDE / min(height, width)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    # Smoothed a little first: whole gray values are a noise of their own, and no sharpness.
    smooth = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), 1.0)
    spread = _deviation(gray)
    return _deviation(cv2.Laplacian(smooth, cv2.CV_32F)) / spread if spread > 0 else 0.0


def measure_detail(thumbnail: Array) -> float:
    """Return how much a thumbnail shows besides shading, as a standard deviation in gray values.

    A quadratic surface is fitted to the slightly blurred thumbnail and taken away. Skies and gradients, which
    all look like each other, have less than about 1; they differs only in case or accents from copies.

    Args:
        thumbnail: uint8 [T, T].
    """
    side = len(thumbnail)
    kernel = blur_matrix(side, side / SMALL_THUMBNAIL_SIDE)
    basis = _quadratic_basis(side)
    smooth = kernel @ thumbnail.astype(np.float32) @ kernel.T
    weights = basis.T @ smooth @ basis * _QUADRATIC_TERMS
    return _deviation(smooth - basis @ weights @ basis.T)


_QUADRATIC_TERMS: Final = (np.add.outer(range(3), range(3)) <= 2).astype(np.float32)


@lru_cache(maxsize=4)
def _quadratic_basis(side: int) -> Array:
    """Return float32 [side, 3]: orthonormal polynomials along a line, so that a fit is a projection."""
    powers = np.vander(np.linspace(-1, 1, side), 3, increasing=True)
    return np.asarray(np.linalg.qr(powers)[0], np.float32)


def _deviation(values: Array) -> float:
    return float(cv2.meanStdDev(values)[1].max())


def _quantiles(gray: Array, *shares: float) -> list[float]:
    counted = np.bincount(gray.ravel(), minlength=256).cumsum()
    return [float(np.searchsorted(counted, share * counted[-1])) for share in shares]

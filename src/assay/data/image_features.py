"""Features of one image, measured in one decoding: size, brightness, sharpness, thumbnails."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from assay.data.capture_time import exif_time
from assay.data.image_similarity import SMALL_THUMBNAIL_SIDE, THUMBNAIL_SIDE, blur_matrix
from assay.data.near_duplicate_candidates import COLOUR_THUMBNAIL_SIDE
from assay.image import decode, inspect
from assay.image.pixel_conversion import ValueEncoding

Array = np.ndarray

FEATURES_VERSION: Final = 4
"""Increment it when the same bytes give different features, to invalidate stored ones."""

_MEASURED_SIDE: Final = 256
"""Minimum shorter side that JPEG files are decoded to, in pixels."""


@dataclass(frozen=True, slots=True)
class Features:
    """Measurements of one image. Gray values are 0-255."""

    digest: str
    format: str
    """By content, as returned by `assay.image.sniff`."""
    width: int
    """Upright, in pixels."""
    height: int
    mode: str
    """Pillow mode of the stored pixels."""
    orientation: int
    """Exif orientation, 1 to 8."""
    frames: int
    value_type: str
    """Of one channel: uint8, uint16, float32, ..."""
    low: float | None
    """Value of black, by type or declaration; None: unknown."""
    high: float | None
    """Value of white; None: unknown."""
    capture_time: float | None
    """Exif exposure time, in seconds since 1970 by the camera's clock."""
    brightness: float
    """Mean gray value."""
    dark: float
    """5th percentile of gray."""
    bright: float
    """95th percentile of gray."""
    contrast: float
    """Largest standard deviation of the three channels."""
    sharpness: float
    """Standard deviation of the Laplacian divided by that of gray; lower is more blurred."""
    detail: float
    """Standard deviation, in gray values, after removal of shading: see `measure_detail`."""
    colour_thumbnail: Array
    """uint8 [16, 16, 3], stretched to a square."""
    gray_thumbnail: Array
    """uint8 [64, 64], or [32, 32] if the shorter side is below 64 pixels; stretched to a square."""

    @property
    def values(self) -> ValueEncoding:
        """Type and range of the values."""
        return ValueEncoding(self.value_type, None if self.low is None or self.high is None else (self.low, self.high))


def extract_features(data: bytes) -> Features:
    """Decode a file once, at reduced size where the format allows it, and measure it.

    Raises:
        DecodeError: the bytes are not an image that can be decoded completely.
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
    """Return features with brightness, contrast and sharpness measured on other pixels, uint8 [H, W, 3].

    Features used to find copies (detail, thumbnails) are unchanged.
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    dark, bright = _quantiles(gray, 0.05, 0.95)
    return replace(features, dark=dark, bright=bright, contrast=_deviation(pixels), sharpness=measure_sharpness(gray))


def resize_to_square(pixels: Array, side: int) -> Array:
    """Return an image stretched to `side` x `side`: averaged, or interpolated if it is smaller."""
    smaller = min(pixels.shape[:2]) >= side
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=method))


def measure_sharpness(gray: Array) -> float:
    """Return the standard deviation of the smoothed Laplacian divided by that of gray, at 256 pixels at most.

    About 0.05 to 0.2 for images in focus, below 0.02 for blurred ones, 0 for blank ones.
    """
    height, width = gray.shape
    scale = _MEASURED_SIDE / min(height, width)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    # Smooth first: the rounding of gray values is noise, not sharpness.
    smooth = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), 1.0)
    spread = _deviation(gray)
    return _deviation(cv2.Laplacian(smooth, cv2.CV_32F)) / spread if spread > 0 else 0.0


def measure_detail(thumbnail: Array) -> float:
    """Return the standard deviation of a gray thumbnail, uint8 [T, T], after removal of shading, in gray values.

    A quadratic surface is fitted to the slightly blurred thumbnail and subtracted. Skies and gradients, which all
    look alike, are below about 1.
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
    """Return orthonormal polynomials along a line, float32 [side, 3], so that a fit is a projection."""
    powers = np.vander(np.linspace(-1, 1, side), 3, increasing=True)
    return np.asarray(np.linalg.qr(powers)[0], np.float32)


def _deviation(values: Array) -> float:
    return float(cv2.meanStdDev(values)[1].max())


def _quantiles(gray: Array, *shares: float) -> list[float]:
    counted = np.bincount(gray.ravel(), minlength=256).cumsum()
    return [float(np.searchsorted(counted, share * counted[-1])) for share in shares]

"""What the audit and the search for copies need to know of a photo, taken from its bytes in one decoding.

Knows nothing of labels and of other photos. Everything is judged at about 256 pixels, the size at which
classifiers look: a photo that is sharp only when seen larger is of no use to them.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from assay.data.candidates import COARSE
from assay.data.registration import FINE, SMALL, blur_matrix
from assay.data.taken import exif_time
from assay.image import decode, inspect
from assay.image.values import Values

Array = np.ndarray

FEATURES_VERSION: Final = 3
"""Raise it when the same bytes come to give other features: kept ones are then not used any more."""

_SEEN: Final = 256
"""Shorter side, in pixels, that JPEG files are decoded to at least."""


@dataclass(frozen=True, slots=True)
class Features:
    """One photo in numbers. Gray values are 0-255."""

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
    taken: float | None
    """Exif time of exposure, in seconds since 1970 by the camera's own clock."""
    dark: float
    """5th percentile of gray."""
    bright: float
    """95th percentile of gray."""
    contrast: float
    """Largest standard deviation of any of the three colours."""
    sharpness: float
    """Deviation of the Laplacian over the deviation of gray; lower is more blurred."""
    detail: float
    """Standard deviation, in gray values, of what is left when shading is taken away: see `detail_of`."""
    coarse: Array
    """uint8 [16, 16, 3]: colour, squashed."""
    fine: Array
    """uint8 [64, 64], or [32, 32] for photos whose shorter side is below 64: gray, squashed."""

    @property
    def values(self) -> Values:
        """Type and range of the photo's values."""
        return Values(
            self.value_type, None if self.low is None or self.high is None else (self.low, self.high)
        )


def extract(data: bytes) -> Features:
    """Decode a file once, small where its format allows, and measure it.

    Raises:
        DecodeError: the bytes are no photo that can be read to its end.
    """
    info = inspect(data)
    pixels = decode(data, min_side=_SEEN, value_range="stretch")
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    dark, bright = _quantiles(gray, 0.05, 0.95)
    fine = squashed(gray, FINE if min(info.width, info.height) >= FINE else SMALL)
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
        taken=exif_time(data),
        dark=dark,
        bright=bright,
        contrast=_deviation(pixels),
        sharpness=sharpness_of(gray),
        detail=detail_of(fine),
        coarse=squashed(pixels, COARSE),
        fine=fine,
    )


def measured_again(features: Features, pixels: Array) -> Features:
    """Replace the brightness, contrast and sharpness of a photo by those of other pixels.

    What tells copies (detail, thumbnails) stays.

    Args:
        features: of the photo as its file alone says it is read.
        pixels: uint8 array of shape [H, W, 3]: the photo as a recipe has it read.
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    dark, bright = _quantiles(gray, 0.05, 0.95)
    return replace(
        features, dark=dark, bright=bright, contrast=_deviation(pixels), sharpness=sharpness_of(gray)
    )


def squashed(pixels: Array, side: int) -> Array:
    """Return a picture squashed to `side` x `side`: averaged, or interpolated if it is smaller."""
    smaller = min(pixels.shape[:2]) >= side
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=method))


def sharpness_of(gray: Array) -> float:
    """Return the deviation of the smoothed Laplacian over that of gray, seen at 256 pixels at most.

    Args:
        gray: uint8 [H, W].

    Returns:
        About 0.05 to 0.2 for photos in focus at this size, below 0.02 for others; 0 for blank ones.
    """
    height, width = gray.shape
    scale = _SEEN / min(height, width)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    # Smoothed a little first: whole gray values are a noise of their own, and no sharpness.
    smooth = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), 1.0)
    spread = _deviation(gray)
    return _deviation(cv2.Laplacian(smooth, cv2.CV_32F)) / spread if spread > 0 else 0.0


def detail_of(fine: Array) -> float:
    """Return how much a thumbnail shows besides shading, as a standard deviation in gray values.

    A quadratic surface is fitted to the slightly blurred thumbnail and taken away. Skies and gradients, which
    all look like each other, have less than about 1; they cannot be told from copies.

    Args:
        fine: uint8 [T, T].
    """
    side = len(fine)
    kernel = blur_matrix(side, side / SMALL)
    basis = _quadratics(side)
    smooth = kernel @ fine.astype(np.float32) @ kernel.T
    weights = basis.T @ smooth @ basis * _UP_TO_SQUARES
    return _deviation(smooth - basis @ weights @ basis.T)


_UP_TO_SQUARES: Final = (np.add.outer(range(3), range(3)) <= 2).astype(np.float32)


@lru_cache(maxsize=4)
def _quadratics(side: int) -> Array:
    """Return float32 [side, 3]: orthonormal polynomials along a line, so that a fit is a projection."""
    powers = np.vander(np.linspace(-1, 1, side), 3, increasing=True)
    return np.asarray(np.linalg.qr(powers)[0], np.float32)


def _deviation(values: Array) -> float:
    return float(cv2.meanStdDev(values)[1].max())


def _quantiles(gray: Array, *shares: float) -> list[float]:
    counted = np.bincount(gray.ravel(), minlength=256).cumsum()
    return [float(np.searchsorted(counted, share * counted[-1])) for share in shares]

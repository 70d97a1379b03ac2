"""Pixels: from the bytes of any photo to the square that a network sees.

Knows nothing of files, labels or networks. Random changes for training live in `assay.image.augment`, which
is imported by its full name: it brings albumentations, and a server needs none of it.
"""

from assay.image.decode import MAX_PIXELS, PIXELS_VERSION, ImageInfo, decode, inspect
from assay.image.errors import DecodeError, TooComplexError, TooLargeError
from assay.image.formats import HEAD_BYTES, sniff
from assay.image.preprocess import Preprocess

__all__ = [
    "HEAD_BYTES",
    "MAX_PIXELS",
    "PIXELS_VERSION",
    "DecodeError",
    "ImageInfo",
    "Preprocess",
    "TooComplexError",
    "TooLargeError",
    "decode",
    "inspect",
    "sniff",
]

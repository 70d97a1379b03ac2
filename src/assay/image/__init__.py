"""Decoding of image files to RGB arrays, and preprocessing to the input of a network.

`assay.image.augmentation` is not imported here, because albumentations is not needed for prediction.
"""

from assay.image.decode import MAX_PIXELS, PIXELS_VERSION, ImageInfo, decode, inspect
from assay.image.decode_errors import DecodeError, TooComplexError, TooLargeError
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

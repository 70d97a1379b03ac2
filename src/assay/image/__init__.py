"""Images: decoding of files to RGB arrays, and preprocessing to the input of a network.

`assay.image.augmentation` is imported by its full name, because it imports albumentations, which prediction
does not need.
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

"""Limits on the work that decoding a file may cost, checked from its structure before any pixel is decoded.

A file's size and number of pixels do not limit it: a JPEG of 100 kB can ask for thousands of passes over 16
million pixels.
"""

from collections.abc import Callable
from typing import Final

from assay.image.complexity import avif_jpeg2000, jpeg_png_gif, tiff
from assay.image.complexity.bounded_stream import ComplexityLimitExceeded, bounded_stream

_CHECKS: Final[dict[str, Callable[[bytes], None]]] = {
    "jpeg": jpeg_png_gif.check_jpeg,
    "png": jpeg_png_gif.check_png,
    "gif": jpeg_png_gif.check_gif,
    "tiff": tiff.check_tiff,
    "webp": tiff.check_embedded_exif,
    "avif": avif_jpeg2000.check_avif,
    "jpeg2000": avif_jpeg2000.check_jpeg2000,
}


def check_complexity(data: bytes, kind: str) -> None:
    """Refuse a file that takes far more work to decode than its number of pixels justifies.

    The limits allow an image of 16 megapixels about one second of one core; above that, time grows with the
    number of pixels. What Pillow parses in Python is limited by `bounded_stream`.

    Args:
        data: the whole file.
        kind: format as named by `sniff`.

    Raises:
        ComplexityLimitExceeded: names what exceeds which limit.
    """
    if check := _CHECKS.get(kind):
        check(data)


__all__ = ["ComplexityLimitExceeded", "bounded_stream", "check_complexity"]

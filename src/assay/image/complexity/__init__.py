"""Limits on the work of decoding a file, checked from its structure before any pixel is decoded.

File size and number of pixels are no limit: a JPEG of 100 kB can require thousands of passes over 16 million pixels.
"""

from collections.abc import Callable
from typing import Final

from assay.image.complexity import avif_jpeg2000, jpeg_png_gif, tiff_exif
from assay.image.complexity.bounded_stream import ComplexityLimitExceeded, bounded_stream

_CHECKS: Final[dict[str, Callable[[bytes], None]]] = {
    "jpeg": jpeg_png_gif.check_jpeg,
    "png": jpeg_png_gif.check_png,
    "gif": jpeg_png_gif.check_gif,
    "tiff": tiff_exif.check_tiff,
    "webp": tiff_exif.check_embedded_exif,
    "avif": avif_jpeg2000.check_avif,
    "jpeg2000": avif_jpeg2000.check_jpeg2000,
}


def check_complexity(data: bytes, kind: str) -> None:
    """Raise `ComplexityLimitExceeded` for a file that takes far more work to decode than its pixels justify.

    The limits allow an image of 16 megapixels about one second of one core; above that, time grows with the
    number of pixels. What Pillow parses in Python is limited by `bounded_stream`.
    """
    if check := _CHECKS.get(kind):
        check(data)


__all__ = ["ComplexityLimitExceeded", "bounded_stream", "check_complexity"]

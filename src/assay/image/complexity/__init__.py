"""Limits on the work that decoding a file may cost.

Checked from its structure before any pixel is decoded. A file's size and number of pixels do not bound it:
a JPEG of 100 kB can ask for thousands of passes over 16 million pixels.
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
    """Refuse a file whose structure asks for far more work than its pixels do.

    The bounds leave a photo of 16 megapixels about a second of one core; above that, time grows with pixels.

    Args:
        data: the whole file.
        kind: the format's name as `sniff` gives it.

    Raises:
        TooComplex: with what is too much, and how much is allowed.
    """
    if check := _CHECKS.get(kind):
        check(data)


__all__ = ["ComplexityLimitExceeded", "bounded_stream", "check_complexity"]

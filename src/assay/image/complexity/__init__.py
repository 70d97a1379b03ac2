"""How much work a file asks for, judged by its structure before any pixel is decoded.

A file's size and number of pixels do not bound the time that decoding takes: a JPEG of 100 kB can ask for
thousands of passes over 16 million pixels, and a decoder in C cannot be stopped. Here such files are refused
by what they declare. What is read by Pillow's own parsers, in Python, is bounded by `bounded`.
"""

from collections.abc import Callable
from typing import Final

from assay.image.complexity import avif, gif, jpeg, jpeg2000, png, tiff
from assay.image.complexity.bounds import TooComplex, bounded

_CHECKS: Final[dict[str, Callable[[bytes], None]]] = {
    "jpeg": jpeg.check,
    "png": png.check,
    "gif": gif.check,
    "tiff": tiff.check,
    "webp": tiff.check_embedded,
    "avif": avif.check,
    "jpeg2000": jpeg2000.check,
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


__all__ = ["TooComplex", "bounded", "check_complexity"]

"""The image formats Assay reads, recognised by their first bytes.

Each is bound to one Pillow reader, so that a file is never offered to the readers of other formats (EPS would
start Ghostscript, some are written for long-dead programs). Knows nothing of pixels.
"""

import re
from typing import IO, Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

HEAD_BYTES: Final = 32
"""How many first bytes `sniff` needs."""

_READERS: Final[dict[str, type[ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "jpeg2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "ppm": PpmImagePlugin.PpmImageFile,
}

_NAMES: Final = {"webp": "WebP", "jpeg2000": "JPEG 2000"}

# BMP, and above all PPM, begin like many a text: their patterns ask for the field that follows.
_SIGNATURES: Final = [
    ("jpeg", re.compile(rb"\xff\xd8\xff")),
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("gif", re.compile(rb"GIF8[79]a")),
    ("bmp", re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)),
    ("tiff", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("avif", re.compile(rb"....ftyp(avif|avis)", re.DOTALL)),
    ("heic", re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", re.DOTALL)),
    ("jpeg2000", re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
    ("ppm", re.compile(rb"P[1-6]\s+(#|\d+\s)|P[fF]\s+\d+\s")),
]


def sniff(head: bytes) -> str | None:
    """Name the image format that a file's first bytes announce; the file's name plays no part.

    Args:
        head: the file's first `HEAD_BYTES` bytes, or more.

    Returns:
        "jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "jpeg2000", "ppm" (the whole PBM, PGM, PPM, PFM
        family), "heic" (recognised so that it can be named, not decoded), or None: no image.
    """
    for kind, signature in _SIGNATURES:
        if signature.match(head):
            return kind
    return None


def title(kind: str) -> str:
    """Return a format's name as people write it: JPEG, PNG, WebP."""
    return _NAMES.get(kind, kind.upper())


def readable(kind: str) -> bool:
    """Say whether Assay can decode this format on this machine."""
    return kind in _READERS


def read_header(stream: IO[bytes], kind: str) -> ImageFile:
    """Parse the header with the format's own reader; pixels are decoded later, by `load`.

    `PIL.Image.open` is not used: it obeys limits and readers that any code in the process may have changed,
    and makes phone photos with a second picture inside a format of their own.

    Raises:
        KeyError: the format cannot be decoded; and whatever Pillow raises for a damaged header.
    """
    return _READERS[kind](stream)

"""Pictures to write and take apart, shared by the tests of pixels."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    options["append_images"] = [frame.copy() for frame in options.get("append_images", [])]
    image.copy().save(stream, kind, **options)  # Pillow leaves an encoder's settings behind in its images.
    return stream.getvalue()


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Give `encode(image, "PNG", **options)`: the bytes of a file."""
    return _encode


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """Give a smooth colourful picture, 90 wide and 70 high, that no flip or turn leaves as it is."""
    x, y = np.meshgrid(np.linspace(0, 1, 90), np.linspace(0, 1, 70))
    red, green, blue = 255 * x, 255 * y**2, 127 + 120 * np.sin(9 * x) * np.cos(7 * y)
    return Image.fromarray(np.stack([red, green, blue], axis=2).astype(np.uint8))


@pytest.fixture(scope="session")
def files(photo: Image.Image) -> dict[str, bytes]:
    """Give one small file of every format, and of the modes that have code of their own in Pillow."""
    turned = [photo.rotate(20), photo.rotate(50)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    gray16 = photo.convert("I").point(lambda value: value * 200).convert("I;16")
    tags = {274: 6, 271: "maker", 270: "description " * 8}
    found = {
        "jpeg": _encode(photo, "JPEG", exif=exif),
        "jpeg-progressive": _encode(photo, "JPEG", progressive=True),
        "jpeg-cmyk": _encode(photo.convert("CMYK"), "JPEG"),
        "jpeg-mpo": _encode(photo, "MPO", save_all=True, append_images=turned),
        "png-apng": _encode(photo, "PNG", save_all=True, append_images=turned),
        "png-16": _encode(gray16, "PNG"),
        "png-transparent": _encode(photo.convert("P"), "PNG", transparency=3),
        "webp": _encode(photo, "WEBP", exif=exif),
        "webp-lossless": _encode(photo.convert("RGBA"), "WEBP", lossless=True),
        "webp-animated": _encode(photo, "WEBP", save_all=True, append_images=turned),
        "gif": _encode(photo, "GIF", save_all=True, append_images=turned),
        "bmp": _encode(photo, "BMP"),
        "bmp-palette": _encode(photo.convert("P"), "BMP"),
        "tiff-pages": _encode(photo, "TIFF", save_all=True, append_images=turned),
        "tiff-16": _encode(gray16, "TIFF"),
        "tiff-float": _encode(photo.convert("F"), "TIFF"),
        "tiff-lab": _encode(Image.new("LAB", (30, 20), (120, 130, 140)), "TIFF"),
        "avif": _encode(photo, "AVIF", exif=exif),
        "jpeg2000": _encode(photo, "JPEG2000"),
        "jpeg2000-stream": _encode(photo, "JPEG2000", no_jp2=True),
        "ppm": _encode(photo, "PPM"),
        "ppm-bits": _encode(photo.convert("1"), "PPM"),
        "ppm-float": _encode(photo.convert("F"), "PPM"),
        "ppm-text": b"P3\n# a comment\n3 2\n255\n" + b" ".join(b"%d" % (14 * i) for i in range(18)),
    }
    found |= {
        f"png-{mode}": _encode(photo.convert(mode), "PNG", exif=exif)
        for mode in ("RGB", "RGBA", "P", "L", "LA", "1")
    }
    found |= {
        f"tiff-{name}": _encode(photo, "TIFF", compression=name, tiffinfo=tags)
        for name in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits")
    }
    return found

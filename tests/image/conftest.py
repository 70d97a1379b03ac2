"""Pictures to write and take apart, shared by the tests of pixels."""

import io
import struct
import zlib
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
        "tiff-float": _encode(photo.convert("F"), "TIFF", tiffinfo={340: 0.0, 341: 255.0}),
        "tiff-lab": _encode(Image.new("LAB", (30, 20), (120, 130, 140)), "TIFF"),
        "avif": _encode(photo, "AVIF", exif=exif),
        "jpeg2000": _encode(photo, "JPEG2000"),
        "jpeg2000-stream": _encode(photo, "JPEG2000", no_jp2=True),
        "ppm": _encode(photo, "PPM"),
        "ppm-bits": _encode(photo.convert("1"), "PPM"),
        "ppm-float": _encode(photo.convert("F"), "PPM").replace(b"-1.0", b"-255.0"),
        "ppm-text": b"P3\n# a comment\n3 2\n255\n" + b" ".join(b"%d" % (14 * i) for i in range(18)),
    }
    found |= {
        f"png-{mode}": _encode(photo.convert(mode), "PNG", exif=exif) for mode in ("RGB", "RGBA", "P", "L", "LA", "1")
    }
    found |= {
        f"tiff-{name}": _encode(photo, "TIFF", compression=name, tiffinfo=tags)
        for name in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits")
    }
    return found


_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d"}


def _tiff(
    values: np.ndarray,
    tags: dict[int, tuple[int, tuple[float, ...]]] | None = None,
    *,
    big_endian: bool = False,
) -> bytes:
    order = ">" if big_endian else "<"
    samples = 1 if values.ndim == 2 else values.shape[2]
    body = values.astype(values.dtype.newbyteorder(order)).tobytes()
    entries: dict[int, tuple[int, tuple[float, ...]]] = {
        256: (4, (values.shape[1],)),
        257: (4, (values.shape[0],)),
        258: (3, (values.dtype.itemsize * 8,) * samples),
        259: (3, (1,)),
        262: (3, (1 if samples == 1 else 2,)),
        273: (4, (8,)),
        277: (3, (samples,)),
        278: (4, (values.shape[0],)),
        279: (4, (len(body),)),
        339: (3, ({"u": 1, "i": 2, "f": 3}[values.dtype.kind],) * samples),
        **(tags or {}),
    }
    start = 8 + len(body)
    folder, behind = struct.pack(order + "H", len(entries)), b""
    for tag, (kind, numbers) in sorted(entries.items()):
        content = struct.pack(order + str(len(numbers)) + _TYPES[kind], *numbers)
        if len(content) > 4:
            place = start + 2 + 12 * len(entries) + 4 + len(behind)
            behind += content
            content = struct.pack(order + "I", place)
        folder += struct.pack(order + "HHI", tag, kind, len(numbers)) + content.ljust(4, b"\0")
    head = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", start)
    return head + body + folder + bytes(4) + behind


@pytest.fixture(scope="session")
def tiff() -> Callable[..., bytes]:
    """Give `tiff(values, {tag: (type, numbers)}, big_endian=False)`: a TIFF file of an array."""
    return _tiff


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.fixture(scope="session")
def with_chunks() -> Callable[..., bytes]:
    """Give `with_chunks(png, (name, content), ...)`: a PNG with chunks put in behind its header."""

    def insert(data: bytes, *chunks: tuple[bytes, bytes], late: bool = False) -> bytes:
        place = len(data) - 12 if late else 33
        return data[:place] + b"".join(_png_chunk(*chunk) for chunk in chunks) + data[place:]

    return insert

"""Messages for files that cannot be read: unsupported or damaged, with the format."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from assay.image import DecodeError, decode, inspect

Encode = Callable[..., bytes]
Tiff = Callable[..., bytes]


def _iso(major: bytes, *compatible: bytes) -> bytes:
    brands = b"".join(compatible)
    return (16 + len(brands)).to_bytes(4) + b"ftyp" + major + bytes(4) + brands + bytes(64)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (_iso(b"heic", b"mif1", b"heic"), "HEIC; "),
        (_iso(b"heix", b"mif1"), "HEIC; "),
        (_iso(b"mif1", b"mif1", b"heic"), "HEIC; "),
        (_iso(b"msf1", b"hevc"), "HEIC; "),
        (_iso(b"mif1", b"mif1", b"miaf"), "HEIF; "),
        (_iso(b"crx ", b"crx "), "camera raw; "),
        (_iso(b"isom", b"isom", b"avc1"), "a video, "),
        (_iso(b"qt  "), "a video, "),
        (b"RIFF\0\0\0\0AVI LIST", "a video, "),
        (b"\x1a\x45\xdf\xa3" + bytes(20), "a video, "),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "JPEG XL; "),
        (b"\xff\x0a" + bytes(20), "JPEG XL; "),
        (b"II\xbc\x01" + bytes(20), "JPEG XR; "),
        (b"8BPS\0\x01" + bytes(20), "Photoshop; "),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(20), "camera raw; "),
        (b"IIRO\x08\0\0\0" + bytes(20), "camera raw; "),
        (b"IIU\0\x18\0\0\0" + bytes(20), "camera raw; "),
        (b"FUJIFILMCCD-RAW 0201" + bytes(20), "camera raw; "),
        (b"v/1\x01" + bytes(20), "OpenEXR; "),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document, "),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing, "),
        (b"<?xml version='1.0'?>\n<!-- made by hand -->\n<svg width='4'>", "an SVG drawing, "),
        (b"\n<!DOCTYPE html>\n<html><body>404", "a web page, "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file, "),
        (b"PK\x03\x04" + bytes(20), "a zip archive, "),
    ],
)
def test_other_formats_are_named(data: bytes, name: str):
    for read in (decode, inspect):
        with pytest.raises(
            DecodeError, match=f"^unsupported: {re.escape(name)}(convert it to JPEG or PNG|not a photo)$"
        ):
            read(data)


@pytest.mark.parametrize("brand", [b"mif1", b"msf1", b"miaf"])
def test_avif_with_a_generic_major_brand_is_read(encode: Encode, photo: Image.Image, brand: bytes):
    data = encode(photo, "AVIF")
    np.testing.assert_array_equal(decode(data[:8] + brand + data[12:]), decode(data))
    assert inspect(data[:8] + brand + data[12:]).format == "avif"


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ((0xC1, 4, 12), "JPEG with 12 bits a channel"),
        ((0xC3, 4, 16), "lossless JPEG"),
        ((0xC5, 4, 8), "hierarchical JPEG"),
        ((0xF7, 4, 8), "JPEG-LS"),
        ((0xC0, 9, 2), "JPEG with 2 channels"),
    ],
)
def test_unsupported_jpeg_variants(encode: Encode, photo: Image.Image, changed: tuple[int, int, int], name: str):
    marker, at, value = changed
    data = bytearray(encode(photo, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + at] = marker, value
    with pytest.raises(DecodeError, match=f"^unsupported: {name}; convert it to JPEG or PNG$"):
        decode(bytes(data))


@pytest.mark.parametrize(
    ("values", "tags", "name"),
    [
        (np.zeros((4, 4), "f2"), {}, "TIFF of gray, 1 × 16 bits, floating-point"),
        (np.zeros((4, 4), "f8"), {}, "TIFF of gray, 1 × 64 bits, floating-point"),
        (np.zeros((4, 4, 3), "f4"), {}, "TIFF of RGB, 3 × 32 bits, floating-point"),
        (np.zeros((4, 4, 3), "i2"), {}, "TIFF of RGB, 3 × 16 bits, signed"),
        (np.zeros((4, 4), "u8"), {}, "TIFF of gray, 1 × 64 bits, unsigned"),
        (np.zeros((4, 4, 3), "u1"), {262: (3, (6,))}, "TIFF of YCbCr without JPEG compression"),
        (np.zeros((4, 4), "u1"), {259: (3, (34887,))}, "TIFF compressed as LERC"),
        (np.zeros((4, 4), "u1"), {259: (3, (50001,))}, "TIFF compressed as WebP"),
        (np.zeros((4, 4), "u1"), {259: (3, (34712,))}, "TIFF compressed as JPEG 2000"),
        (np.zeros((4, 4), "u1"), {259: (3, (65000,))}, "TIFF of compression 65000"),
        (np.zeros((4, 4), "u2"), {262: (3, (32803,))}, "camera raw"),
        (np.zeros((4, 4, 3), "u1"), {50706: (1, (1, 4, 0, 0))}, "camera raw"),
        (np.zeros((4, 4, 3), "u1"), {254: (4, (1,)), 330: (4, (8, 8))}, "camera raw"),
    ],
)
@pytest.mark.parametrize("big_endian", [False, True])
def test_unsupported_tiff_variants(
    tiff: Tiff,
    values: np.ndarray,
    tags: dict[int, tuple[int, tuple[float, ...]]],
    name: str,
    big_endian: bool,
):
    data = tiff(values, tags, big_endian=big_endian)
    with pytest.raises(DecodeError, match=f"^unsupported: {name}; convert it to JPEG or PNG$"):
        decode(data)


def test_no_library_writes_to_standard_error(tiff: Tiff, capfd: pytest.CaptureFixture[str]):
    for compression in (50001, 32809, 34676, 34887):
        with pytest.raises(DecodeError, match=r"^unsupported: TIFF compressed as "):
            decode(tiff(np.zeros((4, 4), np.uint8), {259: (3, (compression,))}))
    assert capfd.readouterr().err == ""


def test_tiff_with_reduced_copies_is_read(tiff: Tiff):
    values = np.full((4, 4, 3), 200, np.uint8)
    assert (decode(tiff(values, {330: (4, (8, 8))})) == 200).all()
    assert (decode(tiff(values, {254: (4, (1,))})) == 200).all()


def test_color_pfm_is_unsupported():
    with pytest.raises(DecodeError, match=r"^unsupported: PFM in colour; convert it to JPEG or PNG$"):
        decode(b"PF 2 2 -1.0\n" + bytes(48))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"])
def test_truncated_files_are_damaged(encode: Encode, photo: Image.Image, kind: str):
    data = encode(photo, kind)
    with pytest.raises(DecodeError, match=r"^damaged: (truncated|invalid) "):
        decode(data[: len(data) // 2])


def test_random_bytes_after_a_header_are_damaged(encode: Encode, photo: Image.Image):
    data = bytearray(encode(photo, "PNG"))
    data[60:] = bytes(len(data) - 60)
    with pytest.raises(DecodeError, match=r"^damaged: "):
        decode(bytes(data))


def test_apple_png_is_named(encode: Encode, photo: Image.Image, with_chunks: Callable[..., bytes]):
    data = encode(photo, "PNG")
    chunk = with_chunks(data, (b"CgBI", b"\x50\0\x20\x02"))
    start, end = 33, len(chunk) - len(data) + 33
    data = data[:8] + chunk[start:end] + data[8:]
    idat = data.index(b"IDAT")
    with pytest.raises(DecodeError, match=r"^unsupported: PNG in the form made for iPhone apps; "):
        decode(data[: idat + 4] + data[idat + 6 :])

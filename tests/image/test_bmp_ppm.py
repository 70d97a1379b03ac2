"""Decoders of BMP and PPM, compared with Pillow."""

import io
import random
import struct

import pytest
from PIL import BmpImagePlugin, PpmImagePlugin

from assay.image import DecodeError, decode
from assay.image.bmp_ppm import BmpImageFile, PpmImageFile


def _pixels(reader, data: bytes) -> tuple[str, tuple[int, int], bytes] | None:
    """Return mode, size and pixels; None for a file that is refused."""
    try:
        image = reader(io.BytesIO(data))
        image.load()
    except (OSError, ValueError, IndexError):
        return None
    return image.mode, image.size, image.tobytes()


def _run_lengths(draw: random.Random, compression: int) -> bytes:
    body = bytearray()
    for _ in range(draw.randrange(1, 60)):
        kind = draw.random()
        if kind < 0.5:
            body += bytes([draw.randrange(1, 12), draw.randrange(256)])
        elif kind < 0.7:
            body += b"\0\0"
        elif kind < 0.75:
            body += b"\0\2" + bytes([draw.randrange(3), draw.randrange(2)])
        elif kind < 0.77:
            body += b"\0\1"
        else:
            count = draw.randrange(3, 9)
            length = count // 2 if compression == 2 else count
            body += bytes([0, count]) + draw.randbytes(length) + bytes(length % 2)
    return bytes(body) + b"\0\1"


def _bmp(draw: random.Random) -> bytes:
    compression = draw.choice([1, 2])
    body = _run_lengths(draw, compression)
    palette = bytes(range(256)) * 4 if compression == 1 else bytes(range(64))
    start = 54 + len(palette)
    size = draw.randrange(1, 20), draw.randrange(1, 20)
    depth = 8 if compression == 1 else 4
    header = struct.pack("<IiiHHIIiiII", 40, *size, 1, depth, compression, len(body), 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + palette + body
    return data[: -draw.randrange(1, 20)] if draw.random() < 0.3 else data


def _ppm(draw: random.Random) -> bytes:
    width, height, kind = draw.randrange(1, 9), draw.randrange(1, 9), draw.choice([1, 2, 3, 5, 6])
    largest = draw.choice([1, 7, 100, 255, 256, 1000, 4095, 65534, 65535])
    count = width * height * (3 if kind in {3, 6} else 1) + draw.choice([0, 0, 0, 1, -1])
    head = b"P%d %d %d" % (kind, width, height) + (b"" if kind == 1 else b" %d" % largest) + b"\n"
    if kind == 1:
        digits = [b"0", b"1", b"0 ", b"1\n", b"#c1\n", b"0\t"]
        return head + b"".join(draw.choice(digits) for _ in range(count))
    if kind > 3:
        return head + draw.randbytes(count * (2 if largest > 255 else 1))
    over = draw.choice([0, 0, 0, 1])
    blanks = [b" ", b"\n", b"  ", b" #x 9\n", b"\r\n", b"\t"]
    return head + b"".join(b"%d" % draw.randrange(largest + 1 + over) + draw.choice(blanks) for _ in range(count))


@pytest.mark.parametrize(
    ("make", "pillow", "ours"),
    [(_bmp, BmpImagePlugin.BmpImageFile, BmpImageFile), (_ppm, PpmImagePlugin.PpmImageFile, PpmImageFile)],
)
def test_same_pixels_as_pillow(make, pillow, ours) -> None:
    draw, decoded = random.Random(0), 0
    for _ in range(1500):
        data = make(draw)
        expected = _pixels(pillow, data)
        decoded += expected is not None
        assert _pixels(ours, data) == expected, data
    assert decoded > 500


@pytest.mark.parametrize(
    "data",
    [
        b"P2 2 2 255\n1 2 3",
        b"P2 2 2 255\n",
        b"P2 2 2 255\nx",
        b"P2 2 2 255\n1 2 3 -4",
        b"P2 2 2 255\n1 2 3 256",
        b"P2 2 2 255\n1 2 3 99999999999999999999999999",
        b"P3 2 2 255\n" + b"1 " * 11,
        b"P1 2 2\n0 1 2 1",
        b"P5 2 2 100\n\1\2\3",
    ],
)
def test_invalid_numbers_are_rejected(data) -> None:
    with pytest.raises(DecodeError):
        decode(data)


def test_trailing_bytes_are_ignored() -> None:
    assert decode(b"P2 2 1 255\n1 2 P2 2 1 255\n3 4").tolist() == [[[1, 1, 1], [2, 2, 2]]]


def test_long_comment_is_skipped() -> None:
    assert decode(b"P2 2 1 255\n#" + b"9 " * 2**20 + b"\n7 8").tolist() == [[[7] * 3, [8] * 3]]

"""Files whose tables reference the same bytes many times are rejected quickly."""

import io
import struct
import time
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from assay.image import TooComplexError, decode, icc_profiles, inspect
from assay.image.color_management import srgb_transform_of_profile

_SECONDS = 2.0
"""Of one core; each file took from 5 seconds to some minutes."""


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


_AVIF = _box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")
_UNITS = _box(b"mdat", b"\x12\x00" * 200_000)


def _avif_items(items: int, pieces: int, length: int = 300_000, tables: int = 1) -> bytes:
    def table(start: int) -> bytes:
        body = bytes(4) + struct.pack(">HH", 0x4400, items)
        for item in range(items):
            body += struct.pack(">HHH", item, 0, pieces) + struct.pack(">II", start, length) * pieces
        return _box(b"meta", bytes(4) + _box(b"iloc", body) * tables)

    return _AVIF + table(len(_AVIF + table(0)) + 8) + _UNITS


def _avif_without_sizes() -> bytes:
    """All pieces of all items are the whole file, and take no bytes of the table."""
    body = bytes(4) + struct.pack(">HH", 0, 4000) + struct.pack(">HHH", 0, 0, 65535) * 4000
    return _AVIF + _box(b"meta", bytes(4) + _box(b"iloc", body)) + _UNITS


def _avif_tables(count: int) -> bytes:
    sizes = _box(b"stsz", struct.pack(">III", 0, 300_000, 1)) * count
    head = len(_AVIF) + len(sizes) + 20 * count + 8
    return _AVIF + sizes + _box(b"stco", struct.pack(">III", 0, 1, head)) * count + _UNITS


def _entries(count: int) -> bytes:
    """Exif data whose directory names itself eight times."""
    folders = struct.pack("<HHII", 0x8769, 4, 1, 8) * 8
    rest = struct.pack("<HHII", 700, 4, 1, 1) * (count - 8)
    return b"II*\0" + struct.pack("<IH", 8, count) + folders + rest + bytes(4)


def _webp_exif() -> bytes:
    content = _entries(65_535) * 16
    return b"RIFF" + struct.pack("<I", len(content) + 12) + b"WEBPEXIF" + _sized(content)


def _sized(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def _saved(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 64)).save(buffer, kind, **options)
    return buffer.getvalue()


def _png_exif() -> bytes:
    content = _entries(1_100)
    chunk = struct.pack(">I4s", len(content), b"eXIf") + content
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    data = _saved("PNG")
    return data[:33] + chunk * 1_000 + data[33:]


def _tiff_chain(count: int) -> bytes:
    """A picture behind which empty directories follow, each naming the next."""
    data = _saved("TIFF")
    (start,) = struct.unpack_from("<I", data, 4)
    link = start + 2 + 12 * struct.unpack_from("<H", data, start)[0]
    first = len(data)
    chain = b"".join(struct.pack("<HI", 0, first + 6 * (place + 1)) for place in range(count))
    return data[:link] + struct.pack("<I", first) + data[link + 4 :] + chain[:-4] + bytes(4)


def _tiff_tags(count: int) -> bytes:
    """A BigTIFF, whose directory may have more than 65,535 entries."""
    entries = b"".join(struct.pack("<HHQQ", 1_000 + place % 60_000, 3, 1, 0) for place in range(count))
    return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, count) + entries + bytes(8)


def _tiff_strips(rows: int, *, order: str = "<", tiles: bool = False) -> bytes:
    """Parts that are all the same megabyte, which unpacks to eight pixels."""
    pixels = b"12345678"
    empty = b"\0\0\0\xff\xff" * 198_000
    packed = b"\x78\x01" + empty + b"\x01\x08\0\xf7\xff" + pixels + struct.pack(">I", zlib.adler32(pixels))
    side = (322, 323) if tiles else (277, 278)
    numbers = {256: 8, 257: rows, 258: 8, 259: 8, 262: 1, 277: 1, 278: 1} | dict.fromkeys(side, 1)
    places, lengths = (324, 325) if tiles else (273, 279)
    start = 8 + len(packed) + 2 + 12 * (len(numbers) + 2) + 4
    fields = {tag: (1, value) for tag, value in numbers.items()}
    fields |= {places: (rows, start), lengths: (rows, start + 4 * rows)}
    body = b"".join(struct.pack(order + "HHII", tag, 4, *fields[tag]) for tag in sorted(fields))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(packed))
    arrays = struct.pack(f"{order}{2 * rows}I", *[8] * rows, *[len(packed)] * rows)
    return head + packed + struct.pack(order + "H", len(fields)) + body + bytes(4) + arrays


def _gif_comments(parts: int, blocks: int, length: int = 255) -> bytes:
    data = _saved("GIF")
    place = data.index(b",")
    comment = b"!\xfe" + (bytes([length]) + b"c" * length) * blocks + b"\0"
    return data[:place] + comment * parts + data[place:]


def _jpeg_resources(segments: int) -> bytes:
    content = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0" * 5_000
    data = _saved("JPEG")
    return data[:2] + (struct.pack(">HH", 0xFFED, len(content) + 2) + content) * segments + data[2:]


_FILES: dict[str, Callable[[], bytes]] = {
    "avif pieces of one item": lambda: _avif_items(1, 2_000),
    "avif items": lambda: _avif_items(1_000, 1),
    "avif tables of items": lambda: _avif_items(1_000, 0, tables=200),
    "avif pieces without sizes": _avif_without_sizes,
    "avif tables of samples": lambda: _avif_tables(1_000),
    "jpeg resources": lambda: _jpeg_resources(250),
    "webp entries": _webp_exif,
    "png blocks of Exif": _png_exif,
    "tiff directories": lambda: _tiff_chain(2_500_000),
    "tiff tags": lambda: _tiff_tags(500_000),
    "tiff strips": lambda: _tiff_strips(5_000),
    "tiff strips, big-endian": lambda: _tiff_strips(5_000, order=">"),
    "tiff tiles": lambda: _tiff_strips(5_000, tiles=True),
    "gif one comment": lambda: _gif_comments(1, 40_000),
    "gif comment in short blocks": lambda: _gif_comments(1, 5_000_000, length=1),
    "gif comments": lambda: _gif_comments(400, 100),
}


@pytest.mark.parametrize("name", _FILES)
def test_repeated_references_to_the_same_bytes_are_rejected_at_once(name) -> None:
    data = _FILES[name]()
    started = time.thread_time()
    with pytest.raises(TooComplexError, match=r"^too complex: [\d,]+ .+, at most [\d,]+"):
        inspect(data)
    assert time.thread_time() - started < _SECONDS


def test_gif_comments_and_animations_are_accepted() -> None:
    frames = [Image.effect_noise((300, 300), 90 + place) for place in range(12)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], comment=b"c" * 600_000)
    assert inspect(buffer.getvalue()).frames == 12
    assert decode(buffer.getvalue()).shape == (300, 300, 3)


def _profile(elements: list[bytes], order: list[int]) -> bytes:
    """Make a profile whose calculation is the elements in the order given, by place."""
    starts = [16 + 8 * len(order) + sum(map(len, elements[:place])) for place in range(len(elements))]
    table = b"".join(struct.pack(">II", starts[place], len(elements[place])) for place in order)
    tag = struct.pack(">4sIHHI", b"mpet", 0, 3, 3, len(order)) + table + b"".join(elements)
    plain = icc_profiles.cicp_profile(12, 13) or b""
    count = int.from_bytes(plain[128:132], "big")
    # The tag replaces the description, which is not used.
    entry = plain.index(b"desc", 132)
    assert entry < 132 + 12 * count
    made = plain[:entry] + struct.pack(">4sII", b"D2B1", len(plain), len(tag)) + plain[entry + 12 :] + tag
    return struct.pack(">I", len(made)) + made[4:]


def _matrix(inputs: int = 3, outputs: int = 3) -> bytes:
    numbers = [0.9 if place % inputs == place // inputs % 3 else 0.05 for place in range(inputs * outputs)]
    body = struct.pack(f">{inputs * outputs + outputs}f", *numbers, *[0.0] * outputs)
    return struct.pack(">4sIHH", b"matf", 0, inputs, outputs) + body


def _curves(segments: int) -> bytes:
    breaks = [(place + 1) / segments for place in range(segments - 1)]
    curve = struct.pack(f">4sIHH{segments - 1}f", b"curf", 0, segments, 0, *breaks)
    curve += struct.pack(">4sIHH4f", b"parf", 0, 0, 0, 1.1, 0.9, 0, 0) * segments
    return struct.pack(">4sIHH", b"cvst", 0, 3, 3) + struct.pack(">II", 36, len(curve)) * 3 + curve


def _table(inputs: int) -> bytes:
    points = bytes([2] * inputs).ljust(16, b"\0")
    return struct.pack(">4sIHH", b"clut", 0, inputs, 3) + points + struct.pack(">f", 0.5) * (3 * 2**inputs)


@pytest.mark.parametrize(
    "profile",
    [
        _profile([_matrix()], [0] * 2_000),
        _profile([_matrix(3, 13), _table(13)], [0, 1]),
        _profile([_curves(20_000), _matrix()], [0, 1]),
    ],
    ids=["elements", "channels", "segments"],
)
def test_slow_color_profile_is_ignored(profile) -> None:
    started = time.thread_time()
    assert srgb_transform_of_profile(profile, "RGB") is None
    assert time.thread_time() - started < _SECONDS


def test_small_color_profile_is_used() -> None:
    assert srgb_transform_of_profile(_profile([_curves(3), _matrix(), _table(3)], [0, 1, 2]), "RGB") is not None

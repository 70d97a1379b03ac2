"""Image files of adversarial structure: small files, or few pixels, that ask a decoder for much work.

`hostile_images.py` sends all of them through Assay, the tests some. A seed gives the same files.
"""

import io
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

MIB = 2**20


@dataclass(frozen=True)
class Hostile:
    """A file, made when it is asked for."""

    name: str
    make: Callable[[], bytes]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Encode an image with Pillow."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@lru_cache(4)
def picture(width: int, height: int, mode: str = "RGB", *, flat: bool = False) -> Image.Image:
    """Make a picture: noise of a low resolution, or one colour."""
    if flat:
        return Image.new(mode, (width, height))
    small = np.random.default_rng(width * height).integers(0, 256, (48, 64, 3), np.uint8)
    return Image.fromarray(small).resize((width, height)).convert(mode)


# JPEG


@lru_cache(16)
def _progressive(width: int, height: int, mode: str, quality: int = 30, *, flat: bool = True) -> bytes:
    return saved(picture(width, height, mode, flat=flat), "JPEG", progressive=True, quality=quality)


def repeated_scans(sound: bytes, count: int, which: int = -1) -> bytes:
    """Repeat one of a progressive JPEG's scans."""
    starts = [found.start() for found in re.finditer(b"\xff\xda", sound)]
    ends = [*starts[1:], len(sound) - 2]
    start, end = starts[which], ends[which]
    scan = sound[start:end]
    # Tables precede scans; nothing follows the last scan.
    return sound[:start] + scan * count + sound[end:]


def segments(marker: int, count: int, content: bytes) -> bytes:
    """Make `count` JPEG segments."""
    return (bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content) * count


def with_start(sound: bytes, inserted: bytes) -> bytes:
    """Put bytes behind a JPEG's first marker."""
    return sound[:2] + inserted + sound[2:]


def exif_of_shared_values(entries: int, size: int) -> bytes:
    """Make Exif data whose entries all point to the same `size` bytes."""
    start = 8 + 2 + 12 * entries + 4
    table = b"".join(struct.pack("<HHII", 1000 + place, 7, size, start) for place in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + table + bytes(4) + bytes(size)


def split_exif(exif: bytes, size: int = 65_000) -> bytes:
    """Cut Exif data into JPEG segments, as Pillow joins them."""
    return b"".join(segments(0xE1, 1, b"Exif\0\0" + exif[start : start + size]) for start in range(0, len(exif), size))


def jpegs(draw: random.Random) -> Iterator[Hostile]:
    """JPEG: scans, segments, fill bytes, restarts, metadata."""
    for side, mode in [(4096, "L"), (4096, "RGB"), (2048, "L"), (1024, "RGB"), (64, "L"), (4096, "CMYK")]:
        for count in (100, 300, 1000, 3000, 20_000):
            for which in (-1, 0, 1):
                if mode == "L" or which != 1 or count == 1000:
                    name = f"jpeg {mode} {side} scan {which} x {count}"
                    yield Hostile(
                        name,
                        lambda s=side, m=mode, c=count, w=which: (
                            repeated_scans(_progressive(s, s, m), c, w)[: 16 * MIB - 4096] + b"\xff\xd9"
                        ),
                    )
    textured = lambda: _progressive(4096, 4096, "RGB", 50, flat=False)  # noqa: E731
    for count in (5, 20, 60):
        yield Hostile(
            f"jpeg textured scans x {count}",
            lambda c=count: repeated_scans(textured(), c)[: 16 * MIB - 4096] + b"\xff\xd9",
        )
    baseline = lambda: saved(picture(640, 480), "JPEG")  # noqa: E731
    for size in (100_000, 3_000_000, 15_000_000):
        yield Hostile(f"jpeg fill {size} before", lambda n=size: with_start(baseline(), b"\xff" * n))
        yield Hostile(f"jpeg fill {size} and a zero", lambda n=size: with_start(baseline(), b"\xff" * n + b"\0"))
        yield Hostile(f"jpeg zero junk {size}", lambda n=size: with_start(baseline(), b"\0" * n))
        yield Hostile(f"jpeg ff00 junk {size}", lambda n=size: with_start(baseline(), b"\xff\0" * (n // 2)))
        yield Hostile(f"jpeg fill {size} at the end", lambda n=size: baseline()[:-2] + b"\xff" * n + b"\xff\xd9")
        yield Hostile(f"jpeg fill {size} in the scan", lambda n=size: _in_scan(baseline(), b"\xff" * n))
        yield Hostile(f"jpeg restarts {size}", lambda n=size: _in_scan(baseline(), b"\xff\xd0" * (n // 2)))
        for marker in (0xD0, 0x01, 0xD8):
            yield Hostile(
                f"jpeg bare {marker:x} {size}",
                lambda n=size, m=marker: with_start(baseline(), bytes([0xFF, m]) * (n // 2)),
            )
        for marker, content in [
            (0xFE, b""),
            (0xE1, b""),
            (0xE1, b"Exif\0\0" + b"x" * 10),
            (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
            (0xE2, b"ICC_PROFILE\0\x01\x01" + b"x" * 8),
            (0xE2, b"MPF\0" + b"II*\0\x08\0\0\0\0\0"),
            (0xED, b"Photoshop 3.0\0" + (b"8BIM\x03\xed\0\0\0\0\0\0" * 20)),
            (0xDB, b"\0" + b"\x01" * 64),
            (0xC4, b"\0" + bytes([0, 1]) + bytes(14) + b"\0"),
            (0xDD, b"\0\x01"),
            (0xC0, b"\x08\x10\0\x10\0\x01\x01\x11\0"),
            (0xCC, b""),
        ]:
            name = f"jpeg segments {marker:x} {content[:6]!r} {size}"
            yield Hostile(
                name,
                lambda n=size, m=marker, c=content: with_start(baseline(), segments(m, n // (len(c) + 4), c)),
            )
    for entries, size in [(5000, 100), (300, 60_000), (5000, 400_000), (20_000, 8 * MIB), (60_000, 14 * MIB)]:
        yield Hostile(
            f"jpeg exif {entries} entries of {size}",
            lambda e=entries, s=size: with_start(baseline(), split_exif(exif_of_shared_values(e, s))),
        )
    for restart in (1, 2, 8):
        yield Hostile(
            f"jpeg 4096 restart every {restart}",
            lambda r=restart: saved(picture(4096, 4096), "JPEG", quality=20, restart_marker_blocks=r),
        )
    for number in range(6):
        seed = draw.randrange(2**32)
        yield Hostile(f"jpeg random scans {number}", lambda s=seed: _random_scans(s))
    yield Hostile("jpeg tables between scans", lambda: _tables_between_scans(2000))


def _in_scan(sound: bytes, inserted: bytes) -> bytes:
    middle = (sound.rfind(b"\xff\xda") + len(sound)) // 2
    return sound[:middle] + inserted + sound[middle:]


def _random_scans(seed: int) -> bytes:
    draw = random.Random(seed)
    sound = _progressive(2048, 2048, "RGB")
    starts = [found.start() for found in re.finditer(b"\xff\xda", sound)]
    ends = [*starts[1:], len(sound) - 2]
    chosen = [draw.randrange(len(starts)) for _ in range(3000)]
    scans = b"".join(sound[starts[place] : ends[place]] for place in chosen)
    return sound[: starts[0]] + scans[: 15 * MIB] + b"\xff\xd9"


def _tables_between_scans(count: int) -> bytes:
    sound = _progressive(1024, 1024, "L")
    starts = [found.start() for found in re.finditer(b"\xff\xda", sound)]
    unit = segments(0xFE, 20, b"x" * 10) + sound[starts[-1] : -2]
    return sound[: starts[-1]] + unit * count + b"\xff\xd9"


# PNG


def chunk(kind: bytes, content: bytes) -> bytes:
    """Make a PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int,
    height: int,
    *,
    depth: int = 8,
    colour: int = 2,
    interlace: int = 0,
    before: bytes = b"",
    pieces: int = 0,
    after: bytes = b"",
    row: bytes | None = None,
) -> bytes:
    """Make a PNG; its pixel data cut into chunks of `pieces` bytes (0: one chunk)."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    length = (width * channels * depth + 7) // 8
    rows = (row or b"\0" + bytes(length)) * height + (bytes(length + 16) * 16 if interlace else b"")
    if interlace:
        rows = bytes(len(rows) + 8 * height * 2)
    data = zlib.compress(rows, 9)
    size = pieces or len(data)
    image = b"".join(chunk(b"IDAT", data[start : start + size]) for start in range(0, len(data), size))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + image + after + chunk(b"IEND", b"")


def pngs() -> Iterator[Hostile]:
    """PNG: chunks, interlace, compressed metadata, animation."""
    for count in (5000, 100_000, 1_200_000):
        for kind in (
            b"IDAT",
            b"tEXt",
            b"abCd",
            b"fdAT",
            b"acTL",
            b"fcTL",
            b"gAMA",
            b"PLTE",
            b"tRNS",
            b"sRGB",
        ):
            for place in ("before", "after"):
                if kind == b"IDAT" and place == "after":
                    continue
                body = {b"tEXt": b"k\0v", b"fdAT": bytes(4), b"PLTE": bytes(3)}.get(kind, b"")
                name = f"png {kind.decode()} x {count} {place}"
                yield Hostile(
                    name,
                    lambda k=kind, n=count, p=place, b=body: png(
                        64, 64, **{p: chunk(k, b) * min(n, 15 * MIB // (12 + len(b)))}
                    ),
                )
    for pieces in (1, 2, 16):
        yield Hostile(
            f"png noise in pieces of {pieces}",
            lambda n=pieces: png(300, 300, pieces=n, row=b"\0" + random.Random(1).randbytes(900)),
        )
    bomb = zlib.compress(bytes(MIB - 2000), 9)
    for count in (50, 1000, 10_000):
        for kind, head in [
            (b"iCCP", b"p\0\0"),
            (b"zTXt", b"k\0\0"),
            (b"iTXt", b"k\0\x01\0\0\0"),
        ]:
            for place in ("before", "after"):
                yield Hostile(
                    f"png {kind.decode()} bombs x {count} {place}",
                    lambda k=kind, h=head, n=count, p=place: png(
                        64, 64, **{p: chunk(k, h + bomb) * min(n, 15 * MIB // (len(bomb) + 20))}
                    ),
                )
    deep = zlib.compress(bytes(1024 * MIB // 2), 9)
    yield Hostile("png iCCP 512 MiB", lambda: png(64, 64, before=chunk(b"iCCP", b"p\0\0" + deep)))
    yield Hostile("png zTXt 512 MiB", lambda: png(64, 64, before=chunk(b"zTXt", b"k\0\0" + deep)))
    for depth, colour in [(8, 2), (16, 6), (1, 0), (8, 3), (16, 2), (8, 4)]:
        palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
        for interlace in (0, 1):
            yield Hostile(
                f"png 4096 depth {depth} colour {colour} interlace {interlace}",
                lambda d=depth, c=colour, i=interlace, p=palette: png(
                    4096, 4096, depth=d, colour=c, interlace=i, before=p
                ),
            )
    for filtered in range(1, 5):
        yield Hostile(
            f"png 4096 filter {filtered}",
            lambda f=filtered: png(4096, 4096, depth=16, colour=6, row=bytes([f]) + bytes(4096 * 8)),
        )
    yield Hostile("png more data than pixels", lambda: png(64, 64, row=b"\0" + bytes(4_000_000)))
    for entries, size in [(5000, 400_000), (20_000, 8 * MIB), (60_000, 14 * MIB)]:
        for place in ("before", "after"):
            yield Hostile(
                f"png exif {entries} entries of {size} {place}",
                lambda e=entries, s=size, p=place: png(64, 64, **{p: chunk(b"eXIf", exif_of_shared_values(e, s))}),
            )
    for frames in (10, 300, 3000):
        yield Hostile(
            f"apng {frames} frames",
            lambda n=frames: saved(
                picture(16, 16), "PNG", save_all=True, append_images=_frames(n, 16), default_image=False
            ),
        )
    yield Hostile("apng frames of 1 byte", lambda: png(64, 64, before=chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))))


def _frames(count: int, side: int) -> list[Image.Image]:
    return [Image.new("RGB", (side, side), (place % 256, place // 256, 9)) for place in range(count)]


# GIF


def gif(width: int, height: int, blocks: bytes, pixels: bytes = b"") -> bytes:
    """Make a GIF with extension blocks and one picture."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF0, 0, 0) + bytes(6)
    image = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + (pixels or b"\x02\x02\x44\x01\0")
    return head + blocks + image + b";"


def gifs() -> Iterator[Hostile]:
    """GIF: frames, extensions, sub-blocks."""
    for count in (1000, 100_000, 1_500_000):
        yield Hostile(f"gif comments x {count}", lambda n=count: gif(1, 1, b"!\xfe\x01a\0" * n))
        yield Hostile(f"gif sub-blocks x {count}", lambda n=count: gif(1, 1, b"!\xfe" + b"\x01a" * n + b"\0"))
        yield Hostile(f"gif unknown blocks x {count}", lambda n=count: gif(1, 1, b"!\x99" + b"\x01a" * n + b"\0"))
        yield Hostile(f"gif application x {count}", lambda n=count: gif(1, 1, b"!\xff\x01a" + b"\x01a" * n + b"\0"))
        yield Hostile(f"gif controls x {count}", lambda n=count: gif(1, 1, b"!\xf9\x04\0\0\0\0\0" * n))
        yield Hostile(f"gif junk x {count}", lambda n=count: gif(1, 1, b"x" * n))
        frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
        yield Hostile(f"gif frames x {count}", lambda n=count, f=frame: gif(1, 1, f * n))
        yield Hostile(
            f"gif pixels in pieces x {count}",
            lambda n=count: gif(2000, 2000, b"", b"\x02" + b"\x01\x44" * n + b"\0"),
        )
    for side in (4096, 1000):
        yield Hostile(f"gif flat {side}", lambda s=side: saved(picture(s, s, "P", flat=True), "GIF"))
        yield Hostile(f"gif interlaced {side}", lambda s=side: saved(picture(s, s, "P"), "GIF", interlace=True))
    yield Hostile(
        "gif small picture in a large screen",
        lambda: gif(4096, 4096, b"")[:13] + gif(1, 1, b"")[13:],
    )
    yield Hostile("gif clear codes", lambda: gif(4096, 4096, b"", b"\x02" + (b"\xff" + b"\x24" * 255) * 50_000 + b"\0"))


# BMP


def rle_bmp(width: int, height: int, body: bytes, compression: int = 1) -> bytes:
    """Make a run-length coded BMP."""
    depth = 8 if compression == 1 else 4
    palette = bytes(4 * 2**depth)
    start = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, depth, compression, len(body), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + palette + body


def bmps() -> Iterator[Hostile]:
    """BMP: run lengths, fields."""
    for compression in (1, 2):
        for name, unit in [
            ("runs of 1", b"\x01\x05"),
            ("runs of 0", b"\x00\x02\x00\x00"),
            ("jumps", b"\x00\x02\x01\x00"),
            ("line ends", b"\x00\x00"),
            ("literals", b"\x00\x03\x01\x02\x03\x00"),
            ("long runs", b"\xff\x05"),
        ]:
            for size in (100_000, 15_000_000):
                yield Hostile(
                    f"bmp rle {compression} {name} {size}",
                    lambda u=unit, n=size, c=compression: rle_bmp(4000, 4000, u * (n // len(u)) + b"\0\x01", c),
                )
    yield Hostile("bmp 4096", lambda: saved(picture(2300, 2300), "BMP"))
    yield Hostile("bmp rle empty", lambda: rle_bmp(4096, 4096, b"\0\x01"))


# TIFF


def tiff(entries: list[tuple[int, int, int, int]], tail: bytes = b"", following: int = 0) -> bytes:
    """Make a TIFF of one directory; offsets in `entries` from `TAIL` on are places in the tail.

    Args:
        entries: tag, type, count, value.
        tail: bytes behind the directory.
        following: offset of the next directory.
    """
    start = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(
        struct.pack("<HHII", tag, kind, count, value - 2**28 + start if value >= 2**28 else value)
        for tag, kind, count, value in sorted(entries)
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", following) + tail


TAIL = 2**28


def _gray(
    width: int, height: int, compression: int, *more: tuple[int, int, int, int]
) -> list[tuple[int, int, int, int]]:
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
        *more,
    ]


def _strips(width: int, height: int, compression: int, count: int, strip: bytes, rows: int = 1) -> bytes:
    """Make a TIFF of `count` strips that all are the same bytes."""
    tail = strip + b"\0" * (len(strip) % 2)
    offsets, sizes = len(tail), len(tail) + 4 * count
    made = tiff(
        _gray(
            width,
            height,
            compression,
            (273, 4, count, TAIL + offsets),
            (278, 4, 1, rows),
            (279, 4, count, TAIL + sizes),
        ),
        b"",
    )
    first = len(made)
    return made + tail + struct.pack("<I", first) * count + struct.pack("<I", len(strip)) * count


def _tiles(side: int, tile: int, compression: int, count: int, data: bytes) -> bytes:
    tail = data + b"\0" * (len(data) % 2)
    made = tiff(
        _gray(
            side,
            side,
            compression,
            (322, 4, 1, tile),
            (323, 4, 1, tile),
            (324, 4, count, TAIL + len(tail)),
            (325, 4, count, TAIL + len(tail) + 4 * count),
        )
    )
    return made + tail + struct.pack("<I", len(made)) * count + struct.pack("<I", len(data)) * count


def _chain(count: int, size: int = 0) -> bytes:
    """Make a TIFF of `count` directories, each a picture of 4 x 4 pixels; `size` bytes of text in each."""
    entries = _gray(4, 4, 1, (273, 4, 1, 8), (278, 4, 1, 4), (279, 4, 1, 16))
    if size:
        entries.append((270, 2, size, 8))
    table = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    length, start = 2 + len(table) + 4, 8 + 16 + size
    pages = [
        struct.pack("<H", len(entries)) + table + struct.pack("<I", start + length * (page + 1))
        for page in range(count)
    ]
    return b"II*\0" + struct.pack("<I", start) + bytes(16 + size) + b"".join(pages)[:-4] + bytes(4)


def tiffs() -> Iterator[Hostile]:
    """TIFF: directories, strips, tiles, values, codecs."""
    for count in (100, 1000, 5000, 100_000):
        for size in (0, 1000):
            yield Hostile(f"tiff {count} directories, text of {size}", lambda n=count, z=size: _chain(n, z))
    yield Hostile(
        "tiff directory that loops",
        lambda: tiff(_gray(4, 4, 1, (273, 4, 1, 8), (279, 4, 1, 16)), bytes(16), 8),
    )
    packed, lzw = zlib.compress(bytes(4096)), b"\x80\x00\x20\x10"
    for compression, data in [(1, bytes(4096)), (8, packed), (5, lzw), (32773, b"\x81\0" * 32)]:
        for count in (4096, 65_536, 1_800_000):
            yield Hostile(
                f"tiff compression {compression}, {count} strips",
                lambda c=compression, d=data, n=count: _strips(4096, 4096, c, n, d),
            )
        for tile, count in [(16, 65_536), (1, 1_800_000), (8, 262_144), (4096, 1)]:
            yield Hostile(
                f"tiff compression {compression}, tiles of {tile}",
                lambda c=compression, d=data, t=tile, n=count: _tiles(4096, t, c, n, d),
            )
    for entries, size in [(1000, 60_000), (1000, 14 * MIB), (60_000, 14 * MIB)]:
        yield Hostile(f"tiff {entries} entries of {size}", lambda e=entries, s=size: _entries(e, s))
    whole = picture(4096, 4096, flat=True)
    for compression in (
        "tiff_lzw",
        "tiff_deflate",
        "packbits",
        "tiff_ccitt",
        "group3",
        "group4",
        "zstd",
        "lzma",
    ):
        mode = "1" if compression in {"tiff_ccitt", "group3", "group4"} else "RGB"
        for rows in (1, 4096):
            yield Hostile(
                f"tiff 4096 {compression} rows {rows}",
                lambda c=compression, m=mode, r=rows: saved(whole.convert(m), "TIFF", compression=c, tiffinfo={278: r}),
            )
    for count in (50, 100, 1000):
        yield Hostile(
            f"tiff with a JPEG of {count} scans",
            lambda n=count: _strips(4096, 4096, 7, 1, repeated_scans(_progressive(4096, 4096, "L"), n), 4096),
        )
        yield Hostile(
            f"tiff with 256 JPEGs of {count} scans",
            lambda n=count: _tiles(4096, 256, 7, 256, repeated_scans(_progressive(256, 256, "L"), n)),
        )
        yield Hostile(
            f"tiff with an old JPEG of {count} scans",
            lambda n=count: _old_jpeg(repeated_scans(_progressive(2048, 2048, "L"), n)),
        )
    big = zlib.compress(bytes(256 * MIB), 9)
    yield Hostile("tiff deflate 256 MiB in a strip", lambda: _strips(64, 64, 8, 1, big, 64))
    yield Hostile("tiff deflate 256 MiB in each of 4096", lambda: _strips(4096, 4096, 8, 4096, big))
    yield Hostile(
        "tiff fill in a JPEG strip",
        lambda: _strips(512, 512, 7, 1, with_start(saved(picture(512, 512, "L"), "JPEG"), b"\xff" * 15_000_000), 512),
    )


def _entries(count: int, size: int) -> bytes:
    base = _gray(4, 4, 1, (273, 4, 1, TAIL), (278, 4, 1, 4), (279, 4, 1, 16))
    more = [(1000 + place, 7, size, TAIL) for place in range(min(count, 31_000))]
    return tiff(base + more, bytes(size))


def _old_jpeg(stream: bytes) -> bytes:
    made = tiff(
        _gray(
            2048,
            2048,
            6,
            (513, 4, 1, TAIL),
            (514, 4, 1, len(stream)),
            (273, 4, 1, TAIL),
            (278, 4, 1, 2048),
            (279, 4, 1, len(stream)),
        )
    )
    return made + stream


# WebP, AVIF, JPEG 2000


def webps() -> Iterator[Hostile]:
    """WebP: frames, chunks, sizes."""
    for frames in (20, 500, 3000):
        yield Hostile(
            f"webp {frames} frames",
            lambda n=frames: saved(picture(16, 16), "WEBP", save_all=True, append_images=_frames(n, 16)),
        )
    for lossless in (False, True):
        for flat in (False, True):
            yield Hostile(
                f"webp 4096 lossless {lossless} flat {flat}",
                lambda k=lossless, f=flat: saved(picture(4096, 4096, flat=f), "WEBP", lossless=k, method=0),
            )
    yield Hostile(
        "webp 4096 animated",
        lambda: saved(
            picture(4096, 4096, flat=True),
            "WEBP",
            save_all=True,
            append_images=[picture(4096, 4096)],
            method=0,
        ),
    )
    for count in (1000, 100_000, 1_500_000):
        for kind in (b"abcd", b"EXIF", b"XMP ", b"ICCP", b"ANMF", b"ALPH"):
            yield Hostile(f"webp {kind.decode().strip()} x {count}", lambda k=kind, n=count: _webp_chunks(k, n))
    for entries, size in [(5000, 400_000), (60_000, 14 * MIB)]:
        yield Hostile(
            f"webp exif {entries} entries of {size}",
            lambda e=entries, s=size: saved(picture(16, 16), "WEBP", exif=exif_of_shared_values(e, s)),
        )


def _webp_chunks(kind: bytes, count: int) -> bytes:
    sound = saved(picture(16, 16), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", method=0)
    body = sound[8:] + (kind + struct.pack("<I", 2) + b"\0\0") * min(count, 15 * MIB // 10)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def box(kind: bytes, content: bytes) -> bytes:
    """Make a box of an ISO media file."""
    return struct.pack(">I", len(content) + 8) + kind + content


def hidden_frames(count: int, side: int = 4096) -> bytes:
    """Repeat the coded frame of an AVIF picture, all in one item."""
    sound = saved(picture(side, side, flat=True), "AVIF", speed=10, quality=10)
    place = sound.find(b"mdat")
    start, payload = place + 4, sound[place + 4 :]
    at = sound.find(b"iloc")
    # iloc version 0: sizes (2 bytes), items (2), id (2), reference (2), extents (2), offset (4), length (4)
    field = at + 4 + 4 + 2 + 2 + 2 + 2 + 2
    offset, length = struct.unpack_from(">II", sound, field)
    if offset != start or length != len(payload):
        raise ValueError("the encoder has another layout")
    frame = payload * count
    head = bytearray(sound[:start])
    struct.pack_into(">II", head, field, offset, len(frame))
    struct.pack_into(">I", head, place - 4, len(frame) + 8)
    return bytes(head) + frame


def avifs() -> Iterator[Hostile]:
    """AVIF: frames, items, boxes, sizes."""
    for frames in (5, 100, 1000):
        yield Hostile(
            f"avif {frames} frames",
            lambda n=frames: saved(picture(16, 16), "AVIF", save_all=True, append_images=_frames(n, 16), speed=10),
        )
    for count in (2, 50, 2000, 20_000):
        yield Hostile(f"avif {count} coded frames in one item", lambda n=count: hidden_frames(n))
        yield Hostile(f"avif 256 {count} coded frames in one item", lambda n=count: hidden_frames(n, 256))
    yield Hostile("avif 4096", lambda: saved(picture(4096, 4096), "AVIF", speed=10))
    yield Hostile(
        "avif 4096 many tiles", lambda: saved(picture(4096, 4096), "AVIF", speed=10, tile_rows=3, tile_cols=3)
    )
    small = saved(picture(64, 64), "AVIF", speed=10)
    for count in (1000, 100_000, 1_800_000):
        for kind in (b"free", b"meta", b"mdat", b"uuid", b"ftyp"):
            n = min(count, 15 * MIB // 8)
            yield Hostile(f"avif {kind.decode()} boxes x {count}", lambda k=kind, n=n: small + box(k, b"") * n)
    for depth in (100, 5000):
        yield Hostile(f"avif nested {depth}", lambda n=depth: _nested(small, n))
    for entries, size in [(5000, 400_000), (60_000, 14 * MIB)]:
        yield Hostile(
            f"avif exif {entries} entries of {size}",
            lambda e=entries, s=size: _avif_exif(exif_of_shared_values(e, s)),
        )
    yield Hostile(
        "avif larger than it says",
        lambda: _smaller_ispe(saved(picture(8192, 8192, flat=True), "AVIF", speed=10)),
    )


def _nested(small: bytes, depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = box(b"meta", bytes(4) + inner)
    return small + inner


def _avif_exif(exif: bytes) -> bytes:
    """Put Exif data into a file; the encoder would copy all their values."""
    empty = b"II*\0" + struct.pack("<IHI", 8, 0, 0) + bytes(len(exif) - 14)
    sound = saved(picture(64, 64), "AVIF", speed=10, exif=empty)
    place = sound.index(b"II*\0")
    return sound[:place] + exif + sound[place + len(exif) :]


def _smaller_ispe(sound: bytes) -> bytes:
    at = sound.find(b"ispe")
    return sound[: at + 8] + struct.pack(">II", 64, 64) + sound[at + 16 :]


def jpeg2000s() -> Iterator[Hostile]:
    """JPEG 2000: tiles, layers, precincts, code blocks, comments."""
    flat = picture(4096, 4096, "L", flat=True)
    for tile in (4096, 512, 64, 32):
        yield Hostile(f"j2k tiles of {tile}", lambda t=tile: saved(flat, "JPEG2000", tile_size=(t, t), no_jp2=True))
    for tile in (16, 8, 1):
        yield Hostile(
            f"j2k says tiles of {tile}",
            lambda t=tile: _j2k_tiles(saved(picture(1024, 1024, "L", flat=True), "JPEG2000", no_jp2=True), t),
        )
    for size in (4, 64):
        yield Hostile(
            f"j2k code blocks of {size}",
            lambda s=size: saved(flat, "JPEG2000", codeblock_size=(s, s), no_jp2=True),
        )
    for size in (64, 256):
        yield Hostile(
            f"j2k precincts of {size}",
            lambda s=size: saved(flat, "JPEG2000", codeblock_size=(4, 4), precinct_size=(s, s), no_jp2=True),
        )
    for exponent in (0, 1, 2, 4):
        yield Hostile(f"j2k says precincts of 2^{exponent}", lambda e=exponent: _j2k_precincts(e))
    for layers in (10, 1000, 65_535):
        yield Hostile(f"j2k {layers} layers", lambda n=layers: _j2k_layers(saved(flat, "JPEG2000", no_jp2=True), n))
    for count in (1000, 1_000_000):
        yield Hostile(f"j2k comments x {count}", lambda n=count: _j2k_comments(n))
        yield Hostile(f"jp2 boxes x {count}", lambda n=count: _jp2_boxes(n))
    yield Hostile("j2k 4096 textured", lambda: saved(picture(4096, 4096), "JPEG2000"))
    yield Hostile("j2k 4096 noise", lambda: saved(Image.effect_noise((3000, 3000), 100), "JPEG2000")[: 16 * MIB])


def _j2k_tiles(sound: bytes, side: int) -> bytes:
    at = sound.find(b"\xff\x51") + 2 + 2 + 2 + 16
    return sound[:at] + struct.pack(">II", side, side) + sound[at + 8 :]


def _j2k_precincts(exponent: int) -> bytes:
    sound = saved(
        picture(2048, 2048, "L", flat=True),
        "JPEG2000",
        precinct_size=(256, 256),
        codeblock_size=(4, 4),
        no_jp2=True,
    )
    at = sound.find(b"\xff\x52")
    length = struct.unpack_from(">H", sound, at + 2)[0]
    return sound[: at + 14] + bytes([exponent * 17]) * (length - 12) + sound[at + 2 + length :]


def _j2k_layers(sound: bytes, count: int) -> bytes:
    at = sound.find(b"\xff\x52") + 6
    return sound[:at] + struct.pack(">H", count) + sound[at + 2 :]


def _j2k_comments(count: int) -> bytes:
    sound = saved(picture(64, 64, "L"), "JPEG2000", no_jp2=True)
    at = sound.find(b"\xff\x52")
    return sound[:at] + b"\xff\x63\0\x05abc" * min(count, 15 * MIB // 7) + sound[at:]


def _jp2_boxes(count: int) -> bytes:
    sound = saved(picture(64, 64, "L"), "JPEG2000")
    return sound[:12] + box(b"free", b"") * min(count, 15 * MIB // 8) + sound[12:]


# PPM


def ppms() -> Iterator[Hostile]:
    """PPM: plain numbers, comments."""
    for kind, unit in [(1, b"1 "), (1, b"1"), (2, b"9 "), (3, b"9 "), (2, b"255\n"), (2, b"0000000009 ")]:
        for size in (1 * MIB, 15 * MIB):
            depth = b"" if kind == 1 else b" 255"
            yield Hostile(
                f"ppm P{kind} {unit!r} {size}",
                lambda k=kind, u=unit, n=size, d=depth: b"P%d 4096 4096%s\n" % (k, d) + u * (n // len(u)),
            )
    for place in range(3):
        head = [b"P5", b"64", b"64", b"255"]
        yield Hostile(
            f"ppm comments {place}",
            lambda p=place, h=head: (
                b" ".join(h[: p + 1]) + b" " + b"#\n" * 7_000_000 + b" ".join(h[p + 1 :]) + b"\n" + bytes(4096)
            ),
        )
        yield Hostile(
            f"ppm comment without end {place}",
            lambda p=place, h=head: b" ".join(h[: p + 1]) + b" #" + b"x" * 15_000_000,
        )
        yield Hostile(
            f"ppm blanks {place}",
            lambda p=place, h=head: (
                b" ".join(h[: p + 1]) + b" " * 15_000_000 + b" ".join(h[p + 1 :]) + b"\n" + bytes(4096)
            ),
        )
    for end in (b"", b" ", b"x", b"#"):
        yield Hostile(f"ppm one long number {end!r}", lambda e=end: b"P2 64 64 255\n1 " + b"1" * 15_000_000 + b" x" + e)
        yield Hostile(f"ppm many signs {end!r}", lambda e=end: b"P2 64 64 255\n" + b"-1 +" * 3_000_000 + e)
    yield Hostile("ppm plain comments", lambda: b"P2 64 64 255\n" + b"1 #\n" * 3_500_000)
    for depth in (100, 1000):
        size = 1 if depth < 256 else 2
        yield Hostile(f"ppm depth {depth}", lambda d=depth, s=size: b"P5 2700 2700 %d\n" % d + bytes(2700 * 2700 * s))
    yield Hostile("ppm P6 depth 100", lambda: b"P6 2200 2200 100\n" + bytes(2200 * 2200 * 3))
    yield Hostile("pfm", lambda: b"Pf 2000 2000 -1.0\n" + bytes(16_000_000))


def hostile(seed: int = 0) -> list[Hostile]:
    """Return all files; the same seed gives the same."""
    draw = random.Random(seed)
    return [
        *jpegs(draw), *pngs(), *gifs(), *bmps(), *tiffs(), *webps(), *avifs(), *jpeg2000s(), *ppms()
    ]  # fmt: skip

"""Files that need far more work than their pixels are rejected; valid ones of any structure are not."""

import io
import struct
import time
import zlib
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import load_benchmark

from assay.image import DecodeError, TooComplexError, decode, inspect, sniff
from assay.image.complexity import ComplexityLimitExceeded, bounded_stream, check_complexity

_SECONDS = 4.0
"""Of one core; most take less than one. A busy machine's are longer."""


hostile_files = load_benchmark("hostile_files")


@cache
def _files() -> dict[str, Any]:
    """Return all hostile files by name. Listing them takes seconds, which importing this module must not."""
    return {file.name: file for file in hostile_files.hostile()}


_REFUSED = [
    "jpeg L 4096 scan -1 x 3000",
    "jpeg RGB 4096 scan 1 x 1000",
    "jpeg random scans 0",
    "jpeg tables between scans",
    "jpeg fill 3000000 before",
    "jpeg ff00 junk 3000000",
    "jpeg fill 3000000 and a zero",
    "jpeg bare 1 3000000",
    "jpeg segments fe b'' 3000000",
    "jpeg segments e1 b'Exif\\x00\\x00' 3000000",
    "jpeg exif 300 entries of 60000",
    "png IDAT x 1200000 before",
    "png fdAT x 100000 after",
    "png iCCP bombs x 1000 before",
    "png exif 5000 entries of 400000 after",
    "gif frames x 100000",
    "gif sub-blocks x 1500000",
    "bmp rle 1 runs of 1 15000000",
    "tiff compression 1, 1800000 strips",
    "tiff compression 8, tiles of 1",
    "tiff 1000 entries of 14680064",
    "webp exif 5000 entries of 400000",
    "avif 2000 coded frames in one item",
    "j2k says precincts of 2^1",
    "ppm comment without end 1",
]


def _read(data: bytes) -> None:
    inspect(data)
    decode(data)


@pytest.mark.parametrize("name", _REFUSED)
def test_excessive_work_is_rejected_at_once(name) -> None:
    data = _files()[name].make()
    started = time.thread_time()
    with pytest.raises(TooComplexError, match=r"^too complex: [\d,]+ .+, at most [\d,]+"):
        _read(data)
    assert time.thread_time() - started < _SECONDS


_BOUNDED = [
    "jpeg L 4096 scan 0 x 20000",
    "jpeg textured scans x 5",
    "jpeg fill 15000000 in the scan",
    "jpeg restarts 15000000",
    "png zTXt 512 MiB",
    "png zTXt bombs x 10000 after",
    "gif clear codes",
    "gif pixels in pieces x 1500000",
    "tiff 100000 directories, text of 0",
    "tiff directory that loops",
    "tiff compression 1, tiles of 16",
    "tiff with a JPEG of 1000 scans",
    "tiff deflate 256 MiB in each of 4096",
    "webp 3000 frames",
    "ppm P3 b'9 ' 15728640",
    "ppm one long number b''",
    "ppm many signs b'x'",
    "bmp rle 2 literals 100000",
]


@pytest.mark.parametrize("name", _BOUNDED)
def test_accepted_files_decode_within_seconds(name) -> None:
    data = _files()[name].make()
    started = time.thread_time()
    for read in (inspect, decode):
        try:
            read(data)
        except DecodeError:
            continue
    assert time.thread_time() - started < _SECONDS


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_every_format_and_mode_is_accepted(files) -> None:
    for data in files.values():
        decode(data)


def test_scans_after_an_end_marker_in_a_comment_count() -> None:
    sound = hostile_files.picture(2048, 2048, "L", flat=True)
    sound = _saved(sound, "JPEG", progressive=True)
    last = sound.rfind(b"\xff\xda")
    scans = (hostile_files.segments(0xFE, 1, b"\xff\xd9") + sound[last:-2]) * 400
    with pytest.raises(TooComplexError, match="passes"):
        decode(sound[:last] + scans + b"\xff\xd9")


def test_bytes_after_the_end_of_a_jpeg_do_not_count(photo) -> None:
    sound = _saved(photo.resize((900, 700)), "JPEG", progressive=True, quality=95)
    video = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 40_000
    assert decode(sound + video).tobytes() == decode(sound).tobytes()


@pytest.mark.parametrize("count", [2, 4, 6])
def test_jpeg_with_several_valid_scans_is_accepted(photo, count) -> None:
    sound = _saved(photo.resize((1000, 800)), "JPEG", progressive=True)
    assert decode(hostile_files.repeated_scans(sound, count)).shape == (800, 1000, 3)


@pytest.mark.parametrize("size", [(4000, 3000)])
def test_large_progressive_jpeg_is_accepted(size) -> None:
    data = _saved(hostile_files.picture(*size), "JPEG", progressive=True, quality=70)
    check_complexity(data, "jpeg")


def test_jpeg_with_large_metadata_is_accepted(photo) -> None:
    """Profiles in many segments, extended XMP, a preview: as cameras and editors write them."""
    sound = _saved(photo, "JPEG", icc_profile=bytes(4_000_000), quality=90)
    extended = hostile_files.segments(0xE1, 300, b"http://ns.adobe.com/xmp/extension/\0" + bytes(60_000))
    exif = hostile_files.exif_of_shared_values(20, 2000)
    data = hostile_files.with_start(sound, hostile_files.split_exif(exif + bytes(60_000)[:58_000]) + extended)
    assert decode(data).shape == (70, 90, 3)


def test_tiff_strips_of_one_row_and_small_tiles_are_accepted() -> None:
    tall = Image.fromarray(np.zeros((20_000, 8), np.uint8))
    for compression in (None, "tiff_lzw"):
        data = _saved(tall, "TIFF", compression=compression, tiffinfo={278: 1})
        assert decode(data).shape == (20_000, 8, 3)
    assert decode(hostile_files._tiles(1024, 32, 8, 1024, zlib.compress(bytes(1024)))).shape == (
        1024,
        1024,
        3,
    )


def test_documents_and_animations_are_accepted(photo) -> None:
    frames = [photo.rotate(angle) for angle in range(60)]
    for kind in ("TIFF", "GIF", "PNG", "WEBP"):
        data = _saved(photo, kind, save_all=True, append_images=frames)
        # GIF and WebP merge equal frames.
        assert inspect(data).frames > 40
        decode(data)


def test_png_in_small_chunks_is_accepted() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 900, np.uint8).tobytes()
    assert decode(hostile_files.png(300, 300, pieces=16, row=b"\0" + noise)).shape == (300, 300, 3)


@pytest.mark.parametrize("options", [{}, {"tile_size": (128, 128)}, {"codeblock_size": (16, 16)}])
def test_usual_jpeg_2000_is_accepted(options) -> None:
    data = _saved(hostile_files.picture(1500, 1000), "JPEG2000", num_resolutions=6, **options)
    assert sniff(data) == "jpeg2000"
    check_complexity(data, "jpeg2000")


def test_stream_counts_the_bytes_read() -> None:
    data = bytes(20_000_000)
    stream = bounded_stream(data)
    for _ in range(7):
        assert stream.read() == data
        stream.seek(0)
    with pytest.raises(ComplexityLimitExceeded, match="bytes to read"):
        stream.read()


@pytest.mark.parametrize(("format_options", "frames"), [({}, 3), ({"big_tiff": True}, 3)])
def test_images_of_a_tiff_are_counted(photo, format_options, frames) -> None:
    data = _saved(photo, "TIFF", save_all=True, append_images=[photo] * (frames - 1), **format_options)
    assert inspect(data).frames == frames


def test_cyclic_tiff_directory_is_one_image() -> None:
    assert inspect(_files()["tiff directory that loops"].make()).frames == 1
    assert inspect(_files()["tiff 100 directories, text of 1000"].make()).frames == 100


@pytest.mark.parametrize("folder", [0x8769, 0x8825, 0xA005])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_values_of_nested_directories_count(photo, folder, kind) -> None:
    shared = hostile_files.exif_of_shared_values(3000, 40_000)
    outer = b"II*\0" + struct.pack("<IHHHIII", 8, 1, folder, 4, 1, 26, 0)
    # The inner directory's places are counted from the same start.
    inner = b"".join(struct.pack("<HHII", 1000 + place, 7, 30_000, 40_000) for place in range(3000))
    exif = outer + struct.pack("<H", 3000) + inner + bytes(4) + bytes(len(shared))
    with pytest.raises(TooComplexError, match="Exif values"):
        decode(
            hostile_files.with_start(_saved(photo, "JPEG"), hostile_files.split_exif(exif))
            if kind == "JPEG"
            else _saved(photo, kind, exif=exif)
        )

"""Partial decoding of JPEGs and stripped PNG metadata: same pixels, and truncated files are rejected."""

import io
import itertools
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from assay.image import DecodeError, decode, inspect
from assay.image.decode import Box
from assay.image.jpeg_png_trimming import MAX_PROFILE, cut_jpeg_height, jpeg_scale, strip_png_metadata

Encode = Callable[..., bytes]

_WIDTH, _HEIGHT = 150, 333


@pytest.fixture(scope="module")
def detailed() -> Image.Image:
    """Return an image with detail everywhere, so that all rows differ."""
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (_HEIGHT // 4, _WIDTH // 4, 3), dtype=np.uint8))
    return coarse.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)


def _height(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        return image.height


_CODINGS = {
    "444": {"subsampling": 0},
    "422": {"subsampling": 1},
    "420": {"subsampling": 2},
    "progressive": {"progressive": True},
    "progressive-444": {"progressive": True, "subsampling": 0, "quality": 97},
    "restarts": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True, "quality": 20},
}


@pytest.mark.parametrize("coding", _CODINGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pixels_inside_the_box_are_equal(encode: Encode, detailed: Image.Image, coding: str, mode: str):
    data = encode(detailed.convert(mode), "JPEG", **_CODINGS[coding])
    for side, bottom in itertools.product((None, 70, 35, 18), (0.01, 0.25, 0.5, 0.79, 1.0)):
        full = decode(data, min_side=side)
        rows = max(1, round(bottom * len(full)))
        part = decode(data, min_side=side, box=lambda width, _, rows=rows: (0, 0, width, rows))
        assert part.shape == full.shape
        assert part.flags.c_contiguous
        assert part.flags.writeable
        np.testing.assert_array_equal(part[:rows], full[:rows])


@pytest.mark.parametrize("orientation", range(1, 9))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    st.sampled_from([None, 70, 30]),
)
def test_boxes_of_rotated_images_are_equal(  # noqa: PLR0917
    encode: Encode,
    detailed: Image.Image,
    orientation: int,
    across: list[float],
    down: list[float],
    side: int | None,
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(detailed, "JPEG", exif=exif)

    def box(width: int, height: int) -> Box:
        left, top = int(across[0] * (width - 1)), int(down[0] * (height - 1))
        return left, top, max(left + 1, int(across[1] * width)), max(top + 1, int(down[1] * height))

    full, part = decode(data, min_side=side), decode(data, min_side=side, box=box)
    left, top, right, bottom = box(full.shape[1], full.shape[0])
    np.testing.assert_array_equal(part[top:bottom, left:right], full[top:bottom, left:right])


def test_rows_outside_the_box_are_not_decoded(encode: Encode, detailed: Image.Image):
    pixels = decode(encode(detailed, "JPEG"), box=lambda width, height: (0, 0, width, height // 4))
    assert pixels[_HEIGHT // 4 : _HEIGHT // 4 + 8].any()  # a few rows more, for what needs its neighbours
    assert not pixels[_HEIGHT // 2 :].any()


@pytest.mark.parametrize("coding", ["420", "progressive", "restarts"])
def test_file_truncated_below_the_box_is_rejected(encode: Encode, detailed: Image.Image, coding: str):
    data = encode(detailed, "JPEG", **_CODINGS[coding])
    for share in (0.5, 0.7, 0.9, 0.97):
        with pytest.raises(DecodeError, match=r"^damaged: truncated JPEG$"):
            decode(data[: int(len(data) * share)], box=lambda width, _: (0, 0, width, 8))


def test_trailing_bytes_are_ignored(encode: Encode, detailed: Image.Image):
    data = encode(detailed, "JPEG") + b"trailer \xff\xd8\xff\xe1\0\0" * 50
    assert cut_jpeg_height(data, 10, _HEIGHT) is not None
    assert decode(data, box=lambda width, _: (0, 0, width, 10)).shape == (_HEIGHT, _WIDTH, 3)


def test_embedded_thumbnail_is_not_decoded(encode: Encode, detailed: Image.Image):
    thumbnail = encode(detailed.resize((40, 80)), "JPEG", quality=30)
    data = encode(detailed, "JPEG", exif=b"Exif\0\0" + thumbnail)
    low = cut_jpeg_height(data, 100, _HEIGHT)
    assert low is not None
    assert _height(low) == 160
    # The thumbnail's end is not the picture's.
    assert cut_jpeg_height(data[: len(data) * 4 // 5], 100, _HEIGHT) is None


@pytest.mark.parametrize("rows", [300, 302, _HEIGHT, 10 * _HEIGHT])
def test_file_is_unchanged_without_savings(encode: Encode, detailed: Image.Image, rows: int):
    assert cut_jpeg_height(encode(detailed, "JPEG"), rows, _HEIGHT) is None


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 100), st.integers(0, 65535))
def test_arbitrary_bytes_give_a_copy_or_none(tail: bytes, rows: int, height: int):
    data = b"\xff\xd8" + tail
    changed = cut_jpeg_height(data, rows, height)
    assert changed is None or len(changed) == len(data)


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(-1, 9000))
def test_scale_is_the_largest_that_keeps_the_side(width: int, height: int, side: int):
    scale = jpeg_scale(width, height, side)
    shorter = min(width, height)
    assert scale == 1 or shorter // scale >= side
    assert scale in (1, 2, 4, 8)
    assert scale == 8 or shorter // (2 * scale) < max(side, 1)


def test_real_photos_are_equal_in_full_and_in_part(bottles: Path, button_cells: Path):
    def top(width: int, height: int) -> Box:
        return width // 3, height // 5, width // 2, height // 3

    for path in sorted(bottles.rglob("*.jpg"))[::7] + sorted(button_cells.rglob("*.jpg"))[::5]:
        data = path.read_bytes()
        full, part = decode(data, min_side=200), decode(data, min_side=200, box=top)
        left, upper, right, lower = top(full.shape[1], full.shape[0])
        np.testing.assert_array_equal(part[upper:lower, left:right], full[upper:lower, left:right])


def test_every_readable_file_is_readable_in_part(encode: Encode, detailed: Image.Image):
    generator = random.Random(3)
    outcomes: Counter[tuple[str, str]] = Counter()
    for coding in ("420", "progressive", "restarts"):
        whole = encode(detailed, "JPEG", **_CODINGS[coding])
        for _ in range(100):
            data = bytearray(whole)
            for _ in range(generator.choice((1, 4, 16))):
                data[generator.randrange(len(data))] = generator.choice((0, 0xC4, 0xD0, 0xD9, 0xFF))
            outcomes[_outcome(bytes(data)), _outcome(bytes(data), lambda w, _: (0, 0, w, 40))] += 1
    assert outcomes["read", "read"] > 100
    assert not outcomes["read", "refused"]
    assert outcomes["refused", "refused"]


def _outcome(data: bytes, box: Callable[[int, int], Box] | None = None) -> str:
    try:
        decode(data, box=box)
    except DecodeError:
        return "refused"
    return "read"


WithChunks = Callable[..., bytes]

MB = 1 << 20
NOISE = random.Random(0).randbytes(MB + 500).hex().encode()  # more than 1 MB even when packed
XMP = b"XML:com.adobe.xmp\0\0\0\0\0"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"Comment\0" + NOISE),
        (b"zTXt", b"Comment\0\0" + zlib.compress(NOISE)),
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(30 * MB))),
        (b"zTXt", b"Comment\0\7not zlib"),
        (b"iTXt", b"Comment\0\1\0en\0\0" + zlib.compress(NOISE)),
        (b"iTXt", b"Comment\0\0\0en\0\0" + NOISE),
        (b"iTXt", XMP + b"<x:xmpmeta>" + NOISE),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(9 * MB))),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 8\n" + NOISE)),
        (b"tEXt", b"no keyword's end"),
    ],
    ids=lambda chunk: f"{chunk[0].decode()}-{chunk[1][:12]!r}",
)
def test_large_text_is_ignored(
    encode: Encode, photo: Image.Image, with_chunks: WithChunks, chunk: tuple[bytes, bytes], late: bool
):
    data = with_chunks(encode(photo, "PNG"), chunk, late=late)
    np.testing.assert_array_equal(decode(data), np.asarray(photo))
    assert inspect(data).orientation == 1


def test_many_texts_are_ignored(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    chunk = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(MB - 1)))
    np.testing.assert_array_equal(decode(with_chunks(encode(photo, "PNG"), *[chunk] * 80)), np.asarray(photo))


def test_text_cannot_imitate_other_chunks(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    whole = encode(photo, "PNG")
    data = with_chunks(whole, (b"tEXt", b"transparency\0x"), (b"tEXt", b"icc_profile\0x"), (b"tEXt", b"exif\0x"))
    np.testing.assert_array_equal(decode(data), np.asarray(photo))


@pytest.mark.parametrize("size", [0, MB, 3 * MB])
@pytest.mark.parametrize("packed", [False, True])
def test_orientation_in_xmp_is_used(
    encode: Encode, photo: Image.Image, with_chunks: WithChunks, size: int, packed: bool
):
    text = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/>' + b" " * size
    head = b"XML:com.adobe.xmp\0\1\0\0\0" if packed else XMP
    data = with_chunks(encode(photo, "PNG"), (b"iTXt", head + (zlib.compress(text) if packed else text)))
    assert inspect(data).orientation == 6
    np.testing.assert_array_equal(decode(data), np.rot90(np.asarray(photo), -1))


@pytest.mark.parametrize("name", [b"tEXt", b"zTXt"])
def test_exif_stored_as_text_is_used(encode: Encode, photo: Image.Image, with_chunks: WithChunks, name: bytes):
    exif = Image.Exif()
    exif[0x0112] = 3
    block = exif.tobytes()
    text = b"\nexif\n%8d\n" % len(block) + block.hex().encode() + b"\n"
    content = b"\0" + zlib.compress(text) if name == b"zTXt" else text
    large = (b"tEXt", b"Comment\0" + NOISE)
    data = with_chunks(encode(photo, "PNG"), large, (name, b"Raw profile type exif\0" + content))
    assert inspect(data).orientation == 3


def test_exif_beside_large_texts_is_used(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    exif = Image.Exif()
    exif[0x0112] = 8
    data = with_chunks(encode(photo, "PNG", exif=exif), (b"tEXt", b"Comment\0" + NOISE))
    assert inspect(data).orientation == 8


@pytest.mark.parametrize(
    "profile",
    [NOISE, bytes(MAX_PROFILE + 1), b"", b"no profile"],
    ids=["2 MB", "too large", "none", "broken"],
)
def test_invalid_profile_is_ignored(encode: Encode, photo: Image.Image, with_chunks: WithChunks, profile: bytes):
    whole = encode(photo, "PNG")
    for content in (
        b"name\0\0" + zlib.compress(profile),
        b"name\0\0" + profile,
        b"name\0\7" + profile,
        profile,
    ):
        np.testing.assert_array_equal(decode(with_chunks(whole, (b"iCCP", content))), np.asarray(photo))


def test_large_profile_is_kept(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    whole = encode(photo, "PNG")
    lean, profile = strip_png_metadata(with_chunks(whole, (b"iCCP", b"name\0\0" + zlib.compress(NOISE))))
    assert (lean, profile) == (whole, NOISE)


def test_file_without_texts_is_not_copied(encode: Encode, photo: Image.Image):
    whole = encode(photo, "PNG", icc_profile=b"x" * 500)
    lean, profile = strip_png_metadata(whole)
    assert lean is whole
    assert profile is None


def test_damage_is_left_to_the_decoder(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    data = with_chunks(encode(photo, "PNG"), (b"tEXt", b"Comment\0text"))
    for length in range(len(data)):
        lean, _ = strip_png_metadata(data[:length])
        assert len(lean) <= length
    endless = data[:33] + struct.pack(">I4s", 2**32 - 1, b"tEXt") + data[33:]
    assert strip_png_metadata(endless)[0] is endless


def test_pillow_reads_the_result(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    lean, _ = strip_png_metadata(with_chunks(encode(photo, "PNG"), (b"tEXt", b"Comment\0" + NOISE), late=True))
    with Image.open(io.BytesIO(lean)) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(photo))

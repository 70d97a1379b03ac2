import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from assay.image import decode, inspect
from assay.image.jpeg_png import MAX_PROFILE, strip_png_metadata

Encode = Callable[..., bytes]
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
def test_a_large_text_does_not_matter(
    encode: Encode, photo: Image.Image, with_chunks: WithChunks, chunk: tuple[bytes, bytes], late: bool
):
    data = with_chunks(encode(photo, "PNG"), chunk, late=late)
    np.testing.assert_array_equal(decode(data), np.asarray(photo))
    assert inspect(data).orientation == 1


def test_many_texts_do_not_add_up(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    chunk = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(MB - 1)))
    np.testing.assert_array_equal(decode(with_chunks(encode(photo, "PNG"), *[chunk] * 80)), np.asarray(photo))


def test_a_text_cannot_pass_for_something_else(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    whole = encode(photo, "PNG")
    data = with_chunks(whole, (b"tEXt", b"transparency\0x"), (b"tEXt", b"icc_profile\0x"), (b"tEXt", b"exif\0x"))
    np.testing.assert_array_equal(decode(data), np.asarray(photo))


@pytest.mark.parametrize("size", [0, MB, 3 * MB])
@pytest.mark.parametrize("packed", [False, True])
def test_the_orientation_in_xmp_counts(
    encode: Encode, photo: Image.Image, with_chunks: WithChunks, size: int, packed: bool
):
    text = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/>' + b" " * size
    head = b"XML:com.adobe.xmp\0\1\0\0\0" if packed else XMP
    data = with_chunks(encode(photo, "PNG"), (b"iTXt", head + (zlib.compress(text) if packed else text)))
    assert inspect(data).orientation == 6
    np.testing.assert_array_equal(decode(data), np.rot90(np.asarray(photo), -1))


@pytest.mark.parametrize("name", [b"tEXt", b"zTXt"])
def test_exif_written_as_text_counts(encode: Encode, photo: Image.Image, with_chunks: WithChunks, name: bytes):
    exif = Image.Exif()
    exif[0x0112] = 3
    block = exif.tobytes()
    text = b"\nexif\n%8d\n" % len(block) + block.hex().encode() + b"\n"
    content = b"\0" + zlib.compress(text) if name == b"zTXt" else text
    large = (b"tEXt", b"Comment\0" + NOISE)
    data = with_chunks(encode(photo, "PNG"), large, (name, b"Raw profile type exif\0" + content))
    assert inspect(data).orientation == 3


def test_exif_beside_large_texts_counts(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    exif = Image.Exif()
    exif[0x0112] = 8
    data = with_chunks(encode(photo, "PNG", exif=exif), (b"tEXt", b"Comment\0" + NOISE))
    assert inspect(data).orientation == 8


@pytest.mark.parametrize(
    "profile",
    [NOISE, bytes(MAX_PROFILE + 1), b"", b"no profile"],
    ids=["2 MB", "too large", "none", "broken"],
)
def test_a_strange_profile_does_not_matter(encode: Encode, photo: Image.Image, with_chunks: WithChunks, profile: bytes):
    whole = encode(photo, "PNG")
    for content in (
        b"name\0\0" + zlib.compress(profile),
        b"name\0\0" + profile,
        b"name\0\7" + profile,
        profile,
    ):
        np.testing.assert_array_equal(decode(with_chunks(whole, (b"iCCP", content))), np.asarray(photo))


def test_a_large_profile_is_handed_over(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    whole = encode(photo, "PNG")
    lean, profile = strip_png_metadata(with_chunks(whole, (b"iCCP", b"name\0\0" + zlib.compress(NOISE))))
    assert (lean, profile) == (whole, NOISE)


def test_a_file_without_texts_is_not_copied(encode: Encode, photo: Image.Image):
    whole = encode(photo, "PNG", icc_profile=b"x" * 500)
    lean, profile = strip_png_metadata(whole)
    assert lean is whole
    assert profile is None


def test_damage_is_left_for_the_reader_to_find(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    data = with_chunks(encode(photo, "PNG"), (b"tEXt", b"Comment\0text"))
    for length in range(len(data)):
        lean, _ = strip_png_metadata(data[:length])
        assert len(lean) <= length
    endless = data[:33] + struct.pack(">I4s", 2**32 - 1, b"tEXt") + data[33:]
    assert strip_png_metadata(endless)[0] is endless


def test_pillow_reads_what_is_left(encode: Encode, photo: Image.Image, with_chunks: WithChunks):
    lean, _ = strip_png_metadata(with_chunks(encode(photo, "PNG"), (b"tEXt", b"Comment\0" + NOISE), late=True))
    with Image.open(io.BytesIO(lean)) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(photo))

"""Decoding of images: formats, orientation, reduced sizes, limits and damaged files."""

import io
import random
import re
import struct
import subprocess
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from assay.core.errors import AssayError
from assay.image import MAX_PIXELS, DecodeError, ImageInfo, decode, inspect
from assay.image.pixel_conversion import ValueEncoding

Encode = Callable[..., bytes]

_MODES = {
    "JPEG": ("RGB", "L", "CMYK", "1"),
    "MPO": ("RGB", "L"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA", "L", "LA", "P"),
    "GIF": ("RGB", "RGBA", "L", "LA", "P", "1"),
    "BMP": ("RGB", "RGBA", "L", "P", "1"),
    # Not YCbCr: Pillow 12.3 cannot read what it writes.
    "TIFF": ("RGB", "RGBA", "L", "LA", "P", "1", "I", "I;16", "F", "CMYK", "LAB", "RGBX"),
    "AVIF": ("RGB", "RGBA", "L", "LA", "P"),
    "JPEG2000": ("RGB", "RGBA", "L", "LA", "I;16"),
    "PPM": ("RGB", "L", "1", "I", "I;16", "F"),
}
# What Pillow writes in these modes declares no range, or a wrong one.
_RANGES = {"I": (0.0, 255.0), "F": (0.0, 255.0)}


def _image(mode: str, size: tuple[int, int], seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode == "LAB":
        return Image.frombytes("LAB", size, pixels.tobytes())
    if mode == "I;16":
        return image.convert("I").convert("I;16")
    return image.convert("RGBA").convert(mode) if mode == "LA" else image.convert(mode)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([(kind, mode) for kind, modes in _MODES.items() for mode in modes]),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**32 - 1),
)
def test_any_image_pillow_writes_comes_back_as_rgb(
    encode: Encode, written: tuple[str, str], size: tuple[int, int], seed: int
):
    kind, mode = written
    data = encode(_image(mode, size, seed), kind)
    pixels = decode(data, value_range=_RANGES.get(mode))
    assert (pixels.shape, pixels.dtype) == ((size[1], size[0], 3), np.uint8)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, decode(data, value_range=_RANGES.get(mode)))
    info = inspect(data)
    assert (info.width, info.height, info.orientation) == (*size, 1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_lossless_formats_keep_every_value(encode: Encode, photo: Image.Image, kind: str):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(encode(photo, kind, **options)), np.asarray(photo))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_undone(encode: Encode, photo: Image.Image, kind: str, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo, kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    pixels = decode(data)
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.shape == ((90, 70, 3) if orientation >= 5 else (70, 90, 3))
    assert inspect(data) == ImageInfo(kind.lower(), *pixels.shape[1::-1], "RGB", orientation, 1)


def test_exif_after_the_pixels_of_a_png_is_used(encode: Encode, photo: Image.Image):
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = b"eXIf" + exif.tobytes()[6:]
    whole = encode(photo, "PNG")
    late = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = whole[:-12] + late + whole[-12:]
    assert decode(data).shape == (90, 70, 3)
    assert (inspect(data).width, inspect(data).height, inspect(data).orientation) == (70, 90, 6)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"garbage" * 9, b""])
def test_damaged_exif_is_ignored(encode: Encode, photo: Image.Image, exif: bytes):
    data = encode(photo, "JPEG", exif=exif)
    assert decode(data).shape == (70, 90, 3)
    assert inspect(data).orientation == 1


def test_invalid_orientation_is_ignored(encode: Encode, photo: Image.Image):
    text = struct.pack("<HHI4s", 0x0112, 2, 4, b"up\0\0")
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + text + bytes(4)
    with Image.open(io.BytesIO(encode(photo, "JPEG", exif=exif))) as image:
        assert isinstance(image.getexif()[0x0112], str)
    assert decode(encode(photo, "JPEG", exif=exif)).shape == (70, 90, 3)


@pytest.mark.parametrize("name", ["gif", "webp-animated", "png-apng", "tiff-pages", "jpeg-mpo"])
def test_first_frame_is_decoded(files: dict[str, bytes], photo: Image.Image, name: str):
    difference = np.abs(decode(files[name]).astype(int) - np.asarray(photo))
    assert difference.mean() < 6  # palettes and lossy coding; the next frame differs by 50
    assert inspect(files[name]).frames == (1 if name == "jpeg-mpo" else 3)


def test_inspect_returns_the_header(files: dict[str, bytes]):
    assert inspect(files["jpeg-cmyk"]) == ImageInfo("jpeg", 90, 70, "CMYK", 1, 1)
    assert inspect(files["png-16"]) == ImageInfo("png", 90, 70, "I;16", 1, 1, ValueEncoding("uint16", (0, 65535)))
    assert inspect(files["tiff-tiff_lzw"]) == ImageInfo("tiff", 70, 90, "RGB", 6, 1)


def test_cmyk_jpeg_colors(files: dict[str, bytes], photo: Image.Image):
    assert np.abs(decode(files["jpeg-cmyk"]).astype(int) - np.asarray(photo)).mean() < 6


def test_cmyk_jpeg_without_adobes_marker_is_not_inverted(files: dict[str, bytes]):
    data = files["jpeg-cmyk"]
    marker = data.index(b"\xff\xeeAdobe"[:2] + b"\x00\x0eAdobe")
    plain = data[:marker] + data[marker + 16 :]
    with Image.open(io.BytesIO(data)) as image:
        inverted = Image.fromarray(255 - np.asarray(image), "CMYK").convert("RGB")
    np.testing.assert_array_equal(decode(plain), np.asarray(inverted))


def test_16_bit_png_is_scaled(encode: Encode):
    values = np.array([[0, 257, 65535]], np.uint16)
    assert decode(encode(Image.fromarray(values), "PNG"))[0, :, 0].tolist() == [0, 1, 255]


def test_16_bit_color_png_keeps_the_high_bytes():
    rows = b"\0" + struct.pack(">6H", 0, 0x80FF, 0xFFFF, 0x1234, 0x00FF, 0xFF00)
    assert decode(_png(2, 1, rows, depth=16)).tolist() == [[[0, 128, 255], [0x12, 0, 255]]]


def _png(width: int, height: int, rows: bytes, depth: int = 8) -> bytes:
    """Write a colour PNG from its filtered rows."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize("min_side", [0, 1, 100, 150, 151, 300, 599, 600, 601, 5000])
def test_reduced_decoding_keeps_the_minimum_side(encode: Encode, photo: Image.Image, min_side: int):
    data = encode(photo.resize((800, 600)), "JPEG")
    height, width, _ = decode(data, min_side=min_side).shape
    assert height >= min(min_side, 600)
    assert height < max(2 * min_side, 600 // 8 + 1) or height == 600
    assert abs(width / height - 800 / 600) < 0.02


def test_min_side_can_depend_on_the_upright_size(encode: Encode, photo: Image.Image):
    exif = Image.Exif()
    exif[0x0112] = 8
    requested: list[tuple[int, int]] = []
    data = encode(photo.resize((800, 600)), "JPEG", exif=exif)
    pixels = decode(data, min_side=lambda width, height: requested.append((width, height)) or width // 2)
    assert requested == [(600, 800)]
    assert pixels.shape == (400, 300, 3)


def test_other_formats_are_not_reduced(files: dict[str, bytes]):
    for name in ("png-RGB", "webp", "tiff-raw", "gif"):
        np.testing.assert_array_equal(decode(files[name], min_side=8), decode(files[name]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no picture, just text", "not an image"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
            "unsupported: a PostScript file, not a photo",
        ),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported: HEIC; convert it to JPEG or PNG"),
        (b"\xff\xd8\xff", "damaged: invalid JPEG data"),
        (b"\x89PNG\r\n\x1a\n", "damaged: invalid PNG data"),
    ],
)
def test_reasons_of_decode_errors(data: bytes, reason: str):
    for read in (decode, inspect):
        with pytest.raises(DecodeError, match=f"^{re.escape(reason)}$"):
            read(data)
    assert issubclass(DecodeError, AssayError)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg-progressive", "png-RGB", "webp", "bmp", "tiff-raw", "avif", "ppm", "gif"]
)
def test_truncated_files_are_rejected(files: dict[str, bytes], name: str, share: float):
    # The GIF is an animation: cut within its first third, its first frame is not whole.
    data = files[name][: int(len(files[name]) * share / (4 if name == "gif" else 1))]
    with pytest.raises(DecodeError, match=r"^damaged: (truncated \w+|invalid \w+ data)$"):
        decode(data)


def test_truncated_image_is_named_truncated(files: dict[str, bytes]):
    for name, title in (("jpeg", "JPEG"), ("png-RGB", "PNG"), ("bmp", "BMP"), ("ppm", "PPM")):
        with pytest.raises(DecodeError, match=f"^damaged: truncated {title}$"):
            decode(files[name][:-60])


def test_jpeg_without_its_last_bytes_is_rejected_in_draft_mode(encode: Encode, photo: Image.Image):
    data = encode(photo.resize((800, 600)), "JPEG")
    with pytest.raises(DecodeError, match=r"^damaged: truncated JPEG$"):
        decode(data[:-300], min_side=100)


def _bombs(files: dict[str, bytes]) -> dict[str, bytes]:
    """Give small files whose headers announce 20,000 by 20,000 pixels."""
    side = struct.pack(">H", 20_000)
    jpeg, bmp, gif = bytearray(files["jpeg"]), bytearray(files["bmp"]), bytearray(files["gif"])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = side * 2
    bmp[18:26] = struct.pack("<ii", 20_000, 20_000)
    gif[6:10] = struct.pack("<HH", 20_000, 20_000)
    webp = bytearray(files["webp-animated"])  # its canvas may be larger than its frames
    webp[24:30] = struct.pack("<I", 19_999)[:3] * 2
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 10)
    entries = [(256, 20_000), (257, 20_000), (258, 8), (259, 1), (262, 1), (273, 0), (277, 1), (278, 20_000)]
    for tag, value in [*entries, (279, 400_000_000), (284, 1)]:
        tiff += struct.pack("<HHII", tag, 4, 1, value)
    return {
        "jpeg": bytes(jpeg),
        "png": _png(20_000, 20_000, bytes(100)),
        "bmp": bytes(bmp),
        "gif": bytes(gif),
        "webp": bytes(webp),
        "ppm": b"P6 20000 20000 255\n" + bytes(100),
        "tiff": tiff + bytes(4),
    }


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "gif", "webp", "ppm", "tiff"])
@pytest.mark.parametrize("pillow_limit", [None, 10**12, 89_478_485])
def test_decompression_bombs_are_rejected_by_their_header(
    files: dict[str, bytes], kind: str, pillow_limit: int | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    for read in (decode, inspect):
        with pytest.raises(DecodeError, match=r"^more than 178 million pixels$"):
            read(_bombs(files)[kind])


def test_tiff_tiles_count_towards_the_limit(encode: Encode, photo: Image.Image):
    tile = b"II*\0\x08\0\0\0" + struct.pack("<H", 11)
    entries = [(256, 10), (257, 10), (258, 8), (259, 8), (262, 1), (277, 1), (284, 1)]
    for tag, value in [*entries, (322, 60_000), (323, 60_000), (324, 200), (325, 50)]:
        tile += struct.pack("<HHII", tag, 4, 1, value)
    with pytest.raises(DecodeError, match=r"^more than 178 million pixels$"):
        decode(tile + bytes(300))
    assert decode(encode(photo, "TIFF")).shape == (70, 90, 3)


def test_limit_does_not_depend_on_pillow(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for name in ("jpeg", "png-RGB", "bmp", "ppm"):
        assert decode(files[name]).size > 10 * 3
    assert MAX_PIXELS == 178_956_970


def test_no_warnings_even_as_errors(encode: Encode, photo: Image.Image):
    tiff = bytearray(encode(photo, "TIFF", tiffinfo={33432: "copyright " * 8}))
    place = tiff.rindex(struct.pack("<HH", 33432, 2))
    tiff[place + 4 : place + 8] = struct.pack("<I", 10**6)  # the file's last tag is longer than the file
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + struct.pack("<HHII", 0x010F, 2, 10**6, 5000) + bytes(16)
    palette = encode(photo.convert("P"), "PNG", transparency=bytes(range(200)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (bytes(tiff), encode(photo, "JPEG", exif=exif), palette):
            assert decode(data).ndim == 3
            assert inspect(data).width == 90
        with pytest.raises(UserWarning):  # its words differ between versions of Pillow
            Image.open(io.BytesIO(bytes(tiff)))  # the same file does warn elsewhere


def test_threads_decode_the_same(files: dict[str, bytes]):
    alone = {name: decode(data) for name, data in files.items()}
    names = list(files) * 6
    with ThreadPoolExecutor(8) as pool:
        for name, pixels in zip(names, pool.map(lambda name: decode(files[name]), names), strict=True):
            np.testing.assert_array_equal(pixels, alone[name])


def test_processes_decode_the_same(files: dict[str, bytes], tmp_path: Path):
    program = (
        "import sys, pathlib; from assay.image import decode\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "sys.stdout.buffer.write(decode(data, min_side=20).tobytes())"
    )
    path = tmp_path / "photo"
    path.write_bytes(files["jpeg"])
    other = subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=True)
    assert other.stdout == decode(files["jpeg"], min_side=20).tobytes()


def _mutated(data: bytes, generator: random.Random) -> bytes:
    changed = bytearray(data)
    kind = generator.random()
    if kind < 0.15:
        return bytes(changed[: generator.randrange(len(changed))])
    reach = generator.choice((32, 200, 600, len(changed)))  # headers are where readers go wrong
    for _ in range(generator.choice((1, 1, 2, 4, 16, 64))):
        place = generator.randrange(min(len(changed), reach))
        changed[place] = generator.choice((0, 1, 127, 128, 255, generator.randrange(256)))
    if kind > 0.9:
        changed[generator.randrange(len(changed)) :][:0] = generator.randbytes(generator.randrange(1, 40))
    elif kind > 0.8:
        place = generator.randrange(len(changed))
        del changed[place : place + generator.randrange(1, 100)]
    return bytes(changed)


def test_damaged_files_give_pixels_or_raise(files: dict[str, bytes]):
    generator = random.Random(20)
    outcomes: Counter[str] = Counter()
    for whole in files.values():
        for _ in range(30):
            data = _mutated(whole, generator)
            for read in (decode, inspect, lambda data: decode(data, min_side=10)):
                try:
                    read(data)
                    outcomes["read"] += 1
                except DecodeError as error:
                    outcomes[str(error)] += 1
    assert outcomes.keys() >= {"read", "not an image", "damaged: invalid PNG data", "damaged: truncated JPEG"}
    assert max(map(len, outcomes)) < 190


def test_every_real_photo_is_read(bottles: Path, button_cells: Path):
    paths = [path for folder in (bottles, button_cells) for path in folder.rglob("*.*") if path.is_file()]
    kinds = Counter(inspect(path.read_bytes()).format for path in paths)
    assert sum(kinds.values()) == 75
    assert kinds["webp"] > 0  # regardless of the names
    for path in paths:
        data = path.read_bytes()
        info = inspect(data)
        assert decode(data, min_side=64).shape[:2] <= (info.height, info.width)

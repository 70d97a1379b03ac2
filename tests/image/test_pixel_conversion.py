"""Values of more than 8 bits are scaled by type and declared range, never by content."""

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from assay.image import DecodeError, Preprocess, decode, inspect
from assay.image.pixel_conversion import apply_orientation, to_rgb
from assay.inference import Failure
from assay.inference.inputs import read_input
from assay.recipe import PreprocessSpec

Encode = Callable[..., bytes]
Tiff = Callable[..., bytes]
Array = np.ndarray

SMIN, SMAX, MIN, MAX, PHOTOMETRIC = 340, 341, 280, 281, 262
ORDERS = pytest.mark.parametrize("big_endian", [False, True])


def _levels(data: bytes, value_range: tuple[float, float] | None = None) -> list[int]:
    pixels = decode(data, value_range=value_range)
    assert (pixels == pixels[:, :, :1]).all()
    return [int(level) for level in pixels[0, :, 0]]


def _row(*values: float, dtype: str) -> Array:
    return np.array([values], dtype)


@ORDERS
def test_uint16_is_scaled_by_its_full_range(tiff: Tiff, encode: Encode, big_endian: bool):
    values = _row(0, 257, 32768, 65535, dtype="u2")
    assert _levels(tiff(values, big_endian=big_endian)) == [0, 1, 128, 255]
    assert _levels(encode(Image.fromarray(values), "PNG")) == [0, 1, 128, 255]
    assert _levels(tiff(values[:, :3], big_endian=big_endian)) == [0, 1, 128]  # whatever else the photo holds


@ORDERS
@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "f4"])
def test_types_without_a_defined_range_are_rejected(tiff: Tiff, dtype: str, big_endian: bool):
    for values in ([0, 1, 0], [0, 0.9, 0.2], [0, 100, 90]):
        data = tiff(_row(*values, dtype=dtype), big_endian=big_endian)
        with pytest.raises(DecodeError, match=r"^unsupported: \w+ without a declared range; set preprocess.value_"):
            decode(data)


def test_uint32_is_scaled_by_its_full_range(tiff: Tiff):
    with pytest.raises(DecodeError, match=r"^unsupported: uint32 without a declared range; "):
        decode(tiff(_row(0, 4095, dtype="u4")))
    assert _levels(tiff(_row(0, 2**31, 2**32 - 1, dtype="u4")), (0, 2**32 - 1)) == [0, 128, 255]


@ORDERS
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("i1", -100, 100), ("i2", -1000, 3000), ("i2", 0, 4095), ("i4", -(2**31), 2**31 - 1), ("i4", 0, 10_000)],
)
def test_declared_and_set_range_give_the_same(tiff: Tiff, dtype: str, low: int, high: int, big_endian: bool):
    values = np.array([[low, low + (high - low) // 4, high]], dtype)
    kind = {"i1": 6, "i2": 8, "i4": 9}[dtype]
    declared = tiff(values, {SMIN: (kind, (low,)), SMAX: (kind, (high,))}, big_endian=big_endian)
    if high - low >= 255:
        assert _levels(tiff(values, big_endian=big_endian), (low, high)) == [0, 64, 255]
    assert _levels(declared) == [0, 64, 255]
    assert inspect(declared).values.range == (low, high)


@ORDERS
@pytest.mark.parametrize("kind", [11, 12])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 65535), (-1, 1), (0, 0.98), (250, 330.5)])
def test_floats_with_a_declared_range(tiff: Tiff, low: float, high: float, kind: int, big_endian: bool):
    values = _row(low, (low + high) / 2, high, dtype="f4")
    data = tiff(values, {SMIN: (kind, (low,)), SMAX: (kind, (high,))}, big_endian=big_endian)
    assert _levels(data) in ([0, 127, 255], [0, 128, 255])
    assert _levels(tiff(values, big_endian=big_endian), (low, high)) in ([0, 127, 255], [0, 128, 255])


def test_bright_pixel_does_not_change_others(tiff: Tiff):
    dim = _row(0, 0.25, 0.5, 0.9, dtype="f4")
    bright = _row(0, 0.25, 0.5, 70_000, dtype="f4")
    assert _levels(tiff(dim), (0, 1))[:3] == _levels(tiff(bright), (0, 1))[:3] == [0, 64, 128]
    assert _levels(tiff(bright), (0, 1))[3] == 255


def test_nan_is_black(tiff: Tiff):
    data = tiff(_row(np.nan, -np.inf, np.inf, -5, 0.5, dtype="f4"))
    assert _levels(data, (0, 1)) == [0, 0, 255, 0, 128]
    declared = tiff(_row(np.nan, 0.5, dtype="f4"), {SMIN: (11, (0,)), SMAX: (11, (1,))})
    assert _levels(declared) == [0, 128]


def test_fewer_bits_than_the_type(tiff: Tiff, encode: Encode):
    values = _row(0, 1024, 4095, dtype="u2")
    assert _levels(tiff(values, {SMAX: (3, (4095,))})) == [0, 64, 255]
    assert _levels(tiff(values), (0, 4095)) == [0, 64, 255]
    assert _levels(encode(Image.fromarray(values), "PNG"), (0, 4095)) == [0, 64, 255]
    assert _levels(tiff(values, {MIN: (3, (0,)), MAX: (3, (4095,))})) == [0, 4, 16]  # mere statistics
    packed = np.frombuffer(bytes([0x00, 0x04, 0x00, 0xFF, 0xF0, 0x00]), np.uint8).reshape(1, 6)
    tags = {256: (4, (4,)), 258: (3, (12,))}
    assert _levels(tiff(packed, tags)) == [0, 64, 255, 0]


@ORDERS
def test_white_is_zero_photometric(tiff: Tiff, big_endian: bool):
    whole = {SMIN: (11, (0,)), SMAX: (11, (1,)), PHOTOMETRIC: (3, (0,))}
    assert _levels(tiff(_row(0, 0.25, 1, dtype="f4"), whole, big_endian=big_endian)) == [255, 191, 0]
    data = tiff(_row(0, 257, 65535, dtype="u2"), {PHOTOMETRIC: (3, (0,))}, big_endian=big_endian)
    if big_endian:
        with pytest.raises(DecodeError, match=r"^unsupported: TIFF of gray \(white is zero\)"):
            decode(data)
    else:
        assert _levels(data) == [255, 254, 0]
    assert _levels(tiff(_row(0, 1, 255, dtype="u1"), {PHOTOMETRIC: (3, (0,))})) == [255, 254, 0]


@pytest.mark.parametrize(
    ("bits", "packed", "levels"),
    [(1, 0b01010000, [0, 255, 0, 255]), (2, 0b00011011, [0, 85, 170, 255]), (4, 0x0F, [0, 255])],
)
@pytest.mark.parametrize("inverted", [False, True])
def test_images_of_1_2_and_4_bits(tiff: Tiff, bits: int, packed: int, levels: list[int], inverted: bool):
    tags = {256: (4, (len(levels),)), 258: (3, (bits,)), PHOTOMETRIC: (3, (0 if inverted else 1,))}
    expected = [255 - level for level in levels] if inverted else levels
    assert _levels(tiff(_row(packed, dtype="u1"), tags)) == expected


@pytest.mark.parametrize("values", [[0, 0.5, 2], [0, 0.5, 255], [-1, 0, 1]])
def test_declared_range_that_the_values_exceed_is_rejected(tiff: Tiff, encode: Encode, values: list[float]):
    row = _row(*values, dtype="f4")
    for data in (tiff(row, {SMIN: (11, (0,)), SMAX: (11, (1,))}), encode(Image.fromarray(row), "PPM")):
        with pytest.raises(DecodeError, match=r"^unsupported: float32 values from .* declares 0 to 1; set preproc"):
            decode(data)
        decode(data, value_range=(0, 1))


@pytest.mark.parametrize(
    "tags",
    [
        {SMIN: (11, (1,)), SMAX: (11, (0,))},
        {SMIN: (11, (1,)), SMAX: (11, (1,))},
        {SMIN: (11, (np.nan,)), SMAX: (11, (1,))},
        {SMIN: (11, (0,)), SMAX: (11, (np.inf,))},
        {SMAX: (11, (1,))},
    ],
)
def test_invalid_declarations_are_ignored(tiff: Tiff, tags: dict[int, tuple[int, tuple[float, ...]]]):
    with pytest.raises(DecodeError, match=r"^unsupported: float32 without a declared range; "):
        decode(tiff(_row(0, 1, dtype="f4"), tags))


def test_pfm_is_scaled_by_its_header():
    head = b"Pf 3 1 -%s\n"
    assert _levels(head % b"1.0" + _row(0, 0.25, 1, dtype="<f4").tobytes()) == [0, 64, 255]
    assert _levels(head % b"200" + _row(0, 50, 200, dtype="<f4").tobytes()) == [0, 64, 255]
    assert _levels(b"Pf 3 1 200\n" + _row(0, 50, 200, dtype=">f4").tobytes(), (0, 100)) in (
        [0, 127, 255],
        [0, 128, 255],
    )


@pytest.mark.parametrize("maxval", [1, 15, 100, 255, 256, 1000, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_pgm_and_ppm_are_scaled_by_maxval(maxval: int, plain: bool):
    values = [0, maxval, maxval // 2]
    expected = [0, 255, round(maxval // 2 / maxval * 255)]
    for magic, size in ((b"P2", b"3 1"), (b"P3", b"1 1")):
        if plain:
            data = magic + b" %s %d\n" % (size, maxval) + b" ".join(b"%d" % value for value in values) + b"\n"
        else:
            kind = {b"P2": b"P5", b"P3": b"P6"}[magic]
            data = kind + b" %s %d\n" % (size, maxval) + np.array(values, ">u2" if maxval > 255 else "u1").tobytes()
        assert np.abs(decode(data).ravel()[:: 3 if size == b"3 1" else 1] - np.array(expected)).max() <= 1


def test_set_range_applies_to_pgm_of_any_maxval():
    for maxval in (3000, 4095, 65535):
        data = b"P5 3 1 %d\n" % maxval + np.array([0, 250, 2000], ">u2").tobytes()
        assert _levels(data, (0, 1000)) == [0, 64, 255]


@ORDERS
def test_16_bit_color_keeps_the_high_bytes(tiff: Tiff, big_endian: bool):
    values = np.array([[[0, 0x80FF, 0xFFFF], [0x1234, 0xFF, 0xFF00]]], np.uint16)
    expected = [[[0, 0x80, 255], [0x12, 0, 255]]]
    assert decode(tiff(values, big_endian=big_endian)).tolist() == expected
    with pytest.raises(DecodeError, match=r"^unsupported: colour of uint16, 0 to 4095; convert it to 8 bits"):
        decode(tiff(values, big_endian=big_endian), value_range=(0, 4095))
    with pytest.raises(DecodeError, match=r"^unsupported: colour of uint16, 0 to 4095; convert it to 8 bits"):
        decode(tiff(values, {SMAX: (3, (4095,) * 3)}, big_endian=big_endian))
    assert decode(tiff(values, big_endian=big_endian), value_range=(0, 65535)).tolist() == expected


def test_16_bit_color_png():
    _, written = cv2.imencode(".png", np.array([[[0, 0x80FF, 0xFFFF]]], np.uint16))
    assert decode(written.tobytes()).tolist() == [[[255, 128, 0]]]
    with pytest.raises(DecodeError, match=r"^unsupported: colour of uint16, 0 to 4095; "):
        decode(written.tobytes(), value_range=(0, 4095))


def test_8_bit_values_are_unchanged(tiff: Tiff, encode: Encode, photo: Image.Image):
    tags = {SMIN: (3, (16,)), SMAX: (3, (235,))}
    assert _levels(tiff(_row(0, 16, 235, 255, dtype="u1"), tags), (0, 4095)) == [0, 16, 235, 255]
    for kind in ("PNG", "BMP", "TIFF", "PPM", "GIF"):
        data = encode(photo, kind)
        np.testing.assert_array_equal(decode(data, value_range=(0, 1)), decode(data))


@pytest.mark.parametrize("values", [_row(0, 4000, dtype="u2"), _row(0, 4000, dtype="i2"), _row(0, 99, dtype="i1")])
def test_float_range_is_not_used_for_integers(tiff: Tiff, values: Array):
    with pytest.raises(DecodeError, match=r"^unsupported: u?int\d+ values, while preprocess.value_range \[0, 1\] "):
        decode(tiff(values), value_range=(0, 1))


def test_files_of_other_writers(encode: Encode):
    floats = _row(0, 0.25, 1, dtype="f4")
    _, opencv = cv2.imencode(".tiff", floats)
    for data in (
        opencv.tobytes(),
        encode(Image.fromarray(floats), "TIFF"),
        encode(Image.fromarray(floats), "TIFF", compression="tiff_lzw"),
    ):
        with pytest.raises(DecodeError, match=r"^unsupported: float32 without a declared range"):
            decode(data)
        assert _levels(data, (0, 1)) == [0, 64, 255]
    _, signed = cv2.imencode(".tiff", _row(0, 1024, 4095, dtype="u2"))
    assert _levels(signed.tobytes(), (0, 4095)) == [0, 64, 255]


def test_minmax_stretches_images_without_a_range(tiff: Tiff):
    for values in (_row(-3, 0, 9, dtype="f4"), _row(-300, 0, 900, dtype="i2")):
        assert decode(tiff(values), value_range="minmax")[0, :, 0].tolist() == [0, 64, 255]
    assert decode(tiff(_row(0, 257, dtype="u2")), value_range="minmax")[0, :, 0].tolist() == [0, 1]
    assert decode(tiff(_row(5, 5, dtype="f4")), value_range="minmax").max() == 0


def test_preprocessing_uses_the_range(tiff: Tiff):
    data = tiff(np.linspace(0, 4095, 64, dtype="i2").reshape(8, 8))
    pixels = Preprocess(PreprocessSpec(size=8, value_range=(0, 4095))).read(data)
    assert (pixels.min(), pixels.max()) == (0, 255)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(
            read_input(image, Preprocess(PreprocessSpec(size=8, value_range=(0, 4095)))), pixels
        )
    with Image.open(io.BytesIO(data)) as image:
        refused = read_input(image, Preprocess(PreprocessSpec(size=8)))
    assert isinstance(refused, Failure)
    assert refused.reason.startswith("unsupported: int16 without a declared range; ")


@pytest.mark.parametrize("value", [(1, 0), (0, 0), (0, float("inf")), (float("nan"), 1)])
def test_invalid_ranges_raise(value: tuple[float, float]):
    with pytest.raises(ValueError, match="value_range"):
        PreprocessSpec(value_range=value)


@given(
    st.integers(1, 8),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([-1, 0, 9, 65535]),
)
def test_upright_agrees_with_pillow(orientation: int, size: tuple[int, int], nonsense: int):
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(*size, 3)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    turned = apply_orientation(pixels, orientation)
    np.testing.assert_array_equal(turned, np.asarray(ImageOps.exif_transpose(image)))
    assert turned.flags.c_contiguous
    assert apply_orientation(pixels, nonsense) is pixels


@pytest.mark.parametrize("mode", ["RGBA", "LA", "La", "RGBa", "PA"])
def test_transparent_pixels_become_white(mode: str):
    image = Image.new("RGBA", (3, 1))
    image.putdata([(10, 10, 10, 255), (100, 100, 100, 0), (0, 0, 0, 128)])
    steps = {"La": ["LA"], "RGBa": [], "PA": []}.get(mode, [])
    for step in [*steps, mode]:
        image = image.convert(step)
    opaque, clear, half = to_rgb(image, "tiff")[0, :, 0].tolist()
    assert abs(opaque - 10) <= 3  # a palette may hold a near colour
    assert clear == 255
    assert abs(half - 127) <= 3


def test_alpha_is_blended_exactly():
    image = Image.new("RGBA", (256, 256))
    levels, alphas = np.meshgrid(np.arange(256), np.arange(256))
    image = Image.fromarray(np.stack([levels, levels, levels, alphas], axis=2).astype(np.uint8))
    expected = (levels * alphas + 255 * (255 - alphas)) / 255
    assert np.abs(to_rgb(image, "png")[:, :, 0] - expected).max() <= 0.502


@pytest.mark.parametrize(("mode", "value"), [("L", 7), ("RGB", (7, 7, 7)), ("P", 0), ("1", 0)])
def test_transparent_color_becomes_white(mode: str, value: int | tuple[int, int, int]):
    image = Image.new(mode, (2, 2), value)
    image.info["transparency"] = value
    assert (to_rgb(image, "png") == 255).all()


def test_palette_with_alpha_per_entry():
    image = Image.new("P", (3, 1))
    image.putpalette([0, 0, 0, 10, 20, 30, 0, 0, 0])
    image.putdata([0, 1, 2])
    image.info["transparency"] = bytes([0, 255, 51])
    assert to_rgb(image, "png")[0].tolist() == [[255, 255, 255], [10, 20, 30], [204, 204, 204]]


def test_cmyk_by_kind():
    image = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    cyan, red = [0, 255, 255], [0, 0, 0]
    assert to_rgb(image, "tiff")[0, 0].tolist() == cyan
    image.info["adobe"] = 100
    assert to_rgb(image, "jpeg")[0, 0].tolist() == cyan
    del image.info["adobe"]  # Pillow turned it over although the ink was not stored inverted
    assert to_rgb(image, "jpeg")[0, 0].tolist() == red


def test_result_is_writable():
    for mode in ("RGB", "L", "RGBA", "F"):
        pixels = to_rgb(Image.new(mode, (2, 2)), "png")
        pixels[0, 0] = 9
        assert pixels.flags.c_contiguous

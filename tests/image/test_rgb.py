import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from assay.image.rgb import to_rgb, upright


@given(
    st.integers(1, 8),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([-1, 0, 9, 65535]),
)
def test_upright_agrees_with_pillow(orientation: int, size: tuple[int, int], nonsense: int):
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(*size, 3)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    turned = upright(pixels, orientation)
    np.testing.assert_array_equal(turned, np.asarray(ImageOps.exif_transpose(image)))
    assert turned.flags.c_contiguous
    assert upright(pixels, nonsense) is pixels


def _gray(values: np.ndarray, kind: str = "tiff") -> list[int]:
    rgb = to_rgb(Image.fromarray(values), kind)
    assert rgb.dtype == np.uint8
    assert (rgb == rgb[:, :, :1]).all()
    return rgb[0, :, 0].tolist()


def test_16_bits_are_scaled_by_their_whole_range_whatever_the_photo_holds():
    assert _gray(np.array([[0, 257, 32768, 65535]], np.uint16)) == [0, 1, 128, 255]
    assert _gray(np.array([[0, 257, 514]], np.uint16)) == [0, 1, 2]


def test_16_bits_in_either_byte_order():
    values = np.array([[0, 0x8000, 0xFFFF]], np.uint16)
    big = Image.frombytes("I;16B", (3, 1), values.astype(">u2").tobytes())
    assert to_rgb(big, "tiff")[0, :, 0].tolist() == [0, 128, 255]


def test_integers_of_32_bits_are_read_as_the_narrowest_range_that_holds_them():
    assert _gray(np.array([[-5, 0, 100, 255]], np.int32)) == [0, 0, 100, 255]
    assert _gray(np.array([[-5, 257, 65535]], np.int32)) == [0, 1, 255]
    assert _gray(np.array([[-5, 2**30, 2**31 - 1]], np.int32)) == [0, 128, 255]


def test_dark_deep_ppm_stays_dark():
    assert _gray(np.array([[0, 200]], np.int32), kind="ppm") == [0, 1]


def test_floats_are_fractions_or_levels_and_no_number_is_black():
    assert _gray(np.array([[0.0, 0.5, 1.0, np.nan, -np.inf]], np.float32)) == [0, 128, 255, 0, 0]
    assert _gray(np.array([[0.0, 0.6, 254.4, 300.0, np.inf, -1.0]], np.float32)) == [0, 1, 254, 255, 255, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "La", "RGBa", "PA"])
def test_transparent_parts_show_white(mode: str):
    image = Image.new("RGBA", (3, 1))
    image.putdata([(10, 10, 10, 255), (100, 100, 100, 0), (0, 0, 0, 128)])
    steps = {"La": ["LA"], "RGBa": [], "PA": []}.get(mode, [])
    for step in [*steps, mode]:
        image = image.convert(step)
    opaque, clear, half = to_rgb(image, "tiff")[0, :, 0].tolist()
    assert abs(opaque - 10) <= 3  # a palette may hold a near colour
    assert clear == 255
    assert abs(half - 127) <= 3


def test_alpha_is_mixed_exactly():
    image = Image.new("RGBA", (256, 256))
    levels, alphas = np.meshgrid(np.arange(256), np.arange(256))
    image = Image.fromarray(np.stack([levels, levels, levels, alphas], axis=2).astype(np.uint8))
    expected = (levels * alphas + 255 * (255 - alphas)) / 255
    assert np.abs(to_rgb(image, "png")[:, :, 0] - expected).max() <= 0.502


@pytest.mark.parametrize(("mode", "value"), [("L", 7), ("RGB", (7, 7, 7)), ("P", 0), ("1", 0)])
def test_one_colour_named_transparent_shows_white(mode: str, value: int | tuple[int, int, int]):
    image = Image.new(mode, (2, 2), value)
    image.info["transparency"] = value
    assert (to_rgb(image, "png") == 255).all()


def test_palette_with_an_alpha_for_each_entry():
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


def test_the_result_may_be_written_to():
    for mode in ("RGB", "L", "RGBA", "F"):
        pixels = to_rgb(Image.new(mode, (2, 2)), "png")
        pixels[0, 0] = 9
        assert pixels.flags.c_contiguous

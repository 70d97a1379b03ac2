import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from assay.image.pixel_conversion import apply_orientation, to_rgb


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

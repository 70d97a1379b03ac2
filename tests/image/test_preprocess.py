"""Preprocessing: crop, resize modes and reduced decoding."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from assay.image import DecodeError, Preprocess, decode
from assay.recipe import PreprocessSpec

Encode = Callable[..., bytes]

_RESIZE_MODES = st.sampled_from(["stretch", "crop", "letterbox"])
_EDGES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda edges: edges[0] < edges[1])
_SIDES = st.integers(1, 300)


def _preprocess(**values: Any) -> Preprocess:
    return Preprocess(PreprocessSpec(**values))


@st.composite
def _preprocesses(draw: st.DrawFn) -> Preprocess:
    (left, right), (top, bottom) = draw(_EDGES), draw(_EDGES)
    return _preprocess(
        roi=(left, top, right, bottom),
        center_crop=draw(st.floats(0.01, 1)),
        resize_mode=draw(_RESIZE_MODES),
        size=draw(st.integers(8, 64)),
    )


@settings(deadline=None, max_examples=200)
@given(_preprocesses(), _SIDES, _SIDES)
def test_result_is_a_square_for_any_size(preprocess: Preprocess, width: int, height: int):
    pixels = np.full((height, width, 3), 37, np.uint8)
    square = preprocess(pixels)
    assert (square.shape, square.dtype) == ((preprocess.size, preprocess.size, 3), np.uint8)
    assert square.flags.c_contiguous
    assert square.flags.writeable
    assert not np.shares_memory(square, pixels)
    left, top, right, bottom = preprocess.content(width, height)
    assert (square[top:bottom, left:right] == 37).all()
    bars = np.ones((preprocess.size, preprocess.size), bool)
    bars[top:bottom, left:right] = False
    assert (square[bars] == 114).all()


@settings(deadline=None, max_examples=300)
@given(_preprocesses(), st.integers(1, 5000), st.integers(1, 5000))
def test_box_is_inside_the_image(preprocess: Preprocess, width: int, height: int):
    left, top, right, bottom = preprocess.box(width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    if preprocess.spec.resize_mode == "crop":
        assert abs((right - left) - (bottom - top)) <= 1


@settings(deadline=None, max_examples=200)
@given(_preprocesses(), st.integers(1, 5000), st.integers(1, 5000))
def test_letterbox_keeps_proportions(preprocess: Preprocess, width: int, height: int):
    left, top, right, bottom = preprocess.content(width, height)
    assert 0 <= left < right <= preprocess.size
    assert 0 <= top < bottom <= preprocess.size
    assert preprocess.size in (right - left, bottom - top)
    assert abs((left + right) - preprocess.size) <= 1
    assert abs((top + bottom) - preprocess.size) <= 1


@pytest.mark.parametrize(
    ("values", "size", "box"),
    [
        ({"resize_mode": "stretch"}, (1080, 1920), (0, 0, 1080, 1920)),
        ({"resize_mode": "stretch", "roi": (0, 0, 1, 0.3)}, (1080, 1920), (0, 0, 1080, 576)),
        ({"resize_mode": "stretch", "roi": (0, 0, 1, 0.3)}, (1080, 1930), (0, 0, 1080, 579)),
        ({"resize_mode": "stretch", "roi": (0, 0, 1, 0.3)}, (10, 11), (0, 0, 10, 4)),
        ({"resize_mode": "crop"}, (1920, 1080), (420, 0, 1500, 1080)),
        ({"resize_mode": "crop", "center_crop": 0.5}, (1920, 1080), (690, 270, 1230, 810)),
        ({"resize_mode": "crop", "roi": (0.5, 0, 1, 1)}, (200, 60), (120, 0, 180, 60)),
        ({"resize_mode": "letterbox", "center_crop": 0.5}, (100, 40), (25, 10, 75, 30)),
        ({"resize_mode": "stretch", "roi": (0.999, 0.999, 1, 1)}, (10, 10), (9, 9, 10, 10)),
    ],
)
def test_boxes_of_known_sizes(values: dict[str, Any], size: tuple[int, int], box: tuple[int, int, int, int]):
    assert _preprocess(**values).box(*size) == box


def test_adjacent_regions_share_no_pixel():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, 20:] = 200
    for mode in ("stretch", "letterbox"):
        halves = [_preprocess(resize_mode=mode, roi=roi, size=8)(pixels) for roi in ((0, 0, 0.5, 1), (0.5, 0, 1, 1))]
        assert set(halves[0].ravel()) <= {0, 114}
        assert set(halves[1].ravel()) <= {200, 114}


def test_same_size_changes_nothing(photo: Image.Image):
    pixels = np.asarray(photo.resize((32, 32)))
    for mode in ("stretch", "crop", "letterbox"):
        np.testing.assert_array_equal(_preprocess(resize_mode=mode, size=32)(pixels), pixels)


def test_downscaling_averages():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 254
    square = _preprocess(resize_mode="stretch", size=32)(stripes)
    assert np.abs(square.astype(int) - 127).max() <= 2


def test_one_side_can_grow_while_the_other_shrinks():
    stripes = np.zeros((512, 4, 3), np.uint8)
    stripes[::2] = 254
    assert np.abs(_preprocess(resize_mode="stretch", size=32)(stripes).astype(int) - 127).max() <= 2


def test_image_and_half_size_copy_are_similar(photo: Image.Image):
    large = np.asarray(photo.resize((610, 403), Image.Resampling.BICUBIC))
    # 0.37 of the half-size copy's width falls within a pixel: rounding would shift the copy by half of one.
    preprocess = _preprocess(resize_mode="stretch", roi=(0.37, 0.11, 0.81, 0.95), size=48)
    half = np.asarray(Image.fromarray(large).resize((305, 202), Image.Resampling.BOX))
    difference = np.abs(preprocess(large).astype(int) - preprocess(half))
    assert difference.mean() < 0.6


def test_letterbox_bars_have_the_fill_color():
    square = _preprocess(resize_mode="letterbox", size=16, fill=(1, 2, 3))(np.full((10, 20, 3), 200, np.uint8))
    assert square[0, 0].tolist() == [1, 2, 3]
    assert (square[4:12] == 200).all()
    assert (square[12:] == [1, 2, 3]).all()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_invalid_arrays_raise(pixels: np.ndarray):
    with pytest.raises(ValueError, match=r"pixels must be uint8 \[H, W, 3\], not"):
        _preprocess()(pixels)


def test_noncontiguous_views_are_accepted(photo: Image.Image):
    frame = np.asarray(photo)[::-1, ::2, ::-1]
    preprocess = _preprocess(size=16)
    np.testing.assert_array_equal(preprocess(frame), preprocess(frame.copy()))


def test_scaled_changes_only_the_size():
    preprocess = _preprocess(roi=(0, 0, 1, 0.3), resize_mode="stretch", size=224)
    canvas = preprocess.scaled(1.15)
    assert (canvas.size, canvas.spec.size) == (258, 258)
    assert canvas.spec.model_copy(update={"size": 224}) == preprocess.spec
    assert canvas(np.zeros((50, 40, 3), np.uint8)).shape == (258, 258, 3)


def test_read_decodes_and_preprocesses(files: dict[str, bytes]):
    preprocess = _preprocess(size=64)
    for data in files.values():
        np.testing.assert_array_equal(preprocess.read(data), preprocess(decode(data)))


def test_read_raises_with_a_reason():
    with pytest.raises(DecodeError, match="not an image"):
        _preprocess().read(b"text")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_preprocesses(), st.integers(200, 1200), st.integers(200, 1200))
def test_read_decodes_at_least_the_documented_size(encode: Encode, preprocess: Preprocess, width: int, height: int):
    data = encode(Image.new("RGB", (width, height)), "JPEG")
    decoded = decode(data, min_side=preprocess._min_side)
    if decoded.shape[:2] == (height, width):
        return
    across, down = (span[1] - span[0] for span in preprocess._region(*decoded.shape[1::-1]))
    extent = max(across, down) if preprocess.spec.resize_mode == "letterbox" else min(across, down)
    assert extent > 1.2 * preprocess.size - 2


@pytest.mark.parametrize(
    ("values", "mean", "most"),
    [
        ({"resize_mode": "stretch", "roi": (0, 0, 1, 0.3), "size": 224}, 0.3, 6),
        ({"resize_mode": "crop", "size": 224}, 1.0, 14),  # decoded at a quarter
        ({"resize_mode": "letterbox", "size": 224}, 0.3, 6),
        ({"resize_mode": "stretch", "size": 64}, 1.5, 20),
        ({"resize_mode": "crop", "size": 112}, 1.5, 20),  # decoded at the very limit: 1.2 pixels for one
        ({"resize_mode": "crop", "size": 16}, 1.5, 20),
    ],
)
def test_read_is_close_to_full_decoding(bottles: Path, values: dict[str, Any], mean: float, most: float):
    preprocess = _preprocess(**values)
    for path in sorted(bottles.rglob("*.jpg"))[::6]:
        data = path.read_bytes()
        small = decode(data, min_side=preprocess._min_side)
        assert small.shape[0] < 1920
        difference = np.abs(preprocess.read(data).astype(int) - preprocess(decode(data)))
        assert difference.mean() <= mean
        assert np.quantile(difference, 0.999) <= most


def test_import_is_light():
    program = (
        "import sys, assay.image\n"
        "heavy = {'torch', 'albumentations', 'cv2', 'scipy', 'sklearn', 'matplotlib'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

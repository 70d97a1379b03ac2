"""Augmentation transforms: parameters, seeds and library behaviour."""

import os
import pickle
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter

from assay.core.errors import UsageError
from assay.image.augmentation import (
    _STEP_BUILDERS,
    Augment,
    _AlbumentationsStep,
    brightness,
    contrast,
    gaussian_blur,
    gaussian_noise,
    random_crop,
)
from assay.recipe import AugmentSpec, Transform, load_recipe, recipe_names

_ALL = list(_STEP_BUILDERS)


def _transform(name: str, **values: Any) -> Transform:
    return TypeAdapter(Transform).validate_python({"name": name, **values})


def _augment(name: str, size: int = 64, **values: Any) -> Augment:
    return Augment([_transform(name, p=1.0, **values)], size)


@pytest.fixture
def pixels(photo: Image.Image) -> np.ndarray:
    """Give the picture as a square of 64 pixels a side."""
    return np.asarray(photo.resize((64, 64)))


def test_every_transform_of_the_schema_is_built():
    names = {kind.__name__ for kind in _kinds()}
    assert len(names) == len(_ALL)
    assert {kind.model_fields["name"].annotation.__args__[0] for kind in _kinds()} == set(_ALL)


def _kinds() -> list[Any]:
    return list(Transform.__origin__.__args__)


@pytest.mark.parametrize("name", _ALL)
@pytest.mark.parametrize("shape", [(64, 64), (90, 90), (33, 71)])
def test_result_is_a_square_of_the_given_size(name: str, shape: tuple[int, int]):
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = photo.copy()
    changed = _augment(name)(photo, 5)
    assert (changed.shape, changed.dtype) == ((64, 64, 3), np.uint8)
    assert changed.flags.c_contiguous
    assert changed.flags.writeable
    assert not np.shares_memory(changed, photo)
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("name", _ALL)
def test_seed_decides_the_result(pixels: np.ndarray, name: str):
    first, second = _augment(name), _augment(name)
    cv2.setRNGSeed(1)
    once = {seed: first(pixels, seed) for seed in range(4)}
    cv2.setRNGSeed(2)  # a generator that the process shares must play no part
    for seed in (3, 0, 2, 1):
        np.testing.assert_array_equal(second(pixels, seed), once[seed])


@pytest.mark.parametrize("name", [name for name in _ALL if "flip" not in name])
def test_different_seeds_differ(pixels: np.ndarray, name: str):
    # A blur has few kernels: not all pairs of seeds need differ.
    augment = _augment(name, **({"brightness": 0.5} if name == "color_jitter" else {}))
    assert len({augment(pixels, seed).tobytes() for seed in range(20)}) >= 3


@given(st.integers(0, 2**64 - 1))
@settings(deadline=None, max_examples=20)
def test_any_seed_is_accepted(seed: int):
    photo = np.full((20, 20, 3), 90, np.uint8)
    augment = Augment(load_recipe("bottle").augment.train, 16)
    np.testing.assert_array_equal(augment(photo, seed), augment(photo, seed))


@pytest.mark.parametrize("recipe", recipe_names())
def test_built_in_recipes_augment(pixels: np.ndarray, recipe: str):
    spec = load_recipe(recipe).augment
    for transforms in (spec.train, spec.val):
        augment = Augment(transforms, 48)
        assert augment(pixels, 1).shape == (48, 48, 3)
        copy = pickle.loads(pickle.dumps(augment))  # noqa: S301 - our own bytes
        np.testing.assert_array_equal(copy(pixels, 7), augment(pixels, 7))


def test_another_process_gives_the_same_result():
    program = (
        "import sys, numpy as np\n"
        "from assay.image.augmentation import Augment\n"
        "from assay.recipe import load_recipe\n"
        "pixels = np.arange(40 * 40 * 3, dtype=np.uint8).reshape(40, 40, 3)\n"
        "augment = Augment(load_recipe('bottle').augment.train, 32)\n"
        "sys.stdout.buffer.write(b''.join(augment(pixels, seed).tobytes() for seed in range(12)))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    photo = np.arange(40 * 40 * 3, dtype=np.uint8).reshape(40, 40, 3)
    augment = Augment(load_recipe("bottle").augment.train, 32)
    backwards = [augment(photo, seed).tobytes() for seed in reversed(range(12))]
    assert run.stdout == b"".join(reversed(backwards))


def test_transforms_are_applied_independently():
    # One half of the pixels tells the flip, their level the brightness: all four cases must be equally frequent.
    photo = np.full((8, 8, 3), 100, np.uint8)
    photo[:, :4] = 200
    augment = Augment([_transform("horizontal_flip", p=0.5), _transform("brightness", factor=(0.5, 0.5), p=0.5)], 8)
    seen = [augment(photo, seed) for seed in range(400)]
    cases = [(bool(out[0, 0, 0] < out[0, 7, 0]), int(out.max())) for out in seen]
    counts = [cases.count((flipped, level)) for flipped in (False, True) for level in (200, 100)]
    assert sum(counts) == 400
    assert min(counts) > 70


@pytest.mark.parametrize("name", ["horizontal_flip", "rotate", "gaussian_noise", "color_jitter"])
@pytest.mark.parametrize(("p", "least", "most"), [(0.0, 0, 0), (0.3, 40, 80), (1.0, 195, 200)])
def test_probability_is_used(pixels: np.ndarray, name: str, p: float, least: int, most: int):
    values = {"brightness": 0.5} if name == "color_jitter" else {}
    augment = Augment([_transform(name, p=p, **values)], 64)
    changed = sum(not np.array_equal(augment(pixels, seed), pixels) for seed in range(200))
    assert least <= changed <= most  # a drawn change may be too small to see


def test_flips(pixels: np.ndarray):
    np.testing.assert_array_equal(_augment("horizontal_flip")(pixels, 0), pixels[:, ::-1])
    np.testing.assert_array_equal(_augment("vertical_flip")(pixels, 0), pixels[::-1])


@pytest.mark.parametrize(("factor", "expected"), [((0.5, 0.5), 50), ((1.5, 1.5), 150)])
def test_brightness_limit_is_used(factor: tuple[float, float], expected: int):
    photo = np.full((16, 16, 3), 100, np.uint8)
    assert (_augment("brightness", 16, factor=factor)(photo, 0) == expected).all()


def test_contrast_limit_is_used(pixels: np.ndarray):
    mean = pixels.mean()
    expected = np.rint(0.5 * (pixels - mean) + mean)
    np.testing.assert_array_equal(_augment("contrast", alpha=(0.5, 0.5))(pixels, 0), expected)


@pytest.mark.parametrize("variance", [10.0, 50.0])
def test_noise_variance_is_used(variance: float):
    photo = np.full((200, 200, 3), 128, np.uint8)
    noise = _augment("gaussian_noise", 200, variance=(variance, variance))(photo, 3).astype(float)
    assert noise.var() == pytest.approx(variance + 1 / 12, rel=0.05)


def test_noise_is_not_averaged_away_by_scaling():
    photo = np.full((400, 400, 3), 128, np.uint8)
    noise = _augment("gaussian_noise", 100, variance=(50, 50))(photo, 3).astype(float)
    assert noise.var() == pytest.approx(50, rel=0.06)


def _extents(name: str, kernel: tuple[int, int]) -> set[int]:
    """Sides of the square around a point that the blurred point fills, over many seeds."""
    point = np.zeros((31, 31, 3), np.uint8)
    point[15, 15] = 255
    augment = _augment(name, 31, kernel=kernel)
    found = set()
    for seed in range(80):
        rows, columns = np.nonzero(augment(point, seed)[:, :, 0])
        found.add(2 * int(max(abs(rows - 15).max(), abs(columns - 15).max())) + 1)
    return found


@pytest.mark.parametrize("kernel", [(3, 7), (3, 3), (5, 5), (3, 5)])
def test_blur_kernels_are_used(kernel: tuple[int, int]):
    sides = set(range(kernel[0], kernel[1] + 1, 2))
    assert _extents("gaussian_blur", kernel) == sides
    motion = _extents("motion_blur", kernel)
    assert max(motion) == kernel[1]
    assert motion <= {1, 3, 5, 7}  # a short line may fill less than its kernel


def test_even_kernel_sizes_are_excluded():
    assert _extents("gaussian_blur", (4, 6)) == {5}


def test_grid_finer_than_the_image_raises():
    with pytest.raises(UsageError, match=r"^augmentation grid_distortion cannot be made from .*32"):
        _augment("grid_distortion", 32, steps=33)


def test_motion_blur_is_a_line_and_gaussian_is_not(pixels: np.ndarray):
    def eccentricity(name: str) -> float:
        point = np.zeros((31, 31, 3), np.uint8)
        point[15, 15] = 255
        ratios = []
        for seed in range(40):
            blurred = _augment(name, 31, kernel=(7, 7))(point, seed)[:, :, 0].astype(float)
            where = np.argwhere(blurred > 0)
            spread = np.linalg.eigvalsh(np.cov(where.T)) if len(where) > 2 else np.array([0.0, 1.0])
            ratios.append(spread[0] / spread[1])
        return float(np.median(ratios))

    assert eccentricity("motion_blur") < 0.2
    assert eccentricity("gaussian_blur") > 0.9
    assert not np.array_equal(_augment("motion_blur")(pixels, 0), pixels)


def test_impossible_kernel_raises():
    for kernel in ((4, 4), (1, 3), (2, 2)):
        for name in ("motion_blur", "gaussian_blur"):
            with pytest.raises(UsageError, match=f"^augmentation {name} cannot be made from .*odd"):
                _augment(name, kernel=kernel)


def _angle(augment: Augment, seed: int) -> float:
    """Turn a picture whose brightness rises to the right; return where it rises afterwards, in degrees."""
    ramp = np.linspace(40, 215, 101)[None, :, None].repeat(101, axis=0).repeat(3, axis=2).astype(np.uint8)
    turned = augment(ramp, seed)[30:71, 30:71, 0].astype(float)
    down, right = np.gradient(turned)
    return float(np.degrees(np.arctan2(down.mean(), right.mean())))


@pytest.mark.parametrize("degrees", [0.0, 10.0, 20.0])
def test_rotation_reaches_its_limit_in_both_directions(degrees: float):
    augment = _augment("rotate", 101, degrees=degrees)
    angles = [_angle(augment, seed) for seed in range(60)]
    assert max(angles) == pytest.approx(degrees, abs=0.1 * degrees + 0.1)
    assert min(angles) == pytest.approx(-degrees, abs=0.1 * degrees + 0.1)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rotate", {"degrees": 45}),
        ("optical_distortion", {"limit": 0.5}),
        ("grid_distortion", {"limit": 0.5}),
    ],
)
def test_no_black_corners(name: str, values: dict[str, float]):
    photo = np.full((64, 64, 3), 200, np.uint8)
    for seed in range(10):
        assert (_augment(name, **values)(photo, seed) == 200).all()


@pytest.mark.parametrize("name", ["optical_distortion", "grid_distortion"])
def test_distortion_grows_with_its_limit(pixels: np.ndarray, name: str):
    none = _augment(name, limit=0.0)  # the grids of the library are shifted by up to a pixel

    def change(limit: float) -> float:
        augment = _augment(name, limit=limit)
        return float(np.mean([cv2.absdiff(augment(pixels, s), none(pixels, s)).mean() for s in range(20)]))

    assert cv2.absdiff(none(pixels, 0), pixels).mean() < 4
    assert 0 < change(0.05) < change(0.2) < change(0.8)


def test_grid_steps_are_used(pixels: np.ndarray):
    few, many = (_augment("grid_distortion", steps=steps)(pixels, 1) for steps in (2, 9))
    assert not np.array_equal(few, many)
    # The photo is stretched evenly within a cell: along a ramp the slope changes at the cells' borders alone.
    ramp = np.linspace(0, 250, 250)[None, :, None].repeat(250, axis=0).repeat(3, axis=2).astype(np.uint8)
    row = _augment("grid_distortion", 250, steps=5, limit=0.5)(ramp, 1)[125, :, 0].astype(float)
    slopes = [np.polyfit(np.arange(50), row[start : start + 50], 1) for start in range(0, 250, 50)]
    assert len({round(float(slope), 1) for slope, _ in slopes}) >= 3
    for start, (slope, offset) in zip(range(0, 250, 50), slopes, strict=True):
        assert np.abs(slope * np.arange(50) + offset - row[start : start + 50]).max() < 2.5  # 250 is mirrored


@pytest.mark.parametrize(
    ("setting", "photo", "expected"),
    [
        # gray 100: brightness within 1 ± 0.3
        ("brightness", [(100, 100, 100)], (70, 130)),
        # levels 100 and 200 about their mean 150
        ("contrast", [(100, 100, 100), (200, 200, 200)], (85, 115)),
        # the red of a colour of luma 110: 110 + (0.7 to 1.3) times 70
        ("saturation", [(180, 80, 80)], (159, 201)),
    ],
)
def test_color_jitter_limits_are_used(setting: str, photo: list[tuple[int, int, int]], expected: tuple[int, int]):
    augment = _augment("color_jitter", 16, **{setting: 0.3})
    columns = np.array(photo, np.uint8).repeat(16 // len(photo), axis=0)
    square = columns[None].repeat(16, axis=0)
    drawn = [int(augment(square, seed)[0, 0, 0]) for seed in range(150)]
    assert min(drawn) == pytest.approx(expected[0], abs=2)
    assert max(drawn) == pytest.approx(expected[1], abs=2)


def test_hue_limit_is_used():
    red = np.full((8, 8, 3), (200, 20, 20), np.uint8)
    augment = _augment("color_jitter", 8, hue=0.1)
    hues = [cv2.cvtColor(augment(red, seed), cv2.COLOR_RGB2HSV)[0, 0, 0] for seed in range(150)]
    signed = [2 * hue - 360 if hue > 90 else 2 * hue for hue in map(int, hues)]
    assert min(signed) == pytest.approx(-36, abs=3)
    assert max(signed) == pytest.approx(36, abs=3)


def test_zero_color_jitter_changes_nothing(pixels: np.ndarray):
    np.testing.assert_array_equal(_augment("color_jitter")(pixels, 0), pixels)


def _crop(augment: Augment, seed: int) -> tuple[float, float]:
    """Crop a picture whose red rises to the right and green downwards; return the crop's width and height."""
    x, y = np.meshgrid(np.linspace(0, 250, 251), np.linspace(0, 250, 251))
    square = augment(np.stack([x, y, 0 * x], axis=2).astype(np.uint8), seed).astype(float)
    rise = square.shape[0] / (square.shape[0] - 1) / 251
    return np.ptp(square[:, :, 0]) * rise, np.ptp(square[:, :, 1]) * rise


def test_crop_scale_is_used():
    augment = _augment("random_resized_crop", scale=(0.2, 0.5), ratio=(1, 1))
    areas = [width * height for width, height in (_crop(augment, seed) for seed in range(200))]
    assert min(areas) == pytest.approx(0.2, abs=0.02)
    assert max(areas) == pytest.approx(0.5, abs=0.02)


def test_crop_ratio_is_used():
    augment = _augment("random_resized_crop", scale=(0.25, 0.25), ratio=(0.5, 2))
    ratios = [width / height for width, height in (_crop(augment, seed) for seed in range(200))]
    assert min(ratios) == pytest.approx(0.5, abs=0.05)
    assert max(ratios) == pytest.approx(2, abs=0.15)


def test_crop_is_taken_before_resizing():
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 200
    augment = Augment([_transform("random_resized_crop", scale=(0.25, 0.25), ratio=(1, 1))], 64)
    assert augment(stripes, 0).std() > 90  # scaling first would have left an even gray


def test_skipped_crop_still_resizes(pixels: np.ndarray):
    augment = Augment([_transform("random_resized_crop", p=0.0)], 32)
    assert augment(pixels, 0).shape == (32, 32, 3)


@pytest.mark.parametrize("name", _ALL)
@pytest.mark.parametrize("shape", [(41, 67), (3, 2), (1, 1)])
def test_images_can_keep_their_size(name: str, shape: tuple[int, int]):
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    augment = Augment([_transform(name, p=1.0)], None)
    changed = augment(photo, 5)
    assert changed.shape == photo.shape
    assert not np.shares_memory(changed, photo)
    np.testing.assert_array_equal(augment(photo, 5), changed)


def test_empty_list_changes_nothing(pixels: np.ndarray):
    augment = Augment(AugmentSpec().train, 64)
    np.testing.assert_array_equal(augment(pixels, 0), pixels)
    assert not np.shares_memory(augment(pixels, 0), pixels)


def test_unknown_library_argument_raises():
    kind = _augment("rotate")._steps[0][1].transform.__class__
    with pytest.raises(ValueError, match="angle"):
        _AlbumentationsStep(kind, limit=5, angle=7)


def test_library_uses_no_network():
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


_RAMP = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)


def _generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.7])
def test_brightness_multiplies(factor: float):
    changed = brightness(_RAMP, _generator(), factor=(factor, factor))
    np.testing.assert_array_equal(changed, np.rint(_RAMP * factor).clip(0, 255))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.7])
def test_contrast_is_relative_to_the_mean_of_the_image(photo: Image.Image, alpha: float):
    pixels = np.asarray(photo)
    mean = pixels.mean()
    changed = contrast(pixels, _generator(), alpha=(alpha, alpha))
    np.testing.assert_array_equal(changed, np.rint(alpha * (pixels - mean) + mean).clip(0, 255))


def test_contrast_keeps_the_mean():
    pixels = np.full((8, 8, 3), 100, np.uint8)
    pixels[::2] = 140
    changed = contrast(pixels, _generator(), alpha=(0.5, 0.5))
    assert set(changed.ravel()) == {110, 130}


def test_factors_cover_their_range():
    gray = np.full((1, 1, 3), 100, np.uint8)
    generator = _generator()
    drawn = [int(brightness(gray, generator, factor=(0.8, 1.2))[0, 0, 0]) for _ in range(500)]
    assert (min(drawn), max(drawn)) == (80, 120)
    two = np.array([[[100, 100, 100], [120, 120, 120]]], np.uint8)
    drawn = [int(contrast(two, generator, alpha=(0.5, 1.5))[0, 0, 0]) for _ in range(500)]
    assert (min(drawn), max(drawn)) == (95, 105)


@pytest.mark.parametrize("variance", [10.0, 50.0])
def test_noise_has_the_variance_per_channel_and_no_bias(variance: float):
    gray = np.full((400, 400, 3), 128, np.uint8)
    noise = gaussian_noise(gray, _generator(), variance=(variance, variance)).astype(float) - 128
    # Rounding to whole levels adds 1/12.
    assert noise.var(axis=(0, 1)) == pytest.approx([variance + 1 / 12] * 3, rel=0.02)
    assert np.abs(noise.mean(axis=(0, 1))).max() < 0.05
    assert abs(np.corrcoef(noise[:, :, 0].ravel(), noise[:, :, 1].ravel())[0, 1]) < 0.02


def test_noise_draws_its_variance_from_the_range():
    gray, generator = np.full((100, 100, 3), 128, np.uint8), _generator()
    drawn = [gaussian_noise(gray, generator, variance=(10, 50)).var() for _ in range(100)]
    assert 9.5 < min(drawn) < 14
    assert 45 < max(drawn) < 52.5


def test_noise_is_clipped():
    for level in (0, 255):
        noisy = gaussian_noise(np.full((50, 50, 3), level, np.uint8), _generator(), variance=(50, 50))
        assert np.abs(noisy.astype(int) - level).max() < 50


def test_blur_uses_every_odd_kernel_only():
    point = np.zeros((15, 15, 3), np.uint8)
    point[7, 7] = 255
    generator = _generator()
    widths = {int((gaussian_blur(point, generator, kernel=(3, 7))[7, :, 0] > 0).sum()) for _ in range(60)}
    assert widths == {3, 5, 7}
    assert (gaussian_blur(point, generator, kernel=(5, 5))[7, :, 0] > 0).sum() == 5


def test_input_pixels_are_not_changed():
    before = _RAMP.copy()
    brightness(_RAMP, _generator(), factor=(0.5, 0.5))
    contrast(_RAMP, _generator(), alpha=(0.5, 0.5))
    gaussian_noise(_RAMP, _generator(), variance=(10, 50))
    gaussian_blur(_RAMP, _generator(), kernel=(3, 7))
    np.testing.assert_array_equal(_RAMP, before)


def test_random_crop_shifts_by_whole_pixels_up_to_the_padding():
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    image = np.stack([x, y, 0 * x], axis=2).astype(np.uint8)
    generator = _generator()
    shifts = set()
    for _ in range(400):
        moved = random_crop(image, generator, padding=0.0625).astype(int)
        column, row = moved[32, 32, :2] - 32
        np.testing.assert_array_equal(moved[8:-8, 8:-8, 0], x[8:-8, 8:-8] + column)
        np.testing.assert_array_equal(moved[8:-8, 8:-8, 1], y[8:-8, 8:-8] + row)
        shifts.add((column, row))
    assert {column for column, _ in shifts} == {row for _, row in shifts} == set(range(-4, 5))


def test_random_crop_reflects_what_lies_outside():
    image = np.arange(8, dtype=np.uint8)[None, :, None].repeat(8, axis=0).repeat(3, axis=2)
    rows = {tuple(random_crop(image, _generator(seed), padding=0.25)[0, :, 0]) for seed in range(60)}
    assert (2, 1, 0, 1, 2, 3, 4, 5) in rows
    assert (2, 3, 4, 5, 6, 7, 6, 5) in rows
    np.testing.assert_array_equal(random_crop(image, _generator(), padding=0), image)

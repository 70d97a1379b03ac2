"""Class activation maps computed by hand, and their position on the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.image import Preprocess
from assay.inference.cam import Cam, class_activation_map, contrast_weights, heat_map, linear_head, peak_position
from assay.inference.engine import ModelOutputs
from assay.recipe import PreprocessSpec

RNG = np.random.default_rng(0)


def looking(size: int = 64, **settings: object) -> Preprocess:
    return Preprocess(PreprocessSpec.model_validate({"size": size, **settings}))


def one_hot(row: int, column: int, cells: int = 8) -> np.ndarray:
    found = np.zeros((cells, cells), dtype=np.float32)
    found[row, column] = 1
    return found


def test_mean_of_the_map_plus_bias_is_the_logit():
    featuremap = RNG.normal(size=(5, 3, 4)).astype(np.float32)
    weights, bias = RNG.normal(size=(2, 5)).astype(np.float32), np.array([0.5, -2])
    maps = class_activation_map(featuremap, weights)
    assert maps.shape == (2, 3, 4)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps.mean(axis=(1, 2)) + bias, weights @ featuremap.mean(axis=(1, 2)) + bias, rtol=1e-5)


def test_map_is_a_weighted_sum_of_channels():
    featuremap = np.array([[[1, 0]], [[0, 2]]], dtype=np.float32)
    np.testing.assert_array_equal(class_activation_map(featuremap, np.array([[3, -1]])), [[[3, -2]]])


def test_mismatched_shapes_raise():
    with pytest.raises(ValueError, match=r"\[2, 4\] does not match a feature map of shape \[5, 3, 3\]"):
        class_activation_map(np.zeros((5, 3, 3)), np.zeros((2, 4)))


def test_evidence_for_one_of_two_classes_is_evidence_against_the_other():
    outputs = ModelOutputs(np.zeros((1, 2)), np.zeros((1, 5)), RNG.normal(size=(1, 5, 3, 3)).astype(np.float32))
    evidence = Cam(RNG.normal(size=(2, 5)))
    pixels = np.zeros((8, 8, 3), np.uint8)
    np.testing.assert_allclose(evidence(pixels, outputs, 0), -evidence(pixels, outputs, 1), atol=1e-6)


def test_evidence_shared_by_all_classes_cancels():
    weights = RNG.normal(size=(3, 5))
    np.testing.assert_allclose(contrast_weights(weights + RNG.normal(size=5)), contrast_weights(weights))


def test_only_a_single_layer_head_is_linear():
    linear = {
        "head.fc.weight": np.ones((2, 5)),
        "head.fc.bias": np.ones(2),
        "backbone.conv1.weight": np.ones(3),
    }
    head = linear_head(linear, 2)
    assert head is not None
    assert (head.shape, head.dtype) == ((2, 5), np.float32)
    assert linear_head({**linear, "head.hidden.0.1.weight": np.ones((5, 5))}, 2) is None
    assert linear_head({"head": np.ones((2, 5))}, 2) is None
    assert linear_head({}, 2) is None
    assert linear_head({**linear, "head.fc.weight": np.ones((3, 5))}, 2) is None


@given(row=st.integers(0, 7), column=st.integers(0, 7), width=st.integers(20, 300), height=st.integers(20, 300))
@settings(max_examples=60, deadline=None)
def test_one_cell_peaks_in_its_square_of_the_image(row: int, column: int, width: int, height: int):
    heat = heat_map(one_hot(row, column), looking(resize_mode="stretch"), width, height)
    found = peak_position(heat)
    assert heat.shape == (height, width)
    assert found is not None
    assert column * width / 8 - 1 <= found[0] <= (column + 1) * width / 8
    assert row * height / 8 - 1 <= found[1] <= (row + 1) * height / 8


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_heat_is_between_0_and_1(rows: int, columns: int, seed: int):
    cells = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    heat = heat_map(cells, looking(), 50, 40)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() in {np.float32(0), np.float32(1)}
    np.testing.assert_allclose(heat_map(cells * 7, looking(), 50, 40), heat, atol=1e-5)


def test_plateau_peaks_in_its_middle():
    cells = np.zeros((7, 7), dtype=np.float32)
    cells[1:4, 3:6] = 1
    # Louder at its rim, as networks are that see a cue at the edge of their view best.
    cells[1, 3] = cells[3, 5] = 1.05
    assert peak_position(heat_map(cells, looking(224), 224, 224)) == pytest.approx((4.5 * 32, 2.5 * 32), abs=4)


def test_constant_map_stays_constant():
    np.testing.assert_allclose(heat_map(np.full((7, 7), 3.0), looking(), 60, 60), 1, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_no_heat_without_evidence(value: float):
    heat = heat_map(np.full((7, 7), value), looking(), 60, 60)
    assert heat.max() == 0
    assert peak_position(heat) is None


def test_negative_evidence_is_no_heat():
    cells = np.zeros((8, 8), dtype=np.float32)
    cells[:, :4], cells[:, 4:] = -1, 1
    heat = heat_map(cells, looking(resize_mode="stretch"), 80, 80)
    assert heat[:, :20].max() == 0
    assert heat[40, 70] > 0.8


def test_cropped_area_has_no_heat_and_the_rest_is_aligned():
    preprocess = looking(resize_mode="stretch", roi=(0.5, 0.0, 1.0, 0.25))
    heat = heat_map(one_hot(4, 1), preprocess, 320, 640)
    assert heat[:, :160].max() == 0
    assert heat[160:].max() == 0
    assert peak_position(heat) == pytest.approx((160 + 160 * 1.5 / 8, 160 * 4.5 / 8), abs=2)


def test_center_crop_maps_heat_to_the_middle_of_a_wide_image():
    heat = heat_map(one_hot(0, 0), looking(resize_mode="crop"), 400, 200)
    assert heat[:, :100].max() == heat[:, 300:].max() == 0
    assert peak_position(heat) == pytest.approx((100 + 12.5, 12.5), abs=2)


def test_letterbox_bars_are_removed_from_the_heat_map():
    # The square's upper and lower quarter are bars: cells 0, 1, 6 and 7.
    preprocess = looking(resize_mode="letterbox")
    assert peak_position(heat_map(one_hot(2, 5), preprocess, 160, 80)) == pytest.approx((110, 10), abs=2)
    bars = heat_map(one_hot(0, 5), preprocess, 160, 80)
    assert bars.argmax() // 160 == 0, "what the bars say can only glow at the edge next to them"


def test_image_and_half_size_copy_have_the_same_heat_map():
    cells = RNG.normal(size=(7, 7)).astype(np.float32)
    large, small = (heat_map(cells, looking(resize_mode="crop"), side * 3, side * 2) for side in (200, 100))
    np.testing.assert_allclose(large.reshape(200, 2, 300, 2).mean(axis=(1, 3)), small, atol=0.01)

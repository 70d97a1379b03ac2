"""Explanations of a classifier of colours: the heat lies on the colour."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from assay.bundle import Bundle, BundleError, BundleInfo, pack_bundle
from assay.core.errors import AssayError, UsageError
from assay.inference import Classifier
from assay.inference.explanation import MAX_SIDE
from assay.recipe import PreprocessSpec


def gray_with_red(
    width: int = 160, height: int = 80, box: tuple[int, int, int, int] = (100, 10, 120, 30)
) -> np.ndarray:
    pixels = np.full((height, width, 3), 90, dtype=np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = (255, 0, 0)
    return pixels


def test_heat_is_where_the_colour_is(classifier: Classifier):
    explanation = classifier.explain(gray_with_red(), "red")
    assert explanation.label == "red"
    assert explanation.method == "cam"
    assert explanation.cells.shape == (4, 4)
    assert (explanation.width, explanation.height) == (160, 80)
    assert explanation.heat.shape == (80, 160)
    assert explanation.peak is not None
    assert 100 <= explanation.peak[0] < 120
    assert 10 <= explanation.peak[1] < 30


def test_mean_of_the_cells_is_the_logit_relative_to_the_mean_logit(classifier: Classifier):
    photo = gray_with_red()
    logits = classifier.outputs(classifier.preprocess(photo)[np.newaxis]).logits[0]
    for place, label in enumerate(classifier.classes):
        mean = classifier.explain(photo, label).cells.mean()
        assert mean == pytest.approx(logits[place] - logits.mean(), abs=1e-4)


def test_predicted_class_is_explained_by_default(classifier: Classifier, photos: dict[str, Path]):
    explanation = classifier.explain(photos["green"])
    assert explanation.label == explanation.prediction.label == "green"
    assert explanation.prediction == classifier.predict(photos["green"])
    other = classifier.explain(photos["green"], "blue")
    assert other.label == "blue"
    assert other.prediction.label == "green"
    assert other.peak is None, "nothing in a green photo speaks for blue"


@pytest.mark.parametrize("form", ["path", "bytes", "image", "array"])
def test_all_input_types_give_the_same_explanation(classifier: Classifier, tmp_path: Path, form: str):
    pixels = gray_with_red()
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    forms = {"path": path, "bytes": path.read_bytes(), "image": Image.fromarray(pixels), "array": pixels}
    explanation = classifier.explain(forms[form], "red")
    np.testing.assert_array_equal(explanation.photo, pixels)
    np.testing.assert_allclose(explanation.cells, classifier.explain(pixels, "red").cells)


def test_large_rotated_photo_is_shown_small_and_upright(classifier: Classifier, tmp_path: Path):
    upright = gray_with_red(1500, 3000, (300, 1800, 600, 2100))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    explanation = classifier.explain(tmp_path / "a.jpg", "red")
    assert (explanation.width, explanation.height) == (1500, 3000)
    assert explanation.photo.shape == (MAX_SIDE, MAX_SIDE // 2, 3)
    assert explanation.peak is not None
    # One cell of the feature map is 375 pixels.
    assert explanation.peak == pytest.approx((450, 1950), abs=190)
    assert explanation.crop_box == (0, 750, 1500, 2250)


def test_overlays_have_the_requested_size(classifier: Classifier):
    explanation = classifier.explain(gray_with_red(), "red")
    assert explanation.overlay().shape == (80, 160, 3)
    assert explanation.overlay(40).shape == explanation.small(40).shape == (20, 40, 3)
    with Image.open(io.BytesIO(explanation.png(100))) as picture:
        assert (picture.format, picture.size) == ("PNG", (100, 50))


def test_outside_of_the_region_of_interest_is_dark(make_bundle):
    spec = PreprocessSpec(size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), roi=(0.5, 0, 1, 1), resize_mode="stretch")
    classifier = Classifier.load(make_bundle(preprocess=spec))
    explanation = classifier.explain(gray_with_red(), "red")
    assert explanation.crop_box == (80, 0, 160, 80)
    assert explanation.heat[:, :80].max() == 0
    assert explanation.overlay()[:, :80].max() < 40
    assert explanation.peak == pytest.approx((110, 20), abs=10)


def test_explanation_as_a_dict(classifier: Classifier, photos: dict[str, Path]):
    result = json.loads(json.dumps(classifier.explain(photos["red"]).to_dict()))
    assert result["source"] == str(photos["red"])
    assert result["label"] == result["explained"] == "red"
    assert result["size"] == [40, 30]
    assert np.array(result["cells"]).shape == (4, 4)


def test_unknown_class_raises(classifier: Classifier):
    with pytest.raises(UsageError, match="no class 'pink': choose one of red, green, blue"):
        classifier.explain(gray_with_red(), "pink")


def test_unreadable_photo_raises(classifier: Classifier, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(AssayError, match=r"a\.png cannot be read"):
        classifier.explain(tmp_path / "a.png")


def test_multi_layer_head_raises(make_bundle):
    classifier = Classifier.load(make_bundle(dense=True))
    assert classifier.head is None
    with pytest.raises(AssayError, match="`assay explain` explains"):
        classifier.explain(gray_with_red())


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (np.ones((2, 3)), r"its head is \[2, 3\], not \[3, 3\]"),
        (np.ones((3, 5)), r"its head is \[3, 5\], not \[3, 3\]"),
        (np.ones((0, 3)), r"its head is \[0, 3\], not \[3, 3\]"),
        (np.full((3, 3), np.nan), "its head is not finite"),
        (np.diag([np.inf, 1, 1]), "its head is not finite"),
    ],
)
def test_head_of_another_model_raises(
    make_bundle: Callable[..., Path], info: BundleInfo, tmp_path: Path, head: np.ndarray, message: str
):
    path = tmp_path / "other.assay"
    weights = {"head.fc.weight": head.astype(np.float32), "head.fc.bias": np.zeros(3, np.float32)}
    model = Bundle.open(make_bundle()).model()
    pack_bundle(path, info, {"model.onnx": model, "weights.safetensors": save(weights)})
    with pytest.raises(BundleError, match=rf"other\.assay is inconsistent: {message}"):
        Classifier.load(path).explain(gray_with_red())


def test_bundle_replaced_while_open_raises(make_bundle):
    path = make_bundle()
    classifier = Classifier.load(path)
    path.write_bytes(make_bundle(dense=True).read_bytes())
    with pytest.raises(BundleError, match="changed or damaged"):
        classifier.explain(gray_with_red())

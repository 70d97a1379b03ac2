"""HTML of predictions, explanations and classifiers in notebooks."""

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from assay.inference import Classifier, Prediction


def _pictures(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(item))) for item in found]


def test_prediction_shows_its_photo_and_all_classes(classifier: Classifier, photos: dict[str, Path]):
    html = classifier.predict(photos["red"])._repr_html_()
    assert "<strong>red " in html
    assert all(f">{name}<" in html for name in classifier.classes)
    (thumbnail,) = _pictures(html)
    assert max(thumbnail.size) <= 192
    red, green, _ = thumbnail.resize((1, 1)).getpixel((0, 0))
    assert red > 200
    assert green < 100


@pytest.mark.parametrize("source", [None, "/nowhere/a.jpg", __file__])
def test_prediction_without_a_photo_is_shown(source: str | None):
    html = Prediction("a", 0.75, {"a": 0.75, "b": 0.25}, source)._repr_html_()
    assert "75.0 %" in html
    assert "<img" not in html


def test_unknown_prediction_is_marked():
    html = Prediction("<b>", 0.5, {"<b>": 0.5, "c": 0.5}, None, True, "low_confidence", 0.3)._repr_html_()  # noqa: FBT003
    assert "<strong>unknown (low confidence); nearest: &lt;b&gt; 50.0 %" in html


def test_classifier_shows_its_metadata(make_bundle):
    path = make_bundle(metrics={"test": {"accuracy": 0.935}}, thresholds={"confidence": 0.7})
    html = Classifier.load(path)._repr_html_()
    for result in ["colours", "red, green, blue", "16 × 16 pixels", "93.5 %", "70.0 %"]:
        assert result in html


def test_explanation_is_an_image(classifier: Classifier, photos: dict[str, Path]):
    (heat,) = _pictures(classifier.explain(photos["red"])._repr_html_())
    assert heat.format == "PNG"

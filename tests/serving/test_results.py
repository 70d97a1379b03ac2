"""Results in the cache survive a round trip."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.inference import Prediction
from assay.serving.request_record import ImageMetadata
from assay.serving.results import ClassificationResult


@given(st.text(min_size=1), st.floats(0, 1), st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)))
def test_cached_result_survives_a_round_trip(label: str, confidence: float, dimensions: tuple[int, int] | None):
    prediction = Prediction(label, confidence, {label: confidence}, unknown=True, reason="low_confidence", novelty=0.5)
    result = ClassificationResult.from_prediction(ImageMetadata(7, "jpeg", dimensions), prediction, b"png")
    assert ClassificationResult.from_json(result.to_json()) == result


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"image": 1}', b'{"image": {"size": 1}}', b"\xff"])
def test_invalid_cached_values_are_rejected(content: bytes):
    with pytest.raises(ValueError):  # noqa: PT011 - any of json's and ours
        ClassificationResult.from_json(content)

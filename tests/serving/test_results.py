"""Answers: kept and given again unchanged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.inference import Prediction
from assay.serving.request_record import ImageMetadata
from assay.serving.results import ClassificationResult


@given(st.text(min_size=1), st.floats(0, 1), st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)))
def test_a_result_comes_back_from_the_cache_as_it_was(
    label: str, confidence: float, dimensions: tuple[int, int] | None
):
    prediction = Prediction(label, confidence, {label: confidence}, unknown=True, reason="low_confidence", novelty=0.5)
    result = ClassificationResult.from_prediction(ImageMetadata(7, "jpeg", dimensions), prediction, b"png")
    assert ClassificationResult.from_json(result.to_json()) == result


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"image": 1}', b'{"image": {"size": 1}}', b"\xff"])
def test_what_is_no_result_is_refused(content: bytes):
    with pytest.raises(ValueError):  # noqa: PT011 - any of json's and ours
        ClassificationResult.from_json(content)

"""Predictions and softmax."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from assay.inference import Failure, Prediction, softmax

logits = arrays(np.float32, (4, 3), elements=st.floats(-1e4, 1e4, width=32))


@given(logits, st.floats(0.05, 20))
def test_probabilities_sum_to_one_and_keep_the_order(values: np.ndarray, temperature: float) -> None:
    probabilities = softmax(values, temperature)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    best = probabilities[np.arange(4), values.argmax(axis=1)]
    np.testing.assert_array_equal(best, probabilities.max(axis=1))


@given(logits)
def test_adding_a_constant_to_all_logits_has_no_effect(values: np.ndarray) -> None:
    wide = values.astype(np.float64)
    np.testing.assert_allclose(softmax(wide + 1000.0), softmax(wide), rtol=1e-9, atol=1e-15)


def test_softmax_of_known_values() -> None:
    values = np.log(np.array([[1.0, 2.0, 5.0]]))
    np.testing.assert_allclose(softmax(values), [[0.125, 0.25, 0.625]])
    # Half the logits: the square roots, made to add up to 1.
    roots = np.sqrt([1.0, 2.0, 5.0])
    np.testing.assert_allclose(softmax(values, 2.0), [roots / roots.sum()])


def test_higher_temperature_lowers_confidence() -> None:
    values = np.array([[3.0, 1.0, 0.0]])
    sure = [softmax(values, temperature).max() for temperature in (0.5, 1, 2, 8)]
    assert sure == sorted(sure, reverse=True)


def test_large_logits_do_not_overflow() -> None:
    np.testing.assert_array_equal(softmax(np.array([[1e30, 0.0]])), [[1.0, 0.0]])


def test_predictions_are_plain_and_immutable() -> None:
    answer = Prediction("cat", 0.75, {"cat": 0.75, "dog": 0.25}, "a.jpg")
    assert json.loads(json.dumps(answer.to_dict())) == {
        "source": "a.jpg",
        "label": "cat",
        "confidence": 0.75,
        "probabilities": {"cat": 0.75, "dog": 0.25},
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.label = "dog"  # type: ignore[misc]


def test_failure_has_a_message_and_plain_values() -> None:
    failure = Failure("b.jpg", "damaged: truncated JPEG")
    assert str(failure) == "b.jpg cannot be read: damaged: truncated JPEG"
    assert failure.to_dict() == {"source": "b.jpg", "error": "damaged: truncated JPEG"}

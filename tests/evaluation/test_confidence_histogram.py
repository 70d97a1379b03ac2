"""Confidences are counted in bins of about equally many photos."""

from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.evaluation.calibration import confidence_histogram


def test_bins_hold_equally_many_photos():
    found = confidence_histogram(np.linspace(0.5, 1, 1000))
    assert len(found["counts"]) == 10
    assert found["edges"][4] == pytest.approx(0.75, abs=0.002)
    assert max(found["counts"]) - min(found["counts"]) <= 4


def test_where_nearly_all_are_sure_the_top_is_a_bin_of_its_own():
    found = confidence_histogram(np.array([0.6] * 30 + [0.99999] * 70))
    assert found == {"edges": [1.0], "counts": [30, 70]}


@pytest.mark.parametrize("confidence", [[], [0.9], [1.0] * 50, np.linspace(0.5, 1, 19)])
def test_too_few_or_equal_confidences_are_one_bin(confidence: list[float]):
    assert confidence_histogram(np.asarray(confidence)) == {"edges": [], "counts": [len(confidence)]}


@given(st.lists(st.floats(0, 1), max_size=200))
def test_every_photo_is_counted_where_its_confidence_lies(confidence: list[float]):
    found = confidence_histogram(np.asarray(confidence))
    edges, counts = found["edges"], [0] * len(found["counts"])
    for value in np.round(confidence, 3):
        counts[bisect_right(edges, value)] += 1
    assert counts == found["counts"]
    assert edges == sorted(set(edges))
    assert all(counts) or not confidence

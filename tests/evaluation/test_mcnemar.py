"""McNemar's test and the interval of a difference."""

import json
from collections.abc import Callable
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import AssayError
from assay.evaluation import Predictions, compare_paired, mcnemar_p_value, paired_difference_interval

Make = Callable[..., Predictions]
counts = st.tuples(st.integers(0, 200), st.integers(0, 200))


@given(counts)
def test_p_value_is_twice_the_binomial_tail(pair: tuple[int, int]):
    total = sum(pair)
    tail = sum(comb(total, k) for k in range(min(pair) + 1)) / 2**total
    assert mcnemar_p_value(*pair) == pytest.approx(min(1, 2 * tail))
    assert mcnemar_p_value(*pair) == mcnemar_p_value(*reversed(pair))


def test_p_values_of_known_counts():
    assert mcnemar_p_value(0, 0) == 1
    assert mcnemar_p_value(0, 5) == pytest.approx(0.0625)  # five in a row are not enough
    assert mcnemar_p_value(0, 6) == pytest.approx(0.03125)
    assert mcnemar_p_value(10, 10) == 1


@given(counts, st.integers(0, 500))
def test_interval_contains_the_difference(pair: tuple[int, int], others: int):
    total = sum(pair) + others + 1
    low, high = paired_difference_interval(*pair, total)
    assert -1 <= low <= (pair[1] - pair[0]) / total <= high <= 1
    mirrored = paired_difference_interval(*reversed(pair), total)
    assert (low, high) == pytest.approx((-mirrored.high, -mirrored.low))


@pytest.mark.parametrize(("first", "second"), [(0.1, 0.1), (0.02, 0.1), (0.3, 0.15), (0.0, 0.05)])
def test_interval_has_its_coverage(first: float, second: float):
    """Coverage added up exactly over all outcomes of 50 photos."""
    photos, covered = 50, 0.0
    for b in range(photos + 1):
        for c in range(photos + 1 - b):
            chance = comb(photos, b) * comb(photos - b, c) * first**b * second**c
            chance *= (1 - first - second) ** (photos - b - c)
            low, high = paired_difference_interval(b, c, photos)
            covered += chance * (low <= second - first <= high)
    assert 0.93 < covered <= 1


@pytest.mark.parametrize(("b", "c", "total"), [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_invalid_counts_raise(b: int, c: int, total: int):
    with pytest.raises(ValueError, match="no difference"):
        paired_difference_interval(b, c, total)


def test_photos_are_matched_by_id_and_classes_by_name(make: Make):
    actual = [0, 1, 2, 0, 1, 2]
    first = make(actual, [0, 1, 2, 0, 0, 0])
    second = make(actual, [0, 1, 0, 1, 1, 1])
    expected = compare_paired(first, second)
    assert (expected.both, expected.only_first, expected.only_second, expected.neither) == (2, 2, 1, 1)
    assert expected.difference == pytest.approx(-1 / 6)
    assert expected.p_value == 1
    turned = second.take([5, 3, 1, 4, 2, 0])
    renamed = Predictions(
        classes=turned.classes[::-1],
        ids=turned.ids,
        paths=turned.paths,
        actual=2 - turned.actual,
        probabilities=turned.probabilities[:, ::-1],
    )
    assert compare_paired(first, renamed) == expected
    assert compare_paired(second, first).difference == -expected.difference
    assert json.loads(json.dumps(expected.to_dict(), allow_nan=False)) == expected.to_dict()


def test_significance(make: Make):
    actual = [0] * 40
    better, worse = make(actual, [0] * 39 + [1]), make(actual, [0] * 20 + [1] * 20)
    found = compare_paired(worse, better)
    assert found.significant()
    assert found.interval.low > 0
    assert found.to_dict()["significant"] is True
    assert not compare_paired(better, better).significant()
    assert compare_paired(better, better).p_value == 1


def test_incomparable_predictions_raise(make: Make):
    item = make([0, 1, 2])
    with pytest.raises(AssayError, match=r"not evaluated on the same photos \(1 occur in one evaluation only\)"):
        compare_paired(item, item.take([0, 1]))
    with pytest.raises(AssayError, match="same photos"):
        compare_paired(item.take([]), item.take([]))
    with pytest.raises(AssayError, match="classes of the classifiers differ"):
        compare_paired(item, make([0, 1, 2], classes=("a", "b", "c")))
    with pytest.raises(AssayError, match="predicted twice"):
        compare_paired(item, item.take([0, 1, 1]))
    relabelled = _relabelled(item)
    with pytest.raises(AssayError, match=r"ship/2\.jpg has two different labels"):
        compare_paired(item, relabelled)


def _relabelled(predictions: Predictions) -> Predictions:
    return Predictions(
        classes=predictions.classes,
        ids=predictions.ids,
        paths=predictions.paths,
        actual=np.array([0, 1, 1]),
        probabilities=predictions.probabilities,
    )

"""Drift detection: random variation is not reported, real drift is."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.bundle import BundleInfo
from assay.serving.telemetry.drift import (
    PSI_THRESHOLD,
    DriftReference,
    DriftWindow,
    chance_limit,
    drift_report,
    measure_drift,
    population_stability_index,
)

counts = st.lists(st.integers(0, 1000), min_size=2, max_size=8)


def test_psi_of_known_distributions():
    # Shares 0.5, 0.5 and 0.8, 0.2: 0.3 ln(1.6) + 0.3 ln(2.5), for samples so large that halves do not matter.
    index = population_stability_index([5e8, 5e8], [8e8, 2e8])
    assert index == pytest.approx(0.3 * math.log(1.6) + 0.3 * math.log(2.5), abs=1e-6)


@given(counts)
def test_psi_of_equal_distributions_is_zero(one: list[int]):
    assert population_stability_index(one, one) == 0


@given(st.tuples(counts, counts).map(lambda pair: [row[: min(map(len, pair))] for row in pair]))
def test_psi_is_finite_symmetric_and_not_negative(pair: list[list[int]]):
    item, other = pair
    index = population_stability_index(item, other)
    assert 0 <= index < 20
    assert index == pytest.approx(population_stability_index(other, item))


@pytest.mark.parametrize(("bins", "photos", "answers"), [(2, 100, 1000), (10, 300, 1000), (10, 2000, 500)])
def test_random_variation_exceeds_the_limit_about_once_per_thousand_windows(bins: int, photos: int, answers: int):
    rng = np.random.default_rng(bins)
    shares = rng.dirichlet([20.0] * bins)
    limit = chance_limit(bins, photos, answers)
    passed = [
        population_stability_index(before.tolist(), after.tolist()) > limit
        for before, after in zip(
            rng.multinomial(photos, shares, 4000), rng.multinomial(answers, shares, 4000), strict=True
        )
    ]
    assert np.mean(passed) <= 0.004


def test_few_validation_photos_widen_the_limit():
    few = measure_drift([6, 5], [80, 120])
    many = measure_drift([600, 500], [80, 120])
    assert few.psi == pytest.approx(many.psi, rel=0.2)
    assert few.limit > PSI_THRESHOLD == many.limit
    assert measure_drift([6, 5], [20, 980]).drifted
    assert measure_drift([600, 500], [300, 800]).drifted


def test_no_drift_with_too_few_predictions():
    assert measure_drift([60, 40], [0, 99]).drifted is None
    assert measure_drift([60, 40], [0, 100]).drifted is True
    assert measure_drift([60, 40], [0, 0]).predictions == 0


def test_reference_is_read_from_the_bundle(info: BundleInfo):
    reference = DriftReference.of(info)
    assert reference == DriftReference(("closed", "open"), (60, 40), (0.8, 0.95), (20, 30, 50))
    assert reference.bins("confidence") == ("0", "0.8", "0.95")


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"val": {"classes": []}, "confidence": {"val": {"histogram": {"edges": [], "counts": [3]}}}},
        {"val": {"classes": [{"name": "open", "predicted": 1}]}, "confidence": {"val": {}}},
        {
            "val": {"classes": [{"name": "open", "predicted": 1}]},
            "confidence": {"val": {"histogram": {"edges": [0.5], "counts": [3]}}},
        },
    ],
    ids=["nothing", "nothing-predicted", "no-histogram", "lengths"],
)
def test_bundle_without_validation_metrics_has_no_reference(info: BundleInfo, metrics: dict[str, object]):
    assert DriftReference.of(info.model_copy(update={"metrics": metrics})) is None


def test_window_keeps_the_latest_predictions(info: BundleInfo):
    reference = DriftReference.of(info)
    assert reference is not None
    window = DriftWindow(reference, 2)
    assert window.add("open", 0.95) == ((1, 2), None)
    assert window.add("closed", 0.79) == ((0, 0), None)
    assert window.add("closed", 0.94) == ((0, 1), (1, 2))
    assert window.add("closed", 0.9499999) == ((0, 2), (0, 0))  # as rounded as validation was
    assert window.add("cat", 0.9) == (None, None)
    assert window.clear() == [(0, 1), (0, 2)]
    assert window.clear() == []


def test_drift_result_as_a_dict(info: BundleInfo):
    reference = DriftReference.of(info)
    assert reference is not None
    result = drift_report(reference, {"class": [150, 50], "confidence": [0, 0, 0]})
    assert result["class"]["predictions"] == 200
    assert result["class"]["drifted"] is False
    assert result["class"]["shares"]["open"] == {"validation": 0.4, "latest": 0.25}
    assert result["confidence"]["shares"]["0.95"] == {"validation": 0.5, "latest": None}

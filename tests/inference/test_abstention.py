"""Classifiers that abstain, and the same without abstention."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from assay.bundle import Bundle, BundleError, amend_bundle
from assay.inference import AbstentionPolicy, Classifier, NoveltyDetector, fit_novelty


@pytest.fixture(scope="module")
def novelty() -> NoveltyDetector:
    """Familiar are photos of one strong colour: the embedding is the mean of each channel."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 300)
    rows = 0.1 + 0.8 * np.eye(3)[targets] + 0.05 * rng.normal(size=(300, 3))
    fitted = fit_novelty(rows.astype(np.float32), targets)
    return fitted.with_limit(float(np.quantile(fitted.distance(rows), 0.97)))


@pytest.fixture(scope="module")
def abstaining(make_bundle: Callable[..., Path], novelty: NoveltyDetector) -> Path:
    path = make_bundle()
    amend_bundle(Bundle.open(path), {"thresholds": {"confidence": 0.9}}, novelty=save(novelty.tensors()))
    return path


def flat(*colour: int) -> np.ndarray:
    return np.full((20, 20, 3), colour, dtype=np.uint8)


def test_usual_image_is_answered(abstaining: Path):
    answer = Classifier.load(abstaining).predict(flat(230, 20, 25))
    assert (answer.label, answer.unknown, answer.reason) == ("red", False, None)
    assert answer.novelty is not None
    assert answer.novelty < 1


def test_out_of_distribution_image_is_unknown_at_any_confidence(abstaining: Path):
    answer = Classifier.load(abstaining).predict(flat(255, 127, 0))
    assert answer.confidence > 0.9
    assert (answer.label, answer.unknown, answer.reason) == ("red", True, "out_of_distribution")
    assert answer.novelty is not None
    assert answer.novelty > 1


def test_low_confidence_is_unknown(make_bundle: Callable[..., Path]):
    path = make_bundle(thresholds={"confidence": 0.9})
    unsure = Classifier.load(path).predict(flat(140, 120, 0))
    assert (unsure.unknown, unsure.reason, unsure.novelty) == (True, "low_confidence", None)
    assert Classifier.load(path).predict(flat(250, 0, 0)).unknown is False


def test_label_and_confidence_do_not_depend_on_abstention(abstaining: Path):
    photos = [flat(230, 20, 25), flat(255, 127, 0), flat(9, 8, 7)]
    requested = Classifier.load(abstaining).predict(photos)
    plain = Classifier.load(abstaining, abstain=False).predict(photos)
    for item, other in zip(requested, plain, strict=True):
        assert (item.label, item.confidence, item.probabilities) == (
            other.label,
            other.confidence,
            other.probabilities,
        )
        assert (other.unknown, other.reason, other.novelty) == (None, None, None)
        assert set(item.to_dict()) - set(other.to_dict()) == {"unknown", "reason", "novelty"}


def test_bundle_without_limits_has_no_abstention_fields(bundle_path: Path):
    answer = Classifier.load(bundle_path).predict(flat(0, 0, 0))
    assert answer.unknown is None
    assert "unknown" not in answer.to_dict()


def test_prediction_can_be_written_as_json(abstaining: Path):
    result = json.loads(json.dumps(Classifier.load(abstaining).predict(flat(1, 2, 3)).to_dict()))
    assert result["unknown"] is True
    assert result["reason"] == "out_of_distribution"


def test_out_of_distribution_is_the_first_reason(novelty: NoveltyDetector):
    doubts = AbstentionPolicy(0.9, novelty).decide(np.array([0.4]), np.array([[0.5, 0.5, 0.5]]))
    assert doubts[0].reason == "out_of_distribution"


def test_confidence_at_the_threshold_is_accepted():
    reasons = [item.reason for item in AbstentionPolicy(0.9).decide(np.array([0.9, 0.8999]), np.zeros((2, 3)))]
    assert reasons == [None, "low_confidence"]


def test_novelty_detector_of_another_network_raises(make_bundle: Callable[..., Path]):
    other = fit_novelty(np.random.default_rng(0).normal(size=(40, 5)), np.zeros(40, dtype=np.int64))
    path = make_bundle()
    amend_bundle(Bundle.open(path), {}, novelty=save(other.tensors()))
    with pytest.raises(BundleError, match="is inconsistent"):
        Classifier.load(path).predict(flat(1, 2, 3))


def test_broken_novelty_detector_raises(make_bundle: Callable[..., Path]):
    path = make_bundle()
    amend_bundle(Bundle.open(path), {}, novelty=save({"centre": np.zeros(3, dtype=np.float32)}))
    with pytest.raises(BundleError, match="its out-of-distribution detector is invalid"):
        Classifier.load(path)
    assert Classifier.load(path, abstain=False).abstention is None

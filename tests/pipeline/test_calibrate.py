"""Calibration and abstention limits of a trained bundle, and evaluation at other target precisions."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.bundle import Bundle, BundleInfo, amend_bundle
from assay.core.errors import UsageError
from assay.evaluation import Predictions, fit_calibration
from assay.inference import Classifier
from assay.pipeline import TrainResult, evaluate_classifier, train_classifier
from assay.pipeline.calibrate import calibrate_bundle
from assay.pipeline.dataset_evaluation import measure_confidence, reselect_threshold
from assay.pipeline.held_out_predictions import HeldOutSplit
from assay.recipe import AbstainSpec, Recipe


@pytest.fixture(scope="module")
def trained(colours: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    spec = AbstainSpec(target_precision=0.8, max_false_positive_rate=0.1)
    recipe = tiny.model_copy(update={"abstain": spec})
    return train_classifier(colours, recipe, tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture
def plain(trained: TrainResult, tmp_path: Path) -> Path:
    """The bundle as it was before its calibration, but for its novelty."""
    path = tmp_path / "plain.assay"
    bundle = Bundle.open(trained.run.bundle)
    amend_bundle(bundle, {"temperature": 1.0, "thresholds": {}, "metrics": {}}, path=path)
    return path


def read_confidence(info: BundleInfo) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = json.loads(json.dumps(info.metrics["confidence"]))
    return values


def test_bundle_contains_limits_and_their_metrics(trained: TrainResult):
    bundle = Bundle.open(trained.run.bundle)
    values = read_confidence(bundle.info)
    assert bundle.info.thresholds["confidence"] == values["abstaining"]["threshold"]
    assert values["abstaining"]["target"] == 0.8
    assert values["novelty"] == {"max_false_positive_rate": 0.1, "photos": trained.dataset.counts("train")["red"] * 2}
    assert bundle.info.temperature == values["calibration"]["temperature"]
    assert set(values) == {"calibration", "abstaining", "novelty", "cross_validated", "val", "test"}
    assert values["cross_validated"] is False
    assert bundle.novelty() is not None
    assert "unknown" in bundle.card
    for part in ("val", "test"):
        file = trained.run.evaluation(part) / "confidence.json"
        assert json.loads(file.read_text(encoding="utf-8")) == values[part]


def test_temperature_is_fitted_on_validation_images(trained: TrainResult):
    info = Bundle.open(trained.run.bundle).info
    saved = Predictions.load(trained.run.evaluation("val") / "predictions.npz")
    logits = saved.log_probabilities * info.temperature
    raw = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    again = Predictions(classes=saved.classes, ids=saved.ids, paths=saved.paths, actual=saved.actual, probabilities=raw)
    assert fit_calibration(again).temperature == pytest.approx(info.temperature, rel=1e-3)


def test_in_distribution_images_are_answered_and_others_not(trained: TrainResult):
    classifier = Classifier.load(trained.run.bundle)
    samples = trained.dataset.part("test")
    answers = classifier.predict([sample.path for sample in samples])
    assert np.mean([answer.reason != "out_of_distribution" for answer in answers]) >= 0.75
    rng = np.random.default_rng(0)
    strange = [np.zeros((32, 32, 3), np.uint8), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)]
    strange.append(np.asarray(Image.linear_gradient("L").convert("RGB")))
    assert [answer.reason for answer in classifier.predict(strange)] == ["out_of_distribution"] * 3


def test_evaluation_counts_equal_predictions(trained: TrainResult):
    classifier = Classifier.load(trained.run.bundle)
    saved = Predictions.load(trained.run.evaluation("test") / "predictions.npz")
    counted = measure_confidence(classifier, saved).answered
    answers = classifier.predict([Path(path) for path in saved.paths])
    assert counted is not None
    assert counted.answered == sum(answer.unknown is False for answer in answers)
    assert counted.out_of_distribution == sum(answer.reason == "out_of_distribution" for answer in answers)


def test_evaluation_at_another_target_does_not_change_the_bundle(trained: TrainResult, tmp_path: Path):
    before = trained.run.bundle.read_bytes()
    result = evaluate_classifier(
        trained.run.bundle, trained.run.manifest, tmp_path, split="test", target_precision=0.999
    )
    assert trained.run.bundle.read_bytes() == before
    assert result.selection is not None
    assert not result.selection.reached
    assert result.confidence.threshold == result.selection.threshold
    own = reselect_threshold(Classifier.load(trained.run.bundle), 0.8)
    assert own.threshold == Bundle.open(trained.run.bundle).info.thresholds["confidence"]


def test_same_images_give_the_same_limits(trained: TrainResult, plain: Path):
    spec = AbstainSpec(target_precision=0.8, max_false_positive_rate=0.1)
    calibrate_bundle(plain, spec, HeldOutSplit(trained.dataset, trained.run.recipe().train.seed))
    assert Bundle.open(plain).info.version == Bundle.open(trained.run.bundle).info.version


def test_without_abstention_only_the_temperature_is_fitted(
    trained: TrainResult, colours: Path, tiny: Recipe, tmp_path: Path
):
    recipe = tiny.model_copy(update={"abstain": AbstainSpec(enabled=False)})
    result = train_classifier(colours, recipe, tmp_path / "run")
    bundle = Bundle.open(result.run.bundle)
    assert bundle.novelty() is None
    assert bundle.info.thresholds == {}
    assert bundle.info.temperature == Bundle.open(trained.run.bundle).info.temperature
    classifier = Classifier.load(result.run.bundle)
    assert classifier.abstention is None
    with pytest.raises(UsageError, match=r"abstain\.enabled"):
        reselect_threshold(classifier, 0.9)


@pytest.mark.parametrize("target", [0, 1, 1.5])
def test_invalid_target_precision_is_rejected(trained: TrainResult, target: float):
    with pytest.raises(UsageError, match="between 0 and 1"):
        reselect_threshold(Classifier.load(trained.run.bundle), target)

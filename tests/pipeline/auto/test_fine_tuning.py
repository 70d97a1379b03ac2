"""Fine-tuning from a probe: what the folds' networks predict, and the confidence that is fitted to it."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from assay.bundle import Bundle
from assay.core.cpu import int8_instructions
from assay.core.progress import no_progress
from assay.data import Dataset
from assay.data.loading import load_split_dataset
from assay.inference import Classifier
from assay.pipeline import quantize
from assay.pipeline.auto.fine_tuning import SHARES, FineTuned, fine_tune
from assay.pipeline.auto.fine_tuning_plan import Comparison, FineTuningCost, FineTuningPlan
from assay.pipeline.auto.probe import LinearProbe, Protocol, fit_probe, split_fold
from assay.pipeline.build_network import build_model
from assay.pipeline.dataset_evaluation import predict_dataset
from assay.pipeline.export_and_evaluate import TrainedModel, write_calibrated_bundle
from assay.pipeline.held_out_predictions import FineTunedFolds, HeldOutSplit
from assay.pipeline.run_folder import Run
from assay.recipe import load_recipe

RECIPE = load_recipe("default", ["preprocess.size=32", "train.epochs=1", "train.batch_size=16", "serve.int8=false"])


@pytest.fixture(scope="module")
def dataset(wide: Path) -> Dataset:
    return load_split_dataset(wide, RECIPE.data, 0)


@pytest.fixture(scope="module")
def probe(dataset: Dataset) -> LinearProbe:
    return fit_probe(Protocol.of(dataset, RECIPE), RECIPE, build_model(RECIPE, dataset), no_progress)


@pytest.fixture(scope="module")
def tuned(dataset: Dataset, probe: LinearProbe, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    protocol, folder = Protocol.of(dataset, RECIPE), tmp_path_factory.mktemp("run")
    plan = FineTuningPlan.of(
        protocol, probe.recipe, folder, lambda: float("inf"), partial(FineTuningCost.of, protocol, probe.network)
    )
    assert isinstance(plan, FineTuningPlan)
    return fine_tune(protocol, probe, plan, folder, best=probe, progress=no_progress, on_network=None, on_epoch=None)


@pytest.fixture(scope="module")
def held_out(tuned: FineTuned) -> FineTunedFolds:
    found = tuned.held_out_images(1.0, no_progress)
    assert isinstance(found, FineTunedFolds)
    return found


def test_photos_of_the_folds_are_predicted_once_and_include_the_validation_split(dataset: Dataset, tuned: FineTuned):
    assert set(tuned.held_out) == set(SHARES)
    validation = {sample.id for sample in dataset.part("val")}
    for share, predictions in tuned.held_out.items():
        assert len(set(predictions.ids)) == len(predictions)
        assert validation < set(predictions.ids)
        assert not set(predictions.ids) & {sample.id for sample in dataset.part("test")}
        assert predictions.correct.mean() == pytest.approx(tuned.scores[share].accuracy)
        np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1)


def test_the_final_network_is_trained_on_the_validation_photos_too(tuned: FineTuned):
    *folds, final = tuned.comparison.folds
    assert len(final.train) == len(tuned.protocol.samples)
    for fold in folds:
        assert not set(fold.train) & set(fold.held_out)


def test_networks_of_the_folds_give_the_predictions_that_were_scored(tuned: FineTuned, held_out: FineTunedFolds):
    expected = tuned.held_out[1.0].probabilities
    first = held_out.folds[0].held_out
    embeddings = held_out.embeddings(0, first)
    with torch.inference_mode():
        found = held_out.network(0).head(torch.from_numpy(embeddings)).double().softmax(1).numpy()
    np.testing.assert_allclose(found, expected[: len(first)], atol=1e-3)


def test_confidence_of_a_fine_tuned_network_is_fitted_to_the_photos_of_all_folds(
    dataset: Dataset, probe: LinearProbe, tuned: FineTuned, held_out: FineTunedFolds, tmp_path: Path
):
    run = Run(tmp_path)
    found = write_calibrated_bundle(run, dataset, TrainedModel(tuned.network(1.0), RECIPE, probe.spec, held_out))
    assert found.selection is not None
    assert found.selection.count == len(held_out.held_out) > len(dataset.part("val"))
    info = Bundle.open(run.bundle).info
    assert info.thresholds == found.thresholds
    assert info.temperature == found.calibration.temperature
    abstention = Classifier.load(run.bundle).abstention
    assert abstention is not None
    assert abstention.novelty is not None
    # The limit passes most photos of the folds.
    assert found.in_distribution is not None
    assert 0.8 < found.in_distribution.mean() <= 1


@pytest.mark.skipif(int8_instructions() == frozenset(), reason="int8 models are not made without dot products")
def test_the_accuracy_at_int8_is_measured_with_the_network_of_a_fold(  # noqa: PLR0917
    dataset: Dataset, probe: LinearProbe, tuned: FineTuned, held_out: FineTunedFolds, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    run, network = Run(tmp_path), tuned.network(1.0)
    write_calibrated_bundle(run, dataset, TrainedModel(network, RECIPE, probe.spec, held_out))
    before = Bundle.open(run.bundle)
    monkeypatch.setattr(quantize, "_accurate_enough", lambda _: True)
    monkeypatch.setattr(quantize, "_time_engines", lambda *_: {"fp32": 2.0, "int8": 1.0})
    constant = held_out.network(0)
    with torch.no_grad():
        constant.head.fc.weight.zero_()
        constant.head.fc.bias.copy_(torch.tensor([0.0, 9.0]))
    outcome = quantize.quantize_bundle(run.bundle, dataset, held_out=replace(held_out, network=lambda _: constant))
    first = held_out.folds[0].held_out
    assert (outcome.photos, outcome.of_fold) == (len(first), True)
    assert list(outcome.accuracy.values()) == pytest.approx([(tuned.protocol.targets[first] == 1).mean()] * 2)
    assert outcome.confidence is None
    after = Bundle.open(run.bundle).info
    assert (after.precision, after.temperature) == ("int8", before.info.temperature)
    # The model in the bundle is the final network, not that of the fold, whose answers are all the same.
    exact, small = (Classifier.load(run.bundle, precision=name) for name in ("fp32", "int8"))
    found = [predict_dataset(each, dataset, dataset.part("test")).log_probabilities for each in (exact, small)]
    assert np.abs(found[0] - found[1]).max() < np.ptp(found[0][:, 0]) / 2


def test_without_folds_the_confidence_is_fitted_to_the_validation_split(tuned: FineTuned):
    alone = replace(tuned, comparison=Comparison(split_fold(tuned.protocol.dataset), 1))
    assert isinstance(alone.held_out_images(1.0, no_progress), HeldOutSplit)

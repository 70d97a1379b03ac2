"""Fine-tuning from a probe: what the folds' networks predict, and the confidence that is fitted to it."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from assay.bundle import Bundle
from assay.core.progress import no_progress
from assay.data import Dataset
from assay.data.loading import load_split_dataset
from assay.inference import Classifier
from assay.pipeline.auto.fine_tuning import SHARES, FineTuned, fine_tune
from assay.pipeline.auto.fine_tuning_plan import FineTuningCost, FineTuningPlan
from assay.pipeline.auto.probe import LinearProbe, Protocol, fit_probe
from assay.pipeline.build_network import build_model
from assay.pipeline.export_and_evaluate import TrainedModel, write_calibrated_bundle
from assay.pipeline.held_out_predictions import FineTunedFolds, ValidationSplit
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
    plan = FineTuningPlan.of(protocol, probe, folder, float("inf"), partial(FineTuningCost.of, protocol))
    assert isinstance(plan, FineTuningPlan)
    return fine_tune(protocol, probe, plan, folder, progress=no_progress, on_network=None, on_epoch=None)


def test_predictions_of_the_folds_are_those_that_were_scored(dataset: Dataset, tuned: FineTuned):
    assert set(tuned.held_out) == set(SHARES)
    validation = {sample.id for sample in dataset.part("val")}
    for share, predictions in tuned.held_out.items():
        assert predictions.ids == tuple(sample.id for sample in tuned.samples)
        assert predictions.correct.mean() == pytest.approx(tuned.scores[share].accuracy)
        np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1)
        assert not set(predictions.ids) <= validation
    assert not set(tuned.held_out[1.0].ids) & {sample.id for sample in dataset.part("test")}


def test_confidence_of_a_fine_tuned_network_is_fitted_to_the_photos_of_all_folds(
    dataset: Dataset, probe: LinearProbe, tuned: FineTuned, tmp_path: Path
):
    run = Run(tmp_path)
    split = ValidationSplit(dataset, seed=0)
    held_out = tuned.held_out_images(1.0, split)
    assert isinstance(held_out, FineTunedFolds)
    assert held_out.by_final_network is split
    found = write_calibrated_bundle(run, dataset, TrainedModel(tuned.networks[1.0], RECIPE, probe.spec, held_out))
    assert found.selection is not None
    assert found.selection.count == len(tuned.samples) > len(dataset.part("val"))
    info = Bundle.open(run.bundle).info
    assert info.thresholds == found.thresholds
    assert info.temperature == found.calibration.temperature
    abstention = Classifier.load(run.bundle).abstention
    assert abstention is not None
    assert abstention.novelty is not None  # fitted to the validation split


def test_without_folds_the_confidence_is_fitted_to_the_validation_split(dataset: Dataset, tuned: FineTuned):
    split = ValidationSplit(dataset, seed=0)
    alone = FineTuned(tuned.networks, tuned.scores, tuned.baseline, tuned.history, tuned.samples, {})
    assert alone.held_out_images(1.0, split) is split

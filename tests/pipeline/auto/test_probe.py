"""Linear probes: the folds on which they are compared, and their heads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.core.progress import no_progress
from assay.data import Dataset
from assay.data.loading import load_split_dataset
from assay.evaluation import compute_metrics
from assay.inference import Classifier, fit_novelty
from assay.pipeline.auto.probe import Protocol, fit_probe, load_head, split_fold, with_discriminant
from assay.pipeline.auto.probe_changes import first_recipe
from assay.pipeline.build_network import build_model
from assay.pipeline.dataset_evaluation import labelled_predictions
from assay.pipeline.export_and_evaluate import TrainedModel, write_calibrated_bundle
from assay.pipeline.run_folder import Run
from assay.recipe import Recipe, load_recipe
from assay.training.linear_heads import LinearHead


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("default", ["preprocess.size=64", "train.auto.fine_tune=false", "serve.int8=false"])


@pytest.fixture(scope="module")
def dataset(wide: Path, recipe: Recipe) -> Dataset:
    return load_split_dataset(wide, recipe.data, 0)


def test_folds_hold_out_every_image_once_and_keep_groups_together(dataset: Dataset, recipe: Recipe):
    grouped = dataset.with_samples(
        replace(sample, group=f"{sample.label} {number // 3}") for number, sample in enumerate(dataset.samples)
    )
    protocol = Protocol.of(grouped, recipe)
    assert protocol.is_cross_validated
    # 26 training and validation photos a class are few: three repetitions.
    assert len(protocol.repeats) == 3
    for folds in protocol.repeats:
        assert sorted(np.concatenate([fold.held_out for fold in folds])) == list(range(len(protocol.samples)))
        for fold in folds:
            inside = {protocol.samples[row].group for row in fold.held_out}
            assert inside.isdisjoint({protocol.samples[row].group for row in fold.train})
    assert all(sample.split != "test" for sample in protocol.samples)


def test_too_few_groups_fall_back_to_the_validation_split(dataset: Dataset, recipe: Recipe):
    two = dataset.with_samples(replace(sample, group=sample.label) for sample in dataset.samples)
    protocol = Protocol.of(two, recipe)
    assert not protocol.is_cross_validated
    assert len(protocol.repeats) == 1
    np.testing.assert_equal(protocol.repeats[0][0].held_out, split_fold(two)[0].held_out)


@pytest.mark.slow
def test_a_class_with_one_group_does_not_prevent_cross_validation(dataset: Dataset, recipe: Recipe):
    kept = [sample for sample in dataset.samples if sample.split != "test"]
    rare = [replace(sample, label="rare", group="once", split="train") for sample in kept[:2]]
    protocol = Protocol.of(replace(dataset, classes=(*dataset.classes, "rare"), samples=(*kept[2:], *rare)), recipe)
    assert protocol.is_cross_validated
    probe = fit_probe(protocol, recipe, build_model(recipe, protocol.dataset), no_progress)
    places = np.flatnonzero(probe.scores.targets == len(dataset.classes))
    assert len(places) == 2
    assert not probe.scores.correct[places].any()
    assert np.isfinite(probe.scores.losses).all()


def test_probe_separates_the_classes_and_its_bundle_predicts_the_same(dataset: Dataset, recipe: Recipe, tmp_path: Path):
    protocol = Protocol.of(dataset, recipe)
    probe = fit_probe(protocol, recipe, build_model(recipe, protocol.dataset), no_progress)
    assert probe.name == "linear probe, efficientnet-lite0, stretch, 64 pixels"
    assert 0.8 < probe.scores.accuracy < 1
    held_out = probe.held_out(protocol, no_progress)
    run = Run.create(tmp_path / "run", dataset.root, recipe)
    model = TrainedModel(probe.network, recipe, probe.spec, held_out)
    calibration = write_calibrated_bundle(run, dataset, model)
    assert calibration.predictions is not None
    assert len(calibration.predictions) == len(protocol.samples)
    assert compute_metrics(calibration.predictions).accuracy == pytest.approx(probe.scores.accuracy, abs=0.05)
    classifier = Classifier.load(run.bundle)
    sample = protocol.samples[0]
    prediction = classifier.predict(sample.path)
    expected = probe.head.log_probabilities(probe.embeddings[:1]).argmax()
    assert prediction.label == dataset.classes[expected]


def test_held_out_distances_are_larger_than_those_of_the_images_fitted_to(dataset: Dataset, recipe: Recipe):
    protocol = Protocol.of(dataset, recipe)
    probe = fit_probe(protocol, recipe, build_model(recipe, protocol.dataset), no_progress)
    held_out = probe.held_out(protocol, no_progress)
    rows = probe.fits[0].rows
    found = labelled_predictions(
        dataset.classes,
        [protocol.samples[row] for row in rows],
        np.exp(probe.fits[0].log_probabilities),
        probe.embeddings[rows],
    )
    detector = fit_novelty(probe.embeddings, protocol.targets)
    assert np.median(held_out.distances(detector, found)) > np.median(detector.distance(probe.embeddings))


def test_balanced_objective_adjusts_the_head(dataset: Dataset, recipe: Recipe):
    reds = [sample for sample in dataset.samples if sample.label == "red"]
    blues = [sample for sample in dataset.samples if sample.label != "red"]
    skewed = dataset.with_samples([*reds, *blues[::4]])
    balanced = recipe.model_copy(update={"train": recipe.train.model_copy(update={"objective": "balanced_accuracy"})})
    plain = fit_probe(Protocol.of(skewed, recipe), recipe, build_model(recipe, skewed), no_progress)
    adjusted = fit_probe(Protocol.of(skewed, balanced), balanced, build_model(balanced, skewed), no_progress)
    rare = 1 - dataset.classes.index("red")
    difference = adjusted.head.bias - plain.head.bias
    assert difference[rare] > difference[1 - rare]
    np.testing.assert_allclose(adjusted.head.weight, plain.head.weight, rtol=1e-5)


def test_a_class_without_images_gets_a_finite_bias(dataset: Dataset, recipe: Recipe):
    network, _ = build_model(recipe, dataset)
    features = network.head.features
    load_head(network, LinearHead(np.zeros((2, features), np.float32), np.array([0.5, -np.inf], np.float32)))
    # Within the range of 16-bit numbers.
    assert network.head.fc.bias.tolist() == [0.5, -10_000]


def test_the_last_feature_map_alone_needs_no_other_embeddings(dataset: Dataset, recipe: Recipe):
    more = first_recipe(recipe)
    protocol = Protocol.of(dataset, recipe)
    probe = fit_probe(protocol, more, build_model(more, dataset), no_progress)
    assert probe.name == "linear probe, efficientnet-lite0, stretch, 64 pixels, intermediate features"
    fewer = fit_probe(protocol, recipe, build_model(recipe, dataset), no_progress, probe.embeddings)
    assert fewer.computed == 0
    embedded = fit_probe(protocol, recipe, build_model(recipe, dataset), no_progress)
    assert fewer.name == embedded.name
    np.testing.assert_allclose(fewer.embeddings, embedded.embeddings, atol=1e-4)
    np.testing.assert_allclose(fewer.head.weight, embedded.head.weight, atol=1e-3)


def test_the_mean_of_two_heads_is_one_head_of_the_same_network(dataset: Dataset, recipe: Recipe):
    protocol = Protocol.of(dataset, recipe)
    probe = fit_probe(protocol, recipe, build_model(recipe, dataset), no_progress)
    both = with_discriminant(protocol, probe)
    assert both.name == f"{probe.name}, mean of two heads"
    assert both.scores.ids == probe.scores.ids
    assert not np.allclose(both.head.weight, probe.head.weight)
    # The final head is the mean of heads fitted to all images.
    rows = np.arange(len(protocol.samples))
    np.testing.assert_allclose(both.head.weight, both.head_on(protocol, rows).weight)
    np.testing.assert_array_equal(both.network.head.fc.weight.detach().numpy(), both.head.weight)
    np.testing.assert_array_equal(probe.network.head.fc.weight.detach().numpy(), probe.head.weight)

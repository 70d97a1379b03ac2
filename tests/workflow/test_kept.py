"""Kept embeddings answer for a bundle, and only where the bundle itself says the same."""

from pathlib import Path

import numpy as np
import pytest

from assay.bundle import Bundle
from assay.data import Dataset
from assay.inference import Classifier
from assay.pipeline import train_classifier
from assay.pipeline.cached_embeddings import CachedEmbeddings
from assay.pipeline.predict_dataset import predict_dataset
from assay.recipe import Recipe


@pytest.fixture
def probed(tiny: Recipe, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Bundle, Dataset]:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    train = tiny.train.model_copy(update={"strategy": "probe", "augmentation_views": 2})
    result = train_classifier(colours, tiny.model_copy(update={"train": train}), tmp_path / "run")
    return Bundle.open(result.run.bundle), result.dataset


def test_they_answer_as_the_bundle_does_and_only_when_all_are_there(probed: tuple[Bundle, Dataset]):
    bundle, dataset = probed
    kept, classifier = CachedEmbeddings.of(bundle, dataset), Classifier.load(bundle.path)
    assert kept is not None
    test, val = dataset.part("test"), dataset.part("val")
    assert kept.outputs(classifier, test) is None, "nobody asked for their embeddings yet"
    kept.backbone.plain(test)
    for samples in (test, val):
        assert kept.outputs(classifier, samples) is not None
        plain, found = (predict_dataset(classifier, dataset, samples, kept=one) for one in (None, kept))
        assert found.ids == plain.ids
        np.testing.assert_allclose(found.probabilities, plain.probabilities, atol=1e-4)
        np.testing.assert_allclose(found.embedding, plain.embedding, atol=1e-4)


def test_where_the_bundle_says_otherwise_they_are_not_used(probed: tuple[Bundle, Dataset]):
    bundle, dataset = probed
    kept, classifier = CachedEmbeddings.of(bundle, dataset), Classifier.load(bundle.path)
    assert kept is not None
    kept.head.fc.bias.data += 0.01
    assert kept.outputs(classifier, dataset.part("val")) is None


def test_a_backbone_that_learns_keeps_none(probed: tuple[Bundle, Dataset], monkeypatch: pytest.MonkeyPatch):
    bundle, dataset = probed
    settings = bundle.info.provenance.recipe
    monkeypatch.setitem(settings, "train", {**settings["train"], "strategy": "finetune"})
    assert CachedEmbeddings.of(bundle, dataset) is None

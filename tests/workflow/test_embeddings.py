"""Embeddings found again by their pixels."""

from pathlib import Path

import numpy as np
import pytest

from assay.data import scan
from assay.errors import AssayError
from assay.image import Preprocess
from assay.recipe import Recipe
from assay.workflow.embeddings import KnownEmbeddings, backbone_key, embed_all, reusable
from assay.workflow.features import compiled_backbone
from assay.workflow.start import starting_network


def test_they_are_those_of_the_backbone_and_survive_the_disk(colours: Path, tiny: Recipe, tmp_path: Path):
    dataset = scan(colours)
    network, spec = starting_network(tiny, dataset)
    embed_all(network, spec, dataset).save(tmp_path / "known.npz")
    known = KnownEmbeddings.load(tmp_path / "known.npz")
    images = np.stack([Preprocess(spec).read(sample.read()) for sample in dataset.samples[5:9]])
    np.testing.assert_allclose(known(images), compiled_backbone(network, spec.size)(images), atol=1e-5)
    with pytest.raises(AssayError, match="a photo has changed"):
        known(255 - images)


def test_a_damaged_file_is_said(tmp_path: Path):
    (tmp_path / "known.npz").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(AssayError, match="damaged"):
        KnownEmbeddings.load(tmp_path / "known.npz")


def test_other_weights_or_pixels_have_another_key(colours: Path, tiny: Recipe):
    dataset = scan(colours)
    network, spec = starting_network(tiny, dataset)
    key = backbone_key(network, spec)
    head = network.head.fc.weight
    head.data += 1
    assert backbone_key(network, spec) == key
    assert backbone_key(network, spec.model_copy(update={"fit": "crop"})) != key
    train = tiny.train.model_copy(update={"seed": 1})
    other, _ = starting_network(tiny.model_copy(update={"train": train}), dataset)
    assert backbone_key(other, spec) != key


def test_only_a_frozen_backbone_on_unchanged_photos_is_reusable(tiny: Recipe):
    probe = tiny.model_copy(update={"train": tiny.train.model_copy(update={"strategy": "probe"})})
    assert not reusable(tiny)
    assert not reusable(probe)
    plain = probe.augment.model_copy(update={"train": (), "canvas": 1.0})
    assert reusable(probe.model_copy(update={"augment": plain}))
    assert not reusable(probe.model_copy(update={"augment": plain.model_copy(update={"canvas": 1.2})}))

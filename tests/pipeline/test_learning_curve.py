"""The learning curve of a linear probe: grouped, without test images, repeatable."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from assay.core.errors import AssayError, UsageError
from assay.data import Sample, load_dataset
from assay.data.loading import load_split_dataset
from assay.nets import create_classifier
from assay.pipeline import learning_curve
from assay.pipeline.learning_curve import probe_learning_curve
from assay.recipe import Recipe


@pytest.fixture
def probe(tiny: Recipe, tmp_path: Path) -> Recipe:
    """The recipe `tiny` with weights from a file."""
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save_file(create_classifier(tiny.net, 2).state_dict(), weights)
    return tiny.model_copy(update={"net": tiny.net.model_copy(update={"weights": str(weights)})})


def test_scores_rise_with_the_number_of_images(colours: Path, probe: Recipe):
    curve = probe_learning_curve(colours, probe)
    counts = [point.images for point in curve.points]
    assert counts == sorted(counts)
    assert len(counts) == 4
    assert counts[0] == pytest.approx(counts[3] / 4, abs=1)
    # No more than training and validation images.
    assert counts[3] < 0.9 * len(load_dataset(colours))
    assert curve.points[3].score >= 0.9
    assert probe_learning_curve(colours, probe) == curve


def test_larger_training_sets_contain_the_smaller_ones_and_no_held_out_group(
    colours: Path, probe: Recipe, monkeypatch: pytest.MonkeyPatch
):
    split = load_split_dataset(colours, probe.data, probe.train.seed)
    samples = [replace(sample, group=f"pair {place // 2}") for place, sample in enumerate(split.samples)]
    monkeypatch.setattr(learning_curve, "load_split_dataset", lambda *_, **__: split.with_samples(samples))
    groups = {sample.id: sample.group for sample in samples}
    folds: list[tuple[set[str], set[str]]] = []
    rows = learning_curve._EmbeddedSamples.rows

    def record(known: object, part: Sequence[Sample]) -> np.ndarray:
        folds.append(({sample.id for sample in part}, {str(groups[sample.id]) for sample in part}))
        return rows(known, part)  # type: ignore[arg-type]

    monkeypatch.setattr(learning_curve._EmbeddedSamples, "rows", record)
    probe_learning_curve(colours, probe)
    test = {sample.id for sample in split.part("test")}
    assert not any(ids & test for ids, _ in folds)
    # Of every fold: its held-out images, then the four parts of its training images.
    parts = folds[10 : 10 + 5]
    for place, (ids, names) in enumerate(parts):
        for other_ids, other_names in parts[place + 1 :]:
            assert not ids & other_ids
            assert not names & other_names


def test_too_few_images_are_refused(colours: Path, probe: Recipe, tmp_path: Path):
    few = tmp_path / "few"
    for folder in sorted(colours.iterdir()):
        (few / folder.name).mkdir(parents=True)
        for photo in sorted(folder.glob("0*.png"))[:3]:
            shutil.copy(photo, few / folder.name)
    with pytest.raises(AssayError, match="add photos"):
        probe_learning_curve(few, probe)


def test_random_weights_are_refused(colours: Path, tiny: Recipe):
    with pytest.raises(UsageError, match="needs pretrained weights, and recipe colours trains resnet from random"):
        probe_learning_curve(colours, tiny)

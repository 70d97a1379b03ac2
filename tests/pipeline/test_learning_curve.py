"""The learning curve of a linear probe: grouped, without test images, repeatable."""

import shutil
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
from assay.pipeline.learning_curve import measure_learning_curve, probe_learning_curve
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


def drawn(count: int, classes: int, size: int = 1) -> tuple[list[Sample], np.ndarray, np.ndarray]:
    """Return samples in groups of `size`, whose embeddings tell the group but not the class, and their targets."""
    generator = np.random.default_rng(0)
    groups = np.arange(count) // size
    targets = generator.integers(0, classes, count // size + 1)[groups]
    samples = [
        Sample(f"{place:05}", Path(f"{place:05}.png"), str(target), group=f"group {group}")
        for place, (target, group) in enumerate(zip(targets, groups, strict=True))
    ]
    centers = generator.normal(0, 1, (count // size + 1, 200))
    embeddings = centers[groups] + generator.normal(0, 0.01, (count, 200))
    return samples, embeddings.astype(np.float32), targets


def test_held_out_groups_are_not_learned():
    samples, embeddings, targets = drawn(400, 2, size=4)
    curve = measure_learning_curve(samples, embeddings, targets, 2)
    assert [point.images for point in curve.points] == pytest.approx([80, 160, 240, 320], abs=4)
    assert 0.3 < curve.points[3].score < 0.7
    # Each photo for itself, the same embeddings would give the class away.
    alone = measure_learning_curve([replace(sample, group=None) for sample in samples], embeddings, targets, 2)
    assert alone.points[3].score > 0.9


def test_of_very_many_images_a_part_is_used(monkeypatch: pytest.MonkeyPatch):
    samples, embeddings, targets = drawn(600, 3)
    embeddings[:, :3] = 3 * np.eye(3)[targets] + np.random.default_rng(1).normal(0, 2, (600, 3))
    monkeypatch.setattr(learning_curve, "_MAX_FIT", 300 * 200 * 3)
    curve = measure_learning_curve(samples, embeddings, targets, 3)
    assert curve.points[3].images == pytest.approx(240, abs=2)
    assert [point.images for point in curve.extrapolated] == pytest.approx([480, 960, 1920], abs=6)
    assert curve.now == curve.extrapolated[0]


@pytest.mark.parametrize("photos", [5, 1])
def test_a_class_of_a_single_group_has_no_learning_curve(photos: int):
    samples, embeddings, _ = drawn(20 + photos, 2)
    samples = [replace(sample, label="a") for sample in samples[:20]] + [
        replace(sample, label="b", group="one") for sample in samples[20:]
    ]
    targets = np.array([0] * 20 + [1] * photos)
    with pytest.raises(AssayError, match="too few photos, or groups of them, for a learning curve"):
        measure_learning_curve(samples, embeddings, targets, 2)


def test_too_many_classes_and_too_few_groups_are_refused():
    samples, embeddings, targets = drawn(400, 201)
    with pytest.raises(AssayError, match="at most 200 classes; there are 201"):
        measure_learning_curve(samples, embeddings, targets, 201)
    samples, embeddings, targets = drawn(16, 2, size=4)
    with pytest.raises(AssayError, match=r"^16 photos in 4 groups .* are too few for a learning curve; add photos$"):
        measure_learning_curve(samples, embeddings, targets, 2)


def test_files_that_were_read_before_are_not_read_again(colours: Path, probe: Recipe, tmp_path: Path):
    photos = shutil.copytree(colours, tmp_path / "photos")
    digests = {sample.id: str(sample.digest) for sample in load_split_dataset(photos, probe.data, 0).samples}
    curve = probe_learning_curve(photos, probe)
    for photo in photos.rglob("*.png"):
        photo.write_bytes(b"")
    assert probe_learning_curve(photos, probe, digests=digests) == curve


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

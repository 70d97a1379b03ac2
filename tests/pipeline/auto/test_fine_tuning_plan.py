"""Fine-tuning from a probe: whether it is possible, and the plan of an interrupted run."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from assay.core.errors import AssayError
from assay.core.progress import no_progress
from assay.data import Dataset, Sample, Split
from assay.data.loading import load_split_dataset
from assay.pipeline.auto.fine_tuning_plan import (
    Comparison,
    FineTuningCost,
    FineTuningPlan,
    comparisons,
    seconds_per_image,
)
from assay.pipeline.auto.probe import LinearProbe, Protocol, fit_probe
from assay.pipeline.build_network import build_model
from assay.pipeline.run_folder import FINE_TUNING
from assay.recipe import Recipe, load_recipe
from assay.training.linear_heads import FoldIndices


def recipe(*overrides: str) -> Recipe:
    return load_recipe("default", ["preprocess.size=32", "train.epochs=5", "train.batch_size=8", *overrides])


@pytest.fixture(scope="module")
def dataset(wide: Path) -> Dataset:
    return load_split_dataset(wide, recipe().data, 0)


def probe_of(dataset: Dataset, settings: Recipe) -> tuple[Protocol, LinearProbe]:
    protocol = Protocol.of(dataset, settings)
    return protocol, fit_probe(protocol, settings, build_model(settings, protocol.dataset), no_progress)


def plan_of(protocol: Protocol, probe: LinearProbe, folder: Path, seconds_left: float) -> FineTuningPlan | str:
    measure = partial(FineTuningCost.of, protocol, probe.network)
    return FineTuningPlan.of(protocol, probe.recipe, folder, lambda: seconds_left, measure)


@pytest.mark.slow
def test_a_class_without_training_photos_is_not_fine_tuned(dataset: Dataset, tmp_path: Path):
    def moved(sample: Sample) -> Sample:
        split: Split = "val" if sample.label == "red" and sample.split == "train" else sample.split or "train"
        label = "green" if sample.label == "blue" and len(Path(sample.id).stem) == 1 else sample.label
        return replace(sample, split=split, label=label)

    three = replace(dataset, classes=("blue", "green", "red")).with_samples(map(moved, dataset.samples))
    protocol, probe = probe_of(three, recipe())
    assert protocol.is_cross_validated
    plan = plan_of(protocol, probe, tmp_path, float("inf"))
    assert plan == "the training split has no photo of 'red'"


def test_no_more_epochs_than_the_recipe_has(dataset: Dataset, tmp_path: Path):
    protocol, probe = probe_of(dataset, recipe("train.epochs=1"))
    plan = plan_of(protocol, probe, tmp_path / "a", float("inf"))
    assert isinstance(plan, FineTuningPlan)
    assert plan.recipe.train.epochs == 1
    assert "1 epoch:" in str(plan_of(protocol, probe, tmp_path / "b", 1e-6))


def test_the_plan_of_an_interrupted_run_is_read_if_it_starts_from_the_same_probe(dataset: Dataset, tmp_path: Path):
    protocol, probe = probe_of(dataset, recipe())
    first = plan_of(protocol, probe, tmp_path, float("inf"))
    (tmp_path / FINE_TUNING / "fold-1-of-3").mkdir()
    again = plan_of(protocol, probe, tmp_path, 0.0)
    assert isinstance(first, FineTuningPlan)
    assert isinstance(again, FineTuningPlan)
    assert again.recipe == first.recipe

    # Where and how fast it computes does not change the weights, and neither does the time that is left.
    train = probe.recipe.train
    changed_train = train.model_copy(
        update={"devices": 2, "workers": 1, "auto": train.auto.model_copy(update={"minutes": 9.0})}
    )
    moved = replace(probe, recipe=probe.recipe.model_copy(update={"train": changed_train}))
    resumed = plan_of(protocol, moved, tmp_path, 0.0)
    assert isinstance(resumed, FineTuningPlan)
    assert resumed.recipe.train.devices == 2
    assert (tmp_path / FINE_TUNING / "fold-1-of-3").exists()

    (tmp_path / FINE_TUNING / "split").mkdir()
    letterbox = probe.recipe.preprocess.model_copy(update={"resize_mode": "letterbox"})
    other = replace(probe, recipe=probe.recipe.model_copy(update={"preprocess": letterbox}))
    changed = plan_of(protocol, other, tmp_path, float("inf"))
    assert isinstance(changed, FineTuningPlan)
    assert changed.recipe.preprocess.resize_mode == "letterbox"
    # The checkpoints of the other probe cannot be resumed.
    assert not (tmp_path / FINE_TUNING / "split").exists()


def test_a_huge_batch_is_not_timed_as_a_whole(dataset: Dataset):
    settings = recipe("train.batch_size=65536")
    _, probe = probe_of(dataset, settings)
    assert seconds_per_image(probe.network, settings) > 0


def test_nothing_is_measured_when_the_time_is_over(dataset: Dataset, tmp_path: Path):
    protocol, probe = probe_of(dataset, recipe())

    def measure(_: Recipe) -> FineTuningCost:
        raise AssertionError("measured")

    assert FineTuningPlan.of(protocol, probe.recipe, tmp_path, lambda: 0.0, measure) == "no time left"


def test_the_time_of_the_measurement_counts(dataset: Dataset, tmp_path: Path):
    protocol, probe = probe_of(dataset, recipe())
    left = iter([1000.0, 0.5])

    def measure(_: Recipe) -> FineTuningCost:
        return FineTuningCost(seconds=0.01, most=5, comparisons=comparisons(protocol))

    assert "0.0 min are left" in str(FineTuningPlan.of(protocol, probe.recipe, tmp_path, lambda: next(left), measure))


def test_too_little_memory_for_a_step_is_explained(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    settings = recipe()
    _, probe = probe_of(dataset, settings)
    sizes: list[int] = []

    def allocate(*size: object, **_: object) -> None:
        sizes.append(len(size))
        torch.empty(1 << 60, dtype=torch.uint8)

    monkeypatch.setattr(torch, "randint", allocate)
    with pytest.raises(AssayError, match=r"too little memory; halve it, or choose a smaller preprocess.size"):
        seconds_per_image(probe.network, settings)
    assert sizes


def test_epochs_that_fit_into_a_time():
    fold = FoldIndices(np.arange(100), np.arange(100, 120))
    several, alone = Comparison((fold, fold), 1), Comparison((fold,), 1)
    cost = FineTuningCost(seconds=0.1, most=12, comparisons=(several, alone))
    found = [cost.fit_into(seconds) for seconds in (0, 29, 30, 59, 60, 100, 240, 1e9, float("inf"))]
    assert found == [
        None,
        None,
        (alone, 3),
        (alone, 5),
        (several, 3),
        (several, 5),
        (several, 12),
        (several, 12),
        (several, 12),
    ]
    assert cost.of_epochs(several, 5) == pytest.approx(100)


def test_validation_photos_in_groups_count_as_fewer(dataset: Dataset):
    # 200 validation photos: enough, unless they are a few groups.
    samples = [
        replace(sample, id=f"{sample.id} {number}", split=split)
        for sample in dataset.samples
        if sample.split == "train"
        for number, split in enumerate(("train", "train", "train", "val", "val", "val", "val", "val", "val", "val"))
    ]

    def grouped(size: int) -> Protocol:
        found = [replace(sample, group=f"{sample.split} {place // size}") for place, sample in enumerate(samples)]
        return Protocol.of(dataset.with_samples(sorted(found, key=lambda sample: sample.label)), recipe())

    assert len([sample for sample in samples if sample.split == "val"]) > 200
    assert [found.compared for found in comparisons(grouped(1))] == [1]
    several, two, alone = comparisons(grouped(50))
    assert (several.compared, two.compared, alone.compared) == (3, 2, 1)
    assert (several.is_cross_validated, two.is_cross_validated, alone.is_cross_validated) == (True, True, False)
    protocol = grouped(50)
    group_of = np.array([sample.group for sample in protocol.samples])
    held_out = np.concatenate([fold.held_out for fold in several.folds[:3]])
    assert len(set(held_out)) == len(held_out)
    assert {row for row, sample in enumerate(protocol.samples) if sample.split == "val"} < set(held_out)
    assert all(not set(group_of[fold.train]) & set(group_of[fold.held_out]) for fold in several.folds[:3])
    assert len(several.folds[3].train) == len(protocol.samples)
    names = [several.folder(number, Path()).name for number in range(4)]
    assert names == ["fold-1-of-3", "fold-2-of-3", "fold-3-of-3", "final"]
    assert two.folder(0, Path()).name == "fold-1-of-2"


def test_no_network_is_compared_on_copies_of_its_training_photos(dataset: Dataset):
    # Splits of the data can share groups: every validation photo is a near-duplicate of a training photo.
    training = [sample for sample in dataset.samples if sample.split == "train"]
    partner = {label: [item for item in training if item.label == label] for label in dataset.classes}
    groups = {
        item.id: f"{item.label} {place}" for label in dataset.classes for place, item in enumerate(partner[label][:3])
    }
    samples = [replace(sample, group=groups.get(sample.id)) for sample in training]
    samples += [
        replace(item, id=f"copy of {item.id}", split="val", group=groups[item.id])
        for label in dataset.classes
        for item in partner[label][:3]
    ]
    protocol = Protocol.of(dataset.with_samples(samples), recipe())
    group_of = np.array([sample.group or sample.id for sample in protocol.samples])
    several = comparisons(protocol)[0]
    assert several.is_cross_validated
    for fold in several.compared_folds:
        assert not set(group_of[fold.train]) & set(group_of[fold.held_out])


def test_an_interrupted_comparison_is_continued_with_the_same_trainings(dataset: Dataset, tmp_path: Path):
    protocol, probe = probe_of(dataset, recipe())
    plan = plan_of(protocol, probe, tmp_path, float("inf"))
    assert isinstance(plan, FineTuningPlan)
    assert plan.comparison.compared == 3
    plan.comparison.folder(0, tmp_path).mkdir()
    again = plan_of(protocol, probe, tmp_path, 0.0)
    assert isinstance(again, FineTuningPlan)
    assert again.comparison.compared == 3

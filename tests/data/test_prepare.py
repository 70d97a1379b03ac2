"""Real bursts and copies stay in one part; an earlier run's parts stay as they were."""

import shutil
from pathlib import Path

from assay.data import count_groups, leaking_groups
from assay.data.loading import load_split_dataset
from assay.recipe import DataSpec, SplitSpec

THIRDS = DataSpec(split=SplitSpec(train=0.6, val=0.2, test=0.2))
AT_RANDOM = DataSpec(split=SplitSpec(method="random", train=0.6, val=0.2, test=0.2))


def test_bursts_of_real_photos_stay_in_one_part(bottles: Path):
    for seed in range(5):
        dataset = load_split_dataset(bottles, THIRDS, seed)
        assert count_groups(dataset.samples) >= 4
        assert not leaking_groups(dataset.samples)
        assert {sample.split for sample in dataset.samples} == {"train", "val", "test"}


def test_byte_identical_photos_stay_in_one_part(button_cells: Path):
    dataset = load_split_dataset(button_cells, THIRDS, seed=1)
    parts: dict[str | None, set[str | None]] = {}
    for sample in dataset.samples:
        parts.setdefault(sample.digest, set()).add(sample.split)
    assert len(parts) < len(dataset)
    assert all(len(found) == 1 for found in parts.values())


def test_a_random_split_says_what_leaks(bottles: Path):
    leaking = [seed for seed in range(5) if leaking_groups(load_split_dataset(bottles, AT_RANDOM, seed).samples)]
    assert leaking
    dataset = load_split_dataset(bottles, AT_RANDOM, leaking[0])
    assert any("more than one part" in warning for warning in dataset.warnings)


def test_new_photos_move_no_old_one(bottles: Path, tmp_path: Path):
    few = tmp_path / "photos"
    for photo in sorted(bottles.rglob("*.jpg"))[::2]:
        (few / photo.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, few / photo.parent.name / photo.name)
    before = load_split_dataset(few, THIRDS, seed=0)
    parts = {sample.id: sample.split for sample in before.samples if sample.split is not None}
    shutil.copytree(bottles, few, dirs_exist_ok=True)
    after = load_split_dataset(few, THIRDS, seed=7, like=parts)
    assert len(after) == 20
    assert {sample.id: sample.split for sample in after.samples if sample.id in parts} == parts

"""Names of splits used by other tools."""

import pytest

from assay.data.split_names import find_split_folders, parse_split_name, parse_split_names


@pytest.mark.parametrize(
    ("names", "split"),
    [
        ("train Train TRAIN Training training_set trainset TrainingSet train-data train_images", "train"),
        ("train2017 01_train Train_Data TRAININGDATA trainingDataset", "train"),
        ("val VAL valid Valid validate Validation validation_set valset dev DEV devset val2017", "val"),
        ("test Test tests Testing TEST_SET testset test-images holdout hold-out HoldOut held_out", "test"),
        ("eval Evaluation", "test"),
    ],
)
def test_known_split_names(names: str, split: str) -> None:
    assert {name: parse_split_name(name) for name in names.split()} == dict.fromkeys(names.split(), split)
    assert parse_split_name(f" {names.split(maxsplit=1)[0]} ") == split


@pytest.mark.parametrize(
    "name",
    [
        "",
        "set",
        "data",
        "trains",
        "bus",
        "invalid",
        "tested",
        "train_1",
        "test 2",
        "resting",
        "2017",
        "devil",
    ],
)
def test_names_that_are_not_splits(name: str) -> None:
    assert parse_split_name(name) is None


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ("train test eval", "train test val"),
        ("train dev eval", "train val test"),
        ("training validation evaluation", "train val test"),
        ("train Eval", "train test"),
    ],
)
def test_eval_is_the_split_that_is_missing(names: str, parts: str) -> None:
    assert parse_split_names(names.split()) == dict(zip(names.split(), parts.split(), strict=True))


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ("train test notes", {"train": "train", "test": "test"}),
        ("seg_train seg_test seg_pred", {"seg_train": "train", "seg_test": "test"}),
        (
            "fruits-train fruits-val fruits-test",
            {"fruits-train": "train", "fruits-val": "val", "fruits-test": "test"},
        ),
        ("train bus", {}),
        ("valid invalid", {}),
        ("toy_train real_train", {}),
        ("toy_train real_test", {}),
        ("cat dog", {}),
        ("test", {"test": "test"}),
    ],
)
def test_folders_are_splits_only_together(names: str, parts: dict[str, str]) -> None:
    assert find_split_folders(names.split()) == parts

"""Which changes of the best probe are tried depends on the photos and the recipe."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from assay.data import Sample
from assay.data.loading import load_split_dataset
from assay.pipeline.auto.probe_changes import (
    ProbeChange,
    first_recipe,
    probe_changes,
    smaller_input,
    without_intermediate_features,
)
from assay.recipe import Recipe, load_recipe


def recipe(*overrides: str) -> Recipe:
    return load_recipe("default", ["train.auto.backbones=[]", *overrides])


def photos(folder: Path, size: tuple[int, int], settings: Recipe) -> tuple[Sample, ...]:
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(6):
            colour = (40 * number, 200, 10) if label == "a" else (10, 40 * number, 200)
            Image.new("RGB", size, colour).save(folder / label / f"{number}.png")
    return load_split_dataset(folder, settings.data, 0).samples


def changes(folder: Path, size: tuple[int, int], settings: Recipe) -> list[ProbeChange]:
    return list(probe_changes(photos(folder, size, settings), first_recipe(settings)))


def resize_modes(found: Sequence[ProbeChange]) -> list[object]:
    return [change.preprocess["resize_mode"] for change in found if "resize_mode" in change.preprocess]


@pytest.mark.parametrize("size", [(320, 64), (64, 320)])
def test_photos_that_are_not_square_are_fitted_in_three_ways(tmp_path: Path, size: tuple[int, int]):
    found = changes(tmp_path, size, recipe())
    assert resize_modes(found) == ["stretch", "crop", "letterbox"]
    assert {"size": 320} in [change.preprocess for change in found]


def test_of_small_square_photos_only_the_features_are_changed(tmp_path: Path):
    fewer, mirrored = changes(tmp_path, (224, 224), recipe())
    assert fewer.net == {"intermediate_features": False}
    assert fewer.drops_features
    assert not fewer.is_slower
    assert mirrored.net == {"flip_average": True}
    assert mirrored.is_slower
    assert not resize_modes([fewer, mirrored])
    assert not mirrored.drops_features


@pytest.mark.parametrize("overrides", [["train.auto.intermediate_features=false"], ["net.name=timm:convnext_tiny"]])
def test_intermediate_features_that_are_not_used_are_not_left_out(tmp_path: Path, overrides: list[str]):
    assert not any(change.drops_features for change in changes(tmp_path, (64, 64), recipe(*overrides)))


@pytest.mark.parametrize(
    ("size", "input_size", "smaller"),
    [
        ((28, 28), 224, 128),
        ((128, 90), 224, 128),
        ((129, 20), 224, None),
        ((32, 32), 160, 96),
        ((32, 32), 128, None),  # pretrained networks see little in less than 96 pixels
    ],
)
def test_a_smaller_input_keeps_all_pixels(tmp_path: Path, size: tuple[int, int], input_size: int, smaller: int | None):
    settings = recipe(f"preprocess.size={input_size}")
    found = smaller_input(photos(tmp_path, size, settings), settings)
    assert (None if found is None else found.preprocess["size"]) == smaller


def test_the_region_of_interest_is_what_counts(tmp_path: Path):
    wide = changes(tmp_path, (224, 224), recipe("preprocess.roi=[0, 0, 1, 0.3]"))
    assert resize_modes(wide)


def test_named_backbones_get_the_statistics_of_their_weights(tmp_path: Path):
    found = changes(tmp_path, (64, 64), recipe("train.auto.backbones=[resnet18]"))
    change = next(change for change in found if "name" in change.net)
    settings = recipe("preprocess.mean=[0.1, 0.2, 0.3]", "preprocess.std=[1, 1, 1]")
    changed = change.apply(settings)
    assert (changed.net.name, changed.net.weights, changed.preprocess.mean) == ("resnet18", "imagenet", None)
    assert settings.preprocess.mean == (0.1, 0.2, 0.3)


def test_the_strategy_decides_whether_the_first_network_has_intermediate_features():
    first = first_recipe(recipe())
    assert first.net.intermediate_features
    assert without_intermediate_features(first) == recipe()
    for overrides in (["train.strategy=staged"], ["train.auto.intermediate_features=false"], ["net.name=timm:vit"]):
        assert first_recipe(recipe(*overrides)) == recipe(*overrides)
        assert without_intermediate_features(recipe(*overrides)) == recipe(*overrides)

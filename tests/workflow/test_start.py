"""What must stop a run stops it before there is a folder."""

from pathlib import Path

import pytest

from assay.core.errors import AssayError
from assay.data.loading import load_split_dataset
from assay.pipeline import cross_validate, train_classifier, train_on_splits
from assay.recipe import Recipe


def _changed(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update=changes)


@pytest.mark.parametrize("start", [train_classifier, cross_validate])
def test_a_class_to_look_for_that_does_not_exist(start, colours: Path, tiny: Recipe, tmp_path: Path):
    recipe = _changed(tiny, data=_changed(tiny.data, positive_class="green"))
    with pytest.raises(AssayError, match=r"looks for the class 'green', which is none of blue, red: .*--set"):
        start(colours, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_here(colours: Path, tiny: Recipe, tmp_path: Path):
    recipe = _changed(tiny, train=_changed(tiny.train, device="mps"))
    with pytest.raises(AssayError, match=r"train\.device is mps, but torch finds only"):
        train_classifier(colours, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_part_without_photos(colours: Path, tiny: Recipe, tmp_path: Path):
    dataset = load_split_dataset(colours, tiny.data, seed=0)
    with pytest.raises(AssayError, match="there are no validation photos"):
        train_on_splits(dataset.with_samples(dataset.part("train")), tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""`assay check` and `assay train` report the same errors and warnings about data."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from assay.data.loading import load_split_dataset
from assay.recipe import Recipe, dump_recipe

Assay = Callable[..., Any]


def picture(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(30, 226, (12, 16, 3), np.uint8)
    return Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC)


@pytest.fixture
def seeds() -> Iterator[int]:
    return iter(range(10_000))


@pytest.fixture
def add(tmp_path: Path, seeds: Iterator[int]) -> Callable[..., Path]:
    """Add photos to a folder: different ones, or brighter and brighter copies of one."""

    def write(folder: str, count: int, *, copies: bool = False) -> Path:
        place = tmp_path / "photos" / folder
        place.mkdir(parents=True, exist_ok=True)
        base = picture(next(seeds))
        for number in range(count):
            shown = base.point(lambda value, more=number: value + more) if copies else picture(next(seeds))
            shown.save(place / f"{number:02}.png")
        return tmp_path / "photos"

    return write


@pytest.fixture
def recipe(tiny: Recipe, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_recipe(tiny), encoding="utf-8")
    return path


COPIES = True
REFUSED: dict[str, list[tuple[str, int, bool]]] = {
    "every class is one group": [("a", 8, COPIES), ("b", 8, COPIES)],
    "two photos": [("a", 1, False), ("b", 1, False)],
    "three photos": [("a", 1, False), ("b", 2, False)],
    "a test part alone": [("test/a", 4, False), ("test/b", 4, False)],
    "a validation part alone": [("val/a", 4, False), ("val/b", 4, False)],
    "validation and test": [(f"{part}/{name}", 3, False) for part in ("val", "test") for name in "ab"],
    "one group to train on": [("train/a", 5, COPIES), ("test/a", 4, False), ("test/b", 4, False)],
    "one photo of each class to train on": [
        ("train/a", 1, False),
        ("train/b", 1, False),
        ("test/a", 3, False),
    ],
    "training photos of one class": [("train/a", 4, False), ("val/a", 4, False), ("val/b", 4, False)],
    "names that differ in case": [("cell", 4, False), ("Cell", 4, False)],
}


@pytest.mark.parametrize("photos", REFUSED.values(), ids=REFUSED)
def test_errors_of_training_are_errors_of_the_check(
    assay: Assay, add: Callable[..., Path], recipe: Path, photos: list[tuple[str, int, bool]], tmp_path: Path
):
    for folder, count, copies in photos:
        data = add(folder, count, copies=copies)
    train = assay("train", data, "-r", recipe, "--run", tmp_path / "run")
    check = assay("check", data, "-r", recipe)
    sentence = train.err.removeprefix("assay: ").strip()
    assert train.code == 1
    assert check.code == 1
    assert f"cannot be trained on: {sentence}" in check.out
    assert "Nothing has to be done" not in check.out
    assert "Nothing found" not in check.out
    assert not (tmp_path / "run").exists()
    assert not re.search(r"\b1 (photos|groups)", sentence)


WARNED: dict[str, list[tuple[str, int, bool]]] = {
    "a class of one group": [("a", 8, COPIES), ("b", 10, False)],
    "a class of one photo": [("a", 1, False), ("b", 10, False)],
    "validation lacks a class": [("train/a", 4, False), ("train/b", 4, False), ("val/a", 4, False)],
    "training lacks a class": [(name, 4, False) for name in ("train/a", "train/c", "val/a", "val/b", "val/c")],
    "no validation": [(f"{part}/{name}", 6, False) for part in ("train", "test") for name in "ab"],
    "training alone": [("train/a", 6, False), ("train/b", 6, False)],
}


@pytest.mark.parametrize("photos", WARNED.values(), ids=WARNED)
def test_warnings_of_training_are_warnings_of_the_check(
    assay: Assay, add: Callable[..., Path], tiny: Recipe, recipe: Path, photos: list[tuple[str, int, bool]]
):
    for folder, count, copies in photos:
        data = add(folder, count, copies=copies)
    warnings = load_split_dataset(data, tiny.data, tiny.train.seed).warnings
    check = assay("check", data, "-r", recipe, "--min-images", 0)
    assert warnings
    assert check.code == 0
    assert "; ".join(warnings) in check.out
    assert "Nothing has to be done" not in check.out


def test_recipe_decides_what_is_rejected(assay: Assay, add: Callable[..., Path], tmp_path: Path):
    add("open", 3)
    data = add("closed", 3)
    assert assay("check", data, "--min-images", 0).code == 0
    (tmp_path / "mine.yaml").write_text("extends: default\ndata: {positive_class: opened}", encoding="utf-8")
    ended = assay("check", data, "-r", tmp_path / "mine.yaml")
    assert ended.code == 1
    assert "cannot be trained on: the recipe looks for the class 'opened'" in ended.out

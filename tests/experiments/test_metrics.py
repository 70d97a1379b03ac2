"""Metrics of the experiments against values computed by hand."""

import json
from pathlib import Path

import baselines
import numpy as np
import pytest
from data_sources import write_subset
from default_comparison import METHODS, PREVIOUS, RUNNERS, measure
from defect_elpv import metrics_by_cell_type
from magnetic_tiles import draw_pairs
from PIL import Image
from result_file import balanced_accuracy
from runs import duration, timed
from vehicle_animal import short_variants

from assay.data import read_manifest
from assay.evaluation import Predictions
from assay.recipe import load_recipe


def predictions(probabilities: list[list[float]], actual: list[int], labels: list[str] | None = None) -> Predictions:
    names = tuple(map(str, range(len(actual))))
    return Predictions(
        classes=("functional", "defective"),
        ids=names,
        paths=names,
        actual=np.array(actual),
        probabilities=np.array(probabilities),
        source_labels=None if labels is None else tuple(labels),
    )


FOUR = predictions([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55]], [0, 1, 1, 0], ["mono", "mono", "poly", "poly"])


def test_metrics_by_cell_type() -> None:
    values = metrics_by_cell_type(FOUR)
    assert values["accuracy"] == values["mono_accuracy"] == values["poly_accuracy"] == 0.5
    assert values["f1"] == pytest.approx(0.5)
    assert values["roc_auc"] == pytest.approx(0.75)
    assert values["mono_roc_auc"] == values["poly_roc_auc"] == 1


def test_balanced_accuracy_is_the_mean_recall() -> None:
    three = predictions([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], [0, 0, 1])
    assert balanced_accuracy(three) == 0.5


def test_precision_and_coverage_of_answers() -> None:
    values = measure(FOUR, 0.7)
    assert values["coverage"] == 0.5
    assert values["precision_of_answers"] == 1
    assert measure(FOUR, 1.0)["precision_of_answers"] is None
    assert "coverage" not in measure(FOUR, None)


def test_every_method_can_be_run() -> None:
    assert set(RUNNERS) == set(METHODS)
    previous = load_recipe(PREVIOUS, ["train.epochs=2", "train.staged.head_epochs=1"])
    assert (previous.name, previous.train.strategy, previous.train.epochs) == ("previous-default", "staged", 2)


def test_variants_have_the_given_epochs_and_seed() -> None:
    recipes = short_variants(3, 7)
    assert len(recipes) == 5
    for recipe in recipes.values():
        assert (recipe.train.epochs, recipe.train.seed, recipe.train.schedule) == (3, 7, "onecycle")


def test_durations_add_up(tmp_path: Path) -> None:
    for _ in range(2):
        with timed(tmp_path / "run"):
            sum(range(100_000))
    assert duration(tmp_path / "run").cpu > 0
    assert json.loads((tmp_path / "run.seconds.json").read_text())["wall"] == duration(tmp_path / "run").wall
    assert duration(tmp_path / "other").wall == 0


def test_pairs_are_drawn_side_by_side(tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        (tmp_path / "Crack").mkdir(exist_ok=True)
        paths.append(tmp_path / "Crack" / f"{number}.png")
        Image.new("L", (50, 200), 60 * number).save(paths[-1])
    draw_pairs([(paths[0], paths[1])], tmp_path / "pairs.png")
    with Image.open(tmp_path / "pairs.png") as sheet:
        assert sheet.size[0] > 200
        assert len(np.unique(np.asarray(sheet.convert("L")))) > 2


def test_fastai_result_is_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (8, 8), (number, len(split), len(label))).save(folder / f"{number}.png")
    dataset = read_manifest(write_subset(tmp_path / "photos", 2, 4, 0, tmp_path / "m.csv"))
    ids = [sample.id for sample in dataset.part("test")]
    np.savez(tmp_path / "out.npz", ids=np.array(ids[::-1]), probabilities=np.full((4, 2), [0.8, 0.2], np.float32))
    found = baselines.read_fastai_result(dataset, tmp_path / "out.npz")
    assert found.ids == tuple(ids[::-1])
    assert found.correct.tolist() == [False, False, True, True]

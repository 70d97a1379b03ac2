"""Files of an evaluation."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from assay.evaluation import EVALUATION_FILES, Predictions, compute_metrics, write_evaluation

Make = Callable[..., Predictions]

BASIC = {name: file for name, file in EVALUATION_FILES.items() if not name.startswith("sources")}


@pytest.fixture
def photographed(make: Make, button_cells: Path) -> Predictions:
    """Predictions on real photos, three of them wrong."""
    paths = sorted(path for path in button_cells.rglob("*") if path.is_file())[::6]
    classes = sorted({path.parent.name for path in paths})
    actual = [classes.index(path.parent.name) for path in paths]
    predicted = [(k + 1) % len(classes) if row < 3 else k for row, k in enumerate(actual)]
    names = {"ids": tuple(path.name for path in paths), "paths": tuple(map(str, paths))}
    return make(actual, predicted, classes=classes, **names)


def test_folder_contains_all_files(photographed: Predictions, tmp_path: Path):
    metrics = compute_metrics(photographed)
    paths = write_evaluation(tmp_path / "evaluation", photographed, metrics)
    assert paths == {name: tmp_path / "evaluation" / file for name, file in BASIC.items()}
    assert sorted(path.name for path in (tmp_path / "evaluation").iterdir()) == sorted(BASIC.values())
    assert json.loads(paths["metrics"].read_text("utf-8")) == metrics.to_dict()
    assert json.loads(paths["confusion"].read_text("utf-8"))["classes"] == list(photographed.classes)
    assert "precision" in paths["report"].read_text("utf-8")
    assert "How to read it" in paths["confusion_text"].read_text("utf-8")
    assert Predictions.load(paths["predictions"]).ids == photographed.ids
    for name in ("classes_figure", "confusion_figure", "confusion_shares_figure", "misclassified_figure"):
        with Image.open(paths[name]) as image:
            image.load()
            assert image.format == "PNG"
            assert image.width > 300


def test_misclassified_table(photographed: Predictions, tmp_path: Path):
    paths = write_evaluation(tmp_path, photographed, compute_metrics(photographed))
    with paths["misclassified"].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["id", "path", "actual", "predicted", "confidence"]
    assert {row["id"] for row in rows} == set(photographed.ids[:3])
    sure = [float(row["confidence"]) for row in rows]
    assert sure == sorted(sure, reverse=True)


def test_source_label_column_if_available(make: Make, tmp_path: Path):
    predictions = make([0, 1], [1, 1], source_labels=("bird, small", "truck"))
    paths = write_evaluation(tmp_path, predictions, compute_metrics(predictions))
    with paths["misclassified"].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["source_label"] for row in rows] == ["bird, small"]
    with paths["sources"].open(encoding="utf-8", newline="") as stream:
        bird, truck = csv.DictReader(stream)
    assert (bird["category"], bird["class"], bird["correct"], bird["mistaken_for"]) == (
        "bird, small",
        "cat",
        "0",
        "dog",
    )
    assert (truck["accuracy"], truck["mistaken_for"]) == ("1.0", "")
    assert "bird, small" in paths["sources_text"].read_text("utf-8")


def test_undefined_class_metrics_are_empty_cells(make: Make, tmp_path: Path):
    predictions = make([0, 0, 1], [0, 1, 1])
    paths = write_evaluation(tmp_path, predictions, compute_metrics(predictions))
    with paths["classes"].open(encoding="utf-8", newline="") as stream:
        cat, dog, ship = csv.DictReader(stream)
    assert (cat["class"], float(cat["recall"]), cat["support"]) == ("cat", 0.5, "2")
    assert float(dog["precision"]) == 0.5
    assert ship["recall"] == ship["recall_low"] == ship["roc_auc"] == ""


@pytest.mark.parametrize("labels", [[], [2]])
def test_degenerate_predictions_are_written(make: Make, tmp_path: Path, labels: list[int]):
    predictions = make(labels)
    paths = write_evaluation(tmp_path, predictions, compute_metrics(predictions))
    assert all(path.is_file() for path in paths.values())


def test_second_evaluation_replaces_the_first(make: Make, tmp_path: Path):
    for predicted, sources in (([1, 1], ("bird", "truck")), ([0, 1], None)):
        predictions = make([0, 1], predicted, source_labels=sources)
        paths = write_evaluation(tmp_path, predictions, compute_metrics(predictions))
    assert {path.name for path in tmp_path.iterdir()} == set(BASIC.values())
    assert paths["misclassified"].read_text("utf-8").count("\n") == 1


def test_progress_counts_images_and_figures(make: Make, tmp_path: Path):
    result: list[tuple[str, int, int]] = []
    predictions = make([0, 1, 2], [1, 1, 2])
    write_evaluation(tmp_path, predictions, compute_metrics(predictions), progress=lambda *step: result.append(step))
    assert ("misclassified photos", 1, 1) in result
    assert result[-1] == ("figures", 4, 4)

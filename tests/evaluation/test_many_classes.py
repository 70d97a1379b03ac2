"""From two classes to four hundred: texts, figures and pages stay readable; JSON and CSV hold everything."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from assay.bundle import BundleInfo
from assay.bundle.model_card import render_model_card
from assay.cli.training_output import describe_data
from assay.core.tables import MAX_CLASSES_LISTED, MAX_CLASSES_SHOWN
from assay.data import Dataset, Sample
from assay.evaluation import Predictions, compute_metrics
from assay.evaluation.confusion_matrix import ConfusionMatrix, confusion_matrix_figure
from assay.evaluation.evaluation_files import write_evaluation
from assay.evaluation.figures import class_metrics_figure
from assay.evaluation.metrics import classification_report, most_confused_classes, worst_classes
from assay.evaluation.report import ReportContext, write_report
from assay.recipe import PreprocessSpec

COUNTS = [2, 10, 30, 31, 100, 400]


def predictions_of(make, classes: int) -> Predictions:
    names = [f"class {place:03d} of a long name" for place in range(classes)]
    return make([row % classes for row in range(max(60, 4 * classes))], classes=names, skill=2.5)


@pytest.mark.parametrize("classes", COUNTS)
def test_texts_fit_a_terminal(make, classes: int):
    predictions = predictions_of(make, classes)
    report = classification_report(compute_metrics(predictions)).splitlines()
    confusion = ConfusionMatrix.of(predictions).to_text().splitlines()
    assert len(report) <= MAX_CLASSES_SHOWN + 12
    assert len(confusion) <= 2 * MAX_CLASSES_SHOWN + 14
    assert max(map(len, report + confusion)) <= 130
    if classes > MAX_CLASSES_SHOWN:
        assert any("classes.csv" in line for line in report)
        assert "confusion_matrix.json" in confusion[0]
        assert sum(line.startswith("class ") and line.endswith("%") for line in confusion) == MAX_CLASSES_LISTED


@pytest.mark.parametrize("classes", COUNTS)
def test_figures_have_a_readable_size(make, classes: int):
    predictions = predictions_of(make, classes)
    matrix, dots = (
        confusion_matrix_figure(ConfusionMatrix.of(predictions)),
        class_metrics_figure(compute_metrics(predictions)),
    )
    for figure in (matrix, dots):
        assert max(figure.get_size_inches()) <= 18
        axes = figure.axes[0]
        assert len(axes.get_yticklabels()) == min(classes, MAX_CLASSES_SHOWN)
        sizes = [text.get_fontsize() for text in (*axes.get_yticklabels(), *axes.texts)]
        assert min(sizes) >= 7
    said = matrix.axes[0].get_title(loc="left")
    assert (f"{MAX_CLASSES_SHOWN} of {classes} classes" in said) == (classes > MAX_CLASSES_SHOWN)


def test_files_for_programs_hold_all_classes(make, tmp_path: Path):
    predictions = predictions_of(make, 100)
    metrics = compute_metrics(predictions)
    files = write_evaluation(tmp_path, predictions, metrics, pictures=False)
    with files["classes"].open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 100
    assert len(json.loads(files["confusion"].read_text("utf-8"))["counts"]) == 100
    assert len(json.loads(files["metrics"].read_text("utf-8"))["classes"]) == 100
    parts = {"test": dict.fromkeys(predictions.classes, 4)}
    text = write_report(tmp_path, predictions, metrics, ReportContext(parts=parts)).read_text("utf-8")
    for table in re.findall(r"<tbody>.*?</tbody>", text, re.DOTALL):
        assert table.count("<tr>") <= MAX_CLASSES_SHOWN + 10
    assert "70 more classes" in text
    assert len(json.loads((tmp_path / "report.json").read_text("utf-8"))["split"]["photos"]["test"]) == 100


def test_the_worst_come_first_and_none_without_photos(make):
    metrics = compute_metrics(make([0, 0, 1, 1], [0, 0, 0, 1], classes=[f"c{place}" for place in range(40)]))
    assert [one.name for one in worst_classes(metrics)] == ["c1", "c0"]
    counts = np.diag(np.full(50, 9))
    counts[7, 44] = 3
    assert {7, 44} <= set(most_confused_classes(counts, 4).tolist())
    assert most_confused_classes(counts, 60).tolist() == list(range(50))


def test_a_training_summary_and_a_card_list_few_of_many(tmp_path: Path):
    names = tuple(f"c{place:03d}" for place in range(400))
    samples = [
        Sample(id=f"{name}/{number}", path=tmp_path / f"{name}-{number}", label=name, split="train")
        for name in names
        for number in range(1 if name == "c123" else 2)
    ]
    lines = describe_data(Dataset(tmp_path, names, tuple(samples)), 100).splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) < 200
    assert any(line.split() == ["c123", "1", "0", "0"] for line in lines)
    assert any("380 more classes" in line and line.split()[-3] == "760" for line in lines)
    spec = PreprocessSpec(size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    card = render_model_card(BundleInfo(name="many", classes=names, preprocess=spec))
    assert "370 more classes" in card
    assert len(card.splitlines()) < 80

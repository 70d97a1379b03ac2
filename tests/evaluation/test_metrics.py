"""Metrics, their texts and tables."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from assay.bundle import BundleInfo
from assay.bundle.model_card import render_model_card
from assay.cli.training_output import describe_data
from assay.core.errors import UsageError
from assay.core.text_layout import MAX_CLASSES_LISTED, MAX_CLASSES_SHOWN
from assay.data import Dataset, Sample
from assay.evaluation import Predictions, compute_metrics, wilson_interval
from assay.evaluation.confusion_figure import confusion_matrix_figure
from assay.evaluation.confusion_matrix import ConfusionMatrix
from assay.evaluation.evaluation_files import write_evaluation
from assay.evaluation.figures import class_metrics_figure
from assay.evaluation.metrics import (
    accuracy_sentence,
    classification_report,
    confusion_counts,
    most_confused_classes,
    worst_classes,
)
from assay.evaluation.report import ReportContext, write_report
from assay.recipe import PreprocessSpec

Make = Callable[..., Predictions]


def test_metrics_by_hand(make: Make):
    # Three cats (two right), two dogs (one right), no ship, but a cat and a dog taken for ships.
    metrics = compute_metrics(make([0, 0, 0, 1, 1], [0, 0, 2, 1, 2]))
    cat, dog, ship = metrics.classes
    assert (metrics.count, metrics.correct, metrics.accuracy) == (5, 3, 0.6)
    assert metrics.accuracy_interval == wilson_interval(3, 5)
    assert (cat.precision, cat.recall, cat.f1) == (1, pytest.approx(2 / 3), pytest.approx(0.8))
    assert (dog.precision, dog.recall, dog.f1) == (1, 0.5, pytest.approx(2 / 3))
    assert (ship.precision, ship.recall, ship.f1) == (0, None, 0)
    assert (cat.support, dog.support, ship.support) == (3, 2, 0)
    assert (cat.predicted, dog.predicted, ship.predicted) == (2, 1, 2)
    assert metrics.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics.macro.precision == pytest.approx(2 / 3)
    assert metrics.weighted.recall == pytest.approx(0.6)  # always the accuracy
    assert cat.recall_interval == wilson_interval(2, 3)
    assert cat.precision_interval == wilson_interval(2, 2)
    assert ship.recall_interval is None
    assert metrics.of("dog") == dog
    with pytest.raises(KeyError):
        metrics.of("whale")


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1), st.floats(0, 4))
def test_agrees_with_scikit_learn_where_that_is_defined(make: Make, classes: int, seed: int, skill: float):
    actual = list(range(classes)) * 3 + [0] * 5
    predictions = make(actual, classes=[f"c{k}" for k in range(classes)], skill=skill, seed=seed)
    metrics, predicted = compute_metrics(predictions), predictions.predicted
    assert metrics.accuracy == pytest.approx(accuracy_score(actual, predicted))
    assert metrics.balanced_accuracy == pytest.approx(balanced_accuracy_score(actual, predicted))
    assert metrics.log_loss == pytest.approx(log_loss(actual, predictions.probabilities))
    for average, ours in (("macro", metrics.macro), ("weighted", metrics.weighted)):
        options = {"average": average, "zero_division": 0.0}
        assert ours.precision == pytest.approx(precision_score(actual, predicted, **options))
        assert ours.recall == pytest.approx(recall_score(actual, predicted, **options))
        assert ours.f1 == pytest.approx(f1_score(actual, predicted, **options))
    if classes == 2:
        expected = roc_auc_score(actual, predictions.probabilities[:, 1])
    else:
        expected = roc_auc_score(actual, predictions.probabilities, multi_class="ovr", average="macro")
    assert metrics.roc_auc == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 4).flatmap(
        lambda classes: st.tuples(
            st.just(classes),
            st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), max_size=12),
        )
    )
)
def test_metrics_are_between_0_and_1_or_none(make: Make, case: tuple[int, list[tuple[int, int]]]):
    classes, pairs = case
    predictions = make([a for a, _ in pairs], [p for _, p in pairs], classes=[f"c{k}" for k in range(classes)])
    values = compute_metrics(predictions).to_dict()
    text = json.dumps(values, allow_nan=False)
    assert json.loads(text) == values

    def shares(value: Any) -> Iterator[float | None]:
        if isinstance(value, dict):
            for key, item in value.items():
                if key not in {"count", "correct", "support", "predicted", "log_loss", "name", "positive"}:
                    yield from shares(item)
        elif isinstance(value, list):
            for item in value:
                yield from shares(item)
        else:
            yield value

    assert all(value is None or 0 <= value <= 1 for value in shares(values))
    assert confusion_counts(predictions).sum() == len(pairs)


def test_metrics_without_images(make: Make):
    metrics = compute_metrics(make([]))
    assert metrics.count == 0
    assert metrics.accuracy is metrics.accuracy_interval is metrics.balanced_accuracy is None
    assert metrics.roc_auc is metrics.log_loss is metrics.macro.f1 is metrics.weighted.f1 is None
    assert all(item.precision is item.recall is item.f1 is None for item in metrics.classes)


def test_metrics_of_images_of_one_class(make: Make):
    metrics = compute_metrics(make([1, 1, 1], [1, 1, 0], classes=("open", "closed")))
    assert metrics.roc_auc is None
    assert metrics.balanced_accuracy == pytest.approx(2 / 3)
    assert metrics.of("open").recall is None
    assert metrics.of("open").precision == 0
    assert metrics.log_loss > 0


def test_never_predicting_a_class_has_precision_zero(make: Make):
    metrics = compute_metrics(make([0, 1, 1], [0, 0, 0], classes=("ok", "defect")))
    assert metrics.of("defect").precision == 0
    assert metrics.of("defect").precision_interval is None
    assert metrics.macro.precision == pytest.approx((1 / 3 + 0) / 2)


def test_absent_class_is_left_out_of_means(make: Make):
    metrics = compute_metrics(make([0, 1], [0, 1]))
    assert metrics.of("ship").f1 is None
    assert metrics.macro.f1 == metrics.macro.precision == metrics.balanced_accuracy == 1


def test_positive_class(make: Make):
    two = make([0, 1], classes=("ok", "defect"))
    assert compute_metrics(two).positive == "defect"
    assert compute_metrics(two, "ok").positive == "ok"
    assert compute_metrics(make([0, 1])).positive is None
    assert compute_metrics(make([0, 1]), "cat").positive == "cat"
    with pytest.raises(UsageError, match="crack is not one of the classes: choose from ok, defect"):
        compute_metrics(two, "crack")


def test_rounded_probabilities_are_still_ranked(make: Make):
    """Two photos that float32 rounds to a probability of 1 are distinguished by that of the other class."""
    probabilities = np.array([[1, 1e-9], [1, 1e-12], [0.2, 0.8]], dtype=np.float32)
    metrics = compute_metrics(make([1, 0, 1], classes=("ok", "defect"), probabilities=probabilities))
    assert metrics.of("ok").roc_auc == metrics.of("defect").roc_auc == metrics.roc_auc == 1


def test_zero_probability_of_the_label_is_a_finite_loss(make: Make):
    loss = compute_metrics(make([0, 1], probabilities=np.array([[0.0, 1, 0], [0, 1, 0]]))).log_loss
    assert 10 < loss < 100


def test_rows_that_nearly_sum_to_one_are_accepted(make: Make):
    row = np.array([[0.3333, 0.3333, 0.3333]], dtype=np.float32)
    assert compute_metrics(make([0], probabilities=row)).log_loss == pytest.approx(np.log(3))


COUNTS = [2, 10, 30, 31, 100, 400]


def predictions_of(make, classes: int) -> Predictions:
    names = [f"class {place:03d} of a long name" for place in range(classes)]
    return make([row % classes for row in range(max(60, 4 * classes))], classes=names, skill=2.5)


@pytest.mark.parametrize("classes", COUNTS)
def test_texts_fit_a_terminal(make, classes: int):
    predictions = predictions_of(make, classes)
    report = classification_report(compute_metrics(predictions)).splitlines()
    confusion = ConfusionMatrix.from_predictions(predictions).to_text().splitlines()
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
        confusion_matrix_figure(ConfusionMatrix.from_predictions(predictions)),
        class_metrics_figure(compute_metrics(predictions)),
    )
    for figure in (matrix, dots):
        assert max(figure.get_size_inches()) <= 18
        axes = figure.axes[0]
        assert len(axes.get_yticklabels()) == min(classes, MAX_CLASSES_SHOWN)
        sizes = [text.get_fontsize() for text in (*axes.get_yticklabels(), *axes.texts)]
        assert min(sizes) >= 7
    message = matrix.axes[0].get_title(loc="left")
    assert (f"{MAX_CLASSES_SHOWN} of {classes} classes" in message) == (classes > MAX_CLASSES_SHOWN)


def test_machine_readable_files_contain_all_classes(make, tmp_path: Path):
    predictions = predictions_of(make, 100)
    metrics = compute_metrics(predictions)
    files = write_evaluation(tmp_path, predictions, metrics, figures=False)
    with files["classes"].open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 100
    assert len(json.loads(files["confusion"].read_text("utf-8"))["counts"]) == 100
    assert len(json.loads(files["metrics"].read_text("utf-8"))["classes"]) == 100
    parts = {"test": dict.fromkeys(predictions.classes, 4)}
    text = write_report(tmp_path, predictions, metrics, ReportContext(split_counts=parts)).read_text("utf-8")
    for table in re.findall(r"<tbody>.*?</tbody>", text, re.DOTALL):
        assert table.count("<tr>") <= MAX_CLASSES_SHOWN + 10
    assert "70 more classes" in text
    assert len(json.loads((tmp_path / "report.json").read_text("utf-8"))["splits"]["counts"]["test"]) == 100


def test_worst_classes_come_first_and_have_images(make):
    metrics = compute_metrics(make([0, 0, 1, 1], [0, 0, 0, 1], classes=[f"c{place}" for place in range(40)]))
    assert [item.name for item in worst_classes(metrics)] == ["c1", "c0"]
    counts = np.diag(np.full(50, 9))
    counts[7, 44] = 3
    assert {7, 44} <= set(most_confused_classes(counts, 4).tolist())
    assert most_confused_classes(counts, 60).tolist() == list(range(50))


def test_summary_and_model_card_list_few_of_many_classes(tmp_path: Path):
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


def test_classification_report_table(make: Make):
    report = classification_report(compute_metrics(make([0, 0, 0, 1, 1], [0, 0, 2, 1, 2])))
    lines = report.splitlines()
    assert lines[0].split() == ["precision", "recall", "F1", "support"]
    assert lines[1].split() == ["cat", "1.000", "0.667", "0.800", "3"]
    assert lines[2].split() == ["dog", "1.000", "0.500", "0.667", "2"]
    assert lines[3].split() == ["ship", "0.000", "–", "0.000", "0"]
    assert lines[5].split() == ["macro", "average", "0.667", "0.583", "0.489", "5"]
    assert lines[6].split()[-1] == "5"
    assert "0.600  (3 of 5; 95 % interval 0.231 to 0.882, Wilson)" in report
    assert "one-vs-rest" in report


def test_two_class_report_names_the_positive_class(make: Make):
    assert "ROC-AUC (defect)" in classification_report(compute_metrics(make([0, 1], classes=("ok", "defect"))))


def test_classification_report_without_images(make: Make):
    metrics = compute_metrics(make([]))
    assert "accuracy" in classification_report(metrics)
    assert "nan" not in classification_report(metrics)
    assert accuracy_sentence(metrics) == "accuracy is not defined without photos"


def test_sentence_never_rounds_to_100_percent(make: Make):
    metrics = compute_metrics(make([0] * 3000, [0] * 2999 + [1]))
    assert accuracy_sentence(metrics) == "99.9 % of 3,000 photos are correct (95 % interval 99.8 % to 99.9 %)"

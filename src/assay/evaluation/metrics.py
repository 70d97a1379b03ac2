"""Accuracy, precision, recall, F1, ROC-AUC and log-loss, in total and per class, also as a text table.

A metric that is not defined for the images (the recall of a class without images) is None, never NaN and
never a warning.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support, roc_auc_score

from assay.core import notebook_html
from assay.core.errors import UsageError
from assay.core.text_layout import (
    MAX_CLASSES_LISTED,
    MAX_CLASSES_SHOWN,
    align_columns,
    counted,
    format_number,
    format_percent,
    join_names,
    shorten,
)
from assay.evaluation.intervals import CONFIDENCE_LEVEL, Interval, wilson_interval
from assay.evaluation.predictions import FloatArray, IntArray, Predictions


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Metrics of one class against all others.

    Attributes:
        name: the class.
        support: images labelled with it.
        predicted: images for which it was predicted.
        precision: share of its predictions that are correct. 0 when images of it exist and it was never
            predicted, so that a classifier gains nothing by never predicting it; None when neither occurs.
        recall: share of its images that were recognized, which is also the accuracy on this class; None
            without images.
        f1: harmonic mean of the two; None when it neither occurs nor is predicted.
        roc_auc: probability that an image of it scores higher than another image; None unless there are both.
        precision_interval: Wilson interval of the precision; None when it was never predicted.
        recall_interval: Wilson interval of the recall; None without images.
    """

    name: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None
    precision_interval: Interval | None
    recall_interval: Interval | None


@dataclass(frozen=True, slots=True)
class Average:
    """Mean of a class metric over the classes for which it is defined."""

    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics on one set of images.

    Attributes:
        count: images.
        correct: images whose predicted class is the labelled one.
        accuracy: `correct / count`.
        accuracy_interval: Wilson interval of the accuracy, at the level `level`.
        level: confidence level of the intervals.
        balanced_accuracy: mean recall of the classes that have images.
        macro: unweighted mean over the classes.
        weighted: mean over the classes, weighted by support.
        roc_auc: of two classes, the area under the ROC curve; of more, the one-vs-rest mean over the classes
            that have images.
        log_loss: mean negative logarithm (natural) of the probability given to the labelled class.
        positive: the positive class; by default the second of two, None for more.
        classes: in output order.
    """

    count: int
    correct: int
    accuracy: float | None
    accuracy_interval: Interval | None
    level: float
    balanced_accuracy: float | None
    macro: Average
    weighted: Average
    roc_auc: float | None
    log_loss: float | None
    positive: str | None
    classes: tuple[ClassMetrics, ...]

    def of(self, name: str) -> ClassMetrics:
        """Return the metrics of a class.

        Raises:
            KeyError: there is no such class.
        """
        for entry in self.classes:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers and None, ready for JSON; intervals are [low, high]."""
        values: dict[str, Any] = _plain(asdict(self))
        return values

    @property
    def sentence(self) -> str:
        """Number of correct images and the accuracy with its interval."""
        if self.accuracy is None or self.accuracy_interval is None:
            return "no photos"
        low, high = map(format_percent, (self.accuracy_interval.low, self.accuracy_interval.high))
        right = f"{self.correct} of {counted(self.count, 'photo')} correct, {format_percent(self.accuracy)}"
        return f"{right} ({100 * self.level:.0f} % interval {low} to {high})"

    def _repr_html_(self) -> str:
        header = ("class", "photos", "precision", "recall", "F1")

        shown = worst_classes(self)
        rows = [
            (entry.name, entry.support, *map(_three_digits, (entry.precision, entry.recall, entry.f1)))
            for entry in shown
        ]
        return notebook_html.panel(self.sentence, notebook_html.table(rows, header))


def compute_metrics(predictions: Predictions, positive: str | None = None) -> Metrics:
    """Compute all metrics.

    Args:
        predictions: any number of images, also none.
        positive: the positive class (such as the defect); None: the second of two classes.

    Raises:
        UsageError: `positive` is not a class.
    """
    classes = _class_metrics(predictions)
    count, correct = len(predictions), int(predictions.correct.sum())
    macro = Average(
        _mean((entry.precision, 1) for entry in classes),
        _mean((entry.recall, 1) for entry in classes),
        _mean((entry.f1, 1) for entry in classes),
    )
    weighted = Average(
        _mean((entry.precision, entry.support) for entry in classes),
        _mean((entry.recall, entry.support) for entry in classes),
        _mean((entry.f1, entry.support) for entry in classes),
    )
    return Metrics(
        count=count,
        correct=correct,
        accuracy=correct / count if count else None,
        accuracy_interval=wilson_interval(correct, count) if count else None,
        level=CONFIDENCE_LEVEL,
        balanced_accuracy=macro.recall,
        macro=macro,
        weighted=weighted,
        roc_auc=_mean((entry.roc_auc, 1) for entry in classes),
        log_loss=_log_loss(predictions),
        positive=_positive(predictions, positive),
        classes=classes,
    )


def confusion_counts(predictions: Predictions) -> IntArray:
    """Count the images of each actual class (rows) by predicted class (columns), int64 [C, C]."""
    labels = np.arange(len(predictions.classes))
    if not len(predictions):
        return np.zeros((labels.size, labels.size), dtype=np.int64)
    counts = confusion_matrix(predictions.actual, predictions.predicted, labels=labels)
    return np.asarray(counts, dtype=np.int64)


def ranking_scores(predictions: Predictions, k: int) -> FloatArray:
    """Return the scores that rank images for class k, float64 [N]: higher is more likely."""
    if len(predictions.classes) > 2:
        return predictions.probabilities[:, k]
    # The ratio distinguishes probabilities that were rounded to 1, and ranks both classes alike.
    logs = predictions.log_probabilities
    return logs[:, k] - logs[:, 1 - k]


def _class_metrics(predictions: Predictions) -> tuple[ClassMetrics, ...]:
    counts = confusion_counts(predictions)
    labels = np.arange(len(predictions.classes))
    precision, recall, f1 = np.full((3, labels.size), np.nan)
    if len(predictions):
        precision, recall, f1, _ = precision_recall_fscore_support(
            predictions.actual, predictions.predicted, labels=labels, zero_division=np.nan
        )
    entries = []
    for k, name in enumerate(predictions.classes):
        support, predicted, right = int(counts[k].sum()), int(counts[:, k].sum()), int(counts[k, k])
        entries.append(
            ClassMetrics(
                name=name,
                support=support,
                predicted=predicted,
                precision=0.0 if support and not predicted else _none_if_nan(precision[k]),
                recall=_none_if_nan(recall[k]),
                f1=_none_if_nan(f1[k]),
                roc_auc=_roc_auc(predictions, k),
                precision_interval=wilson_interval(right, predicted) if predicted else None,
                recall_interval=wilson_interval(right, support) if support else None,
            )
        )
    return tuple(entries)


def _roc_auc(predictions: Predictions, k: int) -> float | None:
    actual = predictions.actual == k
    if actual.all() or not actual.any():
        return None
    return float(roc_auc_score(actual, ranking_scores(predictions, k)))


def _log_loss(predictions: Predictions) -> float | None:
    if not len(predictions):
        return None
    # Rows from float32 sum to 1 only approximately, which scikit-learn would warn about.
    rows = predictions.probabilities / predictions.probabilities.sum(axis=1, keepdims=True)
    return float(log_loss(predictions.actual, rows, labels=np.arange(len(predictions.classes))))


def _positive(predictions: Predictions, positive: str | None) -> str | None:
    if positive is None:
        return predictions.classes[1] if len(predictions.classes) == 2 else None
    if positive not in predictions.classes:
        names = join_names(predictions.classes)
        raise UsageError(f"the positive class {positive} is not one of the classes: choose from {names}")
    return positive


def _mean(pairs: Iterable[tuple[float | None, float]]) -> float | None:
    """Weighted mean of the values that are defined."""
    known = [(value, weight) for value, weight in pairs if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _three_digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def worst_classes(metrics: Metrics, most: int = MAX_CLASSES_SHOWN) -> tuple[ClassMetrics, ...]:
    """Return all classes in output order; of more than `MAX_CLASSES_SHOWN`, those with the lowest F1, worst first.

    Classes without photos are left out of the worst; of equals, those with more photos come first.
    """
    if len(metrics.classes) <= MAX_CLASSES_SHOWN:
        return metrics.classes
    judged = [entry for entry in metrics.classes if entry.support]
    return tuple(sorted(judged, key=lambda entry: (entry.f1 or 0.0, -entry.support))[:most])


def most_confused_classes(counts: IntArray, most: int = MAX_CLASSES_SHOWN) -> IntArray:
    """Return the places of all classes; of more than `most`, of those with most mistakes, in output order.

    Args:
        counts: int64 array [C, C], rows actual, columns predicted.
        most: classes to return.

    Returns:
        int64 array [at most `most`], ascending.
    """
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    return np.sort(np.argsort(-wrong, kind="stable")[:most])


_NAME_WIDTH = 40


def classification_report(metrics: Metrics) -> str:
    """Return the report as aligned text that ends in a line break; a dash is a number that is not defined."""
    rows = [["", "precision", "recall", "F1", "support"]]
    for entry in worst_classes(metrics, MAX_CLASSES_LISTED):
        values = [format_number(entry.precision), format_number(entry.recall), format_number(entry.f1)]
        rows.append([shorten(entry.name, _NAME_WIDTH), *values, str(entry.support)])
    rows.append(["", "", "", "", ""])
    rows.append(_average_row("macro average", metrics.macro, metrics.count))
    rows.append(_average_row("weighted average", metrics.weighted, metrics.count))
    note = ""
    if len(metrics.classes) > MAX_CLASSES_SHOWN:
        of_all = f"{MAX_CLASSES_LISTED} of {len(metrics.classes)} classes"
        note = f"The {of_all} with the lowest F1; all are in classes.csv.\n\n"
    return f"{note}{align_columns(rows)}\n\n{_totals(metrics)}\n"


def accuracy_sentence(metrics: Metrics) -> str:
    """Return the accuracy in words, with how far it can be trusted."""
    if metrics.accuracy is None or metrics.accuracy_interval is None:
        return "accuracy is not defined without photos"
    low, high = metrics.accuracy_interval
    return (
        f"{format_percent(metrics.accuracy)} of {counted(metrics.count, 'photo is', 'photos are')} correct "
        f"({format_percent(metrics.level, 0)} interval {format_percent(low)} to {format_percent(high)})"
    )


def _totals(metrics: Metrics) -> str:
    name = "ROC-AUC"
    if metrics.positive is not None and len(metrics.classes) == 2:
        name = f"ROC-AUC ({shorten(metrics.positive, _NAME_WIDTH)})"
    elif len(metrics.classes) > 2:
        name = "ROC-AUC (one-vs-rest, macro)"
    rows = [
        ["accuracy", format_number(metrics.accuracy) + _accuracy_interval(metrics)],
        ["balanced accuracy", format_number(metrics.balanced_accuracy)],
        [name, format_number(metrics.roc_auc)],
        ["log-loss", format_number(metrics.log_loss)],
    ]
    return align_columns(rows, right=False)


def _accuracy_interval(metrics: Metrics) -> str:
    if metrics.accuracy_interval is None:
        return ""
    low, high = metrics.accuracy_interval
    correct = f"{metrics.correct} of {metrics.count}"
    level = format_percent(metrics.level, 0)
    return f"  ({correct}; {level} interval {format_number(low)} to {format_number(high)}, Wilson)"


def _average_row(name: str, average: Average, count: int) -> list[str]:
    return [
        name,
        format_number(average.precision),
        format_number(average.recall),
        format_number(average.f1),
        str(count),
    ]

"""The metrics as a table of text: precision, recall, F1 and support of each class, then the totals."""

from assay.evaluation.many_classes import worst_classes
from assay.evaluation.metrics import Average, Metrics
from assay.tables import MOST_CLASSES, MOST_LISTED, align, number, percent, shorten

_NAME = 40


def classification_report(metrics: Metrics) -> str:
    """Return the report as aligned text that ends in a line break; a dash is a number that is not defined."""
    rows = [["", "precision", "recall", "F1", "support"]]
    for one in worst_classes(metrics, MOST_LISTED):
        values = [number(one.precision), number(one.recall), number(one.f1)]
        rows.append([shorten(one.name, _NAME), *values, str(one.support)])
    rows.append(["", "", "", "", ""])
    rows.append(_average("macro average", metrics.macro, metrics.count))
    rows.append(_average("weighted average", metrics.weighted, metrics.count))
    note = ""
    if len(metrics.classes) > MOST_CLASSES:
        of_all = f"{MOST_LISTED} of {len(metrics.classes)} classes"
        note = f"The {of_all} with the lowest F1; classes.csv holds all.\n\n"
    return f"{note}{align(rows)}\n\n{_totals(metrics)}\n"


def accuracy_sentence(metrics: Metrics) -> str:
    """Return the accuracy in words, with how far it can be trusted."""
    if metrics.accuracy is None or metrics.accuracy_interval is None:
        return "no photos, so no accuracy"
    low, high = metrics.accuracy_interval
    return (
        f"{percent(metrics.accuracy)} of {metrics.count} photos are right "
        f"({percent(metrics.level, 0)} interval {percent(low)} to {percent(high)})"
    )


def _totals(metrics: Metrics) -> str:
    name = "ROC-AUC"
    if metrics.positive is not None and len(metrics.classes) == 2:
        name = f"ROC-AUC ({shorten(metrics.positive, _NAME)})"
    elif len(metrics.classes) > 2:
        name = "ROC-AUC (one against the rest, macro)"
    rows = [
        ["accuracy", number(metrics.accuracy) + _interval(metrics)],
        ["balanced accuracy", number(metrics.balanced_accuracy)],
        [name, number(metrics.roc_auc)],
        ["log-loss", number(metrics.log_loss)],
    ]
    return align(rows, right=False)


def _interval(metrics: Metrics) -> str:
    if metrics.accuracy_interval is None:
        return ""
    low, high = metrics.accuracy_interval
    counted = f"{metrics.correct} of {metrics.count}"
    return f"  ({counted}; {percent(metrics.level, 0)} interval {number(low)} to {number(high)}, Wilson)"


def _average(name: str, average: Average, count: int) -> list[str]:
    return [name, number(average.precision), number(average.recall), number(average.f1), str(count)]

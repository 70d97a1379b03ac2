"""Writes an evaluation to a folder: metrics as JSON and CSV, tables as text, figures as PNG.

Every file is written atomically; files of an earlier evaluation in the same folder are replaced.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from assay.core.files import write_text
from assay.core.progress import Progress, no_progress
from assay.core.tables import Cell, write_csv, write_json
from assay.evaluation.confusion_matrix import ConfusionMatrix, confusion_matrix_figure
from assay.evaluation.contact_sheet import MAX_TILES, misclassified_sheet
from assay.evaluation.figure_style import save_figure
from assay.evaluation.figures import class_metrics_figure
from assay.evaluation.metrics import Metrics, classification_report
from assay.evaluation.predictions import Mistake, Predictions, misclassified_photos
from assay.evaluation.slices import Slice, accuracy_by_source_label, slices_text

EVALUATION_FILES: Mapping[str, str] = {
    "metrics": "metrics.json",
    "report": "classification_report.txt",
    "classes": "classes.csv",
    "classes_figure": "classes.png",
    "confusion": "confusion_matrix.json",
    "confusion_text": "confusion_matrix.txt",
    "confusion_figure": "confusion_matrix.png",
    "confusion_shares_figure": "confusion_matrix_normalised.png",
    "misclassified": "misclassified.csv",
    "misclassified_figure": "misclassified.png",
    "predictions": "predictions.npz",
    "sources": "sources.csv",
    "sources_text": "sources.txt",
}
"""What `write_evaluation` writes: a name for each file, and the file's name in the folder."""


def write_evaluation(
    folder: Path,
    predictions: Predictions,
    metrics: Metrics,
    *,
    pictures: bool = True,
    photos: int = MAX_TILES,
    progress: Progress = no_progress,
) -> dict[str, Path]:
    """Write everything that is known about the predictions.

    Args:
        folder: where to; made if it is missing.
        predictions: what the classifier said.
        metrics: what `evaluate` counted on them.
        pictures: whether figures are drawn, which takes longer than all the rest.
        photos: most photos on the contact sheet of mistakes; the CSV lists them all.
        progress: told of every photo read and every file written.

    Returns:
        The path of each file written, under the names of `EVALUATION_FILES`; the tables by original category
        only where photos have source labels.
    """
    paths = {name: folder / file for name, file in EVALUATION_FILES.items()}
    confusion, mistakes = ConfusionMatrix.of(predictions), misclassified_photos(predictions)
    write_json(paths["metrics"], metrics.to_dict())
    write_text(paths["report"], classification_report(metrics))
    _write_class_metrics(paths["classes"], metrics)
    write_json(paths["confusion"], confusion.to_dict())
    write_text(paths["confusion_text"], confusion.to_text())
    _write_mistakes(paths["misclassified"], mistakes, sources=predictions.source_labels is not None)
    predictions.save(paths["predictions"])
    if predictions.source_labels is not None:
        _write_slices(paths["sources"], accuracy_by_source_label(predictions))
        write_text(paths["sources_text"], slices_text(accuracy_by_source_label(predictions), "category"))
    else:
        for name in ("sources", "sources_text"):
            paths.pop(name).unlink(missing_ok=True)
    figures: dict[str, Callable[[], Figure]] = {
        "classes_figure": lambda: class_metrics_figure(metrics),
        "confusion_figure": lambda: confusion_matrix_figure(confusion, "both"),
        "confusion_shares_figure": lambda: confusion_matrix_figure(confusion, "shares"),
        "misclassified_figure": lambda: misclassified_sheet(mistakes, limit=photos, progress=progress),
    }
    for done, (name, draw) in enumerate(figures.items(), start=1):
        if not pictures:
            paths.pop(name).unlink(missing_ok=True)
            continue
        save_figure(draw(), paths[name])
        progress("pictures", done, len(figures))
    return paths


def _write_class_metrics(path: Path, metrics: Metrics) -> None:
    header = ["class", "precision", "recall", "f1", "support", "predicted", "roc_auc"]
    header += ["precision_low", "precision_high", "recall_low", "recall_high"]
    rows: list[list[Cell]] = []
    for one in metrics.classes:
        row: list[Cell] = [
            one.name,
            one.precision,
            one.recall,
            one.f1,
            one.support,
            one.predicted,
            one.roc_auc,
        ]
        row += one.precision_interval or (None, None)
        row += one.recall_interval or (None, None)
        rows.append(row)
    write_csv(path, header, rows)


def _write_slices(path: Path, slices: Sequence[Slice]) -> None:
    header = ["category", "class", "photos", "right", "accuracy", "accuracy_low", "accuracy_high"]
    header += ["confidence", "mistaken_for", "mistaken_count"]
    rows: list[list[Cell]] = []
    for one in slices:
        row: list[Cell] = [one.name, one.actual, one.count, one.correct, one.accuracy, *one.interval]
        rows.append([*row, one.confidence, one.mistaken_for, one.mistaken_count])
    write_csv(path, header, rows)


def _write_mistakes(path: Path, mistakes: tuple[Mistake, ...], *, sources: bool) -> None:
    header = ["id", "path", "actual", "predicted", "confidence"]
    rows: list[list[Cell]] = [
        [one.id, one.path, one.actual, one.predicted, round(one.confidence, 6)] for one in mistakes
    ]
    if sources:
        header.append("source_label")
        for row, one in zip(rows, mistakes, strict=True):
            row.append(one.source_label)
    write_csv(path, header, rows)

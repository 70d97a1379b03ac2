"""Writes an evaluation to a folder: metrics as JSON and CSV, tables as text, figures as PNG.

Every file is written atomically; files of an earlier evaluation in the same folder are replaced.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from assay.core.files import atomic_write, write_text
from assay.core.progress import Progress, no_progress
from assay.core.tables import Cell, write_csv, write_json
from assay.core.text_layout import format_percent
from assay.evaluation.confusion_figure import confusion_matrix_figure
from assay.evaluation.confusion_matrix import ConfusionMatrix
from assay.evaluation.figure_style import BLUE, VERMILION, to_png
from assay.evaluation.figures import class_metrics_figure
from assay.evaluation.metrics import Metrics, classification_report
from assay.evaluation.predictions import Mistake, Predictions, ReadImage, misclassified_photos
from assay.evaluation.slices import Slice, accuracy_by_source_label, slices_text
from assay.image.contact_sheet import MUTED, CaptionLine, ContactSheet, Tile
from assay.image.overlay import encode_png
from assay.image.thumbnail import square_thumbnail

EVALUATION_FILES: Mapping[str, str] = {
    "metrics": "metrics.json",
    "report": "classification_report.txt",
    "classes": "classes.csv",
    "classes_figure": "classes.png",
    "confusion": "confusion_matrix.json",
    "confusion_text": "confusion_matrix.txt",
    "confusion_figure": "confusion_matrix.png",
    "confusion_shares_figure": "confusion_matrix_normalized.png",
    "misclassified": "misclassified.csv",
    "misclassified_figure": "misclassified.png",
    "predictions": "predictions.npz",
    "sources": "sources.csv",
    "sources_text": "sources.txt",
}
"""The files that `write_evaluation` writes into the folder, by name."""

MAX_SHEET_PHOTOS = 48
"""Images on the contact sheet of mistakes."""

_SHEET_COLUMNS = 6
_SHEET_SIDE = 236  # of an image, in pixels


def write_evaluation(
    folder: Path,
    predictions: Predictions,
    metrics: Metrics,
    *,
    figures: bool = True,
    max_photos: int = MAX_SHEET_PHOTOS,
    read: ReadImage | None = None,
    progress: Progress = no_progress,
) -> dict[str, Path]:
    """Write metrics, tables, figures and the predictions.

    Args:
        folder: created if it is missing.
        predictions: of the evaluated images.
        metrics: of the predictions.
        figures: whether figures are drawn, which takes longer than all the rest.
        max_photos: most images on the contact sheet of mistakes; the CSV lists them all.
        read: returns an image's bytes; None: read from the file at its path.
        progress: called with the number of images read and figures drawn.

    Returns:
        The path of each file written, under the names of `EVALUATION_FILES`; the tables by original category
        only where images have source labels.
    """
    paths = {name: folder / file for name, file in EVALUATION_FILES.items()}
    confusion, mistakes = ConfusionMatrix.from_predictions(predictions), misclassified_photos(predictions)
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
    drawings: dict[str, Callable[[], bytes]] = {
        "classes_figure": lambda: to_png(class_metrics_figure(metrics)),
        "confusion_figure": lambda: to_png(confusion_matrix_figure(confusion, "both")),
        "confusion_shares_figure": lambda: to_png(confusion_matrix_figure(confusion, "shares")),
        "misclassified_figure": lambda: encode_png(
            np.asarray(misclassified_sheet(mistakes, limit=max_photos, read=read, progress=progress).draw())
        ),
    }
    for done, (name, draw) in enumerate(drawings.items(), start=1):
        if not figures:
            paths.pop(name).unlink(missing_ok=True)
            continue
        with atomic_write(paths[name]) as temporary:
            temporary.write_bytes(draw())
        progress("figures", done, len(drawings))
    return paths


def misclassified_sheet(
    mistakes: Sequence[Mistake],
    *,
    limit: int = MAX_SHEET_PHOTOS,
    read: ReadImage | None = None,
    progress: Progress = no_progress,
) -> ContactSheet:
    """Lay out the first mistakes: the image, its label → the prediction, and the confidence.

    Args:
        mistakes: in display order.
        limit: most images on the sheet; at least 1.
        read: returns an image's bytes; None: read from the file at its path.
        progress: called with the number of images read.
    """
    shown = mistakes[: max(1, limit)]
    tiles = []
    for mistake in shown:
        tiles.append(_mistake_tile(mistake, read))
        progress("misclassified photos", len(tiles), len(shown))
    title, note = f"Misclassified photos ({len(mistakes)})", "label → prediction and its confidence"
    if not mistakes:
        title, note = "Misclassified photos", "None: every prediction matches the label."
    elif len(shown) < len(mistakes):
        more = len(mistakes) - len(shown)
        note += f" · most confident first · {len(shown)} of {len(mistakes)} shown, {more} more in misclassified.csv"
    else:
        note += " · most confident first"
    return ContactSheet(tiles, _SHEET_COLUMNS, _SHEET_SIDE, title, note)


def _mistake_tile(mistake: Mistake, read: ReadImage | None) -> Tile:
    label = mistake.actual
    if mistake.source_label is not None and mistake.source_label != mistake.actual:
        label = f"{mistake.actual} ({mistake.source_label})"
    given = None if read is None else partial(read, mistake.id, mistake.path)
    photo = square_thumbnail(mistake.path, _SHEET_SIDE, given)
    lines = (
        CaptionLine(label, BLUE, bold=True),
        CaptionLine(f"→ {mistake.predicted}  {format_percent(mistake.confidence)}", VERMILION, bold=True),
        CaptionLine(mistake.id, MUTED),
    )
    problem = None if photo.problem is None else f"not shown: {photo.problem}"
    return Tile((photo.pixels,), lines, problem)


def _write_class_metrics(path: Path, metrics: Metrics) -> None:
    header = ["class", "precision", "recall", "f1", "support", "predicted", "roc_auc"]
    header += ["precision_low", "precision_high", "recall_low", "recall_high"]
    rows: list[list[Cell]] = []
    for entry in metrics.classes:
        row: list[Cell] = [entry.name, entry.precision, entry.recall, entry.f1, entry.support, entry.predicted]
        row += [entry.roc_auc, *(entry.precision_interval or (None, None)), *(entry.recall_interval or (None, None))]
        rows.append(row)
    write_csv(path, header, rows)


def _write_slices(path: Path, slices: Sequence[Slice]) -> None:
    header = ["category", "class", "photos", "correct", "accuracy", "accuracy_low", "accuracy_high"]
    header += ["confidence", "mistaken_for", "mistaken_count"]
    rows: list[list[Cell]] = []
    for part in slices:
        row: list[Cell] = [part.name, part.actual, part.count, part.correct, part.accuracy, *part.interval]
        rows.append([*row, part.confidence, part.mistaken_for, part.mistaken_count])
    write_csv(path, header, rows)


def _write_mistakes(path: Path, mistakes: tuple[Mistake, ...], *, sources: bool) -> None:
    header = ["id", "path", "actual", "predicted", "confidence"]
    rows: list[list[Cell]] = [
        [mistake.id, mistake.path, mistake.actual, mistake.predicted, round(mistake.confidence, 6)]
        for mistake in mistakes
    ]
    if sources:
        header.append("source_label")
        for row, mistake in zip(rows, mistakes, strict=True):
            row.append(mistake.source_label)
    write_csv(path, header, rows)

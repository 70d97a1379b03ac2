"""Renders the HTML page: draws the charts, lays out the confusion matrix and fills the template.

The template engine escapes every name, and a content security policy forbids scripts and requests, so that
no class or file name can inject code.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np
from matplotlib.figure import Figure

from assay import __version__
from assay.core.html_pages import template_environment, theme_css
from assay.core.notebook_html import data_uri
from assay.core.printable_text import printable
from assay.core.text_layout import MAX_CLASSES_SHOWN, counted, format_number, format_percent, shorten
from assay.evaluation.bootstrap import BootstrapIntervals
from assay.evaluation.confusion_figure import cell_colors
from assay.evaluation.confusion_matrix import HOW_TO_READ, ConfusionMatrix
from assay.evaluation.figure_style import MUTED, to_svg
from assay.evaluation.figures import (
    history_figure,
    learning_curve_figure,
    precision_coverage_figure,
    precision_recall_figure,
    reliability_figure,
)
from assay.evaluation.intervals import Interval
from assay.evaluation.learning_curve import LearningCurve
from assay.evaluation.metrics import ClassMetrics, Metrics, most_confused_classes, worst_classes
from assay.evaluation.report.gallery import Gallery, ThumbnailMap
from assay.evaluation.report.report_data import EpochRow, ReportContext, ReportData
from assay.evaluation.report.report_sentences import (
    abstention_sentence,
    baseline_sentence,
    calibration_sentence,
    positive_class_sentence,
    question_sentence,
    result_sentence,
)

MAX_EXPANDED_MISTAKES = 24
"""Misclassified images that are visible at once; the others unfold."""
MAX_SLICES = 40

_NAME_WIDTH = 48
_SVG_WIDTH_INCHES = 4.8  # about 46 letters of the page
_SPLIT_TITLES = {"train": "training", "val": "validation"}


class HeadlineMetric(NamedTuple):
    """A number at the head of the page."""

    name: str
    value: str
    range: str = ""


class SplitTable(NamedTuple):
    """Images by class (rows) and split (columns)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    totals: tuple[int, ...]
    hidden: int
    """Classes without a row."""


class SvgFigure(NamedTuple):
    """A chart of the page."""

    uri: str
    alt: str
    caption: str = ""


class MatrixCell(NamedTuple):
    """How many images of the row's class were predicted as the column's."""

    photos: int
    share: str
    """Of the row, as a percentage; empty without images."""
    background: str
    color: str
    """Colors as #rrggbb."""
    correct: bool


class MatrixRow(NamedTuple):
    """The images of one class."""

    name: str
    cells: tuple[MatrixCell, ...]
    hidden_columns: int
    """Images predicted as a class without a column."""


class MatrixTable(NamedTuple):
    """What the page shows of a confusion matrix."""

    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    complete: bool
    """Whether every class is shown."""


def render_page(data: ReportData, context: ReportContext, gallery: Gallery, thumbnails: ThumbnailMap) -> str:
    """Return the page."""
    metrics = data.metrics
    values: dict[str, Any] = {
        "abstention_sentence": abstention_sentence(context),
        "baseline_sentence": baseline_sentence(metrics),
        "calibration_sentence": calibration_sentence(
            data.calibration.ece, data.before.ece if data.before else None, data.ece_if_calibrated
        ),
        "class_rows": _class_rows(metrics, data.intervals),
        "contents": _contents(data, context),
        "context": context,
        "data": data,
        "gallery": gallery,
        "headline_metrics": _headline_metrics(metrics, data.intervals),
        "history_figures": history_svgs(context.history, context.best_epoch),
        "how_to_read": HOW_TO_READ,
        "learning_curve_figure": context.learning_curve and learning_curve_svg(context.learning_curve),
        "matrix": matrix_table(data.confusion),
        "max_expanded_mistakes": MAX_EXPANDED_MISTAKES,
        "max_slices": MAX_SLICES,
        "metrics": metrics,
        "pairs_hidden": len(data.confusion.pairs()) - len(gallery.pairs),
        "positive_class_sentence": positive_class_sentence(metrics),
        "question": question_sentence(context, data.predictions.classes),
        "reliability_figure": reliability_svg(data),
        "result_sentence": result_sentence(metrics, context),
        "split_table": _split_table(context.split_counts),
        "theme": theme_css(),
        "threshold_figures": threshold_svgs(data),
        "thumbnails": thumbnails,
        "version": __version__,
        "with_neighbors": any(data.neighbors),
    }
    return _template_environment().get_template("report.html.j2").render(values)


def matrix_table(confusion: ConfusionMatrix, most: int = MAX_CLASSES_SHOWN) -> MatrixTable:
    """Lay out the matrix; of more than `most` classes, those with the most mistakes, in output order."""
    counts, shares = confusion.counts, confusion.normalized
    colors = cell_colors(shares)
    chosen = most_confused_classes(counts, most)
    rows = []
    for row in chosen:
        cells = tuple(
            MatrixCell(
                int(counts[row, column]),
                format_percent(float(shares[row, column])) if counts[row, column] else "",
                "#" + "".join(f"{round(255 * float(part)):02x}" for part in colors[row, column]),
                _contrasting_color(colors[row, column]) if counts[row, column] else MUTED,
                bool(row == column),
            )
            for column in chosen
        )
        hidden = int(counts[row].sum() - counts[row, chosen].sum())
        rows.append(MatrixRow(confusion.classes[row], cells, hidden))
    columns = tuple(confusion.classes[column] for column in chosen)
    return MatrixTable(columns, tuple(rows), len(chosen) == len(confusion.classes))


def reliability_svg(data: ReportData) -> SvgFigure | None:
    """Draw the reliability diagram, before and after temperature scaling if there is one."""
    if not data.calibration.bins:
        return None
    alt = f"Reliability diagram: expected calibration error {format_number(data.calibration.ece)}"
    if data.before is not None:
        alt += f", before calibration {format_number(data.before.ece)}"
    return _svg_figure(reliability_figure(data.calibration, data.before), f"{alt}.")


def threshold_svgs(data: ReportData) -> tuple[SvgFigure, ...]:
    """Draw precision and coverage over the confidence; for the positive class, precision and recall."""
    if not len(data.predictions):
        return ()
    figures = [
        _svg_figure(
            precision_coverage_figure(data.predictions),
            "Precision and coverage over the confidence threshold; the table gives the values.",
            "Precision and coverage",
        )
    ]
    positive = data.metrics.positive
    if positive is not None and data.metrics.of(positive).support:
        title = f"Precision and recall of “{shorten(positive, 40)}”"
        figure = precision_recall_figure(data.predictions, positive)
        figures.append(_svg_figure(figure, f"{title} over the probability threshold.", title))
    return tuple(figures)


def history_svgs(history: Sequence[EpochRow], best: int) -> tuple[SvgFigure, ...]:
    """Draw loss and accuracy over the epochs."""
    if not history:
        return ()
    epochs, last = [row.epoch for row in history], history[-1]
    loss = [row.train_loss for row in history], [row.val_loss for row in history]
    accuracy = [row.train_accuracy for row in history], [row.val_accuracy for row in history]
    over = f"over {counted(len(epochs), 'epoch')}"
    return (
        _svg_figure(
            history_figure(epochs, *loss, name="Loss", best=best),
            f"Loss {over}, {format_number(last.val_loss)} on validation in the last.",
            "Loss",
        ),
        _svg_figure(
            history_figure(epochs, *accuracy, name="Accuracy", share=True, best=best),
            f"Accuracy {over}, {format_percent(last.val_accuracy)} on validation in the last.",
            "Accuracy",
        ),
    )


def learning_curve_svg(curve: LearningCurve) -> SvgFigure:
    """Draw the score over the number of training images."""
    return _svg_figure(learning_curve_figure(curve), f"Learning curve: {curve.metric} by number of training photos.")


def _svg_figure(figure: Figure, alt: str, caption: str = "") -> SvgFigure:
    width, height = figure.get_size_inches()
    # Text becomes as large as that of the page, which has its own headings.
    figure.set_size_inches(_SVG_WIDTH_INCHES, _SVG_WIDTH_INCHES * height / width)
    for axes in figure.axes:
        axes.set_title("", loc="left")
    return SvgFigure(data_uri(to_svg(figure).encode(), "image/svg+xml"), alt, caption)


def _contrasting_color(color: np.ndarray) -> str:
    """Black or white, whichever contrasts more with an RGB color: at least 4.5 to 1 (WCAG 2.2)."""
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def _template_environment() -> jinja2.Environment:
    environment = template_environment("assay.evaluation")
    environment.filters["name"] = lambda text: shorten(str(text), _NAME_WIDTH)
    environment.filters["number"] = format_number
    environment.filters["text"] = printable
    return environment


def _contents(data: ReportData, context: ReportContext) -> list[tuple[str, str]]:
    has_photos = bool(data.metrics.count)
    about_data = context.findings is not None or bool(context.split_counts or context.split_description)
    sections = (
        ("result", "Result", True),
        ("classes", "Metrics per class", has_photos),
        ("confusion", "Confusion matrix", has_photos),
        ("confidence", "Calibration", has_photos),
        ("thresholds", "Confidence threshold", has_photos),
        ("slices", "Accuracy by image property", has_photos and bool(data.slices)),
        ("labels", "Possible label errors", has_photos),
        ("mistakes", "Misclassified photos", has_photos),
        ("candidates", "Candidates", bool(context.candidates)),
        ("training", "Training", bool(context.history)),
        ("learning-curve", "More photos", context.learning_curve is not None),
        ("data", "Data", about_data),
        ("provenance", "Provenance", bool(context.provenance or context.settings)),
        ("glossary", "Glossary", True),
    )
    return [(anchor, title) for anchor, title, present in sections if present]


def _headline_metrics(metrics: Metrics, intervals: BootstrapIntervals) -> list[HeadlineMetric]:
    f1 = HeadlineMetric("Macro F1", format_number(metrics.macro.f1), _number_range(intervals.macro_f1))
    if metrics.positive is not None:
        index = [entry.name for entry in metrics.classes].index(metrics.positive)
        value, interval = format_number(metrics.classes[index].f1), _number_range(intervals.f1[index])
        f1 = HeadlineMetric(f"F1 of “{shorten(metrics.positive, 30)}”", value, interval)
    return [
        HeadlineMetric("Accuracy", format_percent(metrics.accuracy), _percent_range(metrics.accuracy_interval)),
        HeadlineMetric(
            "Balanced accuracy", format_percent(metrics.balanced_accuracy), _percent_range(intervals.balanced_accuracy)
        ),
        f1,
        HeadlineMetric("ROC-AUC", format_number(metrics.roc_auc), _number_range(intervals.roc_auc)),
        HeadlineMetric("Photos evaluated", f"{metrics.count:,}", f"{metrics.count - metrics.correct:,} misclassified"),
    ]


def _percent_range(interval: Interval | None) -> str:
    return "" if interval is None else f"{format_percent(interval.low)} to {format_percent(interval.high)}"


def _number_range(interval: Interval | None) -> str:
    return "" if interval is None else f"{format_number(interval.low)} to {format_number(interval.high)}"


def _class_rows(metrics: Metrics, intervals: BootstrapIntervals) -> list[tuple[ClassMetrics, Interval | None]]:
    """The rows of the class table in output order; of very many classes, those with the lowest F1."""
    f1 = dict(zip([entry.name for entry in metrics.classes], intervals.f1, strict=True))
    return [(entry, f1[entry.name]) for entry in worst_classes(metrics)]


def _split_table(splits: Mapping[str, Mapping[str, int]]) -> SplitTable:
    classes = list(dict.fromkeys(name for counts in splits.values() for name in counts))
    rows = tuple((name, tuple(counts.get(name, 0) for counts in splits.values())) for name in classes)
    totals = tuple(sum(counts.values()) for counts in splits.values())
    hidden = max(0, len(rows) - MAX_CLASSES_SHOWN)
    return SplitTable(tuple(_SPLIT_TITLES.get(name, name) for name in splits), rows[:MAX_CLASSES_SHOWN], totals, hidden)

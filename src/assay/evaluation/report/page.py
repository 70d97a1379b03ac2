"""Renders the HTML page: selects the images to show, lays out the confusion matrix and fills the template.

The template engine escapes every name, and a content security policy forbids scripts and requests, so that
no class or file name can inject code.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jinja2
import numpy as np

from assay import __version__
from assay.core.tables import MAX_CLASSES_SHOWN, format_number, format_percent, shorten
from assay.core.text import printable, printable_value
from assay.evaluation.bootstrap import BootstrapIntervals
from assay.evaluation.confusion_matrix import HOW_TO_READ, ConfusedPair, ConfusionMatrix, cell_colors
from assay.evaluation.figure_style import MUTED
from assay.evaluation.intervals import Interval
from assay.evaluation.metrics import ClassMetrics, Metrics, most_confused_classes, worst_classes
from assay.evaluation.predictions import Mistake
from assay.evaluation.report.context import ReportContext
from assay.evaluation.report.report_data import LabelIssue, Neighbor, ReportData
from assay.evaluation.report.svg_figures import history_svgs, reliability_svg, threshold_svgs
from assay.evaluation.report.text import (
    abstention_sentence,
    baseline_sentence,
    calibration_sentence,
    positive_class_sentence,
    question_sentence,
    result_sentence,
)
from assay.evaluation.report.thumbnails import ThumbnailMap, ThumbnailRequest

MAX_PAIRS = 6
"""Kinds of mistakes shown with photos."""

MAX_PAIR_PHOTOS = 6
MAX_LABEL_ISSUES = 24
MAX_MISTAKES = 160
"""Misclassified photos shown; the tables list them all."""

MAX_EXPANDED_MISTAKES = 24
"""Misclassified photos that stand open; the others unfold."""

LARGE, MEDIUM, SMALL = 176, 120, 72


class ConfusedPairPhotos(NamedTuple):
    """A kind of mistake and its most confident photos."""

    pair: ConfusedPair
    photos: tuple[tuple[Mistake, ThumbnailRequest], ...]


class LabelIssuePhoto(NamedTuple):
    """A doubtful label and its photo."""

    suspect: LabelIssue
    photo: ThumbnailRequest


class MistakePhotos(NamedTuple):
    """A misclassified photo, its heat map, and the training photos most like it."""

    mistake: Mistake
    photo: ThumbnailRequest
    heat: ThumbnailRequest | None
    nearest: tuple[tuple[Neighbor, ThumbnailRequest], ...]


class Gallery(NamedTuple):
    """Everything that a page shows in pictures."""

    pairs: tuple[ConfusedPairPhotos, ...]
    suspects: tuple[LabelIssuePhoto, ...]
    mistakes: tuple[MistakePhotos, ...]

    def wishes(self) -> Iterator[ThumbnailRequest]:
        """Give every picture as often as it is shown, the most important first."""
        for pair in self.pairs:
            yield from (wish for _, wish in pair.photos)
        yield from (one.photo for one in self.suspects)
        for one in self.mistakes:
            yield one.photo
            if one.heat is not None:
                yield one.heat
            yield from (wish for _, wish in one.nearest)


def select_photos(facts: ReportData, *, heat: bool) -> Gallery:
    """Choose the photos.

    Args:
        facts: what was counted.
        heat: whether heat maps can be made.
    """
    pairs = []
    for pair in facts.confusion.pairs()[:MAX_PAIRS]:
        kind = (pair.actual, pair.predicted)
        alike = [one for one in facts.mistakes if (one.actual, one.predicted) == kind][:MAX_PAIR_PHOTOS]
        pairs.append(
            ConfusedPairPhotos(pair, tuple((one, ThumbnailRequest(one.id, one.path, MEDIUM)) for one in alike))
        )
    suspects = (
        LabelIssuePhoto(one, ThumbnailRequest(one.id, one.path, MEDIUM)) for one in facts.suspects[:MAX_LABEL_ISSUES]
    )
    classes = facts.predictions.classes
    mistakes = (
        MistakePhotos(
            one,
            ThumbnailRequest(one.id, one.path, LARGE),
            ThumbnailRequest(one.id, one.path, LARGE, classes.index(one.predicted)) if heat else None,
            tuple((near, ThumbnailRequest(near.id, near.path, SMALL)) for near in neighbours),
        )
        for one, neighbours in zip(facts.mistakes[:MAX_MISTAKES], facts.neighbours[:MAX_MISTAKES], strict=True)
    )
    return Gallery(tuple(pairs), tuple(suspects), tuple(mistakes))


class MatrixCell(NamedTuple):
    """How many photos of the row's class were taken for the column's."""

    photos: int
    share: str
    """Of the row, as a percentage; empty for no photos."""
    background: str
    ink: str
    """Colours, as #rrggbb."""
    right: bool


class MatrixRow(NamedTuple):
    """The photos of one class."""

    name: str
    cells: tuple[MatrixCell, ...]
    elsewhere: int
    """Photos taken for a class that has no column."""


class MatrixTable(NamedTuple):
    """What a page shows of a confusion matrix."""

    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    whole: bool
    """Whether every class is shown."""


def matrix_table(confusion: ConfusionMatrix, most: int = MAX_CLASSES_SHOWN) -> MatrixTable:
    """Lay out the matrix; of more than `most` classes, those with most mistakes, in output order."""
    counts, shares = confusion.counts, confusion.normalised
    colours = cell_colors(shares)
    chosen = most_confused_classes(counts, most)
    rows = []
    for row in chosen:
        cells = tuple(
            MatrixCell(
                int(counts[row, column]),
                format_percent(float(shares[row, column])) if counts[row, column] else "",
                _hex_color(colours[row, column]),
                _contrasting_color(colours[row, column]) if counts[row, column] else MUTED,
                bool(row == column),
            )
            for column in chosen
        )
        elsewhere = int(counts[row].sum() - counts[row, chosen].sum())
        rows.append(MatrixRow(confusion.classes[row], cells, elsewhere))
    columns = tuple(confusion.classes[column] for column in chosen)
    return MatrixTable(columns, tuple(rows), len(chosen) == len(confusion.classes))


def _hex_color(colour: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in colour)


def _contrasting_color(colour: np.ndarray) -> str:
    """Black or white, whichever contrasts more with an RGB colour: at least 4.5 to 1 (WCAG 2.2)."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


MAX_SLICES = 40
_NAME_WIDTH = 48


class HeadlineMetric(NamedTuple):
    """A number at the head of the page."""

    name: str
    value: str
    range: str = ""


class SplitTable(NamedTuple):
    """Photos by class (rows) and part (columns)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    totals: tuple[int, ...]
    hidden: int
    """Classes that have no row."""


def render_page(facts: ReportData, context: ReportContext, gallery: Gallery, pictures: ThumbnailMap) -> str:
    """Return the page."""
    metrics = facts.metrics
    drawn = history_svgs(context.history, context.best_epoch)
    values: dict[str, Any] = {
        "answering": abstention_sentence(context),
        "assay": __version__,
        "baseline": baseline_sentence(metrics),
        "calibration_sentence": calibration_sentence(facts.calibration.ece, facts.before.ece if facts.before else None),
        "classes": _class_rows(metrics, facts.intervals),
        "contents": _contents(facts, context),
        "context": context,
        "facts": facts,
        "figures": _headline_metrics(metrics, facts.intervals),
        "gallery": gallery,
        "heat": context.heatmap is not None,
        "history": drawn,
        "how_to_read": _capitalize(HOW_TO_READ.removeprefix("How to read it: ")),
        "looked_for": positive_class_sentence(metrics),
        "matrix": matrix_table(facts.confusion),
        "metrics": metrics,
        "mistakes_open": MAX_EXPANDED_MISTAKES,
        "most_slices": MAX_SLICES,
        "near": any(facts.neighbours),
        "pairs_hidden": len(facts.confusion.pairs()) - len(gallery.pairs),
        "parts": _split_table(context.parts),
        "pictures": pictures,
        "question": question_sentence(context, facts.predictions.classes),
        "reliability": reliability_svg(facts),
        "standing_out": any(one.outliers for one in facts.properties),
        "thresholds": threshold_svgs(facts),
        "verdict": result_sentence(metrics, context),
    }
    return _template_environment().get_template("report.html.j2").render(values)


def _template_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("assay.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable_value,
    )
    environment.filters |= {
        "name": lambda text: shorten(str(text), _NAME_WIDTH),
        "number": format_number,
        "percent": _percent,
        "text": printable,
        "tight": _no_break,
        "thousands": lambda value: f"{value:,}",
    }
    return environment


def _no_break(text: str) -> str:
    """Keep a number and its percent sign on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _percent(share: float | None, digits: int = 1) -> str:
    return _no_break(format_percent(share, digits))


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


def _contents(facts: ReportData, context: ReportContext) -> list[tuple[str, str]]:
    counted, some = bool(facts.metrics.count), bool(facts.properties)
    told = context.findings is not None or bool(context.parts or context.split)
    table = (
        ("result", "Result", True),
        ("classes", "Metrics per class", counted),
        ("confusion", "Confusion matrix", counted),
        ("confidence", "Calibration", counted),
        ("thresholds", "Confidence threshold", counted),
        ("properties", "Accuracy by image property", counted and some),
        ("labels", "Possible label errors", counted),
        ("mistakes", "Misclassified photos", counted),
        ("training", "Training", bool(context.history)),
        ("data", "Data", told),
        ("provenance", "Provenance", bool(context.provenance or context.settings)),
        ("glossary", "Glossary", True),
    )
    return [(anchor, name) for anchor, name, there in table if there]


def _headline_metrics(metrics: Metrics, intervals: BootstrapIntervals) -> list[HeadlineMetric]:
    found = [
        HeadlineMetric("Accuracy", format_percent(metrics.accuracy), _percent_range(metrics.accuracy_interval)),
        HeadlineMetric(
            "Balanced accuracy", format_percent(metrics.balanced_accuracy), _percent_range(intervals.balanced_accuracy)
        ),
    ]
    if metrics.positive is not None:
        place = [one.name for one in metrics.classes].index(metrics.positive)
        one = metrics.classes[place]
        name = f"F1 of “{shorten(one.name, 30)}”"
        found.append(HeadlineMetric(name, format_number(one.f1), _number_range(intervals.f1[place])))
    else:
        found.append(HeadlineMetric("Macro F1", format_number(metrics.macro.f1), _number_range(intervals.macro_f1)))
    found.append(HeadlineMetric("ROC-AUC", format_number(metrics.roc_auc), _number_range(intervals.roc_auc)))
    wrong = metrics.count - metrics.correct
    found.append(HeadlineMetric("Photos evaluated", f"{metrics.count:,}", f"{wrong:,} misclassified"))
    return found


def _percent_range(interval: Interval | None) -> str:
    return "" if interval is None else f"{format_percent(interval.low)} to {format_percent(interval.high)}"


def _number_range(interval: Interval | None) -> str:
    return "" if interval is None else f"{format_number(interval.low)} to {format_number(interval.high)}"


def _class_rows(metrics: Metrics, intervals: BootstrapIntervals) -> list[tuple[ClassMetrics, Interval | None]]:
    """The rows of the class table in output order; of very many classes, those with the lowest F1."""
    interval = dict(zip([one.name for one in metrics.classes], intervals.f1, strict=True))
    return [(one, interval[one.name]) for one in worst_classes(metrics)]


def _split_table(parts: Mapping[str, Mapping[str, int]]) -> SplitTable:
    named = {"train": "training", "val": "validation"}
    classes = list(dict.fromkeys(name for counts in parts.values() for name in counts))
    rows = tuple((name, tuple(counts.get(name, 0) for counts in parts.values())) for name in classes)
    totals = tuple(sum(counts.values()) for counts in parts.values())
    hidden = max(0, len(rows) - MAX_CLASSES_SHOWN)
    return SplitTable(tuple(named.get(name, name) for name in parts), rows[:MAX_CLASSES_SHOWN], totals, hidden)

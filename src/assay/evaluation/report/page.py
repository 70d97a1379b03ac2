"""The report as one HTML page: the facts, the words about them and the pictures, laid out by a template.

Every name is escaped by the template's engine, and the page forbids scripts and requests to the browser that
shows it, so that no class or file may be named to do harm.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jinja2

from assay import __version__
from assay.evaluation.bootstrap import BootstrapIntervals
from assay.evaluation.confusion import HOW_TO_READ
from assay.evaluation.intervals import Interval
from assay.evaluation.many_classes import worst_classes
from assay.evaluation.metrics import ClassMetrics, Metrics
from assay.evaluation.report.album import Shots
from assay.evaluation.report.context import ReportContext
from assay.evaluation.report.drawings import history_drawings, reliability_drawing, threshold_drawings
from assay.evaluation.report.facts import Facts
from assay.evaluation.report.gallery import MISTAKES_OPEN, Gallery
from assay.evaluation.report.matrix import matrix
from assay.evaluation.report.words import (
    answering,
    baseline,
    calibration_sentence,
    looked_for,
    question,
    verdict,
)
from assay.tables import MOST_CLASSES, number, percent, shorten
from assay.text import printable, shown

MOST_SLICES = 40
_NAME = 48


class Figure(NamedTuple):
    """A number at the head of the page."""

    name: str
    value: str
    range: str = ""


class Parts(NamedTuple):
    """Photos by class (rows) and part (columns)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    totals: tuple[int, ...]
    hidden: int
    """Classes that have no row."""


def render(facts: Facts, context: ReportContext, gallery: Gallery, pictures: Shots) -> str:
    """Return the page."""
    metrics = facts.metrics
    drawn = history_drawings(context.history, context.best_epoch)
    values: dict[str, Any] = {
        "answering": answering(context),
        "assay": __version__,
        "baseline": baseline(metrics),
        "calibration_sentence": calibration_sentence(
            facts.calibration.ece, facts.before.ece if facts.before else None
        ),
        "classes": _classes(metrics, facts.intervals),
        "contents": _contents(facts, context),
        "context": context,
        "facts": facts,
        "figures": _figures(metrics, facts.intervals),
        "gallery": gallery,
        "heat": context.heatmap is not None,
        "history": drawn,
        "how_to_read": _sentence(HOW_TO_READ.removeprefix("How to read it: ")),
        "looked_for": looked_for(metrics),
        "matrix": matrix(facts.confusion),
        "metrics": metrics,
        "mistakes_open": MISTAKES_OPEN,
        "most_slices": MOST_SLICES,
        "near": any(facts.neighbours),
        "pairs_hidden": len(facts.confusion.pairs()) - len(gallery.pairs),
        "parts": _parts(context.parts),
        "pictures": pictures,
        "question": question(context, facts.predictions.classes),
        "reliability": reliability_drawing(facts),
        "standing_out": any(one.outliers for one in facts.properties),
        "thresholds": threshold_drawings(facts),
        "verdict": verdict(metrics, context),
    }
    return _environment().get_template("report.html.j2").render(values)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("assay.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown,
    )
    environment.filters |= {
        "name": lambda text: shorten(str(text), _NAME),
        "number": number,
        "percent": _percent,
        "text": printable,
        "tight": _tight,
        "thousands": lambda value: f"{value:,}",
    }
    return environment


def _tight(text: str) -> str:
    """Keep a number and its percent sign on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _percent(share: float | None, digits: int = 1) -> str:
    return _tight(percent(share, digits))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _contents(facts: Facts, context: ReportContext) -> list[tuple[str, str]]:
    counted, some = bool(facts.metrics.count), bool(facts.properties)
    told = context.findings is not None or bool(context.parts or context.split)
    table = (
        ("result", "Result", True),
        ("classes", "Class by class", counted),
        ("confusion", "What was taken for what", counted),
        ("confidence", "Confidence", counted),
        ("thresholds", "Answering only when sure", counted),
        ("properties", "Better and worse", counted and some),
        ("labels", "Labels to look at again", counted),
        ("mistakes", "Misclassified photos", counted),
        ("training", "How it learned", bool(context.history)),
        ("data", "The photos", told),
        ("provenance", "Where this comes from", bool(context.provenance or context.settings)),
        ("words", "Words used here", True),
    )
    return [(anchor, name) for anchor, name, there in table if there]


def _figures(metrics: Metrics, intervals: BootstrapIntervals) -> list[Figure]:
    found = [
        Figure("Accuracy", percent(metrics.accuracy), _shares(metrics.accuracy_interval)),
        Figure("Balanced accuracy", percent(metrics.balanced_accuracy), _shares(intervals.balanced_accuracy)),
    ]
    if metrics.positive is not None:
        place = [one.name for one in metrics.classes].index(metrics.positive)
        one = metrics.classes[place]
        name = f"F1 of “{shorten(one.name, 30)}”"
        found.append(Figure(name, number(one.f1), _numbers(intervals.f1[place])))
    else:
        found.append(
            Figure("F1, mean of the classes", number(metrics.macro.f1), _numbers(intervals.macro_f1))
        )
    found.append(Figure("ROC-AUC", number(metrics.roc_auc), _numbers(intervals.roc_auc)))
    wrong = metrics.count - metrics.correct
    found.append(Figure("Photos judged", f"{metrics.count:,}", f"{wrong:,} of them wrong"))
    return found


def _shares(interval: Interval | None) -> str:
    return "" if interval is None else f"{percent(interval.low)} to {percent(interval.high)}"


def _numbers(interval: Interval | None) -> str:
    return "" if interval is None else f"{number(interval.low)} to {number(interval.high)}"


def _classes(metrics: Metrics, intervals: BootstrapIntervals) -> list[tuple[ClassMetrics, Interval | None]]:
    """The rows of the class table in output order; of very many classes, those with the lowest F1."""
    interval = dict(zip([one.name for one in metrics.classes], intervals.f1, strict=True))
    return [(one, interval[one.name]) for one in worst_classes(metrics)]


def _parts(parts: Mapping[str, Mapping[str, int]]) -> Parts:
    named = {"train": "training", "val": "validation"}
    classes = list(dict.fromkeys(name for counts in parts.values() for name in counts))
    rows = tuple((name, tuple(counts.get(name, 0) for counts in parts.values())) for name in classes)
    totals = tuple(sum(counts.values()) for counts in parts.values())
    hidden = max(0, len(rows) - MOST_CLASSES)
    return Parts(tuple(named.get(name, name) for name in parts), rows[:MOST_CLASSES], totals, hidden)

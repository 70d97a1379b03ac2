"""The charts of the page as SVG data URIs."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from assay.core.tables import format_number, format_percent, shorten
from assay.evaluation.figure_style import to_svg
from assay.evaluation.figures import (
    history_figure,
    precision_coverage_figure,
    precision_recall_figure,
    reliability_figure,
)
from assay.evaluation.report.context import EpochMetrics
from assay.evaluation.report.report_data import ReportData

_WIDTH_INCHES = 4.8
"""Inches; on the page about 46 letters."""


class SvgFigure(NamedTuple):
    """A figure on a page."""

    address: str
    alt: str
    """What it shows, in words."""
    caption: str = ""


def reliability_svg(facts: ReportData) -> SvgFigure | None:
    """Draw the reliability diagram, before and after where there is a temperature."""
    if not facts.calibration.bins:
        return None
    alt = f"Reliability diagram: expected calibration error {format_number(facts.calibration.ece)}"
    if facts.before is not None:
        alt += f", before calibration {format_number(facts.before.ece)}"
    return _svg_figure(reliability_figure(facts.calibration, facts.before), alt + ".")


def threshold_svgs(facts: ReportData) -> tuple[SvgFigure, ...]:
    """Draw precision and coverage over the confidence; for the class looked for, precision and recall."""
    if not len(facts.predictions):
        return ()
    predictions = facts.predictions
    found = [
        _svg_figure(
            precision_coverage_figure(predictions),
            "Precision and coverage over the confidence threshold; the table gives the values.",
            "Precision and coverage",
        )
    ]
    positive = facts.metrics.positive
    if positive is not None and facts.metrics.of(positive).support:
        name = shorten(positive, 40)
        found.append(
            _svg_figure(
                precision_recall_figure(predictions, positive),
                f"Precision and recall of “{name}” over the probability threshold.",
                f"Precision and recall of “{name}”",
            )
        )
    return tuple(found)


def history_svgs(history: Sequence[EpochMetrics], best: int) -> tuple[SvgFigure, ...]:
    """Draw loss and accuracy over the epochs."""
    if not history:
        return ()
    epochs, last = [one.epoch for one in history], history[-1]
    loss = history_figure(
        epochs,
        [one.train_loss for one in history],
        [one.val_loss for one in history],
        name="Loss",
        best=best,
    )
    accuracy = history_figure(
        epochs,
        [one.train_accuracy for one in history],
        [one.val_accuracy for one in history],
        name="Accuracy",
        share=True,
        best=best,
    )
    return (
        _svg_figure(
            loss, f"Loss over {len(epochs)} epochs, {format_number(last.val_loss)} on validation in the last.", "Loss"
        ),
        _svg_figure(
            accuracy,
            f"Accuracy over {len(epochs)} epochs, {format_percent(last.val_accuracy)} on validation in the last.",
            "Accuracy",
        ),
    )


def _svg_figure(figure: Figure, alt: str, caption: str = "") -> SvgFigure:
    width, height = figure.get_size_inches()
    figure.set_size_inches(_WIDTH_INCHES, _WIDTH_INCHES * height / width)  # letters as large as those of the page
    for axes in figure.axes:
        axes.set_title("", loc="left")  # the page has headings of its own
    encoded = base64.b64encode(to_svg(figure).encode()).decode()
    return SvgFigure(f"data:image/svg+xml;base64,{encoded}", alt, caption)

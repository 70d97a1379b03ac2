"""The figures of a page as pictures that it can hold: SVG, drawn by the same functions as the PNG files."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from assay.evaluation.figure import svg
from assay.evaluation.history_figure import history_figure
from assay.evaluation.reliability_figure import reliability_figure
from assay.evaluation.report.context import Epoch
from assay.evaluation.report.facts import Facts
from assay.evaluation.threshold_figure import positive_figure, threshold_figure
from assay.tables import number, percent, shorten

_WIDTH = 4.8
"""Inches; on the page about 46 letters."""


class Drawing(NamedTuple):
    """A figure on a page."""

    address: str
    alt: str
    """What it shows, in words."""
    caption: str = ""


def reliability_drawing(facts: Facts) -> Drawing | None:
    """Draw the reliability diagram, before and after where there is a temperature."""
    if not facts.calibration.bins:
        return None
    alt = f"Reliability diagram: calibration error {number(facts.calibration.ece)}"
    if facts.before is not None:
        alt += f", before calibration {number(facts.before.ece)}"
    return _drawing(reliability_figure(facts.calibration, facts.before), alt + ".")


def threshold_drawings(facts: Facts) -> tuple[Drawing, ...]:
    """Draw precision and coverage over the confidence; for the class looked for, precision and recall."""
    if not len(facts.predictions):
        return ()
    predictions = facts.predictions
    found = [
        _drawing(
            threshold_figure(predictions),
            "Precision and coverage over the least confidence that is answered; the table gives the values.",
            "Answering only when sure",
        )
    ]
    positive = facts.metrics.positive
    if positive is not None and facts.metrics.of(positive).support:
        name = shorten(positive, 40)
        found.append(
            _drawing(
                positive_figure(predictions, positive),
                f"Precision and recall of “{name}” over the probability from which on it is called.",
                f"Calling “{name}”",
            )
        )
    return tuple(found)


def history_drawings(history: Sequence[Epoch], best: int) -> tuple[Drawing, ...]:
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
        _drawing(
            loss, f"Loss over {len(epochs)} epochs, {number(last.val_loss)} on validation at the end.", "Loss"
        ),
        _drawing(
            accuracy,
            f"Accuracy over {len(epochs)} epochs, {percent(last.val_accuracy)} on validation at the end.",
            "Accuracy",
        ),
    )


def _drawing(figure: Figure, alt: str, caption: str = "") -> Drawing:
    width, height = figure.get_size_inches()
    figure.set_size_inches(_WIDTH, _WIDTH * height / width)  # letters as large as those of the page
    for axes in figure.axes:
        axes.set_title("", loc="left")  # the page has headings of its own
    encoded = base64.b64encode(svg(figure).encode()).decode()
    return Drawing(f"data:image/svg+xml;base64,{encoded}", alt, caption)

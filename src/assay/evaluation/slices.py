"""Accuracy by slice: by original category or any other property of an image."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from assay.core.errors import UsageError
from assay.core.tables import (
    MAX_CLASSES_LISTED,
    MAX_CLASSES_SHOWN,
    align_columns,
    format_number,
    format_percent,
    shorten,
)
from assay.evaluation.intervals import Interval, wilson_interval
from assay.evaluation.predictions import IntArray, Predictions


@dataclass(frozen=True, slots=True)
class Slice:
    """The photos that share a property.

    Attributes:
        name: the property's value.
        actual: the class that all of them have, or none when they have several.
        count: photos; at least 1.
        correct: how many of them are right.
        accuracy: share of them.
        interval: Wilson interval of the accuracy.
        confidence: mean confidence, 0-1; well above the accuracy where the classifier errs without knowing.
        mistaken_for: the class most often predicted wrongly; none without mistakes.
        mistaken_count: how often that was.
    """

    name: str
    actual: str | None
    count: int
    correct: int
    accuracy: float
    interval: Interval
    confidence: float
    mistaken_for: str | None
    mistaken_count: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self) | {"interval": list(self.interval)}


def accuracy_by_slice(predictions: Predictions, names: Sequence[str]) -> tuple[Slice, ...]:
    """Measure the photos of each name apart.

    Args:
        predictions: what was predicted.
        names: one a photo: the value of the property.

    Returns:
        A slice a name, the least accurate first.

    Raises:
        ValueError: there are more or fewer names than photos.
    """
    if len(names) != len(predictions):
        raise ValueError(f"{len(names)} names for {len(predictions)} photos")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    found = [_slice(predictions, name, np.array(places)) for name, places in rows.items()]
    return tuple(sorted(found, key=lambda one: (one.accuracy, -one.count, one.name)))


def accuracy_by_source_label(predictions: Predictions) -> tuple[Slice, ...]:
    """Measure each original category apart: of animals, how birds fare and how frogs do.

    Raises:
        UsageError: the photos have no source labels.
    """
    if predictions.source_labels is None:
        raise UsageError("the photos have no source labels: classes were not mapped, so use the class table")
    return accuracy_by_slice(predictions, predictions.source_labels)


def slices_text(slices: Sequence[Slice], heading: str) -> str:
    """Return slices as an aligned table, of many the first ones; `heading` names the property."""
    rows = [[heading, "class", "photos", "correct", "accuracy", "95 % interval", "confidence", "predicted as"]]
    shown = slices if len(slices) <= MAX_CLASSES_SHOWN else slices[:MAX_CLASSES_LISTED]
    for one in shown:
        mistaken = f"{shorten(one.mistaken_for, 24)} ({one.mistaken_count})" if one.mistaken_for else "–"
        low, high = one.interval
        rows.append(
            [
                shorten(one.name, 32),
                shorten(one.actual, 24) if one.actual else "several",
                str(one.count),
                str(one.correct),
                format_percent(one.accuracy),
                f"{format_number(low)} to {format_number(high)}",
                format_percent(one.confidence),
                mistaken,
            ]
        )
    hidden = len(slices) - len(shown)
    more = f"\n{hidden} more, with fewer mistakes, in sources.csv\n" if hidden else ""
    return f"{align_columns(rows)}\n{more}"


def _slice(predictions: Predictions, name: str, rows: IntArray) -> Slice:
    labels, predicted = np.unique(predictions.actual[rows]), predictions.predicted[rows]
    correct = predictions.correct[rows]
    wrong = np.bincount(predicted[~correct], minlength=len(predictions.classes))
    worst = int(wrong.argmax())
    right = int(correct.sum())
    return Slice(
        name=name,
        actual=predictions.classes[labels[0]] if labels.size == 1 else None,
        count=rows.size,
        correct=right,
        accuracy=right / rows.size,
        interval=wilson_interval(right, rows.size),
        confidence=float(predictions.confidence[rows].mean()),
        mistaken_for=predictions.classes[worst] if wrong[worst] else None,
        mistaken_count=int(wrong[worst]),
    )

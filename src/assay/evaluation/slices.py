"""Accuracy by slice: by original category, brightness, size, file type or any other property of an image."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress, no_progress
from assay.core.text_layout import (
    MAX_CLASSES_LISTED,
    MAX_CLASSES_SHOWN,
    align_columns,
    format_number,
    format_percent,
    shorten,
)
from assay.evaluation.intervals import CONFIDENCE_LEVEL, Interval, wilson_interval
from assay.evaluation.predictions import FloatArray, IntArray, Predictions, ReadImage, evenly_spaced, read_image
from assay.image import decode, inspect

MAX_MEASURED_IMAGES = 5_000
"""Images that are measured at most; of more, an even sample."""

_GROUPS = 5
_MAX_SIZES = 6
_DECODE_SIDE = 32
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_MIN_SLICE_IMAGES = 20

_GroupNames = tuple[list[str], list[str]]
"""The group name of each image, and all group names in display order."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Metrics of the images that share a property.

    Attributes:
        name: the property's value.
        actual: the class of all of them; None when they have several.
        count: images; at least 1.
        correct: correctly classified images.
        accuracy: `correct / count`.
        interval: Wilson interval of the accuracy.
        confidence: mean confidence, 0-1; well above the accuracy where the classifier is overconfident.
        mistaken_for: the most frequent wrong prediction; None without mistakes.
        mistaken_count: how often it was predicted.
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
    """Compute the metrics of each slice, the least accurate first.

    Args:
        predictions: of N images.
        names: the slice of each image, N of them.

    Raises:
        ValueError: the lengths differ.
    """
    if len(names) != len(predictions):
        raise ValueError(f"{len(names)} names for {len(predictions)} photos")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    slices = [_slice(predictions, name, np.array(members)) for name, members in rows.items()]
    return tuple(sorted(slices, key=lambda part: (part.accuracy, -part.count, part.name)))


def accuracy_by_source_label(predictions: Predictions) -> tuple[Slice, ...]:
    """Compute the metrics of each original category, such as birds and frogs of the class animal.

    Raises:
        UsageError: the images have no source labels.
    """
    if predictions.source_labels is None:
        raise UsageError("the photos have no source labels: classes were not mapped, so use the class table")
    return accuracy_by_slice(predictions, predictions.source_labels)


def slices_text(slices: Sequence[Slice], heading: str) -> str:
    """Return slices as an aligned table, of many the first ones; `heading` names the property."""
    rows = [[heading, "class", "photos", "correct", "accuracy", "95 % interval", "confidence", "predicted as"]]
    shown = slices if len(slices) <= MAX_CLASSES_SHOWN else slices[:MAX_CLASSES_LISTED]
    for part in shown:
        mistaken = f"{shorten(part.mistaken_for, 24)} ({part.mistaken_count})" if part.mistaken_for else "–"
        rows.append(
            [
                shorten(part.name, 32),
                shorten(part.actual, 24) if part.actual else "several",
                str(part.count),
                str(part.correct),
                format_percent(part.accuracy),
                f"{format_number(part.interval.low)} to {format_number(part.interval.high)}",
                format_percent(part.confidence),
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


class ImageProperties(NamedTuple):
    """Properties of an image by which its predictions are grouped."""

    format: str
    width: int
    height: int
    brightness: float
    """Mean luma, 0 (black) to 1 (white)."""


class SliceGroup(NamedTuple):
    """Accuracy by one property."""

    name: str
    note: str
    slices: tuple[Slice, ...]
    below_average: frozenset[str]
    """Names of the slices that are significantly less accurate than all images together."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        rows = [part.to_dict() | {"below_average": part.name in self.below_average} for part in self.slices]
        return {"property": self.name, "note": self.note, "slices": rows}


def slices_by_image_property(
    predictions: Predictions, properties: Mapping[str, ImageProperties]
) -> tuple[SliceGroup, ...]:
    """Compute the accuracy by source label (where images have one), brightness, size and file type.

    Args:
        predictions: of the evaluated images.
        properties: by id; images without an entry are left out, except by source label.

    Returns:
        The properties by which the images differ; one that all images share is left out.
    """
    groups = []
    if predictions.source_labels is not None and len(set(predictions.source_labels)) > 1:
        note = "The label each photo had before classes were mapped, least accurate first."
        groups.append(_slice_group("Source label", note, accuracy_by_source_label(predictions)))
    rows = [row for row, name in enumerate(predictions.ids) if name in properties]
    subset = predictions.take(rows)
    measured = [properties[name] for name in subset.ids]
    sample = "" if len(rows) == len(predictions) else f" Measured on {len(rows)} of the photos."
    table = (
        ("Brightness", "Mean brightness, from 0 % (black) to 100 % (white).", _brightness_groups(measured)),
        ("Size", "Width × height in pixels.", _size_groups(measured)),
        ("File type", "Determined from the file's content, not from its name.", _format_groups(measured)),
    )
    for name, note, (names, order) in table:
        if len(order) > 1:
            groups.append(_slice_group(name, note + sample, accuracy_by_slice(subset, names), order))
    return tuple(groups)


def measure_images(
    predictions: Predictions,
    read: ReadImage | None = None,
    *,
    known: Mapping[str, ImageProperties] | None = None,
    progress: Progress = no_progress,
) -> dict[str, ImageProperties]:
    """Measure the images that are not in `known`, with all processors.

    Args:
        predictions: of the images.
        read: returns an image's bytes; None: read from the file at its path.
        known: properties by id that were measured before.
        progress: called with the number of images read.

    Returns:
        Properties by id, of at most `MAX_MEASURED_IMAGES` evenly spaced images; unreadable ones are left out.
    """
    known = known or {}
    rows = evenly_spaced(range(len(predictions)), MAX_MEASURED_IMAGES)
    missing = [row for row in rows if predictions.ids[row] not in known]

    def measure(row: int) -> ImageProperties | None:
        try:
            return measure_image(read_image(predictions.ids[row], predictions.paths[row], read))
        except AssayError:
            return None

    properties = {predictions.ids[row]: known[predictions.ids[row]] for row in rows if predictions.ids[row] in known}
    with ThreadPoolExecutor(cpu_count()) as pool:
        for done, (row, measured) in enumerate(zip(missing, pool.map(measure, missing), strict=True), start=1):
            if measured is not None:
                properties[predictions.ids[row]] = measured
            if done % 64 == 0 or done == len(missing):
                progress("image properties", done, len(missing))
    return properties


def measure_image(data: bytes) -> ImageProperties:
    """Measure one image file.

    Raises:
        DecodeError: it cannot be read.
    """
    info = inspect(data)
    pixels = decode(data, min_side=_DECODE_SIDE, value_range="minmax")
    # Rows and columns are skipped first: a mean needs no more than some thousand pixels.
    step = max(1, min(pixels.shape[:2]) // (4 * _DECODE_SIDE))
    brightness = float(pixels[::step, ::step].reshape(-1, 3).mean(axis=0) @ _LUMA / 255)
    return ImageProperties(info.format, info.width, info.height, brightness)


def _slice_group(name: str, note: str, slices: tuple[Slice, ...], order: Sequence[str] | None = None) -> SliceGroup:
    accuracy = sum(part.correct for part in slices) / sum(part.count for part in slices)
    # Of many slices one is below average by chance alone: the level rises with their number (Bonferroni).
    level = 1 - (1 - CONFIDENCE_LEVEL) / len(slices)
    below = frozenset(
        part.name
        for part in slices
        if part.count >= _MIN_SLICE_IMAGES and wilson_interval(part.correct, part.count, level).high < accuracy
    )
    if order is not None:
        slices = tuple(sorted(slices, key=lambda part: order.index(part.name)))
    return SliceGroup(name, note, slices, below)


def _brightness_groups(images: Sequence[ImageProperties]) -> _GroupNames:
    """Name the fifth of all images that each belongs to, darkest first."""
    values = np.array([image.brightness for image in images])
    return _quantile_groups(values, lambda low, high: f"{100 * low:.0f} to {100 * high:.0f} %")


def _size_groups(images: Sequence[ImageProperties]) -> _GroupNames:
    """Name the size of each image, smallest first; of many sizes, ranges of the shorter side."""
    sizes = sorted({(image.width * image.height, image.width, image.height) for image in images})
    if len(sizes) <= _MAX_SIZES:
        order = [f"{width} × {height}" for _, width, height in sizes]
        return [f"{image.width} × {image.height}" for image in images], order
    values = np.array([min(image.width, image.height) for image in images], dtype=np.float64)
    return _quantile_groups(values, lambda low, high: f"shorter side {low:.0f} to {high:.0f}")


def _format_groups(images: Sequence[ImageProperties]) -> _GroupNames:
    names = [image.format.upper() for image in images]
    return names, [name for name, _ in Counter(names).most_common()]


def _quantile_groups(values: FloatArray, name: Callable[[float, float], str]) -> _GroupNames:
    """Sort values into groups of about equal number, each named by its least and greatest value."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _GROUPS + 1)[1:-1])) if values.size else values
    groups = np.searchsorted(edges, values, side="left")
    labels = {
        int(group): name(float(values[groups == group].min()), float(values[groups == group].max()))
        for group in np.unique(groups)
    }
    return [labels[int(group)] for group in groups], list(dict.fromkeys(labels.values()))

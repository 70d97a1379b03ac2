"""Accuracy by image property: brightness, size and file type, measured from each image's bytes."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.evaluation.intervals import CONFIDENCE_LEVEL, wilson_interval
from assay.evaluation.predictions import FloatArray, Predictions
from assay.evaluation.report.context import ReadImage
from assay.evaluation.report.thumbnails import evenly_spaced, read_image
from assay.evaluation.slices import Slice, accuracy_by_slice, accuracy_by_source_label
from assay.image import decode, inspect

MAX_MEASURED_PHOTOS = 5_000
"""Photos that are opened for this; of more, an even sample."""

_GROUPS = 5
_MAX_SIZES = 6
_DECODE_SIDE = 32
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_MIN_SLICE_PHOTOS = 20

_GroupNames = tuple[list[str], list[str]]
"""The name of each photo's group, and all names in the order to show them."""


class ImageProperties(NamedTuple):
    """What a photo is like."""

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
    outliers: frozenset[str]
    """Names of the slices that are worse than the whole by more than chance."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        rows = [one.to_dict() | {"stands_out": one.name in self.outliers} for one in self.slices]
        return {"property": self.name, "note": self.note, "slices": rows}


def slices_by_image_property(
    predictions: Predictions, read: ReadImage | None = None, *, progress: Progress = no_progress
) -> tuple[SliceGroup, ...]:
    """Measure accuracy by source label (where photos have one), brightness, size and file type.

    Args:
        predictions: what was predicted.
        read: how photos are read; none: from the files at their paths.
        progress: told how many photos have been opened.

    Returns:
        The properties by which the photos differ; one that all photos share is left out.
    """
    found = []
    if predictions.source_labels is not None and len(set(predictions.source_labels)) > 1:
        note = "The label each photo had before classes were mapped, least accurate first."
        found.append(_slice_group("Source label", note, accuracy_by_source_label(predictions)))
    rows = evenly_spaced(range(len(predictions)), MAX_MEASURED_PHOTOS)
    photos = dict(zip(rows, _measure_images(predictions, rows, read, progress), strict=True))
    known = {row: photo for row, photo in photos.items() if photo is not None}
    subset = predictions.take(list(known))
    measured = list(known.values())
    sample = "" if len(known) == len(predictions) else f" Measured on {len(known)} of the photos."
    note = "Mean brightness of the photo, from 0 % (black) to 100 % (white)."
    table = (
        ("Brightness", note, _brightness_groups(measured)),
        ("Size", "Width × height in pixels.", _size_groups(measured)),
        ("File type", "Determined from the file's content, not from its name.", _format_groups(measured)),
    )
    for name, note, (names, order) in table:
        if len(order) > 1:
            found.append(_slice_group(name, note + sample, accuracy_by_slice(subset, names), order))
    return tuple(found)


def _slice_group(name: str, note: str, slices: tuple[Slice, ...], order: Sequence[str] | None = None) -> SliceGroup:
    total = sum(one.count for one in slices)
    accuracy = sum(one.correct for one in slices) / total
    # Of many slices one stands out by chance alone: the level rises with their number (Bonferroni).
    level = 1 - (1 - CONFIDENCE_LEVEL) / len(slices)
    outliers = frozenset(
        one.name
        for one in slices
        if one.count >= _MIN_SLICE_PHOTOS and wilson_interval(one.correct, one.count, level).high < accuracy
    )
    if order is not None:
        slices = tuple(sorted(slices, key=lambda one: order.index(one.name)))
    return SliceGroup(name, note, slices, outliers)


def _measure_images(
    predictions: Predictions, rows: Sequence[int], read: ReadImage | None, progress: Progress
) -> list[ImageProperties | None]:
    """Open photos with all processors; those that cannot be opened give none."""

    def measure(row: int) -> ImageProperties | None:
        try:
            return measure_image(read_image(predictions.ids[row], predictions.paths[row], read))
        except AssayError:
            return None

    found = []
    with ThreadPoolExecutor(cpu_count()) as pool:
        for photo in pool.map(measure, rows):
            found.append(photo)
            if len(found) % 64 == 0 or len(found) == len(rows):
                progress("image properties", len(found), len(rows))
    return found


def measure_image(data: bytes) -> ImageProperties:
    """Measure one photo.

    Raises:
        DecodeError: it cannot be read.
    """
    info = inspect(data)
    pixels = decode(data, min_side=_DECODE_SIDE, value_range="minmax")
    # Rows and columns are skipped first: a mean needs no more than some thousand pixels.
    step = max(1, min(pixels.shape[:2]) // (4 * _DECODE_SIDE))
    brightness = float(pixels[::step, ::step].reshape(-1, 3).mean(axis=0) @ _LUMA / 255)
    return ImageProperties(info.format, info.width, info.height, brightness)


def _brightness_groups(photos: Sequence[ImageProperties]) -> _GroupNames:
    """Name the fifth of all photos that each belongs to, darkest first."""
    values = np.array([one.brightness for one in photos])
    return _quantile_groups(values, lambda low, high: f"{100 * low:.0f} to {100 * high:.0f} %")


def _size_groups(photos: Sequence[ImageProperties]) -> _GroupNames:
    """Name the size of each photo, smallest first; where sizes are many, ranges of the shorter side."""
    sizes = sorted({(one.width * one.height, one.width, one.height) for one in photos})
    if len(sizes) <= _MAX_SIZES:
        order = [f"{width} × {height}" for _, width, height in sizes]
        return [f"{one.width} × {one.height}" for one in photos], order
    values = np.array([min(one.width, one.height) for one in photos], dtype=np.float64)
    return _quantile_groups(values, lambda low, high: f"shorter side {low:.0f} to {high:.0f}")


def _format_groups(photos: Sequence[ImageProperties]) -> _GroupNames:
    names = [one.format.upper() for one in photos]
    return names, [name for name, _ in Counter(names).most_common()]


def _quantile_groups(values: FloatArray, name: Callable[[float, float], str]) -> _GroupNames:
    """Sort values into groups of about equal number, each named by its least and greatest value."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _GROUPS + 1)[1:-1])) if values.size else values
    places = np.searchsorted(edges, values, side="left")
    labels = {
        int(place): name(float(values[places == place].min()), float(values[places == place].max()))
        for place in np.unique(places)
    }
    return [labels[int(place)] for place in places], list(dict.fromkeys(labels.values()))

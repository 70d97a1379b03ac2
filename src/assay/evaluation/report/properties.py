"""Accuracy by what the photos are like: size, brightness and file type, each photo measured from its bytes.

A classifier that fails on dark photos, or on those of one camera, shows it here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from assay.errors import AssayError
from assay.evaluation.intervals import LEVEL, wilson
from assay.evaluation.predictions import Floats, Predictions
from assay.evaluation.report.album import read_photo, spread
from assay.evaluation.report.context import Read
from assay.evaluation.slices import Slice, accuracy_by, accuracy_by_source
from assay.image import decode, inspect
from assay.inference import cpu_count
from assay.progress import Progress, silent

MOST = 5_000
"""Photos that are opened for this; of more, an even sample."""

_GROUPS = 5
_SIZES = 6
_SIDE = 32
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_FEWEST = 20

_Names = tuple[list[str], list[str]]
"""The name of each photo's group, and all names in the order to show them."""


class Photo(NamedTuple):
    """What a photo is like."""

    format: str
    width: int
    height: int
    brightness: float
    """Mean luma, 0 (black) to 1 (white)."""


class Property(NamedTuple):
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


def properties(
    predictions: Predictions, read: Read | None = None, *, progress: Progress = silent
) -> tuple[Property, ...]:
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
        note = "Where the photos come from, or what they were called before labels were joined; worst first."
        found.append(_property("Source label", note, accuracy_by_source(predictions)))
    rows = spread(range(len(predictions)), MOST)
    photos = dict(zip(rows, _measure(predictions, rows, read, progress), strict=True))
    known = {row: photo for row, photo in photos.items() if photo is not None}
    subset = predictions.take(list(known))
    measured = list(known.values())
    sample = "" if len(known) == len(predictions) else f" Counted on {len(known)} of the photos."
    note = "Mean brightness of the photo, from 0 % (black) to 100 % (white)."
    table = (
        ("Brightness", note, _shades(measured)),
        ("Size", "Width × height in pixels.", _sizes(measured)),
        ("File type", "By the file's content, not by its name.", _types(measured)),
    )
    for name, note, (names, order) in table:
        if len(order) > 1:
            found.append(_property(name, note + sample, accuracy_by(subset, names), order))
    return tuple(found)


def _property(
    name: str, note: str, slices: tuple[Slice, ...], order: Sequence[str] | None = None
) -> Property:
    total = sum(one.count for one in slices)
    accuracy = sum(one.correct for one in slices) / total
    # Of many slices one stands out by chance alone: the level rises with their number (Bonferroni).
    level = 1 - (1 - LEVEL) / len(slices)
    outliers = frozenset(
        one.name
        for one in slices
        if one.count >= _FEWEST and wilson(one.correct, one.count, level).high < accuracy
    )
    if order is not None:
        slices = tuple(sorted(slices, key=lambda one: order.index(one.name)))
    return Property(name, note, slices, outliers)


def _measure(
    predictions: Predictions, rows: Sequence[int], read: Read | None, progress: Progress
) -> list[Photo | None]:
    """Open photos with all processors; those that cannot be opened give none."""

    def measure(row: int) -> Photo | None:
        try:
            return measure_photo(read_photo(predictions.ids[row], predictions.paths[row], read))
        except AssayError:
            return None

    found = []
    with ThreadPoolExecutor(cpu_count()) as pool:
        for photo in pool.map(measure, rows):
            found.append(photo)
            if len(found) % 64 == 0 or len(found) == len(rows):
                progress("properties of the photos", len(found), len(rows))
    return found


def measure_photo(data: bytes) -> Photo:
    """Measure one photo.

    Raises:
        DecodeError: it cannot be read.
    """
    info = inspect(data)
    pixels = decode(data, min_side=_SIDE, value_range="stretch")
    # Rows and columns are skipped first: a mean needs no more than some thousand pixels.
    step = max(1, min(pixels.shape[:2]) // (4 * _SIDE))
    brightness = float(pixels[::step, ::step].reshape(-1, 3).mean(axis=0) @ _LUMA / 255)
    return Photo(info.format, info.width, info.height, brightness)


def _shades(photos: Sequence[Photo]) -> _Names:
    """Name the fifth of all photos that each belongs to, darkest first."""
    values = np.array([one.brightness for one in photos])
    return _binned(values, lambda low, high: f"{100 * low:.0f} to {100 * high:.0f} %")


def _sizes(photos: Sequence[Photo]) -> _Names:
    """Name the size of each photo, smallest first; where sizes are many, ranges of the shorter side."""
    sizes = sorted({(one.width * one.height, one.width, one.height) for one in photos})
    if len(sizes) <= _SIZES:
        order = [f"{width} × {height}" for _, width, height in sizes]
        return [f"{one.width} × {one.height}" for one in photos], order
    values = np.array([min(one.width, one.height) for one in photos], dtype=np.float64)
    return _binned(values, lambda low, high: f"shorter side {low:.0f} to {high:.0f}")


def _types(photos: Sequence[Photo]) -> _Names:
    names = [one.format.upper() for one in photos]
    return names, [name for name, _ in Counter(names).most_common()]


def _binned(values: Floats, name: Callable[[float, float], str]) -> _Names:
    """Sort values into groups of about equal number, each named by its least and greatest value."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _GROUPS + 1)[1:-1])) if values.size else values
    places = np.searchsorted(edges, values, side="left")
    labels = {
        int(place): name(float(values[places == place].min()), float(values[places == place].max()))
        for place in np.unique(places)
    }
    return [labels[int(place)] for place in places], list(dict.fromkeys(labels.values()))

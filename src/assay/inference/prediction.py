"""The prediction for one image, and how notebooks show predictions and classifiers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.bundle import BundleInfo
from assay.core import notebook_html
from assay.core.text_layout import format_percent
from assay.image import DecodeError
from assay.image.thumbnail import jpeg_thumbnail
from assay.inference.abstention import AbstentionReason


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        label: the most probable class; if several are equally probable, the first in class order.
        confidence: its calibrated probability, 0-1.
        probabilities: calibrated probabilities of all classes, in class order; they sum to 1.
        source: path of the image as given; None for bytes or pixels.
        unknown: whether the classifier abstains; None if abstention is disabled or the bundle has no thresholds.
        reason: why it abstains.
        novelty: out-of-distribution score, above 1 out of distribution; None if not computed.
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    source: str | None = None
    unknown: bool | None = None
    reason: AbstentionReason | None = None
    novelty: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `unknown`, `reason` and `novelty` only if abstention is enabled."""
        values: dict[str, Any] = {
            "source": self.source,
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": dict(self.probabilities),
        }
        if self.unknown is not None:
            values |= {"unknown": self.unknown, "reason": self.reason, "novelty": self.novelty}
        return values

    def _repr_html_(self) -> str:
        return prediction_html(self.label, self.probabilities, self.source, self.reason, unknown=self.unknown is True)


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be read.

    Attributes:
        source: its path as given, or its position, "photo 3".
        reason: what is wrong.
        temporary: the storage failed (a disk error, a lost network drive), not the image: reading it again may succeed.
    """

    source: str
    reason: str
    temporary: bool = False

    def __str__(self) -> str:
        return f"{self.source} cannot be read: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"source": self.source, "error": self.reason}


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Convert logits [N, C] to probabilities in float64, without overflow.

    `temperature`, above 0, divides the logits; values above 1 lower the confidence.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), for the temperature.
    """
    wide = logits.astype(np.float64)
    # Subtract the maximum first: divided by a tiny temperature, several logits could overflow.
    with np.errstate(over="ignore"):
        powers = np.exp((wide - wide.max(axis=1, keepdims=True)) / temperature)
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


_THUMBNAIL_SIDE = 192  # pixels
_MAX_THUMBNAIL_FILE_BYTES = 64 * 2**20  # larger files are not opened for a thumbnail


def prediction_html(
    label: str, probabilities: Mapping[str, float], source: str | None, reason: str | None, *, unknown: bool
) -> str:
    """Return the prediction with a bar for each class, and the image if it can still be read."""
    confidence = format_percent(probabilities.get(label))
    why = (reason or "").replace("_", " ")
    title = f"unknown ({why}); nearest: {label} {confidence}" if unknown else f"{label} {confidence}"
    return notebook_html.panel(
        title,
        notebook_html.image(_thumbnail(source), Path(source).name if source else "", _THUMBNAIL_SIDE, "jpeg"),
        notebook_html.bar_chart(probabilities),
    )


def classifier_html(info: BundleInfo, runtime: str) -> str:
    """Return the classes, accuracy and runtime of a classifier."""
    spec, provenance = info.preprocess, info.provenance
    figures = info.metrics.get("test") or info.metrics.get("val")
    accuracy = figures.get("accuracy") if isinstance(figures, dict) else None
    split = "test" if info.metrics.get("test") else "validation"
    rows: list[tuple[str, object]] = [
        ("classes", ", ".join(info.classes[:20]) + (", …" if len(info.classes) > 20 else "")),
        ("input", f"{spec.size} × {spec.size} pixels" + _region_text(spec.roi)),
        ("engine", runtime),
    ]
    if isinstance(accuracy, int | float):
        rows.append((f"accuracy on {split} photos", format_percent(accuracy)))
    if least := info.thresholds.get("confidence"):
        rows.append(("unknown below", format_percent(least)))
    if provenance.photos:
        counts = {name: sum(by_class.values()) for name, by_class in provenance.photos.items()}
        rows.append(("photos", ", ".join(f"{count} {name}" for name, count in counts.items())))
    return notebook_html.panel(
        f"{info.name} {info.version}".rstrip(), notebook_html.paragraph(info.description), notebook_html.table(rows)
    )


def _region_text(roi: tuple[float, float, float, float]) -> str:
    if roi == (0.0, 0.0, 1.0, 1.0):
        return ""
    left, top, right, bottom = (round(100 * edge) for edge in roi)
    return f" of the region {left}–{right} % × {top}–{bottom} %"


def _thumbnail(source: str | None) -> bytes | None:
    if source is None:
        return None
    path = Path(source)
    try:
        if not path.is_file() or path.stat().st_size > _MAX_THUMBNAIL_FILE_BYTES:
            return None
        return jpeg_thumbnail(path.read_bytes(), _THUMBNAIL_SIDE, _THUMBNAIL_SIDE).data
    except (OSError, ValueError, DecodeError):
        return None  # the prediction is shown without its image

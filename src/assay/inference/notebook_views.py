"""How notebooks show predictions and classifiers, as HTML."""

from collections.abc import Mapping
from pathlib import Path

from assay.bundle import BundleInfo
from assay.core import notebook_html
from assay.core.text_layout import format_percent
from assay.image import DecodeError
from assay.image.thumbnail import jpeg_thumbnail

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
    split = "test" if info.metrics.get("test") else "held-out"
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

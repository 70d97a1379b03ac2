"""HTML views of predictions and classifiers for notebooks."""

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from assay.bundle import BundleInfo
from assay.core import notebook_html
from assay.core.tables import format_percent
from assay.image import DecodeError, decode

_THUMBNAIL_SIDE = 192  # of a shown photo, in pixels
_MAX_THUMBNAIL_FILE_BYTES = 64 * 2**20  # bytes of a photo that is worth opening for a thumbnail


def prediction_html(
    label: str, probabilities: Mapping[str, float], source: str | None, reason: str | None, *, unknown: bool
) -> str:
    """Return the answer with a bar for each class, beside the photo where it can still be read.

    Args:
        label: the most probable class.
        probabilities: of all classes.
        source: path of the photo, if it has one.
        reason: why the answer is unknown.
        unknown: whether the label should not be relied upon.
    """
    confidence = format_percent(probabilities.get(label))
    title = f"unknown ({reason}); nearest: {label} {confidence}" if unknown else f"{label} {confidence}"
    return notebook_html.panel(
        title,
        notebook_html.image(_thumbnail(source), Path(source).name if source else "", _THUMBNAIL_SIDE, "jpeg"),
        notebook_html.bar_chart(probabilities),
    )


def classifier_html(info: BundleInfo, runs: str) -> str:
    """Return what a classifier knows, how good it is and what answers.

    Args:
        info: of its bundle.
        runs: the runtime and the precision.
    """
    spec, provenance = info.preprocess, info.provenance
    figures = info.metrics.get("test") or info.metrics.get("val")
    accuracy = figures.get("accuracy") if isinstance(figures, dict) else None
    part = "test" if info.metrics.get("test") else "validation"
    rows: list[tuple[str, object]] = [
        ("classes", ", ".join(info.classes[:20]) + (", …" if len(info.classes) > 20 else "")),
        ("looks at", f"{spec.size} × {spec.size} pixels" + _region_text(spec.roi)),
        ("answers by", runs),
    ]
    if isinstance(accuracy, int | float):
        rows.append((f"right on {part} photos", format_percent(accuracy)))
    if least := info.thresholds.get("confidence"):
        rows.append(("unknown below", format_percent(least)))
    if provenance.photos:
        counts = {name: sum(of.values()) for name, of in provenance.photos.items()}
        rows.append(("photos", ", ".join(f"{count} {name}" for name, count in counts.items())))
    return notebook_html.panel(
        f"{info.name} {info.version}".rstrip(), notebook_html.paragraph(info.description), notebook_html.table(rows)
    )


def _region_text(roi: tuple[float, float, float, float]) -> str:
    if roi == (0.0, 0.0, 1.0, 1.0):
        return ""
    left, top, right, bottom = (round(100 * edge) for edge in roi)
    return f" of the part from {left} to {right} % across and {top} to {bottom} % down"


def _thumbnail(source: str | None) -> bytes | None:
    if source is None:
        return None
    path = Path(source)
    try:
        if not path.is_file() or path.stat().st_size > _MAX_THUMBNAIL_FILE_BYTES:
            return None
        photo = Image.fromarray(decode(path.read_bytes(), min_side=_THUMBNAIL_SIDE, value_range="minmax"))
    except (OSError, ValueError, DecodeError):
        return None  # the answer is worth showing without its photo
    photo.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=80)
    return file.getvalue()

"""The model card: what a classifier is, its training data, its metrics and its limits, as Markdown.

Contains only what `BundleInfo` holds.

Source: Mitchell et al., "Model Cards for Model Reporting" (2019), whose sections it follows.
"""

from collections.abc import Iterable, Iterator, Mapping

from pydantic import JsonValue

from assay.bundle.archive import NOVELTY
from assay.bundle.info import BundleInfo
from assay.core.printable_text import printable_lines
from assay.core.text_layout import MAX_CLASSES_SHOWN, counted

CONFIDENCE_METRICS, INT8_METRICS = "confidence", "int8"
"""Entries of `BundleInfo.metrics` besides those of the splits."""
_METRIC_NAMES = {"level": "level of the interval"}
_RESIZE_TEXTS = {
    "stretch": "stretched to a square",
    "crop": "the shorter side is scaled and the center square is cut out",
    "letterbox": "the longer side is scaled and the shorter one padded",
}


def render_model_card(info: BundleInfo) -> str:
    """Return the model card of a bundle as Markdown."""
    sections = [
        _heading(info),
        _section("Intended use", _intended_use(info)),
        _section("Classes", _classes(info)),
        _section("Preprocessing", _preprocessing(info)),
        _section("Training data", _data(info)),
        _section("Metrics", _metrics(info)),
        _section("Limits", _limits(info)),
        _section("Provenance", _provenance(info)),
    ]
    return "\n\n".join(sections) + "\n"


def _heading(info: BundleInfo) -> str:
    return "\n\n".join(
        part for part in (f"# {_escape_markdown(info.name)}", _escape_markdown(info.description)) if part
    )


def _section(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"## {title}", "", *lines])


def _intended_use(info: BundleInfo) -> Iterator[str]:
    yield (
        f"Classifies photos into {len(info.classes)} classes. Use it on photos like its training photos: "
        "the same kind of camera, distance, light and background."
    )


def _classes(info: BundleInfo) -> Iterator[str]:
    photos = info.provenance.photos
    parts = list(photos)
    yield from _table(
        ["class", *(f"{part} photos" for part in parts)],
        ([name, *(str(photos[part].get(name, 0)) for part in parts)] for name in info.classes[:MAX_CLASSES_SHOWN]),
    )
    if len(info.classes) > MAX_CLASSES_SHOWN:
        yield ""
        yield f"{counted(len(info.classes) - MAX_CLASSES_SHOWN, 'more class')}: see `assay info --json`."


def _preprocessing(info: BundleInfo) -> Iterator[str]:
    spec = info.preprocess
    if spec.roi != (0.0, 0.0, 1.0, 1.0):
        left, top, right, bottom = (f"{100 * edge:g} %" for edge in spec.roi)
        yield f"- Region of interest: {left} to {right} of the width, {top} to {bottom} of the height."
    if spec.center_crop < 1:
        yield f"- Center crop: {100 * spec.center_crop:g} % of the width and height."
    if spec.value_range is not None:
        low, high = spec.value_range
        yield f"- In photos with more than 8 bits per channel, {low:g} is black and {high:g} is white."
    yield f"- Resized to {spec.size} x {spec.size} pixels, RGB: {_RESIZE_TEXTS[spec.resize_mode]}."
    mean, std = _numbers(spec.mean), _numbers(spec.std)
    yield f"- Normalized per channel with mean {mean} and std {std} (0-1 scale)."


def _data(info: BundleInfo) -> Iterator[str]:
    photos = info.provenance.photos
    if not photos:
        yield "Not recorded."
        return
    counts = ", ".join(f"{sum(part.values())} in {name}" for name, part in photos.items())
    yield f"{counted(sum(sum(part.values()) for part in photos.values()), 'photo')}: {counts}."
    if info.provenance.data:
        yield f"Fingerprint of photos and labels: `{info.provenance.data}`."


def _metrics(info: BundleInfo) -> Iterator[str]:
    rows = list(
        _metric_rows(
            {name: part for name, part in info.metrics.items() if name not in {CONFIDENCE_METRICS, INT8_METRICS}}
        )
    )
    rows += [*_confidence_rows(info), *_int8_rows(info)]
    if not rows:
        yield "Not measured yet: run `assay evaluate` before you rely on this classifier."
        return
    yield "Measured with this file on photos that were not used for training."
    match info.metrics.get(CONFIDENCE_METRICS):
        case {"cross_validated": True}:
            yield (
                "Rows that begin with `val` are from cross-validation: training and validation photos, each predicted "
                "by a classifier that was not trained on it."
            )
    yield ""
    yield from _table(["metric", "value"], rows)


def _int8_rows(info: BundleInfo) -> Iterator[list[str]]:
    """Yield accuracy and speed of the int8 model, if it is the default."""
    match info.metrics.get(INT8_METRICS):
        case {
            "kept": True,
            "accuracy": {"fp32": float(exact), "int8": float(rounded)},
            "milliseconds": {"fp32": float(slow), "int8": float(fast)},
            **others,
        }:
            measured = "network of the first fold" if others.get("of_fold") is True else "val"
            yield [f"{measured} · accuracy, fp32 / int8", f"{exact:.4g} / {rounded:.4g}"]
            yield ["milliseconds per photo on the training machine, fp32 / int8", f"{slow:.3g} / {fast:.3g}"]


def _confidence_rows(info: BundleInfo) -> Iterator[list[str]]:
    """Yield calibration error, coverage and precision by split."""
    result = info.metrics.get(CONFIDENCE_METRICS)
    for part, values in result.items() if isinstance(result, dict) else ():
        match values:
            case {"before": {"ece": float(before)}, "after": {"ece": float(after)}}:
                yield [f"{part} · ECE at temperature 1", f"{before:.4g}"]
                if info.temperature != 1:
                    yield [
                        f"{part} · ECE at temperature {info.temperature:.4g}",
                        f"{after:.4g}",
                    ]
        match values:
            case {"answered": {"coverage": float(coverage), "precision": float(precision)}}:
                yield [f"{part} · coverage at the threshold", f"{coverage:.4g}"]
                yield [f"{part} · precision at the threshold", f"{precision:.4g}"]


def _limits(info: BundleInfo) -> Iterator[str]:
    yield f"- It distinguishes only these {len(info.classes)} classes; a photo of anything else also gets one of them."
    yield from _abstention_lines(info)
    yield "- Its confidence is calibrated only for photos like those it was measured on."
    if info.temperature == 1.0:
        if CONFIDENCE_METRICS in info.metrics:
            yield "- Its confidence was not recalibrated: temperature scaling did not help."
        else:
            yield "- Its confidence is not calibrated."
    smallest = min((sum(part.values()) for part in info.provenance.photos.values()), default=0)
    if 0 < smallest < 100:
        yield f"- One split has only {counted(smallest, 'photo')}: the metrics above are rough estimates."
    yield "- Evaluate it again on new photos after a change of camera, light, background or product."


def _abstention_lines(info: BundleInfo) -> Iterator[str]:
    if (threshold := info.thresholds.get("confidence")) is not None:
        yield f"- It answers `unknown` when its confidence is below {threshold:.4g}."
    if NOVELTY in info.members:
        yield (
            "- It answers `unknown` for photos that are unlike the training photos. This detects other "
            "subjects and noise, but not a new class that resembles a known one."
        )


def _provenance(info: BundleInfo) -> Iterator[str]:
    origin = info.provenance
    rows = [
        ["version", info.version],
        ["default precision", info.precision],
        ["created", origin.created],
        ["seed", str(origin.seed)],
    ]
    rows += [[name, version] for name, version in sorted(origin.libraries.items())]
    rows += [[f"largest logit difference, {name}", f"{value:g}"] for name, value in sorted(info.agreement.items())]
    yield from _table(["field", "value"], [row for row in rows if row[1]])


def _metric_rows(metrics: Mapping[str, JsonValue], before: str = "") -> Iterator[list[str]]:
    """Flatten nested metrics to rows; lists, such as a confusion matrix, are left out."""
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from _metric_rows(value, f"{before}{name} · ")
        elif isinstance(value, int | float | str):
            label = _METRIC_NAMES.get(name, name)
            yield [before + label, f"{value:.4g}" if isinstance(value, float) else str(value)]


def _table(header: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(_escape_markdown(cell) for cell in row)} |"


def _escape_markdown(text: str) -> str:
    """Escape Markdown and HTML."""
    line = " ".join(printable_lines(text).split())
    return line.translate({ord(mark): f"\\{mark}" for mark in "\\`*_[]<>|#&$~"})


def _numbers(values: tuple[float, ...] | None) -> str:
    return ", ".join(f"{value:.4g}" for value in values or ())

"""An audit for people: a summary for the terminal, and one self-contained page with the photos.

The page needs no network and prints well. Jinja2 is imported only when it is written.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np

from assay.data.features import squashed
from assay.data.findings import CheckReport, Entry, Finding
from assay.data.samples import Sample
from assay.data.verify import cores
from assay.errors import AssayError
from assay.files import write_text
from assay.image import decode
from assay.text import printable, shown

MOST_THUMBNAILS: Final = 1500
"""Thumbnails on a page; at about 5 kB each it stays well below 15 MB."""

_MOST_OF_FINDING: Final = 400
_MOST_OF_GROUP: Final = 12
_SIDE: Final = 120
_QUALITY: Final = 70
_EXAMPLES: Final = 3
_MARKS: Final = {"error": "✗", "warning": "!", "note": "·"}


def summary(report: CheckReport) -> str:
    """Return the audit as text of a few lines a finding, for a terminal or a log."""
    lines = [_headline(report)]
    for finding in report.findings:
        lines += ["", f"{_MARKS[finding.severity]} {finding.title}  [{finding.kind}]"]
        lines += [f"    {line}" for line in _examples(finding)]
        lines.append(f"    → {finding.advice}")
    if not report.findings:
        lines += ["", "Nothing found that is wrong."]
    return "\n".join(map(printable, lines))


def write_page(report: CheckReport, path: Path, *, title: str = "") -> None:
    """Write the audit as one HTML file with thumbnails of every group, as many as `MOST_THUMBNAILS` allows.

    Args:
        report: of the audit.
        path: the file to write.
        title: name of the data; by default that of its folder.
    """
    import jinja2  # noqa: PLC0415 (only those who want a page pay for it)

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("assay.data"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    sections = _sections(report)
    template = environment.get_template("check.html.j2")
    write_text(
        path,
        template.render(
            title=title or report.root.resolve().name,
            report=report,
            headline=_headline(report),
            sections=sections,
            pictures=_pictures(report, sections),
        ),
    )


class Section(NamedTuple):
    """A finding and what of it is shown.

    Attributes:
        finding: the finding.
        rows: for each group that is shown, its photos and how many more it has.
        hidden: groups that are not shown.
    """

    finding: Finding
    rows: list[tuple[str, tuple[Entry, ...], int]]
    hidden: int


def _sections(report: CheckReport) -> list[Section]:
    left = MOST_THUMBNAILS
    sections = []
    for finding in report.findings:
        allowed = min(left, _MOST_OF_FINDING)
        rows: list[tuple[str, tuple[Entry, ...], int]] = []
        for group in finding.groups:
            shown = group.photos[:_MOST_OF_GROUP]
            if len(shown) > allowed:
                break
            allowed -= len(shown)
            left -= len(shown)
            rows.append((group.note, shown, len(group.photos) - len(shown)))
        sections.append(Section(finding, rows, len(finding.groups) - len(rows)))
    return sections


def _pictures(report: CheckReport, sections: Iterable[Section]) -> Mapping[str, str]:
    """Return data addresses of thumbnails by id, each photo once however often it is shown."""
    wanted = {entry.id for section in sections for _, shown, _ in section.rows for entry in shown}
    samples = [sample for sample in report.samples if sample.id in wanted]
    with ThreadPoolExecutor(cores()) as pool:
        addresses = pool.map(_address, samples)
    return {sample.id: text for sample, text in zip(samples, addresses, strict=True) if text}


def _address(sample: Sample) -> str:
    try:
        pixels = decode(sample.read(), min_side=_SIDE, value_range="stretch")
    except (OSError, AssayError):
        return ""  # gone since the audit: the page shows its name alone
    jpeg = cv2.imencode(".jpg", _fitted(pixels)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _fitted(pixels: np.ndarray) -> np.ndarray:
    """Return a picture at a height of `_SIDE`; one that is extremely long, as a square."""
    height, width = pixels.shape[:2]
    if max(height, width) > 4 * min(height, width):
        return squashed(pixels, _SIDE)
    size = (max(1, round(width * _SIDE / height)), _SIDE)
    shrinks = height >= _SIDE
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def _headline(report: CheckReport) -> str:
    parts = [f"{report.photos:,} photos, {len(report.classes)} classes"]
    if report.splits:
        parts.append("ready-made parts: " + ", ".join(f"{name} {n:,}" for name, n in report.splits.items()))
    if report.groups:
        together = sum(len(group) for group in report.groups)
        parts.append(f"{together:,} of them in {len(report.groups):,} groups that must stay together")
    if report.skipped:
        parts.append("passed over: " + ", ".join(f"{count} {why}" for why, count in report.skipped.items()))
    return "; ".join(parts)


def _examples(finding: Finding) -> Iterator[str]:
    for group in finding.groups[:_EXAMPLES]:
        names = [entry.id + (f" ({entry.note})" if entry.note else "") for entry in group.photos[:4]]
        more = f" and {len(group.photos) - 4} more" if len(group.photos) > 4 else ""
        yield " = ".join(names) + more + (f"  ({group.note})" if group.note else "")
    if len(finding.groups) > _EXAMPLES:
        yield f"… and {len(finding.groups) - _EXAMPLES:,} more"

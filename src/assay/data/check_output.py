"""Output of a check: terminal summary and self-contained HTML page."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.core.files import write_text
from assay.core.html_pages import template_environment, theme_css
from assay.core.notebook_html import data_uri
from assay.core.printable_text import printable
from assay.core.text_layout import counted
from assay.data.check_result import CheckReport, Finding, FindingEntry
from assay.data.dataset import Sample
from assay.image.thumbnail import jpeg_thumbnail

MAX_THUMBNAILS: Final = 1500
"""Thumbnails per page; at about 5 kB each the page stays below 15 MB."""

_MAX_THUMBNAILS_PER_FINDING: Final = 400
_MAX_THUMBNAILS_PER_GROUP: Final = 12
_THUMBNAIL_HEIGHT: Final = 120
_EXAMPLES: Final = 3
_MARKS: Final = {"error": "✗", "warning": "!", "note": "·"}


def format_check_summary(report: CheckReport) -> str:
    """Return the report as text for a terminal or log."""
    lines = [_headline(report)]
    for finding in report.findings:
        lines += ["", f"{_MARKS[finding.severity]} {finding.title}  [{finding.kind}]"]
        lines += [f"    {line}" for line in _examples(finding)]
        lines.append(f"    → {finding.advice}")
    if not report.findings:
        lines += ["", "Nothing found that is wrong."]
    return "\n".join(map(printable, lines))


class PageFigure(NamedTuple):
    """A figure that a page shows in a section of its own."""

    title: str
    text: str
    """What the figure shows, in sentences."""
    uri: str
    """Of the image, as a data URI."""
    alt: str


def write_check_page(report: CheckReport, path: Path, *, title: str = "", figure: PageFigure | None = None) -> None:
    """Write the report as one HTML file with up to `MAX_THUMBNAILS` thumbnails.

    Args:
        report: of the check.
        path: of the page.
        title: name of the data; empty: that of its folder.
        figure: shown after the numbers of photos.
    """
    sections = _sections(report)
    template = template_environment("assay.data").get_template("check.html.j2")
    write_text(
        path,
        template.render(
            theme=theme_css(),
            title=title or report.root.resolve().name,
            report=report,
            headline=_headline(report),
            figure=figure,
            sections=sections,
            pictures=_thumbnails(report, sections),
        ),
    )


class PageSection(NamedTuple):
    """A finding; for each shown group (`rows`), its images and the number of further ones; `hidden` groups."""

    finding: Finding
    rows: list[tuple[str, tuple[FindingEntry, ...], int]]
    hidden: int


def _sections(report: CheckReport) -> list[PageSection]:
    left = MAX_THUMBNAILS
    sections = []
    for finding in report.findings:
        allowed = min(left, _MAX_THUMBNAILS_PER_FINDING)
        rows: list[tuple[str, tuple[FindingEntry, ...], int]] = []
        for group in finding.groups:
            shown = group.photos[:_MAX_THUMBNAILS_PER_GROUP]
            if len(shown) > allowed:
                break
            allowed -= len(shown)
            left -= len(shown)
            rows.append((group.note, shown, len(group.photos) - len(shown)))
        sections.append(PageSection(finding, rows, len(finding.groups) - len(rows)))
    return sections


def _thumbnails(report: CheckReport, sections: Iterable[PageSection]) -> Mapping[str, str]:
    wanted = {entry.id for section in sections for _, shown, _ in section.rows for entry in shown}
    samples = [sample for sample in report.samples if sample.id in wanted]
    with ThreadPoolExecutor(cpu_count()) as pool:
        uris = pool.map(_thumbnail, samples)
    return {sample.id: text for sample, text in zip(samples, uris, strict=True) if text}


def _thumbnail(sample: Sample) -> str:
    try:
        jpeg = jpeg_thumbnail(sample.read(), 4 * _THUMBNAIL_HEIGHT, _THUMBNAIL_HEIGHT)
    except (OSError, AssayError):
        return ""  # deleted since the audit: the page shows its name only
    return data_uri(jpeg.data, "image/jpeg")


def _headline(report: CheckReport) -> str:
    parts = [f"{counted(report.photos, 'photo')}, {counted(len(report.classes), 'class')}"]
    if report.splits:
        parts.append("existing splits: " + ", ".join(f"{name} {n:,}" for name, n in report.splits.items()))
    if report.groups:
        together = sum(len(group) for group in report.groups)
        parts.append(f"{together:,} of them in {counted(len(report.groups), 'group')} that must stay together")
    if report.skipped:
        parts.append("skipped: " + ", ".join(f"{count} {why}" for why, count in report.skipped.items()))
    return "; ".join(parts)


def _examples(finding: Finding) -> Iterator[str]:
    for group in finding.groups[:_EXAMPLES]:
        names = [entry.id + (f" ({entry.note})" if entry.note else "") for entry in group.photos[:4]]
        more = f" and {len(group.photos) - 4} more" if len(group.photos) > 4 else ""
        yield " = ".join(names) + more + (f"  ({group.note})" if group.note else "")
    if len(finding.groups) > _EXAMPLES:
        yield f"… and {len(finding.groups) - _EXAMPLES:,} more"

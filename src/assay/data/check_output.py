"""Output of a check: terminal summary, self-contained HTML page, cleaned copy of the data set."""

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.core.files import atomic_write, write_text
from assay.core.notebook_html import data_uri
from assay.core.printable_text import printable, printable_value
from assay.data.check_result import CheckReport, Finding, FindingEntry, FindingKind
from assay.data.dataset import Dataset, Sample
from assay.data.groups import merge_groups
from assay.data.manifest import write_manifest
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


def write_check_page(report: CheckReport, path: Path, *, title: str = "") -> None:
    """Write the report as one HTML file with up to `MAX_THUMBNAILS` thumbnails; `title` defaults to the folder name."""
    import jinja2  # noqa: PLC0415 (slow import, needed for the page only)

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("assay.data"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=printable_value,
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
    parts = [f"{report.photos:,} photos, {len(report.classes)} classes"]
    if report.splits:
        parts.append("existing splits: " + ", ".join(f"{name} {n:,}" for name, n in report.splits.items()))
    if report.groups:
        together = sum(len(group) for group in report.groups)
        parts.append(f"{together:,} of them in {len(report.groups):,} groups that must stay together")
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


class CleanedDataset(NamedTuple):
    """The manifest written, and how many images it contains and leaves out."""

    manifest: Path
    kept: int
    left_out: int


def write_cleaned_dataset(report: CheckReport, target: Path) -> CleanedDataset:
    """Write the images without problems as a manifest, or copy them.

    `target` is a `.csv` file, which refers to the images in place, or a new folder outside the data, to which they
    are copied with a `manifest.csv`.

    Raises:
        UsageError: the target exists or is inside the data, or array files were to be copied.
    """
    bad = _rejected_ids(report)
    good = [sample for sample in report.samples if sample.id not in bad]
    unreadable = report.of(FindingKind.unreadable)
    left_out = len(report.samples) - len(good) + (unreadable.photos if unreadable else 0)
    if target.exists():
        raise UsageError(f"--write {target} exists already; name a new file or folder")
    if target.suffix.casefold() == ".csv":
        manifest, photos = target, good
    else:
        manifest, photos = target / "manifest.csv", _copy_files(good, report.root, target)
    classes = tuple(name for name, count in report.classes.items() if count)
    write_manifest(merge_groups(Dataset(report.root, classes, tuple(photos)), report.groups), manifest)
    return CleanedDataset(manifest, len(good), left_out)


def _rejected_ids(report: CheckReport) -> Collection[str]:
    bad: set[str] = set()
    for kind in (FindingKind.blank, FindingKind.label_conflict):
        if finding := report.of(kind):
            bad.update(entry.id for group in finding.groups for entry in group.photos)
    if identical := report.of(FindingKind.identical):
        for group in identical.groups:
            # Remove the copy in a test or validation split rather than the training image.
            kept = min(group.photos, key=lambda entry: (entry.split != "train", entry.id))
            bad.update(entry.id for entry in group.photos if entry is not kept)
    return bad


def _copy_files(samples: Collection[Sample], root: Path, target: Path) -> list[Sample]:
    if target.absolute().is_relative_to(root.absolute()):
        raise UsageError(f"--write {target} lies within the data; choose a place outside {root}")
    if any(sample.tensor for sample in samples):
        raise UsageError("photos in array files cannot be copied; give --write a .csv file")
    copies = []
    for sample in samples:
        place = PurePosixPath(sample.id)
        if place.is_absolute() or ".." in place.parts:
            # The file is outside the root: the digest makes the name unique.
            place = PurePosixPath(sample.label) / f"{(sample.digest or '')[:12]}-{place.name}"
        copy = target / place
        with atomic_write(copy) as temporary:
            shutil.copyfile(sample.path, temporary)
        copies.append(replace(sample, id=str(place), path=copy))
    return copies

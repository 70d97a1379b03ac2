"""The audit of a data set before it is trained on: one pass over the files, then one finding a rule.

Unlike `scan`, nothing that is wrong with the data stops it: that is what it reports. Originals are never
touched.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.data.check_likeness import likeness_findings
from assay.data.check_photos import photo_findings
from assay.data.duplicates import LARGEST_SHARE, Alike, find_alike
from assay.data.examine import Examined, Photo, examine
from assay.data.feature_store import open_store
from assay.data.findings import CheckReport, Entry, Finding, FindingKind, Severity, singles
from assay.data.folders import Listing
from assay.data.labels import Mapped, map_labels
from assay.data.samples import Unreadable, natural_key
from assay.data.scan import list_source
from assay.progress import Progress, silent
from assay.recipe import Layout

ADVISED_PER_CLASS: Final = 100
"""Photos a class below which the check warns, unless told otherwise."""
LARGEST_IMBALANCE: Final = 10
"""How many times larger than the smallest class the largest may be."""

_ORDER: Final = {severity: place for place, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class _Counts:
    """Readable photos by label, labels without any included."""

    by_label: dict[str, int]
    advised: int


def check(
    path: str | Path,
    *,
    mapping: Mapped | None = None,
    layout: Layout = "auto",
    mirrored: bool = False,
    bursts: bool = True,
    advised_per_class: int = ADVISED_PER_CLASS,
    largest_share: float = LARGEST_SHARE,
    cache: Path | None = None,
    progress: Progress = silent,
) -> CheckReport:
    """Look at every file of a data set once and say all that is wrong with it.

    Args:
        path: as for `scan`: class folders, train/val/test folders, a manifest, an array file.
        mapping: new class: the labels it is made of; label conflicts are then those between new classes.
        layout: what the folders in a folder are.
        mirrored: take mirrored copies for copies too.
        bursts: look for bursts.
        advised_per_class: photos a class below which a warning is given.
        largest_share: share of the data, 0-1, beyond which a group of look-alikes is doubted.
        cache: folder where features of photos are kept by content; the usual one when None.
        progress: told while files are opened and compared.

    Raises:
        UsageError: there is nothing at `path`, or it is no data.
        AssayError: the folder or manifest makes no sense at all.
    """
    listing = list_source(Path(path), layout)
    samples = listing.samples if mapping is None else map_labels(listing.samples, mapping)
    with open_store(cache) as store:
        seen = examine(samples, store, progress)
        alike = find_alike(
            seen.photos,
            store,
            mirrored=mirrored,
            bursts=bursts,
            largest_share=largest_share,
            progress=progress,
        )
    labels = listing.labels if mapping is None else list(mapping)
    counts = _Counts(_by_label(labels, seen.photos), advised_per_class)
    return _report(listing, seen, alike, counts)


def _report(listing: Listing, seen: Examined, alike: Alike, counts: _Counts) -> CheckReport:
    findings = [
        *_unreadable([*listing.unreadable, *seen.unreadable]),
        *likeness_findings(seen.photos, alike),
        *_classes(counts),
        *photo_findings(seen.photos),
        *_listing(listing),
    ]
    splits = Counter(photo.sample.split for photo in seen.photos if photo.sample.split)
    return CheckReport(
        root=listing.root,
        photos=len(seen.photos),
        classes=counts.by_label,
        splits={str(split): count for split, count in splits.items()},
        findings=tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity])),
        skipped=dict(sorted((listing.skipped + seen.skipped).items())),
        groups=tuple(frozenset(seen.photos[place].sample.id for place in group) for group in alike.groups()),
        samples=tuple(photo.sample for photo in seen.photos),
    )


def _by_label(labels: list[str], photos: list[Photo]) -> dict[str, int]:
    seen = Counter(photo.sample.label for photo in photos)
    return {label: seen[label] for label in sorted({*labels, *seen}, key=natural_key)}


def _unreadable(unreadable: list[Unreadable]) -> list[Finding]:
    if not unreadable:
        return []
    return [
        Finding(
            FindingKind.unreadable,
            Severity.error,
            f"{_photos(len(unreadable))} cannot be read",
            _mend(unreadable),
            singles(Entry(one.id, note=one.reason) for one in unreadable),
        )
    ]


def _mend(unreadable: list[Unreadable]) -> str:
    """Say what to do about files that cannot be read."""
    unsupported = sum(one.reason.startswith("unsupported") for one in unreadable)
    steps = []
    if unsupported:
        steps.append("Convert the unsupported ones to JPEG or PNG.")
    if unsupported < len(unreadable):
        steps.append("Replace the damaged ones by undamaged copies, or delete them.")
    return " ".join([*steps, "--write leaves them out."])


def _classes(counts: _Counts) -> list[Finding]:
    findings = []
    present = {label: count for label, count in counts.by_label.items() if count}
    if empty := [label for label in counts.by_label if label not in present]:
        findings.append(
            Finding(
                FindingKind.empty_class,
                Severity.error,
                f"{_names(empty)}: no photo that can be read",
                "Add photos or remove the folder.",
            )
        )
    if len(present) == 1:
        findings.append(
            Finding(
                FindingKind.empty_class,
                Severity.error,
                f"one class only, {_names(present)}",
                "Add photos of what it is to be told from, in a folder of their own.",
            )
        )
    if small := {label: count for label, count in present.items() if count < counts.advised}:
        findings.append(
            Finding(
                FindingKind.small_class,
                Severity.warning,
                "small classes: " + ", ".join(f"{label} ({count})" for label, count in small.items()),
                f"Collect at least {counts.advised} photos a class; until then judge by assay crossval, "
                "since a single split of so few says little.",
            )
        )
    if present and max(present.values()) > LARGEST_IMBALANCE * min(present.values()):
        most, least = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
        findings.append(
            Finding(
                FindingKind.imbalance,
                Severity.warning,
                f"{most} has {present[most]} photos, {least} {present[least]}",
                "Collect more of the rare class or train with class weights, and judge by balanced accuracy.",
            )
        )
    return findings


def _listing(listing: Listing) -> list[Finding]:
    if not listing.warnings:
        return []
    return [
        Finding(
            FindingKind.listing,
            Severity.note,
            "; ".join(listing.warnings),
            "See that this is what was meant.",
            (),
        )
    ]


def _photos(count: int) -> str:
    return f"{count} photo" if count == 1 else f"{count:,} photos"


def _names(labels: object) -> str:
    return ", ".join(repr(label) for label in labels) if isinstance(labels, list | dict) else repr(labels)

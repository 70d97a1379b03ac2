"""A data set without what an audit found bad: a manifest, or a copy. The originals are only read.

Left out are files that cannot be read, blank photos, all but the first of identical files, and every photo
of a picture that stands under two labels, since nobody knows which is right. Look-alikes stay, with a group.
"""

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from assay.data.findings import CheckReport, FindingKind
from assay.data.groups import join_groups
from assay.data.manifest import write_manifest
from assay.data.samples import Dataset, Sample
from assay.errors import UsageError
from assay.files import replacing


class Cleaned(NamedTuple):
    """What was written.

    Attributes:
        manifest: the table of photos.
        kept: photos in it.
        left_out: photos and files that are not.
    """

    manifest: Path
    kept: int
    left_out: int


def write_clean(report: CheckReport, target: Path) -> Cleaned:
    """Write the good photos of an audited data set as a manifest, or copy them.

    Args:
        report: of the audit.
        target: a `.csv` file, which names the photos where they are, or a new folder outside the data, to
            which they are copied under the same names beside a `manifest.csv`.

    Raises:
        UsageError: the target exists already or lies within the data, or array files were to be copied.
    """
    bad = _bad(report)
    good = [sample for sample in report.samples if sample.id not in bad]
    unreadable = report.of(FindingKind.unreadable)
    left_out = len(report.samples) - len(good) + (unreadable.photos if unreadable else 0)
    if target.exists():
        raise UsageError(f"--write {target} exists already; name a new file or folder")
    if target.suffix.casefold() == ".csv":
        manifest, photos = target, good
    else:
        manifest, photos = target / "manifest.csv", _copied(good, report.root, target)
    classes = tuple(name for name, count in report.classes.items() if count)
    write_manifest(join_groups(Dataset(report.root, classes, tuple(photos)), report.groups), manifest)
    return Cleaned(manifest, len(good), left_out)


def _bad(report: CheckReport) -> Collection[str]:
    bad: set[str] = set()
    for kind in (FindingKind.blank, FindingKind.label_conflict):
        if finding := report.of(kind):
            bad.update(entry.id for group in finding.groups for entry in group.photos)
    if identical := report.of(FindingKind.identical):
        for group in identical.groups:
            # The copy in a test or validation part goes rather than the one that a model learns from.
            kept = min(group.photos, key=lambda entry: (entry.split != "train", entry.id))
            bad.update(entry.id for entry in group.photos if entry is not kept)
    return bad


def _copied(samples: Collection[Sample], root: Path, target: Path) -> list[Sample]:
    if target.absolute().is_relative_to(root.absolute()):
        raise UsageError(f"--write {target} lies within the data; choose a place outside {root}")
    if any(sample.tensor for sample in samples):
        raise UsageError("photos in array files cannot be copied; give --write a .csv file")
    copies = []
    for sample in samples:
        place = PurePosixPath(sample.id)
        if place.is_absolute() or ".." in place.parts:
            # Named by a manifest from elsewhere: the digest keeps names apart.
            place = PurePosixPath(sample.label) / f"{(sample.digest or '')[:12]}-{place.name}"
        copy = target / place
        with replacing(copy) as temporary:
            shutil.copyfile(sample.path, temporary)
        copies.append(replace(sample, id=str(place), path=copy))
    return copies

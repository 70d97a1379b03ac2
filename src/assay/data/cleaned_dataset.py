"""Write a data set without the images that a check found to be wrong, as a manifest or a copy."""

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from assay.core.errors import UsageError
from assay.core.files import atomic_write
from assay.data.check_result import CheckReport, FindingKind
from assay.data.dataset import Dataset, Sample
from assay.data.groups import merge_groups
from assay.data.manifest import write_manifest


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
    if not all(sample.is_file for sample in samples):
        raise UsageError("photos in array files and tar files cannot be copied; give --write a .csv file")
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

"""Class folders and ready-made train/val/test folders: which file has which label, by its place alone.

Nothing is opened here; whether a file is a photo is judged by content in `verify`.
"""

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from assay.data.layout import ClassFolder, arrange
from assay.data.samples import Sample, Unreadable
from assay.photo_files import OWN, Passed, walk
from assay.recipe import Layout


@dataclass
class Listing:
    """What was found at a place, before any file has been opened."""

    root: Path
    samples: list[Sample] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    """Every label that was promised, also of a class folder that turned out empty; each once."""
    nested: list[str] = field(default_factory=list)
    """Class folders that hold folders: a hint when the wrong level was given."""
    unreadable: list[Unreadable] = field(default_factory=list)
    """Folders that cannot be read."""


def list_folder(root: Path, layout: Layout = "auto") -> Listing:
    """List class folders (any depth: the first level is the class), also inside train/val/test folders.

    What is passed over (hidden files, system files, folders that Assay wrote, files outside class folders) is
    counted in `skipped`. A folder is entered once for each class, so that loops of links do no harm.

    Args:
        root: an existing folder.
        layout: what the folders in it are.

    Raises:
        AssayError: there are no folders in it, or it cannot be said whether they are classes or parts.
    """
    listing, passed = Listing(root), Passed()
    arrangement = arrange(root, layout, passed)
    if arrangement.loose:
        passed.skipped["outside a class folder"] += arrangement.loose
    listing.warnings += arrangement.warnings
    real = Path(os.path.realpath(root))
    others = {
        real / folder.path.relative_to(root) for folder in arrangement.folders if not folder.path.is_symlink()
    }
    for folder in arrangement.folders:
        _list_class(folder, listing, passed, others)
    listing.skipped += passed.skipped
    listing.unreadable += [
        Unreadable(f"{path.relative_to(root).as_posix()}/", path, f"the folder cannot be read: {reason}")
        for path, reason in passed.unreadable.items()
    ]
    return listing


def _list_class(folder: ClassFolder, listing: Listing, passed: Passed, others: Collection[Path]) -> None:
    before, own = len(listing.samples), passed.skipped[OWN]
    for path in walk(folder.path, passed, others):
        name = path.relative_to(listing.root).as_posix()
        listing.samples.append(Sample(name, path, folder.label, folder.split))
    if len(listing.samples) == before and passed.skipped[OWN] > own:
        # It holds nothing but runs: what Assay wrote is no class.
        return
    if folder.label not in listing.labels:
        listing.labels.append(folder.label)
    if folder.nested:
        listing.nested.append(folder.label)

"""Class folders and ready-made train/val/test folders: which file has which label, by its place alone.

Nothing is opened here; whether a file is a photo is judged by content in `verify`.
"""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from assay.data.samples import Sample, Split, split_named
from assay.errors import AssayError

_CLUTTER = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini"})


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


def list_folder(root: Path) -> Listing:
    """List class folders (any depth: the first level is the class), also inside train/val/test folders.

    The folders are taken for ready-made parts when all of them have parts' names, or when `train` stands
    beside `val` or `test`. Hidden files, clutter of operating systems and files outside class folders are
    counted in `skipped`. A folder is entered once for each class, so that loops of links do no harm.

    Args:
        root: an existing folder.

    Raises:
        AssayError: there are no folders in it.
    """
    listing = Listing(root)
    folders, loose = _children(root, listing)
    if not folders:
        hint = "it holds files but no class folders" if loose else "it is empty"
        raise AssayError(f"no labelled photos in {root}: {hint}; put the photos of each class into a folder")
    listing.skipped.update({"outside a class folder": loose} if loose else {})
    parts = {folder: split_named(folder.name) for folder in folders}
    found = {split for split in parts.values() if split}
    if all(parts.values()) or ("train" in found and len(found) > 1):
        for folder, split in parts.items():
            if split is None:
                listing.skipped["folder beside train/val/test"] += 1
                listing.warnings.append(f"folder {folder.name!r} beside the ready-made parts was ignored")
            else:
                _list_part(folder, split, listing)
    else:
        _list_classes(folders, None, listing)
    return listing


def _list_part(folder: Path, split: Split, listing: Listing) -> None:
    folders, loose = _children(folder, listing)
    if loose and not folders:
        raise AssayError(
            f"{folder} holds files but no class folders; put the photos of each class into a folder"
        )
    listing.skipped.update({"outside a class folder": loose} if loose else {})
    _list_classes(folders, split, listing)


def _list_classes(folders: list[Path], split: Split | None, listing: Listing) -> None:
    for folder in folders:
        # Archives made on a Mac decompose accents; the same class must not become two.
        label = unicodedata.normalize("NFC", folder.name)
        if label not in listing.labels:
            listing.labels.append(label)
        for path in _walk(folder, listing):
            listing.samples.append(Sample(path.relative_to(listing.root).as_posix(), path, label, split))


def _children(folder: Path, listing: Listing) -> tuple[list[Path], int]:
    """Return the visible folders in `folder`, sorted, and the number of visible files."""
    folders, files = [], 0
    for entry in _entries(folder, listing):
        if _is_folder(entry):
            folders.append(Path(entry.path))
        else:
            files += 1
    return folders, files


def _walk(top: Path, listing: Listing) -> Iterator[Path]:
    seen = {_identity(top)}
    waiting = [top]
    links: list[Path] = []
    home, within = top.resolve(), listing.root.resolve()
    while waiting or links:
        # Links wait until all real folders are done: a file is listed under its real path where it has one.
        folder = waiting.pop() if waiting else links.pop(0)
        if folder.is_symlink() and folder is not top and _leads_back(folder.resolve(), home, within):
            listing.skipped["link to photos of another class"] += 1
            continue
        if folder is not top:
            identity = _identity(folder)
            if identity in seen:
                listing.skipped["folder reached twice"] += 1
                continue
            seen.add(identity)
        for entry in _entries(folder, listing):
            if _is_folder(entry):
                (links if entry.is_symlink() else waiting).append(Path(entry.path))
                if folder is top:
                    listing.nested.append(top.name)
            elif _is_file(entry):
                yield Path(entry.path)
            else:
                listing.skipped["broken link" if entry.is_symlink() else "not a regular file"] += 1


def _leads_back(target: Path, top: Path, root: Path) -> bool:
    """Say whether a link in class folder `top` ends above it, or in the data under another label."""
    inside = target.is_relative_to(top)
    return not inside and (top.is_relative_to(target) or target.is_relative_to(root))


def _entries(folder: Path, listing: Listing) -> list[os.DirEntry[str]]:
    """Return what is in a folder, sorted by name, without what is hidden."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise AssayError(f"folder {folder} cannot be read: {error.strerror or error}") from None
    visible = [entry for entry in entries if not _hidden(entry)]
    listing.skipped.update({"hidden": len(entries) - len(visible)} if len(visible) < len(entries) else {})
    return visible


def _hidden(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or entry.name.casefold() in _CLUTTER:
        return True
    attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0) if os.name == "nt" else 0
    return bool(attributes & stat.FILE_ATTRIBUTE_HIDDEN)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself: what it leads to cannot be said.
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino

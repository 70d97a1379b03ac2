"""List the images of class folders, with or without train/val/test folders above them."""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from assay.core.errors import AssayError
from assay.data.dataset import Sample, Split, UnreadableFile, quote_names
from assay.data.split_names import find_classes_in_split_names, find_split_folders, parse_split_name, parse_split_names
from assay.image.ignore_rules import ASSAY_OUTPUT, SkippedFiles
from assay.image.image_files import FolderContent, list_folder_content, walk_images
from assay.recipe import Layout

_MAX_WRAPPERS = 3
_LAYOUT_HINT = "say what they are with --layout classes or --layout splits"


class ClassFolder(NamedTuple):
    """A folder whose images have one label.

    Attributes:
        path: the folder.
        label: its class, NFC-normalised.
        split: the split folder it is in, if any.
        nested: whether it contains folders.
    """

    path: Path
    label: str
    split: Split | None
    nested: bool


class FolderLayout(NamedTuple):
    """The class folders of a data set, sorted by name; `loose` is the number of files outside of them."""

    folders: tuple[ClassFolder, ...]
    loose: int
    warnings: tuple[str, ...]


class _Folder(NamedTuple):
    path: Path
    content: FolderContent

    @property
    def inner(self) -> dict[str, Path]:
        """Its subfolders by NFC-normalised name."""
        return {_nfc(path.name): path for path in self.content.folders}


def find_class_folders(root: Path, layout: Layout, skipped: SkippedFiles) -> FolderLayout:
    """Find the class folders of an existing folder, counting skipped files in `skipped`.

    With the layout `classes` every subfolder is a class, with `splits` a split; with `auto` they are splits if their
    names say so and they contain class folders.

    Raises:
        AssayError: there are no folders, the splits contain no class folders, or the layout is ambiguous.
    """
    base, content = root, list_folder_content(root, skipped)
    if not content.folders:
        hint = "it holds files but no class folders" if content.files else "it is empty"
        raise AssayError(f"no labelled photos in {root}: {hint}; put the photos of each class into a folder")
    if layout == "classes":
        return _as_classes([_read_folder(path) for path in content.folders], content.files, ())
    loose = content.files
    if (wrapped := _wrapped(content)) is not None:
        base, content = wrapped, list_folder_content(wrapped, skipped)
        loose += content.files
    folders = [_read_folder(path) for path in content.folders]
    parts = find_split_folders(path.name for path in content.folders)
    if layout == "splits":
        return _as_splits(base, folders, parts, loose, skipped)
    if parts and not _are_split_names_classes(folders, parts):
        _refuse_ambiguous(base, folders, parts)
        return _as_splits(base, folders, parts, loose, skipped)
    if _are_classes_of_splits(folders):
        return _as_classes_of_splits(folders, loose, skipped)
    _refuse_unknown_splits(base, folders)
    _refuse_splits_as_classes(base, folders)
    return _as_classes(folders, loose, ())


def _wrapped(content: FolderContent) -> Path | None:
    """Return the only subfolder, or the only one of that, if it contains splits: `data/train`."""
    for _ in range(_MAX_WRAPPERS):
        if len(content.folders) != 1 or content.images:
            return None
        inner = _read_folder(content.folders[0])
        if len(inner.inner) > 1 and find_split_folders(inner.inner):
            return inner.path
        if parse_split_name(inner.path.name):
            return None
        content = inner.content
    return None


def _are_split_names_classes(folders: Sequence[_Folder], parts: Mapping[str, Split]) -> bool:
    """Return whether folders with names of splits contain images and no classes, such as a class `train`.

    Raises `AssayError` if all folders have such names.
    """
    split = [folder for folder in folders if folder.path.name in parts]
    if any(folder.inner for folder in split):
        return False
    if any(folder.content.images for folder in folders if folder.path.name not in parts):
        return True
    names = quote_names([folder.path.name for folder in split])
    raise AssayError(
        f"{split[0].path} holds files but no class folders; put the photos of each class into a folder, "
        f"or, if {names} are the classes themselves, say so with --layout classes"
    )


def _refuse_ambiguous(base: Path, folders: Sequence[_Folder], parts: Mapping[str, Split]) -> None:
    """Refuse splits without a common class, and other folders that contain the same classes."""
    split = [folder for folder in folders if folder.path.name in parts]
    held = [folder for folder in map(_unwrapped, split) if folder.inner]
    classes = {name for folder in held for name in folder.inner}
    if len(held) > 1 and len(classes) == sum(len(folder.inner) for folder in held):
        raise AssayError(
            f"the folders {quote_names([folder.path.name for folder in split])} in {base} may be splits or classes: "
            f"they have no folder in common; {_LAYOUT_HINT}"
        )
    for folder in folders:
        if folder not in split and len(classes & set(_unwrapped(folder).inner)) > 1:
            raise AssayError(
                f"{folder.path} holds the same classes as {quote_names(parts)}, but its name is not that of a split: "
                "call it train, val or test, move it away, or leave it out with --layout splits"
            )


def _are_classes_of_splits(folders: Sequence[_Folder]) -> bool:
    """Return whether every folder is a class that contains splits, `cat/train` and `cat/test`; one may lack a split."""
    inside = [find_split_folders(folder.inner) for folder in folders]
    found = {split for parts in inside for split in parts.values()}
    return (len(found) > 1 and "train" in found) and all(
        parts and len(parts) == len(folder.inner) and not folder.content.images
        for folder, parts in zip(folders, inside, strict=True)
    )


def _refuse_unknown_splits(base: Path, folders: Sequence[_Folder]) -> None:
    """Refuse folders that look like splits with unknown names, or that contain the same classes as the splits."""
    beside = {_nfc(folder.path.name) for folder in folders}
    bare = [folder for folder in folders if folder.inner and not folder.content.images]
    for folder in bare:
        if len(both := beside & set(folder.inner)) > 1:
            raise AssayError(
                f"{folder.path} holds folders of the same names as the classes beside it ({quote_names(both)}): "
                "move it away, or say with --layout classes that it is a class"
            )
    seen = Counter(name for folder in bare for name in folder.inner)
    if len(repeated := {name for name, count in seen.items() if count > 1}) > 1:
        tops = [folder.path.name for folder in bare if repeated & set(folder.inner)]
        raise AssayError(
            f"the folders {quote_names(tops)} in {base} hold folders of the same names ({quote_names(repeated)}): they "
            f"may be splits or classes; {_LAYOUT_HINT}, or call splits train, val and test"
        )


def _refuse_splits_as_classes(base: Path, folders: Sequence[_Folder]) -> None:
    """Refuse a class `train` that contains only folders, and `cat_train` beside `cat_test` as two classes."""
    for folder in folders:
        if parse_split_name(folder.path.name) and len(folder.inner) > 1 and not folder.content.images:
            others = [other.path.name for other in folders if other is not folder]
            raise AssayError(
                f"{folder.path} has the name of a split and holds folders ({quote_names(folder.inner)}), but not so "
                f"{quote_names(others)} beside it in {base}: it may be a split or a class; {_LAYOUT_HINT}"
            )
    names = [folder.path.name for folder in folders]
    if classes := find_classes_in_split_names(names):
        raise AssayError(
            f"the folders {quote_names(names)} in {base} may be classes, or splits of the classes "
            f"{quote_names(classes)}: "
            "put the photos into folders such as train/"
            f"{classes[0]}, or say with --layout classes that they are classes"
        )


def _as_classes(folders: Sequence[_Folder], loose: int, warnings: tuple[str, ...]) -> FolderLayout:
    return FolderLayout(tuple(_class_folder(folder.path, None, folder) for folder in folders), loose, warnings)


def _as_splits(
    base: Path, folders: Sequence[_Folder], parts: Mapping[str, Split], loose: int, skipped: SkippedFiles
) -> FolderLayout:
    known = parts or parse_split_names(folder.path.name for folder in folders)
    found: list[ClassFolder] = []
    warnings = []
    for folder in folders:
        if known and folder.path.name not in known:
            skipped.counts["folder beside train/val/test"] += 1
            warnings.append(f"folder {folder.path.name!r} beside the existing splits was ignored")
            continue
        part = _unwrapped(folder)
        if not part.inner and part.content.files:
            raise AssayError(
                f"{part.path} holds files but no class folders; put the photos of each class into a folder"
            )
        loose += part.content.files
        found += [
            _class_folder(path, known.get(folder.path.name), _read_folder(path))
            for path in list_folder_content(part.path, skipped).folders
        ]
    if not found:
        raise AssayError(f"the folders in {base} hold no class folders; put the photos of each class into a folder")
    if not known:
        warnings.append("no folder has the name of a split: all photos are split anew")
    warnings += [
        f"the folders {quote_names(same)} together are the split {split}"
        for split in dict.fromkeys(known.values())
        if len(same := [name for name, part in known.items() if part == split]) > 1
    ]
    return FolderLayout(tuple(found), loose, tuple(warnings))


def _as_classes_of_splits(folders: Sequence[_Folder], loose: int, skipped: SkippedFiles) -> FolderLayout:
    found: list[ClassFolder] = []
    for folder in folders:
        label, parts = _nfc(folder.path.name), find_split_folders(folder.inner)
        loose += folder.content.files
        inside = list_folder_content(folder.path, skipped).folders
        found += [ClassFolder(path, label, parts[_nfc(path.name)], nested=False) for path in inside]
    return FolderLayout(tuple(found), loose, ())


def _unwrapped(part: _Folder) -> _Folder:
    """Return the folder with the classes of a split: `seg_train/seg_train`."""
    for _ in range(_MAX_WRAPPERS):
        if len(part.content.folders) != 1 or part.content.images:
            break
        inner = _read_folder(part.content.folders[0])
        same = parse_split_name(inner.path.name) == parse_split_name(part.path.name) is not None
        if not same and inner.path.name.casefold() != part.path.name.casefold():
            break
        part = inner
    return part


def _class_folder(path: Path, split: Split | None, folder: _Folder) -> ClassFolder:
    return ClassFolder(path, _nfc(path.name), split, nested=bool(folder.inner))


def _read_folder(path: Path) -> _Folder:
    # Skipped files in it are counted when it is listed.
    return _Folder(path, list_folder_content(path, SkippedFiles()))


def _nfc(name: str) -> str:
    """NFC-normalise a name; archives made on macOS decompose accents."""
    return unicodedata.normalize("NFC", name)


@dataclass
class Listing:
    """The files found at a path, before any is opened."""

    root: Path
    samples: list[Sample] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    """All labels, including those of empty class folders, without repetition."""
    nested: list[str] = field(default_factory=list)
    """Class folders that contain folders: possibly the wrong level was given."""
    unreadable: list[UnreadableFile] = field(default_factory=list)
    """Folders that cannot be read."""


def list_folder(root: Path, layout: Layout = "auto") -> Listing:
    """List class folders (nested to any depth; the first level is the class), also inside train/val/test folders.

    Hidden files, system files, folders written by Assay and files outside class folders are counted in `skipped`.
    A folder is entered only once per class, so cyclic links are harmless. Raises `AssayError` if there are no
    folders or the layout is ambiguous.
    """
    listing, skipped = Listing(root), SkippedFiles()
    arrangement = find_class_folders(root, layout, skipped)
    if arrangement.loose:
        skipped.counts["outside a class folder"] += arrangement.loose
    listing.warnings += arrangement.warnings
    real = Path(os.path.realpath(root))
    others = {real / folder.path.relative_to(root) for folder in arrangement.folders if not folder.path.is_symlink()}
    for folder in arrangement.folders:
        _list_class(folder, listing, skipped, others)
    listing.skipped += skipped.counts
    listing.unreadable += [
        UnreadableFile(f"{path.relative_to(root).as_posix()}/", path, f"the folder cannot be read: {reason}")
        for path, reason in skipped.unreadable.items()
    ]
    return listing


def _list_class(folder: ClassFolder, listing: Listing, skipped: SkippedFiles, others: Collection[Path]) -> None:
    before, own = len(listing.samples), skipped.counts[ASSAY_OUTPUT]
    for path in walk_images(folder.path, skipped, others):
        name = path.relative_to(listing.root).as_posix()
        listing.samples.append(Sample(name, path, folder.label, folder.split))
    if len(listing.samples) == before and skipped.counts[ASSAY_OUTPUT] > own:
        # It contains only output of Assay and is not a class.
        return
    if folder.label not in listing.labels:
        listing.labels.append(folder.label)
    if folder.nested:
        listing.nested.append(folder.label)

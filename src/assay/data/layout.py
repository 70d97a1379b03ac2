"""What the folders of a data set are: classes, or train/val/test parts that hold the classes.

Names and places decide; no file is opened. Where both readings are possible nothing is guessed.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from assay.data.labels import named
from assay.data.samples import Split
from assay.data.split_names import classes_in_parts, split_folders, split_named, splits_named
from assay.errors import AssayError
from assay.photo_files import Children, Passed, children
from assay.recipe import Layout

_WRAPPERS = 3
_DECIDE = "say what they are with --layout classes or --layout splits"


class ClassFolder(NamedTuple):
    """A folder whose photos have one label.

    Attributes:
        path: the folder.
        label: its class, in Unicode's composed form.
        split: the ready-made part it stands in, if any.
        nested: whether it holds folders.
    """

    path: Path
    label: str
    split: Split | None
    nested: bool


class Arrangement(NamedTuple):
    """The class folders of a data set.

    Attributes:
        folders: in the order of names.
        loose: files that lie outside of them.
        warnings: sentences about folders that were left out or joined.
    """

    folders: tuple[ClassFolder, ...]
    loose: int
    warnings: tuple[str, ...]


class _Folder(NamedTuple):
    path: Path
    content: Children

    @property
    def inner(self) -> dict[str, Path]:
        """The folders in it by their composed names."""
        return {_composed(path.name): path for path in self.content.folders}


def arrange(root: Path, layout: Layout, passed: Passed) -> Arrangement:
    """Find the class folders of a data set.

    Args:
        root: an existing folder.
        layout: `classes`: every folder in it is a class; `splits`: every one is a part; `auto`: they are
            parts if their names say so and they hold class folders, else classes.
        passed: told what is passed over.

    Raises:
        AssayError: there are no folders, the parts hold no class folders, or it cannot be said which of both
            they are.
    """
    base, content = root, children(root, passed)
    if not content.folders:
        hint = "it holds files but no class folders" if content.files else "it is empty"
        raise AssayError(f"no labelled photos in {root}: {hint}; put the photos of each class into a folder")
    if layout == "classes":
        return _as_classes([_look(path) for path in content.folders], content.files, ())
    loose = content.files
    if (wrapped := _wrapped(content)) is not None:
        base, content = wrapped, children(wrapped, passed)
        loose += content.files
    folders = [_look(path) for path in content.folders]
    parts = split_folders(path.name for path in content.folders)
    if layout == "splits":
        return _as_splits(base, folders, parts, loose, passed)
    if parts and not _flat(folders, parts):
        _refuse_doubtful(base, folders, parts)
        return _as_splits(base, folders, parts, loose, passed)
    if _parts_inside(folders):
        return _as_classes_of_parts(folders, loose, passed)
    _refuse_unknown_splits(base, folders)
    _refuse_parts_as_classes(base, folders)
    return _as_classes(folders, loose, ())


def _wrapped(content: Children) -> Path | None:
    """Return the only folder of a folder, or the only one of that, if it holds parts: `data/train`."""
    for _ in range(_WRAPPERS):
        if len(content.folders) != 1 or content.images:
            return None
        inner = _look(content.folders[0])
        if len(inner.inner) > 1 and split_folders(inner.inner):
            return inner.path
        if split_named(inner.path.name):
            return None
        content = inner.content
    return None


def _flat(folders: Sequence[_Folder], parts: Mapping[str, Split]) -> bool:
    """Say whether folders with the names of parts hold photos and no classes, as a class `train` does.

    Raises:
        AssayError: all folders have such names.
    """
    split = [folder for folder in folders if folder.path.name in parts]
    if any(folder.inner for folder in split):
        return False
    if any(folder.content.images for folder in folders if folder.path.name not in parts):
        return True
    names = named([folder.path.name for folder in split])
    raise AssayError(
        f"{split[0].path} holds files but no class folders; put the photos of each class into a folder, "
        f"or, if {names} are the classes themselves, say so with --layout classes"
    )


def _refuse_doubtful(base: Path, folders: Sequence[_Folder], parts: Mapping[str, Split]) -> None:
    """Refuse parts that have no class in common, and other folders that hold the same classes."""
    split = [folder for folder in folders if folder.path.name in parts]
    held = [folder for folder in map(_unwrapped, split) if folder.inner]
    classes = {name for folder in held for name in folder.inner}
    if len(held) > 1 and len(classes) == sum(len(folder.inner) for folder in held):
        raise AssayError(
            f"the folders {named([folder.path.name for folder in split])} in {base} may be parts or classes: "
            f"they have no folder in common; {_DECIDE}"
        )
    for folder in folders:
        if folder not in split and len(classes & set(_unwrapped(folder).inner)) > 1:
            raise AssayError(
                f"{folder.path} holds the same classes as {named(parts)}, but its name is no part's: call it "
                "train, val or test, move it away, or leave it out with --layout splits"
            )


def _parts_inside(folders: Sequence[_Folder]) -> bool:
    """Say whether every folder is a class that holds parts: `cat/train`, `cat/test`; one may lack a part."""
    inside = [split_folders(folder.inner) for folder in folders]
    found = {split for parts in inside for split in parts.values()}
    return (len(found) > 1 and "train" in found) and all(
        parts and len(parts) == len(folder.inner) and not folder.content.images
        for folder, parts in zip(folders, inside, strict=True)
    )


def _refuse_unknown_splits(base: Path, folders: Sequence[_Folder]) -> None:
    """Refuse folders that look like parts with unknown names, or that hold the classes beside them."""
    beside = {_composed(folder.path.name) for folder in folders}
    bare = [folder for folder in folders if folder.inner and not folder.content.images]
    for folder in bare:
        if len(both := beside & set(folder.inner)) > 1:
            raise AssayError(
                f"{folder.path} holds folders of the same names as the classes beside it ({named(both)}): "
                "move it away, or say with --layout classes that it is a class"
            )
    seen = Counter(name for folder in bare for name in folder.inner)
    if len(repeated := {name for name, count in seen.items() if count > 1}) > 1:
        tops = [folder.path.name for folder in bare if repeated & set(folder.inner)]
        raise AssayError(
            f"the folders {named(tops)} in {base} hold folders of the same names ({named(repeated)}): they "
            f"may be parts or classes; {_DECIDE}, or call parts train, val and test"
        )


def _refuse_parts_as_classes(base: Path, folders: Sequence[_Folder]) -> None:
    """Refuse to call `train` a class that holds folders alone, or `cat_train` and `cat_test` two classes."""
    for folder in folders:
        if split_named(folder.path.name) and len(folder.inner) > 1 and not folder.content.images:
            others = [one.path.name for one in folders if one is not folder]
            raise AssayError(
                f"{folder.path} has the name of a part and holds folders ({named(folder.inner)}), but not so "
                f"{named(others)} beside it in {base}: it may be a part or a class; {_DECIDE}"
            )
    names = [folder.path.name for folder in folders]
    if classes := classes_in_parts(names):
        raise AssayError(
            f"the folders {named(names)} in {base} may be classes, or parts of the classes {named(classes)}: "
            "put the photos into folders such as train/"
            f"{classes[0]}, or say with --layout classes that they are classes"
        )


def _as_classes(folders: Sequence[_Folder], loose: int, warnings: tuple[str, ...]) -> Arrangement:
    return Arrangement(tuple(_class(folder.path, None, folder) for folder in folders), loose, warnings)


def _as_splits(
    base: Path, folders: Sequence[_Folder], parts: Mapping[str, Split], loose: int, passed: Passed
) -> Arrangement:
    known = parts or splits_named(folder.path.name for folder in folders)
    found: list[ClassFolder] = []
    warnings = []
    for folder in folders:
        if known and folder.path.name not in known:
            passed.skipped["folder beside train/val/test"] += 1
            warnings.append(f"folder {folder.path.name!r} beside the ready-made parts was ignored")
            continue
        part = _unwrapped(folder)
        if not part.inner and part.content.files:
            raise AssayError(
                f"{part.path} holds files but no class folders; put the photos of each class into a folder"
            )
        loose += part.content.files
        found += [
            _class(path, known.get(folder.path.name), _look(path))
            for path in children(part.path, passed).folders
        ]
    if not found:
        raise AssayError(
            f"the folders in {base} hold no class folders; put the photos of each class into a folder"
        )
    if not known:
        warnings.append("no folder has the name of a part: all photos are shared out anew")
    warnings += [
        f"the folders {named(same)} together are the part {split}"
        for split in dict.fromkeys(known.values())
        if len(same := [name for name, one in known.items() if one == split]) > 1
    ]
    return Arrangement(tuple(found), loose, tuple(warnings))


def _as_classes_of_parts(folders: Sequence[_Folder], loose: int, passed: Passed) -> Arrangement:
    found: list[ClassFolder] = []
    for folder in folders:
        label, parts = _composed(folder.path.name), split_folders(folder.inner)
        loose += folder.content.files
        inside = children(folder.path, passed).folders
        found += [ClassFolder(path, label, parts[_composed(path.name)], nested=False) for path in inside]
    return Arrangement(tuple(found), loose, ())


def _unwrapped(part: _Folder) -> _Folder:
    """Return the folder that holds a part's classes: `seg_train/seg_train`."""
    for _ in range(_WRAPPERS):
        if len(part.content.folders) != 1 or part.content.images:
            break
        inner = _look(part.content.folders[0])
        same = split_named(inner.path.name) == split_named(part.path.name) is not None
        if not same and inner.path.name.casefold() != part.path.name.casefold():
            break
        part = inner
    return part


def _class(path: Path, split: Split | None, folder: _Folder) -> ClassFolder:
    return ClassFolder(path, _composed(path.name), split, nested=bool(folder.inner))


def _look(path: Path) -> _Folder:
    # What is passed over in it is counted when it is listed.
    return _Folder(path, children(path, Passed()))


def _composed(name: str) -> str:
    """Return a name as most systems write it: archives made on a Mac decompose accents."""
    return unicodedata.normalize("NFC", name)

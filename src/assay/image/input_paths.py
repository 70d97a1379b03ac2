"""The images that arguments name: files, folders and globs."""

from collections.abc import Collection, Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from assay.core.errors import UsageError
from assay.image.ignore_rules import NOT_AN_IMAGE, SkippedFiles
from assay.image.image_files import is_image_file, walk_images

CONTAINER_SUFFIXES: Final = frozenset({".parquet", ".pq", ".tar"})
"""Suffixes of files that contain many photos, which predictions in partitions read."""


def contains_photos(folder: Path, excluded: Collection[Path] = ()) -> bool:
    """Return whether a folder has photos, other than the resolved paths `excluded`, in itself or its subfolders.

    A subfolder that cannot be read counts as one with photos, since that is to be reported.

    Raises:
        AssayError: the folder cannot be read.
    """
    return next(_walk(folder, SkippedFiles(), excluded), None) is not None


def expand_image_paths(
    inputs: Sequence[str], exclude: Collection[Path] = (), skipped: SkippedFiles | None = None
) -> Iterator[Path]:
    """Yield each image path once, in the order given and sorted by name within a folder or glob.

    A file given by name is always included, so that a wrong one is reported. Folders are listed as for
    training (`assay.image.image_files`); files in them that are not images by content or name are skipped. A
    subfolder that cannot be read is yielded itself, so that it is reported like an unreadable photo. Folders
    are walked lazily.

    Args:
        inputs: files, folders and globs.
        exclude: files to leave out, such as the output file.
        skipped: collects what is skipped in folders.

    Raises:
        UsageError: at the call, if an input matches nothing or a folder contains no photo.
        AssayError: a folder given as input cannot be read.
    """
    excluded = {path.resolve() for path in exclude}
    folders: list[Path] = []
    order: dict[Path, None] = {}
    for name in inputs:
        if not name:
            # It would be the working folder: a shell variable that is not set is no photo.
            raise UsageError("the path of a photo is empty: give a file or a folder, or . for this folder")
        path = Path(name)
        if path.is_dir():
            if not contains_photos(path, excluded):
                raise UsageError(f"{name} contains no photos: give another folder, or files")
            folders.append(path)
            order[path] = None
        else:
            found = [path for path in _match(name) if path.resolve() not in excluded]
            if not found:
                raise UsageError(f"{name} contains no photos: it is the output file")
            order.update(dict.fromkeys(found))
    return _expand(list(order), folders, excluded, SkippedFiles() if skipped is None else skipped)


def _expand(
    order: Sequence[Path], folders: Sequence[Path], excluded: Collection[Path], skipped: SkippedFiles
) -> Iterator[Path]:
    """Walk the folders in order; paths already yielded, by name or within a folder, are left out."""
    before: list[Path] = []
    given: set[Path] = set()
    for path in order:
        if path not in folders:
            if not any(path.is_relative_to(folder) for folder in before):
                given.add(path)
                yield path
            continue
        inner = [folder for folder in before if folder.is_relative_to(path)]
        outer = any(path.is_relative_to(folder) for folder in before)
        for photo in () if outer else _walk(path, skipped, excluded):
            if photo not in given and not any(photo.is_relative_to(folder) for folder in inner):
                yield photo
        before.append(path)


def _walk(folder: Path, skipped: SkippedFiles, excluded: Collection[Path]) -> Iterator[Path]:
    """Yield the photos of a folder, then its subfolders that cannot be read."""
    unreadable = set(skipped.unreadable)
    for path in walk_images(folder, skipped):
        if excluded and path.resolve() in excluded:
            continue
        if is_image_file(path):
            yield path
        else:
            skipped.counts[NOT_AN_IMAGE] += 1
    yield from skipped.unreadable.keys() - unreadable


def _match(name: str) -> list[Path]:
    """Return the file, or the files that match a glob."""
    path = Path(name)
    if path.exists():
        return [path]
    if not has_magic(name):
        raise UsageError(f"{name} does not exist: check the spelling")
    matches = sorted(Path(match) for match in glob(name, recursive=True))  # noqa: PTH207 - as shells do
    found = [match for match in matches if match.is_file()]
    if not found:
        raise UsageError(f"{name} matches no file: check the spelling")
    return found

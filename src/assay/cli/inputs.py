"""From what people type (files, folders, globs) to the photos meant."""

import os
from collections.abc import Collection, Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

from assay.errors import AssayError, UsageError

_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".jp2", ".j2k", ".ppm", ".pgm", ".heic", ".heif"),
}
"""Names that promise a photo: such a file is taken whatever it holds, so that a broken one is reported."""


def photos(inputs: Sequence[str], without: Collection[Path] = ()) -> Iterator[Path]:
    """Give the files meant, each once, in the order typed and by name within a folder or glob.

    A file that is named is taken whatever it holds, so that a wrong one is reported. Inside folders hidden
    files are passed over, and files that are no images, judged by content and by name. Folders are walked as
    the photos are asked for: a folder may hold any number.

    Args:
        inputs: as typed.
        without: files that are none of the photos, such as the one the answers go to.

    Raises:
        UsageError: at once, if a name matches nothing or a folder holds no photo.
        AssayError: on the way, if a folder cannot be read.
    """
    left_out = {path.resolve() for path in without}
    folders: list[Path] = []
    order: dict[Path, None] = {}
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            if next(_walk(path), None) is None:
                raise UsageError(f"{name} holds no photo: give another folder, or files")
            folders.append(path)
            order[path] = None
        else:
            found = [one for one in _named(name) if one.resolve() not in left_out]
            if not found:
                raise UsageError(f"{name} holds no photo: it is where the answers go")
            order.update(dict.fromkeys(found))
    return _unfold(list(order), folders, left_out)


def _named(name: str) -> list[Path]:
    """Return the file, or the files that a glob matches."""
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


def _unfold(order: Sequence[Path], folders: Sequence[Path], left_out: Collection[Path]) -> Iterator[Path]:
    """Walk the folders in their turn; what was given before, by name or within a folder, comes only once."""
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
        for photo in () if outer else _walk(path):
            if photo in given or any(photo.is_relative_to(folder) for folder in inner):
                continue
            if not left_out or photo.resolve() not in left_out:
                yield photo
        before.append(path)


def _walk(folder: Path) -> Iterator[Path]:
    """Give a folder's photos by name, and those of the folders in it; no more than names is held."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise AssayError(f"{folder} cannot be read: {error.strerror}") from None
    for name in names:
        path = folder / name
        if path.is_dir():
            if not path.is_symlink():
                yield from _walk(path)
        elif _is_photo(path):
            yield path


def _is_photo(path: Path) -> bool:
    from assay.image import HEAD_BYTES, sniff

    if not path.is_file():
        return False
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return sniff(stream.read(HEAD_BYTES)) is not None
    except OSError:
        return False

"""List the image files of a folder, in the same way for training, checks, predictions and serving."""

import os
import stat
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from assay.core.errors import AssayError
from assay.image import HEAD_BYTES, sniff
from assay.image.ignore_rules import (
    ASSAY_OUTPUT,
    BROKEN_LINK,
    CROSS_CLASS_LINK,
    DUPLICATE_LINK,
    IRREGULAR,
    REVISITED,
    SkippedFiles,
    is_assay_output,
    is_folder,
    is_output_folder,
    skip_reason,
    sorted_entries,
    visible_entries,
)

IMAGE_SUFFIXES = frozenset(
    {
        *(
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".png",
            ".webp",
            ".gif",
            ".bmp",
            ".dib",
            ".tif",
            ".tiff",
            ".avif",
        ),
        *(".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".heic", ".heif"),
    }
)
"""Suffixes of images: such a file is listed whatever its content, so that a broken one is reported."""


@dataclass(frozen=True, slots=True)
class FolderContent:
    """The content of one folder, without skipped entries."""

    folders: tuple[Path, ...]
    """Sorted by name, including links to folders."""
    files: int
    """Number of files directly in the folder."""
    images: int
    """Number of these with an image's name."""


def list_folder_content(folder: Path, skipped: SkippedFiles) -> FolderContent:
    """List the folders directly in a folder, and count its files.

    A link to the folder itself, a parent, or another folder in it is skipped. Raises `AssayError` if the folder cannot
    be read.
    """
    folders, files, images = [], 0, 0
    home = _resolve(folder)
    for entry in visible_entries(_scan_or_raise(folder), skipped):
        path = folder / entry.name
        if not is_folder(entry):
            files += 1
            images += path.suffix.casefold() in IMAGE_SUFFIXES
        elif entry.is_symlink() and _is_beside_or_around(_resolve(path), home):
            skipped.counts[REVISITED] += 1
        elif is_assay_output(path):
            skipped.counts[ASSAY_OUTPUT] += 1
        else:
            folders.append(path)
    return FolderContent(tuple(folders), files, images)


def walk_images(top: Path, skipped: SkippedFiles, others: Collection[Path] = ()) -> Iterator[Path]:
    """List the files below a folder, at any depth, sorted by name; only names are kept in memory.

    Links come last. A link to a file or folder that is listed anyway, or to a parent, is skipped; so cyclic links end,
    and a file is listed under its real path if that is below the folder.

    Args:
        top: an existing folder, which is listed whatever its name or content.
        skipped: counts what is skipped.
        others: real paths of folders that are listed separately; may include `top`.

    Raises:
        AssayError: `top` cannot be read. Unreadable folders below it are recorded in `skipped`.
    """
    home = _resolve(top)
    links = _LinkResolver(home, others)
    waiting: deque[Path] = deque()
    levels = [_Level(top, home, iter(visible_entries(_scan_or_raise(top), skipped)))]
    links.enter(top)
    while levels or waiting:
        if not levels:
            link = waiting.popleft()
            target = links.resolve(link, skipped)
            if target is not None and target.is_dir():
                _enter_folder(link, target, links, skipped, levels)
            elif target is not None:
                yield link
            continue
        level = levels[-1]
        entry = next(level.entries, None)
        if entry is None:
            levels.pop()
            continue
        path = level.path / entry.name
        if entry.is_symlink():
            waiting.append(path)
        elif is_folder(entry):
            _enter_folder(path, level.real / entry.name, links, skipped, levels)
        elif not _is_file(entry):
            skipped.counts[IRREGULAR] += 1
        elif links.files and str(level.real / entry.name) in links.files:
            skipped.counts[DUPLICATE_LINK] += 1
        else:
            yield path


def is_image_file(path: Path) -> bool:
    """Return whether a file is an image by name or content; True if it cannot be opened."""
    if path.suffix.casefold() in IMAGE_SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return sniff(stream.read(HEAD_BYTES)) is not None
    except OSError:
        return True


@dataclass(frozen=True, slots=True)
class _Level:
    path: Path
    real: Path
    entries: Iterator[os.DirEntry[str]]


class _LinkResolver:
    """Decides which links lead to something new."""

    def __init__(self, home: Path, others: Collection[Path]) -> None:
        self._home, self._others = home, others
        self._folders: set[tuple[int, int]] = set()
        self.files: set[str] = set()
        """Real paths of files listed through a link."""

    def enter(self, folder: Path) -> bool:
        status = folder.stat()
        identity = status.st_dev, status.st_ino
        known = identity in self._folders
        self._folders.add(identity)
        return not known

    def resolve(self, link: Path, skipped: SkippedFiles) -> Path | None:
        """Return the file or folder that a link leads to, or None after counting why it is skipped."""
        target = _resolve(link)
        try:
            mode = target.stat().st_mode
        except OSError:
            reason = BROKEN_LINK
        else:
            regular = stat.S_ISREG(mode)
            reason = self._folder(target) if stat.S_ISDIR(mode) else self._file(target) if regular else IRREGULAR
        if reason:
            skipped.counts[reason] += 1
            return None
        return target

    def _folder(self, target: Path) -> str:
        """Return why a link to a folder is not followed, or ""."""
        if target == self._home or _is_listed(target, self._home, folder=True):
            return REVISITED
        if self._home.is_relative_to(target):
            return CROSS_CLASS_LINK if self._others else REVISITED
        around = any(other.is_relative_to(target) for other in self._others)
        return CROSS_CLASS_LINK if around or self._is_in_other(target, folder=True) else ""

    def _is_in_other(self, target: Path, *, folder: bool) -> bool:
        return any(above in self._others and _is_listed(target, above, folder=folder) for above in target.parents)

    def _file(self, target: Path) -> str:
        """Return why a link to a file is not listed, or ""."""
        if _is_listed(target, self._home, folder=False):
            return DUPLICATE_LINK
        if self._is_in_other(target, folder=False):
            return CROSS_CLASS_LINK
        status = target.parent.stat()
        reached = (status.st_dev, status.st_ino) in self._folders
        if str(target) in self.files or (reached and not skip_reason(target.name, folder=False)):
            return DUPLICATE_LINK
        self.files.add(str(target))
        return ""


def _resolve(path: Path) -> Path:
    """Resolve a path; return it unchanged if that is not permitted, as for some links in `/proc`."""
    try:
        return Path(os.path.realpath(path))
    except OSError:
        return path.absolute()


def _is_beside_or_around(target: Path, home: Path) -> bool:
    beside = target.parent == home and not skip_reason(target.name, folder=True)
    return beside or home.is_relative_to(target)


def _is_listed(target: Path, top: Path, *, folder: bool) -> bool:
    """Return whether a file or folder is listed when `top` is, judged by its path alone."""
    if target == top or not target.is_relative_to(top):
        return False
    *above, name = target.relative_to(top).parts
    return not any(skip_reason(part, folder=True) for part in above) and not skip_reason(name, folder=folder)


def _enter_folder(path: Path, real: Path, links: _LinkResolver, skipped: SkippedFiles, levels: list[_Level]) -> None:
    """Descend into a folder, unless it was reached before or is skipped."""
    try:
        new = links.enter(path)
        entries = sorted_entries(path) if new else []
    except OSError as error:
        skipped.unreadable[path] = error.strerror or str(error)
        return
    if not new:
        skipped.counts[REVISITED] += 1
    elif is_output_folder(path, entries):
        skipped.counts[ASSAY_OUTPUT] += 1
    else:
        levels.append(_Level(path, real, iter(visible_entries(entries, skipped))))


def _scan_or_raise(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted_entries(folder)
    except OSError as error:
        raise AssayError(f"folder {folder} cannot be read: {error.strerror or error}") from None


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False

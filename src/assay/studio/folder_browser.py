"""The folders of this machine, from which the start page lets users choose one for a project."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.core.errors import UsageError
from assay.image.image_files import IMAGE_SUFFIXES
from assay.studio.system_folders import check_project_folder, is_system_folder
from assay.studio.uploads import safe_name

MAX_FOLDERS: Final = 1000
"""Subfolders that the page lists."""
_MOUNTS: Final = ("/media", "/mnt", "/run/media", "/Volumes")


@dataclass(frozen=True)
class FolderView:
    """A folder as the start page shows it: names only.

    Attributes:
        path: of the folder.
        parent: None: it is one of the places where the list begins.
        names: of its visible subfolders, sorted.
        hidden: number of further subfolders.
        photos: number of images in the folder itself, by their names.
        can_open: whether it can be a project; not the home folder, a drive as a whole, or a folder of the system.
    """

    path: Path
    parent: Path | None
    names: tuple[str, ...]
    hidden: int
    photos: int
    can_open: bool


def places() -> list[Path]:
    """Return the folders below which the start page lists folders: home, the current folder, and drives."""
    found = [Path.home(), Path.cwd(), *(Path(mount) for mount in _MOUNTS if Path(mount).is_dir())]
    if sys.platform == "win32":
        found += map(Path, os.listdrives())
    return list(dict.fromkeys(place.resolve() for place in found))


def view_folder(text: str) -> FolderView:
    """List a folder in one of the `places`; with an empty text the home folder.

    Raises:
        UsageError: it is elsewhere, hidden, or cannot be read.
    """
    path = _path(text) if text else Path.home().resolve()
    roots = places()
    root = next((root for root in roots if path.is_relative_to(root)), None)
    if root is None or any(part.startswith(".") for part in path.relative_to(root).parts):
        check_project_folder(path)
        raise UsageError(f"{path} is not shown here: type its path to open it")
    names, photos = [], 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    names.append(entry.name)
                elif Path(entry.name).suffix.casefold() in IMAGE_SUFFIXES:
                    photos += 1
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    names.sort(key=str.casefold)
    parent = path.parent if any(path != place and path.is_relative_to(place) for place in roots) else None
    can_open = not is_too_large(path) and not is_system_folder(path)
    return FolderView(path, parent, tuple(names[:MAX_FOLDERS]), max(0, len(names) - MAX_FOLDERS), photos, can_open)


def is_too_large(folder: Path) -> bool:
    """Return whether a folder is the home folder, contains it, or is a whole drive: all its files would be listed."""
    mounts = {Path(mount) for mount in _MOUNTS}
    return Path.home().resolve().is_relative_to(folder) or folder in mounts or folder.parent == folder


def existing_folder(text: str) -> Path:
    """Return a folder that is to be opened as a project.

    Raises:
        UsageError: there is no such folder, it is too large to be one, or it is one of the operating system.
    """
    if not text.strip() or not Path(text.strip()).expanduser().is_absolute() or not _path(text.strip()).is_dir():
        raise UsageError(f"There is no folder {text}: give its whole path")
    path = _path(text.strip())
    check_project_folder(path)
    if is_too_large(path):
        raise UsageError(f"{path} has more than photos in it: choose a folder inside, or create one")
    return path


def new_folder(parent: str, name: str) -> Path:
    """Create a folder for a project and return it.

    Raises:
        UsageError: the parent does not exist or is a folder of the operating system, or it has a file or folder of
            this name.
    """
    place = _path(parent)
    safe = safe_name(name) if name.strip() else ""
    if not safe or safe != name.strip():
        raise UsageError("Give the new folder a name without special characters")
    if not place.is_dir():
        raise UsageError(f"There is no folder {place}")
    path = place / safe
    check_project_folder(path)
    try:
        path.mkdir()
    except FileExistsError:
        raise UsageError(f"There is a {safe} in {place} already: open it") from None
    return path


def _path(text: str) -> Path:
    if "\0" in text:
        raise UsageError("A path has no NUL characters")
    return Path(text).expanduser().resolve()

"""The photos of a project: one record per file, with an id for addresses."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.core.printable_text import is_unicode
from assay.image.ignore_rules import SkippedFiles
from assay.image.image_files import is_image_file, walk_images

NOT_UNICODE: Final = "name is not valid Unicode"
_ID_DIGITS: Final = 16


@dataclass(slots=True)
class Photo:
    """A photo of a project.

    Attributes:
        id: hexadecimal digits, from the path; pages and addresses use it instead of the path.
        name: path relative to the project, with forward slashes; absolute for a photo outside.
        version: changes with the file's size and time of modification.
        label: its class; None: it has none yet.
        left_out: whether it is not used for training.
        revision: of the project when one of these last changed.
    """

    id: str
    name: str
    version: str
    label: str | None = None
    left_out: bool = False
    revision: int = 0

    @property
    def training_label(self) -> str | None:
        """The label in the manifest; None: it is not in it."""
        return None if self.left_out else self.label


def photo_name(path: Path, folder: Path) -> str:
    """Return the path relative to the project's folder, or the path itself outside, with forward slashes."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def photo_id(name: str) -> str:
    """Return the id of a photo: 16 hexadecimal digits."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:_ID_DIGITS]


def list_photos(folder: Path, sources: Iterable[Path], skipped: SkippedFiles) -> Iterator[Photo]:
    """List the images in a project and in other folders; what Assay wrote and hidden files are skipped.

    Args:
        folder: of the project.
        sources: other folders, absolute; those that cannot be read are skipped.
        skipped: counts what is skipped.

    Raises:
        AssayError: the project's folder cannot be read.
    """
    places = [folder, *(source for source in sources if source.is_dir())]
    seen: set[Path] = set()
    for place in places:
        for path in walk_images(place, skipped):
            if path in seen or not is_image_file(path):
                continue
            seen.add(path)
            photo = new_photo(path, folder)
            if is_unicode(photo.name):
                yield photo
            else:
                skipped.counts[NOT_UNICODE] += 1


def new_photo(path: Path, folder: Path) -> Photo:
    """Return the record of a file that has no label yet; `folder` is that of the project."""
    name = photo_name(path, folder)
    return Photo(photo_id(name), name, _version(path))


def _version(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "0"
    return hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:8]

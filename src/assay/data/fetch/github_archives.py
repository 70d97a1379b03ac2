"""Class folders from the archive of a GitHub repository, verified by the content of the images.

GitHub compresses archives anew, so that their bytes and their SHA-256 can change while the files do not. Therefore the
images are hashed after unpacking, not the archive.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from assay.core.errors import AssayError
from assay.core.files import file_sha256
from assay.core.progress import Progress
from assay.data.fetch.archive import extract

_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg"})


def github_archive_url(repository: str) -> str:
    """Return the address of the default branch of `OWNER/NAME` as a zip archive."""
    return f"https://github.com/{repository}/archive/HEAD.zip"


def content_sha256(folder: Path) -> str:
    """Return a SHA-256 of all files below `folder`: of their relative paths and contents, in the order of the paths.

    For every file, its path with forward slashes, a line feed, the 64 hexadecimal digits of the SHA-256 of its content
    and a line feed are hashed.
    """
    digest = hashlib.sha256()
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(paths):
        digest.update(f"{name}\n{file_sha256(paths[name])}\n".encode())
    return digest.hexdigest()


def write_class_folders(
    archive: Path, folders: Mapping[str, str], sha256: str, folder: Path, progress: Progress
) -> None:
    """Copy the JPEG files of some folders of a repository's archive into class folders.

    Args:
        archive: zip archive whose only top-level folder is the repository.
        folders: path of a folder in the repository, by class.
        sha256: expected result of `content_sha256` for the class folders.
        folder: existing, empty.
        progress: called with the step, the number done and the total.

    Raises:
        AssayError: the archive is damaged, a folder is missing, or the images are not the expected ones.
    """
    unpacked = folder.with_name("unpacked")
    unpacked.mkdir()
    extract(archive, unpacked, progress=progress)
    for label, inside in folders.items():
        source = next((path / inside for path in unpacked.iterdir() if (path / inside).is_dir()), None)
        if source is None:
            raise AssayError(f"{archive} has no folder {inside}; it is not the archive that was expected")
        (folder / label).mkdir()
        for path in sorted(source.iterdir()):
            if path.suffix.casefold() in _IMAGE_SUFFIXES and path.is_file():
                shutil.move(path, folder / label / path.name)
    if (found := content_sha256(folder)) != sha256:
        raise AssayError(
            f"the photos in {archive} are not those that were registered (SHA-256 of their content {found}, "
            f"expected {sha256}): the publisher has changed them, or the download is damaged"
        )

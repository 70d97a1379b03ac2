"""Fetch a data set by registry name, URL or archive file into a folder ready for training."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from assay.core.download import download
from assay.core.errors import AssayError, UsageError
from assay.core.files import file_sha256 as digest
from assay.core.progress import Progress, no_progress
from assay.data.fetch.archive import ArchiveLimits, atomic_folder, extract, lift_single_folder, require_unused_path
from assay.data.fetch.registry import REGISTRY, RegisteredDataset, RemoteFile
from assay.recipe.base import closest_match

SOURCE_FILE = ".source.json"
"""File in every fetched folder that says where its photos come from and what they may be used for."""
_ARCHIVE_SUFFIXES = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar", ".zip")


@dataclass(frozen=True)
class FetchResult:
    """Where a data set is now."""

    folder: Path
    written: bool
    """Whether it was written by this call; else it was there already."""
    dataset: RegisteredDataset | None
    """What the catalogue knows of it."""


def fetch(
    source: str,
    to: Path | None = None,
    *,
    sha256: str | None = None,
    downloads: Path | None = None,
    limits: ArchiveLimits | None = None,
    progress: Progress = no_progress,
) -> FetchResult:
    """Fetch a data set into a new folder.

    Args:
        source: a name of the catalogue, an address of a zip or tar archive, or the path of one.
        to: the folder to make; by default the name, or the archive's name without its ending, right here.
        sha256: what an archive's SHA-256 must be; the catalogue knows its own.
        downloads: folder with the data set's files where they were downloaded by other means; then nothing
            is sent over the network.
        limits: what an archive may expand to.
        progress: called with the step, the number done and the total.

    Returns:
        Where it is. A folder that was fetched from the same source before is left as it is.

    Raises:
        UsageError: the source is no name, address or file.
        AssayError: the folder holds something else, there is no network, a hash is wrong, an archive is
            refused. No half data set is left, but downloads that can be resumed are.
    """
    if source in REGISTRY:
        if sha256 is not None:
            raise UsageError(f"--sha256 is for addresses; the hashes of {source} are known")
        return fetch_dataset(REGISTRY[source], to, downloads=downloads, progress=progress)
    if downloads is not None:
        raise UsageError(f"--from is for data sets with a name; give the archive itself in place of {source!r}")
    if urlsplit(source).scheme in {"http", "https"}:
        return _fetch_url(source, to, sha256, limits, progress)
    archive = Path(source)
    if not archive.is_file():
        raise UsageError(
            f"{source!r} is no address, no file and no data set's name; the nearest name is "
            f"{closest_match(source, REGISTRY)!r} (all: {', '.join(REGISTRY)})"
        )
    if sha256 is not None and not digest(archive).startswith(sha256.lower()):
        raise AssayError(f"{archive} has the SHA-256 {digest(archive)}, not {sha256}; it was not unpacked")
    return _unpack(archive, to or Path(_stem(archive.name)), str(archive.resolve()), limits, progress)


def fetch_dataset(
    dataset: RegisteredDataset,
    to: Path | None = None,
    *,
    downloads: Path | None = None,
    progress: Progress = no_progress,
) -> FetchResult:
    """Fetch a data set of the catalogue; arguments, result and errors as those of `fetch`."""
    to = to or Path(dataset.name)
    if _is_fetched(to, dataset.name):
        return FetchResult(to, written=False, dataset=dataset)
    require_unused_path(to)
    installed = dataset.installed() if downloads is None else None
    kept = _download_folder(to)
    files: Mapping[str, Path] = {}
    if installed is None:
        files = (
            {remote.name: _local_file(remote, downloads) for remote in dataset.files}
            if downloads
            else _download(dataset.files, kept, progress)
        )
    with atomic_folder(to) as folder:
        if installed is not None and dataset.write_installed is not None:
            dataset.write_installed(installed, folder)
        else:
            dataset.write(files, folder, progress)
        _write_source_file(
            folder,
            dataset.name,
            homepage=dataset.homepage,
            licence=dataset.licence,
            citation=dataset.citation,
            files={remote.url: remote.sha256 for remote in dataset.files},
        )
    shutil.rmtree(kept, ignore_errors=True)
    return FetchResult(to, written=True, dataset=dataset)


def _fetch_url(
    url: str, to: Path | None, sha256: str | None, limits: ArchiveLimits | None, progress: Progress
) -> FetchResult:
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    to = to or Path(_stem(name))
    if _is_fetched(to, url):
        return FetchResult(to, written=False, dataset=None)
    require_unused_path(to)
    kept = _download_folder(to)
    remote = RemoteFile("archive", url, sha256 or "", size=0)
    archive = _download((remote,), kept, progress)[remote.name]
    try:
        return _unpack(archive, to, url, limits, progress)
    finally:
        # Also after a refusal: what was refused once is refused again.
        shutil.rmtree(kept, ignore_errors=True)


def _unpack(archive: Path, to: Path, source: str, limits: ArchiveLimits | None, progress: Progress) -> FetchResult:
    if _is_fetched(to, source):
        return FetchResult(to, written=False, dataset=None)
    with atomic_folder(to) as folder:
        extract(archive, folder, limits, progress=progress)
        lift_single_folder(folder)
        _write_source_file(folder, source, files={source: digest(archive)})
    return FetchResult(to, written=True, dataset=None)


def _download(remotes: tuple[RemoteFile, ...], kept: Path, progress: Progress) -> dict[str, Path]:
    try:
        return {
            remote.name: download(remote.url, kept / remote.name, remote.sha256 or None, progress=progress)
            for remote in remotes
        }
    except AssayError:
        if kept.is_dir() and not any(kept.iterdir()):
            kept.rmdir()
        raise


def _local_file(remote: RemoteFile, downloads: Path) -> Path:
    path = downloads / remote.name
    if not path.is_file():
        raise AssayError(f"{path} is missing; download it from {remote.url}")
    if (found := digest(path)) not in {remote.sha256, *remote.equivalent_sha256}:
        raise AssayError(f"{path} has the SHA-256 {found}, not {remote.sha256}; download it again")
    return path


def _download_folder(to: Path) -> Path:
    """Where the downloads for the folder `to` wait."""
    return to.with_name(f".{to.name}.download")


def _stem(name: str) -> str:
    for suffix in _ARCHIVE_SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return name if name.strip(".") else "photos"


def _is_fetched(to: Path, source: str) -> bool:
    try:
        note = json.loads((to / SOURCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(note, dict) and note.get("source") == source


def _write_source_file(folder: Path, source: str, **more: str | dict[str, str]) -> None:
    note = {"source": source, **more}
    (folder / SOURCE_FILE).write_text(json.dumps(note, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

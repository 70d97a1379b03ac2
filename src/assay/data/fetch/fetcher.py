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
"""File in every fetched folder with the source and licence of the images."""
_ARCHIVE_SUFFIXES = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar", ".zip")


@dataclass(frozen=True)
class FetchResult:
    """A fetched data set."""

    folder: Path
    written: bool
    """Whether this call wrote it; False: it already existed."""
    dataset: RegisteredDataset | None
    """Its registry entry, if any."""


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
        source: a registry name, or the URL or path of a zip or tar archive.
        to: the folder; by default the name, or the archive's name without suffix, in the working directory.
        sha256: expected SHA-256 of an archive; the registry has its own.
        downloads: folder with the already downloaded files; then the network is not used.
        limits: limits on the unpacked size.
        progress: called with the step, the number done and the total.

    Returns:
        The location. A folder fetched earlier from the same source is unchanged.

    Raises:
        UsageError: the source is not a name, URL or file.
        AssayError: the folder has other content, the network fails, a hash is wrong or an archive is refused. No
            partial data set is left, except downloads that can be resumed.
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
    """Fetch a data set of the registry; arguments, result and errors as for `fetch`."""
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
            files={remote.url: remote.sha256 for remote in dataset.files if remote.sha256},
            **({"content_sha256": dataset.content_sha256} if dataset.content_sha256 else {}),
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
        # Also after an error, which would occur again.
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
    if remote.sha256 and (found := digest(path)) not in {remote.sha256, *remote.equivalent_sha256}:
        raise AssayError(f"{path} has the SHA-256 {found}, not {remote.sha256}; download it again")
    return path


def _download_folder(to: Path) -> Path:
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

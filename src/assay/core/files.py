"""Atomic writes, safe reads, and temporary files and folders that a later process cleans up."""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from assay.core.errors import UsageError
from assay.core.locks import open_locked

_PATH_ERRORS = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_PATH_ERRNOS = {errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENXIO, errno.ENODEV}

_MARK = ".assay-tmp-"
_TEMPORARY_NAME = re.compile(rf"^\.?[^/]*{re.escape(_MARK)}[a-z0-9_]{{8}}(\.[^/]*)?$")
_MAX_NAME_CHARS = 100
"""Characters of the target's name that a temporary name keeps; file systems allow 255 in total."""

_cleaned_folders: set[Path] = set()


def cache_folder() -> Path:
    """Return the folder of Assay's caches: `ASSAY_CACHE`, else `assay` in the user's cache folder.

    It may not exist yet.

    Raises:
        UsageError: the path is or leads through a file.
    """
    if named := os.environ.get("ASSAY_CACHE"):
        folder = Path(named)
    else:
        home = Path.home()
        usual = home / "Library/Caches" if sys.platform == "darwin" else home / ".cache"
        folder = Path(os.environ.get("XDG_CACHE_HOME") or usual) / "assay"
    existing = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), None)
    if existing is not None and not existing.is_dir():
        source = " of ASSAY_CACHE" if named else ""
        why = "is not a folder" if existing == folder else f"cannot be created, since {existing} is not a folder"
        raise UsageError(f"the cache folder {folder}{source} {why}: set ASSAY_CACHE to a folder")
    return folder


@contextmanager
def temporary_folder(purpose: str, beside: Path | None = None) -> Iterator[Path]:
    """Create an empty folder that only this user can read; remove it when the block ends.

    If the process is killed, the next one that creates a temporary file or folder in the same place removes it. The
    name starts with `purpose`, e.g. `assay-export`. In the folder `beside` it is hidden; None is the system's folder
    for temporary files.
    """
    parent = Path(tempfile.gettempdir()) if beside is None else beside
    prefix = f"{purpose if beside is None else '.' + purpose[:_MAX_NAME_CHARS]}{_MARK}"
    remove_stale_once(parent)
    folder, lock = _create_locked(lambda: tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _release(lock)


@contextmanager
def temporary_file(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """Create an empty file beside `target` with its suffix; remove it when the block ends, unless it was renamed.

    `mode` is restricted by the umask.
    """
    remove_stale_once(target.parent)

    def create() -> str:
        name = f".{target.stem[:_MAX_NAME_CHARS]}{_MARK}{os.urandom(4).hex()}{target.suffix}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(target.parent / name, flags, mode))
        return str(target.parent / name)

    path, lock = _create_locked(create)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        _release(lock)


def remove_stale_once(folder: Path) -> None:
    """Call `remove_stale` for a folder unless this process has done so before."""
    if folder not in _cleaned_folders:
        _cleaned_folders.add(folder)
        remove_stale(folder)


def remove_stale(folder: Path) -> None:
    """Remove temporary files and folders of Assay in `folder` whose process has ended; a no-op on Windows."""
    if sys.platform == "win32":
        return
    with suppress(OSError), os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if _MARK in entry.name and _TEMPORARY_NAME.match(entry.name)]
        for path in left:
            with suppress(OSError):
                _remove_if_stale(path)


def _remove_if_stale(path: Path) -> None:
    status = path.lstat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) or status.st_uid != os.getuid():
        return
    lock = _try_lock(path)
    if lock is None:
        return
    try:
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _create_locked(create: Callable[[], str]) -> tuple[Path, int | None]:
    """Create something and lock it; repeat if another process removed it in between."""
    while True:
        path = Path(create())
        if sys.platform == "win32":
            return path, None
        try:
            lock = _try_lock(path)
        except FileNotFoundError:
            continue
        except OSError:
            # The file system has no locks: nothing is removed there.
            return path, None
        if lock is not None:
            with suppress(FileNotFoundError):
                if path.lstat().st_ino == os.fstat(lock).st_ino:
                    return path, lock
            os.close(lock)


def _try_lock(path: Path) -> int | None:
    return open_locked(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


@contextmanager
def atomic_write(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; rename it to `path` when the block ends without an error.

    The file is flushed to disk before it is renamed, so that readers see the old content or the new one, also
    after a power failure. A missing folder is created.

    Args:
        path: the file to write.
        mode: permissions, e.g. 0o600 for a secret, which other users cannot read at any time; None: 0o666
            restricted by the umask.

    Raises:
        NotAFileError: `path` is a pipe, a socket or a device, such as `/dev/null`; it is not replaced.
    """
    require_regular_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _errors_name_file(path), temporary_file(path, 0o666 if mode is None else 0o600) as temporary:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)


@contextmanager
def _errors_name_file(path: Path) -> Iterator[None]:
    """Add the path to system errors that name no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def write_text(path: Path, text: str, mode: int | None = None) -> None:
    """Write `text` to `path` as UTF-8 with `atomic_write`."""
    with atomic_write(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


_MAX_JSON_CHARS = 16 << 20


class NotAFileError(UsageError, OSError):
    """A pipe, a socket or a device was given instead of a file; `strerror` says so without the path."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is a pipe, a socket or a device: give a file")
        self.strerror = "not a file but a pipe, a socket or a device"


def require_regular_file(path: Path) -> None:
    """Raise `NotAFileError` if `path` is a pipe, a socket or a device; files, folders and missing paths are accepted.

    Opening a pipe blocks until there is a writer, and a device may never end.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise NotAFileError(path)


def open_file(path: Path) -> BinaryIO:
    """Open a user-supplied file for reading.

    Files of size 0 are read as empty, also those in `/proc`, some of which block.

    Raises:
        NotAFileError: it is a pipe, a socket or a device, which is never opened.
        OSError: it cannot be opened; IsADirectoryError for a folder.
    """
    require_regular_file(path)
    stream = open(path, "rb", opener=_open_nonblocking)  # noqa: SIM115 - Path.open has no opener
    status = os.fstat(stream.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size:
        return stream
    stream.close()
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(path)
    return io.BytesIO()


def write_error_reason(error: OSError, path: Path) -> str:
    """Return in words why a path cannot be written; a file in the place of a folder is named."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        for place in (path, *path.parents):
            if place.is_file():
                return f"{place} is a file, not a folder"
    return error.strerror or str(error)


def is_storage_error(error: OSError) -> bool:
    """Whether the storage failed (a disk error, a lost network drive, too many open files), not the path itself.

    Repeating the operation may then succeed. Missing files, folders, names that the system does not accept and files
    without permission are errors of the path.
    """
    return not isinstance(error, _PATH_ERRORS) and error.errno not in _PATH_ERRNOS


def read_bytes(path: Path) -> bytes:
    """Read a user-supplied file; raises like `open_file`."""
    with open_file(path) as stream:
        return stream.read()


def read_text(path: Path, most: int) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Reading stops soon after `most` characters, so that a caller can reject a huge file cheaply; the result may be
    longer than `most`.

    Raises:
        NotAFileError: as for `open_file`.
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    with open_file(path) as stream:
        data = stream.read(4 * most + 1)
    return data.decode("utf-8-sig")


JsonTypes = Mapping[str, type | tuple[type, ...]]


def read_json_state(path: Path, kinds: JsonTypes) -> dict[str, Any] | None:
    """Read and validate a small JSON file that stores the state of a run.

    `kinds` are the required names and the types of their values; lists contain strings, integers are not negative.
    Returns None if the file is damaged or a value has another type.

    Raises:
        NotAFileError: as for `open_file`.
        OSError: it cannot be read.
    """
    try:
        values = json.loads(read_text(path, _MAX_JSON_CHARS))
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not all(_has_type(values.get(name), kinds[name]) for name in kinds):
        return None
    return values if kinds.keys() <= values.keys() else None


def _has_type(value: object, kind: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if isinstance(value, list):
        return kind is list and all(isinstance(item, str) for item in value)
    return isinstance(value, kind) and (not isinstance(value, int) or value >= 0)


def _open_nonblocking(path: str, flags: int) -> int:
    # The file may have been replaced since it was checked.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def disk_bytes(path: Path) -> int:
    """Return the bytes that a file occupies on disk, without holes."""
    return path.stat().st_blocks * 512


def delete_files(paths: Iterable[Path]) -> int:
    """Delete files and return the bytes freed on disk; those that another process has deleted are skipped."""
    freed = 0
    for path in sorted(paths):
        with suppress(FileNotFoundError):
            size = disk_bytes(path)
            path.unlink()
            freed += size
    return freed

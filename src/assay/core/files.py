"""Atomic writes, safe reads, and temporary files and folders that a later process cleans up."""

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from assay.core.errors import UsageError

if sys.platform != "win32":
    import fcntl

_MARK = ".assay-tmp-"
_TEMPORARY_NAME = re.compile(rf"^\.?[^/]*{re.escape(_MARK)}[a-z0-9_]{{8}}(\.[^/]*)?$")
_MAX_NAME_CHARS = 100
"""Characters of a file's own name that a temporary name keeps; the whole may have 255."""

_cleaned_folders: set[Path] = set()


@contextmanager
def temporary_folder(purpose: str, beside: Path | None = None) -> Iterator[Path]:
    """Give an empty folder for this user alone; it is removed when the block ends.

    Args:
        purpose: begins its name, as `assay-export`.
        beside: the folder to make it in, hidden; none: the system's for temporary files.
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
def temporary_file(target: Path, mode: int = 0o600) -> Iterator[Path]:
    """Create an empty temporary file beside `target`, with the suffix of `target`.

    It is removed when the block ends, if it is still there under its name.

    Args:
        target: the file that it will replace.
        mode: permissions, of which the kernel removes those in the process's umask.
    """
    remove_stale_once(target.parent)
    prefix = f".{target.stem[:_MAX_NAME_CHARS]}{_MARK}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

    def make() -> str:
        while True:
            path = target.parent / f"{prefix}{secrets.token_hex(4)}{target.suffix}"
            with suppress(FileExistsError):
                os.close(os.open(path, flags, mode))
                return str(path)

    path, lock = _create_locked(make)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        _release(lock)


def remove_stale_once(folder: Path) -> None:
    """Sweep a folder unless this process has done so before."""
    if folder not in _cleaned_folders:
        _cleaned_folders.add(folder)
        remove_stale(folder)


def remove_stale(folder: Path) -> None:
    """Remove the temporary files and folders in `folder` whose owners are no more; other files stay."""
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


def _create_locked(make: Callable[[], str]) -> tuple[Path, int | None]:
    """Make something and lock it; again where a sweep came in between."""
    while True:
        path = Path(make())
        if sys.platform == "win32":
            return path, None
        try:
            lock = _try_lock(path)
        except FileNotFoundError:
            continue
        except OSError:
            # A file system without locks: what is left there stays.
            return path, None
        if lock is not None:
            with suppress(FileNotFoundError):
                if path.lstat().st_ino == os.fstat(lock).st_ino:
                    return path, lock
            os.close(lock)


def _try_lock(path: Path) -> int | None:
    """Lock a file or folder; None if somebody else holds it."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:
        os.close(handle)
        raise
    return handle


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def cache_folder() -> Path:
    """Return the folder of Assay's caches: `ASSAY_CACHE`, else `assay` where this user's caches are."""
    if named := os.environ.get("ASSAY_CACHE"):
        return Path(named)
    home = Path.home()
    usual = home / "Library/Caches" if sys.platform == "darwin" else home / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or usual) / "assay"


@contextmanager
def atomic_write(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it over `path` when the block ends well.

    The bytes are flushed to the disk before the rename, so that a reader sees the old file or the new one
    and never a part, also after a power cut.

    Args:
        path: the file to write; its folder is made if it is missing.
        mode: permissions of the file, as 0o600 for a secret, which nobody else can read at any moment;
            none: what the process's umask leaves.

    Yields:
        The temporary path to write to. It has the suffix of `path`, since many libraries judge by it.

    Raises:
        NotAFileError: `path` is a pipe, a socket or a device, such as `/dev/null`; it is not replaced.
    """
    require_regular_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _errors_name_file(path), temporary_file(path, 0o666 if mode is None else mode) as temporary:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)


@contextmanager
def _errors_name_file(path: Path) -> Iterator[None]:
    """Have errors of the system that name no file, as that of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def write_text(path: Path, text: str, mode: int | None = None) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all, with the permissions `mode` (see `atomic_write`)."""
    with atomic_write(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


_MAX_JSON_CHARS = 16 << 20


class NotAFileError(UsageError, OSError):
    """A pipe, a socket or a device where a file is wanted; `strerror` says so without the path."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is a pipe, a socket or a device: give a file")
        self.strerror = "it is no file but a pipe, a socket or a device"


def require_regular_file(path: Path) -> None:
    """Refuse a pipe, a socket or a device; files, folders and what does not exist pass.

    Opening a pipe waits for somebody to write into it, and a device may never end.

    Raises:
        NotAFileError: it is one.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise NotAFileError(path)


def open_file(path: Path) -> BinaryIO:
    """Open a file that a person named, for reading.

    Files of the system that say they are empty, as all in `/proc`, are empty: reading some of them waits.

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


def read_bytes(path: Path) -> bytes:
    """Read a whole file that a person named; raises as `open_file` does."""
    with open_file(path) as stream:
        return stream.read()


def read_text(path: Path, most: int) -> str:
    """Read a file of UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        most: characters that the caller takes; of a longer file no more is read than tells so.

    Raises:
        NotAFileError: as for `open_file`.
        OSError: it cannot be read.
        UnicodeDecodeError: it is no UTF-8.
    """
    with open_file(path) as stream:
        data = stream.read(4 * most + 1)
    return data.decode("utf-8-sig")


JsonTypes = Mapping[str, type | tuple[type, ...]]


def read_json_state(path: Path, kinds: JsonTypes) -> dict[str, Any] | None:
    """Read a small JSON file in which a run or the like remembers how far it has come.

    Args:
        path: the file.
        kinds: names that must be there and the types of their values; lists hold text alone, numbers are
            not negative.

    Returns:
        All values by name, or None where the file is damaged or a value has another type.

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
        return kind is list and all(isinstance(one, str) for one in value)
    return isinstance(value, kind) and (not isinstance(value, int) or value >= 0)


def _open_nonblocking(path: str, flags: int) -> int:
    # Between the look at the file and its opening, something else may have taken its place.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

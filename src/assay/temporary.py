"""Temporary files and folders that outlive nobody: what a killed process leaves, the next one removes.

The owner of each holds a lock on it, which the system drops however the process ends. Before the first one is
made in a folder, those in it that nobody holds are removed. Names carry a mark of Assay's own, so nothing
else is ever touched. On Windows nothing is locked and nothing is removed.
"""

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_MARK = ".assay-tmp-"
_OURS = re.compile(rf"^\.?[^/]*{re.escape(_MARK)}[a-z0-9_]{{8}}(\.[^/]*)?$")
_LONGEST = 100
"""Characters of a file's own name that a temporary name keeps; the whole may have 255."""

_swept: set[Path] = set()


@contextmanager
def temporary_folder(purpose: str, beside: Path | None = None) -> Iterator[Path]:
    """Give an empty folder for this user alone; it is removed when the block ends.

    Args:
        purpose: begins its name, as `assay-export`.
        beside: the folder to make it in, hidden; none: the system's for temporary files.
    """
    parent = Path(tempfile.gettempdir()) if beside is None else beside
    prefix = f"{purpose if beside is None else '.' + purpose[:_LONGEST]}{_MARK}"
    sweep_once(parent)
    folder, lock = _held(lambda: tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _let_go(lock)


@contextmanager
def temporary_file(target: Path) -> Iterator[Path]:
    """Give an empty file beside `target`, with the suffix of `target`, for this user alone.

    It is removed when the block ends, if it is still there under its name.
    """
    sweep_once(target.parent)
    prefix = f".{target.stem[:_LONGEST]}{_MARK}"

    def make() -> str:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=target.suffix)
        os.close(handle)
        return name

    path, lock = _held(make)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        _let_go(lock)


def sweep_once(folder: Path) -> None:
    """Sweep a folder unless this process has done so before."""
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders in `folder` whose owners are no more; other files stay."""
    if sys.platform == "win32":
        return
    with suppress(OSError), os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if _MARK in entry.name and _OURS.match(entry.name)]
        for path in left:
            with suppress(OSError):
                _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    status = path.lstat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) or status.st_uid != os.getuid():
        return
    lock = _lock(path)
    if lock is None:
        return
    try:
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _held(make: Callable[[], str]) -> tuple[Path, int | None]:
    """Make something and lock it; again where a sweep came in between."""
    while True:
        path = Path(make())
        if sys.platform == "win32":
            return path, None
        try:
            lock = _lock(path)
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


def _lock(path: Path) -> int | None:
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


def _let_go(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)

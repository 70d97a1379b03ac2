"""Advisory file locks (`flock`), released by the operating system when their process ends.

They lock any open file or folder, exclusively or shared, whereas the `filelock` library needs a separate lock file
and 0.1 s to import. On Windows nothing is locked and every attempt succeeds.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

if sys.platform != "win32":
    import fcntl

_POLL_SECONDS = 0.1


def try_lock(file: int | IO[Any], *, shared: bool = False) -> bool:
    """Lock an open file without waiting; closing it releases the lock. `shared` allows other shared locks.

    Returns False if another open file, also of this process, holds a conflicting lock. Raises `OSError` if the file
    system has no locks.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def wait_for_lock(file: int | IO[Any]) -> None:
    """Lock an open file exclusively; wait for other holders. Closing it releases the lock."""
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX)


def open_locked(path: Path, flags: int = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC) -> int | None:
    """Open and lock a file or folder without waiting; only the owner can read a created file.

    Returns a descriptor, whose closing releases the lock; None if another holder has it. Raises `OSError` if the path
    cannot be opened or the file system has no locks.
    """
    descriptor = os.open(path, flags, 0o600)
    try:
        locked = try_lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    if not locked:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def file_lock(path: Path, timeout: float | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a lock file within the block.

    The file and its folder are created if missing; it is not removed. Raises `TimeoutError` if another holder still
    has the lock after `timeout` seconds (None: no limit).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        if timeout is None:
            wait_for_lock(stream)
        else:
            deadline = time.monotonic() + timeout
            while not try_lock(stream):
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{path} is locked by another process")
                time.sleep(_POLL_SECONDS)
        yield

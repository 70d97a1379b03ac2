"""A folder worked on by one process at a time.

The lock is the system's: it goes with the process that holds it, however that ends. Knows nothing of runs.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.errors import UsageError

if sys.platform != "win32":
    import fcntl

_PAUSE = 0.05  # seconds between two attempts


@contextmanager
def alone(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes out within the block. On Windows it keeps nobody out.

    Args:
        path: the file that is locked; it is made and stays.
        patience: seconds to wait for another process to end.

    Raises:
        UsageError: another process is still at work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        if sys.platform != "win32":
            deadline = time.monotonic() + patience
            while not _taken(stream.fileno()):
                if time.monotonic() >= deadline:
                    raise UsageError(
                        f"another process is at work in {path.parent}: wait for it, or end it first"
                    )
                time.sleep(_PAUSE)
        yield


def _taken(handle: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True

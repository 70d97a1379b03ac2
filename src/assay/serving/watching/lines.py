"""Lines for a file, written behind the back of whoever has them: rotated by size, bounded in memory.

Knows nothing of what the lines say. One process a file: several workers take one file each.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Generic, TextIO, TypeVar

if sys.platform != "win32":
    import fcntl

Item = TypeVar("Item")

_WAITING = 20_000
LINES_TOGETHER = 500
_GATHERING = 0.02
"""Seconds in which lines gather: to wake a thread for each of them costs more than to write it."""


class Place:
    """A worker's own name for its files, from the first that no other living worker has."""

    def __init__(self, folder: Path) -> None:
        """Take a place.

        The lock is the system's: it goes with the process, however that ends, and the worker that comes after
        goes on with the same files.

        Args:
            folder: where the files are; it is made if it is missing.

        Raises:
            OSError: the folder cannot be written to.
        """
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while (lock := _take(folder / f".worker-{number}.lock")) is None:
            number += 1
        self._lock = lock
        self._folder = folder
        self._suffix = "" if number == 1 else f"-{number}"

    def path(self, name: str) -> Path:
        """Return `FOLDER/name.log` for the first worker, `FOLDER/name-2.log` for the second."""
        return self._folder / f"{name}{self._suffix}.log"

    def close(self) -> None:
        """Leave the place to another worker."""
        self._lock.close()


class Writer(Generic[Item]):
    """Turns items into lines and writes them in a thread of its own."""

    def __init__(
        self,
        handler: logging.Handler,
        to_line: Callable[[Item], str],
        *,
        waiting: int = _WAITING,
        together: int = LINES_TOGETHER,
    ) -> None:
        """Start the thread.

        Args:
            handler: takes some lines at a time; closed at the end.
            to_line: makes a line, without its end.
            waiting: items that may wait; more are given up.
            together: most lines at a time; 1 where other processes write to the same pipe, which keeps only
                short pieces whole.
        """
        self._handler = handler
        self._to_line = to_line
        self._together = together
        self._queue: Queue[Item | None] = Queue(waiting)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="assay-request-log", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> bool:
        """Take an item; False where there is no room for it."""
        with suppress(Full):
            self._queue.put_nowait(item)
            return True
        return False

    def close(self, patience: float = 5.0) -> None:
        """Write what waits, and end the thread.

        Args:
            patience: seconds; a disk or a reader that stands still keeps nobody from ending.
        """
        self._ending.set()
        with suppress(Full):
            self._queue.put(None, timeout=patience)
            self._thread.join(patience)
        if not self._thread.is_alive():
            self._handler.close()

    def _run(self) -> None:
        going = True
        while going:
            items = [self._queue.get()]
            with suppress(Empty):
                while len(items) < self._together and items[-1] is not None:
                    items.append(self._queue.get_nowait())
            going = items[-1] is not None
            if going and self._queue.empty():
                self._ending.wait(_GATHERING)
            lines = "\n".join(self._to_line(item) for item in items if item is not None)
            if lines:
                self._handler.handle(logging.makeLogRecord({"msg": lines}))


class RotatingFile(RotatingFileHandler):
    """A file of lines that is put aside as `path.1` when it has grown; a full disk stops nobody."""

    def __init__(self, path: Path, megabytes: float, files: int, on_drop: Callable[[int], None]) -> None:
        """Open the file.

        Args:
            path: the file; lines are added to what is there.
            megabytes: size from which on it is put aside, in MiB.
            files: how many that were put aside are kept.
            on_drop: told how many lines could not be written.

        Raises:
            OSError: the file cannot be written to.
        """
        size = max(1, round(megabytes * 2**20))
        super().__init__(path, maxBytes=size, backupCount=files, encoding="utf-8")
        self._on_drop = on_drop

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Count the lines instead of writing a traceback."""
        self._on_drop(record.getMessage().count("\n") + 1)

    def close(self) -> None:
        """Close the file; lines that a full disk leaves unwritten have been counted."""
        with suppress(OSError):
            super().close()


class Pipe(logging.Handler):
    """Lines for whoever reads this process's output.

    They go past Python's buffers and no lock is held meanwhile, so that a reader who stands still cannot keep
    the process from ending. To be used by one thread.
    """

    def __init__(self, descriptor: int) -> None:
        """Write to a file descriptor; 1 is the standard output."""
        super().__init__()
        self._file = descriptor

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a reader who has gone away misses it."""
        rest = memoryview(f"{self.format(record)}\n".encode())
        with suppress(BrokenPipeError):
            while rest:
                rest = rest[os.write(self._file, rest) :]


def _take(path: Path) -> TextIO | None:
    stream = path.open("a", encoding="utf-8")
    if sys.platform != "win32":
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
    return stream

"""Write log lines in a background thread, to rotating files or to a pipe."""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Generic, TextIO, TypeVar

from assay.core.locks import try_lock

_ItemT = TypeVar("_ItemT")

_QUEUE_SIZE = 20_000
MAX_LINES_PER_WRITE = 500
_GATHER_SECONDS = 0.02
"""Seconds in which lines gather: to wake a thread for each of them costs more than to write it."""


class WorkerLogSlot:
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
        while (lock := _try_lock(folder / f".worker-{number}.lock")) is None:
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


class BackgroundLogWriter(Generic[_ItemT]):
    """Turns items into lines and writes them in a thread of its own."""

    def __init__(
        self,
        handler: logging.Handler,
        to_line: Callable[[_ItemT], str],
        *,
        waiting: int = _QUEUE_SIZE,
        together: int = MAX_LINES_PER_WRITE,
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
        self._queue: Queue[_ItemT | None] = Queue(waiting)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="assay-request-log", daemon=True)
        self._thread.start()

    def put(self, item: _ItemT) -> bool:
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
                self._ending.wait(_GATHER_SECONDS)
            lines = "\n".join(self._to_line(item) for item in items if item is not None)
            if lines:
                self._handler.handle(logging.makeLogRecord({"msg": lines}))


class RotatingLogFile(RotatingFileHandler):
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


class PipeHandler(logging.Handler):
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


def _try_lock(path: Path) -> TextIO | None:
    stream = path.open("a", encoding="utf-8")
    if try_lock(stream):
        return stream
    stream.close()
    return None

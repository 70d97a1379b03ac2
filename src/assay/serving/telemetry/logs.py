"""Set up logging: an access log and an error log as JSON lines, written in background threads.

Rejected and failed requests are in both logs, with the error message of their response; server failures also
have their traceback in the error log. Besides the client's id, nothing personal is logged: IP addresses in messages
of the server and its libraries are redacted.

The threads write many lines at a time: the standard library's QueueHandler and QueueListener, which format and flush
each line separately, take about four times the processor time per line.
"""

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from assay.core.errors import UsageError
from assay.core.hidden_modules import hidden_modules
from assay.core.locks import open_locked
from assay.core.printable_text import printable_json
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry import Handlers, RequestCompleted

with hidden_modules("rich"):  # structlog would import it for tracebacks on consoles
    import structlog
    from structlog.contextvars import bind_contextvars, merge_contextvars, reset_contextvars
    from structlog.typing import EventDict, Processor, WrappedLogger

_ItemT = TypeVar("_ItemT")

_QUEUE_SIZE = 20_000
MAX_LINES_PER_WRITE = 500
_GATHER_SECONDS = 0.02
"""Seconds in which lines are collected: waking a thread for each costs more than writing it."""

_NUMBER = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = rf"{_NUMBER}(?:\.{_NUMBER}){{3}}(?![\d.]*\d)"
_GROUP = "[0-9A-Fa-f]{1,4}"
_GROUPS = f"{_GROUP}(?::{_GROUP})*"
_IPV6 = rf"(?:{_GROUP}(?::{_GROUP}){{7}}|{_GROUPS}::(?:{_GROUPS})?|::{_GROUPS})(?![\w:])"
_ADDRESS = re.compile(rf"(?<![\d.])(?:::ffff:)?{_IPV4}|(?<![\w:]){_IPV6}", re.IGNORECASE)
_LOGGER_LEVELS = {
    "uvicorn.access": logging.CRITICAL,
    "multipart": logging.WARNING,
    "python_multipart": logging.WARNING,
}
"""uvicorn's own access lines contain addresses and query strings; the multipart parser logs every byte."""
_STDOUT, _STDERR = 1, 2


class ServerLogs:
    """The logs of this worker; sets up the root logger."""

    def __init__(self, settings: TelemetrySettings, on_drop: Callable[[int], None] = lambda _: None) -> None:
        """Replace the handlers of the root logger; raise `UsageError` if the log folder is not writable.

        `on_drop` is called with the number of lines that could not be queued or written.
        """
        self._level = logging.getLevelNamesMapping()[settings.log_level.upper()]
        self._on_drop = on_drop
        self._slot: WorkerLogSlot | None = None
        access: logging.Handler = PipeHandler(_STDOUT)
        errors: logging.Handler = PipeHandler(_STDERR)
        self._handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
        if settings.log_dir is not None:
            try:
                self._slot = WorkerLogSlot(settings.log_dir)
                size, files = settings.log_megabytes, settings.log_files
                access = RotatingLogFile(self._slot.path("access"), size, files, on_drop)
                errors = RotatingLogFile(self._slot.path("error"), size, files, on_drop)
            except OSError as error:
                reason = error.strerror or error
                raise UsageError(
                    f"logs cannot be written to {settings.log_dir} ({reason}): name another folder with --log-dir"
                ) from None
            errors.setLevel(logging.WARNING)
            self._handlers.append(errors)
        max_lines = 1 if self._slot is None else MAX_LINES_PER_WRITE
        self._access: BackgroundLogWriter[RequestCompleted] = BackgroundLogWriter(
            access, _access_line, max_lines=max_lines
        )
        self._errors: BackgroundLogWriter[RequestCompleted] = BackgroundLogWriter(
            errors, _access_line, max_lines=max_lines
        )
        self._set_up_root()
        self.handlers: Handlers = {RequestCompleted: self.log_request}

    def log_request(self, event: RequestCompleted) -> None:
        """Queue the line of a request."""
        level = _level_of(event.record.status)
        if level < self._level:
            return
        if not self._access.put(event):
            self._on_drop(1)
        if level >= logging.WARNING and not self._errors.put(event):
            self._on_drop(1)

    def close(self) -> None:
        """Write queued lines, and restore the root logger."""
        self._access.close()
        self._errors.close()
        root = logging.getLogger()
        for handler in self._handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(self._level_before)
        if self._slot is not None:
            self._slot.close()

    def _set_up_root(self) -> None:
        root = logging.getLogger()
        self._level_before = root.level
        root.setLevel(self._level)
        for handler in self._handlers:
            handler.setFormatter(_make_formatter())
            root.addHandler(handler)
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
        for name, level in _LOGGER_LEVELS.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def log_request_id(request_id: str) -> Iterator[None]:
    """Add the request's id to every line that is logged in the block."""
    tokens = bind_contextvars(request_id=request_id)
    try:
        yield
    finally:
        reset_contextvars(**tokens)


def redact_addresses(text: str) -> str:
    """Replace IP addresses by `[address]`."""
    return _ADDRESS.sub("[address]", text)


def _level_of(status: int) -> int:
    if status >= 500:
        return logging.ERROR
    return logging.WARNING if status >= 400 else logging.INFO


_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False)
"""`json.dumps` with options creates an encoder on every call."""


def _access_line(event: RequestCompleted) -> str:
    record, image = event.record, event.record.image
    line: dict[str, Any] = {
        "timestamp": record.timestamp.isoformat(timespec="milliseconds"),
        "level": logging.getLevelName(_level_of(record.status)).lower(),
        "event": "answered",
        "request_id": record.request_id,
        "client_id": record.client_id,
        "tier": event.tier,
        "status": record.status,
        "model": record.model,
        "model_version": record.model_version,
        "result": record.result,
        "confidence": record.confidence,
        "unknown": record.unknown,
        "cache_hit": record.cache_hit,
        "milliseconds": round(1000 * record.processing_time, 3),
        "error": record.error,
        "image_metadata": image and image.to_dict(),
    }
    return printable_json(_ENCODER.encode(line))


def _json_line(value: object, **options: Any) -> str:
    """Return JSON that is safe to print in a terminal: names and messages come from clients."""
    return printable_json(json.dumps(value, ensure_ascii=False, **options))


class _JsonFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats log records as JSON lines; access lines, which have no logger, are JSON already."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record) if record.name else record.getMessage()


def _make_formatter() -> logging.Formatter:
    shared: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    return _JsonFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact_event,
            structlog.processors.JSONRenderer(serializer=_json_line),
        ],
    )


def _redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: redact_addresses(value) if isinstance(value, str) else value for key, value in event.items()}


class WorkerLogSlot:
    """The number in a worker's log file names: the lowest one that no other running worker has."""

    def __init__(self, folder: Path) -> None:
        """Lock a slot until the process ends; raise `OSError` if the folder is not writable.

        The next worker to get the slot appends to the same files.
        """
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while (lock := open_locked(folder / f".worker-{number}.lock")) is None:
            number += 1
        self._lock = lock
        self._folder = folder
        self._suffix = "" if number == 1 else f"-{number}"

    def path(self, name: str) -> Path:
        """Return `FOLDER/name.log` for the first worker, `FOLDER/name-2.log` for the second."""
        return self._folder / f"{name}{self._suffix}.log"

    def close(self) -> None:
        """Release the slot."""
        os.close(self._lock)


class BackgroundLogWriter(Generic[_ItemT]):
    """Formats items and writes them in its own thread."""

    def __init__(
        self,
        handler: logging.Handler,
        to_line: Callable[[_ItemT], str],
        *,
        queue_size: int = _QUEUE_SIZE,
        max_lines: int = MAX_LINES_PER_WRITE,
    ) -> None:
        """Start the thread; `handler` is closed at the end.

        Further items are dropped once `queue_size` are waiting. `max_lines` per write should be 1 if other processes
        write to the same pipe, since only short writes are atomic.
        """
        self._handler, self._to_line = handler, to_line
        self._queue_size, self._max_lines = queue_size, max_lines
        self._queue: SimpleQueue[_ItemT | None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="assay-log-writer", daemon=True)
        self._thread.start()

    def put(self, item: _ItemT) -> bool:
        """Queue an item; return False if the queue is full."""
        if self._queue.qsize() >= self._queue_size:
            return False
        self._queue.put(item)
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Write queued items, and end the thread, unless the disk or the reader blocks for `timeout` seconds."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._handler.close()

    def _run(self) -> None:
        running = True
        while running:
            items = [self._queue.get()]
            with suppress(Empty):
                while len(items) < self._max_lines and items[-1] is not None:
                    items.append(self._queue.get_nowait())
            running = items[-1] is not None
            if running and self._queue.empty():
                self._closing.wait(_GATHER_SECONDS)
            lines = "\n".join(self._to_line(item) for item in items if item is not None)
            if lines:
                self._handler.handle(logging.makeLogRecord({"msg": lines}))


class RotatingLogFile(RotatingFileHandler):
    """A log file that is rotated by size; lines that cannot be written are counted."""

    def __init__(self, path: Path, megabytes: float, files: int, on_drop: Callable[[int], None]) -> None:
        """Open the file for appending; raise `OSError` if it is not writable.

        At a size of `megabytes` MiB it is renamed to `path.1`. `on_drop` is called with the number of lines that could
        not be written.
        """
        size = max(1, round(megabytes * 2**20))
        super().__init__(path, maxBytes=size, backupCount=files, encoding="utf-8")
        self._on_drop = on_drop

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Count the lines instead of printing a traceback."""
        self._on_drop(record.getMessage().count("\n") + 1)

    def close(self) -> None:
        """Close the file; lines that could not be written have been counted already."""
        with suppress(OSError):
            super().close()


class PipeHandler(logging.Handler):
    """Writes to a file descriptor, from one thread.

    It uses neither Python's buffers nor a lock, so a blocked reader cannot keep the process from ending.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record without the handler's lock."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; it is lost if the reader has closed the pipe."""
        rest = memoryview(f"{self.format(record)}\n".encode())
        with suppress(BrokenPipeError):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

"""Set up logging: a request log and an error log as JSON lines, without IP addresses."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars, reset_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from assay.core.errors import UsageError
from assay.core.text import printable_json
from assay.serving.request_record import RequestRecord
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry.log_writer import (
    MAX_LINES_PER_WRITE,
    BackgroundLogWriter,
    PipeHandler,
    RotatingLogFile,
    WorkerLogSlot,
)

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
"""uvicorn's own request lines hold addresses and whole queries; the parser of uploads tells every byte."""


class _LogEntry(NamedTuple):
    record: RequestRecord
    tier: str


_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2


class ServerLogs:
    """This worker's logs: the one place where logging is set up."""

    def __init__(self, settings: TelemetrySettings, on_drop: Callable[[int], None] = lambda _: None) -> None:
        """Take over the root logger.

        Args:
            settings: where to, and what.
            on_drop: told how many lines could not be kept, for want of memory or disk.

        Raises:
            UsageError: the folder cannot be written to.
        """
        self._level = logging.getLevelNamesMapping()[settings.log_level.upper()]
        self._on_drop = on_drop
        self._place: WorkerLogSlot | None = None
        requests: logging.Handler = PipeHandler(_STANDARD_OUTPUT)
        errors: logging.Handler = PipeHandler(_STANDARD_ERROR)
        self._handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
        if settings.log_dir is not None:
            try:
                self._place = WorkerLogSlot(settings.log_dir)
                size, files = settings.log_megabytes, settings.log_files
                requests = RotatingLogFile(self._place.path("requests"), size, files, on_drop)
                errors = RotatingLogFile(self._place.path("errors"), size, files, on_drop)
            except OSError as error:
                reason = error.strerror or error
                raise UsageError(
                    f"logs cannot be written to {settings.log_dir} ({reason}): name another folder with --log-dir"
                ) from None
            errors.setLevel(logging.WARNING)
            self._handlers.append(errors)
        together = 1 if self._place is None else MAX_LINES_PER_WRITE
        self._requests: BackgroundLogWriter[_LogEntry] = BackgroundLogWriter(requests, _request_line, together=together)
        self._errors: BackgroundLogWriter[_LogEntry] = BackgroundLogWriter(errors, _request_line, together=together)
        self._take_over()

    def answered(self, record: RequestRecord, tier: str) -> None:
        """Write a request's line soon."""
        level = _level_of(record.status)
        if level < self._level:
            return
        line = _LogEntry(record, tier)
        if not self._requests.put(line):
            self._on_drop(1)
        if level >= logging.WARNING and not self._errors.put(line):
            self._on_drop(1)

    def close(self) -> None:
        """Write what waits, and leave the root logger as it was."""
        self._requests.close()
        self._errors.close()
        root = logging.getLogger()
        for handler in self._handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(self._before)
        if self._place is not None:
            self._place.close()

    def _take_over(self) -> None:
        root = logging.getLogger()
        self._before = root.level
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
    """Give every line that is logged within the block the request's id."""
    tokens = bind_contextvars(request_id=request_id)
    try:
        yield
    finally:
        reset_contextvars(**tokens)


def redact_addresses(text: str) -> str:
    """Return a text without the network addresses in it."""
    return _ADDRESS.sub("[address]", text)


def _level_of(status: int) -> int:
    if status >= 500:
        return logging.ERROR
    return logging.WARNING if status >= 400 else logging.INFO


def _json_line(value: object, **settings: Any) -> str:
    """Return JSON that is safe to show in a terminal: names and messages come from clients."""
    return printable_json(json.dumps(value, ensure_ascii=False, **settings))


_PLAIN_JSON = json.JSONEncoder(ensure_ascii=False, check_circular=False)
"""`json.dumps` makes an encoder each time."""
_render = structlog.processors.JSONRenderer(serializer=_json_line)


def _request_line(answer: _LogEntry) -> str:
    record, image = answer.record, answer.record.image
    line: dict[str, Any] = {
        "timestamp": record.timestamp.isoformat(timespec="milliseconds"),
        "level": logging.getLevelName(_level_of(record.status)).lower(),
        "event": "answered",
        "request_id": record.request_id,
        "client_id": record.client_id,
        "tier": answer.tier,
        "status": record.status,
        "model": record.model,
        "model_version": record.model_version,
        "result": record.result,
        "confidence": record.confidence,
        "unknown": record.unknown,
        "cache_hit": record.cache_hit,
        "milliseconds": round(1000 * record.processing_time, 3),
        "error": record.error,
        "image_metadata": image and {"size": image.size, "format": image.format, "dimensions": image.dimensions},
    }
    return printable_json(_PLAIN_JSON.encode(line))


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Formats what is logged as JSON lines; lines of requests, which have no logger, are JSON already."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record) if record.name else record.getMessage()


def _make_formatter() -> logging.Formatter:
    shared: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    return _Formatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redact_event,
            _render,
        ],
    )


def _redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: redact_addresses(value) if isinstance(value, str) else value for key, value in event.items()}

"""Progress of a command as JSON lines: with `ASSAY_EVENTS=FILE` every command appends its events to that file."""

import json
import math
import os
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

EVENTS_VARIABLE: Final = "ASSAY_EVENTS"
"""Environment variable with the path of the file."""

_MIN_INTERVAL: Final = 0.2
"""Seconds between two progress events of the same work, except the last one."""


class EventLog:
    """Appends events to a file, one JSON object per line, from any thread.

    Every event has `time` (seconds since 1970) and `event`, its kind: `progress` (`what`, `done`, `total`), `error`
    (`message`), `exit` (`code`), and those that a command defines. Errors of the file are ignored: a full disk must
    not end a training.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._reported: dict[str, float] = {}

    def write(self, event: str, **values: object) -> None:
        """Append an event; numbers that are not finite become null."""
        line = json.dumps(_finite({"time": time.time(), "event": event, **values}), default=str)
        try:
            with self._lock, self._path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        except OSError:
            return

    def progress(self, what: str, done: int, total: int) -> None:
        """Append the progress of some work, at most five times a second."""
        now = time.monotonic()
        if done < total and now - self._reported.get(what, -math.inf) < _MIN_INTERVAL:
            return
        self._reported[what] = now
        self.write("progress", what=what, done=done, total=total)


@cache
def environment_event_log() -> EventLog | None:
    """Return the log that `ASSAY_EVENTS` names, or None."""
    path = os.environ.get(EVENTS_VARIABLE)
    return EventLog(Path(path)) if path else None


@dataclass
class EventReader:
    """Reads the events of a file that grows."""

    path: Path
    _offset: int = field(default=0, init=False)
    _rest: bytes = field(default=b"", init=False)

    def read(self) -> list[dict[str, Any]]:
        """Return the events since the last call; lines that are no JSON objects are skipped."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except OSError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines if (event := _parse(line)) is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

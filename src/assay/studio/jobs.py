"""Long work as processes of their own: commands of Assay, whose progress is read from files.

A job survives the studio: it holds a lock on a file of its folder as long as it runs, and everything that the page
shows is read from that folder. Its working directory is the project.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeGuard

from assay.core.errors import UsageError
from assay.core.event_log import EVENTS_VARIABLE, EventReader
from assay.core.files import open_file, read_text
from assay.core.locks import open_locked
from assay.core.tables import write_json

_EVENTS, _OUTPUT, _ERRORS, _LOCK, _JOB = "events.jsonl", "stdout", "stderr", "lock", "job.json"
_STOPPED: Final = "stopped"
_NAME = re.compile(r"(\d+)-([a-z]+)")
_NUMBER = re.compile(r"\d+")
_MAX_PID: Final = (1 << 31) - 1
_UNKNOWN: Final = {"run": "?", "source": "?", "address": ""}
"""Details that the pages show of every job, if its description is damaged."""
_MAX_OUTPUT: Final = 64 << 20
_MAX_KEPT_EVENTS: Final = 5000
_TAIL: Final = 4000
_LINES: Final = 64 << 10
_INTERRUPTED: Final = 130


class JobStatus(StrEnum):
    """The state of a job."""

    running = "running"
    done = "done"
    stopped = "stopped"
    """By the user."""
    failed = "failed"


@dataclass
class Job:
    """A command that runs or has run.

    Attributes:
        folder: of its files.
        kind: check, train, export, ...
        arguments: of the command, after `assay`.
        started: seconds since 1970.
        details: what the page needs to know, such as the run.
        events: other than progress, in order.
        progress: of the current stage: what, done and total.
    """

    folder: Path
    kind: str
    arguments: tuple[str, ...]
    started: float
    details: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    running: bool = True
    ended: float | None = None
    _reader: EventReader = field(init=False)
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _output_size: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._reader = EventReader(self.folder / _EVENTS)

    @property
    def number(self) -> int:
        """Counts from 1; later jobs have higher numbers."""
        return int(self.folder.name.partition("-")[0])

    @property
    def command(self) -> str:
        """The command line that does the same in the folder of the project; empty if it is unknown."""
        return shlex.join(["assay", *self.arguments]) if self.arguments else ""

    @property
    def status(self) -> JobStatus:
        """Whether it runs, and how it ended."""
        if self.running:
            return JobStatus.running
        code = self.exit_code
        if code == 0:
            return JobStatus.done
        if (self.folder / _STOPPED).exists() or code == _INTERRUPTED:
            return JobStatus.stopped
        return JobStatus.failed

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop, and still runs."""
        return self.running and (self.folder / _STOPPED).exists()

    @property
    def exit_code(self) -> int | None:
        """The exit code of its command; None if it runs, or has ended without one."""
        return next((event.get("code") for event in reversed(self.events) if event["event"] == "exit"), None)

    @property
    def message(self) -> str:
        """Why it failed, as a sentence; empty if it did not."""
        if self.status is not JobStatus.failed:
            return ""
        errors = [str(event.get("message", "")) for event in self.events if event["event"] == "error"]
        if errors:
            return errors[-1]
        tail = self._tail(_ERRORS).strip()
        if self.exit_code is None:
            return "The process ended without a result; perhaps memory ran out, or it was killed." + (
                f" It last wrote: {tail.splitlines()[-1]}" if tail else ""
            )
        return tail.splitlines()[-1] if tail else f"The command failed with exit code {self.exit_code}."

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return (self.ended or time.time()) - self.started

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the events of a kind."""
        return [item for item in self.events if item["event"] == event]

    def result(self) -> Any:
        """Return the JSON that the command printed; None if there is none."""
        try:
            return json.loads(read_text(self.folder / _OUTPUT, _MAX_OUTPUT))
        except (OSError, ValueError):
            return None

    def output(self) -> str:
        """Return the text that the command printed."""
        try:
            return read_text(self.folder / _OUTPUT, _MAX_OUTPUT)
        except (OSError, ValueError):
            return ""

    def last_lines(self) -> list[str]:
        """Return the last lines that the command printed, up to 64 KiB; the first one may be incomplete."""
        return self._tail(_OUTPUT, _LINES).splitlines()

    def stop(self) -> None:
        """Ask the command to stop: Ctrl-C, after which training keeps the best classifier so far.

        The second time it is terminated.
        """
        if not self.running:
            return
        number = signal.SIGTERM if self.stopping else signal.SIGINT
        (self.folder / _STOPPED).touch()
        pid = self.details.get("pid")
        if _is_pid(pid):
            with suppress(ProcessLookupError, PermissionError):
                # Only the command: its worker processes end with it.
                os.kill(pid, number)

    def refresh(self) -> bool:
        """Read new events, and whether it still runs; return whether anything changed."""
        if not self.running:
            return False
        running = self._is_alive()
        news = self._reader.read()
        for event in news:
            if event["event"] == "progress":
                self.progress = event
            else:
                self.events.append(event)
        del self.events[:-_MAX_KEPT_EVENTS]
        if not running:
            self.running = False
            self.progress = None
            self.ended = self._end_time()
        return self._has_new_output() or bool(news) or not running

    def _has_new_output(self) -> bool:
        before = self._output_size
        with suppress(OSError):
            self._output_size = (self.folder / _OUTPUT).stat().st_size
        return self._output_size != before

    def _is_alive(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            return False
        descriptor = open_locked(self.folder / _LOCK)
        if descriptor is None:
            return True
        os.close(descriptor)
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):  # it is ending: its files are closed already
                self._process.wait(1)
        return False

    def _end_time(self) -> float:
        times = [event["time"] for event in self.events if isinstance(event.get("time"), int | float)]
        return max(times, default=self.started)

    def _tail(self, name: str, length: int = _TAIL) -> str:
        try:
            with open_file(self.folder / name) as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - length))
                return stream.read().decode("utf-8", "replace")
        except OSError:
            return ""


class JobStore:
    """The jobs of a project, in a folder each."""

    def __init__(self, folder: Path, project: Path) -> None:
        self._folder, self._project = folder, project
        self._lock = threading.Lock()
        self._last_number = 0
        self.jobs: list[Job] = []
        self.listeners: list[Callable[[Job], None]] = []
        """Called when a job has ended."""
        for path in sorted(folder.glob("*"), key=_number):
            if _NAME.fullmatch(path.name) and (job := _load(path) or _load_unknown(path)) is not None:
                self.jobs.append(job)
                job.refresh()

    def start(self, kind: str, arguments: Sequence[str], **details: object) -> Job:
        """Start `assay ARGUMENTS` in the project.

        Args:
            kind: lower-case letters.
            arguments: of the command.
            details: JSON values that are kept with the job.
        """
        # Not the number of a job that was removed: a page may still show it. Nor that of a folder that is no job.
        used = map(_number, self._folder.glob("*"))
        number = self._last_number = max([self._last_number, *(job.number for job in self.jobs), *used]) + 1
        folder = self._folder / f"{number}-{kind}"
        folder.mkdir(parents=True)
        try:
            job = self._start(folder, kind, arguments, details)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.jobs.append(job)
        return job

    def _start(self, folder: Path, kind: str, arguments: Sequence[str], details: dict[str, object]) -> Job:
        lock = open_locked(folder / _LOCK)
        job = Job(folder, kind, tuple(arguments), time.time(), details)
        environment = {**os.environ, EVENTS_VARIABLE: str(folder / _EVENTS), "PYTHONUTF8": "1"}
        try:
            with (folder / _OUTPUT).open("wb") as output, (folder / _ERRORS).open("wb") as errors:
                process = subprocess.Popen(  # noqa: S603 - a command of Assay; the arguments are no shell
                    [sys.executable, "-m", "assay", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    cwd=self._project,
                    env=environment,
                    # The lock is held by the open file, which the process inherits, until the process ends.
                    pass_fds=() if lock is None else (lock,),
                    start_new_session=True,
                )
            try:
                job.details["pid"] = process.pid
                if lock is not None:
                    os.write(lock, str(process.pid).encode())
                values = {"kind": kind, "arguments": list(arguments), "started": job.started, "details": job.details}
                write_json(folder / _JOB, values)
            except BaseException:  # nobody could see or stop it after a restart
                process.kill()
                process.wait()
                raise
        finally:
            if lock is not None:
                os.close(lock)
        job._process = process  # noqa: SLF001 - the same module
        return job

    def remove(self, job: Job) -> None:
        """Delete a job that has ended, with its output, and the earlier ones of its kind.

        Raises:
            UsageError: it still runs.
        """
        with self._lock:
            job.refresh()
            if job.running:
                raise UsageError("This still runs: stop it first")
            for item in [item for item in self.jobs if item.kind == job.kind and item.number <= job.number]:
                shutil.rmtree(item.folder)
                self.jobs = [other for other in self.jobs if other is not item]

    def find(self, number: int) -> Job | None:
        """Return a job by its number."""
        return next((job for job in self.jobs if job.number == number), None)

    def latest(self, kind: str) -> Job | None:
        """Return the last job of a kind."""
        return next((job for job in reversed(self.jobs) if job.kind == kind), None)

    def active(self, kind: str) -> Job | None:
        """Return a job of a kind that runs."""
        return next((job for job in reversed(self.jobs) if job.kind == kind and job.running), None)

    def refresh(self) -> bool:
        """Read the files of running jobs; return whether anything changed. Thread-safe."""
        changed = False
        with self._lock:
            for job in [job for job in self.jobs if job.running]:
                changed |= job.refresh()
                if not job.running:
                    for listener in self.listeners:
                        listener(job)
        return changed


def _number(path: Path) -> int:
    found = _NUMBER.match(path.name)
    return int(found[0]) if found else 0


def _is_pid(value: object) -> TypeGuard[int]:
    """Return whether a value can be the id of a job's process; 0, 1 and -1 name others, or all."""
    return isinstance(value, int) and 1 < value <= _MAX_PID


def _load(folder: Path) -> Job | None:
    try:
        values = json.loads(read_text(folder / _JOB, 1 << 20))
        return Job(
            folder,
            str(values["kind"]),
            tuple(map(str, values["arguments"])),
            float(values["started"]),
            dict(values["details"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _load_unknown(folder: Path) -> Job | None:
    """Return a job that runs although its description is damaged: the file of its lock has the id of its process."""
    found = _NAME.fullmatch(folder.name)
    try:
        pid = int(read_text(folder / _LOCK, 32))
        started = (folder / _LOCK).stat().st_mtime
        descriptor = open_locked(folder / _LOCK)
    except (OSError, ValueError):
        return None
    if descriptor is not None:
        os.close(descriptor)
        return None
    return Job(folder, found[2], (), started, {**_UNKNOWN, "pid": pid}) if found and _is_pid(pid) else None

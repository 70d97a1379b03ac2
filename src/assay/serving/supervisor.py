"""Start, monitor and restart several worker processes that share a listening socket."""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any

from assay.core.errors import AssayError

_WORKER_COMMAND = (sys.executable, "-m", "assay.serving.worker")
_POLL_INTERVAL = 0.2
_STABLE_AFTER = 10.0
"""Seconds after which a worker's exit no longer counts as a failed start."""
_MAX_RESTART_DELAY = 10.0

READY, RELOADED = "ready", "reloaded"
"""Messages from workers to their parent, one per line; `ready` is followed by the lines to print."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The configuration of a worker, sent to its standard input."""

    options: Mapping[str, Mapping[str, Any]]
    """Settings of the command line, by concern and name."""
    models: Sequence[str]
    """`PATH` or `NAME=PATH`."""
    socket: int
    """File descriptor of the listening socket."""
    messages: int = -1
    """File descriptor of the pipe to the parent; each worker has its own."""

    def to_line(self) -> str:
        """Return a line for the worker's standard input."""
        return json.dumps([self.options, list(self.models), self.socket, self.messages], default=str) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "WorkerConfig":
        """Parse what `to_line` returned."""
        return cls(*json.loads(line))


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[str]
    messages: IO[str]
    since: float
    ready: bool = False
    stopping: bool = False


@dataclass(slots=True)
class WorkerSupervisor:
    """Keeps a number of workers running.

    Args:
        listening: the shared socket; when a worker dies, the others accept waiting connections.
        print_line: called with the messages of the first worker that is ready.
        stop_timeout: seconds after the signal to stop until a running worker is killed.
    """

    config: WorkerConfig
    listening: socket.socket
    count: int
    print_line: Callable[[str], None]
    stop_timeout: float
    _running: list[_Worker] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _stopping: signal.Signals | None = None
    _stopping_since: float = 0.0
    _reload: bool = False
    _failures: int = 0
    _next_start: float = 0.0

    def run(self) -> None:
        """Keep workers running until SIGTERM or Ctrl-C, and return when the last one has ended.

        Raises:
            AssayError: the first worker does not start; it has printed why.
        """
        # Handlers only set a flag: the loop below may be starting a worker.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGHUP, self._on_reload_signal)
        while self._running or self._stopping is None:
            self._handle_signals()
            self._spawn_missing()
            self._poll()
            self._reap()
        self._selector.close()

    def _on_stop_signal(self, number: int, _: object) -> None:
        if self._stopping is None:
            self._stopping_since = time.monotonic()
        self._stopping = signal.Signals(number)

    def _on_reload_signal(self, *_: object) -> None:
        self._reload = True

    def _spawn(self) -> None:
        # Standard output is that of the server: the lines of requests go there.
        received, sent = os.pipe()
        process = subprocess.Popen(  # noqa: S603 - our own module
            _WORKER_COMMAND,
            stdin=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            pass_fds=[self.listening.fileno(), sent],
            process_group=0,
        )
        os.close(sent)
        worker = _Worker(process, os.fdopen(received, encoding="utf-8"), time.monotonic())
        if process.stdin is not None:
            process.stdin.write(replace(self.config, messages=sent).to_line())
            process.stdin.flush()
        self._running.append(worker)
        self._selector.register(worker.messages, selectors.EVENT_READ, worker)

    def _poll(self) -> None:
        """Read the messages of workers, for up to a poll interval."""
        for key, _ in self._selector.select(_POLL_INTERVAL):
            worker: _Worker = key.data
            line = worker.messages.readline()
            if not line:
                self._selector.unregister(key.fileobj)
                worker.messages.close()
            elif line.startswith(READY):
                self._on_ready(worker, json.loads(line[len(READY) :]))
            elif line.startswith(RELOADED):
                self._forward(signal.SIGHUP, exclude=worker)

    def _on_ready(self, worker: _Worker, lines: list[str]) -> None:
        first = not any(other.ready for other in self._running) and not self._failures
        worker.ready = True
        if first:
            for line in lines:
                self.print_line(line)

    def _reap(self) -> None:
        """Remove workers that have exited, and schedule their restart."""
        for worker in list(self._running):
            if worker.process.poll() is None:
                continue
            self._running.remove(worker)
            if self._stopping is not None:
                continue
            lifetime = time.monotonic() - worker.since
            self._failures = 0 if worker.ready and lifetime > _STABLE_AFTER else self._failures + 1
            if not worker.ready and self._failures == 1 and not self._running:
                raise AssayError("the server did not start")
            delay = 0.0 if worker.ready else min(_MAX_RESTART_DELAY, 2.0**self._failures / 4)
            self._next_start = time.monotonic() + delay

    def _spawn_missing(self) -> None:
        """Start missing workers: the first alone, so that a model that cannot be loaded is reported once."""
        if self._stopping is not None or time.monotonic() < self._next_start:
            return
        if any(worker.ready for worker in self._running):
            while len(self._running) < self.count:
                self._spawn()
        elif not self._running:
            self._spawn()

    def _handle_signals(self) -> None:
        if self._reload:
            self._reload = False
            self._forward(signal.SIGHUP)
        if self._stopping is not None:
            # While the parent keeps it open, clients could connect although no process accepts connections.
            self.listening.close()
            for worker in self._running:
                if not worker.stopping:
                    worker.stopping = True
                    # Until its server runs, Python would answer Ctrl-C with a traceback.
                    worker.process.send_signal(self._stopping if worker.ready else signal.SIGTERM)
                elif time.monotonic() > self._stopping_since + self.stop_timeout:
                    worker.process.kill()

    def _forward(self, number: signal.Signals, exclude: _Worker | None = None) -> None:
        for worker in self._running:
            if worker is not exclude and worker.ready:
                worker.process.send_signal(number)

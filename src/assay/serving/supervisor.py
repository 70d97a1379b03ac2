"""Start, monitor and restart several worker processes that share a listening socket."""

import json
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from assay.core.errors import AssayError

_WORKER_COMMAND = (sys.executable, "-m", "assay.serving.worker")
_POLL_INTERVAL = 0.2
_STABLE_AFTER = 10.0
"""Seconds after which a worker's end no longer counts as a failed start."""
_MAX_RESTART_DELAY = 10.0

READY, RELOADED = "ready", "reloaded"
"""What workers tell their parent, a line each; behind `ready` stands what to print."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker is told when it starts."""

    options: Mapping[str, Mapping[str, Any]]
    """Settings that are not in the environment, by concern and name."""
    models: Sequence[str]
    """`PATH` or `NAME=PATH`."""
    socket: int
    """File descriptor to listen at."""

    def dump(self) -> str:
        """Return a line for the worker's standard input."""
        return json.dumps([self.options, list(self.models), self.socket], default=str) + "\n"

    @classmethod
    def load(cls, line: str) -> "WorkerConfig":
        """Read what `dump` wrote."""
        return cls(*json.loads(line))


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[str]
    since: float
    ready: bool = False
    ending: bool = False


@dataclass(slots=True)
class WorkerSupervisor:
    """Keeps a number of workers running.

    Args:
        order: what each is told.
        listening: the socket they share. A dead worker's waiting connections go to the others.
        count: how many.
        say: prints a line; called when the first worker is ready.
        end_timeout: seconds from the signal to end after which a worker that still runs is killed.
    """

    order: WorkerConfig
    listening: socket.socket
    count: int
    say: Callable[[str], None]
    end_timeout: float
    _running: list[_Worker] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _ending: signal.Signals | None = None
    _ending_since: float = 0.0
    _reload: bool = False
    _failures: int = 0
    _next: float = 0.0

    def run(self) -> None:
        """Keep workers running until SIGTERM or Ctrl-C; return when the last one has ended.

        Raises:
            AssayError: the first worker does not start; it has said why.
        """
        # Handlers only make a note: the loop below may be in the midst of starting a worker.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_end)
        signal.signal(signal.SIGHUP, self._note_reload)
        while self._running or self._ending is None:
            self._obey()
            self._fill()
            self._listen()
            self._bury()
        self._selector.close()

    def _note_end(self, number: int, _: object) -> None:
        if self._ending is None:
            self._ending_since = time.monotonic()
        self._ending = signal.Signals(number)

    def _note_reload(self, *_: object) -> None:
        self._reload = True

    def _start(self) -> None:
        number = self.listening.fileno()
        process = subprocess.Popen(  # noqa: S603 - our own module
            _WORKER_COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            pass_fds=[number],
            process_group=0,
        )
        worker = _Worker(process, time.monotonic())
        _stream(process.stdin).write(self.order.dump())
        _stream(process.stdin).flush()
        self._running.append(worker)
        self._selector.register(_stream(process.stdout), selectors.EVENT_READ, worker)

    def _listen(self) -> None:
        """Hear what workers say, or wait a moment."""
        for key, _ in self._selector.select(_POLL_INTERVAL):
            worker: _Worker = key.data
            line = _stream(worker.process.stdout).readline()
            if not line:
                self._selector.unregister(key.fileobj)
            elif line.startswith(READY):
                self._welcome(worker, json.loads(line[len(READY) :]))
            elif line.startswith(RELOADED):
                self._pass_on(signal.SIGHUP, but=worker)

    def _welcome(self, worker: _Worker, lines: list[str]) -> None:
        first = not any(one.ready for one in self._running) and not self._failures
        worker.ready = True
        if first:
            for line in lines:
                self.say(line)

    def _bury(self) -> None:
        """Forget workers that have ended."""
        for worker in list(self._running):
            code = worker.process.poll()
            if code is None:
                continue
            self._running.remove(worker)
            if self._ending is not None:
                continue
            lived = time.monotonic() - worker.since
            self._failures = 0 if worker.ready and lived > _STABLE_AFTER else self._failures + 1
            if not worker.ready and self._failures == 1 and not self._running:
                raise AssayError("the server did not start")
            pause = 0.0 if worker.ready else min(_MAX_RESTART_DELAY, 2.0**self._failures / 4)
            self._next = time.monotonic() + pause

    def _fill(self) -> None:
        """Start workers that are missing: the first alone, so that a bad model is said once."""
        if self._ending is not None or time.monotonic() < self._next:
            return
        if any(worker.ready for worker in self._running):
            while len(self._running) < self.count:
                self._start()
        elif not self._running:
            self._start()

    def _obey(self) -> None:
        """Do what signals have asked for."""
        if self._reload:
            self._reload = False
            self._pass_on(signal.SIGHUP)
        if self._ending is not None:
            # As long as the parent holds it, connections could be made that nobody takes.
            self.listening.close()
            for worker in self._running:
                if not worker.ending:
                    worker.ending = True
                    worker.process.send_signal(self._ending)
                elif time.monotonic() > self._ending_since + self.end_timeout:
                    worker.process.kill()

    def _pass_on(self, number: signal.Signals, but: _Worker | None = None) -> None:
        for worker in self._running:
            if worker is not but and worker.ready:
                worker.process.send_signal(number)


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise AssertionError("workers are started with pipes")
    return stream

"""Several runs at a time, each in a process of its own, told of as if they were one after the other.

How many run at once never changes a result: the number of threads of a run is chosen with the series, since
sums over more threads round differently. Knows nothing of what the runs are for.
"""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from assay.errors import AssayError, UsageError
from assay.inference import cpu_count
from assay.training import EpochRow, InterruptionError
from assay.training.device import ENOUGH_THREADS, torch_threads
from assay.workflow.figures import RunFigures, has_figures, read_figures
from assay.workflow.memory import free_memory
from assay.workflow.run import Run
from assay.workflow.series import RunTask, SeriesWatcher, complete_run
from assay.workflow.train import Watcher

_MEMORY = 4 << 30
"""Bytes of memory to have free for each run."""


def threads_per_run() -> int:
    """Return how many threads each run of a new series works with here."""
    return max(1, cpu_count() // max(1, cpu_count() // ENOUGH_THREADS))


def default_jobs(threads: int, memory: int | None = None) -> int:
    """Return how many runs fit on this computer at a time, at least 1; with a GPU one.

    Args:
        threads: of each run.
        memory: bytes that are free; none: asked of the system.
    """
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return 1
    free = free_memory() if memory is None else memory
    return max(1, min(cpu_count() // threads, free // _MEMORY))


def complete_runs(tasks: Iterable[RunTask], jobs: int, threads: int, watcher: SeriesWatcher) -> None:
    """Do what is left of some runs.

    With more than one job, processes are started anew (spawned): a script that calls this needs the usual
    `if __name__ == "__main__":`.

    Args:
        tasks: the runs; taken one by one, as processes become free.
        jobs: how many at a time, 1 or more.
        threads: of each run.
        watcher: told how things go on, in this process and this thread.

    Raises:
        AssayError: a run cannot be done; others are stopped and can be resumed.
        UsageError: fewer than one job.
        InterruptionError: Ctrl-C.
    """
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}: give 1 or more")
    left = _left(tasks, watcher)
    if jobs > 1:
        _Lanes(watcher, threads).run(left, jobs)
        return
    with torch_threads(threads):
        for task in left:
            _tell(watcher, task.name, complete_run(task, watcher.of(task)))


def _left(tasks: Iterable[RunTask], watcher: SeriesWatcher) -> Iterator[RunTask]:
    """Yield the runs that are not done; those that are need no process."""
    for task in tasks:
        run = Run(task.folder)
        if has_figures(run):
            _tell(watcher, task.name, read_figures(run))
        else:
            yield task


def _tell(watcher: SeriesWatcher, name: str, figures: RunFigures) -> None:
    if watcher.on_run is not None:
        watcher.on_run(name, figures)


@dataclass(frozen=True)
class _Step:
    """A piece of work has gone on."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class _Epoch:
    """An epoch has ended."""

    row: EpochRow


@dataclass(frozen=True)
class _Done:
    """A run has ended."""

    figures: RunFigures


_Message = _Step | _Epoch | _Done | AssayError


@dataclass
class _Lane:
    """A process and the run that it is at."""

    process: SpawnProcess
    task: RunTask | None = None


class _Lanes:
    """The processes of one series."""

    def __init__(self, watcher: SeriesWatcher, threads: int) -> None:
        self._watcher = watcher
        self._threads = threads
        self._lanes: dict[Connection, _Lane] = {}

    def run(self, tasks: Iterator[RunTask], jobs: int) -> None:
        """Give every process a run, and another when it is done with it."""
        try:
            for task in islice(tasks, jobs):
                self._give(self._start(), task)
            while busy := [connection for connection, lane in self._lanes.items() if lane.task]:
                for connection in wait(busy):
                    if isinstance(connection, Connection) and self._hear(connection):
                        self._give(connection, next(tasks, None))
        finally:
            self._stop()

    def _start(self) -> Connection:
        context = get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, self._threads))
        with _deaf():
            process.start()
        # The process holds its own end; when it dies, this one must see the end of the line.
        there.close()
        self._lanes[here] = _Lane(process)
        return here

    def _give(self, connection: Connection, task: RunTask | None) -> None:
        self._lanes[connection].task = task
        if task is not None:
            connection.send(task)

    def _hear(self, connection: Connection) -> bool:
        """Pass a message on; return whether the run is done."""
        lane = self._lanes[connection]
        if lane.task is None:
            return False
        try:
            message: _Message = connection.recv()
        except (EOFError, ConnectionError):
            lane.process.join()
            raise AssayError(
                f"{lane.task.name}: its process ended by itself (code {lane.process.exitcode}), perhaps for "
                "lack of memory; go on with --resume and --jobs 1"
            ) from None
        watcher = self._watcher.of(lane.task)
        match message:
            case AssayError():
                raise message
            case _Step(what, done, total):
                watcher.progress(what, done, total)
            case _Epoch(row) if watcher.on_epoch is not None:
                watcher.on_epoch(row)
            case _Done(figures):
                _tell(self._watcher, lane.task.name, figures)
        return isinstance(message, _Done)

    def _stop(self) -> None:
        for connection, lane in self._lanes.items():
            connection.close()
            if lane.task is not None:
                lane.process.terminate()
        for lane in self._lanes.values():
            lane.process.join()


def _work(connection: Connection, threads: int) -> None:
    """Do the runs that come, until the other end hangs up."""
    torch.set_num_threads(threads)
    try:
        while True:
            task: RunTask = connection.recv()
            connection.send(_attempt(task, connection))
    except (EOFError, ConnectionError, InterruptionError):
        # The one who gave the runs has gone, or wants no more of them.
        connection.close()


def _attempt(task: RunTask, connection: Connection) -> _Done | AssayError:
    watcher = Watcher(
        lambda what, done, total: connection.send(_Step(what, done, total)),
        on_epoch=lambda row: connection.send(_Epoch(row)),
    )
    try:
        return _Done(complete_run(task, watcher))
    except InterruptionError:
        raise
    except AssayError as error:
        return error


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that start within the block ignore Ctrl-C: the one who started them ends them."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, before)

"""Train several runs in parallel, each in a process of its own.

The number of parallel runs never changes a result: the threads per run are fixed when the experiment is
created, since sums over another number of threads round differently.
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

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.pipeline.build_model import free_memory
from assay.pipeline.experiment_folder import ExperimentCallbacks, RunTask, complete_run
from assay.pipeline.run_folder import Run
from assay.pipeline.run_metrics import RunMetrics, is_evaluated, read_run_metrics
from assay.pipeline.train import TrainCallbacks
from assay.training import EpochMetrics, TrainingInterruptedError
from assay.training.device import MAX_USEFUL_THREADS, torch_threads

_MEMORY_PER_RUN = 4 << 30
"""Bytes of memory to have free for each run."""


def threads_per_run() -> int:
    """Return how many threads each run of a new series works with here."""
    return max(1, cpu_count() // max(1, cpu_count() // MAX_USEFUL_THREADS))


def default_jobs(threads: int, memory: int | None = None) -> int:
    """Return how many runs fit on this computer at a time, at least 1; with a GPU one.

    Args:
        threads: of each run.
        memory: bytes that are free; none: asked of the system.
    """
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return 1
    free = free_memory() if memory is None else memory
    return max(1, min(cpu_count() // threads, free // _MEMORY_PER_RUN))


def complete_runs(tasks: Iterable[RunTask], jobs: int, threads: int, watcher: ExperimentCallbacks) -> None:
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
        TrainingInterruptedError: Ctrl-C.
    """
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}: give 1 or more")
    left = _unfinished(tasks, watcher)
    if jobs > 1:
        _ProcessPool(watcher, threads).run(left, jobs)
        return
    with torch_threads(threads):
        for task in left:
            _notify_run(watcher, task.name, complete_run(task, watcher.of(task)))


def _unfinished(tasks: Iterable[RunTask], watcher: ExperimentCallbacks) -> Iterator[RunTask]:
    """Yield the runs that are not done; those that are need no process."""
    for task in tasks:
        run = Run(task.folder)
        if is_evaluated(run):
            _notify_run(watcher, task.name, read_run_metrics(run))
        else:
            yield task


def _notify_run(watcher: ExperimentCallbacks, name: str, figures: RunMetrics) -> None:
    if watcher.on_run is not None:
        watcher.on_run(name, figures)


@dataclass(frozen=True)
class _ProgressEvent:
    """A piece of work has gone on."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class _EpochEvent:
    """An epoch has ended."""

    row: EpochMetrics


@dataclass(frozen=True)
class _RunFinished:
    """A run has ended."""

    figures: RunMetrics


_Message = _ProgressEvent | _EpochEvent | _RunFinished | AssayError


@dataclass
class _Worker:
    """A process and the run that it is at."""

    process: SpawnProcess
    task: RunTask | None = None


class _ProcessPool:
    """The processes of one series."""

    def __init__(self, watcher: ExperimentCallbacks, threads: int) -> None:
        self._watcher = watcher
        self._threads = threads
        self._lanes: dict[Connection, _Worker] = {}

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
        process = context.Process(target=_worker_main, args=(there, self._threads))
        with _ignore_interrupts():
            process.start()
        # The process holds its own end; when it dies, this one must see the end of the line.
        there.close()
        self._lanes[here] = _Worker(process)
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
            case _ProgressEvent(what, done, total):
                watcher.progress(what, done, total)
            case _EpochEvent(row) if watcher.on_epoch is not None:
                watcher.on_epoch(row)
            case _RunFinished(figures):
                _notify_run(self._watcher, lane.task.name, figures)
        return isinstance(message, _RunFinished)

    def _stop(self) -> None:
        for connection, lane in self._lanes.items():
            connection.close()
            if lane.task is not None:
                lane.process.terminate()
        for lane in self._lanes.values():
            lane.process.join()


def _worker_main(connection: Connection, threads: int) -> None:
    """Do the runs that come, until the other end hangs up."""
    torch.set_num_threads(threads)
    try:
        while True:
            task: RunTask = connection.recv()
            connection.send(_run_task(task, connection))
    except (EOFError, ConnectionError, TrainingInterruptedError):
        # The one who gave the runs has gone, or wants no more of them.
        connection.close()


def _run_task(task: RunTask, connection: Connection) -> _RunFinished | AssayError:
    watcher = TrainCallbacks(
        lambda what, done, total: connection.send(_ProgressEvent(what, done, total)),
        on_epoch=lambda row: connection.send(_EpochEvent(row)),
    )
    try:
        return _RunFinished(complete_run(task, watcher))
    except TrainingInterruptedError:
        raise
    except AssayError as error:
        return error


@contextmanager
def _ignore_interrupts() -> Iterator[None]:
    """Let processes that start within the block ignore Ctrl-C: the one who started them ends them."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, before)

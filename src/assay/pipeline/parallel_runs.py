"""Train the runs of an experiment, one after the other or in parallel processes.

The number of parallel runs never changes a result: the threads per run are fixed when the experiment is created,
since sums over another number of threads round differently.

`concurrent.futures.ProcessPoolExecutor` does not serve: before Python 3.14 it cannot stop a running task on Ctrl-C or
after another task's failure, it does not tell which task's process died, and it has no channel for progress.
"""

import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress, no_progress
from assay.data import Dataset
from assay.pipeline.build_network import free_memory
from assay.pipeline.experiment_runs import RunMetrics, RunTask, is_evaluated, read_run_metrics
from assay.pipeline.run_folder import Run, folder_lock
from assay.pipeline.train import resume_training, train_on_splits
from assay.pipeline.train_callbacks import TrainCallbacks
from assay.recipe import Recipe
from assay.training import EpochMetrics, TrainingInterruptedError
from assay.training.device import MAX_USEFUL_THREADS, torch_threads

_MEMORY_PER_RUN = 4 << 30
"""Bytes of free memory required per parallel run."""
_LOCK_TIMEOUT = 60.0
"""Seconds to wait for a process whose parent was killed."""


@dataclass(frozen=True)
class ExperimentCallbacks:
    """Called during an experiment, in the calling process and thread; no-ops by default."""

    progress: Progress = no_progress
    on_data: Callable[[Dataset], None] | None = None
    """Called when the dataset is loaded."""
    on_epoch: Callable[[str, EpochMetrics, Recipe], None] | None = None
    """Called after every epoch with the run's name, the epoch, and the run's settings."""
    on_run: Callable[[str, RunMetrics], None] | None = None
    """Called when a run is complete."""

    def for_run(self, task: RunTask) -> TrainCallbacks:
        """Return the callbacks of one run, which add its name."""
        on_epoch = self.on_epoch
        return TrainCallbacks(
            lambda stage, done, total: self.progress(f"{task.name}: {stage}", done, total),
            on_epoch=None if on_epoch is None else lambda row: on_epoch(task.name, row, task.recipe),
        )

    def run_complete(self, task: RunTask, metrics: RunMetrics) -> None:
        """Call `on_run`, if there is one."""
        if self.on_run is not None:
            self.on_run(task.name, metrics)


def threads_per_run() -> int:
    """Return the number of threads of each run of a new experiment on this machine."""
    return max(1, cpu_count() // max(1, cpu_count() // MAX_USEFUL_THREADS))


def default_jobs(threads: int, memory: int | None = None) -> int:
    """Return the number of parallel runs that fit on this machine; 1 with a GPU.

    Args:
        threads: of each run.
        memory: free memory in bytes; None: as reported by the system.
    """
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return 1
    free = free_memory() if memory is None else memory
    return max(1, min(cpu_count() // threads, free // _MEMORY_PER_RUN))


@contextmanager
def prefix_errors(name: str) -> Iterator[None]:
    """Prefix errors of the block with the name of a run or recipe; an empty name changes nothing."""
    try:
        yield
    except TrainingInterruptedError:
        raise
    except AssayError as error:
        kind = UsageError if isinstance(error, UsageError) else AssayError
        raise kind(f"{name}: {error}" if name else str(error)) from error


def complete_run(task: RunTask, callbacks: TrainCallbacks) -> RunMetrics:
    """Train a run, resume it, or only read its metrics if it is complete.

    Raises:
        AssayError: it cannot be trained; the message begins with the run's name.
        TrainingInterruptedError: Ctrl-C.
    """
    run = Run(task.folder)
    with prefix_errors(task.name), folder_lock(task.folder.with_name(f".{task.folder.name}.lock"), _LOCK_TIMEOUT):
        if not is_evaluated(run):
            if run.has_splits:
                resume_training(run.folder, callbacks, report=False)
            else:
                # Killed before its images were split: the folder holds nothing of use.
                if run.folder.exists():
                    shutil.rmtree(run.folder)
                train_on_splits(task.dataset, task.recipe, run.folder, callbacks, report=False)
        return read_run_metrics(run)


def complete_runs(tasks: Iterable[RunTask], jobs: int, threads: int, callbacks: ExperimentCallbacks) -> None:
    """Train the runs that are not complete.

    With more than one job, processes are spawned: a script that calls this needs the usual
    `if __name__ == "__main__":`.

    Args:
        tasks: the runs, taken one by one as processes become free.
        jobs: number of parallel runs, 1 or more.
        threads: of each run.
        callbacks: called in this process and thread.

    Raises:
        AssayError: a run cannot be trained; the others are stopped and can be resumed.
        UsageError: fewer than one job.
        TrainingInterruptedError: Ctrl-C.
    """
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}: give 1 or more")
    incomplete = _incomplete(tasks, callbacks)
    if jobs > 1:
        _ProcessPool(callbacks, threads).run(incomplete, jobs)
        return
    with torch_threads(threads):
        for task in incomplete:
            callbacks.run_complete(task, complete_run(task, callbacks.for_run(task)))


def _incomplete(tasks: Iterable[RunTask], callbacks: ExperimentCallbacks) -> Iterator[RunTask]:
    """Yield the runs to train; complete ones need no process."""
    for task in tasks:
        run = Run(task.folder)
        if is_evaluated(run):
            callbacks.run_complete(task, read_run_metrics(run))
        else:
            yield task


@dataclass(frozen=True)
class _ProgressEvent:
    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class _RunCompleted:
    metrics: RunMetrics


_Message = _ProgressEvent | EpochMetrics | _RunCompleted | AssayError


@dataclass
class _Worker:
    process: SpawnProcess
    task: RunTask | None = None


class _ProcessPool:
    """The worker processes of one experiment, by the connection to each."""

    def __init__(self, callbacks: ExperimentCallbacks, threads: int) -> None:
        self._callbacks = callbacks
        self._threads = threads
        self._workers: dict[Connection, _Worker] = {}

    def run(self, tasks: Iterator[RunTask], jobs: int) -> None:
        """Give every process a run, and another one when it is complete."""
        try:
            for task in islice(tasks, jobs):
                self._assign(self._spawn(), task)
            while busy := [connection for connection, worker in self._workers.items() if worker.task]:
                for connection in wait(busy):
                    if isinstance(connection, Connection) and self._receive(connection):
                        self._assign(connection, next(tasks, None))
        finally:
            self._stop()

    def _spawn(self) -> Connection:
        context = get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_worker_main, args=(there, self._threads))
        with _ignore_interrupts():
            process.start()
        # The worker holds its own end; when it dies, this end must report it.
        there.close()
        self._workers[here] = _Worker(process)
        return here

    def _assign(self, connection: Connection, task: RunTask | None) -> None:
        self._workers[connection].task = task
        if task is not None:
            connection.send(task)

    def _receive(self, connection: Connection) -> bool:
        """Handle a message; return whether the run is complete."""
        worker = self._workers[connection]
        if worker.task is None:
            return False
        try:
            message: _Message = connection.recv()
        except (EOFError, ConnectionError):
            worker.process.join()
            raise AssayError(
                f"{worker.task.name}: its process died (code {worker.process.exitcode}), perhaps for lack of memory; "
                "resume with --resume and --jobs 1"
            ) from None
        callbacks = self._callbacks.for_run(worker.task)
        match message:
            case AssayError():
                raise message
            case _ProgressEvent(stage, done, total):
                callbacks.progress(stage, done, total)
            case EpochMetrics():
                if callbacks.on_epoch is not None:
                    callbacks.on_epoch(message)
            case _RunCompleted(metrics):
                self._callbacks.run_complete(worker.task, metrics)
        return isinstance(message, _RunCompleted)

    def _stop(self) -> None:
        for connection, worker in self._workers.items():
            connection.close()
            if worker.task is not None:
                worker.process.terminate()
        for worker in self._workers.values():
            worker.process.join()


def _worker_main(connection: Connection, threads: int) -> None:
    """Train the runs that are received, until the connection is closed."""
    torch.set_num_threads(threads)
    callbacks = TrainCallbacks(
        lambda stage, done, total: connection.send(_ProgressEvent(stage, done, total)), on_epoch=connection.send
    )
    try:
        while True:
            task: RunTask = connection.recv()
            try:
                connection.send(_RunCompleted(complete_run(task, callbacks)))
            except TrainingInterruptedError:
                raise
            except AssayError as error:
                connection.send(error)
    except (EOFError, ConnectionError, TrainingInterruptedError):
        # The parent process has ended, or has stopped this run.
        connection.close()


@contextmanager
def _ignore_interrupts() -> Iterator[None]:
    """Let processes spawned within the block ignore Ctrl-C: the parent process stops them."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, before)

"""The folder of an experiment: several runs on the same images, its state and how it is resumed."""

import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assay import __version__
from assay.core.errors import AssayError, UsageError
from assay.core.files import JsonTypes, read_json_state
from assay.core.progress import Progress, no_progress
from assay.core.tables import write_json
from assay.data import Dataset, read_manifest, write_manifest
from assay.pipeline.run_folder import Run, folder_lock
from assay.pipeline.run_metrics import RunMetrics, evaluate_training_split, is_evaluated, read_run_metrics
from assay.pipeline.train import TrainCallbacks, resume_training, train_on_splits
from assay.recipe import Recipe
from assay.training import EpochMetrics, TrainingInterruptedError

ExperimentCommand = Literal["crossval", "variants"]
"""Which command made the folder."""

_STATE_FIELDS: JsonTypes = {"classes": list, "done": bool, "folds": int, "repeats": int, "threads": int}
_LOCK_TIMEOUT = 60.0  # seconds for a process to end whose parent was killed


@dataclass(frozen=True)
class RunTask:
    """One run of a series: everything a process needs to do it."""

    name: str
    """What people read, as `fold 2/5`."""
    folder: Path
    dataset: Dataset
    """With a part for every photo."""
    recipe: Recipe


@dataclass(frozen=True)
class ExperimentCallbacks:
    """Who wants to know how a series goes on; nobody by default."""

    progress: Progress = no_progress
    on_data: Callable[[Dataset], None] | None = None
    """Called when the photos are read."""
    on_epoch: Callable[[str, EpochMetrics, Recipe], None] | None = None
    """Called after every epoch with the run's name, the epoch, and the run's settings."""
    on_run: Callable[[str, RunMetrics], None] | None = None
    """Called when a run is done."""

    def of(self, task: RunTask) -> TrainCallbacks:
        """Return who watches one run: progress and epochs come with the run's name."""
        on_epoch = self.on_epoch
        return TrainCallbacks(
            lambda what, done, total: self.progress(f"{task.name}: {what}", done, total),
            on_epoch=None if on_epoch is None else lambda row: on_epoch(task.name, row, task.recipe),
        )


@dataclass(frozen=True)
class Experiment:
    """A folder of runs."""

    folder: Path
    command: ExperimentCommand

    @property
    def manifest(self) -> Path:
        """Every photo of the series."""
        return self.folder / "manifest.csv"

    @property
    def state(self) -> Path:
        """What the series is, as JSON; written last, so that a folder with it can be taken up."""
        return self.folder / f"{self.command}.json"

    @classmethod
    def create(
        cls, folder: Path, command: ExperimentCommand, dataset: Dataset, values: Mapping[str, Any]
    ) -> "Experiment":
        """Begin a series in a new or empty folder.

        Args:
            folder: where the runs go.
            command: what they belong to.
            dataset: the photos.
            values: further settings to remember, plain JSON.
        """
        series = cls(folder, command)
        write_manifest(dataset, series.manifest)
        series._save({"assay": __version__, "classes": list(dataset.classes), "done": False, **values})
        return series

    @classmethod
    def open(cls, folder: Path, command: ExperimentCommand) -> "Experiment":
        """Find a series that was begun.

        Raises:
            UsageError: the folder holds none.
        """
        series = cls(folder, command)
        if not series.state.is_file():
            raise UsageError(
                f"{folder} holds nothing to go on with: it needs the {series.state.name} of `assay {command}`"
            )
        return series

    def values(self) -> dict[str, Any]:
        """Read what was remembered.

        Raises:
            AssayError: it is damaged.
        """
        values = read_json_state(self.state, _STATE_FIELDS)
        if values is None:
            raise AssayError(f"{self.state} is damaged: start anew in another folder")
        return values

    def dataset(self) -> Dataset:
        """Read the photos, without opening them."""
        return read_manifest(self.manifest, [str(name) for name in self.values()["classes"]])

    def finish(self) -> None:
        """Record that nothing is left to do."""
        self._save({**self.values(), "done": True})

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep other processes out, and let Ctrl-C say how to go on.

        Raises:
            UsageError: another process is at work in the folder.
            TrainingInterruptedError: the block was interrupted.
        """
        try:
            with folder_lock(self.folder / ".lock"):
                yield
        except (KeyboardInterrupt, TrainingInterruptedError) as error:
            again = f"assay {self.command} --resume {shlex.quote(str(self.folder))}"
            raise TrainingInterruptedError(f"interrupted; what is done is kept, go on with: {again}") from error

    def _save(self, values: Mapping[str, Any]) -> None:
        write_json(self.state, values)


def check_unused_experiment(folder: Path, command: ExperimentCommand) -> None:
    """Refuse a folder that a new series may not write into.

    Raises:
        UsageError: something is in the folder already, or it is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is not empty: choose another --run, or go on with `assay {command} --resume {folder}`"
        )


def complete_run(task: RunTask, watcher: TrainCallbacks) -> RunMetrics:
    """Do what is left of a run: all of it, the rest, or nothing.

    Args:
        task: the run.
        watcher: told how things go on.

    Raises:
        AssayError: it cannot be done; the message begins with the run's name.
        TrainingInterruptedError: Ctrl-C.
    """
    run = Run(task.folder)
    try:
        with folder_lock(task.folder.with_name(f".{task.folder.name}.lock"), _LOCK_TIMEOUT):
            if not is_evaluated(run):
                _train_or_resume(run, task, watcher)
                evaluate_training_split(run, task.dataset, watcher.progress)
        return read_run_metrics(run)
    except TrainingInterruptedError:
        raise
    except AssayError as error:
        kind = UsageError if isinstance(error, UsageError) else AssayError
        raise kind(f"{task.name}: {error}") from error


def _train_or_resume(run: Run, task: RunTask, watcher: TrainCallbacks) -> None:
    if run.begun and run.done:
        return
    if run.begun:
        resume_training(run.folder, watcher, report=False)
        return
    # Killed before it knew its photos: nothing in there is worth keeping.
    if run.folder.exists():
        shutil.rmtree(run.folder)
    train_on_splits(task.dataset, task.recipe, run.folder, watcher, report=False)

"""Several runs that belong together: the folds of a cross-validation, the variants of a recipe.

The folder holds what all runs share (the photos, the settings) and a run folder for each. Runs that are done
are kept, one that was stopped goes on, so that the folder can be taken up again whenever it was left.
"""

import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assay import __version__
from assay.data import Dataset, read_manifest, write_manifest
from assay.errors import AssayError, UsageError
from assay.files import Kinds, read_state, write_text
from assay.progress import Progress, silent
from assay.recipe import Recipe
from assay.training import EpochRow, InterruptionError
from assay.workflow.figures import RunFigures, has_figures, judge_training, read_figures
from assay.workflow.lock import alone
from assay.workflow.run import Run
from assay.workflow.train import Watcher, resume_training, train_on

Command = Literal["crossval", "variants"]
"""Which command made the folder."""

_REMEMBERED: Kinds = {"classes": list, "done": bool, "folds": int, "repeats": int, "threads": int}
_PATIENCE = 60.0  # seconds for a process to end whose parent was killed


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
class SeriesWatcher:
    """Who wants to know how a series goes on; nobody by default."""

    progress: Progress = silent
    on_data: Callable[[Dataset], None] | None = None
    """Called when the photos are read."""
    on_epoch: Callable[[str, EpochRow, Recipe], None] | None = None
    """Called after every epoch with the run's name, the epoch, and the run's settings."""
    on_run: Callable[[str, RunFigures], None] | None = None
    """Called when a run is done."""

    def of(self, task: RunTask) -> Watcher:
        """Return who watches one run: progress and epochs come with the run's name."""
        on_epoch = self.on_epoch
        return Watcher(
            lambda what, done, total: self.progress(f"{task.name}: {what}", done, total),
            on_epoch=None if on_epoch is None else lambda row: on_epoch(task.name, row, task.recipe),
        )


@dataclass(frozen=True)
class Series:
    """A folder of runs."""

    folder: Path
    command: Command

    @property
    def manifest(self) -> Path:
        """Every photo of the series."""
        return self.folder / "manifest.csv"

    @property
    def state(self) -> Path:
        """What the series is, as JSON; written last, so that a folder with it can be taken up."""
        return self.folder / f"{self.command}.json"

    @classmethod
    def create(cls, folder: Path, command: Command, dataset: Dataset, values: Mapping[str, Any]) -> "Series":
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
    def open(cls, folder: Path, command: Command) -> "Series":
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
        values = read_state(self.state, _REMEMBERED)
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
            InterruptionError: the block was interrupted.
        """
        try:
            with alone(self.folder / ".lock"):
                yield
        except (KeyboardInterrupt, InterruptionError) as error:
            again = f"assay {self.command} --resume {shlex.quote(str(self.folder))}"
            raise InterruptionError(f"interrupted; what is done is kept, go on with: {again}") from error

    def _save(self, values: Mapping[str, Any]) -> None:
        write_text(self.state, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def refuse_used_series(folder: Path, command: Command) -> None:
    """Refuse a folder that a new series may not write into.

    Raises:
        UsageError: something is in the folder already, or it is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is not empty: choose another --run, or go on with `assay {command} --resume {folder}`"
        )


def complete_run(task: RunTask, watcher: Watcher) -> RunFigures:
    """Do what is left of a run: all of it, the rest, or nothing.

    Args:
        task: the run.
        watcher: told how things go on.

    Raises:
        AssayError: it cannot be done; the message begins with the run's name.
        InterruptionError: Ctrl-C.
    """
    run = Run(task.folder)
    try:
        with alone(task.folder.with_name(f".{task.folder.name}.lock"), _PATIENCE):
            if not has_figures(run):
                _train(run, task, watcher)
                judge_training(run, task.dataset, watcher.progress)
        return read_figures(run)
    except InterruptionError:
        raise
    except AssayError as error:
        kind = UsageError if isinstance(error, UsageError) else AssayError
        raise kind(f"{task.name}: {error}") from error


def _train(run: Run, task: RunTask, watcher: Watcher) -> None:
    if run.begun and run.done:
        return
    if run.begun:
        resume_training(run.folder, watcher, report=False)
        return
    # Killed before it knew its photos: nothing in there is worth keeping.
    if run.folder.exists():
        shutil.rmtree(run.folder)
    train_on(task.dataset, task.recipe, run.folder, watcher, report=False)

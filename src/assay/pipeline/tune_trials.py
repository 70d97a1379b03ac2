"""Train whole recipes as trials, epoch by epoch: those that are not among the best end early."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from assay.core.errors import AssayError
from assay.core.files import JsonTypes, read_json_state
from assay.core.progress import Progress
from assay.data import Dataset, read_manifest
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import FrozenBackbone, labelled_pixels
from assay.pipeline.search_space import Settings
from assay.pipeline.tune_result import Draw, Outcome, RankBy, State
from assay.recipe import HalvingSpec, Recipe
from assay.training import EpochMetrics, TrainingInterruptedError, fit, read_metrics
from assay.training.history import best_epoch_of

if TYPE_CHECKING:
    from assay.pipeline.tune_study import Study

MANIFEST_FILE, STATE_FILE = "manifest.csv", "search.json"
STATE_FIELDS: JsonTypes = {"data": str, "by": str, "folds": int, "classes": list}
METRICS_FILE = "metrics.csv"


@dataclass(frozen=True)
class TrialTask:
    """Training of a trial up to the next comparison, in this process or on another machine."""

    folder: Path
    """Of the search; every process must reach it."""
    number: int
    recipe: Recipe
    until: int
    """Epoch after which training pauses."""

    @property
    def run(self) -> Path:
        """Folder of the trial."""
        return trial_folder(self.folder, self.number)


@dataclass(frozen=True)
class TrialProgress:
    """What a task has trained."""

    number: int
    epochs: tuple[EpochMetrics, ...]
    """All epochs of the trial so far."""
    finished: bool
    """Whether training has ended, and not only paused."""
    error: str = ""
    """Why the trial failed."""


class TrialRunner(Protocol):
    """Runs tasks, one or several at a time."""

    @property
    def slots(self) -> int:
        """Number of tasks that run at a time."""

    def submit(self, task: TrialTask) -> None:
        """Start a task."""

    def wait(self) -> TrialProgress:
        """Return the result of a task that has ended."""


class LocalTrials:
    """Runs one task at a time, in this process."""

    slots = 1

    def __init__(self) -> None:
        self._tasks: list[TrialTask] = []

    def submit(self, task: TrialTask) -> None:
        """Keep a task for `wait`."""
        self._tasks.append(task)

    def wait(self) -> TrialProgress:
        """Run the task."""
        return train_trial(self._tasks.pop(0))


def trial_folder(folder: Path, number: int) -> Path:
    """Return the folder of a trial of a search."""
    return folder / "trials" / f"{number:04}"


def train_trials(
    study: "Study",
    recipe_of: Callable[[Settings], Recipe],
    folder: Path,
    runner: TrialRunner,
    *,
    by: RankBy,
    halving: HalvingSpec | None,
    progress: Progress,
) -> None:
    """Train the trials of a study.

    A trial is trained up to the epochs at which trials are compared, and goes on if it is among the best ones. It
    continues from its checkpoint, so it is the same training as without pauses, and also after a kill.

    Args:
        study: draws the trials.
        recipe_of: returns the recipe of a trial's settings.
        folder: of the search.
        runner: trains.
        by: the metric that is compared: the best one so far.
        halving: the epochs at which trials are compared; None: they are trained to the end.
        progress: called after every trial.

    Raises:
        TrainingInterruptedError: Ctrl-C.
    """
    running: dict[int, tuple[Draw, Recipe]] = {}
    done = len(study.outcomes())
    progress("trials", done, study.total)
    while True:
        while len(running) < runner.slots and (draw := study.draw()) is not None:
            try:
                recipe = recipe_of(draw.settings)
            except AssayError as error:
                study.finish(Outcome(draw.number, draw.settings, "failed", (), 0.0, str(error)))
                continue
            trained = _epochs(trial_folder(folder, draw.number))
            if trained and study.report(draw.number, _best_values(trained, by)):
                # Killed between its last epoch and the comparison.
                _finish(study, draw, TrialProgress(draw.number, trained, finished=False), recipe, by)
                continue
            running[draw.number] = draw, recipe
            runner.submit(TrialTask(folder, draw.number, recipe, _next_comparison(trained, recipe, halving)))
        if not running:
            return
        result = runner.wait()
        draw, recipe = running.pop(result.number)
        if not result.error and not result.finished:
            if not study.report(result.number, _best_values(result.epochs, by)):
                running[result.number] = draw, recipe
                until = _next_comparison(result.epochs, recipe, halving)
                runner.submit(TrialTask(folder, result.number, recipe, until))
                continue
        elif not result.error:
            study.report(result.number, _best_values(result.epochs, by))
        _finish(study, draw, result, recipe, by)
        shutil.rmtree(trial_folder(folder, result.number) / "checkpoints", ignore_errors=True)
        done += 1
        progress("trials", done, study.total)


def train_trial(task: TrialTask) -> TrialProgress:
    """Train a trial up to an epoch, or to its end.

    Raises:
        TrainingInterruptedError: Ctrl-C.
    """

    class PausedError(Exception):
        pass

    def pause(epoch: EpochMetrics) -> None:
        if epoch.epoch >= task.until:
            raise PausedError

    try:
        dataset = load_search_dataset(task.folder)
        network, spec = build_model(task.recipe, dataset)
        backbone = FrozenBackbone(network, spec, task.recipe, dataset)
        fit(
            network,
            task.recipe,
            labelled_pixels(dataset, "train", spec, task.recipe),
            labelled_pixels(dataset, "val", spec),
            run=task.run,
            resume=True,
            embeddings=backbone.embedded,
            on_epoch=pause if task.until < task.recipe.train.epochs else None,
        )
    except PausedError:
        return TrialProgress(task.number, _epochs(task.run), finished=False)
    except TrainingInterruptedError:
        raise
    except AssayError as error:
        return TrialProgress(task.number, _epochs(task.run), finished=True, error=str(error))
    return TrialProgress(task.number, _epochs(task.run), finished=True)


@lru_cache(maxsize=1)
def load_search_dataset(folder: Path) -> Dataset:
    """Read the training, validation and test images of a search.

    Raises:
        AssayError: the folder holds no search, or its images are missing.
    """
    state = read_json_state(folder / STATE_FILE, STATE_FIELDS)
    if state is None:
        raise AssayError(f"{folder / STATE_FILE} is damaged: start a new search")
    return read_manifest(folder / MANIFEST_FILE, tuple(state["classes"]))


def _finish(study: "Study", draw: Draw, result: TrialProgress, recipe: Recipe, by: RankBy) -> None:
    seconds = sum(row.seconds for row in result.epochs)
    state: State = "failed" if result.error else "complete" if result.finished else "pruned"
    best = best_epoch_of(result.epochs, recipe.train) if result.epochs else None
    outcome = Outcome(draw.number, draw.settings, state, (best,) if best else (), seconds, result.error)
    study.finish(outcome, None if best is None else best.val_accuracy if by == "accuracy" else best.val_loss)


def _best_values(epochs: Sequence[EpochMetrics], by: RankBy) -> list[float]:
    """Return the best value of the metric up to each epoch."""
    values: list[float] = []
    for row in epochs:
        value = row.val_accuracy if by == "accuracy" else row.val_loss
        better = max if by == "accuracy" else min
        values.append(better(values[-1], value) if values else value)
    return values


def _next_comparison(trained: Sequence[EpochMetrics], recipe: Recipe, halving: HalvingSpec | None) -> int:
    """Return the epoch at which a trial is compared next; its last one if there is no other."""
    if halving is None:
        return recipe.train.epochs
    until = halving.first_epochs
    while until <= len(trained):
        until *= halving.factor
    return min(until, recipe.train.epochs)


def _epochs(run: Path) -> tuple[EpochMetrics, ...]:
    return read_metrics(run / METRICS_FILE) if (run / METRICS_FILE).is_file() else ()

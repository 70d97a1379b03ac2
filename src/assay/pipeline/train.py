"""Train a classifier from a folder of images: split, train, write the bundle, calibrate and evaluate it.

Every step stores its result in the run folder, so that an interrupted run can be resumed.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import get_args

from assay.core.errors import UsageError
from assay.core.progress import Progress, no_progress
from assay.core.tables import write_csv, write_json
from assay.data import (
    Dataset,
    DataSource,
    Split,
    as_path,
    read_manifest,
    write_manifest,
)
from assay.data.loading import load_split_dataset
from assay.evaluation import Metrics
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.auto import Candidate
from assay.pipeline.auto.probe_changes import first_recipe
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import labelled_pixels
from assay.pipeline.evaluate import CONFUSION_FILE, evaluation_html
from assay.pipeline.export_and_evaluate import evaluate_bundle, write_calibrated_bundle
from assay.pipeline.report import RunEvaluation, write_run_report
from assay.pipeline.run_folder import Run, check_unused, result_folder
from assay.pipeline.train_callbacks import TrainCallbacks
from assay.pipeline.train_strategies import train_auto, train_fixed
from assay.recipe import Layout, PreprocessSpec, Recipe, load_recipe
from assay.training import History, RangeTestResult, find_learning_rate
from assay.training.callbacks import Profile
from assay.training.fitting import check_several_machines
from assay.training.lightning_trainer import raise_on_interrupt
from assay.training.nodes import Nodes, RemoteProcesses

_KEPT_BYTES = 128 << 20
"""Bytes of files kept in memory after the scan, so that a small dataset is read once."""


@dataclass(frozen=True)
class TrainResult:
    """The result of a training run."""

    run: Run
    dataset: Dataset
    history: History
    evaluated: RunEvaluation
    """The bundle and its evaluation on validation and, if there is one, test."""
    candidates: tuple[Candidate, ...] = ()
    """What the strategy `auto` tried; empty for the other strategies."""

    @property
    def metrics(self) -> Mapping[Split, Metrics]:
        """Metrics of the bundle by split."""
        return {split: evaluation.metrics for split, evaluation in self.evaluated.splits.items()}

    @property
    def reported_split(self) -> Split:
        """The split whose metrics count: test, or validation without a test split."""
        return self.evaluated.reported_split

    def _repr_html_(self) -> str:
        split, title = self.reported_split, self.evaluated.reported_title
        return evaluation_html(
            f"{self.run.bundle.name} of {self.run.folder.name}, evaluated on its {title} photos",
            self.metrics[split],
            (self.run.evaluation(split) / CONFUSION_FILE, self.run.folder / "curves.png"),
        )


def train(
    data: DataSource,
    recipe: str | Path | Recipe = "default",
    run: str | Path | None = None,
    *,
    keep_splits: str | Path | None = None,
    layout: Layout | None = None,
    callbacks: TrainCallbacks | None = None,
    **settings: object,
) -> TrainResult:
    """Train a classifier, evaluate it and write its run folder, as `assay train` does.

    Args:
        data: class folders, train/val/test folders, a manifest, an array file; or a `datasets.Dataset` or
            `DatasetDict`, which is written as files beside the run.
        recipe: a recipe's name, a YAML file, or a recipe.
        run: folder for the results; None: the next of `runs/RECIPE-1`, `runs/RECIPE-2`, ...
        keep_splits: an earlier run, whose images keep their splits.
        layout: how folders are interpreted: `classes`, `splits` (train/val/test that hold the classes), or `auto`:
            by their names. None: as the recipe says.
        callbacks: called during training.
        settings: settings of a named recipe to change; two underscores stand for the dot, as in
            `train__epochs=5`.

    Returns:
        The run and its metrics; the bundle is `result.run.bundle`.

    Raises:
        UsageError: the recipe or a setting does not exist, the run folder is in use, or the data is of an unknown
            kind.
        AssayError: the images or the weights cannot be used, or memory or disk space is insufficient.
    """
    if layout is not None and layout not in get_args(Layout):
        raise UsageError(f"layout is {layout!r}: give one of {', '.join(get_args(Layout))}")
    if isinstance(recipe, Recipe):
        if settings:
            raise UsageError("settings change a recipe that is named; give a name, or a recipe alone")
        chosen = recipe
        if layout is not None:
            chosen = recipe.model_copy(update={"data": recipe.data.model_copy(update={"layout": layout})})
    else:
        overrides = [f"{name.replace('__', '.')}={dumps(value)}" for name, value in settings.items()]
        overrides += [] if layout is None else [f"data.layout={layout}"]
        chosen = load_recipe(recipe, overrides)
    earlier = None if keep_splits is None else Path(keep_splits)
    with result_folder(None if run is None else Path(run), Path("runs"), chosen.name) as folder:
        return train_classifier(data, chosen, folder, callbacks, keep_splits=earlier)


def train_classifier(
    data: DataSource,
    recipe: Recipe,
    folder: Path,
    callbacks: TrainCallbacks | None = None,
    *,
    keep_splits: Path | None = None,
    machines: Nodes | RemoteProcesses | None = None,
) -> TrainResult:
    """Train a classifier, write its bundle and evaluate it.

    Args:
        data: what `load_dataset` reads: class folders, train/val/test folders, a manifest, arrays; or rows of the
            `datasets` library, which are written as files beside `folder`.
        recipe: every setting.
        folder: the run's folder, new or empty.
        callbacks: called during training.
        keep_splits: an earlier run, whose images keep their splits; None: all images are split anew.
        machines: where the processes run that train together; None: on this machine.

    Raises:
        AssayError: the data, the recipe or the weights cannot be used, or memory or disk space is insufficient.
        TrainingInterruptedError: Ctrl-C; the run can be resumed.
    """
    started = time.monotonic()
    if machines is not None:
        check_several_machines(recipe)
    callbacks = callbacks or TrainCallbacks()
    check_unused(folder)
    source = as_path(data, folder.parent, callbacks.progress)
    dataset = _load_dataset(source, recipe, callbacks.progress, keep_splits)
    # Before the folder is created: missing weights must not leave a run behind.
    model = build_model(first_recipe(recipe), dataset, callbacks.progress)
    return _train(
        Run.create(folder, source, recipe, keep_splits), dataset, model, callbacks, started=started, machines=machines
    )


def train_on_splits(
    dataset: Dataset,
    recipe: Recipe,
    folder: Path,
    callbacks: TrainCallbacks | None = None,
    *,
    report: bool = True,
) -> TrainResult:
    """Train a classifier on images that already have splits.

    Args:
        dataset: every image has its split.
        recipe: every setting; its split settings are not used.
        folder: the run's folder, new or empty.
        callbacks: called during training.
        report: whether to write the report, draw figures of every split and try int8. False for the many runs of
            an experiment; the metrics of the training split are then written too.

    Raises:
        AssayError: the images, the recipe or the weights cannot be used, or memory or disk space is insufficient.
        TrainingInterruptedError: Ctrl-C; the run can be resumed.
    """
    callbacks = callbacks or TrainCallbacks()
    check_unused(folder)
    model = build_model(first_recipe(recipe), dataset, callbacks.progress)
    return _train(Run.create(folder, dataset.root, recipe), dataset, model, callbacks, report=report)


def resume_training(
    folder: Path,
    callbacks: TrainCallbacks | None = None,
    *,
    report: bool = True,
    devices: int | None = None,
    machines: Nodes | RemoteProcesses | None = None,
) -> TrainResult:
    """Resume an interrupted run; its result is the same as without the interruption.

    Args:
        folder: the run folder.
        callbacks: called during training.
        report: as for `train_on_splits`.
        devices: number of processes, as `train.devices`; None: as before.
        machines: as for `train_classifier`.

    Raises:
        AssayError: the folder holds no run, or its images are missing.
        TrainingInterruptedError: Ctrl-C; the run can be resumed again.
    """
    callbacks = callbacks or TrainCallbacks()
    run = Run.open(folder)
    recipe = run.recipe()
    if machines is not None:
        check_several_machines(recipe)
    if run.manifest.exists():
        dataset = read_manifest(run.manifest, run.classes)
    else:
        dataset = _load_dataset(run.data, recipe, callbacks.progress, run.keep_splits)
    model = build_model(first_recipe(recipe), dataset, callbacks.progress)
    # Its bundle is written again.
    run.mark_incomplete()
    return _train(run, dataset, model, callbacks, resume=True, report=report, devices=devices, machines=machines)


def suggest_learning_rate(
    data: Path, recipe: Recipe, figure: Path, progress: Progress = no_progress
) -> RangeTestResult:
    """Run a learning-rate range test on the training images, and draw its curve.

    Raises:
        AssayError: as for `train_classifier`.
    """
    dataset = _load_dataset(data, recipe, progress)
    network, spec = build_model(recipe, dataset, progress)
    images = labelled_pixels(dataset, "train", spec, recipe)
    return find_learning_rate(network, recipe, images, plot=figure, progress=progress)


def _load_dataset(data: Path, recipe: Recipe, progress: Progress, keep_splits: Path | None = None) -> Dataset:
    return load_split_dataset(
        data,
        recipe.data,
        recipe.train.seed,
        like=None if keep_splits is None else Run.open(keep_splits).splits(),
        value_range=recipe.preprocess.value_range,
        keep_bytes=_KEPT_BYTES,
        progress=progress,
    )


def _train(
    run: Run,
    dataset: Dataset,
    model: tuple[Network, PreprocessSpec],
    callbacks: TrainCallbacks,
    *,
    resume: bool = False,
    report: bool = True,
    started: float | None = None,
    devices: int | None = None,
    machines: Nodes | RemoteProcesses | None = None,
) -> TrainResult:
    recipe = run.recipe()
    if devices is not None:
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"devices": devices})})
    profile = callbacks.profile or Profile()
    with raise_on_interrupt(run.folder):
        if not run.manifest.exists():
            if dataset.unreadable:
                write_csv(
                    run.unreadable, ("path", "reason"), [(str(file.path), file.reason) for file in dataset.unreadable]
                )
            run.store_classes(dataset.classes)
            write_manifest(dataset, run.manifest)
        if callbacks.on_data is not None:
            callbacks.on_data(dataset)
        if recipe.train.strategy == "auto":
            trained = train_auto(run, dataset, model, recipe, callbacks, report=report, started=started)
        else:
            trained = train_fixed(run, dataset, model, recipe, callbacks, resume=resume, machines=machines)
        if callbacks.on_history is not None and trained.history.metrics:
            callbacks.on_history(trained.history)
        with profile.during("writing and evaluating the bundle"):
            evaluated = evaluate_bundle(
                run,
                dataset,
                trained.model,
                trained.calibration or write_calibrated_bundle(run, dataset, trained.model),
                cached=trained.cached,
                report=report,
                progress=callbacks.progress,
            )
        if report:
            with profile.during("report"):
                write_run_report(
                    run,
                    dataset,
                    evaluated,
                    trained.history,
                    callbacks.progress,
                    learning_curve=trained.learning_curve,
                    candidates=trained.candidates,
                )
        if callbacks.profile is not None:
            write_json(run.folder / "profile.json", profile.to_dict())
        run.mark_complete()
    return TrainResult(run, dataset.without_content(), trained.history, evaluated, trained.candidates)

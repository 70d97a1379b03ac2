"""Train a classifier from a folder of images: split, train, write the bundle, evaluate it.

Every step stores its result in the run folder, so that an interrupted run can be resumed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from json import dumps
from pathlib import Path
from typing import get_args

from assay.core.errors import UsageError
from assay.core.progress import Progress, no_progress
from assay.core.tables import write_csv, write_json
from assay.data import Dataset, DataSource, as_path, read_manifest, write_manifest
from assay.data.dataset import Split
from assay.data.loading import load_split_dataset
from assay.evaluation import Metrics
from assay.pipeline.build_model import InitialModel, build_model
from assay.pipeline.cached_embeddings import FrozenBackbone, labelled_pixels
from assay.pipeline.evaluate import CONFUSION_FILE, evaluation_html
from assay.pipeline.export_and_evaluate import export_and_evaluate
from assay.pipeline.report import SPLIT_TITLES, write_run_report
from assay.pipeline.run_folder import Run, check_unused, result_folder
from assay.recipe import Layout, Recipe, load_recipe
from assay.training import EpochListener, History, RangeTestResult, find_learning_rate, fit
from assay.training.callbacks import Profile
from assay.training.lightning_module import raise_on_interrupt


@dataclass(frozen=True)
class TrainResult:
    """What a training run gave."""

    run: Run
    dataset: Dataset
    history: History
    metrics: Mapping[Split, Metrics]
    """Figures of the bundle on validation and, if there is one, test."""

    @property
    def verdict(self) -> Split:
        """The part whose figures count: test, or validation where there is no test."""
        return "test" if "test" in self.metrics else "val"

    def _repr_html_(self) -> str:
        return evaluation_html(
            f"{self.run.bundle.name} of {self.run.folder.name}, judged on its {SPLIT_TITLES[self.verdict]} photos",
            self.metrics[self.verdict],
            (self.run.evaluation(self.verdict) / CONFUSION_FILE, self.run.folder / "curves.png"),
        )


@dataclass(frozen=True)
class TrainCallbacks:
    """Who wants to know how a run goes on; nobody by default."""

    progress: Progress = no_progress
    on_data: Callable[[Dataset], None] | None = None
    """Called when the photos are read and shared out."""
    on_epoch: EpochListener | None = None
    """Called after every epoch."""
    on_history: Callable[[History], None] | None = None
    """Called when the last epoch is over."""
    profile: Profile | None = None
    """Told where the time goes, which is then written to `profile.json` in the run."""


def train_classifier(
    data: DataSource,
    recipe: Recipe,
    folder: Path,
    watcher: TrainCallbacks | None = None,
    *,
    like: Path | None = None,
) -> TrainResult:
    """Train, write and judge a classifier.

    Args:
        data: what `assay.data.loading` reads: class folders, parts, a manifest, arrays; or rows of the
            `datasets` library, which are written as files beside `folder`.
        recipe: every setting.
        folder: the run's folder, new or empty.
        watcher: told how things go on.
        like: an earlier run, whose photos keep their parts; none: all are shared out anew.

    Raises:
        AssayError: the data, the recipe or the weights do not allow it; the sentence says why.
        TrainingInterruptedError: Ctrl-C; the run can be resumed.
    """
    watcher = watcher or TrainCallbacks()
    check_unused(folder)
    source = as_path(data, folder.parent, watcher.progress)
    dataset = _prepare_dataset(source, recipe, watcher.progress, like)
    # Weights that cannot be had must not leave a run behind.
    start = build_model(recipe, dataset, watcher.progress)
    return _run_training(Run.create(folder, source, recipe, like), dataset, start, watcher, resume=False)


def train_on_splits(
    dataset: Dataset,
    recipe: Recipe,
    folder: Path,
    watcher: TrainCallbacks | None = None,
    *,
    report: bool = True,
) -> TrainResult:
    """Train, write and judge a classifier on photos that are shared out already.

    Args:
        dataset: every photo has its part.
        recipe: every setting; how it would share photos out is not heeded.
        folder: the run's folder, new or empty.
        watcher: told how things go on.
        report: whether the report is written.

    Raises:
        AssayError: the photos, the recipe or the weights do not allow it.
        TrainingInterruptedError: Ctrl-C; the run can be resumed.
    """
    watcher = watcher or TrainCallbacks()
    check_unused(folder)
    start = build_model(recipe, dataset, watcher.progress)
    run = Run.create(folder, dataset.root, recipe)
    return _run_training(run, dataset, start, watcher, resume=False, report=report)


def resume_training(folder: Path, watcher: TrainCallbacks | None = None, *, report: bool = True) -> TrainResult:
    """Go on with a run that was stopped, to the result it would have had.

    Args:
        folder: of the run.
        watcher: told how things go on.
        report: as for `train_on_splits`.

    Raises:
        AssayError: the folder holds no run, or its photos have gone.
        TrainingInterruptedError: Ctrl-C; the run can be resumed again.
    """
    watcher = watcher or TrainCallbacks()
    run = Run.open(folder)
    recipe = run.recipe()
    if run.manifest.exists():
        dataset = read_manifest(run.manifest, run.classes)
    else:
        dataset = _prepare_dataset(run.data, recipe, watcher.progress, run.like)
    start = build_model(recipe, dataset, watcher.progress)
    return _run_training(run, dataset, start, watcher, resume=True, report=report)


def suggest_learning_rate(
    data: Path, recipe: Recipe, picture: Path, progress: Progress = no_progress
) -> RangeTestResult:
    """Run a learning-rate range test on the photos that would teach, and draw its curve.

    Raises:
        AssayError: as for `train_classifier`.
    """
    dataset = _prepare_dataset(data, recipe, progress)
    network, spec = build_model(recipe, dataset, progress)
    return find_learning_rate(
        network, recipe, labelled_pixels(dataset, "train", spec, recipe), plot=picture, progress=progress
    )


_KEPT_BYTES = 128 << 20
"""Files that the scan read, kept in memory for the rest of a run: a small data set is read once."""


def _prepare_dataset(data: Path, recipe: Recipe, progress: Progress, like: Path | None = None) -> Dataset:
    parts = None if like is None else Run.open(like).parts()
    return load_split_dataset(
        data,
        recipe.data,
        recipe.train.seed,
        like=parts,
        value_range=recipe.preprocess.value_range,
        keep_bytes=_KEPT_BYTES,
        progress=progress,
    )


def _run_training(
    run: Run,
    dataset: Dataset,
    start: InitialModel,
    watcher: TrainCallbacks,
    *,
    resume: bool,
    report: bool = True,
) -> TrainResult:
    with raise_on_interrupt(run.folder):
        return _finish_training(run, dataset, start, watcher, resume=resume, report=report)


def _finish_training(
    run: Run,
    dataset: Dataset,
    start: InitialModel,
    watcher: TrainCallbacks,
    *,
    resume: bool,
    report: bool,
) -> TrainResult:
    recipe, (network, spec) = run.recipe(), start
    if not run.manifest.exists():
        _write_unreadable(run.unreadable, dataset)
        run.remember(dataset.classes)
        write_manifest(dataset, run.manifest)
    if watcher.on_data is not None:
        watcher.on_data(dataset)
    train_split = labelled_pixels(dataset, "train", spec, recipe)
    val_split = labelled_pixels(dataset, "val", spec)
    frozen = FrozenBackbone(network, spec, recipe, dataset, watcher.progress)
    history = fit(
        network,
        recipe,
        train_split,
        val_split,
        run=run.folder,
        resume=resume,
        embeddings=frozen.embedded,
        progress=watcher.progress,
        on_epoch=watcher.on_epoch,
        profile=watcher.profile,
    )
    if watcher.on_history is not None:
        watcher.on_history(history)
    profile = watcher.profile or Profile()
    with profile.during("writing and judging the bundle"):
        metrics = export_and_evaluate(run, dataset, network, recipe, spec, report=report, progress=watcher.progress)
    result = TrainResult(run, dataset, history, metrics)
    if report:
        with profile.during("report"):
            write_run_report(run, dataset, result.verdict, history, watcher.progress)
    if watcher.profile is not None:
        write_json(run.folder / "profile.json", profile.to_dict())
    run.finish()
    return replace(result, dataset=dataset.without_content())


def _write_unreadable(path: Path, dataset: Dataset) -> None:
    if not dataset.unreadable:
        return
    write_csv(path, ("path", "reason"), [(str(one.path), one.reason) for one in dataset.unreadable])


def train(
    data: DataSource,
    recipe: str | Path | Recipe = "default",
    run: str | Path | None = None,
    *,
    like: str | Path | None = None,
    layout: Layout | None = None,
    watcher: TrainCallbacks | None = None,
    **settings: object,
) -> TrainResult:
    """Train a classifier, judge it and write its run folder; what `assay train` does.

    Args:
        data: class folders, train/val/test folders, a manifest, an array file; or a `datasets.Dataset` or
            `DatasetDict`, which is written as files beside the run.
        recipe: a recipe's name, a YAML file, or a recipe.
        run: folder for the results; none: the next of `runs/RECIPE-1`, `runs/RECIPE-2`, ...
        like: an earlier run, whose photos keep their parts.
        layout: what the folders in a folder are: `classes`, `splits` (train/val/test that hold the classes),
            or `auto`: their names decide. None: as the recipe says.
        watcher: told how things go on; none: nobody is.
        settings: values to change in a recipe that is named; two underscores stand for the point, as in
            `train__epochs=5`.

    Returns:
        The run, its figures and where the bundle is: `result.run.bundle`.

    Raises:
        UsageError: there is no such recipe or setting, the run exists already, or the data is of no such
            kind.
        AssayError: the photos, the computer or the weights do not allow it; the sentence says why.
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
    earlier = None if like is None else Path(like)
    named = None if run is None else Path(run)
    with result_folder(named, Path("runs"), chosen.name) as folder:
        return train_classifier(data, chosen, folder, watcher, like=earlier)

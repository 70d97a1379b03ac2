"""From a folder of photos to a run folder: split, train, write the bundle, judge it.

Every step leaves its result in the run, so that a run that was stopped goes on where it was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from assay.data import Dataset, DataSource, as_path, read_manifest, write_manifest
from assay.data.prepare import prepare
from assay.data.samples import Split
from assay.evaluation import Metrics
from assay.progress import Progress, silent
from assay.recipe import Recipe
from assay.tables import write_csv, write_json
from assay.training import History, OnEpoch, RateFinding, find_learning_rate, fit
from assay.training.profile import Profile
from assay.training.trainer import interruptible
from assay.workflow.features import FrozenBackbone, labelled
from assay.workflow.origin import PARTS
from assay.workflow.report import report_run
from assay.workflow.run import Run, refuse_used
from assay.workflow.ship import ship
from assay.workflow.shown import CONFUSION, show_evaluation
from assay.workflow.start import Start, starting_network


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
        return show_evaluation(
            f"{self.run.bundle.name} of {self.run.folder.name}, judged on its {PARTS[self.verdict]} photos",
            self.metrics[self.verdict],
            (self.run.evaluation(self.verdict) / CONFUSION, self.run.folder / "curves.png"),
        )


@dataclass(frozen=True)
class Watcher:
    """Who wants to know how a run goes on; nobody by default."""

    progress: Progress = silent
    on_data: Callable[[Dataset], None] | None = None
    """Called when the photos are read and shared out."""
    on_epoch: OnEpoch | None = None
    """Called after every epoch."""
    on_history: Callable[[History], None] | None = None
    """Called when the last epoch is over."""
    profile: Profile | None = None
    """Told where the time goes, which is then written to `profile.json` in the run."""


def train_classifier(
    data: DataSource,
    recipe: Recipe,
    folder: Path,
    watcher: Watcher | None = None,
    *,
    like: Path | None = None,
) -> TrainResult:
    """Train, write and judge a classifier.

    Args:
        data: what `assay.data.scan` reads: class folders, parts, a manifest, arrays; or rows of the
            `datasets` library, which are written as files beside `folder`.
        recipe: every setting.
        folder: the run's folder, new or empty.
        watcher: told how things go on.
        like: an earlier run, whose photos keep their parts; none: all are shared out anew.

    Raises:
        AssayError: the data, the recipe or the weights do not allow it; the sentence says why.
        InterruptionError: Ctrl-C; the run can be resumed.
    """
    watcher = watcher or Watcher()
    refuse_used(folder)
    source = as_path(data, folder.parent, watcher.progress)
    dataset = _scan(source, recipe, watcher.progress, like)
    # Weights that cannot be had must not leave a run behind.
    start = starting_network(recipe, dataset, watcher.progress)
    return _go_on(Run.create(folder, source, recipe, like), dataset, start, watcher, resume=False)


def train_on(
    dataset: Dataset,
    recipe: Recipe,
    folder: Path,
    watcher: Watcher | None = None,
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
        InterruptionError: Ctrl-C; the run can be resumed.
    """
    watcher = watcher or Watcher()
    refuse_used(folder)
    start = starting_network(recipe, dataset, watcher.progress)
    run = Run.create(folder, dataset.root, recipe)
    return _go_on(run, dataset, start, watcher, resume=False, report=report)


def resume_training(folder: Path, watcher: Watcher | None = None, *, report: bool = True) -> TrainResult:
    """Go on with a run that was stopped, to the result it would have had.

    Args:
        folder: of the run.
        watcher: told how things go on.
        report: as for `train_on`.

    Raises:
        AssayError: the folder holds no run, or its photos have gone.
        InterruptionError: Ctrl-C; the run can be resumed again.
    """
    watcher = watcher or Watcher()
    run = Run.open(folder)
    recipe = run.recipe()
    if run.manifest.exists():
        dataset = read_manifest(run.manifest, run.classes)
    else:
        dataset = _scan(run.data, recipe, watcher.progress, run.like)
    start = starting_network(recipe, dataset, watcher.progress)
    return _go_on(run, dataset, start, watcher, resume=True, report=report)


def suggest_learning_rate(
    data: Path, recipe: Recipe, picture: Path, progress: Progress = silent
) -> RateFinding:
    """Run a learning-rate range test on the photos that would teach, and draw its curve.

    Raises:
        AssayError: as for `train_classifier`.
    """
    dataset = _scan(data, recipe, progress)
    network, spec = starting_network(recipe, dataset, progress)
    return find_learning_rate(
        network, recipe, labelled(dataset, "train", spec, recipe), picture=picture, progress=progress
    )


def _scan(data: Path, recipe: Recipe, progress: Progress, like: Path | None = None) -> Dataset:
    parts = None if like is None else Run.open(like).parts()
    return prepare(
        data,
        recipe.data,
        recipe.train.seed,
        like=parts,
        value_range=recipe.preprocess.value_range,
        progress=progress,
    )


def _go_on(
    run: Run,
    dataset: Dataset,
    start: Start,
    watcher: Watcher,
    *,
    resume: bool,
    report: bool = True,
) -> TrainResult:
    with interruptible(run.folder):
        return _complete(run, dataset, start, watcher, resume=resume, report=report)


def _complete(
    run: Run,
    dataset: Dataset,
    start: Start,
    watcher: Watcher,
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
    train_split = labelled(dataset, "train", spec, recipe)
    val_split = labelled(dataset, "val", spec)
    frozen = FrozenBackbone(network, spec, recipe, dataset, watcher.progress)
    history = fit(
        network,
        recipe,
        train_split,
        val_split,
        run=run.folder,
        resume=resume,
        embedded=frozen.embedded,
        progress=watcher.progress,
        on_epoch=watcher.on_epoch,
        profile=watcher.profile,
    )
    if watcher.on_history is not None:
        watcher.on_history(history)
    profile = watcher.profile or Profile()
    with profile.during("writing and judging the bundle"):
        metrics = ship(run, dataset, network, recipe, spec, report=report, progress=watcher.progress)
    result = TrainResult(run, dataset, history, metrics)
    if report:
        with profile.during("report"):
            report_run(run, dataset, result.verdict, history, watcher.progress)
    if watcher.profile is not None:
        write_json(run.folder / "profile.json", profile.to_dict())
    run.finish()
    return result


def _write_unreadable(path: Path, dataset: Dataset) -> None:
    if not dataset.unreadable:
        return
    write_csv(path, ("path", "reason"), [(str(one.path), one.reason) for one in dataset.unreadable])

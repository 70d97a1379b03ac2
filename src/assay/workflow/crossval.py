"""Cross-validation: every photo is judged once a repeat, by a classifier that has never seen it.

k folds that keep groups whole and classes in proportion, as often as wanted with other seeds; each fold is an
ordinary run with its bundle. What a single split of few photos leaves to luck shows as a spread.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assay.data import Dataset, Fold, folds
from assay.data.prepare import read_grouped
from assay.errors import AssayError, UsageError
from assay.files import write_text
from assay.inference import cpu_count
from assay.progress import Progress
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.training.probe import on_features
from assay.workflow.crossval_table import CrossvalResult, FoldRun, write_results
from assay.workflow.features import FrozenBackbone
from assay.workflow.figures import has_figures, read_figures
from assay.workflow.lanes import complete_runs, default_jobs, threads_per_run
from assay.workflow.run import Run
from assay.workflow.series import RunTask, Series, SeriesWatcher, refuse_used_series
from assay.workflow.start import starting_network

_SEEDS = 2**32


@dataclass(frozen=True)
class Crossval:
    """A folder of folds."""

    series: Series

    @classmethod
    def create(
        cls, folder: Path, data: Path, recipe: Recipe, dataset: Dataset, shape: tuple[int, int]
    ) -> "Crossval":
        """Begin in a new or empty folder; `shape` is the number of folds and of repeats."""
        write_text(folder / "recipe.yaml", dump_recipe(recipe))
        values = {
            "data": str(data.resolve()),
            "folds": shape[0],
            "repeats": shape[1],
            "threads": threads_per_run(),
        }
        return cls(Series.create(folder, "crossval", dataset, values))

    @property
    def folds(self) -> int:
        """Parts that every repeat cuts the photos into."""
        return int(self.series.values()["folds"])

    @property
    def repeats(self) -> int:
        """How often all photos are shared out anew."""
        return int(self.series.values()["repeats"])

    @property
    def threads(self) -> int:
        """Threads of every run."""
        return int(self.series.values()["threads"])

    def recipe(self, repeat: int = 1) -> Recipe:
        """Return the settings of a repeat, counted from 1: the seed grows by one from repeat to repeat."""
        recipe = load_recipe(self.series.folder / "recipe.yaml")
        changes: dict[str, int] = {"seed": (recipe.train.seed + repeat - 1) % _SEEDS}
        if recipe.train.workers is None and self.threads < cpu_count():
            # Runs side by side share the processors; the number of workers changes no result.
            changes["workers"] = self.threads
        return recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})

    def run(self, repeat: int, fold: int) -> Run:
        """Return the run of a fold, both counted from 1."""
        return Run(self.series.folder / f"repeat-{repeat}" / f"fold-{fold}")

    def name(self, repeat: int, fold: int) -> str:
        """Return what people read for a fold."""
        place = f"fold {fold}/{self.folds}"
        return place if self.repeats == 1 else f"repeat {repeat}/{self.repeats} {place}"


def cross_validate(
    data: Path,
    recipe: Recipe,
    folder: Path,
    *,
    folds: int = 5,
    repeats: int = 1,
    jobs: int | None = None,
    watcher: SeriesWatcher | None = None,
) -> CrossvalResult:
    """Train and judge a classifier for every fold.

    Parts that the data brings are not heeded: every photo is in the test part of one fold. The shares of
    `data.split` decide how much of the rest chooses.

    Args:
        data: what `assay.data.scan` reads.
        recipe: every setting.
        folder: where the runs and the tables go, new or empty.
        folds: parts that the photos are cut into, 2 or more.
        repeats: how often, each with another seed, 1 or more.
        jobs: runs at a time; none: as many as processors and memory allow. Never changes a result. Above 1, a
            script needs the usual `if __name__ == "__main__":`.
        watcher: told how things go on.

    Raises:
        AssayError: the data, the recipe or the weights do not allow it.
        UsageError: the numbers make no sense, or the folder is in use.
        InterruptionError: Ctrl-C; `resume_crossval` goes on.
    """
    watcher = watcher or SeriesWatcher()
    if repeats < 1:
        raise UsageError(f"--repeats is {repeats}: give 1 or more")
    refuse_used_series(folder, "crossval")
    dataset = read_grouped(data, recipe.data, progress=watcher.progress)
    # What cannot work must not leave a folder behind.
    _shared_out(dataset, recipe, folds)
    starting_network(recipe, dataset, watcher.progress)
    crossval = Crossval.create(folder, data, recipe, dataset, (folds, repeats))
    return _go_on(crossval, dataset, jobs, watcher)


def resume_crossval(
    folder: Path, *, jobs: int | None = None, watcher: SeriesWatcher | None = None
) -> CrossvalResult:
    """Go on with a cross-validation that was stopped, to the tables it would have had.

    Raises:
        AssayError: the folder holds none, or its photos have gone.
        InterruptionError: Ctrl-C.
    """
    crossval = Crossval(Series.open(folder, "crossval"))
    return _go_on(crossval, crossval.series.dataset(), jobs, watcher or SeriesWatcher())


def _go_on(crossval: Crossval, dataset: Dataset, jobs: int | None, watcher: SeriesWatcher) -> CrossvalResult:
    series = crossval.series
    with series.at_work():
        if watcher.on_data is not None:
            watcher.on_data(dataset)
        threads = crossval.threads
        tasks = _tasks(crossval, dataset, watcher.progress)
        complete_runs(tasks, default_jobs(threads) if jobs is None else jobs, threads, watcher)
        result = write_results(series.folder, dataset, crossval.recipe(), _runs(crossval))
        series.finish()
    return result


def _tasks(crossval: Crossval, dataset: Dataset, progress: Progress) -> Iterator[RunTask]:
    for repeat in range(1, crossval.repeats + 1):
        recipe = crossval.recipe(repeat)
        embedded = False
        for number, fold in enumerate(_shared_out(dataset, recipe, crossval.folds), start=1):
            run = crossval.run(repeat, number)
            if not embedded and on_features(recipe) and not has_figures(run):
                # Here, once, and not in every fold's process: they find all of it kept.
                network, spec = starting_network(recipe, dataset, progress)
                FrozenBackbone(network, spec, recipe, dataset, progress).keep_all()
                embedded = True
            yield RunTask(
                name=crossval.name(repeat, number),
                folder=run.folder,
                dataset=dataset.with_samples([*fold.train, *fold.val, *fold.test]),
                recipe=recipe,
            )


def _shared_out(dataset: Dataset, recipe: Recipe, count: int) -> list[Fold]:
    split = recipe.data.split
    share = split.val / (split.train + split.val)
    return folds(dataset.samples, count, recipe.train.seed, val=share, method=split.method)


def _runs(crossval: Crossval) -> list[FoldRun]:
    runs = []
    for repeat in range(1, crossval.repeats + 1):
        for fold in range(1, crossval.folds + 1):
            run = crossval.run(repeat, fold)
            if not has_figures(run):
                raise AssayError(f"{run.folder} is not done: go on with --resume")
            runs.append(FoldRun(repeat, fold, run, read_figures(run)))
    return runs

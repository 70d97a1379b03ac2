"""Cross-validation: every photo is judged once a repeat, by a classifier that has never been trained on it.

k folds that keep groups whole and classes in proportion, as often as wanted with other seeds; each fold is an
ordinary run with its bundle. What a single split of few photos leaves to luck shows as a spread.
"""

from pathlib import Path

from assay.data import Dataset, as_path
from assay.data.prepare import read_grouped
from assay.errors import UsageError
from assay.files import write_text
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.workflow.crossval_table import CrossvalResult, write_results
from assay.workflow.lanes import complete_runs, default_jobs, threads_per_run
from assay.workflow.resampling import Resampling
from assay.workflow.series import Series, SeriesWatcher, refuse_used_series
from assay.workflow.start import starting_network

_RECIPE = "recipe.yaml"


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

    A test part that the data brings stays the test of every fold; each of the other photos is then a
    validation photo of one fold. Without one, every photo is a test photo of one fold, and the shares of
    `data.split` decide how much of the rest validates. Other parts that the data brings are ignored.

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
    plan = _plan(folds, repeats)
    refuse_used_series(folder, "crossval")
    data = as_path(data, folder.parent, watcher.progress)
    dataset = read_grouped(
        data, recipe.data, value_range=recipe.preprocess.value_range, progress=watcher.progress
    )
    # What cannot work must not leave a folder behind.
    starting_network(recipe, plan.first_split(dataset, recipe), watcher.progress)
    write_text(folder / _RECIPE, dump_recipe(recipe))
    values = {"data": str(data.resolve()), "threads": threads_per_run(), **plan.to_dict()}
    series = Series.create(folder, "crossval", dataset, values)
    return _go_on(series, dataset, jobs, watcher)


def resume_crossval(
    folder: Path, *, jobs: int | None = None, watcher: SeriesWatcher | None = None
) -> CrossvalResult:
    """Go on with a cross-validation that was stopped, to the tables it would have had.

    Raises:
        AssayError: the folder holds none, or its photos have gone.
        InterruptionError: Ctrl-C.
    """
    series = Series.open(folder, "crossval")
    return _go_on(series, series.dataset(), jobs, watcher or SeriesWatcher())


def _plan(folds: int, repeats: int) -> Resampling:
    if folds < 2:
        raise UsageError(f"cross-validation needs 2 folds or more, not {folds}")
    return Resampling(folds, repeats)


def _go_on(series: Series, dataset: Dataset, jobs: int | None, watcher: SeriesWatcher) -> CrossvalResult:
    recipe = load_recipe(series.folder / _RECIPE)
    with series.at_work():
        plan, threads = Resampling.of(series.values()), int(series.values()["threads"])
        if watcher.on_data is not None:
            watcher.on_data(plan.described(dataset, recipe))
        tasks = plan.tasks(series.folder, "", dataset, recipe, threads=threads, progress=watcher.progress)
        complete_runs(tasks, default_jobs(threads) if jobs is None else jobs, threads, watcher)
        result = write_results(series.folder, dataset, recipe, plan.finished(series.folder))
        series.finish()
    return result

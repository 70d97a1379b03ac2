"""Several recipes trained on the same photos in the same parts, and one table of them all.

Every run of a variant is an ordinary run with its bundle; with folds, the folder of a variant is that of a
cross-validation.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from assay.bundle import Bundle
from assay.data import Dataset, as_path
from assay.data.prepare import read_grouped
from assay.errors import AssayError, UsageError
from assay.files import write_text
from assay.progress import Progress
from assay.recipe import Recipe
from assay.recipe.variants import dump_variants, parse_variants, refuse_different_photos
from assay.training import read_metrics
from assay.workflow.compare import rank, read_contestant
from assay.workflow.crossval_table import spreads_of, write_results
from assay.workflow.lanes import complete_runs, default_jobs, threads_per_run
from assay.workflow.resampling import Resampling
from assay.workflow.series import RunTask, Series, SeriesWatcher, refuse_used_series
from assay.workflow.start import starting_network
from assay.workflow.variants_table import Variant, VariantsResult, write_tables

_RECIPES = "recipes.yaml"


def train_variants(
    data: Path,
    recipes: Mapping[str, Recipe],
    folder: Path,
    *,
    folds: int = 0,
    repeats: int = 1,
    jobs: int | None = None,
    watcher: SeriesWatcher | None = None,
) -> VariantsResult:
    """Train and judge every variant on the same parts of the photos.

    Args:
        data: what `assay.data.scan` reads.
        recipes: two or more by name, with the same classes, split and seed.
        folder: where the runs and the tables go, new or empty.
        folds: 2 or more: every variant is cross-validated, as by `cross_validate`; 0: one split a seed.
        repeats: how often, each with another seed, 1 or more.
        jobs: runs at a time; none: as many as processors and memory allow. Never changes a result.
        watcher: told how things go on.

    Raises:
        AssayError: the data, a recipe or its weights do not allow it.
        UsageError: the numbers make no sense, the recipes would see different photos, or the folder is
            in use.
        InterruptionError: Ctrl-C; `resume_variants` goes on.
    """
    watcher = watcher or SeriesWatcher()
    plan = Resampling(folds, repeats)
    if len(recipes) < 2:
        raise UsageError("give two variants or more to compare")
    refuse_different_photos(dict(recipes))
    refuse_used_series(folder, "variants")
    one = next(iter(recipes.values()))
    data = as_path(data, folder.parent, watcher.progress)
    dataset = read_grouped(data, one.data, value_range=one.preprocess.value_range, progress=watcher.progress)
    split = plan.first_split(dataset, one)
    for name, recipe in recipes.items():
        # What cannot work must be known before the first hours are spent.
        _try(name, recipe, split, watcher)
    write_text(folder / _RECIPES, dump_variants(dict(recipes)))
    values = {"data": str(data.resolve()), "threads": threads_per_run(), **plan.to_dict()}
    return _go_on(Series.create(folder, "variants", dataset, values), dataset, jobs, watcher)


def resume_variants(
    folder: Path, *, jobs: int | None = None, watcher: SeriesWatcher | None = None
) -> VariantsResult:
    """Go on where `train_variants` was stopped, to the table it would have given.

    Raises:
        AssayError: the folder holds none, or its photos have gone.
        InterruptionError: Ctrl-C.
    """
    series = Series.open(folder, "variants")
    return _go_on(series, series.dataset(), jobs, watcher or SeriesWatcher())


def _try(name: str, recipe: Recipe, dataset: Dataset, watcher: SeriesWatcher) -> None:
    try:
        starting_network(recipe, dataset, watcher.progress)
    except AssayError as error:
        kind = UsageError if isinstance(error, UsageError) else AssayError
        raise kind(f"{name}: {error}") from error


def _go_on(series: Series, dataset: Dataset, jobs: int | None, watcher: SeriesWatcher) -> VariantsResult:
    values = series.values()
    plan, threads = Resampling.of(values), int(values["threads"])
    file = series.folder / _RECIPES
    recipes = parse_variants(file.read_text(encoding="utf-8"), str(file))
    with series.at_work():
        if watcher.on_data is not None:
            watcher.on_data(plan.described(dataset, next(iter(recipes.values()))))
        tasks = _tasks(series.folder, plan, dataset, recipes, threads=threads, progress=watcher.progress)
        complete_runs(tasks, default_jobs(threads) if jobs is None else jobs, threads, watcher)
        result = _result(series.folder, plan, dataset, recipes)
        write_tables(result)
        series.finish()
    return result


def _tasks(
    folder: Path,
    plan: Resampling,
    dataset: Dataset,
    recipes: Mapping[str, Recipe],
    *,
    threads: int,
    progress: Progress,
) -> Iterator[RunTask]:
    for name, recipe in recipes.items():
        yield from plan.tasks(folder / name, name, dataset, recipe, threads=threads, progress=progress)


def _result(
    folder: Path, plan: Resampling, dataset: Dataset, recipes: Mapping[str, Recipe]
) -> VariantsResult:
    variants, contestants = [], []
    for name, recipe in recipes.items():
        place = folder / name
        runs = plan.finished(place)
        if plan.folds:
            write_results(place, dataset, recipe, runs)
        judged = place if plan.folds else runs[0].run.folder
        contestants.append(read_contestant(judged, recipe.data.positive, name=name))
        weights = Bundle.open(runs[0].run.bundle).weights()
        variants.append(
            Variant(
                name=name,
                description=recipe.description,
                folder=place,
                parameters=sum(array.size for key, array in weights.items() if _learnt(key)),
                epochs=tuple(len(read_metrics(one.run.folder / "metrics.csv")) for one in runs),
                runs=tuple(runs),
                spreads=spreads_of(runs),
            )
        )
    positive = contestants[0].metrics.positive
    return VariantsResult(folder, dataset, plan, positive, tuple(variants), rank(contestants))


def _learnt(name: str) -> bool:
    """Whether a tensor of a network is parameters, not statistics of the pixels or of batch norm."""
    return name.rpartition(".")[2] not in {
        "mean",
        "std",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }

"""Cross-validation, and training of several recipes (variants) on the same splits."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from assay.bundle import Bundle
from assay.core.errors import AssayError, UsageError
from assay.core.files import write_text
from assay.core.progress import Progress
from assay.data import Dataset, as_path
from assay.data.loading import load_grouped_dataset
from assay.pipeline.build_model import build_model
from assay.pipeline.compare import rank, read_run_result
from assay.pipeline.experiment_folder import Experiment, ExperimentCallbacks, RunTask, check_unused_experiment
from assay.pipeline.experiment_tables import (
    CrossvalResult,
    Variant,
    VariantsResult,
    summarize_metrics,
    write_crossval_tables,
    write_variants_tables,
)
from assay.pipeline.process_pool import complete_runs, default_jobs, threads_per_run
from assay.pipeline.resampling import Resampling
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.recipe.variants import check_same_data, dump_variants, parse_variants
from assay.training import read_metrics

_RECIPE_FILE = "recipe.yaml"


def cross_validate(
    data: Path,
    recipe: Recipe,
    folder: Path,
    *,
    folds: int = 5,
    repeats: int = 1,
    jobs: int | None = None,
    watcher: ExperimentCallbacks | None = None,
) -> CrossvalResult:
    """Train and judge a classifier for every fold.

    A test part that the data brings stays the test of every fold; each of the other photos is then a
    validation photo of one fold. Without one, every photo is a test photo of one fold, and the shares of
    `data.split` decide how much of the rest validates. Other parts that the data brings are ignored.

    Args:
        data: what `assay.data.loading` reads.
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
        TrainingInterruptedError: Ctrl-C; `resume_crossval` goes on.
    """
    watcher = watcher or ExperimentCallbacks()
    plan = _crossval_plan(folds, repeats)
    check_unused_experiment(folder, "crossval")
    data = as_path(data, folder.parent, watcher.progress)
    dataset = load_grouped_dataset(
        data, recipe.data, value_range=recipe.preprocess.value_range, progress=watcher.progress
    )
    # What cannot work must not leave a folder behind.
    build_model(recipe, plan.first_split(dataset, recipe), watcher.progress)
    write_text(folder / _RECIPE_FILE, dump_recipe(recipe))
    values = {"data": str(data.resolve()), "threads": threads_per_run(), **plan.to_dict()}
    series = Experiment.create(folder, "crossval", dataset, values)
    return _run_crossval(series, dataset, jobs, watcher)


def resume_crossval(
    folder: Path, *, jobs: int | None = None, watcher: ExperimentCallbacks | None = None
) -> CrossvalResult:
    """Go on with a cross-validation that was stopped, to the tables it would have had.

    Raises:
        AssayError: the folder holds none, or its photos have gone.
        TrainingInterruptedError: Ctrl-C.
    """
    series = Experiment.open(folder, "crossval")
    return _run_crossval(series, series.dataset(), jobs, watcher or ExperimentCallbacks())


def _crossval_plan(folds: int, repeats: int) -> Resampling:
    if folds < 2:
        raise UsageError(f"cross-validation needs 2 folds or more, not {folds}")
    return Resampling(folds, repeats)


def _run_crossval(
    series: Experiment, dataset: Dataset, jobs: int | None, watcher: ExperimentCallbacks
) -> CrossvalResult:
    recipe = load_recipe(series.folder / _RECIPE_FILE)
    with series.at_work():
        plan, threads = Resampling.of(series.values()), int(series.values()["threads"])
        if watcher.on_data is not None:
            watcher.on_data(plan.described(dataset, recipe))
        tasks = plan.tasks(series.folder, "", dataset, recipe, threads=threads, progress=watcher.progress)
        complete_runs(tasks, default_jobs(threads) if jobs is None else jobs, threads, watcher)
        result = write_crossval_tables(series.folder, dataset, recipe, plan.finished(series.folder))
        series.finish()
    return result


_RECIPES_FILE = "recipes.yaml"


def train_variants(
    data: Path,
    recipes: Mapping[str, Recipe],
    folder: Path,
    *,
    folds: int = 0,
    repeats: int = 1,
    jobs: int | None = None,
    watcher: ExperimentCallbacks | None = None,
) -> VariantsResult:
    """Train and judge every variant on the same parts of the photos.

    Args:
        data: what `assay.data.loading` reads.
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
        TrainingInterruptedError: Ctrl-C; `resume_variants` goes on.
    """
    watcher = watcher or ExperimentCallbacks()
    plan = Resampling(folds, repeats)
    if len(recipes) < 2:
        raise UsageError("give two variants or more to compare")
    check_same_data(dict(recipes))
    check_unused_experiment(folder, "variants")
    one = next(iter(recipes.values()))
    data = as_path(data, folder.parent, watcher.progress)
    dataset = load_grouped_dataset(data, one.data, value_range=one.preprocess.value_range, progress=watcher.progress)
    split = plan.first_split(dataset, one)
    for name, recipe in recipes.items():
        # What cannot work must be known before the first hours are spent.
        _check_variant(name, recipe, split, watcher)
    write_text(folder / _RECIPES_FILE, dump_variants(dict(recipes)))
    values = {"data": str(data.resolve()), "threads": threads_per_run(), **plan.to_dict()}
    return _run_variants(Experiment.create(folder, "variants", dataset, values), dataset, jobs, watcher)


def resume_variants(
    folder: Path, *, jobs: int | None = None, watcher: ExperimentCallbacks | None = None
) -> VariantsResult:
    """Go on where `train_variants` was stopped, to the table it would have given.

    Raises:
        AssayError: the folder holds none, or its photos have gone.
        TrainingInterruptedError: Ctrl-C.
    """
    series = Experiment.open(folder, "variants")
    return _run_variants(series, series.dataset(), jobs, watcher or ExperimentCallbacks())


def _check_variant(name: str, recipe: Recipe, dataset: Dataset, watcher: ExperimentCallbacks) -> None:
    try:
        build_model(recipe, dataset, watcher.progress)
    except AssayError as error:
        kind = UsageError if isinstance(error, UsageError) else AssayError
        raise kind(f"{name}: {error}") from error


def _run_variants(
    series: Experiment, dataset: Dataset, jobs: int | None, watcher: ExperimentCallbacks
) -> VariantsResult:
    values = series.values()
    plan, threads = Resampling.of(values), int(values["threads"])
    file = series.folder / _RECIPES_FILE
    recipes = parse_variants(file.read_text(encoding="utf-8"), str(file))
    with series.at_work():
        if watcher.on_data is not None:
            watcher.on_data(plan.described(dataset, next(iter(recipes.values()))))
        tasks = _variant_tasks(series.folder, plan, dataset, recipes, threads=threads, progress=watcher.progress)
        complete_runs(tasks, default_jobs(threads) if jobs is None else jobs, threads, watcher)
        result = _variants_result(series.folder, plan, dataset, recipes)
        write_variants_tables(result)
        series.finish()
    return result


def _variant_tasks(
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


def _variants_result(folder: Path, plan: Resampling, dataset: Dataset, recipes: Mapping[str, Recipe]) -> VariantsResult:
    variants, contestants = [], []
    for name, recipe in recipes.items():
        place = folder / name
        runs = plan.finished(place)
        if plan.folds:
            write_crossval_tables(place, dataset, recipe, runs)
        judged = place if plan.folds else runs[0].run.folder
        contestants.append(read_run_result(judged, recipe.data.positive_class, name=name))
        weights = Bundle.open(runs[0].run.bundle).weights()
        variants.append(
            Variant(
                name=name,
                description=recipe.description,
                folder=place,
                parameters=sum(array.size for key, array in weights.items() if _is_parameter(key)),
                epochs=tuple(len(read_metrics(one.run.folder / "metrics.csv")) for one in runs),
                runs=tuple(runs),
                spreads=summarize_metrics(runs),
            )
        )
    positive = contestants[0].metrics.positive
    return VariantsResult(folder, dataset, plan, positive, tuple(variants), rank(contestants))


def _is_parameter(name: str) -> bool:
    """Whether a tensor of a network is parameters, not statistics of the pixels or of batch norm."""
    return name.rpartition(".")[2] not in {
        "mean",
        "std",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }

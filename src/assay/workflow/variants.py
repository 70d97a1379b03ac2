"""Several recipes trained on the same photos in the same parts, and one table of them all.

Each variant is an ordinary run with its bundle. Knows nothing of which recipes are worth comparing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.bundle import Bundle
from assay.data import SPLITS, Dataset
from assay.data.prepare import prepare
from assay.errors import AssayError, UsageError
from assay.files import write_text
from assay.recipe import Recipe
from assay.recipe.variants import dump_variants, parse_variants, refuse_different_photos
from assay.safe_csv import Cell
from assay.tables import align, number, percent, write_csv, write_json
from assay.training import read_metrics
from assay.workflow.compare import Ranking, rank, read_contestant
from assay.workflow.figures import FIGURES, RunFigures, has_figures, read_figures
from assay.workflow.lanes import complete_runs, default_jobs, threads_per_run
from assay.workflow.run import Run
from assay.workflow.series import RunTask, Series, SeriesWatcher, refuse_used_series
from assay.workflow.start import starting_network

_RECIPES = "recipes.yaml"
_ORDER = ("accuracy", "precision", "loss")


@dataclass(frozen=True)
class Variant:
    """One variant, trained and judged."""

    name: str
    run: Run
    parameters: int
    """Numbers that the network holds, those of a frozen backbone included."""
    epochs: int
    figures: RunFigures


@dataclass(frozen=True)
class VariantsResult:
    """What training the variants gave."""

    folder: Path
    dataset: Dataset
    positive: str | None
    """The class whose precision is told; None: the mean over the classes."""
    variants: tuple[Variant, ...]
    ranking: Ranking
    """The variants on the test photos (validation without any), each against the best."""

    @property
    def text(self) -> str:
        """The table as people read it, and below it what of it is more than chance."""
        return f"{variants_table(self)}\n\n{self.ranking.text}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "photos": {part: len(self.dataset.part(part)) for part in SPLITS},
            "classes": list(self.dataset.classes),
            "positive": self.positive,
            "variants": [
                {
                    "name": one.name,
                    "run": str(one.run.folder),
                    "parameters": one.parameters,
                    "epochs": one.epochs,
                    "figures": {
                        part: {name: figures.get(name) for name in FIGURES}
                        for part, figures in one.figures.items()
                    },
                }
                for one in self.variants
            ],
            "ranking": self.ranking.to_dict(),
        }


def train_variants(
    data: Path,
    recipes: Mapping[str, Recipe],
    folder: Path,
    *,
    jobs: int | None = None,
    watcher: SeriesWatcher | None = None,
) -> VariantsResult:
    """Train and judge every variant on one split of the photos.

    Args:
        data: what `assay.data.scan` reads.
        recipes: two or more by name, with the same classes, split and seed.
        folder: where the runs and the tables go, new or empty.
        jobs: runs at a time; none: as many as processors and memory allow. Never changes a result.
        watcher: told how things go on.

    Raises:
        AssayError: the data, a recipe or its weights do not allow it.
        UsageError: the recipes would see different photos, or the folder is in use.
        InterruptionError: Ctrl-C; `resume_variants` goes on.
    """
    watcher = watcher or SeriesWatcher()
    if len(recipes) < 2:
        raise UsageError("give two variants or more to compare")
    refuse_different_photos(dict(recipes))
    refuse_used_series(folder, "variants")
    one = next(iter(recipes.values()))
    dataset = prepare(data, one.data, one.train.seed, progress=watcher.progress)
    for name, recipe in recipes.items():
        # What cannot work must be known before the first hours are spent.
        _try(name, recipe, dataset, watcher)
    write_text(folder / _RECIPES, dump_variants(dict(recipes)))
    values = {"data": str(data.resolve()), "threads": threads_per_run()}
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


def variants_table(result: VariantsResult) -> str:
    """Return accuracy, precision and loss of every variant on every part as aligned text."""
    parts = [part for part in SPLITS if any(part in one.figures for one in result.variants)]
    blank = [""] * (len(parts) - 1)
    told = {"precision": f"precision of {result.positive}" if result.positive else "precision"}
    top = ["", "", ""]
    for name in _ORDER:
        top += [*blank, told.get(name, name)]
    rows = [top, ["", "parameters", "epochs", *parts, *parts, *parts]]
    for one in result.variants:
        row = [one.name, f"{one.parameters:,}", str(one.epochs)]
        for name in _ORDER:
            show = number if name == "loss" else percent
            row += [show(one.figures[part].get(name)) if part in one.figures else "–" for part in parts]
        rows.append(row)
    return align(rows)


def _try(name: str, recipe: Recipe, dataset: Dataset, watcher: SeriesWatcher) -> None:
    try:
        starting_network(recipe, dataset, watcher.progress)
    except AssayError as error:
        kind = UsageError if isinstance(error, UsageError) else AssayError
        raise kind(f"{name}: {error}") from error


def _go_on(series: Series, dataset: Dataset, jobs: int | None, watcher: SeriesWatcher) -> VariantsResult:
    file = series.folder / _RECIPES
    recipes = parse_variants(file.read_text(encoding="utf-8"), str(file))
    with series.at_work():
        if watcher.on_data is not None:
            watcher.on_data(dataset)
        threads = int(series.values()["threads"])
        tasks = _tasks(series, dataset, recipes)
        complete_runs(tasks, default_jobs(threads) if jobs is None else jobs, threads, watcher)
        result = _result(series, dataset, recipes)
        write_text(series.folder / "results.txt", result.text + "\n")
        write_json(series.folder / "results.json", result.to_dict())
        _write_csv(series.folder / "results.csv", result)
        result.ranking.write_csv(series.folder / "comparison.csv")
        series.finish()
    return result


def _tasks(series: Series, dataset: Dataset, recipes: Mapping[str, Recipe]) -> Iterator[RunTask]:
    for name, recipe in recipes.items():
        yield RunTask(name, series.folder / name, dataset, recipe)


def _result(series: Series, dataset: Dataset, recipes: Mapping[str, Recipe]) -> VariantsResult:
    variants, contestants = [], []
    for name in recipes:
        run = Run(series.folder / name)
        if not has_figures(run):
            raise AssayError(f"{run.folder} is not done: go on with --resume")
        weights = Bundle.open(run.bundle).weights()
        epochs = len(read_metrics(run.folder / "metrics.csv"))
        parameters = sum(array.size for key, array in weights.items() if _learnt(key))
        variants.append(Variant(name, run, parameters, epochs, read_figures(run)))
        contestants.append(read_contestant(run.folder, name=name))
    positive = contestants[0].metrics.positive
    return VariantsResult(series.folder, dataset, positive, tuple(variants), rank(contestants))


def _learnt(name: str) -> bool:
    """Whether a tensor of a network is parameters, not statistics of the pixels or of batch norm."""
    return name.rpartition(".")[2] not in {
        "mean",
        "std",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


def _write_csv(path: Path, result: VariantsResult) -> None:
    header = ["variant", "parameters", "epochs"]
    header += [f"{part}_{name}" for part in SPLITS for name in _ORDER]
    rows: list[list[Cell]] = []
    for one in result.variants:
        row: list[Cell] = [one.name, one.parameters, one.epochs]
        for part in SPLITS:
            row += [one.figures[part].get(name) if part in one.figures else None for name in _ORDER]
        rows.append(row)
    write_csv(path, header, rows)

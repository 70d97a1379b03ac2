"""Search the settings of a linear probe: combinations trained on cached embeddings, ranked by validation.

The backbone is frozen, so every image is embedded once for all trials, and many heads are trained together.
Test images are not used.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from operator import attrgetter
from pathlib import Path
from statistics import fmean, stdev
from time import perf_counter
from typing import Any, Literal

from assay.core.errors import AssayError, UsageError
from assay.core.files import write_text
from assay.core.progress import Progress, no_progress
from assay.core.tables import Cell, write_json, write_rows
from assay.core.text_layout import align_columns, format_number, format_percent
from assay.data import Dataset, as_path, validation_folds
from assay.data.loading import load_split_dataset
from assay.nets import ClassifierNetwork as Network
from assay.nets import Head
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import FrozenBackbone, labelled_pixels
from assay.pipeline.run_folder import check_unused
from assay.recipe import PreprocessSpec, Recipe, dump_recipe, load_recipe
from assay.training import EpochMetrics, SplitEmbeddings, fit_heads
from assay.training.dataloaders import check_batch_norm
from assay.training.feature_extraction import uses_cached_embeddings
from assay.training.head_sweep import TrainedHead, stack_key, stack_size

RankBy = Literal["accuracy", "loss"]
_MAX_ROWS = 20
_FIXED_SETTINGS = ("data", "augment", "preprocess", "train.seed")


@dataclass(frozen=True)
class Trial:
    """One combination of settings and its validation metrics."""

    settings: tuple[str, ...]
    """Such as `train.lr=0.01`."""
    recipe: Recipe
    bests: tuple[EpochMetrics, ...]
    """The best epoch of every fold, a single one without folds; empty if the loss diverged."""
    seconds: float
    """Its share of the time of the heads trained together."""

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy, averaged over the folds."""
        return fmean(row.val_accuracy for row in self.bests) if self.bests else None

    @property
    def loss(self) -> float | None:
        """Validation cross-entropy in nats, averaged over the folds."""
        return fmean(row.val_loss for row in self.bests) if self.bests else None

    @property
    def accuracy_std(self) -> float | None:
        """Standard deviation of the accuracy over the folds."""
        return stdev(row.val_accuracy for row in self.bests) if len(self.bests) > 1 else None

    @property
    def epoch(self) -> float | None:
        """Best epoch, averaged over the folds."""
        return fmean(row.epoch for row in self.bests) if self.bests else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "settings": list(self.settings),
            "val_accuracy": self.accuracy,
            "val_accuracy_std": self.accuracy_std,
            "val_loss": self.loss,
            "best_epochs": [row.epoch for row in self.bests],
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class TuneResult:
    """All trials, best first."""

    folder: Path
    trials: tuple[Trial, ...]
    photos: int
    """Training and validation images."""
    folds: int
    """0: one split."""

    @property
    def best(self) -> Trial:
        """The best trial."""
        return self.trials[0]

    @property
    def text(self) -> str:
        """The best trials as a table."""
        rows = [["", "accuracy", "±", "loss", "epoch", "settings"]]
        rows += [
            [
                str(rank),
                format_percent(trial.accuracy),
                "" if trial.accuracy_std is None else format_percent(trial.accuracy_std),
                format_number(trial.loss),
                format_number(trial.epoch, 0),
                " ".join(trial.settings),
            ]
            for rank, trial in enumerate(self.trials[:_MAX_ROWS], start=1)
        ]
        return align_columns(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "folder": str(self.folder),
            "photos": self.photos,
            "folds": self.folds,
            "trials": [trial.to_dict() for trial in self.trials],
        }


def setting_combinations(settings: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every combination of settings with several values, such as `train.lr=1e-3,1e-2`.

    A comma within brackets belongs to the value: `net.head.hidden=[],[64],[128,64]` has three values. Repeated values
    count once.

    Raises:
        UsageError: a setting has no value, or is given twice.
    """
    options: dict[str, list[str]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        values = _split_values(text)
        if not equals or not key or not all(values):
            raise UsageError(f"--set {setting!r} must look like train.lr=1e-3,1e-2")
        if key in options:
            raise UsageError(f"--set {key} is given twice: give its values together, as train.lr=1e-3,1e-2")
        options[key] = [f"{key}={value}" for value in dict.fromkeys(values)]
    return list(product(*options.values()))


def tune_probe(
    data: Path,
    recipe: str | Path,
    settings: Sequence[str],
    folder: Path,
    *,
    folds: int = 0,
    by: RankBy = "accuracy",
    progress: Progress = no_progress,
) -> TuneResult:
    """Train every combination of settings of a linear probe, and rank them on validation images.

    Args:
        data: what `load_dataset` reads.
        recipe: a recipe's name or file, with the strategy `probe`.
        settings: as for `setting_combinations`; those with one value apply to all trials.
        folder: new or empty; receives `tune.csv`, `tune.json`, `tune.txt` and `best.yaml`, the best recipe.
        folds: number of folds over training and validation images; 0: the recipe's own split.
        by: the metric of the ranking; the other one breaks ties.
        progress: called after epochs with the equivalent number of trials.

    Raises:
        AssayError: the data, a recipe or its weights cannot be used.
        UsageError: a recipe does not use the strategy probe, uses other images than the first or too small batches, or
            the folder is in use.
    """
    if folds == 1 or folds < 0:
        raise UsageError(f"--folds is {folds}: give 2 or more, or leave it out")
    check_unused(folder, command="")
    candidates = [(chosen, load_recipe(recipe, chosen)) for chosen in setting_combinations(settings)]
    first = candidates[0][1]
    for _, candidate in candidates:
        _check_recipe(candidate, first)
    data = as_path(data, folder.parent, progress)
    dataset = load_split_dataset(
        data, first.data, first.train.seed, value_range=first.preprocess.value_range, progress=progress
    )
    datasets = list(_folds(dataset, first, folds))
    for fold, (_, candidate) in product(datasets, candidates):
        check_batch_norm(candidate, len(fold.part("train")))
    runner = _TrialRunner(datasets, len(candidates), progress)
    trials = [trial for group in _group_stackable(candidates) for trial in runner.trials(group)]
    order = {chosen: place for place, (chosen, _) in enumerate(candidates)}
    trials.sort(key=lambda trial: (*_rank_key(trial, by), order[trial.settings]))
    photos = len(dataset.part("train")) + len(dataset.part("val"))
    result = TuneResult(folder, tuple(trials), photos, folds)
    _write(result)
    return result


_Candidate = tuple[tuple[str, ...], Recipe]


def _group_stackable(candidates: Iterable[_Candidate]) -> list[list[_Candidate]]:
    """Group candidates whose heads can be trained together."""
    groups: dict[str, list[_Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(stack_key(candidate[1]), []).append(candidate)
    return list(groups.values())


class _TrialRunner:
    """Trains heads; shares datasets, initial networks and embeddings between the trials."""

    def __init__(self, datasets: list[Dataset], total: int, progress: Progress) -> None:
        self._datasets = datasets
        self._total = total
        self._done = 0
        self._reported = 0
        self._progress = progress
        self._models: dict[str, tuple[Network, PreprocessSpec]] = {}
        self._embedded: dict[str, list[SplitEmbeddings]] = {}

    def trials(self, group: list[_Candidate]) -> Iterator[Trial]:
        """Train the heads of a group, as many at once as is efficient."""
        network, spec = self._model(group[0][1])
        embedded = self._embeddings(group[0][1], network, spec)
        size = stack_size(network.head)
        for start in range(0, len(group), size):
            yield from self._train_stack(group[start : start + size], network.head, spec, embedded)

    def _train_stack(
        self, stack: list[_Candidate], head: Head, spec: PreprocessSpec, embedded: list[SplitEmbeddings]
    ) -> list[Trial]:
        recipes = [recipe for _, recipe in stack]
        started = perf_counter()
        folds = []
        for place, (dataset, known) in enumerate(zip(self._datasets, embedded, strict=True)):
            train, val = labelled_pixels(dataset, "train", spec, recipes[0]), labelled_pixels(dataset, "val", spec)
            report = partial(self._report, len(stack), place)
            heads = fit_heads(head, recipes, train, val, known, progress=report)
            folds.append([fitted.best if isinstance(fitted, TrainedHead) else None for fitted in heads])
        self._done += len(stack)
        self._report()
        seconds = (perf_counter() - started) / len(stack)
        return [
            Trial(settings, recipe, tuple(filter(None, bests)) if all(bests) else (), seconds)
            for (settings, recipe), bests in zip(stack, zip(*folds, strict=True), strict=True)
        ]

    def _report(self, trials: int = 0, fold: int = 0, _stage: str = "", epoch: int = 0, epochs: int = 1) -> None:
        """Report the number of trials that the epochs so far amount to, when it has changed."""
        done = self._done + int(trials * (fold + epoch / epochs) / len(self._datasets))
        if done != self._reported:
            self._progress("trying settings", done, self._total)
        self._reported = done

    def _model(self, recipe: Recipe) -> tuple[Network, PreprocessSpec]:
        key = recipe.model_dump_json(include={"net"}, exclude={"net": {"head": {"dropout", "l2"}}})
        if key not in self._models:
            self._models[key] = build_model(recipe, self._datasets[0], self._progress)
        return self._models[key]

    def _embeddings(self, recipe: Recipe, network: Network, spec: PreprocessSpec) -> list[SplitEmbeddings]:
        net = recipe.net.model_dump_json(exclude={"head"})
        key = f"{net} {recipe.train.augmentation_views}"
        if key not in self._embedded:
            self._embedded[key] = [
                FrozenBackbone(network, spec, recipe, dataset, self._progress).embedded() for dataset in self._datasets
            ]
        return self._embedded[key]


def _check_recipe(recipe: Recipe, first: Recipe) -> None:
    if not uses_cached_embeddings(recipe):
        raise UsageError(
            f"recipe {recipe.name} does not train on cached embeddings: set train.strategy=probe"
            + (", and train.augmentation_views=4 to keep its augmentation" if recipe.augment.train else "")
        )
    for setting in _FIXED_SETTINGS:
        if attrgetter(setting)(recipe) != attrgetter(setting)(first):
            raise UsageError(f"--set {setting}... can have only one value here: every trial must use the same photos")


def _folds(dataset: Dataset, recipe: Recipe, count: int) -> Iterator[Dataset]:
    if not count:
        yield dataset
        return
    # Test images stay in the dataset, so that all folds use the same embedding cache.
    for fold in validation_folds(dataset.samples, count, recipe.train.seed, method=recipe.data.split.method):
        yield dataset.with_samples([*fold.train, *fold.val, *fold.test])


def _split_values(text: str) -> list[str]:
    values, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


def _rank_key(trial: Trial, by: RankBy) -> tuple[float, float]:
    if trial.accuracy is None or trial.loss is None:
        return float("inf"), float("inf")
    key = (-trial.accuracy, trial.loss)
    return key if by == "accuracy" else key[::-1]


def _write(result: TuneResult) -> None:
    rows: list[dict[str, Cell]] = [
        {
            "rank": rank,
            "val_accuracy": trial.accuracy,
            "val_accuracy_std": trial.accuracy_std,
            "val_loss": trial.loss,
            "best_epoch": trial.epoch,
            "seconds": trial.seconds,
            **dict(setting.split("=", 1) for setting in trial.settings),
        }
        for rank, trial in enumerate(result.trials, start=1)
    ]
    write_rows(result.folder / "tune.csv", rows)
    write_json(result.folder / "tune.json", result.to_dict())
    write_text(result.folder / "tune.txt", result.text + "\n")
    if result.best.accuracy is None:
        raise AssayError("the loss diverged with every combination of settings: reduce train.lr")
    write_text(result.folder / "best.yaml", dump_recipe(result.best.recipe))

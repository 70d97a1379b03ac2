"""Search the settings of a linear probe: every combination is trained on cached embeddings.

Ranked by validation.

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
from assay.core.tables import Cell, align_columns, format_number, format_percent, write_csv, write_json
from assay.data import Dataset, as_path, validation_folds
from assay.data.loading import load_split_dataset
from assay.nets import Classifier as Network
from assay.nets import Head
from assay.pipeline.build_model import build_model
from assay.pipeline.cached_embeddings import FrozenBackbone, labelled_pixels
from assay.recipe import PreprocessSpec, Recipe, dump_recipe, load_recipe
from assay.training import EpochMetrics, SplitEmbeddings, fit_heads
from assay.training.dataloaders import check_batch_norm
from assay.training.feature_extraction import uses_cached_embeddings
from assay.training.head_sweep import TrainedHead, stack_key, stack_size
from assay.training.loss import NonFiniteLossError

RankBy = Literal["accuracy", "loss"]
_MAX_ROWS = 20
_FIXED_SETTINGS = ("data", "augment", "preprocess", "train.seed")


@dataclass(frozen=True)
class Trial:
    """One choice of settings, and how it did on photos that did not teach it."""

    settings: tuple[str, ...]
    """What was set, as `train.lr=0.01`."""
    recipe: Recipe
    bests: tuple[EpochMetrics, ...]
    """The best epoch of every fold; one without folds; none where the loss left all bounds."""
    seconds: float
    """Its share of the time of those that learnt beside it."""

    @property
    def accuracy(self) -> float | None:
        """Share of validation photos that is right, a mean over the folds."""
        return fmean(row.val_accuracy for row in self.bests) if self.bests else None

    @property
    def loss(self) -> float | None:
        """Cross-entropy on validation photos in nats, a mean over the folds."""
        return fmean(row.val_loss for row in self.bests) if self.bests else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the accuracy over the folds."""
        return stdev(row.val_accuracy for row in self.bests) if len(self.bests) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "settings": list(self.settings),
            "val_accuracy": self.accuracy,
            "val_accuracy_std": self.spread,
            "val_loss": self.loss,
            "best_epochs": [row.epoch for row in self.bests],
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class TuneResult:
    """All trials, the best first."""

    folder: Path
    trials: tuple[Trial, ...]
    photos: int
    """Photos that taught or chose."""
    folds: int
    """0: one split."""

    @property
    def best(self) -> Trial:
        """The first of the ranking."""
        return self.trials[0]

    @property
    def text(self) -> str:
        """The best trials as people read them."""
        rows = [["", "accuracy", "±", "loss", "epoch", "settings"]]
        for place, one in enumerate(self.trials[:_MAX_ROWS], start=1):
            epochs = fmean(row.epoch for row in one.bests) if one.bests else None
            rows.append(
                [
                    str(place),
                    format_percent(one.accuracy),
                    format_percent(one.spread) if one.spread is not None else "",
                    format_number(one.loss),
                    format_number(epochs, 0),
                    " ".join(one.settings),
                ]
            )
        return align_columns(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "folder": str(self.folder),
            "photos": self.photos,
            "folds": self.folds,
            "trials": [one.to_dict() for one in self.trials],
        }


def setting_combinations(settings: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every combination of settings that name several values, as `train.lr=1e-3,1e-2`.

    A comma within brackets belongs to the value: `net.head.hidden=[],[64],[128,64]` are three.

    Values that are given twice are one.

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
    """Try every combination of settings of a probe, and rank them by their validation photos.

    Args:
        data: what `assay.data.loading` reads.
        recipe: a recipe's name or file, with the strategy `probe`.
        settings: as for `setting_combinations`; those with one value hold for all trials.
        folder: new or empty; gets `tune.csv`, `tune.json`, `tune.txt` and `best.yaml`, the recipe that won.
        folds: how often training and validation photos are shared out anew, each photo validating once; 0:
            the recipe's own split.
        by: the figure that ranks; equals are decided by the other.
        progress: told as epochs end, of how many trials they make up.

    Raises:
        AssayError: the data, a recipe or its weights do not allow it.
        UsageError: a recipe is no probe, sees other photos than the first or too few at a time, or the folder
            is in use.
    """
    if folds == 1 or folds < 0:
        raise UsageError(f"--folds is {folds}: give 2 or more, or leave it out")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty: choose another --run")
    tried = [(chosen, load_recipe(recipe, chosen)) for chosen in setting_combinations(settings)]
    for _, one in tried:
        _check_recipe(one, tried[0][1])
    first = tried[0][1]
    data = as_path(data, folder.parent, progress)
    dataset = load_split_dataset(
        data, first.data, first.train.seed, value_range=first.preprocess.value_range, progress=progress
    )
    parts = list(_folds(dataset, first, folds))
    for part, (_, one) in product(parts, tried):
        check_batch_norm(one, len(part.part("train")))
    bench = _TrialRunner(parts, len(tried), progress)
    trials = [trial for alike in _group_stackable(tried) for trial in bench.trials(alike)]
    places = {chosen: place for place, (chosen, _) in enumerate(tried)}
    trials.sort(key=lambda trial: (*_rank_key(trial, by), places[trial.settings]))
    photos = len(dataset.part("train")) + len(dataset.part("val"))
    result = TuneResult(folder, tuple(trials), photos, folds)
    _write(result)
    return result


_Candidate = tuple[tuple[str, ...], Recipe]


def _group_stackable(tried: Iterable[_Candidate]) -> list[list[_Candidate]]:
    """Put choices together whose heads can learn beside each other."""
    found: dict[str, list[_Candidate]] = {}
    for choice in tried:
        found.setdefault(stack_key(choice[1]), []).append(choice)
    return list(found.values())


class _TrialRunner:
    """What trials share: photos, networks before training, and embeddings."""

    def __init__(self, datasets: list[Dataset], total: int, progress: Progress) -> None:
        self._datasets = datasets
        self._total = total
        self._done = 0
        self._told = 0
        self._progress = progress
        self._starts: dict[str, tuple[Network, PreprocessSpec]] = {}
        self._embedded: dict[str, list[SplitEmbeddings]] = {}

    def trials(self, alike: list[_Candidate]) -> Iterator[Trial]:
        network, spec = self._start(alike[0][1])
        embedded = self._embeddings(alike[0][1], network, spec)
        size = stack_size(network.head)
        for at in range(0, len(alike), size):
            yield from self._stack(alike[at : at + size], network.head, spec, embedded)

    def _stack(
        self, stack: list[_Candidate], head: Head, spec: PreprocessSpec, embedded: list[SplitEmbeddings]
    ) -> list[Trial]:
        recipes = [recipe for _, recipe in stack]
        begun = perf_counter()
        folds = []
        for place, (dataset, known) in enumerate(zip(self._datasets, embedded, strict=True)):
            train, val = labelled_pixels(dataset, "train", spec, recipes[0]), labelled_pixels(dataset, "val", spec)
            tell = partial(self._tell, len(stack), place)
            folds.append([_best_epoch(fit) for fit in fit_heads(head, recipes, train, val, known, progress=tell)])
        self._done += len(stack)
        self._tell()
        seconds = (perf_counter() - begun) / len(stack)
        return [
            Trial(settings, recipe, tuple(filter(None, bests)) if all(bests) else (), seconds)
            for (settings, recipe), bests in zip(stack, zip(*folds, strict=True), strict=True)
        ]

    def _tell(self, trials: int = 0, fold: int = 0, _what: str = "", epoch: int = 0, epochs: int = 1) -> None:
        """Tell how many trials the epochs so far make up, if it is another number than before."""
        done = self._done + int(trials * (fold + epoch / epochs) / len(self._datasets))
        if done != self._told:
            self._progress("trying settings", done, self._total)
        self._told = done

    def _start(self, recipe: Recipe) -> tuple[Network, PreprocessSpec]:
        key = recipe.model_dump_json(include={"net"}, exclude={"net": {"head": {"dropout", "l2"}}})
        if key not in self._starts:
            self._starts[key] = build_model(recipe, self._datasets[0], self._progress)
        return self._starts[key]

    def _embeddings(self, recipe: Recipe, network: Network, spec: PreprocessSpec) -> list[SplitEmbeddings]:
        net = recipe.net.model_dump_json(exclude={"head"})
        key = f"{net} {recipe.train.augmentation_views}"
        if key not in self._embedded:
            self._embedded[key] = [
                FrozenBackbone(network, spec, recipe, dataset, self._progress).embedded() for dataset in self._datasets
            ]
        return self._embedded[key]


def _best_epoch(fit: TrainedHead | NonFiniteLossError) -> EpochMetrics | None:
    return fit.best if isinstance(fit, TrainedHead) else None


def _check_recipe(recipe: Recipe, first: Recipe) -> None:
    if not uses_cached_embeddings(recipe):
        raise UsageError(
            f"recipe {recipe.name} computes no embeddings beforehand: set train.strategy=probe"
            + (", and train.augmentation_views=4 to keep its augmentation" if recipe.augment.train else "")
        )
    for part in _FIXED_SETTINGS:
        if attrgetter(part)(recipe) != attrgetter(part)(first):
            raise UsageError(f"--set {part}... can have only one value here: every trial must see the same photos")


def _folds(dataset: Dataset, recipe: Recipe, count: int) -> Iterator[Dataset]:
    if not count:
        yield dataset
        return
    # Test photos stay among the samples, so that all folds find the same kept embeddings.
    for fold in validation_folds(dataset.samples, count, recipe.train.seed, method=recipe.data.split.method):
        yield dataset.with_samples([*fold.train, *fold.val, *fold.test])


def _split_values(text: str) -> list[str]:
    values, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            values.append("")
        else:
            values[-1] += letter
    return [value.strip() for value in values]


def _rank_key(trial: Trial, by: RankBy) -> tuple[float, float]:
    if trial.accuracy is None or trial.loss is None:
        return float("inf"), float("inf")
    figures = (-trial.accuracy, trial.loss)
    return figures if by == "accuracy" else figures[::-1]


def _write(result: TuneResult) -> None:
    names = [setting.partition("=")[0] for setting in result.best.settings]
    header = ["place", "val_accuracy", "val_accuracy_std", "val_loss", "best_epoch", "seconds", *names]
    rows: list[list[Cell]] = []
    for place, one in enumerate(result.trials, start=1):
        epoch = fmean(row.epoch for row in one.bests) if one.bests else None
        values = [setting.partition("=")[2] for setting in one.settings]
        rows.append([place, one.accuracy, one.spread, one.loss, epoch, one.seconds, *values])
    write_csv(result.folder / "tune.csv", header, rows)
    write_json(result.folder / "tune.json", result.to_dict())
    write_text(result.folder / "tune.txt", result.text + "\n")
    if result.best.accuracy is None:
        raise AssayError("the loss left all bounds with every choice of settings: lower train.lr")
    write_text(result.folder / "best.yaml", dump_recipe(result.best.recipe))

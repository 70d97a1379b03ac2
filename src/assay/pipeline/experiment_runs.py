"""The runs of an experiment: which seeds and folds they have, and the metrics that each of them stored."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress
from assay.data import SPLITS, Dataset, Split, assign_splits, cross_validation_folds
from assay.data.splits import fold_warnings
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import FrozenBackbone
from assay.pipeline.run_folder import METRICS_FILE, Run
from assay.recipe import Recipe
from assay.training.feature_extraction import uses_cached_embeddings

METRIC_NAMES = ("accuracy", "loss", "precision")
"""The metrics of a split, in the order of the tables."""

_SEED_RANGE = 2**32


@dataclass(frozen=True, slots=True)
class SplitMetrics:
    """Metrics of one run on one split; None where the images cannot give the metric.

    Attributes:
        photos: number of images.
        accuracy: 0–1.
        loss: mean cross-entropy in nats.
        precision: of the positive class, else the mean over the classes.
        correct: number of correct predictions.
    """

    photos: int
    accuracy: float | None
    loss: float | None
    precision: float | None
    correct: int

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> "SplitMetrics":
        """Select the values from `Metrics.to_dict()`."""
        positive, precision = metrics["positive"], metrics["macro"]["precision"]
        for values in metrics["classes"]:
            if values["name"] == positive:
                precision = values["precision"]
        return cls(metrics["count"], metrics["accuracy"], metrics["log_loss"], precision, metrics["correct"])

    def get(self, name: str) -> float | None:
        """Return one of `METRIC_NAMES`."""
        value: float | None = getattr(self, name)
        return value


RunMetrics = Mapping[Split, SplitMetrics]
"""The metrics of one run, by split."""


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric over several runs.

    Attributes:
        mean: over the runs that have the metric; None if none has.
        std: sample standard deviation (n - 1); None for fewer than two runs.
        low: the minimum.
        high: the maximum.
        runs: number of runs that have the metric.
    """

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    runs: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "MetricSummary":
        """Summarize the values that are not None."""
        known = [value for value in values if value is not None]
        if not known:
            return cls(None, None, None, None, 0)
        std = stdev(known) if len(known) > 1 else None
        return cls(fmean(known), std, min(known), max(known), len(known))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


MetricSummaries = Mapping[tuple[Split, str], MetricSummary]
"""Summaries by split and metric."""


def is_evaluated(run: Run) -> bool:
    """Whether the run of an experiment is complete, evaluated on all its splits."""
    return run.has_splits and run.done and (run.evaluation("train") / METRICS_FILE).is_file()


def read_run_metrics(run: Run) -> dict[Split, SplitMetrics]:
    """Read the metrics of a run on each of its splits.

    Raises:
        AssayError: a file is missing or damaged.
    """
    found: dict[Split, SplitMetrics] = {}
    for split in SPLITS:
        path = run.evaluation(split) / METRICS_FILE
        if not path.is_file():
            continue
        try:
            found[split] = SplitMetrics.of(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError):
            raise AssayError(f"{path} is damaged: remove the run's folder and resume with --resume") from None
    if "train" not in found or "val" not in found:
        raise AssayError(f"{run.folder} has not been evaluated: its folder evaluation is incomplete")
    return found


@dataclass(frozen=True)
class RunTask:
    """One run of an experiment: everything a process needs to train it."""

    name: str
    """Shown to the user, such as `fold 2/5`."""
    folder: Path
    dataset: Dataset
    """With the split of every image."""
    recipe: Recipe


@dataclass(frozen=True)
class ResampledRun:
    """One complete run of an experiment."""

    repeat: int
    """Counted from 1."""
    fold: int
    """Counted from 1; 0 without folds."""
    run: Run
    metrics: RunMetrics


def summarize_metrics(runs: Iterable[ResampledRun]) -> dict[tuple[Split, str], MetricSummary]:
    """Summarize every metric over the runs, by split and metric."""
    all_metrics = [run.metrics for run in runs]
    return {
        (split, name): MetricSummary.of(metrics[split].get(name) for metrics in all_metrics if split in metrics)
        for split in SPLITS
        for name in METRIC_NAMES
    }


@dataclass(frozen=True)
class Resampling:
    """How an experiment splits its images: `repeats` seeds, each with `folds` folds."""

    folds: int = 0
    """0: one split by the recipe's shares per seed."""
    repeats: int = 1

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: a number is too small.
        """
        if self.repeats < 1:
            raise UsageError(f"--repeats is {self.repeats}: give 1 or more")
        if self.folds < 0 or self.folds == 1:
            raise UsageError(f"--folds is {self.folds}: cross-validation needs 2 folds or more")

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Resampling":
        """Restore from `to_dict()`."""
        return cls(int(values["folds"]), int(values["repeats"]))

    def to_dict(self) -> dict[str, int]:
        """Return plain values, ready for JSON."""
        return {"folds": self.folds, "repeats": self.repeats}

    @property
    def runs(self) -> int:
        """Number of runs per recipe."""
        return self.repeats * max(1, self.folds)

    def recipe(self, recipe: Recipe, repeat: int, threads: int | None = None) -> Recipe:
        """Return the settings of a repeat: the seed is incremented per repeat.

        Args:
            recipe: settings of the first repeat.
            repeat: counted from 1.
            threads: of each run; where runs share the processors, also its number of data loader workers.
        """
        changes: dict[str, int] = {"seed": (recipe.train.seed + repeat - 1) % _SEED_RANGE}
        if threads is not None and recipe.train.workers is None and threads < cpu_count():
            # The number of workers changes no result.
            changes["workers"] = threads
        return recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})

    def split(self, dataset: Dataset, recipe: Recipe, repeat: int) -> list[Dataset]:
        """Return the dataset of each run of a repeat, with the split of every image.

        Args:
            dataset: images with their groups and existing splits.
            recipe: settings of the first repeat.
            repeat: counted from 1.

        Raises:
            AssayError: the images cannot be split.
        """
        seed = self.recipe(recipe, repeat).train.seed
        if self.folds:
            return cross_validation_folds(dataset, self.folds, recipe.data.split, seed)
        return [assign_splits(dataset, recipe.data.split, seed)]

    def first_split(self, dataset: Dataset, recipe: Recipe) -> Dataset:
        """Return the dataset of the first run, after checking that every repeat can be split.

        Raises:
            AssayError: the images cannot be split.
        """
        splits = [self.split(dataset, recipe, repeat) for repeat in range(1, self.repeats + 1)]
        return splits[0][0]

    def with_warnings(self, dataset: Dataset, recipe: Recipe) -> Dataset:
        """Return the dataset with the warnings of its split."""
        if self.folds:
            return dataset.with_samples(dataset.samples, fold_warnings(dataset))
        return self.split(dataset, recipe, 1)[0]

    def places(self, parent: Path) -> Iterator[tuple[int, int, Path]]:
        """Yield repeat, fold and folder of every run of one recipe.

        The folders are `repeat-1/fold-1`, without folds `repeat-1`, and `parent` itself for a single run.
        """
        for repeat in range(1, self.repeats + 1):
            for fold in range(1, self.folds + 1) if self.folds else (0,):
                folder = parent if self.runs == 1 else parent / f"repeat-{repeat}"
                yield repeat, fold, folder / f"fold-{fold}" if self.folds else folder

    def tasks(
        self, folder: Path, name: str, dataset: Dataset, recipe: Recipe, *, threads: int, progress: Progress
    ) -> Iterator[RunTask]:
        """Yield the runs of one recipe, in order.

        Args:
            folder: of the runs.
            name: prefix of the names of the runs; may be empty.
            dataset: images with their groups and existing splits.
            recipe: settings of the first repeat.
            threads: of each run.
            progress: called while embeddings shared by several runs are computed.
        """
        current, splits, embedded = 0, list[Dataset](), False
        for repeat, fold, place in self.places(folder):
            if repeat != current:
                current, splits, embedded = repeat, self.split(dataset, recipe, repeat), False
            settings = self.recipe(recipe, repeat, threads)
            split = splits[max(0, fold - 1)]
            if self.folds and not embedded and uses_cached_embeddings(settings) and not is_evaluated(Run(place)):
                # Once here, not in the process of every fold, which finds them cached.
                network, spec = build_model(settings, split, progress)
                FrozenBackbone(network, spec, settings, dataset, progress).compute_all()
                embedded = True
            names = [
                name,
                f"repeat {repeat}/{self.repeats}" if self.repeats > 1 else "",
                f"fold {fold}/{self.folds}" if self.folds else "",
            ]
            yield RunTask(" ".join(filter(None, names)), place, split, settings)

    def completed(self, folder: Path) -> list[ResampledRun]:
        """Read the runs of one recipe.

        Raises:
            AssayError: one is not complete.
        """
        runs = []
        for repeat, fold, place in self.places(folder):
            run = Run(place)
            if not is_evaluated(run):
                raise AssayError(f"{run.folder} is not complete: resume with --resume")
            runs.append(ResampledRun(repeat, fold, run, read_run_metrics(run)))
        return runs

"""Metrics of one run on each of its splits, read from its files, and their mean.

Standard deviation over runs.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from assay.bundle import Bundle
from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.core.tables import write_json
from assay.data import SPLITS, Dataset, Split
from assay.evaluation import compute_metrics
from assay.inference import Classifier
from assay.pipeline.cached_embeddings import CachedEmbeddings
from assay.pipeline.predict_dataset import predict_dataset
from assay.pipeline.run_folder import Run

METRIC_NAMES = ("accuracy", "loss", "precision")
"""The figures of a part, in the order in which tables name them."""

_METRICS_FILE = "metrics.json"


@dataclass(frozen=True, slots=True)
class SplitMetrics:
    """One run on the photos of one part; None where the photos cannot give the figure.

    Attributes:
        photos: how many.
        accuracy: share that is right.
        loss: mean negative logarithm (natural) of the probability given to the labelled class.
        precision: of the class that is looked for, else the mean over the classes.
        correct: photos that are right.
    """

    photos: int
    accuracy: float | None
    loss: float | None
    precision: float | None
    correct: int

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> "SplitMetrics":
        """Take the figures out of `Metrics.to_dict()`."""
        positive = metrics["positive"]
        precision = metrics["macro"]["precision"]
        for one in metrics["classes"]:
            if one["name"] == positive:
                precision = one["precision"]
        return cls(metrics["count"], metrics["accuracy"], metrics["log_loss"], precision, metrics["correct"])

    def get(self, name: str) -> float | None:
        """Return one of `METRIC_NAMES`."""
        value: float | None = {"accuracy": self.accuracy, "loss": self.loss, "precision": self.precision}[name]
        return value


RunMetrics = Mapping[Split, SplitMetrics]
"""The figures of one run, by part."""


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One figure over several runs.

    Attributes:
        mean: mean over the runs that have the figure; None if none has.
        std: standard deviation of a sample (n - 1); None for fewer than two runs.
        low: the smallest.
        high: the largest.
        runs: how many have the figure.
    """

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    runs: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "MetricSummary":
        """Summarise the values that there are."""
        known = [value for value in values if value is not None]
        if not known:
            return cls(None, None, None, None, 0)
        std = stdev(known) if len(known) > 1 else None
        return cls(fmean(known), std, min(known), max(known), len(known))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, ready for JSON."""
        return asdict(self)


def is_evaluated(run: Run) -> bool:
    """Whether the run is done and was judged on all its parts."""
    return run.begun and run.done and (run.evaluation("train") / _METRICS_FILE).is_file()


def evaluate_training_split(run: Run, dataset: Dataset, progress: Progress = no_progress) -> None:
    """Judge a finished run's bundle on the photos that taught it, which `assay train` leaves out.

    Args:
        run: done.
        dataset: the run's photos with their parts.
        progress: told of every batch.

    Raises:
        AssayError: the bundle or a photo cannot be read.
    """
    kept = CachedEmbeddings.of(Bundle.open(run.bundle), dataset)
    predictions = predict_dataset(Classifier.load(run.bundle), dataset, dataset.part("train"), progress, kept=kept)
    metrics = compute_metrics(predictions, run.recipe().data.positive_class)
    write_json(run.evaluation("train") / _METRICS_FILE, metrics.to_dict())


def read_run_metrics(run: Run) -> dict[Split, SplitMetrics]:
    """Read the figures of a run on each part that it has.

    Raises:
        AssayError: a file is missing or damaged.
    """
    found: dict[Split, SplitMetrics] = {}
    for part in SPLITS:
        path = run.evaluation(part) / _METRICS_FILE
        if path.is_file():
            found[part] = _read_metrics(path)
    if "train" not in found or "val" not in found:
        raise AssayError(f"{run.folder} has not been judged: its folder evaluation is incomplete")
    return found


def _read_metrics(path: Path) -> SplitMetrics:
    try:
        return SplitMetrics.of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError):
        raise AssayError(f"{path} is damaged: remove the run's folder and go on with --resume") from None

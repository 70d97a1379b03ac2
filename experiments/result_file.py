"""Results of the experiments as JSON: one file per experiment, and the machine they were measured on."""

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from assay import __version__
from assay.benchmark.runner import machine_info
from assay.core.cpu import cpu_count
from assay.core.tables import write_json
from assay.evaluation import Predictions
from assay.evaluation.intervals import wilson_interval

RESULTS = Path(__file__).parent / "results"


def mean_and_std(values: Iterable[float | None]) -> dict[str, Any]:
    """Return mean, sample standard deviation (None for one value) and the values that are not None."""
    known = [float(value) for value in values if value is not None]
    return {
        "mean": fmean(known) if known else None,
        "std": stdev(known) if len(known) > 1 else None,
        "values": known,
    }


@dataclass
class Row:
    """One measured method: its settings, its protocol and its metrics."""

    name: str
    recipe: str
    """Recipe and overrides, as on the command line."""
    protocol: str
    """How the images were split, such as `grouped 5-fold, 3 repeats`."""
    seeds: Sequence[int]
    runs: int
    """Finished runs."""
    planned: int
    """Runs that were planned; if more than `runs`, the result is partial."""
    photos: int
    """Evaluated images per repeat."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """By name: the result of `mean_and_std`, over runs or repeats."""
    interval: tuple[float, float] | None = None
    """95 % interval of the accuracy on the evaluated images of one repeat (Wilson)."""
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    """Seconds of all processor cores together."""
    settings_tried: int = 1
    """Settings compared on validation images before this one was chosen; 1: none but this."""
    note: str = ""


def accuracy_interval(predictions: Predictions) -> tuple[float, float] | None:
    """Return the 95 % Wilson interval of the accuracy."""
    found = wilson_interval(int(predictions.correct.sum()), len(predictions))
    return None if found is None else (found.low, found.high)


def binary_metrics(predictions: Predictions, positive: str) -> dict[str, float]:
    """Return accuracy, F1 and area under the ROC curve of the positive class."""
    index = predictions.classes.index(positive)
    actual = predictions.actual == index
    return {
        "accuracy": float(predictions.correct.mean()),
        "f1": float(f1_score(actual, predictions.predicted == index)),
        "roc_auc": float(roc_auc_score(actual, predictions.probabilities[:, index])),
    }


def balanced_accuracy(predictions: Predictions) -> float:
    """Return the mean recall of the classes that occur."""
    recalls = [predictions.correct[predictions.actual == label].mean() for label in np.unique(predictions.actual)]
    return float(np.mean(recalls))


def machine() -> dict[str, Any]:
    """Describe processor and software."""
    return {
        "processor": machine_info()["processor"],
        "cores": cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "assay": __version__,
    }


def write_result(name: str, rows: Sequence[Row], folder: Path = RESULTS, **more: Any) -> Path:
    """Write `NAME.json` with rows, the machine and further values; return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    write_json(path, {"experiment": name, "machine": machine(), "rows": [asdict(row) for row in rows], **more})
    print(f"wrote {path}")
    return path


def read_result(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """Read `NAME.json`; None if it does not exist."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values

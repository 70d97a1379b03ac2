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
    measured_on: list[str] = field(default_factory=list)
    """Processors; empty: the one of this machine."""


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


def processor() -> str:
    """Return the number of usable cores and the processor, such as `2 cores (AMD EPYC, family 25 model 1)`."""
    cores = cpu_count()
    return f"{cores} core{'' if cores == 1 else 's'} ({machine_info()['processor']})"


def write_result(name: str, rows: Sequence[Row], folder: Path = RESULTS, **more: Any) -> Path:
    """Write `NAME.json` with rows, versions and further values; return the path.

    Rows of the existing file are kept if they have the same settings and more finished runs, or were not measured
    this time: the runs of an experiment can be spread over several machines. Of further values that are mappings by
    row, the existing ones are kept likewise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    new = [asdict(row) | {"measured_on": row.measured_on or [processor()]} for row in rows]
    earlier = read_result(name, folder) or {"rows": []}
    for key, value in more.items():
        if isinstance(value, dict):
            more[key] = earlier.get(key, {}) | value
    versions = {"python": platform.python_version(), "torch": version("torch"), "assay": __version__}
    write_json(path, {"experiment": name, "versions": versions, "rows": _merge(earlier["rows"], new), **more})
    print(f"wrote {path}")
    return path


def _merge(earlier: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the new rows and those of the existing file that `write_result` keeps, in the order of the latter."""
    new_names = {row["name"] for row in new}
    merged = {row["name"]: row for row in earlier if row["runs"] or row["name"] in new_names}
    for row in new:
        found = merged.get(row["name"])
        if found is None or found["recipe"] != row["recipe"] or found["runs"] <= row["runs"]:
            merged[row["name"]] = row
    return list(merged.values())


def read_result(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """Read `NAME.json`; None if it does not exist."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values

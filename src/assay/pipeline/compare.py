"""Compare classifiers on the same images and test whether differences to the best are significant.

Reads stored predictions of runs, evaluations and cross-validations; no classifier is run.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assay.core.errors import AssayError, UsageError
from assay.core.tables import Cell, write_rows
from assay.core.text_layout import align_columns, counted, format_number, format_percent
from assay.data import Split, read_manifest
from assay.evaluation import Comparison, Metrics, Predictions, compare_paired, compute_metrics
from assay.evaluation.intervals import CONFIDENCE_LEVEL
from assay.evaluation.present_labels import PresentLabels, apply_labels
from assay.pipeline.run_folder import Run
from assay.pipeline.training_overlap import split_title

_PREDICTIONS = "predictions.npz"


@dataclass(frozen=True)
class RunResult:
    """The predictions of one classifier on labelled images."""

    name: str
    """As given by the user."""
    split: str
    """Which images: test, validation, held-out, out of fold, or a dash if unknown."""
    predictions: Predictions
    metrics: Metrics

    @property
    def precision(self) -> float | None:
        """Precision of the positive class, else the mean over the classes."""
        positive = self.metrics.positive
        return self.metrics.macro.precision if positive is None else self.metrics.of(positive).precision


@dataclass(frozen=True)
class RunComparison:
    """One classifier compared with the best.

    Attributes:
        result: of the classifier.
        best: whether it is the best.
        comparison: with the best on the same images, the best first; None for the best, and if they are not
            comparable.
        adjusted: p-value, adjusted for the number of comparisons (Holm); None without a comparison.
        reason: why there is no comparison; empty if there is one.
    """

    result: RunResult
    best: bool
    comparison: Comparison | None = None
    adjusted: float | None = None
    reason: str = ""

    @property
    def significant(self) -> bool | None:
        """Whether the difference to the best is significant; None without a comparison."""
        return None if self.adjusted is None else self.adjusted < 1 - CONFIDENCE_LEVEL

    @property
    def text(self) -> str:
        """The difference to the best in a few words."""
        if self.best:
            return "best"
        if self.comparison is None or self.adjusted is None:
            return "not comparable"
        p_value = "p < 0.001" if self.adjusted < 0.001 else f"p {self.adjusted:.3f}"
        significance = "significant" if self.significant else "not significant"
        return f"{100 * self.comparison.difference:+.1f} points, {p_value}: {significance}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        comparison = None if self.comparison is None else self.comparison.to_dict()
        if comparison is not None:
            del comparison["significant"]  # by the p-value before its adjustment
        return {
            "name": self.result.name,
            "split": self.result.split,
            "precision": self.result.precision,
            "metrics": self.result.metrics.to_dict(),
            "best": self.best,
            "comparison": comparison,
            "p_adjusted": self.adjusted,
            "significant": self.significant,
            "reason": self.reason,
        }

    def row(self) -> dict[str, Cell]:
        """Return the row of a CSV table."""
        metrics, comparison = self.result.metrics, self.comparison
        low, high = metrics.accuracy_interval or (None, None)
        return {
            "name": self.result.name,
            "split": self.result.split,
            "photos": metrics.count,
            "accuracy": metrics.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "balanced_accuracy": metrics.balanced_accuracy,
            "precision": self.result.precision,
            "precision_of": metrics.positive or "mean of classes",
            "log_loss": metrics.log_loss,
            "best": "yes" if self.best else "no",
            "difference": comparison.difference if comparison else None,
            "difference_low": comparison.interval.low if comparison else None,
            "difference_high": comparison.interval.high if comparison else None,
            "p_value": comparison.p_value if comparison else None,
            "p_adjusted": self.adjusted,
            "significant": {None: None, True: "yes", False: "no"}[self.significant],
            "note": self.reason,
        }


@dataclass(frozen=True)
class Ranking:
    """All classifiers compared with the best, in the given order.

    Attributes:
        comparisons: of each classifier.
        labels: what other labels than those of the evaluations changed; None: there were none.
    """

    comparisons: tuple[RunComparison, ...]
    labels: PresentLabels | None = None

    @property
    def best(self) -> RunResult:
        """The classifier with the highest accuracy; of equal ones, the one with the lowest log-loss."""
        return next(comparison.result for comparison in self.comparisons if comparison.best)

    @property
    def text(self) -> str:
        """The comparison as a table, followed by notes on the test."""
        positives = {comparison.result.metrics.positive for comparison in self.comparisons}
        precision = f"precision of {positives.pop()}" if len(positives) == 1 and None not in positives else "precision"
        header = [
            "",
            "photos",
            "accuracy",
            "95 % interval",
            "balanced",
            precision,
            "log-loss",
            "difference to the best",
        ]
        rows = [header]
        for comparison in self.comparisons:
            result, metrics = comparison.result, comparison.result.metrics
            interval = metrics.accuracy_interval
            low = "" if interval is None else format_percent(interval.low).removesuffix(" %")
            rows.append(
                [
                    result.name,
                    f"{metrics.count} {result.split}".removesuffix(" –"),
                    format_percent(metrics.accuracy),
                    "–" if interval is None else f"{low}–{format_percent(interval.high)}",
                    format_percent(metrics.balanced_accuracy),
                    format_percent(result.precision),
                    format_number(metrics.log_loss),
                    comparison.text,
                ]
            )
        notes = [f"{other.result.name}: {other.reason}" for other in self.comparisons if other.reason]
        if (labels := self.labels) is not None:
            photos = counted(len(labels.predictions[0]), "photo")
            changed = counted(labels.changed, "label")
            left = f"{labels.left_out:,} of some evaluations left out"
            notes.append(f"compared on {photos} that all were evaluated on ({left}); {changed} changed since")
        if count := sum(comparison.comparison is not None for comparison in self.comparisons):
            note = "p: McNemar's exact test on the same photos; significant below 0.05"
            notes.append(f"{note}; adjusted for {count} comparisons (Holm)" if count > 1 else note)
        return "\n".join([align_columns(rows), *(["", *notes] if notes else [])])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        labels = None if self.labels is None else self.labels.to_dict()
        compared = [comparison.to_dict() for comparison in self.comparisons]
        return {"best": self.best.name, "labels": labels, "compared": compared}

    def write_csv(self, path: Path) -> None:
        """Write a row per classifier."""
        write_rows(path, [comparison.row() for comparison in self.comparisons])


def compare_results(paths: Sequence[Path], positive_class: str | None = None, labels: Path | None = None) -> Ranking:
    """Compare classifiers by their stored predictions.

    Args:
        paths: two or more of: run folders (their test images, else validation), cross-validations (out of fold),
            folders of an evaluation, `predictions.npz` files.
        positive_class: class of the precision; None: that of the first evaluation.
        labels: a manifest with other labels, such as corrected ones; its rows are found by their id, else by their
            path. The classifiers are compared on the images that all of them were evaluated on, with these labels.

    Raises:
        UsageError: fewer than two paths, a repeated path, a path without predictions, or an unknown class.
        AssayError: a file is damaged, or with `labels` the evaluations have no labelled image in common.
    """
    if len(paths) < 2:
        raise UsageError("give two or more run folders, evaluations or predictions.npz files to compare")
    if repeated := [path for path in paths if paths.count(path) > 1]:
        raise UsageError(f"{repeated[0]} is named twice: compare different classifiers")
    results = [read_run_result(path, positive_class) for path in paths]
    if labels is None:
        return rank(results)
    evaluations = [result.predictions for result in results]
    applied = apply_labels(evaluations, _present_labels(labels, evaluations))
    relabelled = [
        replace(result, predictions=predictions, metrics=compute_metrics(predictions, result.metrics.positive))
        for result, predictions in zip(results, applied.predictions, strict=True)
    ]
    return replace(rank(relabelled), labels=applied)


def _present_labels(manifest: Path, evaluations: Sequence[Predictions]) -> dict[str, str]:
    """Return the label of each image by its id; a row with another id is that of the image with the same path."""
    samples = read_manifest(manifest).samples
    present = {sample.id: sample.label for sample in samples}
    by_path = {os.path.realpath(sample.path): sample.label for sample in samples}
    for item in evaluations:
        # Photos in a tar have the path of the tar.
        times = Counter(item.paths)
        for name, path in zip(item.ids, item.paths, strict=True):
            if name not in present and times[path] == 1 and (label := by_path.get(os.path.realpath(path))) is not None:
                present[name] = label
    return present


def read_run_result(path: Path, positive_class: str | None = None, name: str | None = None) -> RunResult:
    """Read the predictions of a run, a cross-validation or an evaluation.

    Raises:
        UsageError: the path has no predictions, or `positive_class` is unknown.
        AssayError: they are damaged.
    """
    file, split = _find_predictions(path)
    predictions = Predictions.load(file)
    metrics = compute_metrics(predictions, positive_class or _stored_positive_class(file, predictions))
    return RunResult(name or str(path), split, predictions, metrics)


def rank(results: Sequence[RunResult]) -> Ranking:
    """Find the best classifier and compare each of the others with it."""
    best = max(results, key=lambda result: (result.metrics.accuracy or 0, -(result.metrics.log_loss or 0)))
    comparisons = [_compare_with_best(best, result) for result in results]
    p_values = [found.comparison.p_value for found in comparisons if found.comparison is not None]
    adjusted = iter(holm_adjust(p_values))
    return Ranking(
        tuple(found if found.comparison is None else replace(found, adjusted=next(adjusted)) for found in comparisons)
    )


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple comparisons.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979).
    """
    adjusted = [0.0] * len(p_values)
    lower = 0.0
    for position, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        lower = max(lower, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = lower
    return adjusted


def _compare_with_best(best: RunResult, other: RunResult) -> RunComparison:
    if other is best:
        return RunComparison(other, best=True)
    try:
        return RunComparison(other, best=False, comparison=compare_paired(best.predictions, other.predictions))
    except AssayError as error:
        return RunComparison(other, best=False, reason=str(error))


def _find_predictions(path: Path) -> tuple[Path, str]:
    """Return the file of predictions, and the name of their split."""
    if path.is_file():
        if path.suffix == ".npz":
            return path, "–"
        raise UsageError(f"{path} has no predictions: give the folder of its run, or the output of `assay evaluate`")
    if not path.is_dir():
        raise UsageError(f"{path} does not exist: give a run folder, an evaluation or a predictions.npz")
    splits: tuple[Split, ...] = ("test", "val")
    for split in splits:
        if (file := path / "evaluation" / split / _PREDICTIONS).is_file():
            return file, split_title(Run(path), split)
    if (file := path / _PREDICTIONS).is_file():
        # The folder of a cross-validated variant has no crossval.json of its own.
        crossval = (path / "crossval.json").is_file() or (path / "repeat-1").is_dir()
        if crossval:
            return file, "out of fold"
        run = Run(path.resolve().parent.parent)
        return file, next((split_title(run, split) for split in splits if split == path.name), "–")
    if (path / "run.json").is_file():
        raise UsageError(f"{path} has not been evaluated yet: resume it with `assay train --resume {path}`")
    if (path / "crossval.json").is_file():
        raise UsageError(f"{path} is not complete: resume it with `assay crossval --resume {path}`")
    raise UsageError(f"{path} has no predictions: give a run folder, an evaluation or a predictions.npz")


def _stored_positive_class(file: Path, predictions: Predictions) -> str | None:
    """Return the positive class named in a file of metrics beside the predictions, if there is one."""
    for name in ("metrics.json", "results.json"):
        try:
            value = json.loads((file.parent / name).read_text(encoding="utf-8")).get("positive")
        except (OSError, ValueError, AttributeError):
            continue
        if value in predictions.classes:
            return str(value)
    return None

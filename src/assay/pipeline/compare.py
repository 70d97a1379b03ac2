"""Compare classifiers on the same images and test whether differences to the best are significant.

Reads stored predictions of runs, evaluations and cross-validations; no classifier is run.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.core.errors import AssayError, UsageError
from assay.core.tables import Cell, align_columns, format_number, format_percent, write_csv
from assay.evaluation import Comparison, Metrics, Predictions, compare, compute_metrics
from assay.evaluation.intervals import CONFIDENCE_LEVEL

_PREDICTIONS = "predictions.npz"
_SPLIT_TITLES = {"test": "test", "val": "validation"}


@dataclass(frozen=True)
class RunResult:
    """One classifier on labelled photos."""

    name: str
    """As it was typed."""
    part: str
    """Which photos: test, validation, out of fold, or a dash where the file does not say."""
    predictions: Predictions
    metrics: Metrics

    @property
    def precision(self) -> float | None:
        """Precision of the class that is looked for, else the mean over the classes."""
        one = self.metrics.positive
        return self.metrics.macro.precision if one is None else self.metrics.of(one).precision


@dataclass(frozen=True)
class RunComparison:
    """What a contestant's photos say against the best one's.

    Attributes:
        contestant: who is compared.
        best: whether it is the best itself.
        comparison: against the best on the same photos, the best one first; None for the best, and where the
            two cannot be compared.
        adjusted: p-value, adjusted for the number of comparisons (Holm); None where there is no comparison.
        reason: why there is no comparison; empty if there is one.
    """

    contestant: RunResult
    best: bool
    comparison: Comparison | None = None
    adjusted: float | None = None
    reason: str = ""

    @property
    def more_than_chance(self) -> bool | None:
        """Whether the best is better by more than chance; None without a comparison."""
        return None if self.adjusted is None else self.adjusted < 1 - CONFIDENCE_LEVEL

    @property
    def sentence(self) -> str:
        """The verdict in a few words."""
        if self.best:
            return "best"
        if self.comparison is None or self.adjusted is None:
            return "cannot be compared photo by photo"
        points = f"{100 * self.comparison.difference:+.1f} points, {_p_value(self.adjusted)}"
        return f"{points}: {'more than chance' if self.more_than_chance else 'may be chance'}"


@dataclass(frozen=True)
class Ranking:
    """All contestants, in the order in which they were named."""

    verdicts: tuple[RunComparison, ...]

    @property
    def best(self) -> RunResult:
        """The one with the highest accuracy; of equals the one with the lowest log-loss."""
        return next(one.contestant for one in self.verdicts if one.best)

    @property
    def text(self) -> str:
        """The table as people read it."""
        return ranking_table(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"best": self.best.name, "compared": [_to_dict(one) for one in self.verdicts]}

    def write_csv(self, path: Path) -> None:
        """Write a row a contestant."""
        rows = [_row(one) for one in self.verdicts]
        write_csv(path, list(rows[0]), [list(row.values()) for row in rows])


def compare_results(paths: Sequence[Path], positive: str | None = None) -> Ranking:
    """Compare classifiers by what they left.

    Args:
        paths: two or more of: run folders (their test photos, else validation), cross-validations (out of
            fold), folders of an evaluation, `predictions.npz` files.
        positive: the class whose precision is told; none: the one that the first of them was judged by.

    Raises:
        UsageError: fewer than two, one twice, a path that holds no predictions, or no such class.
        AssayError: a file is damaged.
    """
    if len(paths) < 2:
        raise UsageError("give two or more run folders, evaluations or predictions.npz files to compare")
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise UsageError(f"{twice[0]} is named twice: compare different classifiers")
    return rank([read_run_result(path, positive) for path in paths])


def read_run_result(path: Path, positive: str | None = None, name: str | None = None) -> RunResult:
    """Read the predictions of a run, a cross-validation or an evaluation.

    Raises:
        UsageError: the path holds no predictions, or no class is called `positive`.
        AssayError: they are damaged.
    """
    file, part = _find_predictions(path)
    predictions = Predictions.load(file)
    metrics = compute_metrics(predictions, positive or _positive(file, predictions))
    return RunResult(name or str(path), part, predictions, metrics)


def rank(contestants: Sequence[RunResult]) -> Ranking:
    """Find the best and compare it with each of the others."""
    best = max(contestants, key=lambda one: (one.metrics.accuracy or 0, -(one.metrics.log_loss or 0)))
    found = [_compare_with_best(best, one) for one in contestants]
    values = [one.comparison.p_value for one in found if one.comparison is not None]
    adjusted = iter(holm_adjust(values))
    return Ranking(
        tuple(
            one
            if one.comparison is None
            else RunComparison(one.contestant, best=False, comparison=one.comparison, adjusted=next(adjusted))
            for one in found
        )
    )


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of one false alarm among them all is what each promises.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979).
    """
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank_, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank_) * p_values[place]))
        adjusted[place] = least
    return adjusted


def ranking_table(ranking: Ranking) -> str:
    """Return the table as aligned text, with a line on how to read it."""
    positives = {one.contestant.metrics.positive for one in ranking.verdicts}
    precision = f"precision of {positives.pop()}" if len(positives) == 1 and None not in positives else ""
    header = ["", "photos", "accuracy", "95 % interval", "balanced", precision or "precision", "log-loss"]
    rows = [[*header, "against the best"]]
    for verdict in ranking.verdicts:
        one, metrics = verdict.contestant, verdict.contestant.metrics
        interval = metrics.accuracy_interval
        rows.append(
            [
                one.name,
                f"{metrics.count} {one.part}".removesuffix(" –"),
                format_percent(metrics.accuracy),
                "–" if interval is None else f"{_bare(interval.low)}–{format_percent(interval.high)}",
                format_percent(metrics.balanced_accuracy),
                format_percent(one.precision),
                format_number(metrics.log_loss),
                verdict.sentence,
            ]
        )
    return "\n".join([align_columns(rows), *_notes(ranking)])


def _notes(ranking: Ranking) -> list[str]:
    count = sum(one.comparison is not None for one in ranking.verdicts)
    notes = [f"{one.contestant.name}: {one.reason}" for one in ranking.verdicts if one.reason]
    if count:
        note = "p: McNemar's exact test on the same photos; below 0.05 it is more than chance"
        notes.append(f"{note}; adjusted for {count} comparisons (Holm)" if count > 1 else note)
    return ["", *notes] if notes else []


def _find_predictions(path: Path) -> tuple[Path, str]:
    """Return the file of predictions and which photos they are of."""
    if path.is_file():
        if path.suffix == ".npz":
            return path, "–"
        raise UsageError(f"{path} holds no predictions: give the folder of its run, or what `assay evaluate` wrote")
    if not path.is_dir():
        raise UsageError(f"{path} does not exist: give a run folder, an evaluation or a predictions.npz")
    for part, name in _SPLIT_TITLES.items():
        if (file := path / "evaluation" / part / _PREDICTIONS).is_file():
            return file, name
    if (file := path / _PREDICTIONS).is_file():
        # The folder of a variant that was cross-validated has no crossval.json of its own.
        crossval = (path / "crossval.json").is_file() or (path / "repeat-1").is_dir()
        return file, "out of fold" if crossval else _SPLIT_TITLES.get(path.name, "–")
    if (path / "run.json").is_file():
        raise UsageError(f"{path} has not been judged yet: finish it with `assay train --resume {path}`")
    if (path / "crossval.json").is_file():
        raise UsageError(f"{path} is not done yet: finish it with `assay crossval --resume {path}`")
    raise UsageError(f"{path} holds no predictions: give a run folder, an evaluation or a predictions.npz")


def _positive(file: Path, predictions: Predictions) -> str | None:
    """Return the class that was looked for when the predictions were made, if a file beside them says."""
    for name in ("metrics.json", "results.json"):
        try:
            value = json.loads((file.parent / name).read_text(encoding="utf-8")).get("positive")
        except (OSError, ValueError, AttributeError):
            continue
        if value in predictions.classes:
            return str(value)
    return None


def _compare_with_best(best: RunResult, other: RunResult) -> RunComparison:
    if other is best:
        return RunComparison(other, best=True)
    try:
        return RunComparison(other, best=False, comparison=compare(best.predictions, other.predictions))
    except AssayError as error:
        return RunComparison(other, best=False, reason=str(error))


def _bare(share: float) -> str:
    return format_percent(share).removesuffix(" %")


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"


def _to_dict(verdict: RunComparison) -> dict[str, Any]:
    one = verdict.contestant
    comparison = None if verdict.comparison is None else verdict.comparison.to_dict()
    if comparison is not None:
        del comparison["significant"]  # not adjusted, and so another than ours
    return {
        "name": one.name,
        "part": one.part,
        "precision": one.precision,
        "metrics": one.metrics.to_dict(),
        "best": verdict.best,
        "comparison": comparison,
        "p_adjusted": verdict.adjusted,
        "more_than_chance": verdict.more_than_chance,
        "reason": verdict.reason,
    }


def _row(verdict: RunComparison) -> dict[str, Cell]:
    one, metrics, found = verdict.contestant, verdict.contestant.metrics, verdict.comparison
    low, high = metrics.accuracy_interval or (None, None)
    chance = {None: None, True: "yes", False: "no"}[verdict.more_than_chance]
    return {
        "name": one.name,
        "part": one.part,
        "photos": metrics.count,
        "accuracy": metrics.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": metrics.balanced_accuracy,
        "precision": one.precision,
        "precision_of": metrics.positive or "mean of classes",
        "log_loss": metrics.log_loss,
        "best": "yes" if verdict.best else "no",
        "difference": found.difference if found else None,
        "difference_low": found.interval.low if found else None,
        "difference_high": found.interval.high if found else None,
        "p_value": found.p_value if found else None,
        "p_adjusted": verdict.adjusted,
        "more_than_chance": chance,
        "note": verdict.reason,
    }

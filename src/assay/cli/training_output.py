"""Console text of training and evaluation: data summary, epochs, metrics, calibration and abstention."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from assay.cli.console import echo
from assay.core.printable_text import printable
from assay.core.text_layout import (
    MAX_CLASSES_LISTED,
    MAX_CLASSES_SHOWN,
    align_columns,
    counted,
    format_percent,
    join_names,
)

if TYPE_CHECKING:
    from assay.core.progress import Progress
    from assay.data import Dataset
    from assay.evaluation import AnswerCounts, Metrics, ThresholdSelection
    from assay.evaluation.learning_curve import LearningCurve
    from assay.pipeline import ExperimentCallbacks, RunMetrics
    from assay.pipeline.auto import Candidate, FineTuningPlan
    from assay.recipe import Recipe
    from assay.training import EpochMetrics, History


def describe_data(dataset: "Dataset", min_images: int) -> str:
    """Return a table of photos by class and split, with warnings and skipped files."""
    from assay.data import SPLITS, count_groups, leaking_groups

    counts = {split: dataset.counts(split) for split in SPLITS}
    shown, rest = _shown_classes(dataset)
    rows = [["", *SPLITS], *([name, *(str(counts[split][name]) for split in SPLITS)] for name in shown)]
    if rest:
        others = [str(sum(counts[split][name] for name in rest)) for split in SPLITS]
        rows.append([counted(len(rest), "more class"), *others])
    lines = [
        f"{counted(len(dataset), 'photo')}, {counted(len(dataset.classes), 'class')}",
        *align_columns(rows).split("\n"),
    ]
    kept = count_groups(dataset.samples) - len(leaking_groups(dataset.samples))
    if kept:
        lines.append(
            f"{counted(kept, 'group')} of photos (duplicates, bursts, custom groups), each kept within one split"
        )
    few = [name for name, count in dataset.counts().items() if count < min_images]
    if few:
        lines.append(f"warning: fewer than {counted(min_images, 'photo')} of {join_names(few)}; add more")
    lines += [f"warning: {sentence}" for sentence in [*_label_conflicts(dataset), *dataset.warnings]]
    lines += [f"skipped: {sample.path}: {sample.reason}" for sample in dataset.unreadable[:5]]
    if len(dataset.unreadable) > 5:
        lines.append(f"skipped: {counted(len(dataset.unreadable) - 5, 'more file')}")
    if dataset.skipped:
        lines.append("skipped: " + ", ".join(f"{count} {reason}" for reason, count in dataset.skipped.items()))
    return "\n".join(map(printable, lines))


def _shown_classes(dataset: "Dataset") -> "tuple[list[str], list[str]]":
    """Return the classes to list and the others; of many classes the smallest are listed."""
    names = list(dataset.classes)
    if len(names) <= MAX_CLASSES_SHOWN:
        return names, []
    counts = dataset.counts()
    smallest = set(sorted(names, key=lambda name: counts[name])[:MAX_CLASSES_LISTED])
    return [name for name in names if name in smallest], [name for name in names if name not in smallest]


def _label_conflicts(dataset: "Dataset") -> list[str]:
    """Return a warning if identical files have different labels."""
    labels: dict[str, set[str]] = {}
    for sample in dataset.samples:
        labels.setdefault(sample.digest or sample.id, set()).add(sample.label)
    twice = [sample.id for sample in dataset.samples if len(labels[sample.digest or sample.id]) > 1]
    if not twice:
        return []
    named = ", ".join(twice[:3]) + (", ..." if len(twice) > 3 else "")
    return [f"{len(twice)} identical photos have different labels ({named}): see `assay check`"]


def describe_metrics(metrics: "Metrics", split: str) -> str:
    """Return a sentence on the metrics, and a line for the positive class."""
    lines = [f"{split}: {metrics.sentence}"]
    if metrics.count and metrics.positive is not None:
        positive = metrics.of(metrics.positive)
        figures = [("precision", positive.precision), ("recall", positive.recall), ("F1", positive.f1)]
        text = ", ".join(f"{name} {value:.3f}" for name, value in figures if value is not None)
        lines.append(f"{metrics.positive}: {text}")
    return "\n".join(map(printable, lines))


def describe_confidence(confidence: Mapping[str, Any], split: str) -> str:
    """Return lines on calibration and abstention.

    Args:
        confidence: the entry `confidence` of a bundle's metrics.
        split: the split whose coverage is reported, `test` or `val`.
    """
    calibration = confidence["calibration"]
    before, after = calibration["before"], calibration["after"]
    if calibration["temperature"] == 1:
        found = f"not recalibrated: temperature scaling did not help (ECE {before['ece']:.3f})"
    else:
        found = (
            f"temperature {calibration['temperature']:.3g}: ECE {before['ece']:.3f} → "
            f"{after['ece']:.3f}, log-loss {before['nll']:.3f} → {after['nll']:.3f} on held-out photos"
        )
    lines = [f"confidence  {found}"]
    chosen, answered = confidence.get("abstaining"), confidence.get(split, {}).get("answered")
    if chosen is not None and answered is not None:
        lines.append(f"unknown     {_coverage_text(answered, chosen['threshold'])}")
        lines.append(f"            {_guarantee_text(chosen)}")
        if answered["answered"] < _FEW_ANSWERS * answered["count"]:
            lines.append("            for more answers, train with a lower --target-precision, or predict --no-abstain")
    return "\n".join(lines)


_FEW_ANSWERS = 0.5
"""Share of answered photos below which ways to more answers are named."""


def describe_learning_curve(curve: "LearningCurve") -> str:
    """Return a line on the accuracy that more photos would bring."""
    now, more = format_percent(curve.now.score), curve.more
    if not more:
        return f"more photos no estimate: the {curve.metric} of a linear probe, {now}, does not rise with their number"
    twice, four = more
    interval = f"{format_percent(twice.low)} to {format_percent(twice.high)}"
    return (
        f"more photos {format_percent(twice.score)} with twice as many ({interval}), {format_percent(four.score)} with "
        f"four times;\n            now {now} ({curve.metric} of a linear probe, cross-validated)"
    )


def describe_abstention(
    answered: "AnswerCounts", threshold: float | None, selection: "ThresholdSelection | None"
) -> str:
    """Return lines on coverage and precision, and the guarantee of another target if one was chosen."""
    lines = [f"unknown     {_coverage_text(answered.to_dict(), threshold)}"]
    if selection is not None:
        lines.append(f"            {_guarantee_text(selection.to_dict())}")
    return "\n".join(lines)


def _coverage_text(counts: Mapping[str, Any], threshold: float | None) -> str:
    photos = counted(counts["count"], "photo")
    if not counts["answered"]:
        return f"{photos}, all of them unknown"
    least = "" if threshold is None else f" at confidence ≥ {threshold:.3f}"
    return (
        f"coverage {format_percent(counts['coverage'])} of {photos}{least}, "
        f"precision {format_percent(counts['precision'])};\n"
        f"            {counted(counts['out_of_distribution'], 'photo is', 'photos are')} out of distribution"
    )


_RELATED = 1.05
"""Design effect above which groups are mentioned."""


def _guarantee_text(chosen: Mapping[str, Any]) -> str:
    target, photos = format_percent(chosen["target"]), f"from {counted(chosen['count'], 'held-out photo')}"
    if chosen.get("design_effect", 1) > _RELATED:
        independent = chosen["count"] / chosen["design_effect"]
        photos += f", which count as {independent:.0f} because of their groups"
    coverage, bound = format_percent(chosen["coverage"]), format_percent(chosen["bound"])
    if chosen["reached"]:
        return f"{target} precision is guaranteed {photos}; at {coverage} coverage the guarantee is {bound}"
    found = f"{chosen['correct']:,} of {chosen['answered']:,} are correct, the guarantee is {bound}"
    return f"{target} precision cannot be guaranteed {photos}; at {coverage} coverage {found}"


_PRINT_INTERVAL = 10.0  # seconds between the lines of a head that is fitted to kept embeddings


class EpochPrinter:
    """Prints the epochs of one or more named runs.

    Epochs of a head trained on cached embeddings take milliseconds, so at most one of them is printed every
    ten seconds. `metrics.csv` and `training.log` of the run contain all epochs.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Create a printer; `clock` returns seconds."""
        self._clock = clock
        self._last: dict[str, float] = {}

    def __call__(self, name: str, row: "EpochMetrics", recipe: "Recipe") -> None:
        """Print an epoch if it is due; an empty run name is omitted."""
        from assay.training import format_epoch
        from assay.training.feature_extraction import uses_cached_embeddings

        if uses_cached_embeddings(recipe):
            now = self._clock()
            if now - self._last.setdefault(name, now) < _PRINT_INTERVAL:
                return
            self._last[name] = now
        echo(f"{name}  {format_epoch(row, recipe.train.epochs)}".lstrip())


def print_head_fit(history: "History", recipe: "Recipe") -> None:
    """Print a summary line if a head was fitted to cached embeddings; nothing otherwise."""
    from assay.training.feature_extraction import uses_cached_embeddings

    if not uses_cached_embeddings(recipe):
        return
    best = history.metrics[history.best_epoch - 1]
    epochs = counted(len(history.metrics), "epoch")
    stopped = ", stopped early" if history.stopped_early else ""
    echo(
        f"trained the head: {epochs} in {history.seconds:.1f} s{stopped}; best epoch {best.epoch}: "
        f"loss {best.train_loss:.4f}  accuracy {best.train_accuracy:.4f}"
        f"  val loss {best.val_loss:.4f}  val accuracy {best.val_accuracy:.4f}"
    )


def print_candidate(candidate: "Candidate", objective: str | None) -> None:
    """Print a candidate of the strategy `auto`; `objective` is that of the recipe."""
    if candidate.accuracy is None:
        echo(f"not tried: {candidate.name} ({candidate.reason})")
        return
    photos = counted(candidate.photos, "held-out photo")
    half_width = f"± {100 * (candidate.half_width or 0):.1f}"
    score = f"{format_percent(candidate.accuracy)} {half_width}"
    if objective == "balanced_accuracy":
        score = (
            f"balanced accuracy {format_percent(candidate.balanced_accuracy)} {half_width}, "
            f"accuracy {format_percent(candidate.accuracy)},"
        )
    echo(
        f"after {_duration(candidate.after)}: {score} on {photos}: {candidate.name}",
        f"  {candidate.outcome}: {candidate.reason}",
    )


def print_plan(plan: "FineTuningPlan") -> None:
    """Print how long fine-tuning will take."""
    trainings = len(plan.comparison.folds)
    times = "" if trainings == 1 else f" of {trainings} networks"
    about = f", about {_duration(plan.seconds)}" if plan.seconds else ""
    epochs = counted(plan.recipe.train.epochs, "epoch")
    echo(f"fine-tuning{times}: {epochs}{about}; Ctrl-C keeps the best classifier so far")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def experiment_callbacks(progress: "Progress", *, quiet: bool) -> "ExperimentCallbacks":
    """Return callbacks that print epochs and finished runs; only progress bars if `quiet`."""
    from assay.pipeline import ExperimentCallbacks

    if quiet:
        return ExperimentCallbacks(progress)
    return ExperimentCallbacks(progress, on_data=_print_data, on_epoch=EpochPrinter(), on_run=_print_run)


def _print_data(dataset: "Dataset") -> None:
    from assay.data import count_groups

    counts = join_names([f"{name} {count}" for name, count in dataset.counts().items()], MAX_CLASSES_SHOWN)
    lines = [f"{counted(len(dataset), 'photo')}: {counts}"]
    if kept := count_groups(dataset.samples):
        lines.append(
            f"{counted(kept, 'group')} of photos (duplicates, bursts, custom groups), each kept within one split"
        )
    lines += [f"warning: {sentence}" for sentence in dataset.warnings]
    if dataset.unreadable:
        first = dataset.unreadable[0]
        lines.append(f"skipped: {counted(len(dataset.unreadable), 'file')}, such as {first.path}: {first.reason}")
    echo(*lines, "")


def _print_run(name: str, figures: "RunMetrics") -> None:
    names = {"train": "training", "val": "validation", "test": "test"}
    accuracies = [
        f"{names[split]} {format_percent(metrics.accuracy)}"
        for split, metrics in figures.items()
        if metrics.accuracy is not None
    ]
    echo(f"{name}  done: accuracy {', '.join(accuracies)}")

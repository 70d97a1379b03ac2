"""Console text of training and evaluation: data summary, epochs, metrics, calibration and abstention."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from assay.cli.console import echo, percent
from assay.core.text import printable

if TYPE_CHECKING:
    from assay.data import Dataset
    from assay.evaluation import Metrics


def describe_data(dataset: "Dataset", advised: int) -> str:
    """Say how many photos of which class stand in which part, and what is odd about them."""
    from assay.core.tables import align_columns, join_names
    from assay.data import SPLITS, count_groups, leaking_groups

    counts = {part: dataset.counts(part) for part in SPLITS}
    shown, rest = _shown_classes(dataset)
    rows = [["", *SPLITS], *([name, *(str(counts[part][name]) for part in SPLITS)] for name in shown)]
    if rest:
        others = [str(sum(counts[part][name] for name in rest)) for part in SPLITS]
        rows.append([f"{len(rest)} more classes", *others])
    lines = [f"{len(dataset)} photos, {len(dataset.classes)} classes", *align_columns(rows).split("\n")]
    kept = count_groups(dataset.samples) - len(leaking_groups(dataset.samples))
    if kept:
        lines.append(f"{kept} groups of photos (copies, bursts, your own groups) each kept in one part")
    few = [name for name, count in dataset.counts().items() if count < advised]
    if few:
        lines.append(f"warning: fewer than {advised} photos of {join_names(few)}; more would help")
    lines += [f"warning: {sentence}" for sentence in [*_label_conflicts(dataset), *dataset.warnings]]
    lines += [f"left out: {one.path}: {one.reason}" for one in dataset.unreadable[:5]]
    if len(dataset.unreadable) > 5:
        lines.append(f"left out: {len(dataset.unreadable) - 5} more files")
    if dataset.skipped:
        lines.append("skipped: " + ", ".join(f"{count} {reason}" for reason, count in dataset.skipped.items()))
    return "\n".join(map(printable, lines))


def _shown_classes(dataset: "Dataset") -> "tuple[list[str], list[str]]":
    """Return the classes that get a line, in their order, and the others; of many the smallest get one."""
    from assay.core.tables import MAX_CLASSES_LISTED, MAX_CLASSES_SHOWN

    names = list(dataset.classes)
    if len(names) <= MAX_CLASSES_SHOWN:
        return names, []
    counts = dataset.counts()
    smallest = set(sorted(names, key=lambda name: counts[name])[:MAX_CLASSES_LISTED])
    return [name for name in names if name in smallest], [name for name in names if name not in smallest]


def _label_conflicts(dataset: "Dataset") -> list[str]:
    """Say which photos, byte for byte the same, stand under two labels."""
    labels: dict[str, set[str]] = {}
    for sample in dataset.samples:
        labels.setdefault(sample.digest or sample.id, set()).add(sample.label)
    twice = [sample.id for sample in dataset.samples if len(labels[sample.digest or sample.id]) > 1]
    if not twice:
        return []
    named = ", ".join(twice[:3]) + (", ..." if len(twice) > 3 else "")
    return [f"{len(twice)} photos stand under two labels at once ({named}): `assay check` shows them"]


def describe_metrics(metrics: "Metrics", part: str) -> str:
    """Say how good a classifier is, in one sentence and a line for the class that is looked for."""
    lines = [f"{part}: {metrics.sentence}"]
    if metrics.count and metrics.positive is not None:
        one = metrics.of(metrics.positive)
        figures = [("precision", one.precision), ("recall", one.recall), ("F1", one.f1)]
        told = ", ".join(f"{name} {value:.3f}" for name, value in figures if value is not None)
        lines.append(f"{metrics.positive}: {told}")
    return "\n".join(map(printable, lines))


if TYPE_CHECKING:
    from assay.evaluation import AnswerCounts, ThresholdSelection


def describe_confidence(told: Mapping[str, Any], part: str) -> str:
    """Say what calibration gained and what `unknown` costs.

    Args:
        told: the entry `confidence` of a bundle's metrics.
        part: the part whose answers are told, `test` or `val`.
    """
    calibration = told["calibration"]
    before, after = calibration["before"], calibration["after"]
    if calibration["temperature"] == 1:
        found = f"used as it is: no temperature makes it clearly more honest (error {before['ece']:.3f})"
    else:
        found = (
            f"temperature {calibration['temperature']:.3g}: calibration error {before['ece']:.3f} → "
            f"{after['ece']:.3f}, log-loss {before['nll']:.3f} → {after['nll']:.3f} on validation photos"
        )
    lines = [f"confidence  {found}"]
    chosen, counted = told.get("abstaining"), told.get(part, {}).get("answered")
    if chosen is not None and counted is not None:
        lines.append(f"unknown     {_coverage_text(counted, chosen['threshold'])}")
        lines.append(f"            {_guarantee_text(chosen)}")
    return "\n".join(lines)


def describe_abstention(
    answered: "AnswerCounts", threshold: float | None, selection: "ThresholdSelection | None"
) -> str:
    """Say how many photos are answered and how well, and what another target promised if one was chosen."""
    lines = [f"unknown     {_coverage_text(answered.to_dict(), threshold)}"]
    if selection is not None:
        lines.append(f"            {_guarantee_text(selection.to_dict())}")
    return "\n".join(lines)


def _coverage_text(counted: Mapping[str, Any], threshold: float | None) -> str:
    if not counted["answered"]:
        return f"none of {counted['count']} photos is answered"
    least = "" if threshold is None else f" (confidence {threshold:.3f} or more)"
    return (
        f"{percent(counted['coverage'])} of {counted['count']} photos are answered{least}, "
        f"{percent(counted['precision'])} of the answers are right;\n"
        f"            photos that look unlike the training photos: {counted['unfamiliar']}"
    )


def _guarantee_text(chosen: Mapping[str, Any]) -> str:
    proof = (
        f"{chosen['count']} validation photos prove {percent(chosen['bound'])} "
        f"where {percent(chosen['coverage'])} are answered"
    )
    target = percent(chosen["target"])
    return f"target {target}: {proof}" if chosen["reached"] else f"target {target} is out of reach: {proof}"


if TYPE_CHECKING:
    from assay.recipe import Recipe
    from assay.training import EpochMetrics, History

_PRINT_INTERVAL = 10.0  # seconds between the lines of a head that is fitted to kept embeddings


class EpochPrinter:
    """Prints the epochs of runs by name.

    Every epoch in which photos go through the network is a line. The epochs of a head that learns from
    embeddings take milliseconds: of those a line is printed every ten seconds at most, so that quick ones
    print none. `metrics.csv` and `training.log` of the run hold them all.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no run known; `clock` tells the time in seconds."""
        self._clock = clock
        self._last: dict[str, float] = {}

    def __call__(self, name: str, row: "EpochMetrics", recipe: "Recipe") -> None:
        """Print an epoch of a run, if it is time; an empty name is not printed."""
        from assay.training import format_epoch
        from assay.training.feature_extraction import uses_cached_embeddings

        if uses_cached_embeddings(recipe):
            now = self._clock()
            if now - self._last.setdefault(name, now) < _PRINT_INTERVAL:
                return
            self._last[name] = now
        echo(f"{name}  {format_epoch(row, recipe.train.epochs)}".lstrip())


def print_head_fit(history: "History", recipe: "Recipe") -> None:
    """Print one line about a head that was fitted to embeddings; nothing of other training."""
    from assay.training.feature_extraction import uses_cached_embeddings

    if not uses_cached_embeddings(recipe):
        return
    best = history.rows[history.best_epoch - 1]
    epochs = "1 epoch" if len(history.rows) == 1 else f"{len(history.rows)} epochs"
    stopped = ", stopped early" if history.stopped_early else ""
    echo(
        f"trained the head: {epochs} in {history.seconds:.1f} s{stopped}; best epoch {best.epoch}: "
        f"loss {best.train_loss:.4f}  accuracy {best.train_accuracy:.4f}"
        f"  val loss {best.val_loss:.4f}  val accuracy {best.val_accuracy:.4f}"
    )


if TYPE_CHECKING:
    from assay.core.progress import Progress
    from assay.data import Dataset
    from assay.pipeline import ExperimentCallbacks, RunMetrics


def experiment_callbacks(progress: "Progress", *, quiet: bool) -> "ExperimentCallbacks":
    """Return who prints epochs and runs, each with the run's name; only progress when `quiet`."""
    from assay.pipeline import ExperimentCallbacks

    if quiet:
        return ExperimentCallbacks(progress)
    return ExperimentCallbacks(progress, on_data=_print_data, on_epoch=EpochPrinter(), on_run=_print_run)


def _print_data(dataset: "Dataset") -> None:
    from assay.core.tables import MAX_CLASSES_SHOWN, join_names
    from assay.data import count_groups

    counts = join_names([f"{name} {count}" for name, count in dataset.counts().items()], MAX_CLASSES_SHOWN)
    lines = [f"{len(dataset)} photos: {counts}"]
    if kept := count_groups(dataset.samples):
        lines.append(f"{kept} groups of photos (copies, bursts, your own groups) each kept in one part")
    lines += [f"warning: {sentence}" for sentence in dataset.warnings]
    if dataset.unreadable:
        first = dataset.unreadable[0]
        lines.append(f"left out: {len(dataset.unreadable)} files, such as {first.path}: {first.reason}")
    echo(*lines, "")


def _print_run(name: str, figures: "RunMetrics") -> None:
    names = {"train": "training", "val": "validation", "test": "test"}
    told = [f"{names[part]} {percent(one.accuracy)}" for part, one in figures.items() if one.accuracy is not None]
    echo(f"{name}  done: accuracy {', '.join(told)}")

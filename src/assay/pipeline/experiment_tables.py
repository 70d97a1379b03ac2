"""Result tables of cross-validations and variants: mean ± standard deviation, runs, out-of-fold predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from assay.bundle import Bundle
from assay.core import notebook_html
from assay.core.files import write_text
from assay.core.printable_text import printable
from assay.core.tables import Cell, write_json, write_rows
from assay.core.text_layout import align_columns, format_percent
from assay.data import SPLITS, Dataset, Split
from assay.data.splits import has_test_split
from assay.evaluation import Metrics, Predictions, compute_metrics
from assay.pipeline.auto.candidate_results import epochs_of_kept_network
from assay.pipeline.compare import Ranking
from assay.pipeline.experiment_runs import (
    METRIC_NAMES,
    MetricSummaries,
    MetricSummary,
    ResampledRun,
    Resampling,
    summarize_metrics,
)
from assay.pipeline.run_folder import SPLIT_TITLES, Run
from assay.pipeline.training_overlap import split_title
from assay.recipe import Recipe

PREDICTIONS_FILE = "predictions.npz"
"""Out-of-fold predictions: the held-out splits of one repeat joined."""

_VARIANT_METRICS = ("accuracy", "precision", "loss")
_STATISTICS = frozenset({"mean", "std", "running_mean", "running_var", "num_batches_tracked"})
"""Last names of tensors that are statistics of pixels or batch norm, not parameters."""


@dataclass(frozen=True)
class CrossvalResult:
    """The result of a cross-validation."""

    folder: Path
    dataset: Dataset
    positive: str | None
    """The positive class of the precision; None: the mean over the classes."""
    runs: tuple[ResampledRun, ...]
    summaries: MetricSummaries
    out_of_fold: Metrics
    """Of the first repeat: every image of the folds predicted once, by a classifier not trained on it."""
    held_out: Split
    """The split that holds a run's fold: `val` if the data has a test split, else `test`."""

    @property
    def text(self) -> str:
        """The table as text."""
        precision = f"precision of {self.positive}" if self.positive else "precision (mean of classes)"
        rows = [["", "accuracy", "loss", precision], *map(list, self._rows())]
        return f"{align_columns(rows)}\n± is the standard deviation over {len(self.runs)} runs"

    def _rows(self) -> list[tuple[str, ...]]:
        run = self.runs[0].run
        return [
            (
                split_title(run, split),
                *(format_metric_summary(self.summaries[split, name], name) for name in METRIC_NAMES),
            )
            for split in SPLITS
        ]

    def _repr_html_(self) -> str:
        title = f"mean ± standard deviation over {len(self.runs)} runs"
        return notebook_html.panel(title, notebook_html.table(self._rows(), ("photos", *METRIC_NAMES)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "runs": len(self.runs),
            "folds": max(run.fold for run in self.runs),
            "repeats": max(run.repeat for run in self.runs),
            "photos": len(self.dataset),
            "classes": list(self.dataset.classes),
            "positive": self.positive,
            "metrics": {
                split: {name: self.summaries[split, name].to_dict() for name in METRIC_NAMES} for split in SPLITS
            },
            "held_out": self.held_out,
            "out_of_fold": self.out_of_fold.to_dict(),
        }

    def write(self) -> None:
        """Write `results.txt`, `.json` and `.csv` (a row per split and metric), and `runs.csv`."""
        summaries: list[dict[str, Cell]] = [
            {
                "split": split,
                "metric": name,
                "mean": summary.mean,
                "std": summary.std,
                "min": summary.low,
                "max": summary.high,
                "runs": summary.runs,
            }
            for (split, name), summary in self.summaries.items()
        ]
        runs = [_run_row(run, split, self.folder) for run in self.runs for split in run.metrics]
        _write_tables(self.folder, self.text, self.to_dict(), summaries, runs)


@dataclass(frozen=True)
class Variant:
    """One variant with its runs."""

    name: str
    description: str
    folder: Path
    parameters: int
    """Parameters of the network, including a frozen backbone."""
    epochs: tuple[int, ...]
    """Of every run."""
    runs: tuple[ResampledRun, ...]
    summaries: MetricSummaries

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "folder": str(self.folder),
            "parameters": self.parameters,
            "epochs": fmean(self.epochs),
            "metrics": {
                split: {name: self.summaries[split, name].to_dict() for name in METRIC_NAMES}
                for split in SPLITS
                if self.summaries[split, "loss"].runs
            },
            "runs": [
                {
                    "repeat": run.repeat,
                    "fold": run.fold or None,
                    "run": str(run.run.folder),
                    "metrics": {
                        split: {name: metrics.get(name) for name in METRIC_NAMES}
                        for split, metrics in run.metrics.items()
                    },
                }
                for run in self.runs
            ],
        }

    def row(self) -> dict[str, Cell]:
        """Return the row of `results.csv`."""
        row: dict[str, Cell] = {
            "variant": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "epochs": fmean(self.epochs),
            "runs": len(self.runs),
        }
        for split in SPLITS:
            for name in _VARIANT_METRICS:
                summary = self.summaries[split, name]
                row |= {f"{split}_{name}": summary.mean, f"{split}_{name}_std": summary.std}
        return row


@dataclass(frozen=True)
class VariantsResult:
    """The result of training several variants."""

    folder: Path
    dataset: Dataset
    plan: Resampling
    positive: str | None
    """The positive class of the precision; None: the mean over the classes."""
    variants: tuple[Variant, ...]
    ranking: Ranking
    """The variants compared with the best one, image by image: with folds on the held-out images of the first
    repeat, else on the test images (without any, validation) of the first run."""

    @property
    def text(self) -> str:
        """The table as text, followed by the comparison."""
        head, *lines = align_columns(
            [
                ["", "parameters", "epochs"],
                *([item.name, f"{item.parameters:,}", f"{fmean(item.epochs):.0f}"] for item in self.variants),
            ]
        ).split("\n")
        described = zip(lines, self.variants, strict=True)
        lines = [f"{line}  {printable(variant.description)}".rstrip() for line, variant in described]
        blocks = ["\n".join([f"{head}  description", *lines])]
        titles = {"precision": f"precision of {self.positive}" if self.positive else "precision"}
        for split in SPLITS:
            if any(split in run.metrics for variant in self.variants for run in variant.runs):
                rows = [[SPLIT_TITLES[split], *(titles.get(name, name) for name in _VARIANT_METRICS)]]
                rows += [
                    [
                        variant.name,
                        *(format_metric_summary(variant.summaries[split, name], name) for name in _VARIANT_METRICS),
                    ]
                    for variant in self.variants
                ]
                blocks.append(align_columns(rows))
        if self.plan.runs > 1:
            blocks[-1] += f"\n± is the standard deviation over {self.plan.runs} runs of each variant"
        return "\n\n".join([*blocks, self.ranking.text])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        first = self.variants[0].runs[0].metrics
        return {
            "photos": {split: first[split].photos if split in first else 0 for split in SPLITS},
            "classes": list(self.dataset.classes),
            "positive": self.positive,
            **self.plan.to_dict(),
            "variants": [variant.to_dict() for variant in self.variants],
            "ranking": self.ranking.to_dict(),
        }

    def write(self) -> None:
        """Write `results.txt`, `.json` and `.csv` (a row per variant), `runs.csv` and `comparison.csv`."""
        runs = [
            {"variant": variant.name, **_run_row(run, split, self.folder)}
            for variant in self.variants
            for run in variant.runs
            for split in run.metrics
        ]
        _write_tables(self.folder, self.text, self.to_dict(), [variant.row() for variant in self.variants], runs)
        self.ranking.write_csv(self.folder / "comparison.csv")


def crossval_result(folder: Path, dataset: Dataset, recipe: Recipe, runs: Sequence[ResampledRun]) -> CrossvalResult:
    """Summarize complete runs, and write the out-of-fold predictions.

    `repeat-N/predictions.npz` holds the predictions of a repeat, `predictions.npz` those of the first one.

    Args:
        folder: of the cross-validation.
        dataset: all images.
        recipe: its positive class is that of the metrics.
        runs: of all folds and repeats.

    Raises:
        AssayError: a file of a run is missing or damaged.
    """
    held_out: Split = "val" if has_test_split(dataset) else "test"
    repeats = sorted({run.repeat for run in runs})
    joined = [out_of_fold([run.run for run in runs if run.repeat == repeat], held_out) for repeat in repeats]
    for repeat, predictions in zip(repeats, joined, strict=True):
        predictions.save(folder / f"repeat-{repeat}" / PREDICTIONS_FILE)
    joined[0].save(folder / PREDICTIONS_FILE)
    metrics = compute_metrics(joined[0], recipe.data.positive_class)
    return CrossvalResult(folder, dataset, metrics.positive, tuple(runs), summarize_metrics(runs), metrics, held_out)


def variant_of(name: str, recipe: Recipe, folder: Path, runs: Sequence[ResampledRun]) -> Variant:
    """Summarize the complete runs of a variant."""
    weights = Bundle.open(runs[0].run.bundle).weights()
    return Variant(
        name=name,
        description=recipe.description,
        folder=folder,
        parameters=sum(array.size for key, array in weights.items() if key.rpartition(".")[2] not in _STATISTICS),
        epochs=tuple(len(epochs_of_kept_network(run.run)) for run in runs),
        runs=tuple(runs),
        summaries=summarize_metrics(runs),
    )


def out_of_fold(runs: Sequence[Run], held_out: Split) -> Predictions:
    """Join the held-out splits of one repeat's runs, sorted by image id, without embeddings.

    Of a run whose validation images are predicted by cross-validation with the training images, only those of its
    fold count.

    Raises:
        AssayError: the predictions of a run are missing or damaged.
    """
    parts = [_of_split(run, held_out) for run in runs]
    labelled = all(part.source_labels is not None for part in parts)
    joined = Predictions(
        classes=parts[0].classes,
        ids=tuple(name for part in parts for name in part.ids),
        paths=tuple(path for part in parts for path in part.paths),
        actual=np.concatenate([part.actual for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        source_labels=tuple(name for part in parts for name in part.source_labels or ()) if labelled else None,
    )
    return joined.take(sorted(range(len(joined)), key=joined.ids.__getitem__))


def _of_split(run: Run, split: Split) -> Predictions:
    """Return the predictions of a run on the images of a split alone."""
    found, splits = Predictions.load(run.evaluation(split) / PREDICTIONS_FILE), run.splits()
    return found.take([row for row, name in enumerate(found.ids) if splits.get(name) == split])


def format_metric_summary(summary: MetricSummary, metric: str) -> str:
    """Return mean and standard deviation as text, such as `95.1 ± 0.4 %`; of a single run without ±."""
    if summary.mean is None:
        return "–"
    if metric == "loss":
        return f"{summary.mean:.3f}" + ("" if summary.std is None else f" ± {summary.std:.3f}")
    mean = format_percent(summary.mean)
    return mean if summary.std is None else f"{mean.removesuffix(' %')} ± {100 * summary.std:.1f} %"


def _run_row(run: ResampledRun, split: Split, folder: Path) -> dict[str, Cell]:
    """Return one split of one run as a row of `runs.csv` in `folder`."""
    metrics = run.metrics[split]
    return {
        "repeat": run.repeat,
        "fold": run.fold or None,
        "seed": run.run.recipe().train.seed,
        "epochs": len(epochs_of_kept_network(run.run)),
        "split": split,
        "photos": metrics.photos,
        **{name: metrics.get(name) for name in METRIC_NAMES},
        "run": run.run.folder.relative_to(folder).as_posix(),
    }


def _write_tables(
    folder: Path,
    text: str,
    values: dict[str, Any],
    results: Sequence[Mapping[str, Cell]],
    runs: Sequence[Mapping[str, Cell]],
) -> None:
    write_text(folder / "results.txt", f"{text}\n")
    write_json(folder / "results.json", values)
    write_rows(folder / "results.csv", results)
    write_rows(folder / "runs.csv", runs)

"""Result tables of cross-validations and variants: mean ± standard deviation, a row per run.

Out-of-fold predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from assay.core import notebook_html
from assay.core.files import write_text
from assay.core.tables import Cell, align_columns, format_percent, write_csv, write_json
from assay.core.text import printable
from assay.data import SPLITS, Dataset, Split
from assay.data.splits import has_test_split
from assay.evaluation import Metrics, Predictions, compute_metrics
from assay.pipeline.compare import Ranking
from assay.pipeline.report import SPLIT_TITLES
from assay.pipeline.resampling import ResampledRun, Resampling
from assay.pipeline.run_folder import Run
from assay.pipeline.run_metrics import METRIC_NAMES, MetricSummary
from assay.recipe import Recipe
from assay.training import read_metrics

PREDICTIONS_FILE = "predictions.npz"
"""What a classifier not trained on it says of every photo: one repeat's held-out parts put together."""

MetricSummaries = Mapping[tuple[Split, str], MetricSummary]


@dataclass(frozen=True)
class CrossvalResult:
    """What a cross-validation gave."""

    folder: Path
    dataset: Dataset
    positive: str | None
    """The class whose precision is told; None: the mean over the classes."""
    runs: tuple[ResampledRun, ...]
    spreads: MetricSummaries
    """Mean and standard deviation over the runs, by part and figure."""
    out_of_fold: Metrics
    """Of the first repeat: every photo of the folds judged once, by a classifier not trained on it."""
    held_out: Split
    """The part of a run that holds its fold: `val` where the data brings a test of its own, else `test`."""

    @property
    def text(self) -> str:
        """The table as people read it."""
        return summary_table(self.spreads, len(self.runs), self.positive)

    def _repr_html_(self) -> str:
        rows = [
            (SPLIT_TITLES[part], *(format_summary(self.spreads[part, name], name) for name in METRIC_NAMES))
            for part in SPLITS
        ]
        title = f"mean ± standard deviation over {len(self.runs)} runs"
        return notebook_html.panel(title, notebook_html.table(rows, ("photos", *METRIC_NAMES)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "runs": len(self.runs),
            "folds": max(one.fold for one in self.runs),
            "repeats": max(one.repeat for one in self.runs),
            "photos": len(self.dataset),
            "classes": list(self.dataset.classes),
            "positive": self.positive,
            "figures": {part: {name: self.spreads[part, name].to_dict() for name in METRIC_NAMES} for part in SPLITS},
            "held_out": self.held_out,
            "out_of_fold": self.out_of_fold.to_dict(),
        }


def write_crossval_tables(
    folder: Path, dataset: Dataset, recipe: Recipe, runs: Sequence[ResampledRun]
) -> CrossvalResult:
    """Write the tables of finished runs and the out-of-fold predictions.

    `results.txt`, `results.csv` and `results.json` hold mean and standard deviation, `runs.csv` a row for
    each run and part, `repeat-N/predictions.npz` the answers of a repeat; `predictions.npz` is the first one.

    Args:
        folder: where to.
        dataset: all photos.
        recipe: names the class that is looked for.
        runs: done and judged, of all folds and repeats.

    Raises:
        AssayError: a file of a run is missing or damaged.
    """
    first: Predictions | None = None
    held_out: Split = "val" if has_test_split(dataset) else "test"
    for repeat in sorted({one.repeat for one in runs}):
        joined = out_of_fold([one.run for one in runs if one.repeat == repeat], held_out)
        joined.save(folder / f"repeat-{repeat}" / PREDICTIONS_FILE)
        first = first or joined
    if first is None:
        raise ValueError("no runs, no table")
    first.save(folder / PREDICTIONS_FILE)
    metrics = compute_metrics(first, recipe.data.positive_class)
    spreads = summarize_metrics(runs)
    result = CrossvalResult(folder, dataset, metrics.positive, tuple(runs), spreads, metrics, held_out)
    write_json(folder / "results.json", result.to_dict())
    write_text(folder / "results.txt", result.text + "\n")
    _write_summaries(folder / "results.csv", spreads)
    _write_runs(folder / "runs.csv", runs)
    return result


def summarize_metrics(runs: Sequence[ResampledRun]) -> dict[tuple[Split, str], MetricSummary]:
    """Return mean and standard deviation of every figure over the runs, by part and figure."""
    return {
        (part, name): MetricSummary.of(one.figures[part].get(name) for one in runs if part in one.figures)
        for part in SPLITS
        for name in METRIC_NAMES
    }


def out_of_fold(runs: Sequence[Run], held_out: Split) -> Predictions:
    """Put the held-out parts of one repeat's runs together, in order of the photos' ids, without embeddings.

    Raises:
        AssayError: the predictions of a run are missing or damaged.
    """
    parts = [Predictions.load(run.evaluation(held_out) / PREDICTIONS_FILE) for run in runs]
    labelled = all(part.source_labels is not None for part in parts)
    whole = Predictions(
        classes=parts[0].classes,
        ids=tuple(name for part in parts for name in part.ids),
        paths=tuple(path for part in parts for path in part.paths),
        actual=np.concatenate([part.actual for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        source_labels=tuple(name for part in parts for name in part.source_labels or ()) if labelled else None,
    )
    return whole.take(sorted(range(len(whole)), key=whole.ids.__getitem__))


def summary_table(spreads: MetricSummaries, runs: int, positive: str | None) -> str:
    """Return mean ± standard deviation as aligned text, a row a part."""
    told = f"precision of {positive}" if positive else "precision (mean of classes)"
    rows = [["", "accuracy", "loss", told]]
    rows += [
        [SPLIT_TITLES[part], *(format_summary(spreads[part, name], name) for name in METRIC_NAMES)] for part in SPLITS
    ]
    return f"{align_columns(rows)}\n± is the standard deviation over {runs} runs"


def format_summary(spread: MetricSummary, figure: str) -> str:
    """Return one figure as people read it, such as `95.1 ± 0.4 %`; without ± where there is one run."""
    if spread.mean is None:
        return "–"
    if figure == "loss":
        return f"{spread.mean:.3f}" + ("" if spread.std is None else f" ± {spread.std:.3f}")
    mean = format_percent(spread.mean)
    return mean if spread.std is None else f"{mean.removesuffix(' %')} ± {100 * spread.std:.1f} %"


def _write_summaries(path: Path, spreads: MetricSummaries) -> None:
    rows: list[list[Cell]] = [
        [part, name, one.mean, one.std, one.low, one.high, one.runs] for (part, name), one in spreads.items()
    ]
    write_csv(path, ["part", "figure", "mean", "std", "min", "max", "runs"], rows)


def run_row(one: ResampledRun, part: Split, folder: Path) -> dict[str, Cell]:
    """Return one part of one run as a row of `runs.csv`; `folder` is the folder of the table."""
    figures = one.figures[part]
    return {
        "repeat": one.repeat,
        "fold": one.fold or None,
        "seed": one.run.recipe().train.seed,
        "epochs": len(read_metrics(one.run.folder / "metrics.csv")),
        "part": part,
        "photos": figures.photos,
        **{name: figures.get(name) for name in METRIC_NAMES},
        "run": one.run.folder.relative_to(folder).as_posix(),
    }


def _write_runs(path: Path, runs: Sequence[ResampledRun]) -> None:
    rows = [run_row(one, part, path.parent) for one in runs for part in one.figures]
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows])


_METRIC_ORDER = ("accuracy", "precision", "loss")


@dataclass(frozen=True)
class Variant:
    """One variant, trained and judged as often as the plan says."""

    name: str
    description: str
    folder: Path
    parameters: int
    """Numbers that the network holds, those of a frozen backbone included."""
    epochs: tuple[int, ...]
    """Of every run."""
    runs: tuple[ResampledRun, ...]
    spreads: MetricSummaries
    """Mean and standard deviation over the runs, by part and figure."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "folder": str(self.folder),
            "parameters": self.parameters,
            "epochs": fmean(self.epochs),
            "figures": {
                part: {name: self.spreads[part, name].to_dict() for name in METRIC_NAMES}
                for part in SPLITS
                if self.spreads[part, "loss"].runs
            },
            "runs": [
                {
                    "repeat": one.repeat,
                    "fold": one.fold or None,
                    "run": str(one.run.folder),
                    "figures": {
                        part: {name: figures.get(name) for name in METRIC_NAMES}
                        for part, figures in one.figures.items()
                    },
                }
                for one in self.runs
            ],
        }


@dataclass(frozen=True)
class VariantsResult:
    """What training the variants gave."""

    folder: Path
    dataset: Dataset
    plan: Resampling
    positive: str | None
    """The class whose precision is told; None: the mean over the classes."""
    variants: tuple[Variant, ...]
    ranking: Ranking
    """The variants photo by photo, each against the best: with folds on the held-out photos of the first
    repeat, else on the test photos (validation without any) of the first run."""

    @property
    def text(self) -> str:
        """The table as people read it, and below it what of it is more than chance."""
        return f"{variants_table(self)}\n\n{self.ranking.text}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "photos": _image_counts(self),
            "classes": list(self.dataset.classes),
            "positive": self.positive,
            **self.plan.to_dict(),
            "variants": [one.to_dict() for one in self.variants],
            "ranking": self.ranking.to_dict(),
        }


def variants_table(result: VariantsResult) -> str:
    """Return accuracy, precision and loss of every variant, a block for each part, as aligned text."""
    rows = [["", "parameters", "epochs"]]
    rows += [[one.name, f"{one.parameters:,}", f"{fmean(one.epochs):.0f}"] for one in result.variants]
    head, *lines = align_columns(rows).split("\n")
    blocks = [
        "\n".join(
            [
                f"{head}  description",
                *(
                    f"{line}  {printable(one.description)}".rstrip()
                    for line, one in zip(lines, result.variants, strict=True)
                ),
            ]
        )
    ]
    told = {"precision": f"precision of {result.positive}" if result.positive else "precision"}
    for part in _splits_present(result.variants):
        rows = [[SPLIT_TITLES[part], *(told.get(name, name) for name in _METRIC_ORDER)]]
        rows += [
            [one.name, *(format_summary(one.spreads[part, name], name) for name in _METRIC_ORDER)]
            for one in result.variants
        ]
        blocks.append(align_columns(rows))
    if result.plan.runs > 1:
        blocks[-1] += f"\n± is the standard deviation over {result.plan.runs} runs of each variant"
    return "\n\n".join(blocks)


def write_variants_tables(result: VariantsResult) -> None:
    """Write `results.txt`, `.json` and `.csv` (a row a variant), `runs.csv` and `comparison.csv`."""
    folder = result.folder
    write_text(folder / "results.txt", result.text + "\n")
    write_json(folder / "results.json", result.to_dict())
    rows = [_variant_row(one) for one in result.variants]
    write_csv(folder / "results.csv", list(rows[0]), [list(row.values()) for row in rows])
    runs = [
        {"variant": one.name, **run_row(run, part, folder)}
        for one in result.variants
        for run in one.runs
        for part in run.figures
    ]
    write_csv(folder / "runs.csv", list(runs[0]), [list(row.values()) for row in runs])
    result.ranking.write_csv(folder / "comparison.csv")


def _variant_row(one: Variant) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "variant": one.name,
        "description": one.description,
        "parameters": one.parameters,
        "epochs": fmean(one.epochs),
        "runs": len(one.runs),
    }
    for part in SPLITS:
        for name in _METRIC_ORDER:
            spread = one.spreads[part, name]
            row |= {f"{part}_{name}": spread.mean, f"{part}_{name}_std": spread.std}
    return row


def _splits_present(variants: tuple[Variant, ...]) -> list[Split]:
    return [part for part in SPLITS if any(part in run.figures for one in variants for run in one.runs)]


def _image_counts(result: VariantsResult) -> Mapping[str, int]:
    first = result.variants[0].runs[0].figures
    return {part: first[part].photos if part in first else 0 for part in SPLITS}

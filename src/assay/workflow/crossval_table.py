"""The tables of a cross-validation: mean ± standard deviation, a row a run, and an answer a photo.

Reads what the runs left; knows nothing of how they were trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay import notebook
from assay.data import SPLITS, Dataset, Split
from assay.data.folds import has_own_test
from assay.evaluation import Metrics, Predictions, evaluate
from assay.files import write_text
from assay.recipe import Recipe
from assay.safe_csv import Cell
from assay.tables import align, percent, write_csv, write_json
from assay.training import read_metrics
from assay.workflow.figures import FIGURES, Spread
from assay.workflow.origin import PARTS
from assay.workflow.resampling import SplitRun
from assay.workflow.run import Run

PREDICTIONS = "predictions.npz"
"""What a classifier not trained on it says of every photo: one repeat's held-out parts put together."""

Spreads = Mapping[tuple[Split, str], Spread]


@dataclass(frozen=True)
class CrossvalResult:
    """What a cross-validation gave."""

    folder: Path
    dataset: Dataset
    positive: str | None
    """The class whose precision is told; None: the mean over the classes."""
    runs: tuple[SplitRun, ...]
    spreads: Spreads
    """Mean and standard deviation over the runs, by part and figure."""
    out_of_fold: Metrics
    """Of the first repeat: every photo of the folds judged once, by a classifier not trained on it."""
    held_out: Split
    """The part of a run that holds its fold: `val` where the data brings a test of its own, else `test`."""

    @property
    def text(self) -> str:
        """The table as people read it."""
        return spread_table(self.spreads, len(self.runs), self.positive)

    def _repr_html_(self) -> str:
        rows = [
            (PARTS[part], *(spread_text(self.spreads[part, name], name) for name in FIGURES))
            for part in SPLITS
        ]
        title = f"mean ± standard deviation over {len(self.runs)} runs"
        return notebook.panel(title, notebook.table(rows, ("photos", *FIGURES)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "runs": len(self.runs),
            "folds": max(one.fold for one in self.runs),
            "repeats": max(one.repeat for one in self.runs),
            "photos": len(self.dataset),
            "classes": list(self.dataset.classes),
            "positive": self.positive,
            "figures": {
                part: {name: self.spreads[part, name].to_dict() for name in FIGURES} for part in SPLITS
            },
            "held_out": self.held_out,
            "out_of_fold": self.out_of_fold.to_dict(),
        }


def write_results(folder: Path, dataset: Dataset, recipe: Recipe, runs: Sequence[SplitRun]) -> CrossvalResult:
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
    held_out: Split = "val" if has_own_test(dataset) else "test"
    for repeat in sorted({one.repeat for one in runs}):
        joined = out_of_fold([one.run for one in runs if one.repeat == repeat], held_out)
        joined.save(folder / f"repeat-{repeat}" / PREDICTIONS)
        first = first or joined
    if first is None:
        raise ValueError("no runs, no table")
    first.save(folder / PREDICTIONS)
    metrics = evaluate(first, recipe.data.positive)
    spreads = spreads_of(runs)
    result = CrossvalResult(folder, dataset, metrics.positive, tuple(runs), spreads, metrics, held_out)
    write_json(folder / "results.json", result.to_dict())
    write_text(folder / "results.txt", result.text + "\n")
    _write_spreads(folder / "results.csv", spreads)
    _write_runs(folder / "runs.csv", runs)
    return result


def spreads_of(runs: Sequence[SplitRun]) -> dict[tuple[Split, str], Spread]:
    """Return mean and standard deviation of every figure over the runs, by part and figure."""
    return {
        (part, name): Spread.of(one.figures[part].get(name) for one in runs if part in one.figures)
        for part in SPLITS
        for name in FIGURES
    }


def out_of_fold(runs: Sequence[Run], held_out: Split) -> Predictions:
    """Put the held-out parts of one repeat's runs together, in order of the photos' ids, without embeddings.

    Raises:
        AssayError: the predictions of a run are missing or damaged.
    """
    parts = [Predictions.load(run.evaluation(held_out) / PREDICTIONS) for run in runs]
    labelled = all(part.source_labels is not None for part in parts)
    whole = Predictions(
        classes=parts[0].classes,
        ids=tuple(name for part in parts for name in part.ids),
        paths=tuple(path for part in parts for path in part.paths),
        actual=np.concatenate([part.actual for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        source_labels=tuple(name for part in parts for name in part.source_labels or ())
        if labelled
        else None,
    )
    return whole.take(sorted(range(len(whole)), key=whole.ids.__getitem__))


def spread_table(spreads: Spreads, runs: int, positive: str | None) -> str:
    """Return mean ± standard deviation as aligned text, a row a part."""
    told = f"precision of {positive}" if positive else "precision (mean of classes)"
    rows = [["", "accuracy", "loss", told]]
    rows += [[PARTS[part], *(spread_text(spreads[part, name], name) for name in FIGURES)] for part in SPLITS]
    return f"{align(rows)}\n± is the standard deviation over {runs} runs"


def spread_text(spread: Spread, figure: str) -> str:
    """Return one figure as people read it, such as `95.1 ± 0.4 %`; without ± where there is one run."""
    if spread.mean is None:
        return "–"
    if figure == "loss":
        return f"{spread.mean:.3f}" + ("" if spread.std is None else f" ± {spread.std:.3f}")
    mean = percent(spread.mean)
    return mean if spread.std is None else f"{mean.removesuffix(' %')} ± {100 * spread.std:.1f} %"


def _write_spreads(path: Path, spreads: Spreads) -> None:
    rows: list[list[Cell]] = [
        [part, name, one.mean, one.std, one.low, one.high, one.runs] for (part, name), one in spreads.items()
    ]
    write_csv(path, ["part", "figure", "mean", "std", "min", "max", "runs"], rows)


def run_row(one: SplitRun, part: Split, folder: Path) -> dict[str, Cell]:
    """Return one part of one run as a row of `runs.csv`; `folder` is the folder of the table."""
    figures = one.figures[part]
    return {
        "repeat": one.repeat,
        "fold": one.fold or None,
        "seed": one.run.recipe().train.seed,
        "epochs": len(read_metrics(one.run.folder / "metrics.csv")),
        "part": part,
        "photos": figures.photos,
        **{name: figures.get(name) for name in FIGURES},
        "run": one.run.folder.relative_to(folder).as_posix(),
    }


def _write_runs(path: Path, runs: Sequence[SplitRun]) -> None:
    rows = [run_row(one, part, path.parent) for one in runs for part in one.figures]
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows])

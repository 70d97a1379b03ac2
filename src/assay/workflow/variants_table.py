"""The tables of variants: mean ± standard deviation of each over its runs, as text, CSV and JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from assay.data import SPLITS, Dataset, Split
from assay.files import write_text
from assay.safe_csv import Cell
from assay.tables import align, write_csv, write_json
from assay.text import printable
from assay.workflow.compare import Ranking
from assay.workflow.crossval_table import Spreads, run_row, spread_text
from assay.workflow.figures import FIGURES
from assay.workflow.origin import PARTS
from assay.workflow.resampling import Resampling, SplitRun

_ORDER = ("accuracy", "precision", "loss")


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
    runs: tuple[SplitRun, ...]
    spreads: Spreads
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
                part: {name: self.spreads[part, name].to_dict() for name in FIGURES}
                for part in SPLITS
                if self.spreads[part, "loss"].runs
            },
            "runs": [
                {
                    "repeat": one.repeat,
                    "fold": one.fold or None,
                    "run": str(one.run.folder),
                    "figures": {
                        part: {name: figures.get(name) for name in FIGURES}
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
            "photos": _photos(self),
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
    head, *lines = align(rows).split("\n")
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
    for part in _parts(result.variants):
        rows = [[PARTS[part], *(told.get(name, name) for name in _ORDER)]]
        rows += [
            [one.name, *(spread_text(one.spreads[part, name], name) for name in _ORDER)]
            for one in result.variants
        ]
        blocks.append(align(rows))
    if result.plan.runs > 1:
        blocks[-1] += f"\n± is the standard deviation over {result.plan.runs} runs of each variant"
    return "\n\n".join(blocks)


def write_tables(result: VariantsResult) -> None:
    """Write `results.txt`, `.json` and `.csv` (a row a variant), `runs.csv` and `comparison.csv`."""
    folder = result.folder
    write_text(folder / "results.txt", result.text + "\n")
    write_json(folder / "results.json", result.to_dict())
    rows = [_row(one) for one in result.variants]
    write_csv(folder / "results.csv", list(rows[0]), [list(row.values()) for row in rows])
    runs = [
        {"variant": one.name, **run_row(run, part, folder)}
        for one in result.variants
        for run in one.runs
        for part in run.figures
    ]
    write_csv(folder / "runs.csv", list(runs[0]), [list(row.values()) for row in runs])
    result.ranking.write_csv(folder / "comparison.csv")


def _row(one: Variant) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "variant": one.name,
        "description": one.description,
        "parameters": one.parameters,
        "epochs": fmean(one.epochs),
        "runs": len(one.runs),
    }
    for part in SPLITS:
        for name in _ORDER:
            spread = one.spreads[part, name]
            row |= {f"{part}_{name}": spread.mean, f"{part}_{name}_std": spread.std}
    return row


def _parts(variants: tuple[Variant, ...]) -> list[Split]:
    return [part for part in SPLITS if any(part in run.figures for one in variants for run in one.runs)]


def _photos(result: VariantsResult) -> Mapping[str, int]:
    first = result.variants[0].runs[0].figures
    return {part: first[part].photos if part in first else 0 for part in SPLITS}

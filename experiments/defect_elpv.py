"""Solar cells (ELPV): cross-validation and the published 75/25 split, with metrics by cell type.

A cell is defective from a defect probability of 0.5. Near-duplicates stay in one fold, and every fold has the same
share of defective cells.

Run as `python experiments/defect_elpv.py`; an interrupted run is resumed.
"""

from pathlib import Path

import data_sources
import runs
from cross_validation import crossval_row
from result_file import Row, binary_metrics, write_result
from seed_runs import seeds_row

from assay.evaluation import Predictions
from assay.recipe import load_recipe

NAME = "elpv"
POSITIVE = "defective"
BASE = (f"data.positive_class={POSITIVE}",)
METHODS = {
    "linear probe, 224 pixels": ("defect-lite", BASE),
    "linear probe, 300 pixels": ("defect-lite", (*BASE, "preprocess.size=300")),
}
"""Recipe and overrides of every method; photos are 300 x 300 pixels."""
FINE_TUNED = "default, fine-tuned"
SPLIT_METHODS = {**METHODS, FINE_TUNED: ("default", (*BASE, "train.auto.backbones=[]"))}
"""Methods on the published split: also the recipe `default` without a time limit and without other backbones."""
SPLIT = "data.split={train: 0.65, val: 0.10, test: 0.25}"
"""The published split: three quarters for training and validation, a quarter for testing."""


def metrics_by_cell_type(predictions: Predictions) -> dict[str, float]:
    """Return accuracy, F1 and ROC-AUC of all cells and of each cell type, with the type as prefix."""
    values = binary_metrics(predictions, POSITIVE)
    labels = predictions.source_labels or ()
    for kind in sorted(set(labels)):
        part = predictions.take([index for index, label in enumerate(labels) if label == kind])
        values |= {f"{kind}_{name}": value for name, value in binary_metrics(part, POSITIVE).items()}
    return values


def split_row(name: str, data: Path, folder: Path, seeds: int) -> Row:
    """Train on the published split with several seeds; return the metrics of its test cells."""
    recipe, overrides = SPLIT_METHODS[name]
    return seeds_row(
        f"{name}, 75/25",
        data,
        (recipe, (*overrides, SPLIT)),
        seeds,
        folder=lambda seed: folder / f"seed-{seed}",
        protocol="grouped and stratified, 75 % training and validation, 25 % test",
        measure=metrics_by_cell_type,
    )


def main() -> None:
    """Train what is missing and write the result."""
    parser = runs.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=2, help="repeats of the cross-validation (default: 2)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the 75/25 split (default: 3)")
    parser.add_argument(
        "--fine-tuned-seeds", type=int, default=1, help="seeds of the recipe `default`; 0: none (default: 1)"
    )
    options = parser.parse_args()
    data = data_sources.locate(NAME, options.runs, options.data)
    rows: list[Row] = []
    for name, (recipe, overrides) in METHODS.items():
        folder = options.runs / NAME / name.replace(" ", "-").replace(",", "")
        settings = load_recipe(recipe, overrides)
        result = runs.crossval(data, settings, folder, folds=5, repeats=options.repeats)
        title = " ".join([recipe, *overrides])
        rows.append(crossval_row(name, title, "grouped and stratified", result, metrics_by_cell_type))
        rows.append(split_row(name, data, folder.with_name(f"{folder.name}-split"), options.seeds))
        write_result(NAME, rows, settings_compared=len(METHODS))
    if options.fine_tuned_seeds:
        folder = options.runs / NAME / "default-split"
        rows.append(split_row(FINE_TUNED, data, folder, options.fine_tuned_seeds))
        write_result(NAME, rows, settings_compared=len(SPLIT_METHODS))


if __name__ == "__main__":
    runs.run_script(main)

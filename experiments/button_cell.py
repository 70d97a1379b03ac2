"""Button cells: 55 photos, repeated cross-validation with duplicates kept together, and photo by photo.

The published classifier is a fine-tuned ResNet-50, whose weights have to be downloaded; here the backbone is
EfficientNet-Lite0, whose weights are installed with Assay. Give `--weights resnet50-0676ba61.pth` to measure ResNet-50
too.

Run as `python experiments/button_cell.py`; an interrupted run is resumed.
"""

from pathlib import Path

import data_sources
import runs
from cross_validation import crossval_row
from result_file import Row, write_result

from assay.recipe import load_recipe

NAME = "button-cells"
PROBE = ("data.positive_class=null",)
METHODS = {
    "linear probe, grouped": ("defect-lite", PROBE),
    "linear probe, centre crop, grouped": ("defect-lite", (*PROBE, "preprocess.resize_mode=crop")),
    "default without fine-tuning, grouped": ("default", ("train.auto.fine_tune=false", "train.auto.backbones=[]")),
    "linear probe, photo by photo": ("defect-lite", (*PROBE, "data.split.method=random")),
}
"""Recipe and overrides of every method."""


def main() -> None:
    """Train what is missing and write the result."""
    parser = runs.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="repeats of the cross-validation (default: 5)")
    parser.add_argument("--weights", type=Path, help="published weights of ResNet-50, to train recipe button-cell")
    options = parser.parse_args()
    data = data_sources.locate(NAME, options.runs, options.data)
    methods = dict(METHODS)
    if options.weights is not None:
        split = "data.split={train: 0.64, val: 0.16, test: 0.2}"
        methods["recipe button-cell, grouped"] = ("button-cell", (f"net.weights={options.weights}", split))
    rows: list[Row] = []
    for name, (recipe, overrides) in methods.items():
        folder = options.runs / NAME / name.replace(" ", "-").replace(",", "")
        protocol = "photo by photo" if "random" in str(overrides) else "grouped"
        result = runs.crossval(data, load_recipe(recipe, overrides), folder, folds=5, repeats=options.repeats)
        rows.append(crossval_row(name, f"{recipe} {' '.join(overrides)}", protocol, result))
        write_result(NAME, rows, settings_compared=len(methods))


if __name__ == "__main__":
    runs.run_script(main)

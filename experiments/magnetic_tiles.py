"""Magnetic tiles: what a photo-by-photo split reports and what a split that keeps near-duplicates together reports.

The same tiles were photographed several times under different lights. A linear probe on a frozen network is
cross-validated twice, with the two ways to split; the picture shows photos that a photo-by-photo split separates.

Run as `python experiments/magnetic_tiles.py`; an interrupted run is resumed.
"""

from pathlib import Path

import data_sources
import runs
from cross_validation import crossval_row
from PIL import Image, ImageDraw
from result_file import Row, write_result

from assay.data import Dataset, Sample, read_manifest
from assay.recipe import load_recipe

NAME = "magnetic-tiles"
PROBE = ("data.positive_class=null",)
GROUPED = "near-duplicates grouped"
METHODS = {
    "photo-by-photo split": ("defect-lite", (*PROBE, "data.split.method=random")),
    GROUPED: ("defect-lite", PROBE),
    "grouped, intermediate features": ("defect-lite", (*PROBE, "net.intermediate_features=true")),
    "grouped, letterboxed": ("defect-lite", (*PROBE, "preprocess.resize_mode=letterbox")),
    "grouped, letterboxed, 320 pixels": (
        "defect-lite",
        (*PROBE, "preprocess.resize_mode=letterbox", "preprocess.size=320"),
    ),
    "default without fine-tuning, grouped": ("default", ("train.auto.fine_tune=false", "train.auto.backbones=[]")),
    "default, 10 minutes per fold, grouped": ("default", ("train.auto.minutes=10",)),
}
"""Recipe and overrides of every method."""
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "near-duplicates.png"
_CELL = (110, 220)
_GAP = 8
_CAPTION = 18


def near_duplicate_groups(dataset: Dataset, count: int) -> list[tuple[Path, Path]]:
    """Return two photos from one group of each of the first `count` classes that have a group within the class."""
    groups: dict[str, list[Sample]] = {}
    for sample in dataset.samples:
        if sample.group is not None:
            groups.setdefault(sample.group, []).append(sample)
    chosen: dict[str, tuple[Path, Path]] = {}
    for _, members in sorted(groups.items()):
        if len(members) > 1 and len({sample.label for sample in members}) == 1:
            chosen.setdefault(members[0].label, (members[0].path, members[1].path))
    return list(chosen.values())[:count]


def draw_pairs(pairs: list[tuple[Path, Path]], path: Path) -> None:
    """Draw pairs of photos side by side, with the class below, as a small gray PNG."""
    width = len(pairs) * (2 * _CELL[0] + 3 * _GAP)
    sheet = Image.new("L", (width, _CELL[1] + 2 * _GAP + _CAPTION), 255)
    draw = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        left = number * (2 * _CELL[0] + 3 * _GAP) + _GAP
        for place, photo in enumerate(pair):
            with Image.open(photo) as opened:
                image = opened.convert("L")
            image.thumbnail(_CELL)
            x = left + place * (_CELL[0] + _GAP // 2) + (_CELL[0] - image.width) // 2
            sheet.paste(image, (x, _GAP + (_CELL[1] - image.height) // 2))
        draw.text((left, _CELL[1] + _GAP + 2), pair[0].parent.name, fill=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(32).save(path, optimize=True)


def main() -> None:
    """Train what is missing, draw the picture and write the result."""
    parser = runs.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="repeats of the cross-validation (default: 3)")
    parser.add_argument("--only", nargs="*", default=METHODS, choices=METHODS, help="methods to run (default: all)")
    options = parser.parse_args()
    data = data_sources.locate(NAME, options.runs, options.data)
    rows: list[Row] = []
    for name in options.only:
        recipe, overrides = METHODS[name]
        folder = options.runs / NAME / name.replace(" ", "-").replace(",", "")
        protocol = "photo by photo" if "random" in str(overrides) else "grouped"
        result = runs.crossval(data, load_recipe(recipe, overrides), folder, folds=5, repeats=options.repeats)
        rows.append(crossval_row(name, f"{recipe} {' '.join(overrides)}", protocol, result))
        write_result(NAME, rows, settings_compared=len(METHODS))
        if name == GROUPED:
            draw_pairs(near_duplicate_groups(read_manifest(folder / "manifest.csv"), 4), PICTURE)


if __name__ == "__main__":
    runs.run_script(main)

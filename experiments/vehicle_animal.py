"""Vehicles and animals (CIFAR-10, two classes): five variants with three seeds, and two short runs.

The variants are those of the list `vehicle-animal`, each with a one-cycle schedule of a few epochs in place of up to
50, so that a seed takes 50 minutes on one core with BF16. `fast` is a ResNet of 8 layers trained for 17 epochs, which
takes half an hour on one core; `fast, ten labels` is the same network trained on the ten original labels, whose
probabilities are summed. Every setting was fixed before training; test images are used once.

Run as `python experiments/vehicle_animal.py`; an interrupted run is resumed.
"""

import json
from pathlib import Path

import data_sources
import numpy as np
import runs
from PIL import Image, ImageDraw
from result_file import RESULTS, Row, accuracy_interval, mean_and_std, write_result

from assay.core.tables import write_rows
from assay.evaluation import Predictions
from assay.pipeline import Run
from assay.pipeline.experiment_runs import SplitMetrics
from assay.recipe import Recipe, load_recipe
from assay.recipe.variants import load_variants
from assay.training import read_metrics

NAME = "vehicle-animal"
FAST = (
    "net.name=resnet",
    "net.resnet={block: basic, layers: [1, 1, 1], widths: [48, 96, 192], stem: conv3}",
    "net.head={hidden: [], dropout: 0, batch_norm: false, l2: 0}",
    "net.flip_average=true",
    "augment.train=[{name: random_crop}, {name: horizontal_flip}]",
    "train.optimizer=sgd",
    "train.lr=0.1",
    "train.weight_decay=5e-4",
    "train.batch_size=128",
    "train.schedule=onecycle",
    "train.epochs=17",
    "train.early_stopping=null",
)
"""Overrides of the recipe `vehicle-animal`: a ResNet of 8 layers, trained with SGD, shifts and flips. Its output is the
mean of the outputs for the photo and for its mirror image."""
TEN_LABELS = (*FAST, "train.source_labels=true")
SHORT_RUNS = {"fast": FAST, "fast, ten labels": TEN_LABELS}
TABLE = RESULTS / f"{NAME}.csv"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "vehicle-animal-errors.png"
_SPLITS = ("train", "val", "test")
_METRICS = ("accuracy", "loss", "precision")
_CELL, _GAP, _CAPTION = 64, 4, 150
_ERRORS_SHOWN = 8
SHORT = ("train.schedule=onecycle", "train.early_stopping=null")
"""Overrides of every variant."""


def short_variants(epochs: int, seed: int) -> dict[str, Recipe]:
    """Return the five variants by name, with `epochs` epochs."""
    return load_variants(NAME, [*SHORT, f"train.epochs={epochs}", f"train.seed={seed}"])


def summarize(name: str, folders: list[Path], planned: int, recipe: str, seeds: list[int]) -> Row:
    """Return the metrics of the finished runs of one variant."""
    finished = [(seed, folder) for seed, folder in zip(seeds, folders, strict=True) if _finished(folder)]
    metrics = [split_metrics(Run(folder)) for _, folder in finished]
    values = {
        f"{split}_{metric}": mean_and_std(found[split].get(metric) for found in metrics if split in found)
        for split in _SPLITS
        for metric in _METRICS
    }
    interval, photos = None, 0
    if finished:
        predictions = Predictions.load(Run(finished[0][1]).evaluation("test") / "predictions.npz")
        interval, photos = accuracy_interval(predictions), len(predictions)
    return Row(
        name=name,
        recipe=recipe,
        protocol="official test images (half of them), validation images from the training images",
        seeds=[seed for seed, _ in finished],
        runs=len(finished),
        planned=planned,
        photos=photos,
        metrics=values,
        interval=interval,
        wall_seconds=sum(_epoch_seconds(folder) for _, folder in finished) / max(1, len(finished)) or None,
    )


def split_metrics(run: Run) -> dict[str, SplitMetrics]:
    """Return the metrics of the splits that a run was evaluated on: without training images for a single run."""
    files = {split: run.evaluation(split) / "metrics.json" for split in ("train", "val", "test")}
    return {
        split: SplitMetrics.of(json.loads(file.read_text(encoding="utf-8")))
        for split, file in files.items()
        if file.is_file()
    }


def _finished(folder: Path) -> bool:
    run = Run(folder)
    return run.has_splits and run.done


def _epoch_seconds(folder: Path) -> float:
    return sum(epoch.seconds for epoch in read_metrics(folder / "metrics.csv"))


def errors_by_class(folder: Path) -> list[dict[str, object]]:
    """Return errors on test images by original class, most errors first."""
    predictions = Predictions.load(Run(folder).evaluation("test") / "predictions.npz")
    labels = predictions.source_labels or ()
    rows = []
    for label in sorted(set(labels)):
        members = [index for index, found in enumerate(labels) if found == label]
        wrong = int((~predictions.correct[members]).sum())
        rows.append({"source_label": label, "photos": len(members), "errors": wrong})
    return sorted(rows, key=lambda row: -int(str(row["errors"])))


def draw_errors(folder: Path, path: Path) -> None:
    """Draw the most confident errors on test images, a row per original class, as a small PNG."""
    predictions = Predictions.load(Run(folder).evaluation("test") / "predictions.npz")
    labels = np.array(predictions.source_labels)
    rows = errors_by_class(folder)
    side = _CELL + _GAP
    sheet = Image.new("RGB", (_CAPTION + _ERRORS_SHOWN * side, len(rows) * side), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        caption = f"{row['source_label']}: {row['errors']} of {row['photos']}"
        draw.text((_GAP, number * side + _CELL // 2 - 6), caption, fill="black")
        wrong = np.flatnonzero((labels == row["source_label"]) & ~predictions.correct)
        surest = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:_ERRORS_SHOWN]
        for place, index in enumerate(surest):
            with Image.open(predictions.paths[index]) as opened:
                image = opened.convert("RGB").resize((_CELL, _CELL), Image.Resampling.NEAREST)
            sheet.paste(image, (_CAPTION + place * side, number * side))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(64).save(path, optimize=True)


def write_table(rows: list[Row]) -> None:
    """Write mean and standard deviation of all metrics of all splits as CSV."""
    table: list[dict[str, str | int | float | None]] = []
    for row in rows:
        values = {f"{name}_{part}": row.metrics[name][part] for name in row.metrics for part in ("mean", "std")}
        rounded = {name: None if value is None else round(value, 4) for name, value in values.items()}
        table.append({"variant": row.name, "runs": row.runs, **rounded})
    write_rows(TABLE, table)


def main() -> None:
    """Train what is missing and write the result."""
    parser = runs.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of every variant (default: 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="leave out the seeds before (default: 0)")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of every variant (default: 8)")
    parser.add_argument("--only", choices=("short", "variants"), help="train only the two short runs or the variants")
    parser.add_argument("--summarize", action="store_true", help="train nothing; write what is finished")
    options = parser.parse_args()
    folder = options.runs / NAME
    data = None if options.summarize else data_sources.locate("cifar10", options.runs, options.data)
    if data is not None:
        for name, overrides in SHORT_RUNS.items() if options.only != "variants" else ():
            runs.train(data, load_recipe(NAME, overrides), _short_run(folder, name))
            report(folder, options.epochs, options.seeds)
    for seed in range(options.first_seed, options.seeds):
        if data is not None and options.only != "short":
            runs.variants(data, short_variants(options.epochs, seed), folder / f"variants-{options.epochs}-seed-{seed}")
            report(folder, options.epochs, options.seeds)
    report(folder, options.epochs, options.seeds)


def _short_run(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(', ', '-').replace(' ', '-')}-0"


def report(folder: Path, epochs: int, seeds: int) -> None:
    """Write the result of all finished runs."""
    rows = []
    for name, overrides in SHORT_RUNS.items():
        place = _short_run(folder, name)
        rows.append(summarize(name, [place], 1, f"{NAME} {' '.join(overrides)}", [0]))
        rows[-1].cpu_seconds = runs.duration(place).cpu or None
    listed = list(range(seeds))
    folders = {
        name: [folder / f"variants-{epochs}-seed-{seed}" / name for seed in listed]
        for name in short_variants(epochs, 0)
    }
    variant_rows = []
    for name, places in folders.items():
        settings = f"variant {name} of the list {NAME}, {' '.join(SHORT)} train.epochs={epochs}"
        variant_rows.append(summarize(name, places, seeds, settings, listed))
    if any(row.runs for row in variant_rows):
        write_table(variant_rows)
    finished = {name: _short_run(folder, name) for name in SHORT_RUNS if _finished(_short_run(folder, name))}
    scratch = {name for name, recipe in short_variants(epochs, 0).items() if recipe.net.weights == "none"}
    best = max(
        (row for row in variant_rows if row.name in scratch), key=lambda row: row.metrics["val_accuracy"]["mean"] or 0
    )
    if best.runs:
        finished[best.name] = folders[best.name][best.seeds[0]]
        draw_errors(finished[best.name], PICTURE)
    errors = {name: errors_by_class(place) for name, place in finished.items()}
    write_result(
        NAME, [*rows, *variant_rows], epochs=epochs, errors_by_class=errors, pictured=best.name if best.runs else None
    )


if __name__ == "__main__":
    runs.run_script(main)

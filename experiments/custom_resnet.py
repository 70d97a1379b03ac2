"""Own classes with a ResNet from scratch: Fashion-MNIST and the ten classes of CIFAR-10 at 64 x 64 pixels.

The recipe `custom-resnet` is trained as it is, with augmentation and another schedule, and with a deeper network. The
first classifier also labels a video of test images: `assay watch` reads it at the recipe's two frames per second.

Run as `python experiments/custom_resnet.py`; an interrupted run is resumed.
"""

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import data_sources
import runs
from result_file import Row, accuracy_interval, balanced_accuracy, mean_and_std, write_result

from assay.evaluation import Predictions, compute_metrics
from assay.pipeline import Run
from assay.recipe import load_recipe
from assay.training import read_metrics

NAME = "custom-resnet"
DATA_SETS = ("fashion-mnist", "cifar10")
ONE_CYCLE = (
    "augment.train=[{name: random_crop}, {name: horizontal_flip}]",
    "net.flip_average=true",
    "train.schedule=onecycle",
)
"""Overrides of the recipe's training: shifts, flips and a one-cycle schedule. The output is the mean of the outputs for
the photo and for its mirror image."""
SGD = (*ONE_CYCLE, "train.optimizer=sgd", "train.lr=0.1", "train.weight_decay=5e-4", "train.batch_size=128")
ADAMW = (*ONE_CYCLE, "train.optimizer=adamw", "train.lr=4e-3", "train.weight_decay=0.01")
DEEPER = (*ADAMW, "net.resnet={block: basic, layers: [2, 2, 2], widths: [64, 128, 256], stem: conv7}")
VARIANTS: dict[str, tuple[str, ...]] = {
    "as the recipe": (),
    "one-cycle SGD, shifts and flips": SGD,
    "one-cycle AdamW, shifts and flips": ADAMW,
    "deeper, three stages of two blocks": DEEPER,
}
"""Overrides of the recipe by name. AdamW was tried after SGD, whose training loss was still high after 15 epochs."""
_FRAMES = 24
_FRAMES_PER_SECOND = 2


def result_row(name: str, recipe: str, run: Run, folder: Path) -> tuple[Row, list[dict[str, object]]]:
    """Return the metrics of a run on the test images, in total and by class."""
    predictions = Predictions.load(run.evaluation("test") / "predictions.npz")
    metrics = compute_metrics(predictions)
    seconds = runs.duration(folder)
    epochs = read_metrics(run.folder / "metrics.csv")
    row = Row(
        name=name,
        recipe=recipe,
        protocol="publisher's test images; validation images from the training images",
        seeds=[run.recipe().train.seed],
        runs=1,
        planned=1,
        photos=len(predictions),
        metrics={
            "accuracy": mean_and_std([metrics.accuracy]),
            "balanced_accuracy": mean_and_std([balanced_accuracy(predictions)]),
            "epochs": mean_and_std([len(epochs)]),
            "seconds_per_epoch": mean_and_std([sum(epoch.seconds for epoch in epochs) / len(epochs)]),
        },
        interval=accuracy_interval(predictions),
        wall_seconds=seconds.wall,
        cpu_seconds=seconds.cpu,
    )
    by_class = [
        {"class": entry.name, "photos": entry.support, "precision": entry.precision, "recall": entry.recall}
        for entry in metrics.classes
    ]
    return row, by_class


def write_video(photos: list[Path], path: Path, side: int = 64) -> None:
    """Write photos as the frames of a video, two per second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), _FRAMES_PER_SECOND, (side, side))
    for photo in photos:
        writer.write(cv2.resize(cv2.imread(str(photo)), (side, side)))
    writer.release()


def watch_video(bundle: Path, photos: list[Path], folder: Path) -> dict[str, object]:
    """Let `assay watch` label a video of photos; return how many frames got the label of their folder."""
    video, table = folder / "test.avi", folder / "frames.csv"
    table.unlink(missing_ok=True)
    write_video(photos, video)
    command = [sys.executable, "-m", "assay", "watch", str(bundle), str(video), "--csv", str(table)]
    command += ["--every-frame", "--smooth", "0s", "--no-window"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    with table.open(encoding="utf-8", newline="") as stream:
        labels = [row["frame_label"] for row in csv.DictReader(stream)]  # without the time that --hold waits
    wanted = [photo.parent.name for photo in photos]
    return {"frames": len(labels), "correct": sum(map(str.__eq__, labels, wanted)), "photos": len(photos)}


def test_photos(run: Run, count: int) -> list[Path]:
    """Return every n-th test photo, so that all classes occur."""
    predictions = Predictions.load(run.evaluation("test") / "predictions.npz")
    step = max(1, len(predictions) // count)
    return [Path(path) for path in predictions.paths[::step][:count]]


def main() -> None:
    """Train what is missing and write the result of all finished runs after each."""
    parser = runs.parser(__doc__)
    parser.add_argument("--epochs", type=int, default=15, help="epochs of every run (default: 15, as the recipe)")
    parser.add_argument("--only", nargs="*", default=DATA_SETS, choices=DATA_SETS, help="data sets to train on")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), help="what to train")
    options = parser.parse_args()
    rows: list[Row] = []
    classes: dict[str, list[dict[str, object]]] = {}
    watched = None
    for data_set in DATA_SETS:
        data = data_sources.locate(data_set, options.runs, options.data)
        for variant, overrides in VARIANTS.items():
            settings = (*overrides, f"train.epochs={options.epochs}")
            place = variant.replace(",", "").replace(" ", "-")
            folder = options.runs / NAME / f"{data_set}-{options.epochs}-epochs-{place}"
            wanted = data_set in options.only and variant in options.variants
            earlier = Run(folder)
            if not wanted and not (earlier.has_splits and earlier.done):
                continue
            run = runs.train(data, load_recipe(NAME, settings), folder)
            name = f"{data_set}, {variant}"
            row, classes[name] = result_row(name, f"{NAME} {' '.join(settings)}", run, folder)
            rows.append(row)
            if watched is None:
                watched = watch_video(run.bundle, test_photos(run, _FRAMES), options.runs / NAME)
            write_result(NAME, rows, classes=classes, video=watched)


if __name__ == "__main__":
    runs.run_script(main)

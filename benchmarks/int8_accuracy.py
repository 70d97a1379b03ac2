"""What 8-bit integers cost in accuracy: probes and fine-tunes of ELPV and CIFAR-10, evaluated on test photos.

Run as `python benchmarks/int8_accuracy.py`, with `ASSAY_DATA` the folder that holds `cifar10.tar.xz`; needs
the package elpv-dataset. Training makes the int8 model and keeps it or not, as for every user; the test
photos, which decided nothing, are then answered with both precisions. Where int8 was not kept, nothing is
lost.
"""

import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from assay.data import load_dataset
from assay.data.fetch.converters import prepare_elpv
from assay.inference import Classifier
from assay.pipeline.dataset_evaluation import predict_dataset
from assay.pipeline.train import train_classifier
from assay.pipeline.training_overlap import class_mapping_for
from assay.recipe import Recipe, load_recipe

_TRAIN, _TEST = 150, 200


def cifar(folder: Path, train_photos: int = _TRAIN, test_photos: int = _TEST) -> Path:
    """Unpack the first photos of every class of CIFAR-10, of both parts."""
    archive = Path(os.environ.get("ASSAY_DATA", "../shared/data")) / "cifar10.tar.xz"
    wanted = {"train": train_photos, "test": test_photos}
    taken: dict[Path, int] = {}
    with tarfile.open(archive) as packed:
        for member in packed:
            path = Path(member.name)
            part = path.parts[1] if len(path.parts) == 4 else ""
            if member.isfile() and taken.get(path.parent, 0) < wanted.get(part, 0):
                taken[path.parent] = taken.get(path.parent, 0) + 1
                packed.extract(member, folder, filter="data")
    return folder / "cifar10"


def drop(data: Path, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train, and return test accuracy by precision; the same for both where int8 was not kept."""
    train_classifier(data, recipe, folder)
    model = folder / "model.assay"
    exact = Classifier.load(model, precision="fp32")
    kept = exact.bundle is not None and "int8" in exact.bundle.precisions
    manifest = folder / "manifest.csv"
    dataset = load_dataset(
        manifest if manifest.exists() else data,
        mapping=class_mapping_for(exact.info, data),
        classes=exact.classes,
    )
    test = dataset.part("test")
    accuracy = float(predict_dataset(exact, dataset, test).correct.mean())
    found = {"photos": len(test), "kept": kept, "fp32": accuracy, "int8": accuracy}
    if kept:
        small = Classifier.load(model, precision="int8")
        found["int8"] = float(predict_dataset(small, dataset, test).correct.mean())
    return {**found, "drop_points": 100 * (found["fp32"] - found["int8"])}


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Return accuracies and drops by data set and way of training."""

    def tune(epochs: int, side: int, rate: float) -> list[str]:
        passes = 1 if quick else epochs
        return [
            "train.strategy=finetune",
            f"train.epochs={passes}",
            f"preprocess.size={side}",
            f"train.lr={rate}",
        ]

    lite = "defect-lite"
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        cells, objects = prepare_elpv(work / "elpv"), cifar(work / "cifar")
        ways = {
            "ELPV, probe": (cells, ["data.positive_class=defective"]),
            "CIFAR-10, probe": (objects, ["data.positive_class=null"]),
            "ELPV, fine-tune": (cells, ["data.positive_class=defective", *tune(2, 128, 3e-4)]),
            "CIFAR-10, fine-tune": (objects, ["data.positive_class=null", *tune(6, 112, 1e-3)]),
        }
        return {
            name: drop(data, load_recipe(lite, settings), work / f"run-{number}")
            for number, (name, (data, settings)) in enumerate(ways.items())
        }


def main() -> None:
    """Measure and print."""
    for name, result in measure().items():
        print(f"{name:<24}" + "".join(f"{key} {value!s:<10.8}" for key, value in result.items()))


if __name__ == "__main__":
    main()

"""Fine-tuning throughput: Assay, a plain PyTorch loop, fastai `fine_tune` and Ultralytics `train`.

Run as `python benchmarks/training.py [--quick]`, with `ASSAY_DATA` the folder that contains `magnetic_tiles.tar`, or
as part of `make bench`. Every program trains all layers of the same network from random weights (the time does not
depend on them) on the same photos, at 224 pixels and with the same batch size, with random crops and flips, and
validates after every epoch. Every measurement is one process; programs take turns. An epoch is timed with decoding,
augmentation and validation. The first one, which also starts the workers and in Assay fills the pixel cache, is
reported separately.
"""

import argparse
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from prepare import data_folder
from processes import BASELINES, HERE, Place, rivals_python, run_json, take_turns

PLAIN = "plain PyTorch loop"
FASTAI, ULTRALYTICS = "fastai fine_tune", "Ultralytics train"
NETWORKS = {"resnet18": "ResNet-18", "efficientnet-lite0": "EfficientNet-Lite0"}
BATCH = 32
TRAIN, VAL = 192, 32
"""Photos; all of the training photos fill whole batches."""

Rates = dict[str, dict[str, dict[str, list[float]]]]
"""Photos per second by network, program and figure, one a round."""


def extract_tiles(folder: Path, train: int = TRAIN, val: int = VAL) -> None:
    """Write `train` and `val` folders with photos of magnetic tiles, the same share of every class."""
    with tarfile.open(data_folder() / "magnetic_tiles.tar") as packed, tempfile.TemporaryDirectory() as scratch:
        packed.extractall(scratch, filter="data")
        paths = sorted(Path(scratch).rglob("*.jpg"))
        chosen = [paths[place * len(paths) // (train + val)] for place in range(train + val)]
        every = (train + val) // val
        validation = set(chosen[every - 1 :: every][:val])
        for path in chosen:
            target = folder / ("val" if path in validation else "train") / path.parent.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


def measure(place: Place, say: Callable[[str], None]) -> tuple[Rates, list[str]]:
    """Return the rates, and reasons why baselines other than the plain loop could not be measured."""
    rounds, epochs = (1, 2) if place.quick else (3, 3)
    folder = place.work / "tiles"
    extract_tiles(folder)
    python = str(rivals_python())
    environment = place.environment()
    rates: Rates = {}
    failures: list[str] = []
    for network, name in NETWORKS.items():
        arguments = [str(folder), network, str(epochs), str(BATCH)]
        commands = {
            "Assay": [sys.executable, str(HERE / "train_contender.py"), *arguments],
            PLAIN: [python, str(BASELINES / "train_plain.py"), *arguments],
        }
        if place.rivals and network == "resnet18":
            rest = [str(folder), str(epochs), str(BATCH)]
            commands[FASTAI] = [python, str(BASELINES / "train_fastai.py"), *rest]
            commands[ULTRALYTICS] = [python, str(BASELINES / "train_ultralytics.py"), *rest]

        def measure_one(program: str, command: list[str]) -> dict[str, float]:
            if program == "Assay":
                shutil.rmtree(place.work / "cache", ignore_errors=True)
            return photos_per_second(run_json(command, environment, timeout=600))

        rates[name], failed = take_turns(
            commands, rounds, {FASTAI, ULTRALYTICS}, measure_one, lambda text, name=name: say(f"{name}, {text}")
        )
        failures += failed
    return rates, failures


def photos_per_second(result: dict[str, Any]) -> dict[str, float]:
    """Return the training photos per second in the first epoch and in the others."""
    first, *others = result["seconds"]
    return {"first": TRAIN / first, "later": TRAIN / mean(others)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of two epochs")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as scratch:
        rates, failures = measure(Place(Path(scratch), quick=wanted.quick), print)
    for network, programs in rates.items():
        for name, found in programs.items():
            later = found["later"]
            ratios = [ours / theirs for ours, theirs in zip(programs["Assay"]["later"], later, strict=True)]
            print(f"{network}, {name}: {later} photos/s, first epoch {found['first']}; Assay relative to it: {ratios}")
    for failure in failures:
        print("failed:", failure)


if __name__ == "__main__":
    main()

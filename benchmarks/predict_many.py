"""How close `assay predict` on a folder comes to what this machine can decode, and what it can infer.

Run as `python benchmarks/predict_many.py MODEL`, with `ASSAY_DATA` the folder that holds `bottles.tar`. Its
20 photos of 1080 x 1920, as they are or enlarged, are linked to under many names. Measured in turns in this
process, medians, photos a second: decoding alone on all processors, the network alone on all processors, and
both as `batch_predict` does them. Where both need the same processors they must share them: the shared limit
is the rate at which one photo's decoding and inference, each at its full speed, follow each other. `--memory`
compares the largest memory of whole processes over few and many photos.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from assay.core.cpu import cpu_count
from assay.inference import BATCH_SIZE, Classifier
from assay.inference.batch_predict import batch_predict
from assay.inference.inputs import read_input

REPEATS = 3


def bottles(scratch: Path, enlarge: float = 1.0) -> list[Path]:
    """Return the bottle photos, their sides `enlarge` times as long."""
    archive = Path(os.environ.get("ASSAY_DATA", "../shared/data")) / "bottles.tar"
    with tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
    paths = sorted((scratch / "bottles").rglob("*.jpg"))
    for path in paths if enlarge != 1 else []:
        with Image.open(path) as image:
            size = round(enlarge * image.width), round(enlarge * image.height)
            larger = image.resize(size, Image.Resampling.BICUBIC)
        larger.save(path, quality=95)
    return paths


def folder_of(originals: list[Path], folder: Path, count: int) -> list[Path]:
    """Return `count` names of the photos, in one folder; a file takes but so many links."""
    folder.mkdir()
    paths = [folder / f"{number:06}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.symlink_to(originals[number % len(originals)])
    return paths


def decode_all(classifier: Classifier, paths: list[Path]) -> None:
    """Decode with a thread a processor and do nothing else."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        for _ in pool.map(lambda path: read_input(path, classifier.preprocess), paths):
            continue


def infer_all(classifier: Classifier, batch: np.ndarray, count: int) -> None:
    """Run the network as often as `count` photos need, a batch per stream at a time."""
    with ThreadPoolExecutor(classifier.setup.streams) as pool:
        for _ in pool.map(lambda _: classifier.engine.run(batch), range(0, count, BATCH_SIZE)):
            continue


def rate(work: Callable[[], object], count: int) -> float:
    """Return photos a second."""
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def measure(model: Path | str, count: int = 640, enlarge: float = 1.0) -> dict[str, Any]:
    """Measure and return rates in photos a second, and their shares of the limits."""
    classifier = Classifier.load(model, workload="throughput")
    rates: dict[str, list[float]] = {"decode": [], "infer": [], "predict": []}
    with tempfile.TemporaryDirectory() as scratch:
        paths = folder_of(bottles(Path(scratch), enlarge), Path(scratch) / "links", count)
        squares = [classifier.preprocess.read(path.read_bytes()) for path in paths[:BATCH_SIZE]]
        batch, out = np.stack(squares), Path(scratch) / "answers.jsonl"
        infer_all(classifier, batch, 2 * BATCH_SIZE)
        for _ in range(REPEATS):
            rates["decode"].append(rate(lambda: decode_all(classifier, paths), count))
            rates["infer"].append(rate(lambda: infer_all(classifier, batch, count), count))
            rates["predict"].append(rate(lambda: batch_predict(classifier, paths, out), count))
    found: dict[str, Any] = {name: statistics.median(values) for name, values in rates.items()}
    found["shared_limit"] = 1 / (1 / found["decode"] + 1 / found["infer"])
    found["of_lower_limit"] = found["predict"] / min(found["decode"], found["infer"])
    found["of_shared_limit"] = found["predict"] / found["shared_limit"]
    return found


def memory(model: Path, counts: tuple[int, ...] = (2_000, 20_000)) -> dict[int, float]:
    """Return the largest memory, in MiB, of whole `assay predict` processes over so many small photos."""
    found = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as scratch:
            small, folder, out = (Path(scratch) / name for name in ("small.jpg", "links", "answers.jsonl"))
            Image.effect_noise((64, 64), 50).save(small)
            folder_of([small], folder, count)
            program = (
                "import resource, sys; from assay.cli.main import app\n"
                "app(sys.argv[1:], standalone_mode=False)\n"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
            )
            run = subprocess.run(
                [sys.executable, "-c", program, "predict", model, folder, "--out", out],
                capture_output=True,
                check=True,
                text=True,
            )
            found[count] = int(run.stdout.splitlines()[-1]) / 1024
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=640)
    parser.add_argument("--enlarge", type=float, default=1.0, help="how many times as long sides are")
    parser.add_argument("--memory", action="store_true")
    wanted = parser.parse_args()
    for name, value in measure(wanted.model, wanted.count, wanted.enlarge).items():
        print(f"{name:<20}{value:10.2f}")
    if wanted.memory:
        for count, size in memory(wanted.model).items():
            print(f"{count:>8} photos{size:14.0f} MiB")


if __name__ == "__main__":
    main()

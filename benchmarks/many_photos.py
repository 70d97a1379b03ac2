"""`assay check` and `assay train` on a million photos in tar files: time, memory, and the planted copies found.

    python benchmarks/many_photos.py --photos 1000000 --folder /tmp/many

The photos are JPEGs of 64 x 64 pixels, random fields of two classes that differ by a gradient. One percent are copies
of others, cropped by a few pixels and encoded again. Training is one epoch of a small convolutional network on 32
pixels, with splits by hash. Finished tar files and steps are not repeated; a million photos take 3 GB.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
from near_duplicates import random_fields
from PIL import Image

from assay.benchmark.runner import machine_info
from assay.core.tables import write_json

_SIDE = 64
_SHARD = 10_000
_COPIES = 100
"""Of every shard."""
_CLASSES = ("falling", "rising")
_TRAIN = (
    "data.class_mapping=null",
    "data.positive_class=null",
    "train.epochs=1",
    "train.batch_size=256",
    "train.schedule=cosine",
    "train.early_stopping=null",
)
"""Overrides of the recipe vehicle-animal."""


def make_shard(folder: Path, number: int, count: int) -> None:
    """Write a tar file of `count` photos in class folders, unless it is there."""
    path = folder / f"{number:04}.tar"
    if path.is_file():
        return
    rng = np.random.default_rng(number)
    copies = min(_COPIES, count // 2)
    fields = random_fields(rng, count - copies)
    rising = rng.random(len(fields)) < 0.5
    ramp = np.linspace(-1, 1, fields.shape[1], dtype=np.float32)[None, :, None, None]
    fields += np.where(rising, 0.7, -0.7).astype(np.float32)[:, None, None, None] * ramp
    pixels = (128 + 40 * fields).clip(0, 255).astype(np.uint8)
    temporary = path.with_suffix(".part")
    with tarfile.open(temporary, "w") as shard:
        for place, values in enumerate(pixels):
            photo = Image.fromarray(values).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            name = f"{_CLASSES[int(rising[place])]}/{number:04}-{place:05}"
            _add(shard, f"{name}.jpg", photo, 90)
            if place < copies:
                _add(shard, f"{name}-copy.jpg", photo.crop((2, 1, _SIDE, _SIDE - 1)), 80)
    temporary.replace(path)


def _add(shard: tarfile.TarFile, name: str, photo: Image.Image, quality: int) -> None:
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=quality)
    entry = tarfile.TarInfo(name)
    entry.size = stream.tell()
    stream.seek(0)
    shard.addfile(entry, stream)


def measure(command: list[object], out: Path) -> dict[str, float]:
    """Run a command; return its seconds, processor time and the peak memory of its largest process, in MiB."""
    begin = time.monotonic()
    with out.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen([str(part) for part in command], stdout=stream)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{command[1]} ended with {process.returncode}")
    processor = used.ru_utime + used.ru_stime
    return {"seconds": time.monotonic() - begin, "processor": processor, "mebibytes": used.ru_maxrss / 1024}


def found_copies(report: Path) -> int:
    """Return how many planted copies are in one group with their original in the output of `assay check --json`."""
    found = 0
    for group in json.loads(report.read_text(encoding="utf-8"))["groups"]:
        names = {Path(name).stem for name in group}
        found += sum(name.removesuffix("-copy") in names for name in names if name.endswith("-copy"))
    return found


def main() -> None:
    """Make the photos, then check and train; write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True, help="for photos and results; kept")
    wanted = parser.parse_args()
    shards, assay = wanted.folder / f"shards-{wanted.photos}", Path(sys.executable).with_name("assay")
    shards.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, wanted.photos, _SHARD)):
        make_shard(shards, number, min(_SHARD, wanted.photos - start))
    os.environ["ASSAY_CACHE"] = str(wanted.folder / "cache")
    results = wanted.folder / f"results-{wanted.photos}.json"
    found = json.loads(results.read_text("utf-8")) if results.is_file() else {"machine": machine_info()}
    settings = [part for value in _TRAIN for part in ("--set", value)]
    steps = {
        "check": [assay, "check", shards, "--json"],
        "train": [
            *(assay, "train", shards, "--recipe", "vehicle-animal", "--split-method", "hash"),
            *("--run", wanted.folder / "run", *settings),
        ],
    }
    for name, command in steps.items():
        if name not in found:
            out = wanted.folder / f"{name}.out"
            found[name] = measure(command, out)
            if name == "check":
                found[name]["copies"] = found_copies(out)
            write_json(results, found)
        print(name, {key: round(value, 1) for key, value in found[name].items()}, flush=True)


if __name__ == "__main__":
    main()

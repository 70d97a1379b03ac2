"""How much quicker the training loader is from the second epoch on, its pixels kept, than decoding anew.

Run as `python benchmarks/loader.py`, with `ASSAY_DATA` the folder that holds `bottles.tar` (20 photos of
1080 x 1920). Both loaders are the one of training, with the bottle recipe's region and no augmentation,
in this process, one after the other; the ratio of their medians is printed. The cache is a temporary folder.
"""

import os
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

from assay.data import PixelCache, PreprocessedImages, load_dataset
from assay.image import Preprocess
from assay.recipe import load_recipe
from assay.training import LabeledImages
from assay.training.dataloaders import train_dataloader

EPOCHS = 7


def seconds_an_epoch(data: LabeledImages, recipe_name: str) -> list[float]:
    """Return the wall time of each epoch of a training loader, in seconds."""
    recipe = load_recipe(recipe_name, ["train.batch_size=10", "train.workers=0"])
    loader = train_dataloader(data, None, recipe)
    taken = []
    for _ in range(EPOCHS):
        begin = time.perf_counter()
        for _ in loader:
            continue
        taken.append(time.perf_counter() - begin)
    return taken


def measure() -> dict[str, float]:
    """Return milliseconds a photo: decoding every time, the first epoch and the later ones with a cache."""
    archive = Path(os.environ.get("ASSAY_DATA", "../shared/data")) / "bottles.tar"
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(archive) as photos:
            photos.extractall(scratch, filter="data")
        dataset = load_dataset(Path(scratch) / "bottles")
        preprocess = Preprocess(load_recipe("bottle").preprocess)
        targets = dataset.targets()
        cache = PixelCache((sample.digest for sample in dataset.samples), Path(scratch) / "cache")
        plain = seconds_an_epoch(LabeledImages(PreprocessedImages(dataset.samples, preprocess), targets), "bottle")
        kept = seconds_an_epoch(
            LabeledImages(PreprocessedImages(dataset.samples, preprocess, cache), targets), "bottle"
        )
    decode, cached = statistics.median(plain[1:]), statistics.median(kept[1:])
    each = 1e3 / len(targets)
    return {
        "decode_ms": decode * each,
        "first_ms": kept[0] * each,
        "cached_ms": cached * each,
        "ratio": decode / cached,
    }


def main() -> None:
    """Measure and print."""
    found = measure()
    print(f"decoding every time: {found['decode_ms']:8.3f} ms a photo")
    print(f"epoch 1, kept:       {found['first_ms']:8.3f} ms a photo")
    print(f"epochs 2 on, kept:   {found['cached_ms']:8.3f} ms a photo, {found['ratio']:.0f} x")


if __name__ == "__main__":
    main()

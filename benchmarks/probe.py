"""A frozen backbone: embeddings computed once and kept, against forwarding every photo every epoch.

Run as `python benchmarks/probe.py`; needs the package elpv-dataset (2,624 photos of solar cells).
The baseline is what tutorials do: decoded and resized pixels in memory, the eager network in evaluation mode
without gradients, in batches of 32, a new linear layer learning from what comes out, in every epoch. It is
given its pixels for nothing; ours decodes. The cache is a temporary folder. One run of each, since they take
minutes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from assay.data import Dataset, PreprocessedImages
from assay.data.fetch.converters import prepare_elpv
from assay.data.loading import load_split_dataset
from assay.image import Preprocess
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import FrozenBackbone, labelled_pixels
from assay.pipeline.tune import tune_probe
from assay.recipe import Recipe, load_recipe
from assay.training import fit_heads

EPOCHS = 10
GRID = [
    "train.lr=3e-4,1e-3,3e-3,1e-2,3e-2",
    "train.weight_decay=0,1e-4,1e-3,1e-2",
    "net.head.dropout=0,0.2,0.4,0.6,0.8",
]
"""100 choices of settings, each of 60 epochs."""

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return how long some work takes in seconds, and what comes of it."""
    begin = time.perf_counter()
    found = work()
    return time.perf_counter() - begin, found


def eager_epoch(recipe: Recipe, dataset: Dataset) -> float:
    """Return the seconds of one epoch that forwards every photo: training and validation."""
    network, spec = build_model(recipe, dataset)
    samples = [*dataset.part("train"), *dataset.part("val")]
    taught = len(dataset.part("train"))
    pixels = PreprocessedImages(samples, Preprocess(spec))
    images = torch.from_numpy(np.stack([pixels[row] for row in range(len(pixels))]))
    targets = torch.from_numpy(dataset.targets(samples))
    network.eval()
    optimizer = torch.optim.Adam(network.head.parameters(), lr=1e-3)

    def epoch() -> None:
        for start in range(0, len(images), 32):
            with torch.no_grad():
                embedding = network.embed(images[start : start + 32])
            if start >= taught:
                continue
            loss = torch.nn.functional.cross_entropy(network.head(embedding), targets[start : start + 32])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    return timed(epoch)[0]


def measure() -> dict[str, float]:
    """Measure everything; return seconds and ratios by name."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ASSAY_CACHE"] = f"{scratch}/cache"
        manifest = prepare_elpv(Path(scratch) / "photos")
        recipe = load_recipe("defect-lite", ["data.positive_class=defective", f"train.epochs={EPOCHS}"])
        dataset = load_split_dataset(manifest, recipe.data, recipe.train.seed)
        epoch = eager_epoch(recipe, dataset)

        def ours() -> None:
            network, spec = build_model(recipe, dataset)
            embedded = FrozenBackbone(network, spec, recipe, dataset).embedded()
            train, val = labelled_pixels(dataset, "train", spec), labelled_pixels(dataset, "val", spec)
            fit_heads(network.head, [recipe], train, val, embedded)

        first, _ = timed(ours)
        again, _ = timed(ours)
        grid = [*GRID, "data.positive_class=defective"]
        sweep, result = timed(lambda: tune_probe(manifest, "defect-lite", grid, Path(scratch) / "tune"))
    return {
        f"eager, {EPOCHS} epochs, seconds (one measured)": EPOCHS * epoch,
        f"first time, {EPOCHS} epochs, seconds, decoding and compiling included": first,
        f"embeddings kept, {EPOCHS} epochs, seconds": again,
        "times faster, first time": EPOCHS * epoch / first,
        "times faster, embeddings kept": EPOCHS * epoch / again,
        f"{len(result.trials)} settings of 60 epochs, seconds, photos checked anew": sweep,
        "of these, the trials alone, seconds": sum(item.seconds for item in result.trials),
    }


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, value in measure().items():
        print(f"{name:<78}{value:10.2f}")


if __name__ == "__main__":
    main()

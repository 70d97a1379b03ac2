"""Statistics of intermediate feature maps as features of a linear probe, besides the means of the last feature map.

Compared on the training and validation photos of the default comparison (seed 1), by cross-validation: this is how
`net.intermediate_features` was chosen. The features are kept in the folder of runs; the result is written after each
data set.
"""

from pathlib import Path

import default_comparison
import numpy as np
import numpy.typing as npt
import runs
import torch
from result_file import Row, mean_and_std, processor, write_result

from assay.pipeline.auto.probe import Protocol
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import preprocessed_images
from assay.recipe import load_recipe
from assay.training.linear_heads import calibrated_log_loss
from assay.training.logistic_regression import cross_fit

NAME = "intermediate-features"
RECIPE = "default"
SEED = 1
STATISTICS = ("mean", "std", "max")
METHODS: dict[str, tuple[str, ...]] = {
    "last feature map alone": (),
    "standard deviations": ("std",),
    "means": ("mean",),
    "means and standard deviations": ("mean", "std"),
    "maxima": ("max",),
}
"""Statistics of the intermediate feature maps by method."""
_MOST_PHOTOS = 2500
_BATCH = 32


def pooled_features(protocol: Protocol) -> dict[str, npt.NDArray[np.float32]]:
    """Return the means of the last feature map (`last`), and each statistic of the other ones; float32 [N, D]."""
    network, spec = build_model(load_recipe(RECIPE), protocol.dataset)
    network.eval()
    images = preprocessed_images(protocol.dataset, protocol.samples, spec)
    found: dict[str, list[torch.Tensor]] = {name: [] for name in ("last", *STATISTICS)}
    for start in range(0, len(images), _BATCH):
        pixels = np.stack([images[place] for place in range(start, min(start + _BATCH, len(images)))])
        with torch.inference_mode():
            *intermediate, last = network.backbone.feature_maps(network.normalize(torch.from_numpy(pixels)))
        found["last"].append(last.mean(dim=(2, 3)))
        found["mean"].append(torch.cat([values.mean(dim=(2, 3)) for values in intermediate], dim=1))
        found["std"].append(torch.cat([values.std(dim=(2, 3), correction=0) for values in intermediate], dim=1))
        found["max"].append(torch.cat([values.amax(dim=(2, 3)) for values in intermediate], dim=1))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def read_or_pool(protocol: Protocol, file: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Return the features from a file, which is written first if necessary."""
    if not file.is_file():
        np.savez(file, **pooled_features(protocol))
    with np.load(file) as stored:
        return dict(stored)


def measure(protocol: Protocol, features: npt.NDArray[np.float32]) -> tuple[list[float], list[float]]:
    """Return accuracy and log loss on held-out photos, of every repeat of the cross-validation."""
    accuracies, losses = [], []
    for folds in protocol.repeats:
        fitted = cross_fit(features, protocol.targets, len(protocol.dataset.classes), folds)
        targets = protocol.targets[fitted.rows]
        accuracies.append(float((fitted.log_probabilities.argmax(axis=1) == targets).mean()))
        losses.append(calibrated_log_loss(fitted.log_probabilities, targets))
    return accuracies, losses


def protocol_of(data_set: str, folder: Path) -> tuple[Protocol, Path]:
    """Return the photos and folds of a data set, and the folder of its features."""
    task = default_comparison.Task(data_set, SEED, 10.0, folder / default_comparison.NAME / f"{data_set}-seed-{SEED}")
    default_comparison.prepare(task, folder)
    dataset = task.dataset()
    photos = [*dataset.part("train"), *dataset.part("val")]
    step = -(-len(photos) // _MOST_PHOTOS)
    return Protocol.of(dataset.with_samples(photos[::step]), load_recipe(RECIPE)), task.folder


def main() -> None:
    """Measure every method on every data set."""
    parser = runs.parser(__doc__)
    options = parser.parse_args()
    rows: list[Row] = []
    for data_set in default_comparison.DATA_SETS:
        protocol, folder = protocol_of(data_set, options.runs)
        features = read_or_pool(protocol, folder / "features.npz")
        for method, statistics in METHODS.items():
            chosen = np.concatenate([features["last"], *(features[name] for name in statistics)], axis=1)
            accuracies, losses = measure(protocol, chosen)
            repeats = len(protocol.repeats)
            row = Row(
                name=f"{data_set}: {method}",
                recipe=method,
                protocol=f"grouped, {len(protocol.repeats[0])}-fold, {repeats} repeats, training and validation photos",
                seeds=[SEED],
                runs=repeats,
                planned=repeats,
                photos=len(protocol.samples),
                metrics={
                    "accuracy": mean_and_std(accuracies),
                    "log_loss": mean_and_std(losses),
                },
                settings_tried=len(METHODS),
                measured_on=[processor()],
            )
            rows.append(row)
            print(row.name, row.metrics["accuracy"]["mean"], row.metrics["log_loss"]["mean"], flush=True)
            write_result(NAME, rows, settings_compared=len(METHODS))


if __name__ == "__main__":
    runs.run_script(main)

"""Vehicles and animals with a pretrained backbone: EfficientNet-Lite0, frozen, and with all layers trained.

The published classifier is a ResNet-50 V2, whose weights have to be downloaded; here the installed backbone is used.
The frozen one is trained on some of the 50,000 training images, the other on all of them; both are measured on half of
the test images.

Run as `python experiments/vehicle_animal_transfer.py`; an interrupted run is resumed.
"""

from collections.abc import Sequence
from pathlib import Path

import data_sources
import runs
from result_file import Row, binary_metrics, write_result
from seed_runs import seeds_row

NAME = "vehicle-animal-transfer"
RECIPE = "vehicle-animal"
TEST_IMAGES = 5000
FROZEN_IMAGES = 5000
BACKBONE = (
    "net.name=efficientnet-lite0",
    "net.weights=imagenet",
    "net.head={hidden: [], dropout: 0, batch_norm: false, l2: 0}",
    "train.early_stopping=null",
)
FROZEN = (
    *BACKBONE,
    "preprocess={resize_mode: stretch, size: 224}",
    "train.strategy=probe",
    "train.lr=3e-3",
    "train.epochs=30",
    "train.schedule=cosine",
)
"""Overrides of the recipe `vehicle-animal`: a linear head on frozen features."""
FINE_TUNED = (
    *BACKBONE,
    "preprocess={resize_mode: stretch, size: 128}",
    "augment.train=[{name: random_crop}, {name: horizontal_flip}]",
    "train.strategy=staged",
    "train.staged={head_epochs: 1, head_lr: 3.0e-3, early_lr_factor: 0.3}",
    "train.epochs=3",
    "train.batch_size=64",
    "train.optimizer=adamw",
    "train.lr=1e-3",
    "train.weight_decay=0.01",
    "train.schedule=cosine",
)
"""Overrides: an epoch for the head, then two for all layers."""


def run_seeds(name: str, data: Path, overrides: Sequence[str], seeds: int, folder: Path) -> Row:
    """Train with several seeds, which also choose the validation images; return the metrics on the test images."""
    return seeds_row(
        name,
        data,
        (RECIPE, overrides),
        seeds,
        folder=lambda seed: folder.with_name(f"{folder.name}-seed-{seed}"),
        protocol="official test images (half of them), validation images from the training images",
        measure=lambda predictions: binary_metrics(predictions, "animal"),
    )


def main() -> None:
    """Train what is missing and write the result."""
    parser = runs.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the frozen backbone (default: 3)")
    parser.add_argument("--fine-tuned-seeds", type=int, default=1, help="seeds of fine-tuning; 0: none (default: 1)")
    options = parser.parse_args()
    data = data_sources.locate("cifar10", options.runs, options.data)
    folder = options.runs / NAME
    subset = folder / f"{FROZEN_IMAGES}.csv"
    data_sources.write_subset(data, FROZEN_IMAGES, TEST_IMAGES, 0, subset)
    name = f"frozen EfficientNet-Lite0, {FROZEN_IMAGES:,} training images"
    rows = [run_seeds(name, subset, FROZEN, options.seeds, folder / str(FROZEN_IMAGES))]
    write_result(NAME, rows)
    if options.fine_tuned_seeds:
        name = "fine-tuned EfficientNet-Lite0, all training images"
        rows.append(run_seeds(name, data, FINE_TUNED, options.fine_tuned_seeds, folder / "fine-tuned"))
        write_result(NAME, rows)


if __name__ == "__main__":
    runs.run_script(main)

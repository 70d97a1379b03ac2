"""Vehicles and animals with a pretrained backbone: frozen EfficientNet-Lite0 at 224 pixels, on part of CIFAR-10.

The published classifier is a ResNet-50 V2, whose weights have to be downloaded; here the installed backbone is used.
The classifier is trained on some of the 50,000 training images and measured on all test images.

Run as `python experiments/vehicle_animal_transfer.py`; an interrupted run is resumed.
"""

from statistics import fmean

import data_sources
import runs
from result_file import Row, accuracy_interval, binary_metrics, mean_and_std, write_result

from assay.evaluation import Predictions
from assay.recipe import load_recipe

NAME = "vehicle-animal-transfer"
TEST_IMAGES = 5000
OVERRIDES = (
    "net.name=efficientnet-lite0",
    "net.weights=imagenet",
    "net.head={hidden: [], dropout: 0, batch_norm: false, l2: 0}",
    "preprocess={resize_mode: stretch, size: 224}",
    "train.strategy=probe",
    "train.lr=3e-3",
    "train.epochs=30",
    "train.schedule=cosine",
    "train.early_stopping=null",
)
"""Overrides of the recipe `vehicle-animal`: a linear head on frozen features."""


def main() -> None:
    """Train what is missing and write the result."""
    parser = runs.parser(__doc__)
    parser.add_argument("--photos", type=int, nargs="*", default=[5000], help="training images (default: 5000)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of validation split and head (default: 3)")
    options = parser.parse_args()
    data = data_sources.locate("cifar10", options.runs, options.data)
    rows: list[Row] = []
    for photos in options.photos:
        manifest = options.runs / NAME / f"{photos}.csv"
        data_sources.write_subset(data, photos, TEST_IMAGES, 0, manifest)
        predictions, seconds = [], []
        for seed in range(options.seeds):
            place = options.runs / NAME / f"{photos}-seed-{seed}"
            run = runs.train(manifest, load_recipe("vehicle-animal", [*OVERRIDES, f"train.seed={seed}"]), place)
            predictions.append(Predictions.load(run.evaluation("test") / "predictions.npz"))
            seconds.append(runs.duration(place))
        measured = [binary_metrics(found, "animal") for found in predictions]
        rows.append(
            Row(
                name=f"frozen EfficientNet-Lite0, {photos:,} training images",
                recipe=f"vehicle-animal {' '.join(OVERRIDES)}",
                protocol="official test images (half of them), validation images from the training images",
                seeds=list(range(options.seeds)),
                runs=options.seeds,
                planned=options.seeds,
                photos=len(predictions[0]),
                metrics={key: mean_and_std(found[key] for found in measured) for key in measured[0]},
                interval=accuracy_interval(predictions[0]),
                wall_seconds=fmean(found.wall for found in seconds),
                cpu_seconds=fmean(found.cpu for found in seconds),
            )
        )
        write_result(NAME, rows)


if __name__ == "__main__":
    runs.run_script(main)

"""Rows of results from one split that is trained on with several seeds: mean and deviation over the seeds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import runs
from result_file import Row, accuracy_interval, mean_and_std

from assay.evaluation import Predictions
from assay.recipe import load_recipe


def seeds_row(
    name: str,
    data: Path,
    settings: tuple[str, Sequence[str]],
    seeds: int,
    *,
    folder: Callable[[int], Path],
    protocol: str,
    measure: Callable[[Predictions], Mapping[str, float]],
) -> Row:
    """Train what is missing; return the metrics on the test images.

    Args:
        name: of the method.
        data: folder or manifest.
        settings: recipe and overrides.
        seeds: number of seeds.
        folder: returns the folder of the run with a seed.
        protocol: how the images were split.
        measure: returns the metrics of the predictions of one run.
    """
    recipe, overrides = settings
    predictions, seconds = [], []
    for seed in range(seeds):
        place = folder(seed)
        run = runs.train(data, load_recipe(recipe, [*overrides, f"train.seed={seed}"]), place)
        predictions.append(Predictions.load(run.evaluation("test") / "predictions.npz"))
        seconds.append(runs.duration(place))
    measured = [measure(found) for found in predictions]
    return Row(
        name=name,
        recipe=" ".join([recipe, *overrides]),
        protocol=protocol,
        seeds=list(range(seeds)),
        runs=seeds,
        planned=seeds,
        photos=len(predictions[0]),
        metrics={key: mean_and_std(found[key] for found in measured) for key in measured[0]},
        interval=accuracy_interval(predictions[0]),
        wall_seconds=fmean(found.wall for found in seconds),
        cpu_seconds=fmean(found.cpu for found in seconds),
    )

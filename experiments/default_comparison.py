"""The default recipe against what else is at hand, on five data sets with the same splits.

Compared are `assay train` without a recipe, scikit-learn's logistic regression on pooled features of the same backbone,
fastai's `fine_tune` of the same backbone in the same time, and the default recipe before strategy `auto`, also in that
time. All of them train on the training and validation photos and are measured on the test photos, once.

Run as `python experiments/default_comparison.py --fastai PYTHON`, where PYTHON is that of an environment with fastai
(`fastai_requirements.txt`). Finished methods are not repeated; the result is written after each.
"""

import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import baselines
import data_sources
import numpy as np
import runs
from result_file import RESULTS, Row, balanced_accuracy, mean_and_std, processor, write_result

from assay.bundle import Bundle
from assay.core.tables import write_json
from assay.data import Dataset, assign_splits, read_manifest, write_manifest
from assay.data.loading import load_grouped_dataset
from assay.evaluation import Predictions
from assay.evaluation.calibration import ece_if_calibrated, measure_calibration
from assay.pipeline import Run
from assay.recipe import Recipe, load_recipe
from assay.recipe.data import SplitSpec

NAME = "default-comparison"
TARGET = 0.99
"""Precision that the answers of the classifiers are to have."""
PREVIOUS = Path(__file__).with_name("previous-default.yaml")
SHARES = SplitSpec(train=0.6, val=0.15, test=0.25)
"""Of data sets without a test split; the others keep theirs."""
SUBSETS = {"cifar10": (5000, 2000), "fashion-mnist": (2000, 2000)}
"""Training and test images that are used of large data sets."""
DATA_SETS = ("button-cells", "magnetic-tiles", "elpv", "fashion-mnist", "cifar10")
PLANNED_SEEDS = 3
BALANCED = "default, balanced accuracy"
METHODS = ("default", "logistic regression", "fastai", "previous default", BALANCED)
"""In the order in which they are run on all data sets, so that an interrupted comparison has the first ones."""
UNBALANCED_SETS = ("magnetic-tiles",)
"""Data sets on which the default is also trained for the balanced accuracy."""


@dataclass(frozen=True)
class Task:
    """One data set with its splits, one seed, and the time for training."""

    data_set: str
    seed: int
    minutes: float
    folder: Path
    """Of the results of all methods."""

    @property
    def manifest(self) -> Path:
        """The photos with their splits."""
        return self.folder / "manifest.csv"

    def dataset(self) -> Dataset:
        """Return the photos with their splits."""
        return read_manifest(self.manifest)


def prepare(task: Task, runs_folder: Path) -> None:
    """Write the manifest of a task: near-duplicates in one split, stratified by class."""
    if task.manifest.is_file():
        return
    data = data_sources.locate(task.data_set, runs_folder)
    if task.data_set in SUBSETS:
        train, test = SUBSETS[task.data_set]
        subset = runs_folder / NAME / f"{task.data_set}-{task.seed}.csv"
        data = data_sources.write_subset(data, train, test, task.seed, subset)
    recipe = load_recipe("default")
    dataset = assign_splits(load_grouped_dataset(data, recipe.data), SHARES, task.seed)
    task.folder.mkdir(parents=True, exist_ok=True)
    write_manifest(dataset, task.manifest)


def run_default(task: Task, place: Path, *others: str) -> Predictions:
    """Train the default recipe for the time of the task; return its predictions on the test photos.

    `others` are further overrides.
    """
    overrides = [
        f"train.seed={task.seed}",
        f"train.auto.minutes={task.minutes}",
        f"abstain.target_precision={TARGET}",
        *others,
    ]
    return _test_predictions(_train(task, load_recipe("default", overrides), place))


def run_balanced(task: Task, place: Path) -> Predictions:
    """Train the default recipe for the balanced accuracy, for the time of the task."""
    return run_default(task, place, "train.objective=balanced_accuracy")


def run_previous(task: Task, place: Path) -> Predictions:
    """Train the previous default recipe with as many epochs, at most its 15, as fit into the time of the task."""
    photos = len(task.dataset().part("train"))
    rate = baselines.training_rate(load_recipe(PREVIOUS))
    epochs = int(np.clip(60 * task.minutes * rate // photos, 1, 15))
    head = max(1, min(3, epochs // 3))
    recipe = load_recipe(
        PREVIOUS,
        [
            f"train.seed={task.seed}",
            f"train.epochs={epochs}",
            f"train.staged.head_epochs={head}",
            f"abstain.target_precision={TARGET}",
        ],
    )
    return _test_predictions(_train(task, recipe, place))


def run_logistic_regression(task: Task, place: Path) -> Predictions:
    """Fit scikit-learn's logistic regression with its defaults on standardized pooled features."""
    return baselines.logistic_regression(task.dataset(), place)


def run_fastai(task: Task, place: Path) -> Predictions:
    """Run fastai in its own environment."""
    python = os.environ["FASTAI_PYTHON"]
    job = baselines.write_fastai_job(task.dataset(), place, task.minutes, task.seed)
    script = Path(__file__).with_name("fastai_fine_tune.py")
    source = str(Path(__file__).parents[1] / "src")
    out = place / "probabilities.npz"
    subprocess.run([python, script, job, out], check=True, env={**os.environ, "PYTHONPATH": source})  # noqa: S603
    return baselines.read_fastai_result(task.dataset(), out)


RUNNERS: Mapping[str, Callable[[Task, Path], Predictions]] = {
    "default": run_default,
    "logistic regression": run_logistic_regression,
    "fastai": run_fastai,
    "previous default": run_previous,
    BALANCED: run_balanced,
}


def _train(task: Task, recipe: Recipe, place: Path) -> Run:
    return runs.train(task.manifest, recipe, place / "run")


def _test_predictions(run: Run) -> Predictions:
    return Predictions.load(run.evaluation("test") / "predictions.npz")


def measure(predictions: Predictions, threshold: float | None) -> dict[str, float | None]:
    """Return accuracy, balanced accuracy, calibration error, and precision and coverage of the answers.

    The calibration error is also that of a perfectly calibrated classifier with the same confidences.

    Args:
        predictions: on the test photos.
        threshold: smallest confidence of an answer; None: the classifier does not abstain.
    """
    values: dict[str, float | None] = {
        "accuracy": float(predictions.correct.mean()),
        "balanced_accuracy": balanced_accuracy(predictions),
        "ece": measure_calibration(predictions).ece,
        "ece_if_calibrated": ece_if_calibrated(predictions.confidence),
    }
    if threshold is not None:
        answered = predictions.confidence >= threshold
        values["coverage"] = float(answered.mean())
        values["precision_of_answers"] = float(predictions.correct[answered].mean()) if answered.any() else None
    return values


def measured_file(task_name: str, method: str) -> Path:
    """Return the file of the metrics of a method on a task. It is beside the results: it outlives the run."""
    return RESULTS / NAME / task_name / f"{method.replace(' ', '-')}.json"


def run_method(task: Task, method: str, runs_folder: Path) -> dict[str, Any]:
    """Return the metrics of one method on one task; from its file if it was run before."""
    place = task.folder / method.replace(" ", "-")
    file = measured_file(task.folder.name, method)
    if file.is_file():
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found
    prepare(task, runs_folder)
    place.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with runs.timed(place):
        predictions = RUNNERS[method](task, place)
    bundle = place / "run" / "model.assay"
    threshold = Bundle.open(bundle).info.thresholds.get("confidence") if bundle.is_file() else None
    values = {
        **measure(predictions, threshold),
        "photos": len(predictions),
        "minutes": task.minutes,
        "measured_on": processor(),
        "wall_seconds": time.monotonic() - begin,
        "cpu_seconds": runs.duration(place).cpu,
    }
    predictions.save(place / "predictions.npz")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, values)
    print(time.strftime("%H:%M:%S"), task.data_set, "seed", task.seed, method, values, flush=True)
    return values


def is_planned(data_set: str, method: str) -> bool:
    """Return whether a method is run on a data set."""
    return method != BALANCED or data_set in UNBALANCED_SETS


def summarize(seeds: int) -> list[Row]:
    """Return a row per data set and method from the finished runs."""
    rows = []
    for data_set in DATA_SETS:
        for method in filter(partial(is_planned, data_set), METHODS):
            files = {seed: measured_file(f"{data_set}-seed-{seed}", method) for seed in range(seeds)}
            found = {seed: json.loads(path.read_text("utf-8")) for seed, path in files.items() if path.is_file()}
            names = ("accuracy", "balanced_accuracy", "ece", "ece_if_calibrated", "coverage", "precision_of_answers")
            seconds = [values["wall_seconds"] for values in found.values()]
            cpu = [values["cpu_seconds"] for values in found.values()]
            rows.append(
                Row(
                    name=f"{data_set}: {method}",
                    recipe=method,
                    protocol=f"grouped and stratified, {_time_text(found.values())}",
                    seeds=sorted(found),
                    runs=len(found),
                    planned=max(seeds, PLANNED_SEEDS),
                    photos=next((values["photos"] for values in found.values()), 0),
                    metrics={name: mean_and_std(values.get(name) for values in found.values()) for name in names},
                    wall_seconds=sum(seconds) / len(seconds) if seconds else None,
                    cpu_seconds=sum(cpu) / len(cpu) if cpu else None,
                    measured_on=sorted({values["measured_on"] for values in found.values()}),
                )
            )
    return rows


def _time_text(measured: Iterable[Mapping[str, Any]]) -> str:
    times = sorted({values["minutes"] for values in measured})
    return f"{' or '.join(f'{minutes:g}' for minutes in times)} minutes of training"


def main() -> None:
    """Run what is missing, seed by seed, and write the result after each method."""
    parser = runs.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=PLANNED_SEEDS, help="seeds are below this number (default: 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="leave out the seeds before (default: 0)")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of training per method (default: 10)")
    parser.add_argument("--fastai", help="Python of an environment with fastai; without it fastai is left out")
    parser.add_argument("--only", nargs="*", default=DATA_SETS, choices=DATA_SETS, help="data sets")
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS, help="methods to run")
    parser.add_argument("--summarize", action="store_true", help="run nothing; write what is finished")
    options = parser.parse_args()
    if options.fastai:
        os.environ["FASTAI_PYTHON"] = options.fastai
    folder = options.runs / NAME
    if options.summarize:
        write_result(NAME, summarize(options.seeds))
        return
    methods = [method for method in options.methods if method != "fastai" or options.fastai]
    for seed, method, data_set in itertools.product(range(options.first_seed, options.seeds), methods, options.only):
        if not is_planned(data_set, method):
            continue
        task = Task(data_set, seed, options.minutes, folder / f"{data_set}-seed-{seed}")
        run_method(task, method, options.runs)
        write_result(NAME, summarize(options.seeds))


if __name__ == "__main__":
    runs.run_script(main)

"""Measure every available engine and precision in rounds, each time in a fresh process.

Rounds alternate between the engines, so that a machine that slows down affects all of them. Needs no torch.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from assay.benchmark.machine import load_average, machine_info
from assay.benchmark.results import (
    Accuracy,
    BenchmarkResult,
    BenchmarkRow,
    EngineConfig,
    Measurement,
    MeasurementError,
    run_measurement,
)
from assay.benchmark.worker import MeasurementJob
from assay.bundle import Bundle
from assay.core.cpu import bf16_instructions, cpu_count
from assay.core.errors import UsageError
from assay.core.files import temporary_folder
from assay.core.progress import Progress, no_progress
from assay.data import Dataset, PreprocessedImages, Sample, load_dataset
from assay.inference import Classifier
from assay.inference.engine_selection import preferred_engines
from assay.pipeline.evaluation_data import check_training_overlap, class_mapping_for
from assay.recipe import Layout

MAX_PHOTOS = 16
"""Photos that are read again and again: few enough to stay in the system's memory, so no disk is measured."""

SYNTHETIC_PHOTO = "one drawn JPEG of 1080 × 1920"
"""What `synthetic_photo` is called."""


def sample_photos(samples: Sequence[Sample], folder: Path) -> list[Path]:
    """Copy at most `MAX_PHOTOS` photos, spread evenly over the data, into a folder.

    Images of array files become files too, so that all are read alike.
    """
    step = max(1.0, len(samples) / MAX_PHOTOS)
    chosen = [samples[int(place * step)] for place in range(min(len(samples), MAX_PHOTOS))]
    paths = []
    for place, sample in enumerate(chosen):
        path = folder / f"{place}{sample.path.suffix}"
        path.write_bytes(sample.read())
        paths.append(path)
    return paths


def synthetic_photo() -> bytes:
    """Return a JPEG of 1080 × 1920 with about the detail of a photo; always the same."""
    rng = np.random.default_rng(0)
    layers = [rng.integers(0, 256, (1920 // cell, 1080 // cell, 3), dtype=np.uint8) for cell in (120, 24, 4)]
    images = [Image.fromarray(layer).resize((1080, 1920), Image.Resampling.BICUBIC) for layer in layers]
    picture = Image.blend(Image.blend(images[0], images[1], 0.3), images[2], 0.15)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


_BATCH = 32


def count_correct(
    classifiers: Mapping[EngineConfig, Classifier], dataset: Dataset, progress: Progress = no_progress
) -> dict[EngineConfig, Accuracy]:
    """Count right answers.

    Args:
        classifiers: one bundle with every engine and precision, one or more.
        dataset: labelled photos whose classes are the bundle's.
        progress: told of every batch.

    Raises:
        AssayError: a photo can no longer be read.
    """
    if not classifiers:
        return {}
    pixels = PreprocessedImages(dataset.samples, next(iter(classifiers.values())).preprocess)
    targets, count = dataset.targets(), len(dataset.samples)
    right = dict.fromkeys(classifiers, 0)
    with ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, count, _BATCH):
            rows = range(start, min(start + _BATCH, count))
            squares = np.stack(list(pool.map(pixels.__getitem__, rows)))
            for combination, classifier in classifiers.items():
                best = classifier.outputs(squares).logits.argmax(axis=1)
                right[combination] += int((best == targets[rows.start : rows.stop]).sum())
            progress("judging", rows.stop, count)
    return {combination: Accuracy(hits, count) for combination, hits in right.items()}


ROUNDS = 3
"""How often every combination is measured where time allows."""

_MIN_SECONDS = 2.0  # seconds a trial, below which rounds are given up instead


def benchmark_model(
    model: Path,
    data: Path | None = None,
    *,
    layout: Layout = "auto",
    seconds: float = 60.0,
    progress: Progress = no_progress,
    trial: Callable[[MeasurementJob], Measurement] = run_measurement,
) -> BenchmarkResult:
    """Measure a bundle with every engine and precision that is here.

    Args:
        model: the bundle.
        data: labelled photos, as `assay.data.loading` reads them: accuracy is counted on all of them, and the
            time from file to answer is measured on some. None: on one that is drawn.
        layout: what the folders in a folder are.
        seconds: about how long to measure; start-up of the processes and accuracy come on top.
        progress: told how things go on.
        trial: measures one combination once.

    Raises:
        BundleError: the bundle cannot be read.
        AssayError: the data cannot be read, or has labels that the classifier does not know.
        UsageError: `seconds` is not above 0.
    """
    if not seconds > 0:
        raise UsageError(f"--seconds is {seconds:g}: give more than 0")
    bundle = Bundle.open(model)
    dataset = (
        None
        if data is None
        else load_dataset(
            data,
            mapping=class_mapping_for(bundle.info, data, layout),
            classes=bundle.info.classes,
            layout=layout,
            value_range=bundle.info.preprocess.value_range,
            progress=progress,
        )
    )
    combinations = [EngineConfig(name, one) for one in bundle.precisions for name in preferred_engines()]
    if "openvino" in preferred_engines() and bf16_instructions():
        combinations.append(EngineConfig("openvino", "bf16"))
    before = load_average()
    with temporary_folder("assay-bench") as scratch:
        photos = _select_photos(dataset, scratch)
        names = [str(photo) for photo in photos]
        rows = _measure(
            combinations,
            seconds,
            lambda one, share: trial(MeasurementJob(str(model), one.engine, one.precision, names, share)),
            progress,
        )
    after = load_average()
    accuracies, caution = _count_correct(model, rows, dataset, progress)
    told = SYNTHETIC_PHOTO if dataset is None else f"{len(photos)} photos of {data}"
    return BenchmarkResult(
        name=bundle.info.name,
        version=bundle.info.version,
        size=bundle.info.preprocess.size,
        photos=told,
        caution=caution,
        judged=max((one.photos for one in accuracies.values()), default=0),
        rounds=max(len(row.trials) for row in rows),
        machine=machine_info(),
        load=(before, after),
        rows=tuple(
            BenchmarkRow(row.combination, row.trials, accuracies.get(row.combination), row.error) for row in rows
        ),
    )


def _select_photos(dataset: Dataset | None, folder: Path) -> list[Path]:
    if dataset is not None:
        return sample_photos(dataset.samples, folder)
    path = folder / "drawn.jpg"
    path.write_bytes(synthetic_photo())
    return [path]


def _measure(
    combinations: list[EngineConfig],
    seconds: float,
    measure: Callable[[EngineConfig, float], Measurement],
    progress: Progress,
) -> list[BenchmarkRow]:
    """Measure every combination once a round; one that fails is not tried again."""
    rounds = max(1, min(ROUNDS, int(seconds / len(combinations) / _MIN_SECONDS)))
    share = seconds / rounds / len(combinations)
    trials: dict[EngineConfig, list[Measurement]] = {one: [] for one in combinations}
    errors: dict[EngineConfig, str] = {}
    # There and back, so that none always comes after the same other.
    turns = [one for number in range(rounds) for one in combinations[:: 1 if number % 2 == 0 else -1]]
    for done, one in enumerate(turns):
        progress("measuring", done, len(turns))
        if one in errors:
            continue
        try:
            trials[one].append(measure(one, share))
        except MeasurementError as error:
            errors[one] = str(error)
    progress("measuring", len(turns), len(turns))
    return [
        BenchmarkRow(one, () if one in errors else tuple(trials[one]), error=errors.get(one)) for one in combinations
    ]


def _count_correct(
    model: Path, rows: list[BenchmarkRow], dataset: Dataset | None, progress: Progress
) -> tuple[dict[EngineConfig, Accuracy], str]:
    """Count right answers, and say why there may be too many."""
    classifiers = {
        row.combination: Classifier.load(
            model, row.combination.engine, precision=row.combination.precision, abstain=False
        )
        for row in rows
        if row.trials and dataset is not None
    }
    if dataset is None or not classifiers:
        return {}, ""
    caution = check_training_overlap(next(iter(classifiers.values())), dataset, dataset.samples)
    return count_correct(classifiers, dataset, progress), caution

"""Measure every available engine and precision in rounds, each time in a fresh process.

Rounds alternate between the engines, so that a machine that slows down affects all of them. Needs no torch.
"""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from assay.benchmark.results import Accuracy, BenchmarkResult, BenchmarkRow, EngineConfig, Measurement
from assay.benchmark.worker import MeasurementJob
from assay.benchmark.worker_process import MeasurementError, run_measurement
from assay.bundle import Bundle
from assay.core.cpu import bf16_instructions, cpu_count
from assay.core.errors import UsageError
from assay.core.files import temporary_folder
from assay.core.progress import Progress, no_progress
from assay.core.text_layout import counted
from assay.data import Dataset, PreprocessedImages, Sample, load_dataset
from assay.inference import Classifier
from assay.inference.engine_selection import preferred_engines
from assay.inference.workload_measurement import synthetic_photo
from assay.pipeline.training_overlap import class_mapping_for, find_run, overlap_warning, training_samples
from assay.recipe import Layout

_ROOT = Path("/")
_LIBRARIES = ("assay", "openvino", "onnxruntime", "numpy", "pillow")
# Instruction sets that matter for inference, in Linux spelling.
_FEATURES = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
    "sve",
)


def machine_info(root: Path = _ROOT) -> dict[str, Any]:
    """Return processor, operating system and library versions, ready for JSON.

    Args:
        root: folder that contains `proc`.
    """
    name, features = _processor(root)
    return {
        "processor": name,
        "features": features,
        "processors": {"usable": cpu_count(), "present": os.cpu_count()},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {library: found for library in _LIBRARIES if (found := _version(library))},
    }


def load_average() -> float | None:
    """Return the system's load average over one minute; None where the system has none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor(root: Path) -> tuple[str, list[str]]:
    """Return the processor's name and which of `_FEATURES` it has; empty where /proc/cpuinfo is missing.

    Virtual machines often name only the maker; family and model then tell the generation.
    """
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    rows = dict(reversed([line.split(":", 1) for line in text.splitlines() if ":" in line]))
    fields = {key.strip().casefold(): value.strip() for key, value in rows.items()}
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields and "model" in fields:
        name = f"{name}, family {fields['cpu family']} model {fields['model']}"
    return name, [feature for feature in _FEATURES if feature in flags]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


MAX_PHOTOS = 16
"""Photos in the sample: few enough to stay in the page cache, so that no disk is measured."""

SYNTHETIC_PHOTO = "one synthetic JPEG of 1080 × 1920"


def sample_photos(samples: Sequence[Sample], folder: Path) -> list[Path]:
    """Copy at most `MAX_PHOTOS` photos, evenly spaced in the dataset, into a folder.

    Images of array files are written as files too, so that all are read the same way.
    """
    step = max(1.0, len(samples) / MAX_PHOTOS)
    chosen = [samples[int(place * step)] for place in range(min(len(samples), MAX_PHOTOS))]
    paths = []
    for place, sample in enumerate(chosen):
        path = folder / f"{place}{sample.path.suffix}"
        path.write_bytes(sample.read())
        paths.append(path)
    return paths


_BATCH = 32


def count_correct(
    classifiers: Mapping[EngineConfig, Classifier], dataset: Dataset, progress: Progress = no_progress
) -> dict[EngineConfig, Accuracy]:
    """Count correct predictions.

    Args:
        classifiers: the same bundle with every engine and precision.
        dataset: labelled photos with the classes of the bundle.
        progress: called after every batch.

    Raises:
        AssayError: a photo can no longer be read.
    """
    if not classifiers:
        return {}
    pixels = PreprocessedImages(dataset.samples, next(iter(classifiers.values())).preprocess)
    targets, count = dataset.targets(), len(dataset)
    correct = dict.fromkeys(classifiers, 0)
    with ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, count, _BATCH):
            rows = range(start, min(start + _BATCH, count))
            squares = np.stack(list(pool.map(pixels.__getitem__, rows)))
            for combination, classifier in classifiers.items():
                best = classifier.outputs(squares).logits.argmax(axis=1)
                correct[combination] += int((best == targets[rows.start : rows.stop]).sum())
            progress("judging", rows.stop, count)
    return {combination: Accuracy(hits, count) for combination, hits in correct.items()}


ROUNDS = 3
"""Measurements of every combination, if the time is enough."""

_MIN_SECONDS = 2.0  # seconds per trial; below that, the number of rounds is reduced


def benchmark_model(
    model: Path,
    data: Path | None = None,
    *,
    layout: Layout = "auto",
    seconds: float = 60.0,
    progress: Progress = no_progress,
    trial: Callable[[MeasurementJob], Measurement] = run_measurement,
) -> BenchmarkResult:
    """Measure a bundle with every available engine and precision.

    Args:
        model: the bundle.
        data: labelled photos, as `assay.data.loading` reads them: accuracy is counted on all of them, and the
            time from file to prediction is measured on some of them. None: on a synthetic photo.
        layout: how folders are interpreted.
        seconds: approximate measuring time, without the start-up of the processes and the accuracy.
        progress: called as the measurement proceeds.
        trial: measures one combination once.

    Raises:
        BundleError: the bundle cannot be read.
        AssayError: the data cannot be read, or has labels unknown to the classifier.
        UsageError: `seconds` is not positive.
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
    combinations = [EngineConfig(name, item) for item in bundle.precisions for name in preferred_engines()]
    if "openvino" in preferred_engines() and bf16_instructions():
        combinations.append(EngineConfig("openvino", "bf16"))
    before = load_average()
    with temporary_folder("assay-bench") as scratch:
        photos = _select_photos(dataset, scratch)
        names = [str(photo) for photo in photos]
        rows = _measure(
            combinations,
            seconds,
            lambda found, share: trial(MeasurementJob(str(model), found.engine, found.precision, names, share)),
            progress,
        )
    after = load_average()
    accuracies, caution = _count_correct(model, rows, dataset, progress)
    source = SYNTHETIC_PHOTO if dataset is None else f"{counted(len(photos), 'photo')} of {data}"
    return BenchmarkResult(
        name=bundle.info.name,
        version=bundle.info.version,
        size=bundle.info.preprocess.size,
        photos=source,
        caution=caution,
        judged=max((accuracy.photos for accuracy in accuracies.values()), default=0),
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
    """Measure every combination once per round; one that fails is not tried again."""
    rounds = max(1, min(ROUNDS, int(seconds / len(combinations) / _MIN_SECONDS)))
    share = seconds / rounds / len(combinations)
    trials: dict[EngineConfig, list[Measurement]] = {combination: [] for combination in combinations}
    errors: dict[EngineConfig, str] = {}
    # Alternating direction, so that no combination always follows the same other one.
    turns = [turn for number in range(rounds) for turn in combinations[:: 1 if number % 2 == 0 else -1]]
    for done, combination in enumerate(turns):
        progress("measuring", done, len(turns))
        if combination in errors:
            continue
        try:
            trials[combination].append(measure(combination, share))
        except MeasurementError as error:
            errors[combination] = str(error)
    progress("measuring", len(turns), len(turns))
    return [
        BenchmarkRow(key, () if key in errors else tuple(trials[key]), error=errors.get(key)) for key in combinations
    ]


def _count_correct(
    model: Path, rows: list[BenchmarkRow], dataset: Dataset | None, progress: Progress
) -> tuple[dict[EngineConfig, Accuracy], str]:
    """Measure accuracies; also return a warning if the photos overlap with the training photos."""
    classifiers = {
        row.combination: Classifier.load(
            model, row.combination.engine, precision=row.combination.precision, abstain=False
        )
        for row in rows
        if row.trials and dataset is not None
    }
    if dataset is None or not classifiers:
        return {}, ""
    classifier = next(iter(classifiers.values()))
    trained_on = training_samples(find_run(classifier), classifier.info)
    caution = overlap_warning(classifier, dataset, dataset.samples, trained_on)
    return count_correct(classifiers, dataset, progress), caution

"""Add an int8 model to a bundle if it is as accurate on validation images and faster on this machine.

Runs after calibration; the int8 model gets a temperature and thresholds fitted to its own predictions.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from safetensors.numpy import save

from assay.bundle import Bundle, Precision, PrecisionSettings, amend_bundle
from assay.bundle.quantization import Quantizer
from assay.core.cpu import cpu_count
from assay.core.progress import Progress, no_progress
from assay.data import Dataset, PixelCache, PreprocessedImages
from assay.data.loading import load_split_dataset
from assay.evaluation import Predictions
from assay.image import Preprocess
from assay.inference import AUTO, Classifier, Engine, NoveltyDetector, create_engine
from assay.pipeline.calibrate import ConfidenceCalibration, fit_abstention, sample_per_class
from assay.pipeline.evaluation_data import class_mapping_for
from assay.pipeline.predict_dataset import predict_dataset
from assay.recipe import AbstainSpec, Recipe

MAX_ACCURACY_DROP = 0.005
"""Share of the validation photos that may be answered worse than with 32 bits."""

_CALIBRATION_IMAGES = 128
_SENSITIVITY_IMAGES = 8
_BATCH = 8
_REPEATS = 15
_FIRST_LAYERS = (3, 6)
"""How many of the first layers go on with 32 bits, tried in turn: they see few channels, and all others build
on their errors. Looking for the harmful ones takes longer."""
_HARMFUL_LAYERS = (4, 8)
"""How many of the most harmful layers do, if that does not help."""
_SEARCH_SECONDS = 8.0
"""How long they are looked for."""


@dataclass(frozen=True)
class QuantizationResult:
    """What became of an 8-bit model.

    Attributes:
        kept: whether the bundle holds it now, and answers with it.
        photos: validation photos that both precisions were judged on.
        accuracy: by precision, on these photos.
        milliseconds: for one photo, by precision: medians on this machine.
        engine: the runtime that was timed.
        layers: that were left at 32 bits.
        confidence: what was found out about the confidence of its answers; None where it is not kept.
    """

    kept: bool
    photos: int
    accuracy: dict[Precision, float]
    milliseconds: dict[Precision, float]
    engine: str
    layers: tuple[str, ...] = ()
    confidence: ConfidenceCalibration | None = None

    @property
    def drop(self) -> float:
        """Accuracy that is lost, as a share of 1; below 0 where it is higher."""
        return self.accuracy["fp32"] - self.accuracy["int8"]

    @property
    def speedup(self) -> float:
        """How many times faster it is."""
        return self.milliseconds["fp32"] / self.milliseconds["int8"]

    def confidence_or(self, before: ConfidenceCalibration) -> ConfidenceCalibration:
        """Return what was found with the precision that answers now; `before`: with the 32-bit model."""
        return before if self.confidence is None else replace(self.confidence, taught=before.taught)

    @property
    def sentence(self) -> str:
        """What was decided and why, in one line."""
        return describe_int8(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the bundle's metrics."""
        return {
            "kept": self.kept,
            "photos": self.photos,
            "accuracy": dict(self.accuracy),
            "milliseconds": dict(self.milliseconds),
            "engine": self.engine,
            "layers": list(self.layers),
        }


def describe_int8(told: dict[str, Any]) -> str:
    """Say in one line what became of an 8-bit model.

    Args:
        told: what `Int8Outcome.to_dict` gave, as a bundle's metrics hold it under `int8`.
    """
    accuracy, time = told["accuracy"], told["milliseconds"]
    points = 100 * (accuracy["int8"] - accuracy["fp32"])
    quality = f"{points:+.1f} points on {told['photos']} validation photos"
    speed = f"{time['int8']:.1f} ms a photo instead of {time['fp32']:.1f} ms with {told['engine']}"
    layers = f", {len(told['layers'])} layers at 32 bits" if told["layers"] else ""
    if told["kept"]:
        return f"int8 answers: {quality}, {speed}{layers}"
    failed = [
        reason
        for reason, happened in (
            (
                f"it costs accuracy ({quality}, at most 0.5 allowed{layers})",
                -points > 100 * MAX_ACCURACY_DROP + 1e-9,
            ),
            (f"it is not faster here ({speed})", time["int8"] >= time["fp32"]),
        )
        if happened
    ]
    return f"int8 is not used: {' and '.join(failed)}"


def quantize_bundle(
    path: Path,
    dataset: Dataset,
    *,
    exact: Predictions | None = None,
    progress: Progress = no_progress,
) -> QuantizationResult:
    """Quantise a calibrated bundle's model; keep the result if it is as good and faster.

    A bundle that keeps it answers with it from then on, with a temperature, threshold and novelty limit found
    with it on the validation photos; those of the 32-bit model stay beside them. Figures of the test photos
    are the caller's to measure again.

    Args:
        path: the bundle; it is replaced if the 8-bit model is kept.
        dataset: its `train` part shows the ranges of the activations, its `val` part judges.
        exact: what the 32-bit model says of the `val` part at temperature 1, where that is known.
        progress: told of photos judged.

    Raises:
        AssayError: there are no photos, or one can no longer be read.
        BundleError: the model cannot be quantised.
    """
    bundle = Bundle.open(path)
    recipe = Recipe.model_validate(bundle.info.provenance.recipe)
    plain = _uncalibrated(bundle, bundle.model("fp32"))
    quantizer = Quantizer.observe(bundle.model("fp32"), _batches(dataset, plain, recipe), cpu_count())
    exact = predict_dataset(plain, dataset, dataset.part("val"), progress) if exact is None else exact
    right = float(exact.correct.mean())

    def attempt(keep: tuple[str, ...]) -> tuple[bytes, Predictions, QuantizationResult]:
        model = quantizer.model(keep)
        small = _uncalibrated(bundle, model)
        found = predict_dataset(small, dataset, dataset.part("val"), progress)
        accuracy: dict[Precision, float] = {"fp32": right, "int8": float(found.correct.mean())}
        times = _time_engines(plain.engine, small.engine, bundle.info.preprocess.size)
        outcome = QuantizationResult(
            kept=False,
            photos=len(found),
            accuracy=accuracy,
            milliseconds=times,
            engine=small.engine.name,
            layers=keep,
        )
        return model, found, replace(outcome, kept=_accurate_enough(outcome) and outcome.speedup > 1)

    model, found, outcome = attempt(())
    if not _accurate_enough(outcome) and outcome.speedup > 1:
        for keep in _layers_to_keep(quantizer, lambda: _training_images(dataset, plain, recipe, _SENSITIVITY_IMAGES)):
            model, found, outcome = attempt(keep)
            if _accurate_enough(outcome):
                break
    if not outcome.kept:
        return outcome
    return replace(outcome, confidence=store_int8_model(bundle, model, found, recipe.abstain))


def _layers_to_keep(quantizer: Quantizer, images: Callable[[], np.ndarray]) -> Iterator[tuple[str, ...]]:
    """Yield the layers to leave at 32 bits, the cheapest guess first."""
    for count in _FIRST_LAYERS:
        yield quantizer.layers[:count]
    harmful = quantizer.sensitive_layers(images(), max_seconds=_SEARCH_SECONDS)
    for count in _HARMFUL_LAYERS:
        yield tuple(harmful[:count])


def store_int8_model(bundle: Bundle, model: bytes, found: Predictions, spec: AbstainSpec) -> ConfidenceCalibration:
    """Write an 8-bit model into a bundle, with a temperature and limits of its own.

    Args:
        bundle: calibrated; its file is replaced.
        model: serialised ONNX model.
        found: what it says of the validation photos at temperature 1.
        spec: which precision is wanted, and how many false alarms are allowed.
    """
    info, tensors = bundle.info.at("fp32"), bundle.novelty()
    novelty = None if tensors is None else NoveltyDetector.from_tensors(tensors)
    before = bundle.info.others.get("fp32") or PrecisionSettings(
        temperature=info.temperature,
        thresholds=info.thresholds,
        novelty=None if novelty is None else float(novelty.limit[0]),
    )
    confidence, novelty = fit_abstention(found, novelty, spec)
    amend_bundle(
        bundle,
        {
            "precision": "int8",
            "temperature": confidence.calibration.temperature,
            "thresholds": confidence.thresholds,
            "others": {"fp32": before},
        },
        int8=model,
        novelty=None if novelty is None else save(novelty.tensors()),
    )
    return confidence


def _accurate_enough(outcome: QuantizationResult) -> bool:
    # Accuracies are shares of whole photos: the last bits of their difference mean nothing.
    return outcome.drop <= MAX_ACCURACY_DROP + 1e-9


def _uncalibrated(bundle: Bundle, model: bytes) -> Classifier:
    """Make a classifier at temperature 1 that asks for no limits."""
    return Classifier(bundle.info.model_copy(update={"temperature": 1.0}), create_engine(AUTO, model))


def _batches(dataset: Dataset, classifier: Classifier, recipe: Recipe) -> list[np.ndarray]:
    squares = _training_images(dataset, classifier, recipe, _CALIBRATION_IMAGES)
    return [squares[start : start + _BATCH] for start in range(0, len(squares), _BATCH)]


def _training_images(dataset: Dataset, classifier: Classifier, recipe: Recipe, count: int) -> np.ndarray:
    """Read training photos as the network sees them, of every class alike as far as there are enough."""
    chosen = sample_per_class(dataset, recipe.train.seed, count)
    kept = PixelCache(sample.digest for sample in dataset.samples)
    pixels = PreprocessedImages(chosen, Preprocess(classifier.info.preprocess), kept)
    return np.stack([pixels[row] for row in range(len(pixels))])


def _time_engines(
    exact: Engine, small: Engine, side: int, clock: Callable[[], float] = perf_counter
) -> dict[Precision, float]:
    """Return the median milliseconds for one photo; the two take turns, so that a busy machine harms both."""
    image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    engines: dict[Precision, Engine] = {"fp32": exact, "int8": small}
    taken: dict[Precision, list[float]] = {"fp32": [], "int8": []}
    for _ in range(_REPEATS):
        for precision, engine in engines.items():
            start = clock()
            engine.run(image)
            taken[precision].append(1000 * (clock() - start))
    return {precision: float(np.median(values)) for precision, values in taken.items()}


def quantized_copy(
    bundle: Bundle, data: Path, scratch: Path, progress: Progress = no_progress
) -> tuple[Bundle, str | None]:
    """Return a bundle with an int8 model, if that is as good on validation photos and faster here.

    Args:
        bundle: stays as it is.
        data: labelled photos like those of the training. Parts that it brings are kept, as those of a run's
            `manifest.csv`; otherwise it is split as the recipe says, which for the photos of the training
            gives the parts of the training.
        scratch: folder in which the new bundle is written.
        progress: told how things go on.

    Returns:
        The new bundle and None; or the old one and why the int8 model is not used.

    Raises:
        AssayError: the photos cannot be read or split.
        BundleError: the model cannot be quantised.
    """
    recipe = Recipe.model_validate(bundle.info.provenance.recipe)
    spec = recipe.data.model_copy(update={"class_mapping": class_mapping_for(bundle.info, data, recipe.data.layout)})
    dataset = load_split_dataset(
        data, spec, recipe.train.seed, value_range=recipe.preprocess.value_range, progress=progress
    )
    copy = scratch / bundle.path.name
    shutil.copyfile(bundle.path, copy)
    outcome = quantize_bundle(copy, dataset, progress=progress)
    return (Bundle.open(copy), None) if outcome.kept else (bundle, outcome.sentence)

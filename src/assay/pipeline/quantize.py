"""Add an int8 model to a bundle if it is as accurate on validation images and faster on this machine.

Runs after calibration; the int8 model gets a temperature and thresholds fitted to its own predictions on held-out
images, or those of the fp32 model if no such images are left.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from safetensors.numpy import save

from assay.bundle import Bundle, Precision, PrecisionSettings, amend_bundle
from assay.bundle.onnx_export import export_onnx, frozen_copy
from assay.bundle.quantization import Quantizer
from assay.core.cpu import cpu_count
from assay.core.progress import Progress, no_progress
from assay.core.text_layout import counted
from assay.data import Dataset, PixelCache, PreprocessedImages, Split
from assay.data.loading import load_split_dataset
from assay.evaluation import Predictions
from assay.image import Preprocess
from assay.inference import AUTO, Classifier, Engine, NoveltyDetector, create_engine
from assay.pipeline.calibrate import ConfidenceCalibration, fit_abstention
from assay.pipeline.dataset_evaluation import predict_dataset
from assay.pipeline.held_out_predictions import HeldOut, HeldOutSplit, sample_per_class
from assay.pipeline.training_overlap import class_mapping_for, uses_validation_images
from assay.recipe import AbstainSpec, Recipe

NO_INT8_INSTRUCTIONS = "this processor has no int8 dot products and cannot measure its accuracy"
"""Reason in a bundle's metrics why no int8 model was made."""
MAX_ACCURACY_DROP = 0.005
"""Accuracy on validation photos that may be lost against fp32, as a share of 1."""

_CALIBRATION_IMAGES = 128
_SENSITIVITY_IMAGES = 8
_BATCH = 8
_REPEATS = 15
_FIRST_LAYERS = (3, 6)
"""Numbers of first layers kept at fp32, tried in turn: they have few channels and their errors propagate.
Searching for the most sensitive layers takes longer."""
_HARMFUL_LAYERS = (4, 8)
"""Numbers of most sensitive layers kept at fp32, if that does not help."""
_SEARCH_SECONDS = 8.0
"""Time for that search."""


@dataclass(frozen=True)
class QuantizationResult:
    """The result of a quantization.

    Attributes:
        kept: whether the int8 model was stored in the bundle, which then predicts with it.
        photos: number of held-out photos behind the accuracies.
        accuracy: by precision.
        milliseconds: median time per photo on this machine, by precision.
        engine: the runtime that was timed.
        layers: layers kept at fp32.
        confidence: calibration of the int8 model; None if it was not kept.
        of_fold: whether the accuracies are those of the network of a fold, on its held-out photos.
    """

    kept: bool
    photos: int
    accuracy: dict[Precision, float]
    milliseconds: dict[Precision, float]
    engine: str
    layers: tuple[str, ...] = ()
    confidence: ConfidenceCalibration | None = None
    of_fold: bool = False

    @property
    def drop(self) -> float:
        """Accuracy lost, as a share of 1; negative for a gain."""
        return self.accuracy["fp32"] - self.accuracy["int8"]

    @property
    def speedup(self) -> float:
        """Time of fp32 divided by that of int8."""
        return self.milliseconds["fp32"] / self.milliseconds["int8"]

    def confidence_or(self, before: ConfidenceCalibration) -> ConfidenceCalibration:
        """Return the calibration of the precision in use; `before` is that of the fp32 model."""
        return before if self.confidence is None else replace(self.confidence, training=before.training)

    @property
    def sentence(self) -> str:
        """The decision and its reason in one line."""
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
            "of_fold": self.of_fold,
        }


def describe_int8(values: dict[str, Any]) -> str:
    """Describe a quantization in one line.

    Args:
        values: from `QuantizationResult.to_dict`, as a bundle's metrics store them under `int8`; or only `kept` and
            `reason`.
    """
    if "reason" in values:
        return f"int8 model not used: {values['reason']}"
    accuracy, time = values["accuracy"], values["milliseconds"]
    points = 100 * (accuracy["int8"] - accuracy["fp32"])
    quality = f"accuracy {points:+.1f} points on {counted(values['photos'], 'held-out photo')}"
    speed = f"{time['int8']:.1f} ms per photo instead of {time['fp32']:.1f} ms with {values['engine']}"
    layers = f", {counted(len(values['layers']), 'layer')} kept at fp32" if values["layers"] else ""
    if values["kept"]:
        return f"int8 model enabled: {quality}, {speed}{layers}"
    failed = [
        reason
        for reason, happened in (
            (
                f"{quality}, more than the allowed loss of 0.5{layers}",
                -points > 100 * MAX_ACCURACY_DROP + 1e-9,
            ),
            (f"not faster on this machine ({speed})", time["int8"] >= time["fp32"]),
        )
        if happened
    ]
    return f"int8 model not used: {' and '.join(failed)}"


def quantize_bundle(
    path: Path,
    dataset: Dataset,
    *,
    held_out: HeldOut | None = None,
    progress: Progress = no_progress,
) -> QuantizationResult:
    """Quantize a calibrated bundle's model; keep the int8 model if it is as accurate and faster.

    The bundle then predicts with the int8 model, with a temperature, threshold and novelty limit fitted to it on
    held-out images; those of the fp32 model stay in the bundle. Metrics on the test split must be computed again by
    the caller.

    Args:
        path: the bundle; it is replaced if the int8 model is kept.
        dataset: its `train` split gives the ranges of the activations.
        held_out: the images that give the accuracy; None: the `val` split or, if the classifier was trained on that
            too, the `test` split. In the latter case, or if `held_out` names another network, which is then quantized
            to measure the accuracy, the int8 model gets the temperature and thresholds of the fp32 model.
        progress: called during prediction.

    Raises:
        AssayError: there are no images, or one can no longer be read.
        BundleError: the model cannot be quantized.
    """
    bundle = Bundle.open(path)
    recipe = Recipe.model_validate(bundle.info.provenance.recipe)
    other = None if held_out is None else held_out.other_network
    trained_on_validation = uses_validation_images(bundle.info)
    calibrate = other is None and (held_out is not None or not trained_on_validation)
    split: Split = "test" if trained_on_validation else "val"
    held_out = held_out or HeldOutSplit(dataset, recipe.train.seed, progress=progress, split=split)
    size = bundle.info.preprocess.size
    measured = bundle.model("fp32") if other is None else export_onnx(frozen_copy(other.network), size)
    plain = _uncalibrated(bundle, measured, "fp32")
    images = _training_images(dataset, plain, recipe, _CALIBRATION_IMAGES)
    batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    quantizer = Quantizer.observe(measured, batches, cpu_count())

    predict: Callable[[Classifier], Predictions] = held_out.predictions
    if other is not None:
        predict = partial(predict_dataset, dataset=dataset, samples=other.samples, progress=progress)
    exact = predict(plain)

    def attempt(keep: tuple[str, ...]) -> tuple[bytes, Predictions, QuantizationResult]:
        model = quantizer.model(keep)
        small = _uncalibrated(bundle, model, "int8")
        found = predict(small)
        accuracy: dict[Precision, float] = {"fp32": float(exact.correct.mean()), "int8": float(found.correct.mean())}
        times = _time_engines(plain.engine, small.engine, size)
        outcome = QuantizationResult(
            kept=False,
            photos=len(found),
            accuracy=accuracy,
            milliseconds=times,
            engine=small.engine.name,
            layers=keep,
            of_fold=other is not None,
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
    if other is not None:
        model = Quantizer.observe(bundle.model("fp32"), batches, cpu_count()).model(outcome.layers)
    if not calibrate:
        amend_bundle(bundle, {"precision": "int8", "others": {"fp32": _fp32_settings(bundle)}}, int8=model)
        return outcome
    return replace(outcome, confidence=store_int8_model(bundle, model, found, recipe.abstain, held_out))


def _layers_to_keep(quantizer: Quantizer, images: Callable[[], np.ndarray]) -> Iterator[tuple[str, ...]]:
    """Yield the layers to keep at fp32, the cheapest choice first."""
    for count in _FIRST_LAYERS:
        yield quantizer.layers[:count]
    harmful = quantizer.sensitive_layers(images(), max_seconds=_SEARCH_SECONDS)
    for count in _HARMFUL_LAYERS:
        yield tuple(harmful[:count])


def store_int8_model(
    bundle: Bundle, model: bytes, found: Predictions, spec: AbstainSpec, held_out: HeldOut
) -> ConfidenceCalibration:
    """Store an int8 model in a bundle, with a temperature and thresholds of its own.

    Args:
        bundle: calibrated; its file is replaced.
        model: serialized ONNX model.
        found: its predictions on held-out images at temperature 1.
        spec: target precision and allowed false positive rate of the novelty check.
        held_out: made the predictions.
    """
    tensors = bundle.novelty()
    novelty = None if tensors is None else NoveltyDetector.from_tensors(tensors)
    before = _fp32_settings(bundle)
    confidence, novelty = fit_abstention(found, novelty, spec, held_out)
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


def _fp32_settings(bundle: Bundle) -> PrecisionSettings:
    info, tensors = bundle.info.at("fp32"), bundle.novelty()
    return bundle.info.others.get("fp32") or PrecisionSettings(
        temperature=info.temperature,
        thresholds=info.thresholds,
        novelty=None if tensors is None else float(NoveltyDetector.from_tensors(tensors).limit[0]),
    )


def _accurate_enough(outcome: QuantizationResult) -> bool:
    # Accuracies are shares of whole photos; the tolerance absorbs rounding.
    return outcome.drop <= MAX_ACCURACY_DROP + 1e-9


def _uncalibrated(bundle: Bundle, model: bytes, precision: Precision) -> Classifier:
    """Create a classifier at temperature 1 that never abstains."""
    info = bundle.info.model_copy(update={"temperature": 1.0})
    return Classifier(info, create_engine(AUTO, model), precision=precision)


def _training_images(dataset: Dataset, classifier: Classifier, recipe: Recipe, count: int) -> np.ndarray:
    """Read preprocessed training photos, balanced over the classes where possible."""
    chosen = sample_per_class(dataset, dataset.part("train"), recipe.train.seed, count)
    cache = PixelCache(sample.digest for sample in dataset.samples)
    pixels = PreprocessedImages(chosen, Preprocess(classifier.info.preprocess), cache)
    return np.stack([pixels[row] for row in range(len(pixels))])


def _time_engines(
    exact: Engine, small: Engine, side: int, clock: Callable[[], float] = perf_counter
) -> dict[Precision, float]:
    """Return the median milliseconds per photo; the engines alternate, so that load affects both."""
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
    """Return a copy of a bundle with an int8 model if it is as accurate on held-out photos and faster here.

    Args:
        bundle: is not changed.
        data: labelled photos like those of the training. Existing splits are kept, as in the `manifest.csv`
            of a run; otherwise the data is split by the recipe, which for the training data gives the same splits
            as before.
        scratch: folder for the copy.
        progress: called during scanning and prediction.

    Returns:
        The copy and None; or the given bundle and why the int8 model is not used.

    Raises:
        AssayError: the photos cannot be read or split.
        BundleError: the model cannot be quantized.
    """
    recipe = Recipe.model_validate(bundle.info.provenance.recipe)
    spec = recipe.data.model_copy(update={"class_mapping": class_mapping_for(bundle.info, data, recipe.data.layout)})
    dataset = load_split_dataset(
        data, spec, recipe.train.seed, value_range=recipe.preprocess.value_range, progress=progress
    )
    if uses_validation_images(bundle.info) and not dataset.part("test"):
        return bundle, (
            f"int8 model not used: the classifier was trained on its validation photos, and {data} has no test photos "
            "to measure it on: add some, with the split test"
        )
    copy = scratch / bundle.path.name
    shutil.copyfile(bundle.path, copy)
    outcome = quantize_bundle(copy, dataset, progress=progress)
    return (Bundle.open(copy), None) if outcome.kept else (bundle, outcome.sentence)

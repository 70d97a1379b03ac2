"""Write a trained network as a bundle, calibrate it, and evaluate the written file on the held-out splits."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from assay.bundle import Bundle, BundleInfo, Provenance, amend_bundle
from assay.bundle.writer import write_bundle
from assay.core.cpu import int8_instructions
from assay.core.progress import Progress
from assay.core.tables import write_json
from assay.data import (
    SPLITS,
    Dataset,
    PixelCache,
    PreprocessedImages,
    Split,
)
from assay.data.dataset import count_formats
from assay.evaluation import apply_temperature, compute_metrics
from assay.evaluation.predictions import evenly_spaced
from assay.image import Preprocess
from assay.inference import ENGINES, Classifier
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.cached_embeddings import CachedEmbeddings
from assay.pipeline.calibrate import ConfidenceCalibration, calibrate_bundle
from assay.pipeline.dataset_evaluation import Evaluation, evaluate_predictions, evaluate_samples, predict_dataset
from assay.pipeline.held_out_predictions import HeldOut
from assay.pipeline.quantize import NO_INT8_INSTRUCTIONS, quantize_bundle
from assay.pipeline.report import EMBEDDINGS_FILE, RunEvaluation, image_reader
from assay.pipeline.run_folder import METRICS_FILE, Run
from assay.recipe import PreprocessSpec, Recipe

MAX_NEIGHBOURS_POOL = 1_000
"""Training images, evenly spaced, among which the report looks for nearest neighbours if calibration read none."""

_LIBRARIES = ("assay", "torch", "onnxruntime", "openvino", "numpy", "pillow", "opencv-python-headless")
_AGREEMENT_IMAGES = 16
"""Images on which the runtimes must agree with torch."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and what its bundle is made of.

    Attributes:
        network: with its final weights.
        recipe: every setting, with the network's own.
        spec: the preprocessing, with mean and standard deviation.
        held_out: to which the confidence is fitted.
    """

    network: Network
    recipe: Recipe
    spec: PreprocessSpec
    held_out: HeldOut


def write_calibrated_bundle(run: Run, dataset: Dataset, model: TrainedModel) -> ConfidenceCalibration:
    """Write a run's bundle and calibrate it; an existing one is replaced.

    Raises:
        BundleError: the runtimes disagree with torch about the exported network.
        AssayError: an image can no longer be read.
    """
    cache = PixelCache(sample.digest for sample in dataset.samples)
    images = PreprocessedImages(dataset.part("val")[:_AGREEMENT_IMAGES], Preprocess(model.spec), cache)
    write_bundle(
        run.bundle,
        model.network,
        _bundle_info(model.recipe, dataset, model.spec),
        np.stack([images[row] for row in range(len(images))]),
        ENGINES,
    )
    return calibrate_bundle(run.bundle, model.recipe.abstain, model.held_out)


def evaluate_bundle(
    run: Run,
    dataset: Dataset,
    model: TrainedModel,
    calibration: ConfidenceCalibration,
    *,
    cached: CachedEmbeddings | None,
    report: bool,
    progress: Progress,
) -> RunEvaluation:
    """Quantize a run's calibrated bundle, evaluate the file, and store the metrics in it.

    Args:
        run: its folder receives the evaluation.
        dataset: every image has its split.
        model: of the bundle.
        calibration: of the bundle.
        cached: as for `predict_dataset`.
        report: as for `train_on_splits`.
        progress: called during prediction.

    Raises:
        AssayError: an image can no longer be read.
    """
    recipe, int8, quantization = model.recipe, None, {}
    # The runs of an experiment vary more by chance than the precisions differ.
    if recipe.serve.int8 and report:
        if int8_instructions() == frozenset():
            # The sums of products would saturate: the accuracy and the limits would be those of this processor alone.
            quantization = {"int8": {"kept": False, "reason": NO_INT8_INSTRUCTIONS}}
        else:
            int8 = quantize_bundle(run.bundle, dataset, held_out=model.held_out, progress=progress)
            quantization = {"int8": int8.to_dict()}
    used = calibration if int8 is None else int8.confidence_or(calibration)
    classifier = Classifier.load(run.bundle)
    held_out: list[Split] = [split for split in ("val", "test") if dataset.part(split)]
    splits: dict[Split, Evaluation] = {}
    read = image_reader(dataset.samples)
    positive = recipe.data.positive_class
    for split in held_out:
        if split == "val" and model.held_out.is_cross_validated:
            splits[split] = _evaluate_held_out(classifier, used, positive)
        else:
            splits[split] = evaluate_samples(
                classifier, dataset, dataset.part(split), positive, cached=cached, progress=progress
            )
        # Of the many runs of an experiment, figures are drawn for the reported split alone.
        drawn = report or split == held_out[-1]
        splits[split].write(run.evaluation(split), figures=drawn, read=read, progress=progress)
    training = calibration.training
    if not report:
        predictions = predict_dataset(classifier, dataset, dataset.part("train"), progress, cached=cached)
        metrics_of_training = compute_metrics(predictions, positive)
        write_json(run.evaluation("train") / METRICS_FILE, metrics_of_training.to_dict())
    else:
        if training is None:
            sample = evenly_spaced(dataset.part("train"), MAX_NEIGHBOURS_POOL)
            training = predict_dataset(classifier, dataset, sample, progress, cached=cached)
        training.save(run.evaluation("train") / EMBEDDINGS_FILE)
    confidence = {**used.to_dict(), "cross_validated": model.held_out.is_cross_validated}
    confidence |= {split: evaluation.confidence.to_dict() for split, evaluation in splits.items()}
    metrics = {split: evaluation.metrics.to_dict() for split, evaluation in splits.items()}
    amend_bundle(Bundle.open(run.bundle), {"metrics": {**metrics, "confidence": confidence, **quantization}})
    return RunEvaluation(classifier, splits, training, cross_validated=model.held_out.is_cross_validated)


def _evaluate_held_out(
    classifier: Classifier, calibration: ConfidenceCalibration, positive_class: str | None
) -> Evaluation:
    """Evaluate the predictions of a calibration: of images that the final network was trained on."""
    raw = calibration.predictions
    if raw is None:
        raise ValueError("the calibration has no predictions")
    probabilities = apply_temperature(raw.log_probabilities, calibration.calibration.temperature)
    return evaluate_predictions(
        classifier,
        replace(raw, probabilities=probabilities),
        positive_class,
        in_distribution=calibration.in_distribution,
    )


def _bundle_info(recipe: Recipe, dataset: Dataset, spec: PreprocessSpec) -> BundleInfo:
    formats = count_formats(dataset.part("train"))
    return BundleInfo(
        name=recipe.name,
        description=recipe.description,
        classes=dataset.classes,
        preprocess=spec,
        serve=recipe.serve.with_formats(formats),
        live=recipe.live,
        provenance=Provenance(
            recipe=recipe.model_dump(mode="json"),
            data=dataset.fingerprint,
            photos={split: dataset.counts(split) for split in SPLITS},
            formats=formats,
            seed=recipe.train.seed,
            libraries={name: version(name) for name in _LIBRARIES},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )

"""Write a trained network as a bundle, calibrate it, and evaluate the written file on the held-out splits."""

from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from assay.bundle import Bundle, BundleInfo, Provenance, amend_bundle
from assay.bundle.writer import write_bundle
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
from assay.evaluation import compute_metrics
from assay.evaluation.predictions import evenly_spaced
from assay.image import Preprocess
from assay.inference import ENGINES, Classifier
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.cached_embeddings import CachedEmbeddings
from assay.pipeline.calibrate import calibrate_bundle
from assay.pipeline.dataset_evaluation import Evaluation, evaluate_samples, predict_dataset
from assay.pipeline.quantize import quantize_bundle
from assay.pipeline.report import EMBEDDINGS_FILE, RunEvaluation, image_reader
from assay.pipeline.run_folder import METRICS_FILE, Run
from assay.recipe import PreprocessSpec, Recipe

MAX_NEIGHBOURS_POOL = 1_000
"""Training images, evenly spaced, among which the report looks for nearest neighbours if calibration read none."""

_LIBRARIES = ("assay", "torch", "onnxruntime", "openvino", "numpy", "pillow", "opencv-python-headless")
_AGREEMENT_IMAGES = 16
"""Images on which the runtimes must agree with torch."""


def export_and_evaluate(
    run: Run,
    dataset: Dataset,
    network: Network,
    recipe: Recipe,
    spec: PreprocessSpec,
    *,
    report: bool,
    progress: Progress,
) -> RunEvaluation:
    """Write a run's bundle, calibrate it, and evaluate the written file.

    Args:
        run: its folder receives the bundle and the evaluation.
        dataset: every image has its split.
        network: the trained network.
        recipe: every setting.
        spec: the preprocessing, with mean and standard deviation.
        report: as for `train_on_splits`.
        progress: called during prediction.

    Raises:
        BundleError: the runtimes disagree with torch about the exported network.
    """
    cache = PixelCache(sample.digest for sample in dataset.samples)
    images = PreprocessedImages(dataset.part("val")[:_AGREEMENT_IMAGES], Preprocess(spec), cache)
    write_bundle(
        run.bundle,
        network,
        _bundle_info(recipe, dataset, spec),
        np.stack([images[row] for row in range(len(images))]),
        ENGINES,
    )
    cached = CachedEmbeddings.of(Bundle.open(run.bundle), dataset)
    calibration = calibrate_bundle(run.bundle, dataset, recipe.abstain, recipe.train.seed, progress, cached=cached)
    int8 = None
    # The runs of an experiment vary more by chance than the precisions differ.
    if recipe.serve.int8 and report:
        int8 = quantize_bundle(run.bundle, dataset, exact=calibration.predictions, progress=progress)
    classifier = Classifier.load(run.bundle)
    held_out: list[Split] = [split for split in ("val", "test") if dataset.part(split)]
    splits: dict[Split, Evaluation] = {}
    read = image_reader(dataset.samples)
    for split in held_out:
        splits[split] = evaluate_samples(
            classifier, dataset, dataset.part(split), recipe.data.positive_class, cached=cached, progress=progress
        )
        # Of the many runs of an experiment, figures are drawn for the reported split alone.
        drawn = report or split == held_out[-1]
        splits[split].write(run.evaluation(split), figures=drawn, read=read, progress=progress)
    training = calibration.training
    if not report:
        predictions = predict_dataset(classifier, dataset, dataset.part("train"), progress, cached=cached)
        metrics_of_training = compute_metrics(predictions, recipe.data.positive_class)
        write_json(run.evaluation("train") / METRICS_FILE, metrics_of_training.to_dict())
    else:
        if training is None:
            sample = evenly_spaced(dataset.part("train"), MAX_NEIGHBOURS_POOL)
            training = predict_dataset(classifier, dataset, sample, progress, cached=cached)
        training.save(run.evaluation("train") / EMBEDDINGS_FILE)
    confidence = calibration.to_dict() if int8 is None else int8.confidence_or(calibration).to_dict()
    confidence |= {split: evaluation.confidence.to_dict() for split, evaluation in splits.items()}
    metrics = {split: evaluation.metrics.to_dict() for split, evaluation in splits.items()}
    quantization = {} if int8 is None else {"int8": int8.to_dict()}
    amend_bundle(Bundle.open(run.bundle), {"metrics": {**metrics, "confidence": confidence, **quantization}})
    return RunEvaluation(classifier, splits, training)


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

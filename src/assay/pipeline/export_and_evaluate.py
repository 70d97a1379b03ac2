"""Write a trained network as a bundle, calibrate it, and evaluate the written file on the held-out splits."""

from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from assay.bundle import Bundle, BundleInfo, Provenance, amend_bundle
from assay.bundle.writer import write_bundle
from assay.core.progress import Progress
from assay.core.tables import write_json
from assay.data import Dataset, PreprocessedImages
from assay.data.dataset import SPLITS, Split, count_formats
from assay.evaluation import Metrics, compute_metrics, write_evaluation
from assay.image import Preprocess
from assay.inference import ENGINES, Classifier
from assay.nets import Classifier as Network
from assay.pipeline.cached_embeddings import CachedEmbeddings
from assay.pipeline.calibrate import calibrate_bundle
from assay.pipeline.predict_dataset import measure_confidence, predict_dataset
from assay.pipeline.quantize import quantize_bundle
from assay.pipeline.report import EMBEDDINGS_FILE
from assay.pipeline.run_folder import Run
from assay.recipe import PreprocessSpec, Recipe

_LIBRARIES = ("assay", "torch", "onnxruntime", "openvino", "numpy", "pillow", "opencv-python-headless")
_AGREEMENT_IMAGES = 16
"""Photos on which the runtimes must agree with torch."""


def export_and_evaluate(
    run: Run,
    dataset: Dataset,
    network: Network,
    recipe: Recipe,
    spec: PreprocessSpec,
    *,
    report: bool,
    progress: Progress,
) -> dict[Split, Metrics]:
    """Write a run's bundle, calibrate it, and judge the very file on every part that taught nothing.

    Args:
        run: where the bundle and the figures go.
        dataset: every photo has its part.
        network: with the weights that were found.
        recipe: every setting.
        spec: the preprocessing, with mean and standard deviation.
        report: whether embeddings of the training photos are kept for the report, and every part drawn.
        progress: told how far the judging is.

    Returns:
        Figures by part.

    Raises:
        BundleError: the runtimes disagree about the exported network.
    """
    info = _bundle_info(recipe, dataset, spec)
    held_out: list[Split] = [part for part in ("val", "test") if dataset.part(part)]
    compared = PreprocessedImages(dataset.part("val")[:_AGREEMENT_IMAGES], Preprocess(spec))
    images = np.stack([compared[row] for row in range(len(compared))])
    write_bundle(run.bundle, network, info, images, ENGINES)
    kept = run.evaluation("train") / EMBEDDINGS_FILE if report else None
    known = CachedEmbeddings.of(Bundle.open(run.bundle), dataset)
    found = calibrate_bundle(run.bundle, dataset, recipe.abstain, recipe.train.seed, progress, keep=kept, kept=known)
    int8 = None
    # The runs of a series differ by chance more than the precisions do.
    if recipe.serve.int8 and report:
        int8 = quantize_bundle(run.bundle, dataset, exact=found.judged, progress=progress)
    confidence = found.to_dict() if int8 is None else int8.confidence_or(found).to_dict()
    classifier = Classifier.load(run.bundle)
    metrics: dict[Split, Metrics] = {}
    for part in held_out:
        predictions = predict_dataset(classifier, dataset, dataset.part(part), progress, kept=known)
        metrics[part] = compute_metrics(predictions, recipe.data.positive_class)
        # Of the many runs of a series, the part that counts is drawn.
        pictures = report or part == held_out[-1]
        write_evaluation(run.evaluation(part), predictions, metrics[part], figures=pictures, progress=progress)
        confidence[part] = measure_confidence(classifier, predictions).to_dict()
        write_json(run.evaluation(part) / "confidence.json", confidence[part])
    figures = {part: one.to_dict() for part, one in metrics.items()}
    told = {} if int8 is None else {"int8": int8.to_dict()}
    amend_bundle(Bundle.open(run.bundle), {"metrics": {**figures, "confidence": confidence, **told}})
    return metrics


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
            photos={part: dataset.counts(part) for part in SPLITS},
            formats=formats,
            seed=recipe.train.seed,
            libraries={name: version(name) for name in _LIBRARIES},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )

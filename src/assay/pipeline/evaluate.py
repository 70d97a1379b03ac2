"""Evaluate a finished classifier on labelled images."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from assay.core import notebook_html
from assay.core.errors import UsageError
from assay.core.progress import Progress, no_progress
from assay.core.tables import write_json
from assay.data import Dataset, DataSource, as_path, load_dataset
from assay.data.dataset import Split
from assay.evaluation import Metrics, ThresholdSelection, compute_metrics, write_evaluation
from assay.inference import Classifier, PrecisionChoice
from assay.pipeline.evaluation_data import check_training_overlap, class_mapping_for
from assay.pipeline.predict_dataset import ConfidenceMetrics, measure_confidence, predict_dataset, reselect_threshold
from assay.pipeline.report import write_evaluation_report
from assay.recipe import Layout, Recipe

CONFUSION_FILE = "confusion_matrix.png"
"""The picture of the confusion matrix in the folder of an evaluation."""

_IMAGE_WIDTH = 480


def evaluation_html(title: str, metrics: Metrics, pictures: Iterable[Path]) -> str:
    """Return figures as a table, then the pictures that are still there.

    Args:
        title: what was judged on what.
        metrics: the figures.
        pictures: PNG files.
    """
    shown = [
        notebook_html.image(path.read_bytes(), path.stem.replace("_", " "), _IMAGE_WIDTH)
        for path in pictures
        if path.is_file()
    ]
    return notebook_html.panel(title, metrics._repr_html_(), *shown)


@dataclass(frozen=True)
class EvaluateResult:
    """What an evaluation gave."""

    folder: Path
    dataset: Dataset
    metrics: Metrics
    files: dict[str, Path]
    """What was written, by name."""
    confidence: ConfidenceMetrics
    """Whether the confidence is honest, and how many photos are answered how well."""
    runtime: str
    """The runtime and the precision that answered."""
    selection: ThresholdSelection | None = None
    """The threshold for another target precision, where one was wanted."""
    caution: str = ""
    """Why the figures may be too good: photos that taught are among those judged; else empty."""

    def _repr_html_(self) -> str:
        return evaluation_html(f"judged on {self.dataset.root.name}", self.metrics, (self.folder / CONFUSION_FILE,))


def evaluate_classifier(
    model: Path,
    data: DataSource,
    folder: Path,
    *,
    part: Split | None = None,
    layout: Layout = "auto",
    engine: str = "auto",
    precision: PrecisionChoice = "auto",
    threads: int | None = None,
    target_precision: float | None = None,
    progress: Progress = no_progress,
) -> EvaluateResult:
    """Judge a bundle on labelled photos and write figures and pictures.

    Labels that the classifier's recipe maps (CIFAR-10's ten to vehicle and animal) are mapped here too.

    Args:
        model: the bundle.
        data: what `assay.data.loading` reads; or rows of the `datasets` library, which are written as files
            beside `folder`.
        folder: where to write; files of an earlier evaluation there are replaced.
        part: only photos of this part; none: all.
        layout: what the folders in a folder are.
        engine: which runtime predicts.
        precision: fp32, bf16, int8, or auto: what the bundle is meant to answer with.
        threads: processors to use; none: all that this process may.
        target_precision: share of the answers that shall be right; the threshold for it is chosen anew from
            what the bundle knows of its validation photos, and the bundle stays as it is. none: its own.
        progress: told how things go on.

    Raises:
        AssayError: model or data cannot be read, or a label is none of the classifier's.
        UsageError: no photo is in `part`, or the bundle cannot choose another threshold.
    """
    source = as_path(data, folder.parent, progress)
    classifier = Classifier.load(model, engine=engine, precision=precision, threads=threads)
    selection = None if target_precision is None else reselect_threshold(classifier, target_precision)
    recipe = Recipe.model_validate(classifier.info.provenance.recipe)
    mapping = class_mapping_for(classifier.info, source, layout)
    dataset = load_dataset(
        source,
        mapping=mapping,
        classes=classifier.classes,
        layout=layout,
        value_range=classifier.preprocess.spec.value_range,
        progress=progress,
    )
    samples = dataset.samples if part is None else dataset.part(part)
    if not samples:
        raise UsageError(f"{source} has no photos in the part {part}: omit --split to evaluate all")
    predictions = predict_dataset(classifier, dataset, samples, progress, use_pixel_cache=False)
    metrics = compute_metrics(predictions, recipe.data.positive_class)
    files = write_evaluation(folder, predictions, metrics, progress=progress)
    least = None if selection is None else selection.threshold
    files["page"] = write_evaluation_report(
        folder, classifier, dataset, predictions, metrics, threshold=least, progress=progress
    )
    confidence = measure_confidence(classifier, predictions, least)
    files["confidence"] = folder / "confidence.json"
    write_json(files["confidence"], confidence.to_dict())
    warning = check_training_overlap(classifier, dataset, samples)
    return EvaluateResult(folder, dataset, metrics, files, confidence, classifier.runtime, selection, warning)

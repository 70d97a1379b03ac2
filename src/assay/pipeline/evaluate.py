"""Evaluate a finished classifier on labelled images."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from assay.core import notebook_html
from assay.core.errors import UsageError
from assay.core.progress import Progress, no_progress
from assay.data import Dataset, DataSource, Split, as_path, load_dataset
from assay.evaluation import Metrics, ThresholdSelection
from assay.inference import Classifier, PrecisionChoice
from assay.pipeline.dataset_evaluation import ConfidenceMetrics, evaluate_samples, reselect_threshold
from assay.pipeline.report import write_evaluation_report
from assay.pipeline.training_overlap import class_mapping_for, find_run, overlap_warning, training_samples
from assay.recipe import Layout, Recipe

CONFUSION_FILE = "confusion_matrix.png"
"""File name of the confusion matrix in the folder of an evaluation."""


def evaluation_html(title: str, metrics: Metrics, figures: Iterable[Path]) -> str:
    """Return metrics as an HTML table, followed by those of the PNG figures that exist."""
    images = [
        notebook_html.image(path.read_bytes(), path.stem.replace("_", " "), width=480)
        for path in figures
        if path.is_file()
    ]
    return notebook_html.panel(title, metrics._repr_html_(), *images)


@dataclass(frozen=True)
class EvaluateResult:
    """The result of `evaluate_classifier`."""

    folder: Path
    dataset: Dataset
    metrics: Metrics
    files: dict[str, Path]
    """The written files by name."""
    confidence: ConfidenceMetrics
    """Calibration and coverage."""
    runtime: str
    """The runtime and the precision used."""
    selection: ThresholdSelection | None = None
    """The threshold for another target precision, if one was requested."""
    caution: str = ""
    """Why the metrics may be too high, such as an overlap with the training images; else empty."""

    def _repr_html_(self) -> str:
        return evaluation_html(f"evaluated on {self.dataset.root.name}", self.metrics, (self.folder / CONFUSION_FILE,))


def evaluate_classifier(
    model: Path,
    data: DataSource,
    folder: Path,
    *,
    split: Split | None = None,
    layout: Layout = "auto",
    engine: str = "auto",
    precision: PrecisionChoice = "auto",
    threads: int | None = None,
    target_precision: float | None = None,
    progress: Progress = no_progress,
) -> EvaluateResult:
    """Evaluate a bundle on labelled images; write metrics, figures and the report.

    Labels that the classifier's recipe maps (CIFAR-10's ten to vehicle and animal) are mapped here too.

    Args:
        model: the bundle.
        data: what `load_dataset` reads; or rows of the `datasets` library, which are written as files beside
            `folder`.
        folder: output folder; files of an earlier evaluation are replaced.
        split: only images of this split; None: all.
        layout: how folders are interpreted.
        engine: the runtime.
        precision: fp32, bf16, int8, or auto: the default of the bundle.
        threads: processors to use; None: all available.
        target_precision: required precision of the predictions that are not `unknown`; its threshold is looked up in
            the precision-coverage curve of the bundle, which is not changed. None: the bundle's own threshold.
        progress: called during scanning and prediction.

    Raises:
        AssayError: model or data cannot be read, or a label is unknown to the classifier.
        UsageError: `split` has no images, or the bundle stores no curve to choose a threshold from.
    """
    source = as_path(data, folder.parent, progress)
    classifier = Classifier.load(model, engine=engine, precision=precision, threads=threads)
    selection = None if target_precision is None else reselect_threshold(classifier, target_precision)
    recipe = Recipe.model_validate(classifier.info.provenance.recipe)
    dataset = load_dataset(
        source,
        mapping=class_mapping_for(classifier.info, source, layout),
        classes=classifier.classes,
        layout=layout,
        value_range=classifier.preprocess.spec.value_range,
        progress=progress,
    )
    samples = dataset.samples if split is None else dataset.part(split)
    if not samples:
        raise UsageError(f"{source} has no photos in the {split} split: omit --split to evaluate on all photos")
    evaluation = evaluate_samples(
        classifier,
        dataset,
        samples,
        recipe.data.positive_class,
        threshold=None if selection is None else selection.threshold,
        use_pixel_cache=False,
        progress=progress,
    )
    run = find_run(classifier)
    trained_on = training_samples(run, classifier.info)
    caution = overlap_warning(classifier, dataset, samples, trained_on)
    files = evaluation.write(folder, progress=progress)
    files["page"] = write_evaluation_report(
        folder,
        classifier,
        dataset,
        evaluation,
        samples,
        run=run,
        trained_on=trained_on,
        caution=caution,
        progress=progress,
    )
    return EvaluateResult(
        folder, dataset, evaluation.metrics, files, evaluation.confidence, classifier.runtime, selection, caution
    )

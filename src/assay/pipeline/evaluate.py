"""Evaluate a classifier on labelled images: class mapping, overlap with the training images, metrics.

Report.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.bundle import BundleInfo
from assay.core import notebook_html
from assay.core.errors import AssayError, UsageError
from assay.core.progress import Progress, no_progress
from assay.data import Dataset, DataSource, Sample, Split, as_path, load_dataset, read_manifest
from assay.data.dataset import ClassMapping
from assay.data.loading import list_source
from assay.evaluation import Metrics, ThresholdSelection
from assay.inference import Classifier, PrecisionChoice
from assay.pipeline.predict_dataset import ConfidenceMetrics, evaluate_samples, reselect_threshold
from assay.pipeline.report import write_evaluation_report
from assay.pipeline.run_folder import Run
from assay.recipe import Layout, Recipe


def class_mapping_for(info: BundleInfo, data: Path, layout: Layout = "auto") -> ClassMapping | None:
    """Return the class mapping of a classifier's recipe, unless the data is labelled with its classes.

    Args:
        info: of the bundle.
        data: labelled images.
        layout: how folders are interpreted.

    Raises:
        AssayError: the data cannot be read.
    """
    mapping = Recipe.model_validate(info.provenance.recipe).data.class_mapping
    if mapping is None or set(list_source(data, layout).labels) <= set(info.classes):
        return None
    return mapping


def find_run(classifier: Classifier) -> Run | None:
    """Return the run whose folder holds the bundle; None if the bundle was moved or the run is incomplete."""
    if classifier.bundle is None:
        return None
    try:
        run = Run.open(Path(classifier.bundle.path).parent)
    except AssayError:
        return None
    return run if run.done and run.manifest.is_file() else None


def training_samples(run: Run | None) -> tuple[Sample, ...]:
    """Return the images that a run was trained on; none without a run."""
    return () if run is None else read_manifest(run.manifest, run.classes).part("train")


def overlap_warning(
    classifier: Classifier, dataset: Dataset, samples: Sequence[Sample], trained_on: Iterable[Sample]
) -> str:
    """Warn if images to evaluate on were used for training, as far as it is known.

    Args:
        classifier: to be evaluated.
        dataset: the images' dataset.
        samples: the images to evaluate on.
        trained_on: see `training_samples`.

    Returns:
        A sentence; empty without a known overlap.
    """
    known = {sample.digest for sample in trained_on} - {None}
    count = sum(sample.digest in known for sample in samples)
    optimistic = "so the metrics are higher than for new photos"
    if count:
        return f"{count:,} of these {len(samples):,} photos were used for training, {optimistic}."
    if not known and dataset.fingerprint == classifier.info.provenance.data:
        splits = {sample.split for sample in samples}
        if "train" in splits or None in splits:
            return f"these photos include those that the classifier was trained on, {optimistic}."
    return ""


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
        target_precision: wanted precision of the answers; its threshold is chosen from the curve in the bundle,
            which is not changed. None: the threshold of the bundle.
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
    trained_on = training_samples(run)
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

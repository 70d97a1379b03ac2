"""Collect what the evaluation report shows besides predictions, and write the report of a run or an evaluation."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from assay.bundle import Bundle
from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.core.tables import write_json
from assay.core.text_layout import counted
from assay.data import SPLITS, Dataset, Sample, Split, leaking_groups
from assay.data.check import check
from assay.data.check_result import CheckReport, FindingKind
from assay.evaluation import Predictions
from assay.evaluation.learning_curve import LearningCurve
from assay.evaluation.predictions import ReadImage
from assay.evaluation.report import EpochRow, MakeHeatmap, ReportContext, ReportFinding, write_report
from assay.evaluation.report.gallery import LARGE
from assay.evaluation.slices import ImageProperties
from assay.inference import Classifier
from assay.pipeline.auto.candidate_results import Candidate, candidates_table, epochs_of_kept_network
from assay.pipeline.dataset_evaluation import Evaluation
from assay.pipeline.grad_cam import create_explainer
from assay.pipeline.learning_curve import load_learning_curve, run_learning_curve
from assay.pipeline.run_folder import SPLIT_TITLES, Run
from assay.recipe import Recipe, dump_recipe
from assay.training import EpochMetrics as TrainingEpoch
from assay.training import History

EMBEDDINGS_FILE = "embeddings.npz"
"""In the evaluation folder of the training split: predictions on a sample of its images, with embeddings."""


@dataclass(frozen=True)
class RunEvaluation:
    """The bundle of a run, evaluated."""

    classifier: Classifier
    splits: Mapping[Split, Evaluation]
    """The held-out splits."""
    training: Predictions | None = None
    """A sample of the training images with their embeddings, for the nearest neighbours in the report."""
    cross_validated: bool = False
    """Whether `val` holds training images too; all are predicted by classifiers that were not trained on them."""

    @property
    def reported_split(self) -> Split:
        """The split whose metrics count: test, or validation without a test split."""
        return "test" if "test" in self.splits else "val"

    @property
    def reported_title(self) -> str:
        """The name of the images of the reported split in texts."""
        is_held_out = self.reported_split == "val" and self.cross_validated
        return "held-out" if is_held_out else SPLIT_TITLES[self.reported_split]


def write_run_report(
    run: Run,
    dataset: Dataset,
    evaluated: RunEvaluation,
    history: History,
    progress: Progress = no_progress,
    *,
    learning_curve: LearningCurve | None = None,
    candidates: Sequence[Candidate] = (),
) -> Path:
    """Write the report of a finished run into the evaluation folder of its reported split.

    Args:
        run: the run.
        dataset: its images with their splits.
        evaluated: its bundle, evaluated.
        history: of the training.
        progress: called during the data check and while photos are rendered.
        learning_curve: what more photos would bring; None: measured if the backbone is frozen. It is also written
            to `run.learning_curve`.
        candidates: what the strategy `auto` tried.

    Returns:
        The path of the page.
    """
    classifier, recipe, split = evaluated.classifier, run.recipe(), evaluated.reported_split
    evaluation = evaluated.splits[split]
    report = _check_data(run.data, recipe, dataset, progress)
    findings = None if report is None else [*_audit_findings(report), *_loading_findings(dataset)]
    if learning_curve is None:
        # The classifier was loaded before the metrics were added to its file.
        learning_curve = run_learning_curve(Bundle.open(run.bundle), dataset, progress)
    if learning_curve is not None:
        write_json(run.learning_curve, learning_curve.to_dict())
    context = ReportContext(
        title=classifier.info.name,
        split_name=evaluated.reported_title,
        warning=_validation_warning(evaluated, recipe.train.selected_by_validation) if split == "val" else "",
        candidates=candidates_table(candidates) if candidates else (),
        history=_report_history(history.metrics),
        history_of_fold=run.has_epochs_of_fold,
        best_epoch=history.best_epoch,
        learning_curve=learning_curve,
        temperature=classifier.info.temperature,
        threshold=classifier.info.thresholds.get("confidence"),
        answer_counts=evaluation.confidence.answered,
        training_predictions=evaluated.training,
        read_image=image_reader(dataset.samples),
        make_heatmap=_heatmap_function(classifier),
        image_properties={} if report is None else _image_properties(report),
        findings=findings,
        split_counts={name: dataset.counts(name) for name in SPLITS if dataset.part(name)},
        split_description=_describe_split(dataset, recipe, () if report is None else report.splits),
        provenance=_provenance(classifier, run.data),
        settings=dump_recipe(recipe),
    )
    return write_report(run.evaluation(split), evaluation.predictions, evaluation.metrics, context, progress)


def write_evaluation_report(
    folder: Path,
    classifier: Classifier,
    dataset: Dataset,
    evaluation: Evaluation,
    samples: Sequence[Sample],
    *,
    run: Run | None,
    trained_on: Sequence[Sample],
    caution: str,
    progress: Progress = no_progress,
) -> Path:
    """Write the report of a finished classifier on labelled images.

    Args:
        folder: output folder.
        classifier: as `Classifier.load` returns it.
        dataset: of the images.
        evaluation: of `samples`.
        samples: all images of the dataset or some.
        run: the run of the classifier, if known; its history and the nearest training images are then shown.
        trained_on: the training images of that run.
        caution: why the metrics may be too high; empty: no reason known.
        progress: called while photos are rendered.

    Returns:
        The path of the page.
    """
    info = classifier.info
    embeddings = None if run is None else run.evaluation("train") / EMBEDDINGS_FILE
    splits = {sample.split for sample in samples}
    split = splits.pop() if len(splits) == 1 else None
    threshold = evaluation.confidence.threshold
    context = ReportContext(
        title=info.name,
        split_name="" if split is None else SPLIT_TITLES[split],
        warning=caution,
        history=_report_history(() if run is None else epochs_of_kept_network(run)),
        history_of_fold=run is not None and run.has_epochs_of_fold,
        learning_curve=None if run is None else load_learning_curve(run.learning_curve),
        temperature=info.temperature,
        threshold=info.thresholds.get("confidence") if threshold is None else threshold,
        answer_counts=evaluation.confidence.answered,
        training_predictions=Predictions.load(embeddings) if embeddings is not None and embeddings.is_file() else None,
        read_image=image_reader([*samples, *trained_on]),
        make_heatmap=_heatmap_function(classifier),
        findings=_loading_findings(dataset) or None,
        split_counts=info.provenance.photos,
        split_description="The classifier was trained with these photos:" if info.provenance.photos else "",
        provenance=_provenance(classifier, dataset.root),
        settings=dump_recipe(Recipe.model_validate(info.provenance.recipe)),
    )
    return write_report(folder, evaluation.predictions, evaluation.metrics, context, progress)


def _validation_warning(evaluated: RunEvaluation, selected: str) -> str:
    if evaluated.cross_validated:
        return (
            "each photo was predicted by a classifier that was not trained on it, but the same photos were also used "
            "to select the classifier and to calibrate the confidence; there is no test split."
        )
    selection = f"to select the {selected} and " if selected else ""
    return f"the validation photos were also used {selection}to calibrate the confidence; there is no test split."


def _check_data(source: Path, recipe: Recipe, dataset: Dataset, progress: Progress) -> CheckReport | None:
    """Check the data; None if the source cannot be read.

    Images whose digests the dataset knows are not read again.
    """
    try:
        return check(
            source,
            spec=recipe.data,
            seed=recipe.train.seed,
            value_range=recipe.preprocess.value_range,
            digests={sample.id: sample.digest for sample in dataset.samples if sample.digest},
            progress=progress,
        )
    except AssayError:
        return None


def _audit_findings(report: CheckReport) -> list[ReportFinding]:
    return [
        ReportFinding(finding.severity.value, finding.title, finding.advice, finding.photos)
        for finding in report.findings
        # The warnings of the training itself are those of the dataset.
        if finding.kind is not FindingKind.training
    ]


def _image_properties(report: CheckReport) -> dict[str, ImageProperties]:
    return {
        name: ImageProperties(image.format, image.width, image.height, image.brightness / 255)
        for name, image in report.features.items()
    }


def _loading_findings(dataset: Dataset) -> list[ReportFinding]:
    """Return unreadable files and warnings of a dataset."""
    return [
        *(ReportFinding("warning", f"{file.id}: {file.reason}", "It was skipped.") for file in dataset.unreadable),
        *(ReportFinding("note", text.rstrip(".")) for text in dataset.warnings),
    ]


def _describe_split(dataset: Dataset, recipe: Recipe, brought: Iterable[str]) -> str:
    """Return how the images got their splits; `brought` names those that the data had."""
    spec, kept = recipe.data.split, set(brought) - {"train"}  # a train split alone was divided
    shares = ", ".join(
        f"{100 * share:.0f} % {SPLIT_TITLES[name]}"
        for name, share in zip(SPLITS, (spec.train, spec.val, spec.test), strict=True)
        if share
    )
    if kept == {"test"}:
        text = "The test photos of the data were kept; the validation photos were taken from its training photos."
    elif kept:
        text = "The splits of the data were kept."
    elif spec.method == "hash":
        text = f"The split of a photo depends on its name: about {shares} (seed {recipe.train.seed})."
    else:
        text = f"Photos were split at random, {shares}, stratified by class (seed {recipe.train.seed})."
    sizes = [size for size in Counter(sample.group for sample in dataset.samples if sample.group).values() if size > 1]
    if not sizes:
        return text
    text += f" {sum(sizes):,} near-duplicate or related photos form {counted(len(sizes), 'group')}; "
    if leaks := leaking_groups(dataset.samples):
        are = counted(len(leaks), "group is", "groups are")
        return f"{text}{are} in more than one split: photos are evaluated whose near-duplicates were used for training."
    return f"{text}each group is in one split: no photo is evaluated whose near-duplicate was used for training."


def _provenance(classifier: Classifier, data: Path) -> dict[str, str]:
    """Return the origin of a classifier and the evaluated data, by name in the order to show."""
    info = classifier.info
    origin, recipe = info.provenance, Recipe.model_validate(info.provenance.recipe)
    rows = {
        "Classifier": f"{info.name}, version {info.version}",
        "Description": info.description,
        "File": "" if classifier.bundle is None else str(classifier.bundle.path),
        "Created": origin.created,
        "Network": f"{recipe.net.name}, {recipe.train.strategy}",
        "Evaluated data": str(data),
        "Fingerprint of the training data": origin.data[:16],
        "Seed": str(origin.seed),
        "Runtime and precision": classifier.runtime,
        "Libraries": ", ".join(f"{name} {version}" for name, version in origin.libraries.items()),
    }
    return {name: value for name, value in rows.items() if value}


def _report_history(rows: Iterable[TrainingEpoch]) -> list[EpochRow]:
    return [EpochRow(row.epoch, row.train_loss, row.train_accuracy, row.val_loss, row.val_accuracy) for row in rows]


def image_reader(samples: Iterable[Sample]) -> ReadImage:
    """Return a function that reads the images of samples by id and path, from memory where they are kept."""
    known = {(sample.id, str(sample.path)): sample for sample in samples}
    return lambda name, path: known[name, path].read()


def _heatmap_function(classifier: Classifier) -> MakeHeatmap | None:
    try:
        explain = create_explainer(classifier)
    except AssayError:
        return None  # the head cannot be rebuilt: the page has no heat maps
    lock = nullcontext() if classifier.head is not None else threading.Lock()

    def heatmap(data: bytes, class_index: int) -> bytes | None:
        with lock:
            return explain(data, classifier.classes[class_index]).png(LARGE)

    return heatmap

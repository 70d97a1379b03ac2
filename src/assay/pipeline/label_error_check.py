"""Find probable label errors with a classifier and report them as findings of the data check."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.core.text_layout import counted
from assay.data import Dataset
from assay.data.check_result import CheckReport, Finding, FindingEntry, FindingGroup, FindingKind, Severity
from assay.data.dataset import map_labels
from assay.evaluation import Predictions
from assay.evaluation.confident_learning import find_label_issues
from assay.inference import Classifier
from assay.pipeline.dataset_evaluation import predict_dataset
from assay.recipe import Recipe

_MAX_LISTED: Final = 200
"""Images listed at most, the most doubtful first."""
_ADVICE: Final = (
    "Check each label and correct it if it is wrong. Best use a classifier that was not trained on these photos, as "
    "`assay crossval` gives: on its training photos, a classifier mostly repeats the given labels."
)


def with_label_issues(report: CheckReport, source: Path, progress: Progress = no_progress) -> CheckReport:
    """Add the images whose labels are probably wrong to a report of the data check.

    Args:
        report: of the images.
        source: a bundle, with which the images are predicted; or predictions (`predictions.npz`, or a folder that
            contains it), such as the out-of-fold predictions of a cross-validation, matched by id.
        progress: called during prediction.

    Raises:
        AssayError: the source cannot be read, a label is unknown to it, or it has no image of the report.
    """
    predictions = _predictions(report, source, progress)
    issues = find_label_issues(predictions.probabilities, predictions.actual)
    if not len(issues.rows):
        return report
    by_id = {sample.id: sample for sample in report.samples}
    groups = []
    for row in issues.rows[:_MAX_LISTED].tolist():
        sample, suggested = by_id[predictions.ids[row]], issues.suggested[row]
        note = f"{predictions.classes[suggested]}? ({100 * predictions.probabilities[row, suggested]:.0f} %)"
        groups.append(FindingGroup((FindingEntry(sample.id, sample.label, sample.split, note),)))
    listed = f"; the {_MAX_LISTED} most doubtful are listed" if len(issues.rows) > _MAX_LISTED else ""
    doubted = counted(len(issues.rows), "photo has a label", "photos have labels")
    finding = Finding(
        kind=FindingKind.label_suspect,
        severity=Severity.warning,
        title=f"{doubted} that the classifier doubts{listed}",
        advice=_ADVICE,
        groups=tuple(groups),
    )
    errors = sum(other.severity is Severity.error for other in report.findings)
    return replace(report, findings=(*report.findings[:errors], finding, *report.findings[errors:]))


def _predictions(report: CheckReport, source: Path, progress: Progress) -> Predictions:
    file = source / "predictions.npz" if source.is_dir() else source
    if file.suffix == ".npz":
        predictions = Predictions.load(file)
        known = {sample.id for sample in report.samples}
        common = predictions.take(np.array([name in known for name in predictions.ids], dtype=bool))
        if not len(common):
            raise AssayError(f"{file} has no prediction for a photo in {report.root}: check the same data")
        return common
    classifier = Classifier.load(source)
    mapping = Recipe.model_validate(classifier.info.provenance.recipe).data.class_mapping
    samples = list(report.samples)
    if mapping is not None and not {sample.label for sample in samples} <= set(classifier.classes):
        samples = map_labels(samples, mapping)
    dataset = Dataset(report.root, classifier.classes, tuple(samples))
    return predict_dataset(classifier, dataset, None, progress, use_pixel_cache=False)

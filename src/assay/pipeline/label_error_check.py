"""Find probable label errors with a classifier and report them as findings of the data check."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.data import Dataset
from assay.data.check_findings import CheckReport, Finding, FindingEntry, FindingGroup, FindingKind, Severity
from assay.data.dataset import Sample, map_labels
from assay.evaluation import Predictions
from assay.evaluation.confident_learning import find_label_issues
from assay.inference import Classifier
from assay.pipeline.predict_dataset import predict_dataset
from assay.recipe import Recipe

_MAX_LISTED: Final = 200
"""Suspects listed at most, the most doubtful first."""
_ADVICE: Final = (
    "Look at each and mend its label or leave it. Best ask a classifier that never learned from them, "
    "as `assay crossval` gives: for photos that taught it, it repeats what it was taught."
)


def with_label_issues(report: CheckReport, source: Path, progress: Progress = no_progress) -> CheckReport:
    """Add the photos whose labels are least credible to a check.

    Args:
        report: of the photos.
        source: a bundle, which judges the photos here, or predictions (`predictions.npz`, or a folder that
            holds one), such as the out-of-fold ones of a cross-validation; they are matched by id.
        progress: told how the judging goes on.

    Raises:
        AssayError: the source cannot be read, does not know a label, or has no photo of the check.
    """
    predictions = _predictions(report, source, progress)
    found = find_label_issues(predictions.probabilities, predictions.actual)
    if not len(found.rows):
        return report
    by_id = {sample.id: sample for sample in report.samples}
    groups = tuple(
        FindingGroup((_entry(by_id[predictions.ids[row]], predictions, found.suggested[row], row),))
        for row in found.rows[:_MAX_LISTED].tolist()
    )
    shown = f"; the {_MAX_LISTED} most doubtful are listed" if len(found.rows) > _MAX_LISTED else ""
    finding = Finding(
        kind=FindingKind.label_suspect,
        severity=Severity.warning,
        title=f"{len(found.rows)} photos have labels that the classifier doubts{shown}",
        advice=_ADVICE,
        groups=groups,
    )
    place = sum(one.severity is Severity.error for one in report.findings)
    return replace(report, findings=(*report.findings[:place], finding, *report.findings[place:]))


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


def _entry(sample: Sample, predictions: Predictions, suggested: int, row: int) -> FindingEntry:
    share = predictions.probabilities[row, suggested]
    note = f"{predictions.classes[suggested]}? ({100 * share:.0f} %)"
    return FindingEntry(sample.id, sample.label, sample.split, note)

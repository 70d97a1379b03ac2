"""Wrong labels are found by a classifier that was not trained on them."""

import shutil
from pathlib import Path

import pytest

from assay.core.errors import AssayError
from assay.data.check import check
from assay.data.check_result import FindingKind
from assay.pipeline import train_classifier
from assay.pipeline.label_error_check import with_label_issues
from assay.recipe import Recipe


def test_flipped_labels_are_found_with_the_suggested_class(colours: Path, tiny: Recipe, tmp_path: Path):
    result = train_classifier(colours, tiny, tmp_path / "run")
    wrong = tmp_path / "photos"
    for name in ("red", "blue"):
        shutil.copytree(colours / name, wrong / name, ignore=shutil.ignore_patterns("broken*", "notes*"))
    for number in range(8):
        (wrong / "red" / f"{number:03}.png").rename(wrong / "blue" / f"flipped{number}.png")
    finding = with_label_issues(check(wrong), result.run.bundle).of(FindingKind.label_suspect)
    assert finding is not None
    # Confident learning names those that are at least as red as the average red photo: about half of them.
    assert len(finding.groups) >= 2
    assert all(group.photos[0].id.startswith("blue/flipped") for group in finding.groups)
    assert all(group.photos[0].note.startswith("red?") for group in finding.groups)
    # Predictions that were kept serve as well, for the photos they are about.
    kept = with_label_issues(check(colours), result.run.evaluation("test"))
    assert kept.of(FindingKind.label_suspect) is None
    shutil.copytree(wrong, tmp_path / "others" / "within" / "deep")
    others = check(tmp_path / "others" / "within")
    with pytest.raises(AssayError, match="check the same data"):
        with_label_issues(others, result.run.evaluation("test") / "predictions.npz")

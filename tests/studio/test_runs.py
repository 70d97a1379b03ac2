"""What the page shows of a run agrees with its predictions."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from assay.bundle import Bundle, amend_bundle
from assay.core.errors import AssayError, UsageError
from assay.evaluation.predictions import Predictions
from assay.pipeline import Run
from assay.studio.errors import NotFoundError
from assay.studio.project import Project
from assay.studio.runs import RunStore, cell_photos, matrix_rows, threshold_curve
from assay.studio.understanding import mistake_cards, photos_used, suspects


@pytest.fixture
def store(trained_project: Path) -> RunStore:
    return RunStore(trained_project / "runs")


def predictions(store: RunStore) -> Predictions:
    report = store.report("run-1")
    assert report is not None
    return Predictions.load(Path(report["folder"]) / "predictions.npz")


def test_the_list_has_accuracy_and_interval(store: RunStore):
    (run,) = store.summaries()
    expected = predictions(store)
    assert (run.name, run.finished, run.bundle) == ("run-1", True, True)
    assert run.accuracy == pytest.approx(expected.correct.mean())
    assert run.low < run.accuracy <= run.high
    assert store.latest_finished() == store.latest_split() == "run-1"
    assert store.new_name(["run-2"]) == "run-3"


@pytest.mark.parametrize("content", ["{}", "[]", '{"format": 1, "photos": {}}'])
def test_a_report_that_is_damaged_or_of_another_version_is_a_sentence(store: RunStore, content: str):
    path = Path(store.report("run-1")["folder"]) / "report.json"
    path.write_text(content)
    with pytest.raises(AssayError, match=r"report\.json is damaged, or of another version of Assay"):
        store.report("run-1")


def test_the_matrix_and_its_cells_are_those_of_the_predictions(store: RunStore, trained_project: Path):
    report, expected = store.report("run-1"), predictions(store)
    classes, rows = matrix_rows(report)
    assert tuple(classes) == expected.classes
    names = Project.open(trained_project).by_name()
    for actual, row in enumerate(rows):
        for predicted, cell in enumerate(row):
            members = (expected.actual == actual) & (expected.predicted == predicted)
            assert cell.count == members.sum()
            found = cell_photos(report, actual, predicted)
            assert {name for name, _ in found} == {expected.ids[place] for place in np.flatnonzero(members)}
            assert all(name in names for name, _ in found)
            assert [value for _, value in found] == sorted((value for _, value in found), reverse=True)
    assert len(mistake_cards(report, names)) == (~expected.correct).sum()
    assert all(item.shown.photo is not None for item in suspects(report, names))


def test_it_is_said_which_photos_gave_the_result(store: RunStore):
    report = store.report("run-1")
    counts = {split: sum(classes.values()) for split, classes in report["splits"]["counts"].items()}
    assert counts["test"] == len(report["photos"]["ids"])
    assert photos_used({**report, "metrics": {"count": 200}}) == (
        f"{counts['train']} photos were used for training and {counts['val']} to choose the best candidate. "
        f"The {counts['test']} test photos were used for neither, only for this result."
    )
    few = {"splits": {"counts": {"train": {"a": 5, "b": 4}, "val": {"a": 1, "b": 1}}}, "metrics": {"count": 2}}
    assert "The 2 validation photos" in photos_used(few)
    assert photos_used(few).endswith("add photos for a result to rely on.")


def test_photos_that_were_held_out_in_cross_validation_are_said_to_be_trained_on():
    counts = {"train": {"a": 39}, "val": {"a": 8}, "test": {"a": 60}}
    tested = photos_used({"splits": {"counts": counts}, "metrics": {"count": 60}}, cross_validated=True)
    assert tested.startswith("47 photos were used for training and, held out in cross-validation, to choose")
    assert "The 60 test photos were used for neither" in tested
    del counts["test"]
    untested = photos_used({"splits": {"counts": counts}, "metrics": {"count": 47}}, cross_validated=True)
    assert untested.startswith(
        "47 photos were used for training. The answers on photos that were held out in cross-validation"
    )
    assert "validation photos" not in untested


def untested(store: RunStore) -> None:
    """Remove the evaluation of a run on its test photos."""
    shutil.rmtree(Run(store.path("run-1")).evaluation("test"))


def test_a_run_is_cross_validated_if_its_classifier_says_so(store: RunStore):
    assert not store.is_cross_validated("run-1")
    amend_bundle(Bundle.open(store.bundle("run-1")), {"metrics": {"confidence": {"cross_validated": True}}})
    assert store.is_cross_validated("run-1")
    untested(store)
    assert store.summary("run-1").split == "held-out"
    store.bundle("run-1").write_bytes(b"damaged")
    assert store.summary("run-1").split == "validation"
    assert not store.is_cross_validated("run-1")
    with pytest.raises(NotFoundError):
        store.is_cross_validated("run-9")


def test_the_threshold_curve_counts_answers_above_each_confidence(store: RunStore):
    curve, expected = threshold_curve(store.report("run-1")), predictions(store)
    assert curve["threshold"] == sorted(set(curve["threshold"]), reverse=True)
    for threshold, answered, correct in zip(curve["threshold"], curve["answered"], curve["correct"], strict=True):
        members = expected.confidence.round(6) >= threshold
        assert (answered, correct) == (members.sum(), expected.correct[members].sum())
    assert curve["answered"][-1] == len(expected)


def test_a_run_doubts_labels_of_classes_that_it_knows(store: RunStore):
    assert store.for_labels({"red": 3, "blue": 2, "empty": 0}) == "run-1"
    assert store.for_labels({"red": 3, "other": 1}) is None
    assert store.label_check_source("run-1").name == "model.assay"  # of a fixed strategy


@pytest.mark.parametrize("name", ["../trained", "run-9", "", ".", "run-1/../run-1"])
def test_a_run_is_found_by_its_name_only(store: RunStore, name: str):
    for method in (store.path, store.bundle, store.report):
        with pytest.raises(UsageError):
            method(name)

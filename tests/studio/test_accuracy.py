"""Every accuracy of a run says on which photos it was measured."""

import json
from pathlib import Path

import pytest

from assay.studio.accuracy import search_note, search_photos, search_score, search_sentence
from assay.studio.runs import RunStore
from assay.studio.training_view import CandidateRow, candidate_rows

SPLITS = {"train": 400, "val": 112, "test": 120}
RECORD = {
    "name": "probe",
    "outcome": "kept",
    "accuracy": 0.836,
    "balanced_accuracy": 0.701,
    "half_width": 0.02,
    "photos": 512,
}


def row(objective: str = "accuracy", **changes: object) -> CandidateRow:
    (found,) = candidate_rows([{**RECORD, **changes}], objective)
    return found


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_cross_validated_score_is_told_from_one_on_validation_photos():
    assert plain(search_score(row())) == "83.6 % ± 2.0"
    assert search_photos(row(), SPLITS) == "on 512 photos held out in cross-validation"
    assert search_photos(row(photos=112), SPLITS) == "on 112 validation photos"


def test_the_interval_is_that_of_the_objective():
    balanced = row("balanced_accuracy")
    assert plain(search_score(balanced)) == "70.1 % ± 2.0"
    assert search_photos(balanced, SPLITS) == "balanced accuracy on 512 photos held out in cross-validation"
    assert plain(search_score(row(half_width=None))) == "83.6 %"


def test_it_is_said_where_the_accuracy_of_the_run_comes_from():
    assert "on the 120 test photos" in search_note(SPLITS)
    assert "on the held-out photos" in search_note({"train": 9, "val": 3, "test": 0})


def test_the_report_of_a_run_explains_what_the_search_had_shown():
    report = {"splits": {"counts": {split: {"a": count} for split, count in SPLITS.items()}}}
    sentence = plain(search_sentence(report, [row(outcome="replaced", accuracy=0.5), row()]))
    assert sentence.startswith("During the training, the classifier had 83.6 % ± 2.0 on 512 photos held out in cross")
    assert sentence.endswith("the accuracy of the run is the one on the test photos.")
    assert search_sentence(report, [row(outcome="not tried", accuracy=None)]) == ""
    del report["splits"]["counts"]["test"]
    assert search_sentence(report, [row()]).endswith("is the one on the validation photos.")
    assert search_sentence(report, [row()], cross_validated=True).endswith("is the one on the held-out photos.")


def test_candidates_are_read_from_the_folder_of_the_run(trained_project: Path):
    store = RunStore(trained_project / "runs")
    assert store.candidates("run-1") == []  # of a fixed strategy
    path = trained_project / "runs" / "run-1" / "candidates.json"
    path.write_text(json.dumps([RECORD]))
    (found,) = store.candidates("run-1")
    assert (found.photos, found.accuracy, found.balanced) == (512, 0.836, False)


@pytest.mark.parametrize("content", ["", "{", "{}", "[1]", "null"])
def test_damaged_candidates_are_none(trained_project: Path, content: str):
    (trained_project / "runs" / "run-1" / "candidates.json").write_text(content)
    assert RunStore(trained_project / "runs").candidates("run-1") == []

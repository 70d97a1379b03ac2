"""Sentences of the report."""

from collections.abc import Callable

import pytest

from assay.evaluation import Predictions, compute_metrics
from assay.evaluation.report import ReportContext
from assay.evaluation.report.report_sentences import (
    abstention_sentence,
    baseline_sentence,
    calibration_sentence,
    positive_class_sentence,
    question_sentence,
    result_sentence,
)
from assay.evaluation.selective_classification import AnswerCounts

Make = Callable[..., Predictions]
TWO = ("defect", "good")


def test_question_is_made_from_the_classes():
    plain = ReportContext()
    assert question_sentence(plain, TWO) == "What does a photo show: “defect” or “good”?"
    assert question_sentence(plain, ("a", "b", "c")) == "What does a photo show: “a”, “b” or “c”?"
    assert question_sentence(plain, [str(k) for k in range(100)]).endswith("“7” or one of 92 other classes?")
    assert question_sentence(ReportContext(question="Is it broken?"), TWO) == "Is it broken?"


@pytest.mark.parametrize(("part", "called"), [("test", "4 test photos"), ("", "4 photos")])
def test_result_has_count_accuracy_and_interval(make: Make, part: str, called: str):
    message = result_sentence(
        compute_metrics(make([0, 0, 1, 1], [0, 0, 1, 0], classes=TWO)), ReportContext(split_name=part)
    )
    assert message == f"The classifier is correct on 3 of {called}: 75.0 % (95 % interval 30.1 % to 95.4 %)."


def test_no_photos(make: Make):
    metrics = compute_metrics(make([]))
    assert result_sentence(metrics, ReportContext()) == "There were no photos to evaluate the classifier on."
    assert baseline_sentence(metrics) == positive_class_sentence(metrics) == ""


def test_positive_class_sentence(make: Make):
    predictions = make([0, 0, 0, 1, 1], [0, 0, 1, 0, 1], classes=TWO)
    assert positive_class_sentence(compute_metrics(predictions, "defect")) == (
        "Of 3 photos labelled “defect”, 2 (66.7 %) were found and 1 missed. "
        "“defect” was predicted 3 times, 2 of them correctly (66.7 %): 1 false alarm."
    )
    assert baseline_sentence(compute_metrics(predictions)) == ("60.0 % is what always answering “defect” achieves.")
    never = compute_metrics(make([0, 1], [1, 1], classes=TWO), "defect")
    assert positive_class_sentence(never).endswith("“defect” was never predicted.")
    absent = compute_metrics(make([1, 1], [1, 1], classes=TWO), "defect")
    assert positive_class_sentence(absent) == ""


def test_worst_of_many_classes_is_named(make: Make):
    metrics = compute_metrics(make([0, 0, 1, 2], [0, 1, 1, 2]))
    assert (
        positive_class_sentence(metrics)
        == "The class with the lowest recall is “cat”: 1 of 2 photos recognized (50.0 %)."
    )


def test_no_class_is_named_as_the_worst_if_all_are_recognized(make: Make):
    assert positive_class_sentence(compute_metrics(make([0, 1, 2], [0, 1, 2]))) == ""


def test_calibration_sentence():
    assert calibration_sentence(None, None, None) == ""
    assert "confidence and accuracy differ by 1.2 percentage points. A" in calibration_sentence(0.012, None, 0.01)
    assert "; before calibration by 5.0. A" in calibration_sentence(0.012, 0.05, 0.01)
    assert "to show 1.0 on as many photos" in calibration_sentence(0.012, 0.05, 0.01)


def test_abstention_sentence():
    assert abstention_sentence(ReportContext()) == ""
    assert abstention_sentence(ReportContext(answer_counts=AnswerCounts(0, 0, 0, 0))) == ""
    result = abstention_sentence(ReportContext(answer_counts=AnswerCounts(10, 8, 6, 1), threshold=0.9))
    assert result == (
        "The classifier abstains (“unknown”) when its confidence is below 90.0 % or a photo is unlike the "
        "training photos: of 10 photos it answers 8 (80.0 %), 6 of them correctly (75.0 %); 1 unlike the "
        "training photos."
    )
    silent = abstention_sentence(ReportContext(answer_counts=AnswerCounts(10, 0, 0, 10)))
    assert "when a photo is unlike" in silent
    assert silent.endswith("it answers 0 (0.0 %); 10 unlike the training photos.")

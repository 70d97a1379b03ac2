from collections.abc import Callable

import pytest

from assay.evaluation import Predictions, compute_metrics
from assay.evaluation.report import ReportContext
from assay.evaluation.report.text import (
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
def test_verdict_has_count_share_and_interval(make: Make, part: str, called: str):
    said = result_sentence(compute_metrics(make([0, 0, 1, 1], [0, 0, 1, 0], classes=TWO)), ReportContext(part=part))
    assert said == f"The classifier is right on 3 of {called}: 75.0 % (95 % interval 30.1 % to 95.4 %)."


def test_no_photos(make: Make):
    metrics = compute_metrics(make([]))
    assert result_sentence(metrics, ReportContext()) == "There were no photos to judge the classifier on."
    assert baseline_sentence(metrics) == positive_class_sentence(metrics) == ""


def test_what_it_means_for_the_class_looked_for(make: Make):
    predictions = make([0, 0, 0, 1, 1], [0, 0, 1, 0, 1], classes=TWO)
    assert positive_class_sentence(compute_metrics(predictions, "defect")) == (
        "Of 3 photos labelled “defect” it found 2 (66.7 %) and missed 1. "
        "It answered “defect” 3 times, 2 of them rightly (66.7 %): 1 false alarm."
    )
    assert baseline_sentence(compute_metrics(predictions)) == (
        "Always answering “defect” without looking would be right on 60.0 %."
    )
    never = compute_metrics(make([0, 1], [1, 1], classes=TWO), "defect")
    assert positive_class_sentence(never).endswith("It never answered “defect”.")
    absent = compute_metrics(make([1, 1], [1, 1], classes=TWO), "defect")
    assert positive_class_sentence(absent) == ""


def test_of_many_classes_the_worst(make: Make):
    metrics = compute_metrics(make([0, 0, 1, 2], [0, 1, 1, 2]))
    assert positive_class_sentence(metrics) == "It knows “cat” least well: 1 of 2 such photos recognised (50.0 %)."


def test_calibration_in_words():
    assert calibration_sentence(None, None) == ""
    assert calibration_sentence(0.012, None).endswith("1.2 percentage points away from how often it is right.")
    assert calibration_sentence(0.012, 0.05).endswith("; before calibration it was 5.0.")


def test_what_it_leaves_unanswered():
    assert abstention_sentence(ReportContext()) == ""
    assert abstention_sentence(ReportContext(answered=AnswerCounts(0, 0, 0, 0))) == ""
    told = abstention_sentence(ReportContext(answered=AnswerCounts(10, 8, 6, 1), threshold=0.9))
    assert told == (
        "As it is set, it says “unknown” where it is less than 90.0 % sure or meets a photo unlike its "
        "training photos: of 10 photos it answers 8 (80.0 %), 6 of them rightly (75.0 %); 1 looked "
        "unfamiliar."
    )
    silent = abstention_sentence(ReportContext(answered=AnswerCounts(10, 0, 0, 10)))
    assert "where it meets a photo unlike" in silent
    assert silent.endswith("it answers 0 (0.0 %); 10 looked unfamiliar.")

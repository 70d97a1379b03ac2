from collections.abc import Callable

import pytest

from assay.evaluation import Predictions, evaluate
from assay.evaluation.report import ReportContext
from assay.evaluation.report.words import (
    answering,
    baseline,
    calibration_sentence,
    looked_for,
    question,
    verdict,
)
from assay.evaluation.selective import Answered

Make = Callable[..., Predictions]
TWO = ("defect", "good")


def test_question_is_made_from_the_classes():
    plain = ReportContext()
    assert question(plain, TWO) == "What does a photo show: “defect” or “good”?"
    assert question(plain, ("a", "b", "c")) == "What does a photo show: “a”, “b” or “c”?"
    assert question(plain, [str(k) for k in range(100)]).endswith("“7” or one of 92 other classes?")
    assert question(ReportContext(question="Is it broken?"), TWO) == "Is it broken?"


@pytest.mark.parametrize(("part", "called"), [("test", "4 test photos"), ("", "4 photos")])
def test_verdict_has_count_share_and_interval(make: Make, part: str, called: str):
    said = verdict(evaluate(make([0, 0, 1, 1], [0, 0, 1, 0], classes=TWO)), ReportContext(part=part))
    assert said == f"The classifier is right on 3 of {called}: 75.0 % (95 % interval 30.1 % to 95.4 %)."


def test_no_photos(make: Make):
    metrics = evaluate(make([]))
    assert verdict(metrics, ReportContext()) == "There were no photos to judge the classifier on."
    assert baseline(metrics) == looked_for(metrics) == ""


def test_what_it_means_for_the_class_looked_for(make: Make):
    predictions = make([0, 0, 0, 1, 1], [0, 0, 1, 0, 1], classes=TWO)
    assert looked_for(evaluate(predictions, "defect")) == (
        "Of 3 photos labelled “defect” it found 2 (66.7 %) and missed 1. "
        "It answered “defect” 3 times, 2 of them rightly (66.7 %): 1 false alarm."
    )
    assert baseline(evaluate(predictions)) == (
        "Always answering “defect” without looking would be right on 60.0 %."
    )
    never = evaluate(make([0, 1], [1, 1], classes=TWO), "defect")
    assert looked_for(never).endswith("It never answered “defect”.")
    absent = evaluate(make([1, 1], [1, 1], classes=TWO), "defect")
    assert looked_for(absent) == ""


def test_of_many_classes_the_worst(make: Make):
    metrics = evaluate(make([0, 0, 1, 2], [0, 1, 1, 2]))
    assert looked_for(metrics) == "It knows “cat” least well: 1 of 2 such photos recognised (50.0 %)."


def test_calibration_in_words():
    assert calibration_sentence(None, None) == ""
    assert calibration_sentence(0.012, None).endswith(
        "1.2 percentage points away from how often it is right."
    )
    assert calibration_sentence(0.012, 0.05).endswith("; before calibration it was 5.0.")


def test_what_it_leaves_unanswered():
    assert answering(ReportContext()) == ""
    assert answering(ReportContext(answered=Answered(0, 0, 0, 0))) == ""
    told = answering(ReportContext(answered=Answered(10, 8, 6, 1), threshold=0.9))
    assert told == (
        "As it is set, it says “unknown” where it is less than 90.0 % sure or meets a photo unlike its "
        "training photos: of 10 photos it answers 8 (80.0 %), 6 of them rightly (75.0 %); 1 looked "
        "unfamiliar."
    )
    silent = answering(ReportContext(answered=Answered(10, 0, 0, 10)))
    assert "where it meets a photo unlike" in silent
    assert silent.endswith("it answers 0 (0.0 %); 10 looked unfamiliar.")

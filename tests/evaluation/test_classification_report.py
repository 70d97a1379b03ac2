from collections.abc import Callable

from assay.evaluation import Predictions, compute_metrics
from assay.evaluation.metrics import accuracy_sentence, classification_report

Make = Callable[..., Predictions]


def test_table(make: Make):
    report = classification_report(compute_metrics(make([0, 0, 0, 1, 1], [0, 0, 2, 1, 2])))
    lines = report.splitlines()
    assert lines[0].split() == ["precision", "recall", "F1", "support"]
    assert lines[1].split() == ["cat", "1.000", "0.667", "0.800", "3"]
    assert lines[2].split() == ["dog", "1.000", "0.500", "0.667", "2"]
    assert lines[3].split() == ["ship", "0.000", "–", "0.000", "0"]
    assert lines[5].split() == ["macro", "average", "0.667", "0.583", "0.489", "5"]
    assert lines[6].split()[-1] == "5"
    assert "0.600  (3 of 5; 95 % interval 0.231 to 0.882, Wilson)" in report
    assert "one-vs-rest" in report


def test_two_classes_name_the_positive_one(make: Make):
    assert "ROC-AUC (defect)" in classification_report(compute_metrics(make([0, 1], classes=("ok", "defect"))))


def test_no_photos(make: Make):
    metrics = compute_metrics(make([]))
    assert "accuracy" in classification_report(metrics)
    assert "nan" not in classification_report(metrics)
    assert accuracy_sentence(metrics) == "accuracy is not defined without photos"


def test_sentence_never_rounds_up_to_all(make: Make):
    metrics = compute_metrics(make([0] * 3000, [0] * 2999 + [1]))
    assert accuracy_sentence(metrics) == "99.9 % of 3000 photos are correct (95 % interval 99.8 % to 99.9 %)"

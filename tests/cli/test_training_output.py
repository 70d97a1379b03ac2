"""Console text of training: the line on what more photos would bring."""

from assay.cli.training_output import describe_learning_curve
from assay.evaluation.learning_curve import CurvePoint, LearningCurve

MEASURED = (CurvePoint(50, 0.7, 0.6, 0.8), CurvePoint(100, 0.8, 0.75, 0.85))


def test_learning_curve_is_one_statement():
    estimated = (CurvePoint(200, 0.85, 0.8, 0.9), CurvePoint(400, 0.875, 0.8, 0.94))
    assert describe_learning_curve(LearningCurve("accuracy", MEASURED, estimated)) == (
        "more photos 85.0 % with twice as many (80.0 % to 90.0 %), 87.5 % with four times;\n"
        "            now 80.0 % (accuracy of a linear probe, cross-validated)"
    )


def test_flat_learning_curve_gives_no_estimate():
    text = describe_learning_curve(LearningCurve("accuracy", MEASURED, ()))
    assert text == "more photos no estimate: the accuracy of a linear probe, 80.0 %, does not rise with their number"

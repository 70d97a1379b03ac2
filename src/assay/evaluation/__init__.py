"""Numbers and pictures of how good a classifier is, made from its predictions on labelled photos.

Knows nothing of training: the predictions come from the file that ships.
"""

from assay.evaluation.bootstrap import BootstrapIntervals, bootstrap_intervals
from assay.evaluation.calibration import (
    Calibration,
    ReliabilityBin,
    brier_score,
    measure_calibration,
    reliability,
)
from assay.evaluation.class_figure import class_figure
from assay.evaluation.classification_report import accuracy_sentence, classification_report
from assay.evaluation.confusion import ConfusedPair, Confusion
from assay.evaluation.confusion_figure import confusion_figure
from assay.evaluation.contact_sheet import Line, Tile, contact_sheet, misclassified_sheet
from assay.evaluation.crossfit import CalibrationFigures, CalibrationFit, calibration_figures, fit_calibration
from assay.evaluation.figure import save_figure
from assay.evaluation.intervals import Interval, wilson
from assay.evaluation.mcnemar import Comparison, compare, mcnemar, paired_difference
from assay.evaluation.metrics import Average, ClassMetrics, Metrics, evaluate
from assay.evaluation.misclassified import Mistake, misclassified
from assay.evaluation.predictions import Predictions
from assay.evaluation.reliability_figure import reliability_figure
from assay.evaluation.selective import (
    SURENESS,
    Answered,
    Selection,
    choose_threshold,
    count_answered,
    dump_curve,
    load_curve,
    photos_needed,
    precision_bound,
)
from assay.evaluation.slices import Slice, accuracy_by, accuracy_by_source, slices_text
from assay.evaluation.temperature import (
    Temperature,
    apply_temperature,
    fit_temperature,
    negative_log_likelihood,
)
from assay.evaluation.threshold import PositiveCurve, ThresholdCurve, positive_curve, threshold_curve
from assay.evaluation.threshold_figure import positive_figure, threshold_figure
from assay.evaluation.thumbnail import Thumbnail, thumbnail
from assay.evaluation.write import FILES, write_evaluation

__all__ = [
    "FILES",
    "SURENESS",
    "Answered",
    "Average",
    "BootstrapIntervals",
    "Calibration",
    "CalibrationFigures",
    "CalibrationFit",
    "ClassMetrics",
    "Comparison",
    "ConfusedPair",
    "Confusion",
    "Interval",
    "Line",
    "Metrics",
    "Mistake",
    "PositiveCurve",
    "Predictions",
    "ReliabilityBin",
    "Selection",
    "Slice",
    "Temperature",
    "ThresholdCurve",
    "Thumbnail",
    "Tile",
    "accuracy_by",
    "accuracy_by_source",
    "accuracy_sentence",
    "apply_temperature",
    "bootstrap_intervals",
    "brier_score",
    "calibration_figures",
    "choose_threshold",
    "class_figure",
    "classification_report",
    "compare",
    "confusion_figure",
    "contact_sheet",
    "count_answered",
    "dump_curve",
    "evaluate",
    "fit_calibration",
    "fit_temperature",
    "load_curve",
    "mcnemar",
    "measure_calibration",
    "misclassified",
    "misclassified_sheet",
    "negative_log_likelihood",
    "paired_difference",
    "photos_needed",
    "positive_curve",
    "positive_figure",
    "precision_bound",
    "reliability",
    "reliability_figure",
    "save_figure",
    "slices_text",
    "threshold_curve",
    "threshold_figure",
    "thumbnail",
    "wilson",
    "write_evaluation",
]

"""Metrics, intervals, calibration, comparison and figures of a classifier's predictions on labelled images."""

from assay.evaluation.bootstrap import BootstrapIntervals, bootstrap_intervals
from assay.evaluation.calibration import (
    Calibration,
    ReliabilityBin,
    brier_score,
    measure_calibration,
    reliability_table,
)
from assay.evaluation.clusters import group_design_effect
from assay.evaluation.confusion_figure import confusion_matrix_figure
from assay.evaluation.confusion_matrix import ConfusedPair, ConfusionMatrix
from assay.evaluation.evaluation_files import EVALUATION_FILES, misclassified_sheet, write_evaluation
from assay.evaluation.figure_style import save_figure
from assay.evaluation.figures import (
    class_metrics_figure,
    precision_coverage_figure,
    precision_recall_figure,
    reliability_figure,
)
from assay.evaluation.intervals import Interval, wilson_interval
from assay.evaluation.mcnemar import Comparison, compare_paired, mcnemar_p_value, paired_difference_interval
from assay.evaluation.metrics import (
    Average,
    ClassMetrics,
    Metrics,
    accuracy_sentence,
    classification_report,
    compute_metrics,
)
from assay.evaluation.predictions import Mistake, Predictions, misclassified_photos
from assay.evaluation.selective_classification import (
    GUARANTEE_CONFIDENCE,
    AnswerCounts,
    PrecisionCoverageCurve,
    PrecisionRecallCurve,
    ThresholdSelection,
    choose_threshold,
    count_answers,
    curve_from_dict,
    curve_to_dict,
    min_photos_for_precision,
    precision_coverage_curve,
    precision_lower_bound,
    precision_recall_curve,
)
from assay.evaluation.slices import Slice, accuracy_by_slice, accuracy_by_source_label, slices_text
from assay.evaluation.temperature_scaling import (
    CalibrationFit,
    CalibrationScores,
    TemperatureFit,
    apply_temperature,
    calibration_scores,
    fit_calibration,
    fit_temperature,
    negative_log_likelihood,
)

__all__ = [
    "EVALUATION_FILES",
    "GUARANTEE_CONFIDENCE",
    "AnswerCounts",
    "Average",
    "BootstrapIntervals",
    "Calibration",
    "CalibrationFit",
    "CalibrationScores",
    "ClassMetrics",
    "Comparison",
    "ConfusedPair",
    "ConfusionMatrix",
    "Interval",
    "Metrics",
    "Mistake",
    "PrecisionCoverageCurve",
    "PrecisionRecallCurve",
    "Predictions",
    "ReliabilityBin",
    "Slice",
    "TemperatureFit",
    "ThresholdSelection",
    "accuracy_by_slice",
    "accuracy_by_source_label",
    "accuracy_sentence",
    "apply_temperature",
    "bootstrap_intervals",
    "brier_score",
    "calibration_scores",
    "choose_threshold",
    "class_metrics_figure",
    "classification_report",
    "compare_paired",
    "compute_metrics",
    "confusion_matrix_figure",
    "count_answers",
    "curve_from_dict",
    "curve_to_dict",
    "fit_calibration",
    "fit_temperature",
    "group_design_effect",
    "mcnemar_p_value",
    "measure_calibration",
    "min_photos_for_precision",
    "misclassified_photos",
    "misclassified_sheet",
    "negative_log_likelihood",
    "paired_difference_interval",
    "precision_coverage_curve",
    "precision_coverage_figure",
    "precision_lower_bound",
    "precision_recall_curve",
    "precision_recall_figure",
    "reliability_figure",
    "reliability_table",
    "save_figure",
    "slices_text",
    "wilson_interval",
    "write_evaluation",
]

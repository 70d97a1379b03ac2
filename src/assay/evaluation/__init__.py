"""Numbers and pictures of how good a classifier is, made from its predictions on labelled photos.

Knows nothing of training: the predictions come from the file that ships.
"""

from assay.evaluation.class_figure import class_figure
from assay.evaluation.classification_report import accuracy_sentence, classification_report
from assay.evaluation.confusion import ConfusedPair, Confusion
from assay.evaluation.confusion_figure import confusion_figure
from assay.evaluation.contact_sheet import Line, Tile, contact_sheet, misclassified_sheet
from assay.evaluation.figure import save_figure
from assay.evaluation.intervals import Interval, wilson
from assay.evaluation.metrics import Average, ClassMetrics, Metrics, evaluate
from assay.evaluation.misclassified import Mistake, misclassified
from assay.evaluation.predictions import Predictions
from assay.evaluation.thumbnail import Thumbnail, thumbnail
from assay.evaluation.write import FILES, write_evaluation

__all__ = [
    "FILES",
    "Average",
    "ClassMetrics",
    "ConfusedPair",
    "Confusion",
    "Interval",
    "Line",
    "Metrics",
    "Mistake",
    "Predictions",
    "Thumbnail",
    "Tile",
    "accuracy_sentence",
    "class_figure",
    "classification_report",
    "confusion_figure",
    "contact_sheet",
    "evaluate",
    "misclassified",
    "misclassified_sheet",
    "save_figure",
    "thumbnail",
    "wilson",
    "write_evaluation",
]

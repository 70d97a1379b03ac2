"""Numbers and pictures of how good a classifier is, made from its predictions on labelled photos.

Knows nothing of training: the predictions come from the file that ships.
"""

from assay.evaluation.intervals import Interval, wilson
from assay.evaluation.metrics import Average, ClassMetrics, Metrics, evaluate
from assay.evaluation.predictions import Predictions

__all__ = ["Average", "ClassMetrics", "Interval", "Metrics", "Predictions", "evaluate", "wilson"]

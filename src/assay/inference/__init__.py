"""Predictions: a bundle and a photo in, a label with its probability out. No torch anywhere.

Knows bundles, pixels and runtimes; nothing of training, data sets or HTTP.
"""

from assay.inference.abstain import Limits, Reason
from assay.inference.choice import Arithmetic, PrecisionChoice
from assay.inference.classifier import BATCH_SIZE, Classifier
from assay.inference.cpus import cpu_count
from assay.inference.engine import Engine, EngineError, Mode, Outputs
from assay.inference.engines import AUTO, ENGINE_NAMES, ENGINES, create_engine
from assay.inference.explanation import Explain, Explanation
from assay.inference.inputs import Photo
from assay.inference.novelty import Novelty, fit_novelty
from assay.inference.prediction import Failure, Prediction, softmax

__all__ = [
    "AUTO",
    "BATCH_SIZE",
    "ENGINES",
    "ENGINE_NAMES",
    "Arithmetic",
    "Classifier",
    "Engine",
    "EngineError",
    "Explain",
    "Explanation",
    "Failure",
    "Limits",
    "Mode",
    "Novelty",
    "Outputs",
    "Photo",
    "PrecisionChoice",
    "Prediction",
    "Reason",
    "cpu_count",
    "create_engine",
    "fit_novelty",
    "load",
    "softmax",
]

load = Classifier.load

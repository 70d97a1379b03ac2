"""Inference: load a bundle, classify images, abstain and explain. Never imports torch."""

from assay.inference.abstention import AbstentionPolicy, AbstentionReason
from assay.inference.classifier import BATCH_SIZE, Classifier
from assay.inference.engine import Engine, EngineError, EngineMode, ModelOutputs
from assay.inference.engine_selection import (
    AUTO,
    ENGINE_NAMES,
    ENGINES,
    ComputePrecision,
    PrecisionChoice,
    create_engine,
)
from assay.inference.explanation import Explainer, Explanation
from assay.inference.inputs import ImageInput
from assay.inference.novelty import NoveltyDetector, fit_novelty
from assay.inference.prediction import Failure, Prediction, softmax

__all__ = [
    "AUTO",
    "BATCH_SIZE",
    "ENGINES",
    "ENGINE_NAMES",
    "AbstentionPolicy",
    "AbstentionReason",
    "Classifier",
    "ComputePrecision",
    "Engine",
    "EngineError",
    "EngineMode",
    "Explainer",
    "Explanation",
    "Failure",
    "ImageInput",
    "ModelOutputs",
    "NoveltyDetector",
    "PrecisionChoice",
    "Prediction",
    "create_engine",
    "fit_novelty",
    "load",
    "softmax",
]

load = Classifier.load

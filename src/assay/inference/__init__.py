"""Inference: load a bundle, classify images, abstain and explain. Never imports torch."""

from assay.inference.abstention import AbstentionPolicy, AbstentionReason
from assay.inference.classifier import BATCH_SIZE, Classifier
from assay.inference.engine import Engine, EngineError, ModelOutputs
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
from assay.inference.model_loader import ModelLoader
from assay.inference.novelty import NoveltyDetector, fit_novelty
from assay.inference.prediction import Failure, Prediction, softmax
from assay.inference.workload import WORKLOADS, EngineSetup, Workload

__all__ = [
    "AUTO",
    "BATCH_SIZE",
    "ENGINES",
    "ENGINE_NAMES",
    "WORKLOADS",
    "AbstentionPolicy",
    "AbstentionReason",
    "Classifier",
    "ComputePrecision",
    "Engine",
    "EngineError",
    "EngineSetup",
    "Explainer",
    "Explanation",
    "Failure",
    "ImageInput",
    "ModelLoader",
    "ModelOutputs",
    "NoveltyDetector",
    "PrecisionChoice",
    "Prediction",
    "Workload",
    "create_engine",
    "fit_novelty",
    "load",
    "softmax",
]

load = Classifier.load

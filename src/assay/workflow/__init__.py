"""The order of things: what `assay train` and its fellows do, for whoever calls from Python.

The one place where the half that trains and the half that predicts meet. Knows no terminal.
"""

from assay.workflow.evaluate import EvaluateResult, evaluate_classifier
from assay.workflow.run import Run, next_folder
from assay.workflow.train import (
    TrainResult,
    Watcher,
    resume_training,
    suggest_learning_rate,
    train_classifier,
)

__all__ = [
    "EvaluateResult",
    "Run",
    "TrainResult",
    "Watcher",
    "evaluate_classifier",
    "next_folder",
    "resume_training",
    "suggest_learning_rate",
    "train_classifier",
]

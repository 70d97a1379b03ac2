"""Training of image classifiers: from scratch, on a frozen backbone, or by fine-tuning.

`fit`, `fit_heads`, `compute_embeddings` and `find_learning_rate` import torch and Lightning on first use;
the training history needs neither.
"""

from typing import TYPE_CHECKING

from assay.core.lazy_imports import lazy_attributes
from assay.training.history import (
    EpochListener,
    EpochMetrics,
    History,
    TrainingInterruptedError,
    format_epoch,
    read_metrics,
)

if TYPE_CHECKING:
    from assay.training.dataloaders import LabeledImages
    from assay.training.feature_extraction import EmbedFunction, SplitEmbeddings, compute_embeddings
    from assay.training.fitting import fit
    from assay.training.head_sweep import TrainedHead, fit_heads
    from assay.training.lr_finder import RangeTestResult, find_learning_rate

_HEAVY = {
    "EmbedFunction": "feature_extraction",
    "LabeledImages": "dataloaders",
    "RangeTestResult": "lr_finder",
    "SplitEmbeddings": "feature_extraction",
    "TrainedHead": "head_sweep",
    "compute_embeddings": "feature_extraction",
    "find_learning_rate": "lr_finder",
    "fit": "fitting",
    "fit_heads": "head_sweep",
}

__all__ = [
    "EmbedFunction",
    "EpochListener",
    "EpochMetrics",
    "History",
    "LabeledImages",
    "RangeTestResult",
    "SplitEmbeddings",
    "TrainedHead",
    "TrainingInterruptedError",
    "compute_embeddings",
    "find_learning_rate",
    "fit",
    "fit_heads",
    "format_epoch",
    "read_metrics",
]

__getattr__ = lazy_attributes(__name__, _HEAVY)

"""The order of things: what `assay train` and its fellows do, for whoever calls from Python.

The one place where the half that trains and the half that predicts meet. Knows no terminal.
"""

from assay.workflow.compare import Contestant, Ranking, Verdict, compare_results
from assay.workflow.crossval import cross_validate, resume_crossval
from assay.workflow.crossval_table import CrossvalResult
from assay.workflow.evaluate import EvaluateResult, evaluate_classifier
from assay.workflow.figures import PartFigures, RunFigures, Spread
from assay.workflow.run import Run, next_folder
from assay.workflow.series import SeriesWatcher
from assay.workflow.train import (
    TrainResult,
    Watcher,
    resume_training,
    suggest_learning_rate,
    train_classifier,
    train_on,
)
from assay.workflow.variants import VariantsResult, resume_variants, train_variants

__all__ = [
    "Contestant",
    "CrossvalResult",
    "EvaluateResult",
    "PartFigures",
    "Ranking",
    "Run",
    "RunFigures",
    "SeriesWatcher",
    "Spread",
    "TrainResult",
    "VariantsResult",
    "Verdict",
    "Watcher",
    "compare_results",
    "cross_validate",
    "evaluate_classifier",
    "next_folder",
    "resume_crossval",
    "resume_training",
    "resume_variants",
    "suggest_learning_rate",
    "train_classifier",
    "train_on",
    "train_variants",
]

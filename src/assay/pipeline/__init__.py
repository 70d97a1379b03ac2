"""Training, evaluation and experiments as Python functions: what `assay train` and related commands run.

Every name imports its module, and torch where that needs it, when it is first used.
"""

from typing import TYPE_CHECKING

from assay.core.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from assay.pipeline.compare import Ranking, RunComparison, RunResult, compare_results
    from assay.pipeline.evaluate import EvaluateResult, evaluate_classifier
    from assay.pipeline.experiment_runs import MetricSummary, RunMetrics, SplitMetrics
    from assay.pipeline.experiment_tables import CrossvalResult, VariantsResult
    from assay.pipeline.experiments import cross_validate, resume_crossval, resume_variants, train_variants
    from assay.pipeline.parallel_runs import ExperimentCallbacks
    from assay.pipeline.run_folder import Run, result_folder
    from assay.pipeline.train import (
        TrainResult,
        resume_training,
        suggest_learning_rate,
        train_classifier,
        train_on_splits,
    )
    from assay.pipeline.train_callbacks import TrainCallbacks
    from assay.pipeline.tune import resume_tune, tune_recipe
    from assay.pipeline.tune_result import Trial, TuneResult

_MODULES = {
    "CrossvalResult": "experiment_tables",
    "EvaluateResult": "evaluate",
    "ExperimentCallbacks": "parallel_runs",
    "MetricSummary": "experiment_runs",
    "Ranking": "compare",
    "Run": "run_folder",
    "RunComparison": "compare",
    "RunMetrics": "experiment_runs",
    "RunResult": "compare",
    "SplitMetrics": "experiment_runs",
    "TrainCallbacks": "train_callbacks",
    "TrainResult": "train",
    "Trial": "tune_result",
    "TuneResult": "tune_result",
    "VariantsResult": "experiment_tables",
    "compare_results": "compare",
    "cross_validate": "experiments",
    "evaluate_classifier": "evaluate",
    "result_folder": "run_folder",
    "resume_crossval": "experiments",
    "resume_training": "train",
    "resume_tune": "tune",
    "resume_variants": "experiments",
    "suggest_learning_rate": "train",
    "train_classifier": "train",
    "train_on_splits": "train",
    "train_variants": "experiments",
    "tune_recipe": "tune",
}

__all__ = [
    "CrossvalResult",
    "EvaluateResult",
    "ExperimentCallbacks",
    "MetricSummary",
    "Ranking",
    "Run",
    "RunComparison",
    "RunMetrics",
    "RunResult",
    "SplitMetrics",
    "TrainCallbacks",
    "TrainResult",
    "Trial",
    "TuneResult",
    "VariantsResult",
    "compare_results",
    "cross_validate",
    "evaluate_classifier",
    "result_folder",
    "resume_crossval",
    "resume_training",
    "resume_tune",
    "resume_variants",
    "suggest_learning_rate",
    "train_classifier",
    "train_on_splits",
    "train_variants",
    "tune_recipe",
]

__getattr__ = lazy_attributes(__name__, _MODULES)

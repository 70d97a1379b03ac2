"""The order of things: what `assay train` and its fellows do, for whoever calls from Python.

The one place where the half that trains and the half that predicts meet. Knows no terminal.
Every name brings its module, and torch where that needs it, when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.workflow.compare import Contestant, Ranking, Verdict, compare_results
    from assay.workflow.crossval import cross_validate, resume_crossval
    from assay.workflow.crossval_table import CrossvalResult
    from assay.workflow.evaluate import EvaluateResult, evaluate_classifier
    from assay.workflow.figures import PartFigures, RunFigures, Spread
    from assay.workflow.run import Run, result_folder
    from assay.workflow.series import SeriesWatcher
    from assay.workflow.train import (
        TrainResult,
        Watcher,
        resume_training,
        suggest_learning_rate,
        train_classifier,
        train_on,
    )
    from assay.workflow.tune import Trial, TuneResult, tune_probe
    from assay.workflow.variants import resume_variants, train_variants
    from assay.workflow.variants_table import VariantsResult

_MODULES = {
    "Contestant": "compare",
    "CrossvalResult": "crossval_table",
    "EvaluateResult": "evaluate",
    "PartFigures": "figures",
    "Ranking": "compare",
    "Run": "run",
    "RunFigures": "figures",
    "SeriesWatcher": "series",
    "Spread": "figures",
    "TrainResult": "train",
    "Trial": "tune",
    "TuneResult": "tune",
    "VariantsResult": "variants_table",
    "Verdict": "compare",
    "Watcher": "train",
    "compare_results": "compare",
    "cross_validate": "crossval",
    "evaluate_classifier": "evaluate",
    "result_folder": "run",
    "resume_crossval": "crossval",
    "resume_training": "train",
    "resume_variants": "variants",
    "suggest_learning_rate": "train",
    "train_classifier": "train",
    "train_on": "train",
    "train_variants": "variants",
    "tune_probe": "tune",
}

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
    "Trial",
    "TuneResult",
    "VariantsResult",
    "Verdict",
    "Watcher",
    "compare_results",
    "cross_validate",
    "evaluate_classifier",
    "result_folder",
    "resume_crossval",
    "resume_training",
    "resume_variants",
    "suggest_learning_rate",
    "train_classifier",
    "train_on",
    "train_variants",
    "tune_probe",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

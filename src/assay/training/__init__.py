"""How weights are found: from scratch, on a frozen backbone, or by fine-tuning. Lightning lives here alone.

`fit`, `features` and `find_learning_rate` bring torch and Lightning with them when they are first asked for;
reading a run's history needs neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from assay.training.history import EpochRow, History, InterruptionError, OnEpoch, epoch_line, read_metrics

if TYPE_CHECKING:
    from assay.training.fitting import fit
    from assay.training.heads import HeadFit, fit_heads
    from assay.training.loader import Split
    from assay.training.lr_finder import RateFinding, find_learning_rate
    from assay.training.probe import Embed, Embedded, features

_HEAVY = {
    "Embed": "probe",
    "Embedded": "probe",
    "HeadFit": "heads",
    "RateFinding": "lr_finder",
    "Split": "loader",
    "features": "probe",
    "find_learning_rate": "lr_finder",
    "fit": "fitting",
    "fit_heads": "heads",
}

__all__ = [
    "Embed",
    "Embedded",
    "EpochRow",
    "HeadFit",
    "History",
    "InterruptionError",
    "OnEpoch",
    "RateFinding",
    "Split",
    "epoch_line",
    "features",
    "find_learning_rate",
    "fit",
    "fit_heads",
    "read_metrics",
]


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HEAVY[name]}"), name)

"""Assay trains, evaluates and serves image classifiers from a folder of photos.

Imports are lazy: a public name is imported from its package on first use, so `import assay` is cheap.
"""

from importlib import import_module

from assay.core.no_telemetry import disable_telemetry

disable_telemetry()

TYPE_CHECKING = False  # as typing has it, whose import would take longer than all the rest
if TYPE_CHECKING:
    from assay.inference import Classifier, Failure, Prediction, load
    from assay.pipeline.train import train

__version__ = "0.2.0"

__all__ = ["Classifier", "Failure", "Prediction", "__version__", "load", "train"]

_HOMES = dict.fromkeys(("Classifier", "Failure", "Prediction", "load"), "assay.inference")
_HOMES["train"] = "assay.pipeline.train"


def __getattr__(name: str) -> object:
    """Import a public name from the package it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value

"""Assay turns a folder of photos into an image classifier you can trust, explain and serve.

`import assay` costs next to nothing: what is named here is imported when it is first used.
"""

from importlib import import_module

from assay.no_telemetry import switch_off

switch_off()

TYPE_CHECKING = False  # as typing has it, whose import would take longer than all the rest
if TYPE_CHECKING:
    from assay.inference import Classifier, Failure, Prediction, load
    from assay.workflow.simple import train

__version__ = "0.1.0"

__all__ = ["Classifier", "Failure", "Prediction", "__version__", "load", "train"]

_HOMES = dict.fromkeys(("Classifier", "Failure", "Prediction", "load"), "assay.inference")
_HOMES["train"] = "assay.workflow.simple"


def __getattr__(name: str) -> object:
    """Import a public name from the package it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value

"""Assay trains, evaluates and serves image classifiers from a folder of photos.

Imports are lazy: a public name is imported from its package on first use, so `import assay` is cheap.
"""

from assay.core.lazy_imports import lazy_attributes
from assay.core.no_telemetry import disable_telemetry

disable_telemetry()

TYPE_CHECKING = False  # as typing has it, whose import would take longer than all the rest
if TYPE_CHECKING:
    from assay.inference import Classifier, Failure, Prediction, load
    from assay.pipeline.train import train

__version__ = "0.2.0"

__all__ = ["Classifier", "Failure", "Prediction", "__version__", "load", "train"]

_MODULES = dict.fromkeys(("Classifier", "Failure", "Prediction", "load"), "inference")
__getattr__ = lazy_attributes(__name__, {**_MODULES, "train": "pipeline.train"})
